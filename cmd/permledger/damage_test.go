package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/ledger/logtest"
)

// TestDamagedStores damages a copy of one store, in one way each, opens it as a node does that remembers how far
// the log had got, reads all of it, and appends. It must end in one of two ways: the damage is detected, by Open
// or by Read; or it is harmless: every commit reads back byte for byte, and the next one gets the next revision.
// Never is a log served as complete that is not, is a revision given away again, or do the two processes, the one
// that opens and the one that looks first, need more than 512 MB.
//
// The control is a consumer as NATS has it, on the same flips: it must skip silently, or be killed, in most.
func TestDamagedStores(t *testing.T) {
	inProcesses(t)
	s := makeStore(t)
	t.Run("found or harmless", s.isFoundOrHarmless)
	t.Run("the server alone", s.isSkippedByTheServerAlone)
	t.Run("a look that dies", s.killsWhoLooks)
}

func (s *madeStore) isFoundOrHarmless(t *testing.T) {
	rows := []struct {
		kind         string
		sample, full int
		damage       func(*copied) string // does it, and says what it did
	}{
		{"a bit of a block, index there", 4, 200, func(c *copied) string { c.crashedOrNot(); return c.flip(c.anyBlock()) }},
		{"a bit of a block, index gone", 3, 60, func(c *copied) string { c.remove(c.index()); return c.flip(c.anyBlock()) }},
		{"a bit of a block, index stale", 3, 60, func(c *copied) string { c.write(c.index(), s.staleIndex); return c.flip(c.anyBlock()) }},
		{"a bit of a record's head, index there", 3, 60, func(c *copied) string { c.crashedOrNot(); return c.flipHead() }},
		{"a bit of a record's head, index gone", 2, 60, func(c *copied) string { c.remove(c.index()); return c.flipHead() }},
		{"a far sequence", 2, 24, func(c *copied) string { c.crashedOrNot(); return c.farSequence() }},
		{"a far sequence, index gone", 1, 24, func(c *copied) string { c.remove(c.index()); return c.farSequence() }},
		{"a bit of the journal", 1, 40, func(c *copied) string { c.crashedOrNot(); return c.flip(c.file("JOURNAL", "msgs/1.blk")) }},
		{"a bit of meta.inf", 1, 40, func(c *copied) string { return c.flip(c.file(c.either(), "meta.inf")) }},
		{"a bit of meta.sum", 1, 40, func(c *copied) string { return c.flip(c.file(c.either(), "meta.sum")) }},
		{"a bit of index.db", 1, 40, func(c *copied) string { return c.flip(c.file(c.either(), "msgs/index.db")) }},
		{"a cut meta.inf, meta.sum or index.db", 2, 40, func(c *copied) string { return c.cut(c.metadata()) }},
		{"no meta.inf, meta.sum or index.db", 2, 12, func(c *copied) string { return c.remove(c.metadata()) }},
		{"an old index.db", 1, 2, func(c *copied) string { return c.write(c.index(), s.staleIndex) }},
		{"no block", 2, 24, func(c *copied) string { c.crashedOrNot(); return c.remove(c.anyBlock()) }},
		{"a cut last block", 2, 40, func(c *copied) string { c.crashedOrNot(); return c.cut(c.lastBlock()) }},
		{"a cut block", 1, 24, func(c *copied) string { c.crashedOrNot(); return c.cut(c.anyBlock()) }},
		{"a write that was cut off", 1, 24, func(c *copied) string { return c.torn() }},
		{"nothing", 1, 2, func(c *copied) string { c.crashedOrNot(); return "nothing" }},
	}
	var table strings.Builder
	most := 0
	for _, row := range rows {
		n := row.sample
		if full() {
			n = row.full
		}
		counts := map[string]int{}
		for range n {
			c := s.copy(t)
			what := row.damage(c)
			got := c.open()
			most = max(most, got.ResidentKB, got.ChildKB)
			if fault := s.judge(got); fault != "" {
				t.Errorf("%s: %s: %s: %+v", row.kind, what, fault, got)
			}
			if row.kind == "nothing" && got.Outcome != "harmless" {
				t.Errorf("an unharmed store: %+v", got)
			}
			counts[got.Outcome]++
			c.gone()
		}
		fmt.Fprintf(&table, "%-40s %4d", row.kind, n)
		for _, outcome := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(&table, "  %s %d", outcome, counts[outcome])
		}
		table.WriteString("\n")
	}
	t.Logf("what became of a store of %d commits in %d blocks; at most %d MB were resident:\n%s", s.commits, s.blocks, most>>10, &table)
}

