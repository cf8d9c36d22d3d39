package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// mount mounts a file system of its own, which the test may fill, or skips where it must not.
func mount(t *testing.T, megabytes int) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
	dir = t.TempDir()
	if err := syscall.Mount("permledger-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", megabytes)); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// filler is a file that takes space away and gives it back.
type filler struct {
	t    *testing.T
	dir  string
	file string
}

func newFiller(t *testing.T, dir string) *filler {
	return &filler{t, dir, filepath.Join(dir, "filler")}
}

// to fills the file system until that share of it is used.
func (f *filler) to(share float64) {
	f.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(f.dir, &s); err != nil {
		f.t.Fatal(err)
	}
	grow := int64(share*float64(s.Blocks)) - int64(s.Blocks-s.Bfree)
	out, err := os.OpenFile(f.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	for ; grow > 0 && err == nil; grow-- {
		_, err = out.Write(make([]byte, s.Bsize))
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		f.t.Fatal(err)
	}
}

func (f *filler) remove() {
	if err := os.Remove(f.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		f.t.Error(err)
	}
}

// eventually asks until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it never comes", what)
		}
	}
}

func (c *hosted) space(want string) {
	c.t.Helper()
	eventually(c.t, "space "+want, func() bool {
		s, err := c.client.Status(c.t.Context())
		return err == nil && s.Space == want
	})
}

// book is what was acknowledged: who holds the permission. A write whose outcome is unknown leaves it open.
type book struct {
	mu   sync.Mutex
	held map[events.Principal]bool
	open map[events.Principal]bool
}

func newBook() *book {
	return &book{held: map[events.Principal]bool{}, open: map[events.Principal]bool{}}
}

// write grants or revokes and enters what is known afterwards.
func (b *book) write(c *hosted, p events.Principal, held bool) error {
	do := "revoke"
	if held {
		do = "grant"
	}
	_, err := c.submit("", onControl(do, p))
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.held[p], b.open[p] = held, false
	case !isCode(err, api.CodeNoSpace) && !isCode(err, api.CodeUnavailable):
		b.open[p] = true
	}
	return err
}

// check holds every answer against the book. A wrong allow or deny is never forgiven; no answer may be.
func (b *book) check(c *hosted, what string, mayFail bool) {
	c.t.Helper()
	for p, held := range b.held {
		if !b.open[p] {
			c.answers(what, p, held, mayFail)
		}
	}
}

const writers = 40

func holder(k int) events.Principal { return events.User(fmt.Sprintf("holder-%d", k)) }

// TestDiskFills fills the disk under a server by steps. First grants stop and revokes go on, then both stop, each
// with no_space and nothing left half done, checks are right all the time, and with space again everything goes on by
// itself. The control is the same fill without limits: there a revoke fails, too, and not with a clear word.
func TestDiskFills(t *testing.T) {
	inProcesses(t)
	dir := mount(t, 192)
	c := host(t, filepath.Join(dir, "data"), nil).up()
	c.load()
	b, fill := newBook(), newFiller(t, dir)
	for k := range writers {
		if err := b.write(c, holder(k), true); err != nil {
			t.Fatal(err)
		}
	}
	revoked := 0
	revoke := func() error {
		revoked++
		return b.write(c, holder(revoked-1), false)
	}

	fill.to(0.92)
	c.space("low")
	for k := range 5 {
		if err := b.write(c, events.User(fmt.Sprint("late-", k)), true); !isCode(err, api.CodeNoSpace) {
			t.Errorf("a grant on a disk that is low: %v", err)
		}
		if err := revoke(); err != nil {
			t.Errorf("a revoke on a disk that is low: %v", err)
		}
	}
	b.check(c, "low", false)
	if err := c.ready(); err != nil {
		t.Errorf("low: %v", err)
	}

	fill.to(1)
	c.space("full")
	head, err := c.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, held := range []bool{true, false} {
		if err := b.write(c, holder(writers-1), held); !isCode(err, api.CodeNoSpace) {
			t.Errorf("held %t on a full disk: %v", held, err)
		}
	}
	b.check(c, "full", false)
	if err := c.ready(); err == nil {
		t.Error("a server that takes no request is ready")
	}
	if now, err := c.client.Status(t.Context()); err != nil || now.Revision != head.Revision {
		t.Errorf("the head moved from revision %d to %d, %v", head.Revision, now.Revision, err)
	}

	fill.remove()
	c.space("open")
	if err := revoke(); err != nil {
		t.Errorf("a revoke after space came back: %v", err)
	}
	if err := b.write(c, events.User("after"), true); err != nil {
		t.Errorf("a grant after space came back: %v", err)
	}
	b.check(c, "space again", false)
	eventually(t, "ready again", func() bool { return c.ready() == nil })
	c.noPanic()
	if code := c.stop(); code != 0 {
		t.Errorf("serve ended with %d:\n%s", code, c.text())
	}
	c = host(t, c.dir, nil).up()
	b.check(c, "after a restart", false)
	c.stop()
}

