package projections_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

// atEach is what every view must be at each revision, and what a crash may leave.
type atEach []map[string]string

// watched applies a log commit by commit and takes every digest on the way.
func watched(t *testing.T, commits []events.Commit) (all atEach) {
	t.Helper()
	log := &memory{}
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	all = append(all, digests(t, p))
	for _, c := range commits {
		log.add(c)
		must(t, p.CatchUp(t.Context()))
		all = append(all, digests(t, p))
	}
	return all
}

// recovers opens what a crash left of a store, which had got to the revision live. The rows must be those of
// the cursor: never ahead of it, never behind. Then it catches up from the log.
func (all atEach) recovers(t *testing.T, s *pebblekv.Store, log *memory, live events.Revision) error {
	t.Helper()
	p := openProjector(t, s, log, nil)
	at := p.Head().Revision
	if at > live {
		return fmt.Errorf("restarted at revision %d, crashed at %d", at, live)
	}
	if got := digests(t, p); !maps.Equal(got, all[at]) {
		return fmt.Errorf("the cursor says revision %d, and the rows are %v, want %v", at, got, all[at])
	}
	must(t, p.CatchUp(t.Context()))
	if got, want := digests(t, p), all[len(all)-1]; !maps.Equal(got, want) {
		return fmt.Errorf("caught up from revision %d to %v, want %v", at, got, want)
	}
	return nil
}

// After each batch the power may go, and any share of what was not synced may have reached the disk.
func TestCrashAfterEachBatch(t *testing.T) {
	t.Parallel()
	n := 12
	if os.Getenv("PERMLEDGER_FULL") != "" {
		n = 400
	}
	commits, log := history(t, seeded(60), n)
	all := watched(t, commits)
	rng := rand.New(rand.NewPCG(60, 0))
	fs, before := vfs.NewCrashableMem(), &memory{}
	open := func() (*pebblekv.Store, *projections.Projector) {
		s, err := pebblekv.Open("db", pebblekv.Options{FS: fs, CacheBytes: 4 << 20})
		must(t, err)
		return s, openProjector(t, s, before, nil)
	}
	s, p := open()
	behind := 0
	for i, c := range commits {
		before.add(c)
		must(t, p.CatchUp(t.Context()))
		if i%7 == 3 { // some batches are synced by the answer after them
			must(t, p.NoteAnswer(uint64(i+1), events.Answer{Caller: actors[0], Key: "k"}))
		}
		if i%8 == 7 { // and some rows are in tables
			must(t, s.Close())
			s, p = open()
		}
		for _, percent := range []int{0, 25, 50, 100} {
			crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			after, err := pebblekv.Open("db", pebblekv.Options{FS: crashed, CacheBytes: 4 << 20})
			must(t, err)
			if openProjector(t, after, log, nil).Head().Revision < c.Revision {
				behind++
			}
			if err := all.recovers(t, after, log, c.Revision); err != nil {
				t.Errorf("crashed at revision %d, %d%% of what was not synced kept: %v", c.Revision, percent, err)
			}
			must(t, after.Close())
		}
	}
	must(t, s.Close())
	if behind == 0 {
		t.Error("no crash lost anything")
	}
	t.Logf("%d of %d crashes lost batches", behind, 4*n)
}

// The control: a projector that writes its cursor before its rows, in a batch of its own.
func TestACursorBeforeItsRowsIsFound(t *testing.T) {
	t.Parallel()
	commits, log := history(t, seeded(61), 10)
	all := watched(t, commits)
	fs, before := vfs.NewCrashableMem(), &memory{}
	s := openStore(t, "db", pebblekv.Options{FS: fs})
	p := openProjector(t, s, before, nil)
	for _, c := range commits[:5] {
		before.add(c)
		must(t, p.CatchUp(t.Context()))
	}
	cursor, err := json.Marshal(commits[5].Head())
	must(t, err)
	set(t, s, pebblekv.Key("Mc").Number(1), cursor)
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(61, 0))})
	if err := all.recovers(t, openStore(t, "db", pebblekv.Options{FS: crashed}), log, 6); err == nil || !strings.Contains(err.Error(), "the cursor says revision 6") {
		t.Errorf("found %v", err)
	}
}

// brokenDisk is set for the process in which the store's disk fails: directory, seed and how rarely.
const brokenDisk = "PERMLEDGER_TEST_BROKEN_DISK"

// One operation in so many of the store's disk fails. Pebble ends the process when it cannot write its log, so
// this happens in another one. Whatever it left, a healthy disk goes on from there.
func TestAStoreWhoseDiskFails(t *testing.T) {
	if how := os.Getenv(brokenDisk); how != "" {
		applyUntilBroken(t, how)
		return
	}
	t.Parallel()
	seeds := 3
	if os.Getenv("PERMLEDGER_FULL") != "" {
		seeds = 100
	}
	commits, log := history(t, seeded(62), 60)
	all := watched(t, commits)
	failed := 0
	for seed := range seeds {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run", "^TestAStoreWhoseDiskFails$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d|%d", brokenDisk, dir, seed, []int{20, 100, 400}[seed%3]))
		if out, err := cmd.CombinedOutput(); err != nil {
			failed++
			if !strings.Contains(string(out), errorfs.ErrInjected.Error()) {
				t.Errorf("seed %d failed of itself: %s", seed, out)
			}
		}
		if err := all.recovers(t, openStore(t, dir, pebblekv.Options{}), log, 60); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%d of %d stores failed on the way", failed, seeds)
	if failed == 0 {
		t.Error("no store failed")
	}
}

// applyUntilBroken applies the history commit by commit until the disk has failed it.
func applyUntilBroken(t *testing.T, how string) {
	words := strings.Split(how, "|")
	seed, err := strconv.ParseUint(words[1], 10, 64)
	must(t, err)
	rarely, err := strconv.Atoi(words[2])
	must(t, err)
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 0))
	fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if dice.IntN(rarely) == 0 {
			return errorfs.ErrInjected
		}
		return nil
	}))
	commits, _ := history(t, seeded(62), 60)
	for _, again := range []bool{false, true} { // the second time reads what the first one wrote
		s, err := pebblekv.Open(words[0], pebblekv.Options{FS: fs, CacheBytes: 4 << 20})
		must(t, err)
		log := &memory{}
		p := openProjector(t, s, log, nil)
		for _, c := range commits {
			log.add(c)
			if c.Revision <= p.Head().Revision || !again && c.Revision > 30 {
				continue
			}
			must(t, errors.Join(p.CatchUp(t.Context()), p.NoteAnswer(uint64(c.Revision), events.Answer{Caller: actors[0], Key: "k"})))
		}
		must(t, s.Close())
	}
}
