package pebblekv_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/permledger/permledger/projections/pebblekv"
)

func open(t testing.TB, dir string, o pebblekv.Options) *pebblekv.Store {
	t.Helper()
	s, err := pebblekv.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes rows under a prefix, committed.
func put(t testing.TB, s *pebblekv.Store, prefix string, keys ...string) {
	t.Helper()
	w := s.NewWrite()
	defer w.Discard()
	rows := w.Window([]byte(prefix))
	for _, k := range keys {
		must(t, rows.Set([]byte(k), []byte("="+k)))
	}
	must(t, w.Commit(false))
}

func keysOf(t testing.TB, r pebblekv.Reader, prefix, from string) (keys []string) {
	t.Helper()
	for row, err := range r.ScanFrom([]byte(prefix), []byte(from)) {
		must(t, err)
		if string(row.Value) != "="+string(row.Key) {
			t.Fatalf("row %q has value %q", row.Key, row.Value)
		}
		keys = append(keys, string(row.Key))
	}
	return keys
}

func TestScanAndLastAtTheirBounds(t *testing.T) {
	s := open(t, "", pebblekv.Options{})
	put(t, s, "\xff", "a", "a/1", "a/2", "a/\xff", "a/\xff\xff", "a0", "b/1", "\xff", "\xff\xff")
	put(t, s, "\xfe\xff", "below")
	snap := s.NewSnapshot()
	defer snap.Close()
	rows := snap.Window([]byte("\xff"))

	for _, c := range []struct {
		prefix, from string
		want         []string
	}{
		{"", "", []string{"a", "a/1", "a/2", "a/\xff", "a/\xff\xff", "a0", "b/1", "\xff", "\xff\xff"}},
		{"a/", "a/", []string{"a/1", "a/2", "a/\xff", "a/\xff\xff"}},
		{"a/", "a/2", []string{"a/2", "a/\xff", "a/\xff\xff"}},
		{"a/", "a/20", []string{"a/\xff", "a/\xff\xff"}},
		{"a/\xff", "a/\xff", []string{"a/\xff", "a/\xff\xff"}},
		{"\xff", "\xff", []string{"\xff", "\xff\xff"}},
		{"\xff\xff", "\xff\xff", []string{"\xff\xff"}},
		{"c", "c", nil},
	} {
		if got := keysOf(t, rows, c.prefix, c.from); !slices.Equal(got, c.want) {
			t.Errorf("scan %q from %q: %q, want %q", c.prefix, c.from, got, c.want)
		}
	}

	for _, c := range []struct{ prefix, upTo, want string }{ // upTo "-": the very last
		{"a/", "-", "a/\xff\xff"},
		{"a/", "a/2", "a/2"},
		{"a/", "a/1\xff", "a/1"},
		{"a/", "a/", ""},
		{"a/", "a", ""},             // before the prefix
		{"a/", "b/9", "a/\xff\xff"}, // beyond the prefix: nothing of another prefix
		{"a/", "\xff\xff", "a/\xff\xff"},
		{"", "-", "\xff\xff"},
		{"", "\xfe", "b/1"},
		{"\xff", "-", "\xff\xff"},
		{"c", "-", ""},
	} {
		var upTo []byte
		if c.upTo != "-" {
			upTo = []byte(c.upTo)
		}
		row, ok, err := rows.Last([]byte(c.prefix), upTo)
		must(t, err)
		if ok != (c.want != "") || string(row.Key) != c.want {
			t.Errorf("last of %q up to %q: %q %v, want %q", c.prefix, c.upTo, row.Key, ok, c.want)
		}
	}
}

// A damaged file is an error each time it is read, of whatever iterators a snapshot uses again, and what is
// whole can still be read.
func TestADamagedFileIsAnErrorEveryTime(t *testing.T) {
	fs := vfs.NewMem()
	s, err := pebblekv.Open("db", pebblekv.Options{FS: fs})
	must(t, err)
	var keys []string
	for i := range 20_000 {
		keys = append(keys, fmt.Sprintf("%06d", i))
	}
	put(t, s, "", keys...)
	must(t, s.Close())
	s, err = pebblekv.Open("db", pebblekv.Options{FS: fs}) // writes what it finds in its log into table files
	must(t, err)
	must(t, s.Close())
	files, err := fs.List("db")
	must(t, err)
	for _, name := range files {
		if path := fs.PathJoin("db", name); strings.HasSuffix(name, ".sst") {
			flip(t, fs, path)
		}
	}

	snap := open(t, "db", pebblekv.Options{FS: fs}).NewSnapshot()
	defer snap.Close()
	count := func(prefix string) (n int, failed error) {
		for row, err := range snap.Scan([]byte(prefix)) {
			if failed = err; err == nil && string(row.Key) != keys[n] {
				t.Fatalf("row %d is %q", n, row.Key)
			} else if err == nil {
				n++
			}
		}
		return n, failed
	}
	whole, failed := count("")
	if whole == 0 || whole == len(keys) || !errors.Is(failed, pebblekv.ErrStore) {
		t.Fatalf("%d rows, %v: the damage is not in the middle", whole, failed)
	}
	damaged := keys[whole][:4]
	for range 3 {
		if n, err := count("00000"); n != 10 || err != nil {
			t.Errorf("the whole part: %d rows, %v", n, err)
		}
		if n, err := count(""); n != whole || !errors.Is(err, pebblekv.ErrStore) {
			t.Errorf("everything again: %d rows, %v", n, err)
		}
		if _, _, err := snap.Last([]byte(damaged), []byte(keys[whole])); !errors.Is(err, pebblekv.ErrStore) {
			t.Errorf("the last up to %s: %v", keys[whole], err)
		}
		if _, _, err := snap.Get([]byte(keys[whole])); !errors.Is(err, pebblekv.ErrStore) {
			t.Errorf("row %s: %v", keys[whole], err)
		}
	}
}

// flip changes a bit in the middle of a file.
func flip(t *testing.T, fs vfs.FS, path string) {
	t.Helper()
	f, err := fs.Open(path)
	must(t, err)
	b, err := io.ReadAll(f)
	must(t, err)
	must(t, f.Close())
	b[len(b)/2] ^= 1
	f, err = fs.Create(path, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.Write(b)
	must(t, err)
	must(t, f.Close())
}

// Reads over any rows agree with the same questions asked of a sorted list.
func TestReadsAgainstASortedList(t *testing.T) {
	anyKey := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 'b', 0xFE, 0xFF}), 1, 4)
	rapid.Check(t, func(t *rapid.T) {
		s, err := pebblekv.Open("", pebblekv.Options{CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		window := anyKey.Draw(t, "window")
		keys := map[string]bool{}
		w := s.NewWrite()
		defer w.Discard()
		rows := w.Window(window)
		for _, k := range rapid.SliceOfN(anyKey, 0, 20).Draw(t, "keys") {
			keys[string(k)] = true
			if err := rows.Set(k, nil); err != nil {
				t.Fatal(err)
			}
		}
		sorted := slices.Sorted(maps.Keys(keys))

		prefix := rapid.SliceOfN(rapid.SampledFrom([]byte{'a', 0xFF}), 0, 2).Draw(t, "prefix")
		from := append(bytes.Clone(prefix), rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "from")...)
		upTo := anyKey.Draw(t, "up to")
		var scanned []string
		last := ""
		for _, k := range sorted {
			if bytes.HasPrefix([]byte(k), prefix) && k >= string(from) {
				scanned = append(scanned, k)
			}
			if bytes.HasPrefix([]byte(k), prefix) && k <= string(upTo) {
				last = k
			}
		}
		check := func(rows pebblekv.Reader) {
			var got []string
			for row, err := range rows.ScanFrom(prefix, from) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(row.Key))
			}
			if !slices.Equal(got, scanned) {
				t.Fatalf("scan %q from %q in %q: %q, want %q", prefix, from, sorted, got, scanned)
			}
			row, ok, err := rows.Last(prefix, upTo)
			if err != nil || ok != (last != "") || string(row.Key) != last {
				t.Fatalf("last of %q up to %q in %q: %q %v %v, want %q", prefix, upTo, sorted, row.Key, ok, err, last)
			}
		}
		check(rows)
		if err := w.Commit(false); err != nil {
			t.Fatal(err)
		}
		snap := s.NewSnapshot()
		defer snap.Close()
		for range 2 { // the second time with the iterators of the first
			check(snap.Window(window))
		}
	})
}

