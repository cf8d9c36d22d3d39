package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/logtest"
)

// The format of the block files is pinned against the server this program is linked with: what was stored
// through it must be found in its files, by us, byte for byte.
func TestBlockFormat(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	var head events.Head
	var stored [][]byte
	for i := range 300 { // of 100 kB now and then: several blocks
		c, err := logtest.Commit(head, 1, fmt.Sprint(i))
		if i%3 == 0 {
			c, err = logtest.CommitOf(head, 100_000)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Log().Append(t.Context(), head.Revision, c); err != nil {
			t.Fatal(err)
		}
		head, stored = c.Head(), append(stored, c.Bytes)
	}
	if err := s.Journal().Note(t.Context(), []byte("a note")); err != nil {
		t.Fatal(err)
	}
	files := filesOf(cfg.Dir, ledgerAccount, "LEDGER")
	blocks, err := files.blocks()
	if err != nil || len(blocks) < 2 {
		t.Fatalf("%d blocks, %v", len(blocks), err)
	}
	seq := uint64(0)
	for i, b := range blocks {
		if b.n != uint64(i+1) {
			t.Errorf("block %d is %s", i+1, b.path)
		}
		if first, ok, err := b.first(); first != seq+1 || !ok || err != nil {
			t.Errorf("block %d begins with sequence %d, %v, %v; want %d", b.n, first, ok, err, seq+1)
		}
		buf, err := b.read()
		if err != nil {
			t.Fatal(err)
		}
		rest, err := b.scan(buf, func(r record) error {
			seq++
			if r.seq != seq || string(r.subject) != ledgerSubject || !bytes.Equal(r.data, stored[seq-1]) {
				return fmt.Errorf("sequence %d of subject %s with %d bytes, want %d with %d", r.seq, r.subject, len(r.data), seq, len(stored[seq-1]))
			}
			return nil
		})
		if rest != 0 || err != nil {
			t.Errorf("block %d: %d bytes too many, %v", b.n, rest, err)
		}
	}
	if seq != 300 {
		t.Errorf("%d records, want 300", seq)
	}
	all, err := allStreams(cfg.Dir)
	if err != nil || len(all) != 2 {
		t.Errorf("streams %+v, %v", all, err)
	}
	if end, err := filesOf(cfg.Dir, ledgerAccount, "JOURNAL").check(t.Context()); end != (extent{last: 1}) || err != nil {
		t.Errorf("the journal ends at %+v, %v", end, err)
	}
	for _, from := range []uint64{1, 2, 150, 299, 300} { // every message, wherever the looking begins
		if part := files.stretch(from, 300); part.to != 300 || part.fault != nil {
			t.Errorf("from %d: %+v", from, part)
		}
	}
	head = fill(t, s.Log(), head, 2)
	if part := files.stretch(301, 302); part.to != 302 || part.fault != nil || files.end.Load().next != 303 {
		t.Errorf("two more: %+v", part)
	}
	flipBit(t, cfg.Dir, fillOne(t, s, head))
	if part := files.stretch(303, 303); !errors.Is(part.fault, ledger.ErrCorrupt) {
		t.Errorf("a damaged one more: %+v", part)
	}
	if part := files.stretch(300, 304); !errors.Is(part.fault, ledger.ErrCorrupt) {
		t.Errorf("a sequence that is not there: %+v", part)
	}
}

func fillOne(t *testing.T, s *Server, head events.Head) events.Revision {
	t.Helper()
	return fill(t, s.Log(), head, 1).Revision
}

// Every single bit of a block that is flipped is found, and so is every place at which one is cut.
func TestEveryBitOfABlockCounts(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	fill(t, s.Log(), events.Head{}, 2)
	mustClose(t, s)
	files := filesOf(cfg.Dir, ledgerAccount, "LEDGER")
	path := filepath.Join(files.dir, "msgs", "1.blk")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) (extent, stretch) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		end, err := files.check(t.Context())
		if err != nil && !errors.Is(err, ledger.ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && end.last == 2 && end.torn == 0 {
			return end, files.stretch(1, 2)
		}
		part := files.stretch(1, 2)
		if !errors.Is(part.fault, ledger.ErrCorrupt) {
			t.Errorf("check says %+v, %v; a look for reading says %+v", end, err, part)
		}
		return end, part
	}
	for at := range len(whole) {
		b := bytes.Clone(whole)
		b[at] ^= 1 << (at % 8)
		if end, part := put(b); part.fault == nil {
			t.Errorf("bit %d of byte %d flipped: %+v", at%8, at, end)
		}
		if end, part := put(whole[:at]); part.fault == nil || end.last >= 2 {
			t.Errorf("cut at byte %d: %+v", at, end)
		}
	}
	if end, part := put(whole); part.fault != nil || end != (extent{last: 2}) { // the control
		t.Errorf("unharmed: %+v, %+v", end, part)
	}
}

func FuzzBlock(f *testing.F) {
	b := block{path: "1.blk", n: 1}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Add([]byte("\x1f\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00a12345678"))
	f.Fuzz(func(t *testing.T, buf []byte) {
		seen := 0
		rest, err := b.scan(buf, func(r record) error { seen += r.size; return nil })
		if err == nil && seen+rest != len(buf) {
			t.Errorf("%d bytes of records and %d more, of %d", seen, rest, len(buf))
		}
	})
}
