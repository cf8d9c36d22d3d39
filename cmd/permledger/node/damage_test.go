package node_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
)

func full() bool { return os.Getenv("PERMLEDGER_FULL") != "" }

func evidence(t *testing.T, dir string) *node.Evidence {
	t.Helper()
	e, err := node.OpenEvidence(t.Context(), node.Config{Dir: dir, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// faultsOf gives the faults that a verification of a directory finds.
func faultsOf(t *testing.T, dir string) []audit.Fault {
	t.Helper()
	e := evidence(t, dir)
	defer e.Close()
	report, err := audit.Verify(t.Context(), e.Verification())
	if err != nil {
		t.Fatal(err)
	}
	return report.Faults
}

// repaired plans a repair and carries it out.
func repaired(t *testing.T, dir string) (node.Repair, []string) {
	t.Helper()
	e := evidence(t, dir)
	plan, err := e.PlanRepair(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Nothing() {
		t.Fatalf("there is nothing to repair: %+v", plan)
	}
	kept, err := e.Carry(t.Context(), &plan, func(string, events.Head) {})
	if err != nil {
		t.Fatal(err)
	}
	return plan, kept
}

// tamper replaces bytes in the files under a directory, as a bad disk would.
func tamper(t *testing.T, dir, was, is string) {
	t.Helper()
	changed := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(was)) {
			return err
		}
		changed++
		return os.WriteFile(path, bytes.ReplaceAll(b, []byte(was), []byte(is)), 0o600)
	})
	if err != nil || changed == 0 {
		t.Fatalf("%d files under %s have %q: %v", changed, dir, was, err)
	}
}

// roles makes a ledger with so many roles in commits of their own, and a refusal in the journal.
func roles(t *testing.T, dir string, n int) events.Head {
	t.Helper()
	opened := open(t, node.Config{Dir: dir})
	defer closed(t, opened)
	for i := range n {
		createRole(t, opened, events.Role(fmt.Sprintf("role-%03d", i)))
	}
	ask(t, opened, "once", 0)
	ask(t, opened, "once", 0) // by now the views have indexed it
	published(t, opened)
	return opened.Projector.Head()
}

// ask sends a request that is refused, under a key. It must be refused as it was the first time.
func ask(t *testing.T, n *node.Node, key string, member int) {
	t.Helper()
	_, err := n.Ledger.Submit(t.Context(), ledger.Request{
		Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator, Key: key},
		Commands: []ledger.Command{ledger.AssignRole{Principal: events.User(fmt.Sprint("u", member)), Role: "no-such-role"}},
	})
	var refusal *ledger.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("key %s: %v", key, err)
	}
}

// works makes sure that a repaired ledger has what it had and takes more.
func works(t *testing.T, dir string, head events.Head) {
	t.Helper()
	if faults := faultsOf(t, dir); len(faults) > 0 {
		t.Fatalf("after a repair: %+v", faults)
	}
	n := open(t, node.Config{Dir: dir})
	defer closed(t, n)
	if n.Projector.Head() != head {
		t.Errorf("the ledger ends at %+v, it had %+v", n.Projector.Head(), head)
	}
	for _, role := range []events.Role{"role-000", "role-007"} {
		if !hasRole(t, n, role, 0) {
			t.Errorf("there is no %s", role)
		}
	}
	ask(t, n, "once", 0)
	if _, ok, err := n.Projector.FindNoted(events.DefaultTenant, n.Administrator, "once"); !ok || err != nil {
		t.Errorf("the answer to a key is gone: %v", err)
	}
	createRole(t, n, "another")
	published(t, n)
}

