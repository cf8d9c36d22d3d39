package node

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

func TestSpaceOfADisk(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, row := range []struct {
		what   string
		disk   Disk
		config Config // what is not the default
		want   ledger.Space
	}{
		{"empty", Disk{0, 100 * mib}, Config{}, ledger.SpaceOpen},
		{"nothing at all", Disk{}, Config{}, ledger.SpaceOpen},
		{"just below", Disk{899, 101}, Config{}, ledger.SpaceOpen},
		{"low", Disk{900, 100}, Config{}, ledger.SpaceLow},
		{"nearly full", Disk{969, 31}, Config{}, ledger.SpaceLow},
		{"full", Disk{970, 30}, Config{}, ledger.SpaceFull},
		{"to the brim", Disk{1000, 0}, Config{}, ledger.SpaceFull},
		{"large, with the headroom", Disk{9 << 40, 8 * gib}, Config{}, ledger.SpaceOpen},
		{"large, without", Disk{9 << 40, 8*gib - 1}, Config{}, ledger.SpaceFull},
		{"headroom of its own", Disk{9 << 40, 8*gib - 1}, Config{DiskHeadroom: gib}, ledger.SpaceOpen},
		{"no headroom", Disk{9 << 40, 8 * gib}, Config{DiskHeadroom: -1}, ledger.SpaceFull},
		{"shares of its own", Disk{500, 500}, Config{DiskLow: 0.4, DiskFull: 0.6}, ledger.SpaceLow},
		{"never low", Disk{950, 50}, Config{DiskLow: -1}, ledger.SpaceOpen},
		{"never low, but full", Disk{980, 20}, Config{DiskLow: -1}, ledger.SpaceFull},
		{"never", Disk{1000, 0}, Config{DiskLow: -1, DiskFull: -1}, ledger.SpaceOpen},
	} {
		row.config.Memory = true
		c, err := row.config.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		if got := c.space(row.disk); got != row.want {
			t.Errorf("%s: %s is %s, want %s", row.what, row.disk, got, row.want)
		}
	}
	if _, err := (Config{Memory: true, DiskLow: 0.98}).withDefaults(); err == nil {
		t.Error("low after full is taken")
	}
}

func TestDiskOfADirectory(t *testing.T) {
	d, err := diskOf(t.TempDir())()
	if err != nil || d.Used == 0 || d.Free == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := diskOf("/no/such/directory")(); err == nil {
		t.Error("a disk that is not there has a size")
	}
}

// The agent looks, the writer asks, and the node says it, in both directions; a disk that cannot be looked at is as
// it was.
func TestNodeFollowsTheDisk(t *testing.T) {
	var used atomic.Uint64
	broken := errors.New("no disk")
	disk := func() (Disk, error) {
		if used.Load() == 0 {
			return Disk{}, broken
		}
		return Disk{used.Load(), 1000 - used.Load()}, nil
	}
	used.Store(100)
	n, err := Open(t.Context(), Config{Dir: t.TempDir(), Disk: disk, NoticeInterval: -1, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	d := &desk{t, n}
	bob := ledger.AddMember{Group: "team", Member: events.User("bob")}
	if err := d.submit(time.Time{}, time.Time{}, ledger.CreateGroup{Group: "team"}, bob); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		used        uint64
		want        ledger.Space
		adds, takes bool
	}{
		{910, ledger.SpaceLow, false, true},
		{980, ledger.SpaceFull, false, false},
		{0, ledger.SpaceFull, false, false},
		{100, ledger.SpaceOpen, true, true},
	} {
		used.Store(row.used)
		for n.Space() != row.want {
			time.Sleep(20 * time.Millisecond)
		}
		if row.used == 0 {
			time.Sleep(2 * lookEvery) // it goes on looking
		}
		for _, c := range []struct {
			command ledger.Command
			want    bool
		}{{ledger.RemoveMember(bob), row.takes}, {bob, row.adds}} {
			err := d.submit(time.Time{}, time.Time{}, c.command)
			if c.want && err != nil || !c.want && !errors.Is(err, ledger.ErrNoSpace) {
				t.Errorf("%d of 1000 used: %T gives %v", row.used, c.command, err)
			}
		}
		ready := n.Ready()
		if full := row.want == ledger.SpaceFull; full != errors.Is(ready, ledger.ErrNoSpace) || !full && ready != nil {
			t.Errorf("%d of 1000 used: ready is %v", row.used, ready)
		}
	}
}

// Whatever of a directory is opened first, a second process hears the same.
func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	n, err := Open(t.Context(), Config{Dir: dir, NoticeInterval: -1, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, offline := range []bool{false, true} {
		_, err := Open(t.Context(), Config{Dir: dir, Offline: offline})
		want := "the data directory " + dir + " is in use by another process"
		if !errors.Is(err, ledger.ErrUnavailable) || err.Error() != "open node: unavailable: "+want {
			t.Errorf("offline %t: %v", offline, err)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n, err = Open(t.Context(), Config{Dir: dir, Offline: true}) // control: it was the lock
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
