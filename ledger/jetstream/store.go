package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/permledger/permledger/ledger"
)

// storeDir is where the embedded server keeps everything.
func storeDir(dir string) string { return filepath.Join(dir, "jetstream") }

// allStreams are the streams there are, those of the feed's account too: the server opens them all.
func allStreams(dir string) (all []*streamFiles, err error) {
	found, err := filepath.Glob(filepath.Join(storeDir(dir), "*", "streams", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			all = append(all, &streamFiles{dir: path, name: filepath.Base(path)})
		}
	}
	return all, nil
}

// isNew reports whether the server never kept anything in dir.
func isNew(dir string) bool {
	_, err := os.Stat(storeDir(dir))
	return errors.Is(err, fs.ErrNotExist)
}

// cleanName is the file in Dir that says that the store was closed, and how it was then. It is removed before
// the store opens, and written after it closed:
//
//   - a crash while it is open leaves no file;
//   - a crash while the file is written leaves none, or a temporary one that nobody reads;
//   - what a power failure takes back, or somebody changes, the fingerprint in it does not match.
//
// Without a file that matches, the store is opened as after a crash: see Config.Preflight and settle.
const cleanName = "clean"

// closedCleanly reports whether the store is as it was closed.
func closedCleanly(dir string) bool {
	said, err := os.ReadFile(filepath.Join(dir, cleanName))
	if err != nil {
		return false
	}
	found, err := fingerprint(dir)
	return err == nil && string(said) == found
}

func markClosed(dir string) error {
	found, err := fingerprint(dir)
	if err == nil {
		err = writeSynced(dir, filepath.Join(dir, cleanName), []byte(found))
	}
	if err != nil {
		return fmt.Errorf("note that the store is closed: %w", err)
	}
	return nil
}

func markOpen(dir string) error {
	err := os.Remove(filepath.Join(dir, cleanName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note that the store is open: %w", err)
	}
	return syncDir(dir)
}

// fingerprint covers the name and size of every file of the store, and the bytes of all but the blocks, which
// may be many gigabytes and have checksums of their own.
func fingerprint(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(storeDir(dir), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %d\n", strings.TrimPrefix(path, dir), info.Size())
		if strings.HasSuffix(path, ".blk") {
			return nil
		}
		b, err := os.ReadFile(path)
		_, _ = sum.Write(b)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)) + "\n", err
}

// glance looks at what the server reads and writes as soon as it opens: the end of each stream. It costs
// milliseconds, changes nothing, and finds the damage that would cut a stream off, or take all memory, before
// the server meets it. known are the sequences that LEDGER and JOURNAL are known to have had.
func glance(dir string, clean bool, known map[string]uint64) error {
	streams, err := allStreams(dir)
	if err != nil {
		return err
	}
	for _, f := range streams {
		end, err := f.checkEnd()
		switch {
		case err != nil:
			return err
		case end.torn > 0 && (clean || end.last < known[f.name]):
			return fmt.Errorf("%w: stream %s ends at %d and %d bytes that are no message; the views know %d",
				ledger.ErrCorrupt, f.name, end.last, end.torn, known[f.name])
		case end.last < known[f.name]:
			return tooShort(f.name, known[f.name], end.last)
		}
	}
	return nil
}

// ErrTooShort: a stream ends before what the views know, and is whole as far as it goes. It is a kind of
// ledger.ErrCorrupt: the stream was cut, or is an older copy.
var ErrTooShort = fmt.Errorf("the stream is too short: %w", ledger.ErrCorrupt)

func tooShort(stream string, known, last uint64) error {
	return fmt.Errorf("%w: the views know revision %d, stream %s ends at %d", ErrTooShort, known, stream, last)
}

// dropTornFeed removes the stream EVENTS if it is not whole after a stop that was not clean. The server does not
// sync it, so a power failure may leave a hole anywhere in it, and it is made from the log again. A crash at the
// rename leaves the stream, or a directory that the next such look removes.
func dropTornFeed(ctx context.Context, dir string, log *slog.Logger) error {
	aside := filepath.Join(dir, "torn-"+feedStream)
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	streams, err := allStreams(dir)
	if err != nil {
		return err
	}
	for _, f := range streams {
		if f.name != feedStream {
			continue
		}
		_, torn := f.check(ctx)
		if torn == nil {
			continue
		}
		if !errors.Is(torn, ledger.ErrCorrupt) {
			return torn
		}
		log.Warn("the feed was not whole after the last stop, and is made from the log again", "error", torn)
		err := os.Rename(f.dir, aside)
		if err == nil {
			err = errors.Join(syncDir(filepath.Dir(f.dir)), syncDir(dir))
		}
		if err = errors.Join(err, os.RemoveAll(aside)); err != nil {
			return fmt.Errorf("%w: remove the feed that is not whole: %w", ledger.ErrUnavailable, err)
		}
	}
	return nil
}

// settle makes sure that what is read is on the disk, after a stop that was not clean and a glance that found
// nothing missing. If an fsync failed, the bytes it was about may still be read, from the cache of the kernel,
// and never be written: those are the last ones, because nothing is stored after a failure. So the block they
// are in is written anew. A crash before the rename leaves the old block, one after it the new block.
//
// The new block is without the part of a record that may stand at its end. It was never acknowledged, and the
// server would cut it off without a word. Here it is kept in a file beside the store, should it have been more,
// and said.
func settle(dir string, log *slog.Logger) error {
	streams, err := allStreams(dir)
	for _, f := range streams {
		if err == nil {
			err = f.settle(dir, log)
		}
	}
	return err
}

func (f *streamFiles) settle(dir string, log *slog.Logger) error {
	blocks, err := f.blocks()
	if err != nil || len(blocks) == 0 {
		return err
	}
	last := blocks[len(blocks)-1]
	buf, err := last.read()
	if err != nil {
		return err
	}
	rest, err := last.scan(buf, func(record) error { return nil })
	if err != nil {
		return err
	}
	whole := len(buf) - rest
	if rest > 0 {
		aside := filepath.Join(dir, fmt.Sprintf("torn-%s-%d-%d", f.name, last.n, whole))
		log.Warn("a stream ends with a message of which the disk has only a part", "stream", f.name, "bytes", rest, "kept", aside)
		err = writeSynced(dir, aside, buf[whole:])
	}
	if err == nil {
		err = writeSynced(dir, last.path, buf[:whole])
	}
	if err != nil {
		return fmt.Errorf("%w: write the end of stream %s anew: %w", ledger.ErrUnavailable, f.name, err)
	}
	return nil
}

// writeSynced puts a file in place, whole and on the disk, or leaves what was there. The temporary file is in
// dir, on the same disk, where the server does not take it for one of its own.
func writeSynced(dir, path string, b []byte) error {
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone by then, unless something failed
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
