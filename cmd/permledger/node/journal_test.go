package node_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/ledger"
)

// A journal that lost its end lets keys be used again: it is no fork, it is not served, and repair says what is lost.
func TestRepairAJournalThatIsCut(t *testing.T) {
	dir := t.TempDir()
	roles(t, dir, 10)
	n := open(t, node.Config{Dir: dir})
	for _, key := range []string{"second", "third"} {
		ask(t, n, key, 0)
		ask(t, n, key, 0) // by now the views have indexed it
	}
	head := n.Projector.Head()
	closed(t, n)
	cutLastRecord(t, filepath.Join(node.LogDir(dir), "jetstream", "LEDGER", "streams", "JOURNAL", "msgs"))
	if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) || errors.Is(err, node.ErrFork) || !strings.Contains(err.Error(), "JOURNAL") {
		t.Errorf("opened with %v", err)
	}
	plan, kept := repaired(t, dir)
	if !strings.Contains(plan.Log, "journal") || plan.Views != "" || plan.JournalEntries != 3 || plan.JournalLost != 1 || len(kept) != 1 {
		t.Errorf("%+v, kept %v", plan, kept)
	}
	works(t, dir, head)
}

// What somebody published to the journal past the ledger, and is no answer, keeps it from being served until repair has
// taken it out.
func TestRepairAJournalWithAForeignEntry(t *testing.T) {
	dir := t.TempDir()
	head := roles(t, dir, 8)
	n := open(t, node.Config{Dir: dir})
	if err := n.Server.Journal().Note(t.Context(), []byte("no answer")); err != nil {
		t.Fatal(err)
	}
	closed(t, n)
	if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) || !strings.Contains(err.Error(), "journal entry 2") {
		t.Errorf("opened with %v", err)
	}
	if plan, _ := repaired(t, dir); plan.JournalEntries != 2 || plan.JournalLost != 1 || plan.Views != "" {
		t.Errorf("%+v", plan)
	}
	works(t, dir, head)
}

// cutLastRecord takes the last message off the one block of a stream, and the index that knows of it away.
func cutLastRecord(t *testing.T, msgs string) {
	t.Helper()
	block := filepath.Join(msgs, "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for at := 0; at < len(b); {
		last = at
		at += int(binary.LittleEndian.Uint32(b[at:]) &^ (1 << 31)) // the length of a record
	}
	if err := errors.Join(os.Truncate(block, int64(last)), os.Remove(filepath.Join(msgs, "index.db"))); err != nil {
		t.Fatal(err)
	}
}
