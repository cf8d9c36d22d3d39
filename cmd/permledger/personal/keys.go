package personal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/events"
)

var (
	// ErrNoKey: the key of a box is not here. It was destroyed, or lies elsewhere.
	ErrNoKey = errors.New("the personal key is not here")
	// ErrDamaged: a box is not what was sealed for this principal, in this tenant, with this key.
	ErrDamaged = errors.New("the sealed text is damaged")
	// ErrKeyFile: a key file cannot be used as it is.
	ErrKeyFile = errors.New("unusable key file")
)

// Keys are the personal keys in one directory. No secret stays in memory longer than a call. All methods may be
// called from several goroutines; several processes may share the directory.
type Keys struct {
	dir string // "": in memory

	mu     sync.Mutex
	memory map[string]key
}

// key is the content of a key file.
type key struct {
	ID     events.PersonalKey `json:"key"`
	Secret []byte             `json:"secret"`
}

// Open opens the directory, which is made if it is not there; "" keeps keys in memory, for tests. It removes what
// a crash left of files that never became keys.
func Open(dir string) (*Keys, error) {
	if dir == "" {
		return &Keys{memory: map[string]key{}}, nil
	}
	if err := durable.Mkdir(dir); err != nil {
		return nil, fmt.Errorf("make the directory of personal keys: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of personal keys: %w", err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), unfinished) {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return nil, fmt.Errorf("remove an unfinished personal key: %w", err)
			}
		}
	}
	return &Keys{dir: dir}, nil
}

// unfinished begins the names of files that are being written.
const unfinished = ".new-"

// file is where the key of p lies, if it has one.
func (k *Keys) file(t events.Tenant, p events.Principal) string {
	sum := sha256.Sum256([]byte(string(t) + "\x00" + p.String()))
	return filepath.Join(k.dir, hex.EncodeToString(sum[:]))
}

// Seal seals text with the key of p, which is made if p has none. When it returns, the key is durable. The same
// text gives the same box until the key is destroyed.
func (k *Keys) Seal(t events.Tenant, p events.Principal, text []byte) (events.Sealed, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	file := k.file(t, p)
	found, err := k.read(file)
	if errors.Is(err, ErrNoKey) {
		found, err = k.create(file)
	}
	if err != nil {
		return events.Sealed{}, fmt.Errorf("seal for %s: %w", p, err)
	}
	return found.seal(t, p, text)
}

// Try seals as Seal would and leaves nothing behind: where p has no key, with one that is thrown away.
func (k *Keys) Try(t events.Tenant, p events.Principal, text []byte) (events.Sealed, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.read(k.file(t, p))
	if errors.Is(err, ErrNoKey) {
		found, err = newKey(), nil
	}
	if err != nil {
		return events.Sealed{}, fmt.Errorf("seal for %s: %w", p, err)
	}
	return found.seal(t, p, text)
}

func (found key) seal(t events.Tenant, p events.Principal, text []byte) (events.Sealed, error) {
	box, err := secret(found.Secret).seal(text, boundTo(t, p, found.ID))
	return events.Sealed{For: p, Key: found.ID, Box: box}, err
}

// Open gives the text in a box of an event of tenant t. ErrNoKey when its key is not here, ErrDamaged when it is and
// does not fit.
func (k *Keys) Open(t events.Tenant, s events.Sealed) ([]byte, error) {
	k.mu.Lock()
	found, err := k.read(k.file(t, s.For))
	k.mu.Unlock()
	if err == nil && found.ID != s.Key {
		err = ErrNoKey // p was erased and has another by now
	}
	if err != nil {
		return nil, fmt.Errorf("open what is sealed for %s: %w", s.For, err)
	}
	return secret(found.Secret).open(s.Box, boundTo(t, s.For, s.Key))
}

// Key is the key of p; ok is false when it has none.
func (k *Keys) Key(t events.Tenant, p events.Principal) (_ events.PersonalKey, ok bool, _ error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.read(k.file(t, p))
	if errors.Is(err, ErrNoKey) {
		return found.ID, false, nil
	}
	return found.ID, err == nil, err
}

