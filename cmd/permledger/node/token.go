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
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := writeWhole(file, []byte(newToken()+"\n")); err != nil {
			return "", fmt.Errorf("make %s: %w", filepath.Base(file), err)
		}
		info, err = os.Stat(file)
	}
	if err != nil {
		return "", err
	}
	if wide := info.Mode().Perm() &^ 0o600; wide != 0 {
		return "", fmt.Errorf("%s has mode %04o, which lets others read it: make a new token, with mode 0600", file, info.Mode().Perm())
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

// writeWhole writes a file so that it is there as a whole or not at all, also after a crash. Mode 0600.
func writeWhole(file string, content []byte) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // created with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// makeDir makes a directory, and those above it, so that they are there after a crash. Mode 0700.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	err := makeDir(above)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
