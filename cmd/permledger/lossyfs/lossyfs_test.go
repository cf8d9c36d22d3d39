package lossyfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// mounted is a disk under a directory, which the test may switch off and mount again.
type mounted struct {
	t    *testing.T
	disk *Disk
	dir  string
}

func mount(t *testing.T, c Config) *mounted {
	t.Helper()
	m := &mounted{t, New(c), t.TempDir()}
	if err := m.disk.Mount(m.dir); err != nil {
		t.Skipf("needs root and /dev/fuse: %v", err)
	}
	t.Cleanup(func() { m.must(m.disk.Unmount()) })
	return m
}

func (m *mounted) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

// blink switches the power off and on.
func (m *mounted) blink() {
	m.t.Helper()
	m.disk.PowerOff()
	if err := os.WriteFile(m.path("whatever"), nil, 0o600); !errors.Is(err, syscall.EIO) {
		m.t.Errorf("written without power: %v", err)
	}
	m.must(m.disk.Unmount())
	m.must(m.disk.Mount(m.dir))
}

// write writes a file, and syncs it or not.
func (m *mounted) write(name, text string, sync bool) {
	m.t.Helper()
	f, err := os.OpenFile(m.path(name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	m.must(err)
	_, err = f.WriteString(text)
	m.must(err)
	if sync {
		m.must(f.Sync())
	}
	m.must(f.Close())
}

func (m *mounted) sync(name string) {
	m.t.Helper()
	f, err := os.Open(m.path(name))
	m.must(err)
	m.must(f.Sync())
	m.must(f.Close())
}

func (m *mounted) rename(from, to string) { m.t.Helper(); m.must(os.Rename(m.path(from), m.path(to))) }

// tree is everything that is there, as "name=content" and "name/".
func (m *mounted) tree() (all []string) {
	m.t.Helper()
	m.must(filepath.WalkDir(m.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == m.dir {
			return err
		}
		name, err := filepath.Rel(m.dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			all = append(all, name+"/")
			return nil
		}
		b, err := os.ReadFile(path)
		all = append(all, name+"="+string(b))
		return err
	}))
	return all
}

func TestWhatIsForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(m *mounted)
		before string // what programs see
		after  string // what remains; strict says what of it when a file's fsync does not name it
		strict string
	}{
		"a file that was not synced": {
			func(m *mounted) { m.write("a", "1", false) },
			"a=1", "", "",
		},
		"a file that was": {
			func(m *mounted) { m.write("a", "1", true); m.write("b", "2", false) },
			"a=1 b=2", "a=1", "",
		},
		"a name without its bytes": {
			func(m *mounted) { m.write("a", "1", false); m.sync(".") },
			"a=1", "a=", "a=",
		},
		"file and directory": {
			func(m *mounted) { m.write("a", "1", true); m.sync(".") },
			"a=1", "a=1", "a=1",
		},
		"written again": {
			func(m *mounted) { m.write("a", "first", true); m.sync("."); m.write("a", "2", false) },
			"a=2", "a=first", "a=first",
		},
		"cut and written again": {
			func(m *mounted) { m.write("a", "first", true); m.sync("."); m.write("a", "2", true) },
			"a=2", "a=2", "a=2",
		},
		"cut and grown": {
			func(m *mounted) {
				m.write("a", "first", true)
				m.sync(".")
				m.must(os.Truncate(m.path("a"), 2))
				m.must(os.Truncate(m.path("a"), 4))
				m.sync("a")
			},
			"a=fi\x00\x00", "a=fi\x00\x00", "a=fi\x00\x00",
		},
		"in new directories": {
			func(m *mounted) { m.must(os.MkdirAll(m.path("d/e"), 0o700)); m.write("d/e/a", "1", true) },
			"d/ d/e/ d/e/a=1", "d/ d/e/ d/e/a=1", "",
		},
		"in new directories, synced upwards": {
			func(m *mounted) {
				m.must(os.Mkdir(m.path("d"), 0o700))
				m.write("d/a", "1", true)
				m.sync("d")
				m.sync(".")
			},
			"d/ d/a=1", "d/ d/a=1", "d/ d/a=1",
		},
		"a rename": {
			func(m *mounted) { m.write("a", "1", true); m.sync("."); m.rename("a", "b") },
			"b=1", "a=1", "a=1",
		},
		"a rename, file synced": {
			func(m *mounted) { m.write("a", "1", true); m.sync("."); m.rename("a", "b"); m.sync("b") },
			"b=1", "b=1", "a=1",
		},
		"a rename, directory synced": {
			func(m *mounted) { m.write("a", "1", true); m.rename("a", "b"); m.sync(".") },
			"b=1", "b=1", "b=1",
		},
		"replaced": {
			func(m *mounted) {
				m.write("a", "old", true)
				m.sync(".")
				m.write("b", "new", true)
				m.rename("b", "a")
			},
			"a=new", "a=old b=new", "a=old",
		},
		"replaced and synced": {
			func(m *mounted) {
				m.write("a", "old", true)
				m.sync(".")
				m.write("b", "new", true)
				m.rename("b", "a")
				m.sync(".")
			},
			"a=new", "a=new", "a=new",
		},
		"moved between directories, the old one synced": {
			func(m *mounted) {
				m.must(os.Mkdir(m.path("d"), 0o700))
				m.must(os.Mkdir(m.path("e"), 0o700))
				m.write("d/a", "1", true)
				m.sync("d")
				m.sync(".")
				m.rename("d/a", "e/a")
				m.sync("d")
			},
			"d/ e/ e/a=1", "d/ e/ e/a=1", "d/ e/ e/a=1",
		},
		"exchanged": {
			func(m *mounted) {
				m.write("a", "1", true)
				m.write("b", "2", true)
				m.sync(".")
				m.rename("a", "c")
				m.rename("b", "a")
				m.rename("c", "b")
				m.sync(".")
			},
			"a=2 b=1", "a=2 b=1", "a=2 b=1",
		},
		"handed on": { // what had the name must not be lost when the name's new owner is synced
			func(m *mounted) {
				m.write("a", "1", true)
				m.write("b", "2", true)
				m.sync(".")
				m.rename("b", "c")
				m.rename("a", "b")
				m.sync("b")
			},
			"b=1 c=2", "b=1 c=2", "a=1 b=2",
		},
		"an unlink": {
			func(m *mounted) { m.write("a", "1", true); m.sync("."); m.must(os.Remove(m.path("a"))) },
			"", "a=1", "a=1",
		},
		"an unlink, synced": {
			func(m *mounted) { m.write("a", "1", true); m.sync("."); m.must(os.Remove(m.path("a"))); m.sync(".") },
			"", "", "",
		},
		"written through O_SYNC": {
			func(m *mounted) {
				f, err := os.OpenFile(m.path("a"), os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o600)
				m.must(err)
				_, err = f.WriteString("1")
				m.must(errors.Join(err, f.Close()))
				m.sync(".")
			},
			"a=1", "a=1", "a=1",
		},
		"a link": {
			func(m *mounted) {
				m.write("a", "1", true)
				m.sync(".")
				m.must(os.Link(m.path("a"), m.path("b")))
				m.must(os.Remove(m.path("a")))
				m.sync(".")
			},
			"b=1", "b=1", "b=1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, strict := range []bool{false, true} {
				m := mount(t, Config{Strict: strict})
				c.do(m)
				if got := strings.Join(m.tree(), " "); got != c.before {
					t.Errorf("before: %q, want %q", got, c.before)
				}
				want := c.after
				if strict {
					want = c.strict
				}
				m.blink()
				if got := strings.Join(m.tree(), " "); got != want {
					t.Errorf("after, strict %t: %q, want %q", strict, got, want)
				}
				m.write("more", "works again", true)
			}
		})
	}
}