// The control of the suite, and of the bound on memory: what a consumer is delivered by the server alone.
func (s *madeStore) isSkippedByTheServerAlone(t *testing.T) {
	n := 3
	if full() {
		n = 40
	}
	counts := map[string]int{}
	for range n {
		c := s.copy(t)
		what := c.flip(c.anyBlock())
		got := c.bare()
		counts[got.Outcome]++
		if got.Outcome == "harmless" {
			t.Logf("%s: %+v", what, got)
		}
		c.gone()
	}
	t.Logf("%d flips, and the server alone: %v", n, counts)
	if counts["skipped"]*2 <= n {
		t.Errorf("%d flips, and only %d times it skipped silently", n, counts["skipped"])
	}
	for _, index := range []bool{true, false} {
		c := s.copy(t)
		if !index {
			c.remove(c.index())
		}
		what := c.farSequence()
		got := c.bare()
		t.Logf("%s, index %v, and the server alone: %+v", what, index, got)
		if got.Outcome == "harmless" {
			t.Errorf("%s: nothing came of it", what)
		}
		c.gone()
	}
}

// killsWhoLooks lets the process that looks be one that dies of what it sees, should the look at the blocks ever
// miss it: the server must not start, and must say why.
func (s *madeStore) killsWhoLooks(t *testing.T) {
	c := s.copy(t)
	first := c.blockFiles()[0]
	starts := c.records(first)
	c.flipAt(first, starts[len(starts)/2]+4+5, 0) // not the first record: that one makes the server rebuild the block
	for _, row := range []struct {
		name string
		cmd  *exec.Cmd
		kind error
		says string
	}{
		{"of memory", exec.Command("permledger-bare", c.dir, fmt.Sprint(s.commits), "0"), ledger.ErrCorrupt, "memory"},
		{"of a signal", exec.Command("sh", "-c", "kill -9 $$"), ledger.ErrCorrupt, "killed"},
		{"of what it found", exec.Command("sh", "-c", "echo permledger: a hole >&2; exit 6"), ledger.ErrCorrupt, "a hole; \"permledger repair\""},
		{"of something else", exec.Command("sh", "-c", "echo panic: oh >&2; exit 2"), ledger.ErrCorrupt, "oh"},
		{"unable to look", exec.Command("sh", "-c", "echo permledger: in use >&2; exit 3"), ledger.ErrUnavailable, "in use"},
		{"not there", exec.Command("no-such-program"), ledger.ErrUnavailable, "no-such-program"},
		{"not at all", exec.Command("true"), nil, ""},
	} {
		err := look(t.Context(), row.cmd)
		if !errors.Is(err, row.kind) || row.kind != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want %v that says %q", row.name, err, row.kind, row.says)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := look(over, exec.CommandContext(over, "sleep", "60")); !errors.Is(err, context.Canceled) {
		t.Errorf("told to stop: %v", err)
	}
}

// madeStore is a store that every case gets a copy of.
type madeStore struct {
	dir        string
	commits    int
	blocks     int
	notes      int
	digest     string // of all commits
	staleIndex []byte // of LEDGER, when half of it was there
}

const commitBytes = 3200

func makeStore(t *testing.T) *madeStore {
	t.Helper()
	s := &madeStore{dir: t.TempDir(), commits: 2700, notes: 30}
	if full() {
		s.commits = 6000
	}
	digest := newDigest()
	var head events.Head
	half := func(n int) {
		log, err := jetstream.Open(t.Context(), jetstream.Config{Dir: s.dir, Mark: head.Revision})
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			c, err := logtest.CommitOf(head, commitBytes)
			if err == nil {
				err = log.Log().Append(t.Context(), head.Revision, c)
			}
			if err != nil {
				t.Fatal(err)
			}
			head = c.Head()
			digest.add(c.Bytes)
		}
		for i := range s.notes / 2 {
			if err := log.Journal().Note(t.Context(), fmt.Append(nil, "note ", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	half(s.commits / 2)
	c := &copied{t: t, s: s, dir: s.dir}
	s.staleIndex = []byte(readFile(t, c.index()))
	half(s.commits - s.commits/2)
	s.blocks, s.digest = len(c.blockFiles()), digest.String()
	if s.blocks < 2 {
		t.Fatalf("%d blocks", s.blocks)
	}
	return s
}

// judge says what must not have happened, "" if nothing.
func (s *madeStore) judge(got opened) string {
	most := 512 << 10
	switch {
	case got.ResidentKB > most || got.ChildKB > most:
		return "more than 512 MB were needed"
	case got.Outcome == "refused" || got.Outcome == "detected":
		if !strings.Contains(got.Text, "corrupt") || !strings.ContainsAny(got.Text, "0123456789") && !strings.Contains(got.Text, "stream") && !strings.Contains(got.Text, "journal") {
			return "it does not say what is wrong"
		}
		return ""
	case got.Outcome != "harmless":
		return "it is neither detected nor harmless"
	case got.Commits != s.commits || got.Digest != s.digest:
		return "it was served as complete, and is not"
	case got.Appended != s.commits+1:
		return "the next commit got another revision than the next"
	}
	return ""
}

// copied is a store to damage.
type copied struct {
	t   *testing.T
	s   *madeStore
	dir string
}

func (s *madeStore) copy(t *testing.T) *copied {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(s.dir), "copy")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(s.dir))
	}
	if err != nil {
		t.Fatal(err)
	}
	return &copied{t, s, dir}
}

