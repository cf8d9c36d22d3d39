package pebblekv

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// checkMarker makes sure that a store without its marker is not taken for a new one.
//
// Pebble finds its manifest by an empty file, marker.manifest.…, which it moves by making the new one, removing the
// old one and then syncing the directory. Without any it makes a new, empty store; but a write-ahead log that
// lies there is applied to it, and what comes out has the end of the rows, cursor included, and not their
// beginning. A journaling file system keeps the order in which names are made and removed, and then there is
// always one. Where none is, and a log has something in it, the store is damaged.
func checkMarker(dir string, files vfs.FS) error {
	names, err := files.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := pebble.Peek(dir, files)
	if err != nil || found.Exists {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		if info, err := files.Stat(files.PathJoin(dir, name)); err != nil || info.Size() > 0 {
			return errors.Join(err, fmt.Errorf("the marker of the manifest is gone, and %s is not empty", name))
		}
	}
	return nil
}
