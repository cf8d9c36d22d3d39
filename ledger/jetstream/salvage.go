package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/permledger/permledger/ledger"
)

// remains are the messages of a stream as they can still be read in its files: every record that is whole, whatever
// lies between. A damaged store is read this way and not by the server, which would cut it, leave something out,
// or take all memory there is.
type remains struct {
	name   string
	blocks []block
	at     map[uint64]place // by sequence
	last   uint64           // the highest sequence of a whole record
}

type place struct{ block, offset int }

// farthest is how far beyond the highest sequence a whole record may be to be believed: whoever asks for all up
// to the last is not to ask for a billion because somebody wrote a number. 2^24 records are more than 1 GiB.
const farthest = 1 << 24

// remains reads the files of a stream; nil when there are none.
func (f *streamFiles) remains() (*remains, error) {
	blocks, err := f.blocks()
	if err != nil || len(blocks) == 0 {
		return nil, err
	}
	r := &remains{name: f.name, blocks: blocks, at: map[uint64]place{}}
	for i, b := range blocks {
		buf, err := b.read()
		if errors.Is(err, ledger.ErrCorrupt) { // larger than a block can be: not one of ours
			continue
		}
		if err != nil {
			return nil, err
		}
		for at, ok := 0, true; ok && at < len(buf); {
			rec, err := b.record(buf[at:])
			if err != nil {
				at, ok = b.anotherAfter(buf, at)
				continue
			}
			if rec.seq < tombstoneBit && rec.seq <= r.last+farthest {
				r.at[rec.seq] = place{i, at}
				r.last = max(r.last, rec.seq)
			}
			at += rec.size
		}
	}
	return r, nil
}

// read yields the messages from sequence from to sequence to. One that is gone is ledger.ErrCorrupt and ends it;
// those behind it can be asked for.
func (r *remains) read(ctx context.Context, from, to uint64) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		var buf []byte
		open := -1 // the block in buf
		for seq := from; seq <= to; seq++ {
			p, ok := r.at[seq]
			err := ctx.Err()
			if err == nil && !ok {
				err = fmt.Errorf("%w: stream %s has lost sequence %d", ledger.ErrCorrupt, r.name, seq)
			}
			if err == nil && p.block != open {
				open = p.block
				buf, err = r.blocks[open].read()
			}
			var rec record
			if err == nil {
				rec, err = r.blocks[open].record(buf[min(p.offset, len(buf)):])
			}
			if !yield(message{seq, bytes.Clone(rec.data)}, err) || err != nil {
				return
			}
		}
	}
}

// openRemains opens what is left of a store without the server.
func (s *Server) openRemains() error {
	if err := s.lock(); err != nil {
		return err
	}
	one := func(name, subject string) (*stream, error) {
		left, err := filesOf(s.cfg.Dir, ledgerAccount, name).remains()
		if left == nil || err != nil {
			return nil, err
		}
		return &stream{pinned: pinned(name, subject, 1), salvaged: true, remains: left}, nil
	}
	commits, err := one(s.cfg.LedgerStream, ledgerSubject)
	if err != nil {
		return err
	}
	entries, err := one(s.cfg.JournalStream, journalSubject)
	if err != nil {
		return err
	}
	return s.salvage(commits, entries, commits != nil, entries != nil)
}

// checkRemains is Check for a store that is not open: the server may have it for as long as that takes, and its
// blocks are looked at first.
func (s *Server) checkRemains(ctx context.Context) error {
	if err := s.unlock(); err != nil {
		return err
	}
	cfg := s.cfg
	cfg.Salvage = false
	look := Examine
	if cfg.Preflight != nil { // in a process whose memory is bounded
		look = func(ctx context.Context, cfg Config) error { return cfg.Preflight(ctx, cfg.Dir) }
	}
	return errors.Join(look(ctx, cfg), s.lock())
}