// With Keep some of what was not synced is there, block by block, and what was synced always is.
func TestSomeIsKept(t *testing.T) {
	const blocks, files = 64, 64
	content := bytes.Repeat([]byte{1}, blocks*block)
	for keep, want := range map[float64]func(share float64) bool{
		0: func(s float64) bool { return s == 0 }, 0.5: func(s float64) bool { return s > 0.2 && s < 0.8 }, 1: func(s float64) bool { return s == 1 },
	} {
		m := mount(t, Config{Keep: keep, Seed: 7})
		m.write("synced", "whole", true)
		m.write("torn", "", true)
		m.write("torn", string(content), false)
		for i := range files {
			m.write("file"+string(rune('A'+i)), "", false)
		}
		m.blink()
		names := m.tree()
		if !slices.Contains(names, "synced=whole") {
			t.Errorf("keep %v: what was synced is gone", keep)
		}
		b, err := os.ReadFile(m.path("torn"))
		m.must(err)
		if got := float64(bytes.Count(b, []byte{1})) / float64(len(content)); !want(got) {
			t.Errorf("keep %v: %v of the bytes are there", keep, got)
		}
		if got := float64(len(names)-2) / files; !want(got) {
			t.Errorf("keep %v: %v of the names are there", keep, got)
		}
		if lost := m.disk.Lost(); (lost.Bytes > 0) != (keep < 1) || (lost.Entries > 0) != (keep < 1) {
			t.Errorf("keep %v: lost %+v", keep, lost)
		}
	}
}

