package node

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/permledger/permledger/cmd/permledger/durable"
)

// tokenBytes is the entropy of a token: 256 bits.
const tokenBytes = 32

// RootTokenFile is where the token of the first administrator lies under a data directory.
func RootTokenFile(dir string) string { return filepath.Join(dir, "root.token") }

func readerTokenFile(dir string) string { return filepath.Join(dir, "reader.token") }

func newToken() string {
	b := make([]byte, tokenBytes)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// token reads the token in a file, which it makes at the first start. A file that others may read is refused:
// its token may be known already.
func token(file string) (string, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := durable.WriteFile(file, []byte(newToken()+"\n")); err != nil {
			return "", fmt.Errorf("make %s: %w", filepath.Base(file), err)
		}
		_, err = os.Stat(file)
	}
	if err != nil {
		return "", err
	}
	if err := onlyOurs(file, "delete it instead, and a new token is made"); err != nil {
		return "", err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	t := strings.TrimSpace(string(b))
	if len(t) < base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return "", fmt.Errorf("%s does not hold a token of %d bits", file, 8*tokenBytes)
	}
	return t, nil
}

// onlyOurs refuses a file that others may read. Its owner says how it is replaced, if somebody may have: a private key
// that was thrown away for its mode would take the ledger with it.
func onlyOurs(file, replace string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if wide := info.Mode().Perm() &^ 0o600; wide != 0 {
		return fmt.Errorf("%s has mode %04o, which lets others read it: give it mode 0600 (chmod 600); if somebody may have read it, %s", file, info.Mode().Perm(), replace)
	}
	return nil
}
