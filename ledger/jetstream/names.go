package jetstream

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// names makes the names of the files in one directory durable. The embedded server syncs a new block of
// messages before it answers, and not the directory that the block is in. On ext4, XFS and Btrfs the one does
// for both; POSIX does not promise that, and without its name the block is gone with the power.
//
// The zero value has no directory, and nothing to do: an external server sees to it itself.
type names struct {
	dir string

	mu     sync.Mutex
	synced time.Time // when the directory had changed, the last time it was synced
}

// settling is how long a directory may go on changing at the same time as its clock tells it.
const settling = time.Second

// settle syncs the directory if it has changed. A look costs a microsecond; a change comes with a new block,
// or the index that is written now and then.
func (n *names) settle() error {
	if n.dir == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	info, err := os.Stat(n.dir)
	if err != nil {
		return err
	}
	changed := info.ModTime()
	if changed.Equal(n.synced) {
		return nil
	}
	if err := syncDir(n.dir); err != nil {
		return err
	}
	if time.Since(changed) > settling {
		n.synced = changed
	}
	return nil
}

// syncTree makes the names of a directory, of what is in it, and of the directories in it durable.
func syncTree(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // the server tidies up
			return nil
		case err != nil || !d.IsDir():
			return err
		}
		err = syncDir(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err == nil {
		err = syncDir(filepath.Dir(dir))
	}
	if err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	return nil
}
