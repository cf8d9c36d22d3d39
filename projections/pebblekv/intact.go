package pebblekv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// intact refuses a store in which something between the tables and the write-ahead logs is missing.
//
// Pebble takes the first record of its manifest that it cannot read for the end of it. That is right after a crash,
// when such a record never took effect. After damage it is not: the manifest then ends before a flush whose logs are
// deleted since. Pebble opens the state before that flush, replays the newer logs onto it, and nobody notices that
// what was in between is gone: the cursor is new and rows are missing, a revoke perhaps.
//
// Pebble numbers everything that is written. So whatever the manifest says as far as Pebble will read it, the first
// batch in the logs must be the next one after it, and each log must go on where the one before ends. The one
// exception is the log that the manifest names as the first that is not flushed: it may begin before what was
// written when the manifest said so, and if it is there nothing between is missing.
func intact(dir string, fs vfs.FS) error {
	files, err := fs.List(dir)
	if err != nil || len(files) == 0 {
		return nil // nothing there: Pebble makes it
	}
	found, err := pebble.Peek(dir, fs)
	if err != nil {
		return err
	}
	if !found.Exists {
		return noRemains(fs, dir, files)
	}
	flushed, err := readManifest(fs, found.ManifestFilename)
	if err != nil {
		return err
	}
	logs, err := wal.Scan(wal.Dir{FS: fs, Dirname: dir})
	if err != nil {
		return err
	}
	return flushed.follow(logs)
}

// noRemains refuses what is left of a store whose marker is gone. Pebble finds its manifest by an empty file,
// marker.manifest.…, and without any makes a new, empty store; but a write-ahead log that lies there is applied
// to it, and what comes out has the end of the rows, cursor included, and not their beginning. What a crash
// leaves of a store in the making, a manifest and empty logs, is begun anew.
func noRemains(fs vfs.FS, dir string, files []string) error {
	for _, f := range files {
		remains := strings.HasSuffix(f, ".sst")
		if strings.HasSuffix(f, ".log") {
			info, err := fs.Stat(fs.PathJoin(dir, f))
			if err != nil {
				return err
			}
			remains = info.Size() > 0
		}
		if remains {
			return fmt.Errorf("the marker of the manifest is gone, and %s is not empty", f)
		}
	}
	return nil
}

// firstSeq is the number of the first thing that is ever written.
const firstSeq = 10

// flushed is what a manifest says of the logs.
type flushed struct {
	log uint64 // the first log that is not flushed, if there is one
	seq uint64 // the last number given out
}

// readManifest reads a manifest as far as Pebble does. Every record begins with these members, if it has them.
func readManifest(fs vfs.FS, path string) (f flushed, err error) {
	file, err := fs.Open(path)
	if err != nil {
		return f, err
	}
	defer file.Close()
	records := record.NewReader(file, 0)
	for {
		r, err := records.Next()
		if err == io.EOF || record.IsInvalidRecord(err) {
			return f, nil
		}
		if err != nil {
			return f, err
		}
		now := f
		if err := now.read(bufio.NewReader(r)); err != nil {
			if record.IsInvalidRecord(err) {
				return f, nil
			}
			return f, err
		}
		f = now
	}
}

// The members of a version edit that come before its files, by their tags.
const (
	tagComparer = 1
	tagLog      = 2
	tagNextFile = 3
	tagLastSeq  = 4
	tagPrevLog  = 9
)

func (f *flushed) read(r *bufio.Reader) error {
	for {
		tag, err := binary.ReadUvarint(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch tag {
		case tagComparer, tagLog, tagNextFile, tagLastSeq, tagPrevLog:
		default: // files: the rest says nothing of logs, but it must be whole
			_, err := io.Copy(io.Discard, r)
			return err
		}
		n, err := binary.ReadUvarint(r)
		if err != nil {
			return err
		}
		switch tag {
		case tagComparer:
			_, err = io.CopyN(io.Discard, r, int64(n))
		case tagLog:
			f.log = n
		case tagLastSeq:
			f.seq = max(f.seq, n)
		}
		if err != nil {
			return err
		}
	}
}

// follow checks that the logs go on where the tables end.
func (f flushed) follow(logs wal.Logs) error {
	next := max(f.seq+1, firstSeq)
	anyStart := false
	for i, log := range logs {
		if uint64(log.Num) < f.log {
			continue
		}
		anyStart = anyStart || uint64(log.Num) == f.log
		first, after, err := numbers(log, i < len(logs)-1)
		switch {
		case err != nil:
			return err
		case after == 0: // empty
		case first != next && !anyStart:
			return fmt.Errorf("log %s begins with number %d, and everything before %d is known: what is between is missing", log.Num, first, next)
		default:
			next, anyStart = after, false
		}
	}
	return nil
}

// numbers gives the number of the first batch in a log and the one after its last, zeros if it has none; or, if
// not all of it is to be read, the one after its first. What cannot be read Pebble will judge.
func numbers(log wal.LogicalLog, all bool) (first, after uint64, err error) {
	r := log.OpenForRead()
	defer r.Close()
	for {
		batch, _, err := r.NextRecord()
		if err != nil {
			return first, after, nil
		}
		var header [12]byte
		if _, err := io.ReadFull(batch, header[:]); err != nil {
			return first, after, nil
		}
		seq, count := binary.LittleEndian.Uint64(header[:]), uint64(binary.LittleEndian.Uint32(header[8:]))
		if after == 0 {
			first = seq
		}
		if after = seq + count; !all {
			return first, after, nil
		}
	}
}