// TestDiskFillsWithoutLimits is the control, and what is left when another process takes the last byte between two
// looks: writes fail somewhere on their way. None that was acknowledged is lost, no check is wrong, and after a
// restart with space everything goes on.
func TestDiskFillsWithoutLimits(t *testing.T) {
	inProcesses(t)
	dir := mount(t, 192)
	limitless := []string{"--disk-low", "0", "--disk-full", "0"}
	c := host(t, filepath.Join(dir, "data"), nil, limitless...).up()
	c.load()
	b, fill := newBook(), newFiller(t, dir)
	for k := range writers {
		if err := b.write(c, holder(k), true); err != nil {
			t.Fatal(err)
		}
	}
	fill.to(1)
	c.patience = time.Second
	failed, clear := 0, 0
	var last error
	for k := 0; k < writers && failed == 0; k++ {
		// The file systems' rest of a block holds a few more; a caller does not wait for ever.
		if err := b.write(c, holder(k), false); err != nil {
			failed++
			last = err
			if isCode(err, api.CodeNoSpace) {
				clear++
			}
		}
		fill.to(1)
	}
	t.Logf("without limits %d revokes failed, the last with: %v", failed, last)
	if failed == 0 || clear > 0 {
		t.Errorf("control: without limits %d revokes failed, %d of them with no_space", failed, clear)
	}
	b.check(c, "full", true)
	fill.remove()
	ready := false
	for range 20 {
		if ready = c.ready() == nil; ready {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("with space again, without a restart: ready is %t", ready)
	c.kill()
	c.noPanic()
	c = host(t, c.dir, nil).up()
	b.check(c, "after a restart", false)
	if err := b.write(c, events.User("after"), true); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	c.stop()
}

// TestReadOnlyDisk takes the right to write away from a server, and gives it back.
func TestReadOnlyDisk(t *testing.T) {
	inProcesses(t)
	dir := mount(t, 192)
	c := host(t, filepath.Join(dir, "data"), nil).up()
	c.load()
	b := newBook()
	for k := range 10 {
		if err := b.write(c, holder(k), true); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.stop() // files that are open for writing keep a file system from being made read-only
	remount := func(how string) {
		t.Helper()
		if out, err := exec.Command("mount", "-o", "remount,"+how, dir).CombinedOutput(); err != nil {
			t.Skipf("remount: %v: %s", err, out)
		}
	}
	remount("ro")
	c = host(t, c.dir, nil)
	c.noPanic()
	if c.client != nil || exit(c.code()) != exitServer || !strings.Contains(c.text(), "read-only file system") {
		t.Errorf("on a read-only disk serve ended with %d:\n%s", c.code(), c.text())
	}
	remount("rw")
	c = host(t, c.dir, nil).up()
	b.check(c, "writable again", false)
	if err := b.write(c, holder(0), false); err != nil {
		t.Errorf("writable again: %v", err)
	}
	c.stop()
}

// TestNoFileHandles starts a server with few files that it may have open. With too few it does not start, with a clear
// error; else it works, and clients who take all connections there are cannot take what the log needs: checks and
// writes wait, and are right.
func TestNoFileHandles(t *testing.T) {
	inProcesses(t)
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no shell to limit a process with")
	}
	dir := t.TempDir()
	c := host(t, dir, nil).up()
	c.load()
	b := newBook()
	for k := range 10 {
		if err := b.write(c, holder(k), true); err != nil {
			t.Fatal(err)
		}
	}
	c.stop()
	started, refused := 0, 0
	for _, limit := range []int{20, 64, 160} {
		what := fmt.Sprintf("with %d files", limit)
		c := host(t, dir, func(serve []string) []string {
			return append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, limit), "sh"}, serve...)
		})
		if c.noPanic(); c.client == nil {
			refused++
			if exit(c.code()) != exitServer || !strings.Contains(c.text(), "too many open files") {
				t.Errorf("%s serve ended with %d:\n%s", what, c.code(), c.text())
			}
			continue
		}
		started++
		letGo := takeConnections(t, c, 2*limit)
		c.patience = time.Second
		c.answers(what+", all taken", holder(9), true, true)
		_ = b.write(c, holder(started), false)
		letGo()
		c.patience = 5 * time.Second
		eventually(t, what+", ready again", func() bool { return c.ready() == nil })
		b.check(c, what+", let go", false)
		if err := b.write(c, events.User(what), true); err != nil {
			t.Errorf("%s, let go: %v", what, err)
		}
		c.noPanic()
		c.stop()
	}
	t.Logf("%d did not start, %d did", refused, started)
	if started == 0 || refused == 0 {
		t.Error("control: the limits are all too low, or all too high")
	}
	c = host(t, dir, nil).up()
	b.check(c, "without a limit", false)
	c.stop()
}

// TestSecondServer: whoever comes second hears so at once, whatever it is, and the first one goes on.
func TestSecondServer(t *testing.T) {
	inProcesses(t)
	dir := t.TempDir()
	first := host(t, dir, nil).up()
	for _, verb := range [][]string{
		{"serve", "--data", dir, "--listen", "127.0.0.1:0"}, {"replay", "--data", dir}, {"rebuild", "--data", dir},
	} {
		out, err := exec.Command("permledger", verb...).CombinedOutput()
		var ended *exec.ExitError
		if !errors.As(err, &ended) || exit(ended.ExitCode()) != exitServer {
			t.Errorf("%s: %v", verb[0], err)
		}
		if want := "the data directory " + dir + " is in use by another process"; !strings.Contains(string(out), want) {
			t.Errorf("%s says %q", verb[0], out)
		}
	}
	if err := first.client.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	first.kill() // without a word: the lock goes with it
	host(t, dir, nil).up().stop()
}
