package node_test

import (
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
