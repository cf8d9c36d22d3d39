package pebblekv_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/permledger/permledger/projections/pebblekv"
)

func full() bool { return os.Getenv("PERMLEDGER_FULL") != "" }

// The history of these tests: row k is written by the k-th batch, so whole means rows 0 to n-1 for some n.
func rowKey(k int) []byte { return binary.BigEndian.AppendUint32([]byte("row/"), uint32(k)) }

// written is a store that was opened, written and closed three times, and the last time was copied while it was
// open, as a crash leaves it. It says how many rows that are.
func written(t *testing.T) (dir string, rows int) {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live")
	for session := range 4 {
		s, err := pebblekv.Open(live, pebblekv.Options{})
		must(t, err)
		for range 40 {
			w := s.NewWrite()
			must(t, w.Set(rowKey(rows), fmt.Appendf(nil, "value of %d in session %d", rows, session)))
			must(t, w.Commit(true))
			rows++
		}
		if session == 3 {
			dir = filepath.Join(t.TempDir(), "copied")
			must(t, os.CopyFS(dir, os.DirFS(live)))
		}
		must(t, s.Close())
	}
	return dir, rows
}

// whole counts the rows and says whether none is missing before the last.
func whole(keys [][]byte) (rows int, ok bool) {
	for k, key := range keys {
		if string(key) != string(rowKey(k)) {
			return len(keys), false
		}
	}
	return len(keys), true
}

// withPebblekv opens a store and reads all of it.
func withPebblekv(dir string) (keys [][]byte, err error) {
	s, err := pebblekv.Open(dir, pebblekv.Options{CacheBytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	snap := s.NewSnapshot()
	defer snap.Close()
	for row, err := range snap.Scan(nil) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, append([]byte(nil), row.Key...))
	}
	return keys, nil
}

// withPebble is the control: Pebble itself, of a format version.
func withPebble(format pebble.FormatMajorVersion) func(string) ([][]byte, error) {
	return func(dir string) (keys [][]byte, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: format, Logger: quiet{}})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		it, err := db.NewIter(nil)
		if err != nil {
			return nil, err
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			keys = append(keys, append([]byte(nil), it.Key()...))
		}
		return keys, it.Error()
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

// outcome counts what became of damaged stores.
type outcome struct{ refused, whole, shorter, gaps int }

func (o *outcome) try(t *testing.T, dir, file string, damage func([]byte) []byte, read func(string) ([][]byte, error), rows int) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "damaged")
	must(t, os.CopyFS(copied, os.DirFS(dir)))
	path := filepath.Join(copied, file)
	b, err := os.ReadFile(path)
	must(t, err)
	if b = damage(b); b == nil {
		must(t, os.Remove(path))
	} else {
		must(t, os.WriteFile(path, b, 0o600))
	}
	keys, err := read(copied)
	n, ok := whole(keys)
	switch {
	case err != nil:
		o.refused++
	case !ok:
		o.gaps++
	case n < rows:
		o.shorter++
	default:
		o.whole++
	}
}

func newest(t *testing.T, dir, glob string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, glob))
	must(t, err)
	if len(found) == 0 {
		t.Fatalf("no %s in %s", glob, dir)
	}
	return filepath.Base(found[len(found)-1])
}

// damages are ways to damage a file: n flips and n truncations at places spread over it, and that it is gone.
func damages(n int) (all []func([]byte) []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		at, bit := r.Float64(), byte(1)<<r.IntN(8)
		all = append(all, func(b []byte) []byte {
			if len(b) == 0 { // a marker says what it says by its name
				return []byte{bit}
			}
			b[int(at*float64(len(b)))] ^= bit
			return b
		}, func(b []byte) []byte { return b[:int(at*float64(len(b)))] })
	}
	return append(all, func([]byte) []byte { return nil })
}

// Whatever file of a store is damaged, and how: it is refused, or what it holds is a beginning of what was written,
// which the log continues. The control, Pebble by itself, opens some of the same with rows missing in the middle.
func TestDamageLeavesNoGap(t *testing.T) {
	n := 8
	if full() {
		n = 60
	}
	dir, rows := written(t)
	bare := map[string]outcome{}
	for _, glob := range []string{"*.log", "*.sst", "MANIFEST-*", "OPTIONS-*", "marker.manifest.*", "marker.format-version.*"} {
		var ours, theirs outcome
		file := newest(t, dir, glob)
		each := damages(n)
		for _, damage := range each {
			ours.try(t, dir, file, damage, withPebblekv, rows)
			theirs.try(t, dir, file, damage, withPebble(pebble.FormatNewest), rows)
		}
		t.Logf("%-24s ours %+v, Pebble's %+v", file, ours, theirs)
		if ours.gaps > 0 {
			t.Errorf("%s: %d of %d damaged stores have rows missing in the middle", file, ours.gaps, len(each))
		}
		bare[glob] = theirs
	}
	for _, glob := range []string{"MANIFEST-*", "marker.manifest.*"} {
		if bare[glob].gaps == 0 {
			t.Errorf("control: Pebble by itself never misses rows when %s is damaged", glob)
		}
	}
	var none outcome
	none.try(t, dir, newest(t, dir, "*.log"), func(b []byte) []byte { return b }, withPebblekv, rows)
	if none != (outcome{whole: 1}) {
		t.Errorf("an undamaged store: %+v", none)
	}
}

