package jetstream

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// clearHalfMade removes what a crash in the middle of making a stream leaves in the embedded server's directory.
//
// The server makes a stream's directories, then meta.inf, then its checksum meta.sum, and only then takes
// messages. After a crash
//
//   - before meta.inf it finds no stream, and makes it when it is asked to: as if nothing had been;
//   - between the two it finds no stream either and, when it is asked to make it, finds meta.inf, takes that for
//     a stream that is complete, and never writes meta.sum. Everything works, until the next start finds no
//     stream again, whatever was acknowledged in between (nats-server 2.15.2);
//   - after meta.sum the stream is there.
//
// So a meta.inf alone, of a stream that has no messages, goes away: that is the first case. With messages it is
// no leftover of making the stream but damage, which is for Open to find. A crash while this removes files
// leaves the rest for the next start.
func clearHalfMade(dir string) error {
	infos, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "meta.inf"))
	if err != nil {
		return err
	}
	for _, info := range infos {
		half, err := halfMade(filepath.Dir(info))
		if err == nil && half {
			err = os.Remove(info)
		}
		if err != nil {
			return fmt.Errorf("clear a stream that was not completed: %w", err)
		}
	}
	return nil
}

// halfMade reports whether the stream in dir has neither a checksum nor a message.
func halfMade(dir string) (bool, error) {
	if _, err := os.Stat(filepath.Join(dir, "meta.sum")); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	if err != nil {
		return false, err
	}
	for _, block := range blocks {
		if stat, err := os.Stat(block); err != nil || stat.Size() > 0 {
			return false, err
		}
	}
	return true, nil
}
