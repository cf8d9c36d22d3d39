package jetstream_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/ledger/logtest"
)

// Of a log with a damaged commit everything else can be read, each by itself; and nothing is created where there
// is none. The control: a plain Read ends at the damage.
func TestSalvage(t *testing.T) {
	dir := t.TempDir()
	s, err := jetstream.Open(t.Context(), jetstream.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var head events.Head
	for range 6 {
		c, err := logtest.Commit(head, 1, "salvage")
		if err == nil {
			err = s.Log().Append(t.Context(), head.Revision, c)
		}
		if err != nil {
			t.Fatal(err)
		}
		head = c.Head()
	}
	if err := errors.Join(s.Journal().Note(t.Context(), []byte("note")), s.Close()); err != nil {
		t.Fatal(err)
	}
	flipped := 0
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "LEDGER", "streams", "LEDGER", "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range blocks {
		b, err := os.ReadFile(block)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, []byte(`"revision":3`)); i >= 0 {
			b[i+1] ^= 1
			flipped++
		}
		if err := os.WriteFile(block, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if flipped != 1 {
		t.Fatalf("%d of %v have revision 3", flipped, blocks)
	}
	if s, err = jetstream.Open(t.Context(), jetstream.Config{Dir: dir, Salvage: true, Mark: 99}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if last, err := s.Log().Last(t.Context()); last != 6 || err != nil {
		t.Errorf("last %d, %v", last, err)
	}
	for from := events.Revision(1); from <= 6; from++ {
		for stored, err := range s.Log().Read(t.Context(), from) {
			if from == 3 != errors.Is(err, ledger.ErrCorrupt) || err == nil && stored.Revision != from {
				t.Errorf("read %d: %d, %v", from, stored.Revision, err)
			}
			break
		}
	}
	if last, err := s.Journal().Last(t.Context()); last != 1 || err != nil {
		t.Errorf("journal %d, %v", last, err)
	}
	reached := events.Revision(0)
	for stored, err := range s.Log().Read(t.Context(), 1) {
		if err != nil {
			break
		}
		reached = stored.Revision
	}
	if reached != 2 {
		t.Errorf("control: a read from the start reached %d", reached)
	}

	empty, err := jetstream.Open(t.Context(), jetstream.Config{Dir: t.TempDir(), Salvage: true})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if empty.Log() != nil || empty.Journal() != nil || !errors.Is(empty.Check(t.Context()), ledger.ErrCorrupt) {
		t.Error("an empty directory was given a log")
	}
}