func TestRepairALogWithADamagedCommit(t *testing.T) {
	dir := t.TempDir()
	head := roles(t, dir, 10)
	tamper(t, node.LogDir(dir), "role-007", "role-0x7")
	faults := faultsOf(t, dir)
	if len(faults) != 1 || faults[0].Side != audit.SideLog || faults[0].Count != 1 || faults[0].Revision == 0 {
		t.Fatalf("%+v", faults)
	}
	if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("opened with %v", err)
	}

	plan, kept := repaired(t, dir)
	if plan.Log == "" || plan.Views != "" || plan.JournalEntries != 1 || plan.JournalLost != 0 || len(kept) != 1 || kept[0] != "jetstream.damaged-1" {
		t.Errorf("%+v, kept %v", plan, kept)
	}
	if _, err := os.Stat(filepath.Join(dir, kept[0], "jetstream")); err != nil {
		t.Error(err)
	}
	works(t, dir, head)
	e := evidence(t, dir)
	plan, err := e.PlanRepair(t.Context(), nil)
	if err != nil || !plan.Nothing() {
		t.Errorf("after a repair there is something to repair: %+v, %v", plan, err)
	}
}

func TestRepairALogThatIsGone(t *testing.T) {
	dir := t.TempDir()
	head := roles(t, dir, 10)
	if err := os.RemoveAll(node.LogDir(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) || !strings.Contains(err.Error(), "permledger repair") ||
		!strings.Contains(err.Error(), fmt.Sprintf("revision %d", head.Revision)) {
		t.Errorf("served without a log: %v", err)
	}
	if err := os.RemoveAll(node.LogDir(dir)); err != nil {
		t.Fatal(err)
	}
	plan, _ := repaired(t, dir)
	if plan.JournalLost != 1 { // the views have indexed it
		t.Errorf("%+v", plan)
	}
	works(t, dir, head)
}

func TestRepairAnArchive(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"a row": func(t *testing.T, dir string) {
			rewriteRow(t, dir, pebblekv.NewKey('e').Number(9), func(b []byte) []byte { b[20] ^= 1; return b })
		},
		"a hash":   func(t *testing.T, dir string) { rewriteRow(t, dir, pebblekv.Key{'h', 1}.Number(2), nothing) },
		"a commit": func(t *testing.T, dir string) { rewriteRow(t, dir, pebblekv.NewKey('c').Number(4), nothing) },
		"manifest": func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "views", "MANIFEST-*"))
			if err != nil || len(files) == 0 {
				t.Fatal(err)
			}
			for _, f := range files {
				if err := os.WriteFile(f, []byte("not a manifest"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			head := roles(t, dir, 10)
			damage(t, dir)
			plan, kept := repaired(t, dir)
			if plan.Views == "" || plan.Log != "" || len(kept) != 1 || kept[0] != "views.damaged-1" {
				t.Errorf("%+v, kept %v", plan, kept)
			}
			works(t, dir, head)
		})
	}
}

func nothing([]byte) []byte { return nil }