// Why the format version is pinned: Pebble's default takes a flipped bit in the write-ahead log for its end. It opens,
// and the rest of the log is gone without a word.
func TestOlderFormatsOpenOnADamagedLog(t *testing.T) {
	n := 10
	if full() {
		n = 60
	}
	const rows = 400
	value := make([]byte, 2000)
	oldDir, newDir := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "new")
	oldCopy, newCopy := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "new")
	db, err := pebble.Open(oldDir, &pebble.Options{Logger: quiet{}})
	must(t, err)
	s := open(t, newDir, pebblekv.Options{})
	for k := range rows {
		must(t, db.Set(rowKey(k), value, pebble.Sync))
		w := s.NewWrite()
		must(t, w.Set(rowKey(k), value))
		must(t, w.Commit(true))
	}
	must(t, os.CopyFS(oldCopy, os.DirFS(oldDir)))
	must(t, os.CopyFS(newCopy, os.DirFS(newDir)))
	must(t, db.Close())

	r := rand.New(rand.NewPCG(3, 4))
	var older, pinned outcome
	for range n {
		at, bit := r.Float64()*0.8, byte(1)<<r.IntN(8) // before the tail, which a crash may cut
		flip := func(b []byte) []byte {
			b[int(at*float64(len(b)))] ^= bit
			return b
		}
		older.try(t, oldCopy, newest(t, oldCopy, "*.log"), flip, withPebble(pebble.FormatMinSupported), rows)
		pinned.try(t, newCopy, newest(t, newCopy, "*.log"), flip, withPebblekv, rows)
	}
	t.Logf("%d flips: the default format %+v, the newest %+v", n, older, pinned)
	if older.shorter == 0 {
		t.Error("the default format noticed every flip")
	}
	if pinned.refused <= older.refused || pinned.gaps > 0 {
		t.Errorf("the newest format noticed %d of %d", pinned.refused, n)
	}
}

// What passes is no damage: nobody is told to make the views anew because the disk is full, or because another
// process has them.
func TestDamagedOrNot(t *testing.T) {
	dir, _ := written(t)
	s := open(t, dir, pebblekv.Options{})
	if _, err := pebblekv.Open(dir, pebblekv.Options{}); !errors.Is(err, pebblekv.ErrStore) || errors.Is(err, pebblekv.ErrDamaged) {
		t.Errorf("a store in use: %v", err)
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	dir, _ = written(t)
	must(t, os.Remove(filepath.Join(dir, newest(t, dir, "*.sst"))))
	if _, err := pebblekv.Open(dir, pebblekv.Options{}); !errors.Is(err, pebblekv.ErrDamaged) || !errors.Is(err, pebblekv.ErrStore) {
		t.Errorf("a store without a table: %v", err)
	}
}

// A write-ahead log that cannot be written ends the store and not the process, and what is read from then on is an
// error. Opened again on a disk that works, it has what was committed.
func TestWriteFailureEndsTheStore(t *testing.T) {
	for file, size := range map[string]int{
		".log":      1 << 10,  // large ones need a new log: see BUG in Write.commit
		"MANIFEST-": 17 << 20, // two of them are a flush, which is a new manifest record
	} {
		t.Run(file, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			var broken toggle
			fs := errorfs.Wrap(mem, &broken)
			s, err := pebblekv.Open("db", pebblekv.Options{FS: fs})
			must(t, err)
			kept := s.NewWrite()
			must(t, kept.Set([]byte("a"), []byte("=a")))
			must(t, kept.Commit(true))
			broken.file = file
			value := make([]byte, size)
			var failed error
			for range 20 {
				w := s.NewWrite()
				must(t, w.Set([]byte("b"), value))
				if failed = errors.Join(w.Commit(true), s.Err()); failed != nil {
					break
				}
			}
			if !errors.Is(failed, pebblekv.ErrStore) || errors.Is(failed, pebblekv.ErrDamaged) {
				t.Fatalf("a write to a broken %s: %v", file, failed)
			}
			snap := s.NewSnapshot()
			if _, _, err := snap.Get([]byte("a")); !errors.Is(err, pebblekv.ErrStore) {
				t.Errorf("read afterwards: %v", err)
			}
			for _, err := range snap.Scan(nil) {
				if !errors.Is(err, pebblekv.ErrStore) {
					t.Errorf("scanned afterwards: %v", err)
				}
			}
			snap.Close()
			w := s.NewWrite()
			must(t, w.Set([]byte("c"), nil))
			if err := w.Commit(false); !errors.Is(err, pebblekv.ErrStore) {
				t.Errorf("write afterwards: %v", err)
			}
			if err := s.Close(); !errors.Is(err, pebblekv.ErrStore) {
				t.Errorf("close: %v", err)
			}
			again := open(t, "db", pebblekv.Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})}).NewSnapshot()
			defer again.Close()
			if v, ok, err := again.Get([]byte("a")); !ok || err != nil || string(v) != "=a" {
				t.Errorf("opened again: %q %t %v", v, ok, err)
			}
		})
	}
}

// toggle fails writes to files of a name.
type toggle struct{ file string }

func (b *toggle) String() string { return "writes to " + b.file }

func (b *toggle) MaybeError(op errorfs.Op) error {
	name := filepath.Base(op.Path)
	switch op.Kind {
	case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileFlush, errorfs.OpFileSyncTo:
		if b.file != "" && (strings.HasPrefix(name, b.file) || strings.HasSuffix(name, b.file)) {
			return errorfs.ErrInjected
		}
	}
	return nil
}
