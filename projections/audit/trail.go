package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

// ErrNotFound: there is no such event or commit in the trail, or not yet.
var ErrNotFound = errors.New("not in the trail")

// Trail reads the view. All methods may be called from several goroutines, and every one of them gives
// projections.ErrHalted once the projector is halted.
type Trail struct {
	p *projections.Projector
}

func NewTrail(p *projections.Projector) *Trail { return &Trail{p} }

// Head is the last commit in the trail.
func (t *Trail) Head() events.Head { return t.p.Head() }

// Event gives the event at a position.
func (t *Trail) Event(_ context.Context, position events.Position) (events.Recorded, error) {
	v, err := t.pin()
	if err != nil {
		return events.Recorded{}, err
	}
	defer v.Close()
	if position == 0 || position > v.Head.Position {
		return events.Recorded{}, fmt.Errorf("event position=%d: %w", position, ErrNotFound)
	}
	return v.event(position)
}

// ByID gives the event with an id.
func (t *Trail) ByID(_ context.Context, id events.EventID) (events.Recorded, error) {
	v, err := t.pin()
	if err != nil {
		return events.Recorded{}, err
	}
	defer v.Close()
	// A fact's id is the id of the event that created it, so the first event with the id is that one, and
	// the id of a command is no event's.
	for position, err := range v.list(indexID(id), span{1, v.Head.Position}) {
		if err != nil {
			return events.Recorded{}, err
		}
		r, err := v.event(position)
		if err != nil {
			return events.Recorded{}, err
		}
		if r.ID == id {
			return r, nil
		}
		break
	}
	return events.Recorded{}, fmt.Errorf("event %s: %w", id, ErrNotFound)
}

// Commit gives a commit exactly as it was stored in the log. Its hash is checked.
func (t *Trail) Commit(_ context.Context, revision events.Revision) (events.Stored, error) {
	v, err := t.pin()
	if err != nil {
		return events.Stored{}, err
	}
	defer v.Close()
	if revision == 0 || revision > v.Head.Revision {
		return events.Stored{}, fmt.Errorf("commit revision=%d: %w", revision, ErrNotFound)
	}
	row, raws, err := v.stored(revision)
	if err != nil {
		return events.Stored{}, err
	}
	return events.Stored{Revision: revision, Bytes: events.JoinCommit(row.prefix, raws, row.suffix)}, nil
}

// PositionOf is the position of the first event of a revision. For the revision after the head it is the
// position the next event will have; for later ones the error is projections.ErrBehind.
func (t *Trail) PositionOf(_ context.Context, revision events.Revision) (events.Position, error) {
	v, err := t.pin()
	if err != nil {
		return 0, err
	}
	defer v.Close()
	if revision > v.Head.Revision+1 {
		return 0, fmt.Errorf("%w: position of revision=%d, have %d", projections.ErrBehind, revision, v.Head.Revision)
	}
	return v.positionOf(revision)
}

// PositionAt is the position of the first event recorded at or after an instant; if there is none yet, the
// position the next event will have.
func (t *Trail) PositionAt(_ context.Context, at events.Instant) (events.Position, error) {
	v, err := t.pin()
	if err != nil {
		return 0, err
	}
	defer v.Close()
	return v.positionAt(at)
}

// How many events Follow reads from one pinned view. It lets go of the view before it hands them out, so that
// a slow reader holds no snapshot.
const followChunk = 256

// Follow yields every event from a position on (0 means 1) and then waits for more. It ends with the error of
// ctx or with projections.ErrHalted.
func (t *Trail) Follow(ctx context.Context, from events.Position) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		next := max(from, 1)
		for {
			changed := t.p.Changed() // asked for before reading: what comes after wakes us
			chunk, err := t.read(next)
			for _, r := range chunk {
				if err := ctx.Err(); err != nil {
					yield(events.Recorded{}, context.Cause(ctx))
					return
				}
				if !yield(r, nil) {
					return
				}
				next = r.Position + 1
			}
			if err != nil {
				yield(events.Recorded{}, err)
				return
			}
			if len(chunk) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(events.Recorded{}, context.Cause(ctx))
				return
			}
		}
	}
}

// read gives at most followChunk events from a position on; with an error too, those before it.
func (t *Trail) read(from events.Position) (chunk []events.Recorded, err error) {
	v, err := t.pin()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	for at := from; at <= v.Head.Position && len(chunk) < followChunk; at++ {
		r, err := v.event(at)
		if err != nil {
			return chunk, err
		}
		chunk = append(chunk, r)
	}
	return chunk, nil
}

// view is the trail pinned at one head. What must be there up to that head and is not, is damage.
type view struct {
	*projections.Views
	rows pebblekv.Reader
}