func (c *copied) gone() {
	if err := os.RemoveAll(c.dir); err != nil {
		c.t.Error(err)
	}
}

func (c *copied) file(stream, name string) string {
	return filepath.Join(c.dir, "jetstream", "LEDGER", "streams", stream, filepath.FromSlash(name))
}

func (c *copied) index() string  { return c.file("LEDGER", "msgs/index.db") }
func (c *copied) either() string { return []string{"LEDGER", "LEDGER", "JOURNAL"}[rand.IntN(3)] }

func (c *copied) metadata() string {
	return c.file(c.either(), []string{"meta.inf", "meta.sum", "msgs/index.db"}[rand.IntN(3)])
}

func (c *copied) blockFiles() []string {
	files, err := filepath.Glob(c.file("LEDGER", "msgs/*.blk"))
	if err != nil || len(files) == 0 {
		c.t.Fatalf("no blocks: %v", err)
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return files
}

func (c *copied) anyBlock() string {
	files := c.blockFiles()
	return files[rand.IntN(len(files))]
}

func (c *copied) lastBlock() string { files := c.blockFiles(); return files[len(files)-1] }

// crashedOrNot makes the store one that was not closed, every other time.
func (c *copied) crashedOrNot() {
	if rand.IntN(2) == 0 {
		c.remove(filepath.Join(c.dir, "clean"))
	}
}

func (c *copied) remove(path string) string {
	if err := os.Remove(path); err != nil {
		c.t.Fatal(err)
	}
	return "without " + path
}

func (c *copied) write(path string, b []byte) string {
	if err := os.WriteFile(path, b, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return "another " + path
}

func (c *copied) cut(path string) string {
	b := readFile(c.t, path)
	n := rand.IntN(len(b))
	c.write(path, []byte(b[:n]))
	return fmt.Sprintf("%s cut at byte %d", path, n)
}

func (c *copied) flip(path string) string {
	return c.flipAt(path, rand.IntN(len(readFile(c.t, path))), rand.IntN(8))
}

func (c *copied) flipAt(path string, at, bit int) string {
	b := []byte(readFile(c.t, path))
	b[at] ^= 1 << bit
	c.write(path, b)
	return fmt.Sprintf("bit %d of byte %d of %s", bit, at, path)
}

// records gives where the records of a block begin.
func (c *copied) records(path string) (starts []int) {
	b := []byte(readFile(c.t, path))
	for at := 0; at < len(b); at += int(binary.LittleEndian.Uint32(b[at:]) &^ (1 << 31)) {
		starts = append(starts, at)
	}
	return starts
}

func (c *copied) anyRecord(path string) int {
	starts := c.records(path)
	return starts[rand.IntN(len(starts))]
}

func (c *copied) flipHead() string {
	path := c.anyBlock()
	return c.flipAt(path, c.anyRecord(path)+rand.IntN(22), rand.IntN(8))
}

// farSequence makes a sequence one that is thousands of millions away: what a server fills up to it is memory.
func (c *copied) farSequence() string {
	path := c.anyBlock()
	return c.flipAt(path, c.anyRecord(path)+4+4+rand.IntN(3), rand.IntN(8))
}

// torn leaves a part of one more record at the end, and a store that was not closed.
func (c *copied) torn() string {
	path := c.lastBlock()
	b := []byte(readFile(c.t, path))
	part := bytes.Clone(b[:1+rand.IntN(commitBytes)])
	c.write(path, append(b, part...))
	c.remove(filepath.Join(c.dir, "clean"))
	return fmt.Sprintf("%d bytes more in %s", len(part), path)
}

// open opens the store in a process of its own and says what came of it.
func (c *copied) open() opened { return c.run("permledger-open") }

// bare lets the server and a consumer alone have it.
func (c *copied) bare() opened { return c.run("permledger-bare") }

func (c *copied) run(program string) (got opened) {
	c.t.Helper()
	cmd := exec.Command(program, c.dir, fmt.Sprint(c.s.commits), fmt.Sprint(c.s.notes))
	var said tail
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return opened{Outcome: "died", Text: fmt.Sprintf("%v: %s", err, said.line("fatal error: ", "panic: "))}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		c.t.Fatalf("%s said %q: %v", program, out, err)
	}
	return got
}
