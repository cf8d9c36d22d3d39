package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A crash point is a moment in the life of a ledger at which it is killed: when a thread of it enters its n-th
// call of one kind. (strace counts for each thread on its own, so that a point is not the same moment in every
// run; TestKilledAtOperations counts for the whole process.)
type crashPoint struct {
	phase crashPhase
	call  string
	n     int
}

func (p crashPoint) String() string { return fmt.Sprintf("%s/%s/%d", p.phase, p.call, p.n) }

// crashPhase is what the ledger is doing when it is killed.
type crashPhase string

const (
	firstStart crashPhase = "first start" // in a directory that does not exist, and the load after it
	recovery   crashPhase = "recovery"    // the start after a kill in the middle of a load, and the load after it
	rebuilding crashPhase = "rebuild"     // permledger rebuild of what a kill left
)

// crashPoints are the points of a full run, a sample of them otherwise.
func crashPoints() (points []crashPoint) {
	for _, kind := range []struct {
		call                    string
		first, recover, rebuild int // how many points in each phase
	}{
		{"fsync", 30, 20, 8},
		{"fdatasync", 8, 6, 3},
		{"write", 30, 20, 8},
		{"pwrite64", 2, 2, 4},
		{"renameat", 12, 10, 6},
		{"unlinkat", 12, 10, 6},
		{"mkdirat", 10, 3, 0},
		{"openat", 15, 15, 8},
	} {
		for phase, n := range map[crashPhase]int{firstStart: kind.first, recovery: kind.recover, rebuilding: kind.rebuild} {
			for i := range n {
				points = append(points, crashPoint{phase, kind.call, i + 1})
			}
		}
	}
	if full() {
		return points
	}
	return []crashPoint{
		{firstStart, "fsync", 8}, {firstStart, "renameat", 4}, {firstStart, "write", 60},
		{recovery, "fsync", 3}, {recovery, "openat", 15}, {rebuilding, "fsync", 3},
	}
}

// TestKilledAtCalls kills the ledger at each crash point. Afterwards it must start on what is there, as if
// nothing had been: everything acknowledged is there once, keys give their first answers, the chain verifies,
// and the views are what a rebuild makes of the log. A directory that acknowledged nothing may be begun anew.
func TestKilledAtCalls(t *testing.T) {
	inProcesses(t)
	if err := exec.Command("strace", "-f", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("needs strace, allowed to trace: %v", err)
	}
	dir, loaded := killedUnderLoad(t)
	killed := 0
	points := crashPoints()
	for _, p := range points {
		t.Run(p.String(), func(t *testing.T) {
			at, k := filepath.Join(t.TempDir(), "data"), newKeyed(t)
			if p.phase != firstStart {
				k = loaded.copy(t)
				copyDir(t, dir, at)
			}
			if p.crash(t, at, k) {
				killed++
			}
			k.verify(at)
		})
	}
	t.Logf("%d of %d points were met", killed, len(points))
	if killed == 0 {
		t.Error("no point was met")
	}
}

// killedUnderLoad is a directory whose server was killed while clients wrote, and those clients.
func killedUnderLoad(t *testing.T) (dir string, k *keyed) {
	t.Helper()
	dir, k = filepath.Join(t.TempDir(), "data"), newKeyed(t)
	c, err := serveChild(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	k.connect(dir, c.url)
	k.loadAndKill(0, c, 40)
	return dir, k
}

// loadAndKill kills the server in the middle of a load, after that many answers.
func (k *keyed) loadAndKill(round int, c *child, answers int) {
	last := len(k.answers) + answers
	k.after = func(answered int) {
		if answered >= last {
			go c.kill()
		}
	}
	k.load(round, c, 0)
	k.after = nil
}

// crash runs the ledger up to the point, and reports whether that was met.
func (p crashPoint) crash(t *testing.T, dir string, k *keyed) (met bool) {
	t.Helper()
	strace := []string{
		"strace", "-f", "-qqq", "-o", os.DevNull, "-e", "trace=" + p.call,
		"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", p.call, p.n),
	}
	if p.phase == rebuilding {
		c, _ := startChild(t, append(strace, "permledger", "rebuild", "--data", dir), nil) // which never answers
		return c.killed()
	}
	c, err := serveChild(t, dir, strace...)
	if err == nil {
		k.connect(dir, c.url)
		k.load(2, c, 12)
		met = c.ended()
		c.kill()
		return met
	}
	if !c.killed() {
		t.Errorf("does not start: %v", err)
	}
	return true
}

// verify starts a server on what a crash left, holds it to its answers, and then looks at its directory.
func (k *keyed) verify(dir string) {
	k.t.Helper()
	c, err := serveChild(k.t, dir)
	if err != nil {
		k.fault("does not start again: %v", err)
		return
	}
	k.connect(dir, c.url)
	k.askAgain(len(k.answers) + len(k.unsure))
	k.trail()
	k.load(9, c, 1) // and it works
	c.kill()
	for _, verb := range []string{"replay", "rebuild"} { // exit 6 when the chain is broken, or the views differ
		if out, err := exec.Command("permledger", verb, "--data", dir, "-o", "json").CombinedOutput(); err != nil {
			k.fault("%s: %v: %s", verb, err, out[max(0, len(out)-2000):])
		}
	}
}

// copyDir copies a directory that nobody uses.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := os.CopyFS(to, os.DirFS(from))
	if err == nil { // the modes are forgotten, and keys and tokens that others may read are not taken
		err = filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.Chmod(path, 0o600)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The control of every crash test: a copy from before the last acknowledged writes, log, views and mark alike,
// is a ledger that verifies and lost them. verify must see it.
func TestVerifySeesALostWrite(t *testing.T) {
	inProcesses(t)
	dir, k := killedUnderLoad(t)
	stale := filepath.Join(t.TempDir(), "data")
	copyDir(t, dir, stale)
	c, err := serveChild(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	k.connect(dir, c.url)
	k.load(1, c, 1)
	c.kill()

	faults := 0
	k.fault = func(string, ...any) { faults++ }
	k.copy(t).verify(dir)
	k.verify(stale)
	if faults == 0 {
		t.Error("acknowledged writes are gone, and nothing was found")
	}
}