func TestWindowsAreIsolated(t *testing.T) {
	s := open(t, "", pebblekv.Options{})
	put(t, s, "v/", "k")
	put(t, s, "v0", "k")   // the first prefix after v/
	put(t, s, "v/w/", "k") // below v/: the one window that is inside another
	w := s.NewWrite()
	defer w.Discard()
	mine := w.Window([]byte("v/w/"))
	must(t, mine.Set([]byte("new"), []byte("=new")))
	must(t, mine.Delete([]byte("k")))
	must(t, mine.Delete([]byte("never there")))

	if got := keysOf(t, mine, "", ""); !slices.Equal(got, []string{"new"}) {
		t.Errorf("the batch reads %q of itself", got)
	}
	snap := s.NewSnapshot()
	defer snap.Close()
	if got := keysOf(t, snap.Window([]byte("v/w/")), "", ""); !slices.Equal(got, []string{"k"}) {
		t.Errorf("others read %q before the commit", got)
	}
	must(t, w.Commit(false))
	if got := keysOf(t, snap.Window([]byte("v/w/")), "", ""); !slices.Equal(got, []string{"k"}) {
		t.Errorf("a snapshot moved: %q", got)
	}
	now := s.NewSnapshot()
	defer now.Close()
	for prefix, want := range map[string][]string{"v/w/": {"new"}, "v0": {"k"}} {
		if got := keysOf(t, now.Window([]byte(prefix)), "", ""); !slices.Equal(got, want) {
			t.Errorf("window %q has %q, want %q", prefix, got, want)
		}
	}
	if v, ok, err := now.Window([]byte("v/")).Get([]byte("k")); err != nil || !ok || string(v) != "=k" {
		t.Errorf("k of v/ is %q %v %v", v, ok, err)
	}
	if v, ok, err := now.Window([]byte("v/")).Get([]byte("K")); err != nil || ok || v != nil {
		t.Errorf("a row that is not there: %q %v %v", v, ok, err)
	}
}

