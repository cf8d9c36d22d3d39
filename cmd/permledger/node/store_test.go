package node_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// What else is in the store of the log is looked at, too: the journal and the feed, which no walk over commits
// reads. The control is that walk, which finds the ledger whole.
func TestVerifyLooksAtTheWholeStore(t *testing.T) {
	for name, block := range map[string]string{
		"the journal": "LEDGER/streams/JOURNAL/msgs/1.blk",
		"the feed":    "FEED/streams/EVENTS/msgs/1.blk",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			head := roles(t, dir, 8)
			file := filepath.Join(node.LogDir(dir), "jetstream", filepath.FromSlash(block))
			flipMiddle(t, file)
			e := evidence(t, dir)
			if report, err := audit.Verify(t.Context(), e.Verification()); err != nil || !report.Whole() {
				t.Errorf("control: %+v, %v", report.Faults, err)
			}
			faults, err := e.CheckStore(t.Context())
			if err != nil || len(faults) != 1 || faults[0].Side != audit.SideStore {
				t.Errorf("%+v, %v", faults, err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			repaired(t, dir)
			works(t, dir, head)
			e = evidence(t, dir)
			if faults, err := e.CheckStore(t.Context()); err != nil || len(faults) > 0 {
				t.Errorf("after a repair: %+v, %v", faults, err)
			}
		})
	}
}

// Who asks a running ledger to verify itself, and has it find damage of its own, has it halt; somebody's checkpoint
// that does not fit halts nothing.
func TestVerifyNowHalts(t *testing.T) {
	dir := t.TempDir()
	roles(t, dir, 8)
	n := open(t, node.Config{Dir: dir, ScrubInterval: -1})
	foreign := audit.Known{Name: "somebody's", Mark: events.Mark{Ledger: n.Projector.Head().Ledger, Revision: 3, Hash: events.Hash{1}}}
	report, err := n.VerifyNow(t.Context(), audit.Verification{Known: []audit.Known{foreign}})
	if err != nil || !report.Bad(audit.SideCheckpoint) || n.Projector.Halted() != nil {
		t.Errorf("%+v, %v, halted %v", report.Faults, err, n.Projector.Halted())
	}
	flipMiddle(t, filepath.Join(node.LogDir(dir), "jetstream", "LEDGER", "streams", "LEDGER", "msgs", "1.blk"))
	report, err = n.VerifyNow(t.Context(), audit.Verification{})
	if err != nil || report.Whole() {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := n.Access.At(t.Context(), events.DefaultTenant, access.When{}); !errors.Is(err, projections.ErrHalted) {
		t.Errorf("a question is answered %v", err)
	}
	if s := n.Scrubbed(); s.Fault == "" {
		t.Error("it is not kept for the next start")
	}
	closed(t, n)
	if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("restarted: %v", err)
	}
}

// A checkpoint that the ledger kept itself and that does not fit halts it, even beside a foreign one that does not
// either, and at a lower revision. The control is the foreign one alone.
func TestVerifyNowHaltsAtItsOwnCheckpoint(t *testing.T) {
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir, ScrubInterval: -1})
	for _, role := range []events.Role{"first", "second", "third", "fourth"} {
		createRole(t, n, role)
	}
	foreign := audit.Known{Name: "somebody's", Mark: events.Mark{Ledger: n.Projector.Head().Ledger, Revision: 1, Hash: events.Hash{1}}}
	v := audit.Verification{Known: []audit.Known{foreign}}
	if report, err := n.VerifyNow(t.Context(), v); err != nil || report.Whole() || n.Projector.Halted() != nil {
		t.Errorf("control: %+v, %v, halted %v", report.Faults, err, n.Projector.Halted())
	}
	signed, err := n.Checkpoints.Sign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cp, err := checkpoint.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(signed, []byte(cp.Head.String()), []byte(events.Hash{1}.String()), 1)
	if err := n.Projector.KeepCheckpoint(cp.Size, cp.At+1, other); err != nil || bytes.Equal(signed, other) {
		t.Fatal(err)
	}
	// What was found counts even where the rest of the store cannot be read.
	unreadable := filepath.Join(node.LogDir(dir), "jetstream", "FEED", "streams", "EVENTS", "msgs", "999.blk")
	if err := os.Mkdir(unreadable, 0o700); err != nil {
		t.Fatal(err)
	}
	report, err := n.VerifyNow(t.Context(), v)
	if !errors.Is(err, ledger.ErrUnavailable) || report.Whole() || n.Projector.Halted() == nil {
		t.Errorf("%+v, %v, halted %v", report.Faults, err, n.Projector.Halted())
	}
}

// A log without views is held against the mark and the checkpoint that are beside them: its end cannot be cut off
// unseen together with the views.
func TestEvidenceWithoutViews(t *testing.T) {
	dir, older := t.TempDir(), t.TempDir()
	roles(t, dir, 4)
	if err := os.CopyFS(older, os.DirFS(node.LogDir(dir))); err != nil {
		t.Fatal(err)
	}
	n := open(t, node.Config{Dir: dir})
	createRole(t, n, "one more")
	closed(t, n)
	for _, gone := range []string{"views", "mark.json"} {
		if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
			t.Fatal(err)
		}
	}
	verified := func() audit.Report {
		e := evidence(t, dir)
		defer e.Close()
		report, err := audit.Verify(t.Context(), e.Verification())
		if err != nil || !errors.Is(e.ViewsErr, node.ErrNoViews) {
			t.Errorf("%v, the views: %v", err, e.ViewsErr)
		}
		return report
	}
	if report := verified(); !report.Whole() {
		t.Errorf("control: %+v", report.Faults)
	}
	if err := os.RemoveAll(node.LogDir(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(node.LogDir(dir), os.DirFS(older)); err != nil {
		t.Fatal(err)
	}
	if report := verified(); !report.Bad(audit.SideCheckpoint) {
		t.Errorf("cut off: %+v", report)
	}
	if err := os.Remove(node.CheckpointFile(dir)); err != nil {
		t.Fatal(err)
	}
	if report := verified(); !report.Whole() {
		t.Errorf("control, without the checkpoint: %+v", report.Faults)
	}
}

// A feed with a hole in it, as a power failure leaves one, is made from the log again. The control is a store that was
// closed: there it is damage, and the ledger does not open.
func TestTornFeedIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	head := roles(t, dir, 8)
	flipMiddle(t, filepath.Join(node.LogDir(dir), "jetstream", "FEED", "streams", "EVENTS", "msgs", "1.blk"))
	if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) {
		t.Fatalf("control: %v", err)
	}
	if err := os.Remove(filepath.Join(node.LogDir(dir), "clean")); err != nil {
		t.Fatal(err)
	}
	works(t, dir, head)
	e := evidence(t, dir)
	defer e.Close()
	if faults, err := e.CheckStore(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%+v, %v", faults, err)
	}
}

func flipMiddle(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