// rewriteRow changes a row of the audit view of a ledger that nobody serves.
func rewriteRow(t *testing.T, dir string, key pebblekv.Key, change func([]byte) []byte) {
	t.Helper()
	store, err := pebblekv.Open(filepath.Join(dir, "views"), pebblekv.Options{CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	rewriteIn(t, store, key, change)
}

func rewriteIn(t *testing.T, store *pebblekv.Store, key pebblekv.Key, change func([]byte) []byte) {
	t.Helper()
	w := store.NewWrite()
	rows := w.Window(pebblekv.NewKey('G').Number(1).IDs(audit.Name))
	value, ok, err := rows.Get(key)
	if !ok || err != nil {
		t.Fatalf("row %x: %t, %v", []byte(key), ok, err)
	}
	if value = change(value); value == nil {
		err = rows.Delete(key)
	} else {
		err = rows.Set(key, value)
	}
	if err = errors.Join(err, w.Commit(true)); err != nil {
		t.Fatal(err)
	}
}

// What neither side has is not made up, and nothing is touched.
func TestBeyondRepair(t *testing.T) {
	dir := t.TempDir()
	roles(t, dir, 10)
	tamper(t, node.LogDir(dir), "role-005", "role-0x5")
	faults := faultsOf(t, dir)
	rewriteRow(t, dir, pebblekv.NewKey('c').Number(uint64(faults[0].Revision)), nothing)
	e := evidence(t, dir)
	plan, err := e.PlanRepair(t.Context(), nil)
	if !errors.Is(err, node.ErrBeyondRepair) || !strings.Contains(err.Error(), fmt.Sprintf("revision %d", faults[0].Revision)) {
		t.Errorf("%+v, %v", plan, err)
	}
	for _, leftover := range []string{"jetstream.new", "views.new", "repair.json"} {
		if _, err := os.Stat(filepath.Join(dir, leftover)); err == nil {
			t.Errorf("there is %s", leftover)
		}
	}
}

// A repair that was broken off between any two of its steps is finished by the next one, and nothing is served
// before. The control: without repair.json, an empty ledger would be begun in the place of the one that is moved
// aside.
func TestRepairIsFinishedAfterACrash(t *testing.T) {
	dir := t.TempDir()
	head := roles(t, dir, 8)
	tamper(t, node.LogDir(dir), "role-006", "role-0x6")
	repaired(t, dir)
	in := func(name string) string { return filepath.Join(dir, name) }
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(in(from), in(to)); err != nil {
			t.Fatal(err)
		}
	}
	pending := []byte(`{"exchanges":[{"name":"jetstream","new":"jetstream.new","kept":"jetstream.damaged-1"}]}`)
	for _, state := range []struct {
		name string
		back func()
	}{
		{"before the renames", func() { move("jetstream", "jetstream.new"); move("jetstream.damaged-1", "jetstream") }},
		{"between them", func() { move("jetstream", "jetstream.new") }},
		{"after them", func() {}},
	} {
		state.back()
		if err := os.WriteFile(in("repair.json"), pending, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, offline := range []bool{false, true} {
			if _, err := tryOpen(t, node.Config{Dir: dir, Offline: offline}); !errors.Is(err, ledger.ErrCorrupt) || !strings.Contains(err.Error(), "permledger repair") {
				t.Errorf("%s: opened: %v", state.name, err)
			}
		}
		if done, err := node.FinishRepair(dir); !done || err != nil {
			t.Errorf("%s: finished: %t, %v", state.name, done, err)
		}
		if done, err := node.FinishRepair(dir); done || err != nil {
			t.Errorf("%s: finished again: %t, %v", state.name, done, err)
		}
		if faults := faultsOf(t, dir); len(faults) > 0 {
			t.Fatalf("%s: %+v", state.name, faults)
		}
	}
	works(t, dir, head)

	move("jetstream", "jetstream.new")
	for _, memory := range []string{"views", "mark.json", "checkpoint"} {
		if err := os.RemoveAll(in(memory)); err != nil {
			t.Fatal(err)
		}
	}
	if n := open(t, node.Config{Dir: dir}); n.Projector.Head().Ledger == head.Ledger {
		t.Error("the control found the ledger")
	}
}

// A message that was published past the ledger, with its own connection, in the right form and chained, but signed
// by nobody or by somebody else: it halts, and is told; repair takes it off.
func TestForeignMessage(t *testing.T) {
	stranger := events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize)))
	for name, signer := range map[string]events.Signer{"unsigned": nil, "signed by a stranger": stranger} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			roles(t, dir, 8)
			n := open(t, node.Config{Dir: dir})
			head := n.Projector.Head()
			forged := forge(t, head, signer)
			if err := n.Log.Append(t.Context(), head.Revision, forged); err != nil {
				t.Fatal(err)
			}
			_, err := n.Ledger.Submit(t.Context(), ledger.Request{
				Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator}, Commands: []ledger.Command{ledger.CreateRole{Role: "next"}},
			})
			if !errors.Is(err, ledger.ErrCorrupt) {
				t.Errorf("after a foreign message a request is answered %v", err)
			}
			if _, err := n.Access.At(t.Context(), events.DefaultTenant, access.When{}); !errors.Is(err, projections.ErrHalted) {
				t.Errorf("a question is answered %v", err)
			}
			if err := n.Ready(); err == nil || !strings.Contains(err.Error(), "signed by") {
				t.Errorf("ready: %v", err)
			}
			closed(t, n)
			if _, err := tryOpen(t, node.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "signed by") {
				t.Errorf("restarted: %v", err)
			}
			if faults := faultsOf(t, dir); len(faults) != 1 || faults[0].Side != audit.SideLog || faults[0].Revision != head.Revision+1 {
				t.Errorf("verified: %+v", faults)
			}
			plan, _ := repaired(t, dir)
			if plan.ForeignFrom != head.Revision+1 || plan.ForeignTo != head.Revision+1 || plan.Head != head {
				t.Errorf("%+v", plan)
			}
			works(t, dir, head)
		})
	}
	// The control: a ledger that does not sign takes the message for a commit, and mallory administers it.
	log := memlog.Open(memlog.Config{})
	store, err := pebblekv.Open("", pebblekv.Options{CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p, err := projections.Open(store, log, node.Views()...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), log, log, node.Projection(p), ledger.Config{NoticeInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log.Foreign(forge(t, p.Head(), nil).Bytes)
	if err := p.CatchUp(t.Context()); err != nil || p.Head().Revision != 2 {
		t.Errorf("the control did not take it: %v", err)
	}
}

// forge makes a commit as somebody would who knows the format and has the ledger's connection.
func forge(t *testing.T, head events.Head, signer events.Signer) events.Commit {
	t.Helper()
	c, err := events.Seal(head, events.Header{RecordedAt: head.RecordedAt, Writer: head.Writer}, []events.Recorded{{
		ID: ledger.NewID(), Command: ledger.NewID(), Meta: events.Meta{Actor: events.Client("root")},
		Event: events.AdministratorAdded{Principal: events.User("mallory")},
	}}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The scrubber goes through the ledger in strides, and starts over; a fault halts the node, and the next start
// finds it first.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	roles(t, dir, 8)
	n := open(t, node.Config{Dir: dir, ScrubInterval: -1})
	for range 2 {
		if err := n.Scrub(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s := n.Scrubbed(); s.Revision != n.Projector.Head().Revision || s.Passes != 2 || s.Fault != "" {
		t.Errorf("%+v", s)
	}
	closed(t, n)
	n = open(t, node.Config{Dir: dir, ScrubInterval: -1})
	if s := n.Scrubbed(); s.Passes != 2 {
		t.Errorf("after a restart: %+v", s)
	}
	tamper(t, node.LogDir(dir), "role-004", "role-0x4") // a start would see it, so it happens after that
	if !hasRole(t, n, "role-004", 0) {                  // the control: nothing else notices
		t.Error("there is no role-004")
	}
	if err := n.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := n.Scrubbed(); !strings.Contains(s.Fault, "log") || s.Faulty == 0 {
		t.Errorf("%+v", s)
	}
	if _, err := n.Access.At(t.Context(), events.DefaultTenant, access.When{}); !errors.Is(err, projections.ErrHalted) {
		t.Errorf("a question is answered %v", err)
	}
	if err := n.Ready(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("revision %d, log", n.Scrubbed().Faulty)) {
		t.Errorf("ready: %v", err)
	}
	head := n.Projector.Head()
	closed(t, n)
	if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) || !strings.Contains(err.Error(), "permledger repair") {
		t.Errorf("restarted: %v", err)
	}
	repaired(t, dir)
	works(t, dir, head)
}

// The scrubber looks at the files of the journal and the feed, too, in which there is no commit. Of the journal repair
// saves what it can; the feed is made anew when it is taken away. The control: a walk over the commits finds nothing.
func TestScrubOfWhatIsNoCommit(t *testing.T) {
	for name, tt := range map[string]struct {
		files, word string // what is damaged
		mend        func(t *testing.T, dir, files string)
	}{
		"JOURNAL": {"LEDGER/streams/JOURNAL", "no-such-role", func(t *testing.T, dir, _ string) { repaired(t, dir) }},
		"EVENTS": {"FEED/streams/EVENTS", "role-003", func(t *testing.T, _, files string) {
			if err := os.RemoveAll(files); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			roles(t, dir, 8)
			n := open(t, node.Config{Dir: dir, ScrubInterval: -1})
			head, files := n.Projector.Head(), filepath.Join(node.LogDir(dir), "jetstream", tt.files)
			tamper(t, files, tt.word, strings.ToUpper(tt.word))
			if report, err := n.Verify(t.Context(), audit.Verification{}); err != nil || !report.Whole() {
				t.Errorf("control: %+v, %v", report, err)
			}
			if err := n.Scrub(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := n.Scrubbed(); !strings.Contains(s.Fault, name) || n.Ready() == nil {
				t.Errorf("%+v, ready: %v", s, n.Ready())
			}
			closed(t, n)
			if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) {
				t.Errorf("restarted: %v", err)
			}
			tt.mend(t, dir, files)
			n = open(t, node.Config{Dir: dir})
			published(t, n)
			if n.Projector.Head() != head {
				t.Errorf("the ledger ends at %+v, it had %+v", n.Projector.Head(), head)
			}
		})
	}
}

// A verification beside a ledger that writes is of one moment, and finds nothing in a ledger that is whole; and the
// scrubber, on its timer, halts one that is not.
func TestVerifyAndScrubBesideWrites(t *testing.T) {
	n := open(t, node.Config{Memory: true, ScrubInterval: time.Millisecond})
	written := make(chan error, 1)
	go func() {
		for i := range 150 {
			_, err := n.Ledger.Submit(context.Background(), ledger.Request{
				Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator},
				Commands: []ledger.Command{ledger.CreateRole{Role: events.Role(fmt.Sprint(i))}},
			})
			if err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for done := false; !done; {
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
		report, err := n.Verify(t.Context(), audit.Verification{})
		if err != nil || !report.Whole() {
			t.Fatalf("%+v, %v", report, err)
		}
	}
	for n.Scrubbed().Passes == 0 {
		if err := n.Ready(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	n.Log.(*memlog.Log).Replace(40, []byte("{}"))
	<-halted(n)
	if s := n.Scrubbed(); s.Faulty != 40 || n.Ready() == nil {
		t.Errorf("%+v, ready: %v", s, n.Ready())
	}
}

// halted is closed when the node's projector is halted.
func halted(n *node.Node) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for changed := n.Projector.Changed(); n.Projector.Halted() == nil; changed = n.Projector.Changed() {
			<-changed
		}
		for n.Scrubbed().Fault == "" { // it halts first and tells then
			time.Sleep(time.Millisecond)
		}
	}()
	return done
}

// One look at a directory keeps others out of it, whatever is missing there: two repairs would put their halves into
// each other's place, and a ledger that is begun beside one would be moved away under the feet of those it serves.
// The control: when the look is over, it opens.
func TestEvidenceHasTheDirectoryToItself(t *testing.T) {
	for _, missing := range []string{"", "jetstream", "views"} {
		t.Run(missing, func(t *testing.T) {
			dir := t.TempDir()
			roles(t, dir, 2)
			if missing != "" {
				if err := os.RemoveAll(filepath.Join(dir, missing)); err != nil {
					t.Fatal(err)
				}
			}
			e := evidence(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "repair.json"), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, opened := tryOpen(t, node.Config{Dir: dir})
			_, looked := node.OpenEvidence(t.Context(), node.Config{Dir: dir})
			_, finished := node.FinishRepair(dir)
			for what, err := range map[string]error{"opened": opened, "looked into": looked, "repaired": finished} {
				if !errors.Is(err, ledger.ErrUnavailable) || !strings.Contains(err.Error(), "in use") {
					t.Errorf("%s beside a look: %v", what, err)
				}
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if done, err := node.FinishRepair(dir); !done || err != nil {
				t.Errorf("control: %t, %v", done, err)
			}
		})
	}
}
