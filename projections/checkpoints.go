package projections

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"sort"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// The rows of signed checkpoints:
//
//	K number(size) 'f'    the first one of a size      = number(signed at, microseconds since the year 1) the signed note
//	K number(size) 'l'    the latest one of that size, if there is another
//
// for example, of the tree of six events:
//
//	4B 0000000000000006 66    "K" 6 "f"
//
// Between the first and the latest nothing happened, and the two say so; those between them say nothing more, so
// a ledger that is idle for a year keeps two. Like answers they are in no generation and no digest: the log does
// not hold them, and a rebuild neither makes nor loses them.
const tableCheckpoint = 'K'

func keyCheckpoint(size events.Position, which byte) pebblekv.Key {
	return append(pebblekv.NewKey(tableCheckpoint).Number(uint64(size)), which)
}

const (
	firstOfSize  = 'f'
	latestOfSize = 'l'
)

// KeepCheckpoint keeps a signed checkpoint of so many events, signed at an instant that is not before that of any
// kept one. The same one again, perhaps with more signatures, takes the place of what was kept of it. It is
// durable when KeepCheckpoint returns nil: what was signed is not forgotten by a crash, and the commits it speaks
// of, which no replay could change any more, become durable with it.
func (p *Projector) KeepCheckpoint(size events.Position, at events.Instant, signed []byte) error {
	p.noting.Lock()
	defer p.noting.Unlock()
	w := p.store.NewWrite()
	defer w.Discard()
	key := keyCheckpoint(size, firstOfSize)
	first, there, err := w.Get(key)
	if err == nil && there && instantOf(first) != at {
		key = keyCheckpoint(size, latestOfSize)
	}
	if err == nil {
		err = w.Set(key, append(binary.BigEndian.AppendUint64(nil, uint64(at)), signed...))
	}
	if err == nil {
		err = w.Commit(true)
	}
	if err != nil {
		return fmt.Errorf("keep the checkpoint of %d events: %w", size, err)
	}
	return nil
}

// DropCheckpoints forgets the checkpoints of more than so many events: those of a part of the ledger's history
// that was given up.
func (p *Projector) DropCheckpoints(beyond events.Position) error {
	p.noting.Lock()
	defer p.noting.Unlock()
	w := p.store.NewWrite()
	defer w.Discard()
	prefix := pebblekv.NewKey(tableCheckpoint)
	for row, err := range w.ScanFrom(prefix, keyCheckpoint(beyond+1, 0)) {
		if err == nil {
			err = w.Delete(row.Key)
		}
		if err != nil {
			return fmt.Errorf("drop the checkpoints beyond %d events: %w", beyond, err)
		}
	}
	return w.Commit(true)
}

// Checkpoints yields every kept checkpoint, oldest first. Like the other two that read them, it works when the
// projector is halted, too: what was signed was signed.
func (p *Projector) Checkpoints(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		snap := p.store.NewSnapshot()
		defer snap.Close()
		for row, err := range snap.Scan(pebblekv.NewKey(tableCheckpoint)) {
			var signed []byte
			if err == nil {
				err = context.Cause(ctx)
			}
			if err == nil {
				signed, err = signedOf(row)
			}
			if !yield(signed, err) || err != nil {
				return
			}
		}
	}
}

// LastCheckpoint is the newest one kept; ok is false when there is none.
func (p *Projector) LastCheckpoint() (signed []byte, ok bool, err error) {
	snap := p.store.NewSnapshot()
	defer snap.Close()
	row, ok, err := snap.Last(pebblekv.NewKey(tableCheckpoint), nil)
	if err == nil && ok {
		signed, err = signedOf(row)
	}
	return signed, ok && err == nil, err
}

// CheckpointBefore is the newest one kept that was signed at or before an instant. Sizes and instants grow
// together, so it is searched for by size.
func (p *Projector) CheckpointBefore(at events.Instant) (signed []byte, ok bool, err error) {
	snap := p.store.NewSnapshot()
	defer snap.Close()
	last := func(size events.Position, which byte) (row pebblekv.Row, late bool) {
		var there bool
		if err == nil {
			row, there, err = snap.Last(pebblekv.NewKey(tableCheckpoint), keyCheckpoint(size, which))
		}
		return row, there && instantOf(row.Value) > at
	}
	size := events.Position(sort.Search(int(p.Head().Position)+1, func(n int) bool {
		_, late := last(events.Position(n), latestOfSize)
		return late
	}))
	// Either none is too late, or of the smallest size that has one, the first may not be.
	row, late := last(size, firstOfSize)
	if late && size > 0 {
		row, late = last(size-1, latestOfSize)
	}
	if err != nil || late || row.Key == nil {
		return nil, false, err
	}
	signed, err = signedOf(row)
	return signed, err == nil, err
}

func instantOf(value []byte) events.Instant {
	if len(value) < 8 {
		return 0
	}
	return events.Instant(binary.BigEndian.Uint64(value))
}

func signedOf(row pebblekv.Row) ([]byte, error) {
	if len(row.Value) < 8 {
		return nil, fmt.Errorf("%w: checkpoint row %x of %d bytes", pebblekv.ErrStore, row.Key, len(row.Value))
	}
	return append([]byte(nil), row.Value[8:]...), nil
}
