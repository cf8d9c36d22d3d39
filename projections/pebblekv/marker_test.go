package pebblekv

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// twoSessions is a store with its first row in a table and its second one in the write-ahead log.
func twoSessions(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	for _, key := range []string{"first", "second"} {
		s, err := Open("db", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		w := s.NewWrite()
		if err := errors.Join(w.Set([]byte(key), []byte("row")), w.Commit(true), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

func loseMarker(t *testing.T, fs vfs.FS) {
	t.Helper()
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, name := range names {
		if strings.HasPrefix(name, "marker.manifest.") {
			lost++
			if err := fs.Remove(fs.PathJoin("db", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if lost == 0 {
		t.Fatal("there is no marker")
	}
}

func TestAStoreWithoutItsMarkerIsRefused(t *testing.T) {
	fs := twoSessions(t)
	s, err := Open("db", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs = twoSessions(t)
	loseMarker(t, fs)
	if _, err := Open("db", Options{FS: fs}); !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), "marker") {
		t.Errorf("opened with %v", err)
	}
}

// The control: Pebble itself gives the end of the rows without their beginning. When this fails, noRemains is
// needed no more.
func TestPebbleForgetsTheBeginningWithoutItsMarker(t *testing.T) {
	fs := twoSessions(t)
	loseMarker(t, fs)
	db, err := pebble.Open("db", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		t.Fatalf("pebble refuses by itself: %v", err)
	}
	defer db.Close()
	_, _, first := db.Get([]byte("first"))
	value, closer, second := db.Get([]byte("second"))
	if !errors.Is(first, pebble.ErrNotFound) || second != nil {
		t.Fatalf("first row: %v, second row: %q, %v", first, value, second)
	}
	closer.Close()
}

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
