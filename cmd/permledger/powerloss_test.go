package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/lossyfs"
)

// plug is a disk whose n-th operation is the last one: the ledger on it is killed there and, if it loses, the
// power is gone, too.
type plug struct {
	t     *testing.T
	disk  *lossyfs.Disk
	dir   string // where the disk is mounted
	data  string // in it
	loses bool

	left atomic.Int64 // operations until then; it may fall below 0
	mu   sync.Mutex
	kill func() // the child that uses the disk, once it runs
}

// far is for a disk that fails nobody.
const far = 1 << 40

func plugIn(t *testing.T, loses bool, c lossyfs.Config) *plug {
	t.Helper()
	p := &plug{t: t, dir: t.TempDir(), loses: loses}
	p.data = filepath.Join(p.dir, "data")
	p.left.Store(far)
	c.Before = p.before
	p.disk = lossyfs.New(c)
	if err := p.disk.Mount(p.dir); err != nil {
		t.Skipf("needs root and /dev/fuse: %v", err)
	}
	t.Cleanup(func() {
		if err := p.disk.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *plug) before(string) error {
	if p.left.Add(-1) > 0 {
		return nil
	}
	p.pull()
	return syscall.EIO
}

// pull ends it now.
func (p *plug) pull() {
	p.left.Store(0)
	if p.loses {
		p.disk.PowerOff()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kill != nil {
		go p.kill()
	}
}

// run starts a command whose n-th operation on the disk is its last.
func (p *plug) run(n int, words ...string) (*child, error) {
	p.t.Helper()
	p.left.Store(int64(n))
	return startChild(p.t, words, func(c *child) {
		p.mu.Lock()
		p.kill = c.kill
		p.mu.Unlock()
		if p.left.Load() <= 0 { // met already, by a child that nobody could kill yet
			go c.kill()
		}
	})
}

func (p *plug) serve(n int) (*child, error) {
	p.t.Helper()
	return p.run(n, "permledger", "serve", "--data", p.data, "--listen", "127.0.0.1:0")
}

// again has the disk work again, with what is left on it.
func (p *plug) again() (met bool) {
	p.t.Helper()
	met = p.left.Load() <= 0
	p.pull()
	p.mu.Lock()
	kill := p.kill
	p.kill = nil
	p.mu.Unlock()
	kill()
	err := p.disk.Unmount()
	if err == nil {
		p.left.Store(far)
		err = p.disk.Mount(p.dir)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return met
}

// TestPowerLoss takes the power away at random operations of a ledger on one disk: in its first start, under
// load, while it recovers from the time before, and while it rebuilds. What was acknowledged was synced, or it
// is lost.
func TestPowerLoss(t *testing.T) {
	inProcesses(t)
	runs := 4
	if full() {
		runs = 50
	}
	for run := range runs {
		c := []lossyfs.Config{{}, {Strict: true}, {Keep: 0.5}, {Keep: 0.9}}[run%4]
		t.Run(fmt.Sprintf("%d, keeps %v, strict %t", run, c.Keep, c.Strict), func(t *testing.T) {
			t.Parallel()
			c.Seed = uint64(run)
			endure(t, plugIn(t, true, c), c.Seed)
		})
	}
}

// TestKilledAtOperations kills the ledger there, with the power on. Its operations are counted, whichever
// thread they are of.
func TestKilledAtOperations(t *testing.T) {
	inProcesses(t)
	runs := 2
	if full() {
		runs = 40
	}
	for run := range runs {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Parallel()
			endure(t, plugIn(t, false, lossyfs.Config{}), uint64(1000+run))
		})
	}
}

// endure crashes a ledger several times and verifies what is left.
func endure(t *testing.T, p *plug, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 1))
	k := newKeyed(t)
	met := 0
	for round, operations := range []int{150, 600, 120, 600} { // about how many there are: a start has some 100
		n := 1 + dice.IntN(operations)
		if c, err := p.serve(n); err == nil {
			k.connect(p.data, c.url)
			k.load(round, c, 40)
		}
		if p.again() {
			met++
		}
	}
	if _, err := p.run(1+dice.IntN(60), "permledger", "rebuild", "--data", p.data); err != nil && p.left.Load() > 0 {
		t.Log(err) // nothing to rebuild, perhaps
	}
	p.again()
	t.Logf("crashed in %d of 4 rounds, %d keys answered, %d requests cut off; the disk lost %+v", met, len(k.answers), len(k.unsure), p.disk.Lost())
	k.verify(p.data)
}

// The control: without a sync for each commit the same loses what was acknowledged, on a disk where the ledger
// is there already.
func TestPowerLossWithoutSync(t *testing.T) {
	inProcesses(t)
	p, k := plugIn(t, true, lossyfs.Config{}), newKeyed(t)
	for round, words := range [][]string{{"permledger", "serve", "--listen", "127.0.0.1:0", "--data"}, {"permledger-unsynced"}} {
		c, err := p.run(far, append(words, p.data)...)
		if err != nil {
			t.Fatal(err)
		}
		k.connect(p.data, c.url)
		k.load(round, c, 10)
		p.again()
	}
	faults, first := 0, ""
	k.fault = func(format string, a ...any) {
		if faults++; faults == 1 {
			first = fmt.Sprintf(format, a...)
		}
	}
	k.verify(p.data)
	if faults == 0 {
		t.Error("everything acknowledged is there: the power loss loses nothing")
	}
	t.Logf("%d keys answered, %d faults, the first: %.200s", len(k.answers), faults, first)
}

// The program itself cannot be told not to sync: besides tests, the switch is declared and handed on, no more.
func TestNothingSwitchesSyncOff(t *testing.T) {
	want := map[string]int{"cmd/permledger/node/node.go": 4, "ledger/jetstream/config.go": 2, "ledger/jetstream/server.go": 1}
	got := map[string]int{}
	for _, p := range packages(t) {
		files, err := filepath.Glob(filepath.Join(repository, p.dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if n := strings.Count(readFile(t, file), "UnsafeNoSync"); n > 0 && !strings.HasSuffix(file, "_test.go") {
				got[p.dir+"/"+filepath.Base(file)] = n
			}
		}
	}
	// node.go explains it, declares it, and copies it into the jetstream.Config.
	if !maps.Equal(got, want) {
		t.Errorf("UnsafeNoSync is in %v, want %v", got, want)
	}
}
