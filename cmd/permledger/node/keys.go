package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// KeysDir is where the private keys of a ledger lie under a data directory: one PKCS #8 file a key, named by the
// beginning of its public half, mode 0600. Usually it holds one; while a key is being replaced, two.
func KeysDir(dir string) string { return filepath.Join(dir, "keys") }

// keyring is the private keys of this process. It implements ledger.Keyring.
type keyring struct {
	dir string // "" keeps them in memory

	mu   sync.Mutex
	keys []events.PrivateKey // in the order of their files' names
}

// openKeyring reads the keys in a directory. There may be none yet.
func openKeyring(dir string) (*keyring, error) {
	r := &keyring{dir: dir}
	if dir == "" {
		return r, nil
	}
	return r, r.read()
}

// read takes over the keys in the directory that are not known yet: at the start, and when another process with
// the same directory announced one.
func (r *keyring) read() error {
	files, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") { // one that was being written in a crash
			continue
		}
		key, err := readKey(filepath.Join(r.dir, f.Name()))
		if err != nil {
			return err
		}
		if r.find(key.Public()) == nil {
			r.keys = append(r.keys, key)
		}
	}
	return nil
}

func (r *keyring) find(want events.PublicKey) events.Signer {
	for _, k := range r.keys {
		if k.Public() == want {
			return k
		}
	}
	return nil
}

func readKey(file string) (events.PrivateKey, error) {
	if err := onlyOurs(file, "replace it then by permledger key rotate; do not delete it"); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%s does not hold one PEM block", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, must be an Ed25519 key", file, parsed)
	}
	return events.PrivateKey(key), nil
}

// First implements ledger.Keyring: the key that is there, or a new one.
func (r *keyring) First() (events.Signer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) > 0 {
		return r.keys[0], nil
	}
	return r.make()
}

// Signer implements ledger.Keyring.
func (r *keyring) Signer(want events.PublicKey) (events.Signer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.find(want); k != nil {
		return k, nil
	}
	if r.dir == "" {
		return nil, fmt.Errorf("%w: key %s", ledger.ErrNoKey, want)
	}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("%w: %w", ledger.ErrNoKey, err)
	}
	if k := r.find(want); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w: key %s is not in %s", ledger.ErrNoKey, want, r.dir)
}

// Make adds a new key, durable before it is returned: nothing may be announced that a crash could take away.
func (r *keyring) Make() (events.Signer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.make()
}

func (r *keyring) make() (events.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	key := events.PrivateKey(private)
	if r.dir != "" {
		content, err := encodeKey(key)
		if err == nil {
			err = durable.Mkdir(r.dir)
		}
		if err == nil {
			err = durable.WriteFile(r.file(key.Public()), content)
		}
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
	}
	r.keys = append(r.keys, key)
	return key, nil
}

// encodeKey is a key as its file holds it.
func encodeKey(k events.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.PrivateKey(k))
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func (r *keyring) file(k events.PublicKey) string {
	return filepath.Join(r.dir, hex.EncodeToString(k[:8])+".pem")
}

// Keep forgets every key but one. It is called when the ledger is known to have that one and nobody else uses the
// directory: a key that signs nothing any more is only there to be stolen.
func (r *keyring) Keep(want events.PublicKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.find(want) == nil {
		return nil
	}
	return r.forget(func(k events.PublicKey) bool { return k != want })
}

// Forget forgets keys, wherever they are from.
func (r *keyring) Forget(unwanted ...events.PublicKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.forget(func(k events.PublicKey) bool { return slices.Contains(unwanted, k) })
}

// forget removes files first: after a crash between the two a key is there again, and is forgotten again.
func (r *keyring) forget(unwanted func(events.PublicKey) bool) error {
	var errs []error
	before := len(r.keys)
	r.keys = slices.DeleteFunc(r.keys, func(k events.PrivateKey) bool {
		if !unwanted(k.Public()) {
			return false
		}
		if r.dir != "" {
			if err := os.Remove(r.file(k.Public())); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return true
	})
	if r.dir != "" && len(r.keys) < before {
		errs = append(errs, durable.SyncDir(r.dir))
	}
	return errors.Join(errs...)
}