func TestValuesAreCopies(t *testing.T) {
	s := open(t, "", pebblekv.Options{})
	put(t, s, "", "a", "b")
	snap := s.NewSnapshot()
	defer snap.Close()
	v, _, err := snap.Get([]byte("a"))
	must(t, err)
	row, _, err := snap.Last([]byte("b"), nil)
	must(t, err)
	v[0], row.Key[0], row.Value[0] = 'x', 'x', 'x'
	if got := keysOf(t, snap, "", ""); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("rows changed through what was read: %q", got)
	}
}

func TestDeletePrefix(t *testing.T) {
	s := open(t, "", pebblekv.Options{})
	put(t, s, "", "a", "a/1", "a/\xff\xff", "a0", "b")
	w := s.NewBulkWrite()
	defer w.Discard()
	must(t, w.DeletePrefix([]byte("a/")))
	for _, endless := range []string{"", "\xff", "\xff\xff"} {
		if err := w.DeletePrefix([]byte(endless)); !errors.Is(err, pebblekv.ErrStore) {
			t.Errorf("delete of everything from %q on: %v", endless, err)
		}
	}
	must(t, w.Commit(false))
	snap := s.NewSnapshot()
	defer snap.Close()
	if got := keysOf(t, snap, "", ""); !slices.Equal(got, []string{"a", "a0", "b"}) {
		t.Errorf("left are %q", got)
	}
}

// Pebble hands out batches again, so closing one twice would close somebody else's.
func TestDiscardAfterCommitIsHarmless(t *testing.T) {
	s := open(t, "", pebblekv.Options{})
	for i := range 50 {
		w := s.NewWrite()
		must(t, w.Set([]byte("mine"), []byte("=mine")))
		must(t, w.Commit(false))
		other := s.NewWrite()
		must(t, other.Set([]byte("other"), []byte("=other")))
		size := other.Size()
		w.Discard()
		w.Discard()
		if other.Size() != size {
			t.Fatalf("round %d: discarding one write emptied another", i)
		}
		other.Discard()
	}
	snap := s.NewSnapshot()
	defer snap.Close()
	if got := keysOf(t, snap, "", ""); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("rows %q", got)
	}
}

func TestOnlySyncedBatchesSurviveACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, "db", pebblekv.Options{FS: fs})
	commit := func(key string, sync bool) {
		w := s.NewWrite()
		must(t, w.Set([]byte(key), []byte("="+key)))
		must(t, w.Commit(sync))
	}
	for i := range 10 {
		commit(fmt.Sprintf("a%d", i), i == 4)
	}
	after := open(t, "db", pebblekv.Options{FS: fs.CrashClone(vfs.CrashCloneCfg{})})
	snap := after.NewSnapshot()
	defer snap.Close()
	got := keysOf(t, snap, "", "")
	if want := []string{"a0", "a1", "a2", "a3", "a4"}; len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Fatalf("after the crash: %q", got)
	}
	for i, k := range got {
		if k != fmt.Sprintf("a%d", i) {
			t.Fatalf("not the first batches but %q", got)
		}
	}
}

func TestOpenAgain(t *testing.T) {
	dir := t.TempDir()
	s, err := pebblekv.Open(dir, pebblekv.Options{})
	must(t, err)
	put(t, s, "", "a")
	if _, err := pebblekv.Open(dir, pebblekv.Options{}); !errors.Is(err, pebblekv.ErrStore) {
		t.Errorf("a store was opened twice: %v", err)
	}
	must(t, s.Close())
	snap := open(t, dir, pebblekv.Options{}).NewSnapshot()
	defer snap.Close()
	if got := keysOf(t, snap, "", ""); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after a clean restart: %q", got)
	}
}
