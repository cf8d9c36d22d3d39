package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/ledger"
)

// exchange puts a directory in the place of another, which is kept under a name of its own.
type exchange struct {
	Name string `json:"name"`           // in use
	New  string `json:"new,omitempty"`  // takes its place; "": nothing does
	Kept string `json:"kept,omitempty"` // where what was in use goes
}

// finish does what is not done yet. It is carried out from the start each time, and each step leaves what the next
// run recognizes:
//
//	before             name, new         kept does not exist, so name is moved aside
//	after one rename   new, kept         kept exists, so name is not moved again; new is moved in
//	after the other    name, kept        there is no new: all is done
//
// A crash may also undo a rename that was not synced yet; each is synced before the next, so what is found is one
// of the three.
func (x exchange) finish(dir string) error {
	name, kept := filepath.Join(dir, x.Name), filepath.Join(dir, x.Kept)
	next := filepath.Join(dir, x.New)
	if x.New != "" && !exists(next) {
		return nil
	}
	if exists(name) && !exists(kept) {
		if err := rename(name, kept); err != nil {
			return err
		}
	}
	if x.New == "" {
		return nil
	}
	return rename(next, name)
}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(to))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// unused gives a name that nothing in dir has yet: jetstream.damaged-1 and so on.
func unused(dir, name, why string) string {
	name, extension := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	for i := 1; ; i++ {
		if free := fmt.Sprintf("%s.%s-%d%s", name, why, i, extension); !exists(filepath.Join(dir, free)) {
			return free
		}
	}
}

// The files that say that something long was begun and has to be finished before the ledger may be served.
const (
	repairName = "repair.json" // an exchange of repaired directories
	forkName   = "fork.json"   // a fork that was accepted
)

// readPending reads such a file; ok is false when there is none.
func readPending(dir, name string, into any) (ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return true, nil
}

func writePending(dir, name string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = durable.WriteFile(filepath.Join(dir, name), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func removePending(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// checkPending refuses a directory in which a repair was broken off: for a moment it has no log, and an empty one
// must not be begun in its place. An accepted fork is finished by the next start, which must not be an offline one.
func (n *Node) checkPending() error {
	dir := n.config.Dir
	if exists(filepath.Join(dir, repairName)) {
		return fmt.Errorf("%w: a repair of %s was broken off; \"permledger repair\" finishes it", ledger.ErrCorrupt, dir)
	}
	if n.config.Offline && exists(filepath.Join(dir, forkName)) {
		return fmt.Errorf("%w: a fork of %s was accepted and is not carried out yet; \"permledger accept-fork\" or serving it finishes it", ledger.ErrUnavailable, dir)
	}
	return nil
}
