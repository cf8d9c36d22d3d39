package pebblekv

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrInUse: another process, or this one, has the store open.
var ErrInUse = errors.New("in use")

// InUse tells a store that somebody has open from one that cannot be opened for another reason: nil if it could be
// locked just now.
func InUse(dir string) error {
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrInUse, dir, err)
	}
	return lock.Close()
}