// Destroy destroys the key of p if it is one of ids. A key that is not here is destroyed already; any other key of
// p is one it got since, and stays.
//
// Crash points: the secret is overwritten in its place and synced, then the file is removed and the directory
// synced. A crash before the first sync leaves the key, one before the second a file with the key's name and no
// secret, or a torn one, which opens nothing. Either way Destroy, called again, finds the file by its name and
// finishes; whoever calls it knows from the ledger that it must.
func (k *Keys) Destroy(t events.Tenant, p events.Principal, ids ...events.PersonalKey) (destroyed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	file := k.file(t, p)
	found, err := k.load(file)
	switch {
	case errors.Is(err, ErrNoKey):
		return false, nil
	case err == nil && !slices.Contains(ids, found.ID):
		return false, nil
	case err == nil:
		err = k.remove(file, found)
	}
	if err != nil {
		return false, fmt.Errorf("destroy the personal key of %s: %w", p, err)
	}
	return true, nil
}

func newKey() key {
	found := key{ID: uuid.Must(uuid.NewV7()), Secret: make([]byte, len(secret{}))}
	_, _ = rand.Read(found.Secret) // never fails: it ends the process instead
	return found
}

// read gives a key that can seal and open.
func (k *Keys) read(file string) (key, error) {
	found, err := k.load(file)
	if err == nil && !slices.ContainsFunc(found.Secret, func(b byte) bool { return b != 0 }) {
		return key{}, ErrNoKey // overwritten, and about to be removed
	}
	return found, err
}

// load gives a key as it lies there. A file that others may read is refused, as that of a token is.
func (k *Keys) load(file string) (found key, err error) {
	if k.dir == "" {
		found, ok := k.memory[file]
		if !ok {
			return key{}, ErrNoKey
		}
		return found, nil
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return key{}, ErrNoKey
	}
	if err != nil {
		return key{}, err
	}
	if wide := info.Mode().Perm() &^ 0o600; wide != 0 {
		return key{}, fmt.Errorf("%w: %s has mode %04o, which lets others read it", ErrKeyFile, file, info.Mode().Perm())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return key{}, err
	}
	if err := json.Unmarshal(b, &found); err != nil { // its text would quote the content
		return key{}, fmt.Errorf("%w: %s is no key", ErrKeyFile, file)
	}
	if found.ID == uuid.Nil || len(found.Secret) != len(secret{}) {
		return key{}, fmt.Errorf("%w: %s is no whole key", ErrKeyFile, file)
	}
	return found, nil
}

// create makes the key of a principal that has none. Another process that does the same at the same time is not
// overwritten: a link, other than a rename, fails where a file is.
//
// Crash points: until the link the key is a file of another name, which the next Open removes and with which
// nothing was sealed. After the link and before the directory is synced, the key may be there or not, and again
// nothing was sealed with it.
func (k *Keys) create(file string) (key, error) {
	made := newKey()
	if k.dir == "" {
		k.memory[file] = made
		return made, nil
	}
	temp, err := writeTemp(k.dir, made)
	if err != nil {
		return key{}, err
	}
	err = os.Link(temp, file)
	if err = errors.Join(err, os.Remove(temp)); errors.Is(err, fs.ErrExist) {
		return k.read(file)
	}
	if err = errors.Join(err, durable.SyncDir(k.dir)); err != nil {
		return key{}, fmt.Errorf("make a personal key: %w", err)
	}
	return made, nil
}

// writeTemp writes a key to a file that is no key's yet. Mode 0600.
func writeTemp(dir string, made key) (name string, err error) {
	b, err := json.Marshal(made)
	if err != nil {
		return "", err
	}
	temp, err := os.CreateTemp(dir, unfinished+"*")
	if err != nil {
		return "", err
	}
	_, err = temp.Write(append(b, '\n'))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		_ = os.Remove(temp.Name())
		return "", err
	}
	return temp.Name(), nil
}

func (k *Keys) remove(file string, found key) error {
	if k.dir == "" {
		delete(k.memory, file)
		return nil
	}
	found.Secret = make([]byte, len(found.Secret))
	b, err := json.Marshal(found) // as long as what it replaces
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(b, '\n'), 0)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	return durable.SyncDir(k.dir)
}