func (t *Trail) pin() (view, error) {
	views, err := t.p.Views()
	if err != nil {
		return view{}, err
	}
	return view{views, views.Rows(Name)}, nil
}

func (v view) event(position events.Position) (events.Recorded, error) {
	revision, raw, err := v.raw(position)
	if err != nil {
		return events.Recorded{}, err
	}
	r, err := events.UnmarshalEvent(raw)
	if err != nil {
		return events.Recorded{}, fmt.Errorf("archived position=%d: %w", position, err)
	}
	r.Revision, r.Position = revision, position
	return r, nil
}

func (v view) raw(position events.Position) (events.Revision, json.RawMessage, error) {
	b, ok, err := v.rows.Get(keyEvent(position))
	switch {
	case err != nil:
		return 0, nil, err
	case !ok || len(b) < 8:
		return 0, nil, fmt.Errorf("%w: archive has no position=%d", pebblekv.ErrStore, position)
	}
	return events.Revision(binary.BigEndian.Uint64(b)), b[8:], nil
}

func (v view) commit(revision events.Revision) (commitRow, error) {
	b, ok, err := v.rows.Get(keyCommit(revision))
	switch {
	case err != nil:
		return commitRow{}, err
	case !ok:
		return commitRow{}, fmt.Errorf("%w: archive has no revision=%d", pebblekv.ErrStore, revision)
	}
	return decodeCommitRow(b)
}

// stored is a commit with the bytes of its events. Put together they have the hash that the row has.
func (v view) stored(revision events.Revision) (commitRow, []json.RawMessage, error) {
	row, err := v.commit(revision)
	if err != nil {
		return row, nil, err
	}
	var raws []json.RawMessage // as many as there are, whatever number a damaged row has
	for i := range events.Position(row.count) {
		_, raw, err := v.raw(row.first + i)
		if err != nil {
			return row, nil, err
		}
		raws = append(raws, raw)
	}
	if sum := sha256.Sum256(events.JoinCommit(row.prefix, raws, row.suffix)); sum != row.hash {
		return row, nil, fmt.Errorf("%w: archived revision=%d has hash %s, not %s", events.ErrBroken, revision, events.Hash(sum), row.hash)
	}
	return row, raws, nil
}

// positionOf is the position of the first event of a revision or, beyond the head, of the next event.
func (v view) positionOf(revision events.Revision) (events.Position, error) {
	switch {
	case revision == 0:
		return 1, nil
	case revision > v.Head.Revision:
		return v.Head.Position + 1, nil
	}
	row, err := v.commit(revision)
	return row.first, err
}

// positionAt searches the commits for the first one recorded at or after an instant.
func (v view) positionAt(at events.Instant) (events.Position, error) {
	low, high := events.Revision(1), v.Head.Revision+1 // the one looked for is in [low, high]
	for low < high {
		middle := low + (high-low)/2
		row, err := v.commit(middle)
		if err != nil {
			return 0, err
		}
		if row.recordedAt < at {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return v.positionOf(low)
}

// span is a range of positions, both ends included; empty when from > to.
type span struct{ from, to events.Position }

// list yields the positions in an index that are in the span, ascending.
func (v view) list(index pebblekv.Key, in span) iter.Seq2[events.Position, error] {
	return func(yield func(events.Position, error) bool) {
		for row, err := range v.rows.ScanFrom(index, positionIn(index, in.from)) {
			if err != nil {
				yield(0, err)
				return
			}
			position, err := positionOfRow(index, row.Key)
			if err == nil && position > in.to {
				return
			}
			if !yield(position, err) || err != nil {
				return
			}
		}
	}
}

// listBack is list, descending.
func (v view) listBack(index pebblekv.Key, in span) iter.Seq2[events.Position, error] {
	return func(yield func(events.Position, error) bool) {
		for at := in.to; at >= in.from && at > 0; at-- {
			row, ok, err := v.rows.Last(index, positionIn(index, at))
			if err == nil && !ok {
				return
			}
			if err == nil {
				at, err = positionOfRow(index, row.Key)
			}
			if err == nil && at < in.from {
				return
			}
			if !yield(at, err) || err != nil {
				return
			}
		}
	}
}

func positionIn(index pebblekv.Key, position events.Position) pebblekv.Key {
	return pebblekv.Key(bytes.Clone(index)).Number(uint64(position))
}

func positionOfRow(index pebblekv.Key, key []byte) (events.Position, error) {
	if len(key) != len(index)+8 {
		return 0, fmt.Errorf("%w: index row %x of %d bytes", pebblekv.ErrStore, key, len(key))
	}
	return events.Position(binary.BigEndian.Uint64(key[len(index):])), nil
}