// Names are kept in order: a name that takes another's place is there, or the other one is.
func TestNamesAreKeptInOrder(t *testing.T) {
	both, one, other := 0, 0, 0
	for seed := range uint64(40) {
		m := mount(t, Config{Keep: 0.5, Seed: seed})
		m.write("a", "", true)
		m.sync(".")
		m.write("b", "", false)
		m.must(os.Remove(m.path("a")))
		m.blink()
		switch got := strings.Join(m.tree(), " "); got {
		case "a= b=":
			both++
		case "a=":
			one++
		case "b=":
			other++
		default:
			t.Errorf("seed %d: %q", seed, got)
		}
	}
	if both == 0 || one == 0 || other == 0 {
		t.Errorf("%d times both, %d the old one, %d the new one", both, one, other)
	}
}

// A change that is durable by an fsync is not made again, after one that came later.
func TestWhatIsSyncedStays(t *testing.T) {
	for seed := range uint64(10) {
		m := mount(t, Config{Keep: 0.9, Seed: seed})
		m.write("a", "1", false)
		m.must(os.Remove(m.path("a")))
		m.write("a", "2", true)
		m.write("b", "", true)
		m.rename("b", "c")
		m.must(os.Remove(m.path("c")))
		m.write("d", "3", true)
		m.rename("d", "c")
		m.sync("c")
		m.blink()
		if got := strings.Join(m.tree(), " "); got != "a=2 c=3" && got != "a=2 b= c=3" {
			t.Errorf("seed %d: %q", seed, got)
		}
	}
}

// The test may have any change fail, which then did nothing.
func TestBefore(t *testing.T) {
	var mu sync.Mutex // the hook is called by whoever serves the operation
	var heard []string
	var fail string
	m := mount(t, Config{Before: func(operation string) error {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, operation)
		if operation == fail {
			return syscall.ENOSPC
		}
		return nil
	}})
	m.write("a", "1", true)
	m.rename("a", "b")
	m.sync(".")
	m.must(os.Mkdir(m.path("d"), 0o700))
	m.must(os.Remove(m.path("d")))
	mu.Lock()
	if want := []string{"create", "write", "fsync", "rename", "fsyncdir", "mkdir", "rmdir"}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
	fail = "rename"
	mu.Unlock()
	if err := os.Rename(m.path("b"), m.path("c")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if got := m.tree(); !slices.Equal(got, []string{"b=1"}) {
		t.Errorf("a rename that failed left %v", got)
	}
}
