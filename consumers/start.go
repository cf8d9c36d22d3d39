package consumers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
)

// Start is where a subscription without a cursor starts. The zero value is First.
type Start struct {
	now      bool
	revision events.Revision
	position events.Position
	time     events.Instant
}

// First starts with the ledger's first event.
func First() Start { return Start{} }

// Now starts with the first event that is published after the subscription was first started.
func Now() Start { return Start{now: true} }

// FromRevision starts with the first event of that commit, which may still have to come.
func FromRevision(r events.Revision) Start { return Start{revision: r} }

// FromPosition starts with the event at that position, which may still have to come.
func FromPosition(p events.Position) Start { return Start{position: p} }

// FromTime starts with the first event recorded at t or later, which may still have to come.
func FromTime(t time.Time) Start { return Start{time: events.At(t)} }

// marker is what a start is found by; all of it only grows from event to event.
type marker struct {
	revision   events.Revision
	position   events.Position
	recordedAt events.Instant
}

// reached reports whether an event is at or after the start. Now is not found this way.
func (s Start) reached(m marker) bool {
	return m.revision >= s.revision && m.position >= s.position && m.recordedAt >= s.time
}

// message is one message of the feed, not yet decoded further than it has to be.
type message struct {
	events.FeedMessage
	id         events.EventID
	recordedAt events.Instant
}

func (m message) cursor() Cursor {
	return Cursor{Ledger: m.Ledger, Revision: m.Revision, Position: m.Position, Event: m.id}
}

func (m message) marker() marker { return marker{m.Revision, m.Position, m.recordedAt} }

// read gets the message at a position. It reads no more of the event than every version of every event
// has: an event of a kind this build does not know matters only to who selected it.
func read(ctx context.Context, feed jetstream.Stream, position events.Position) (message, error) {
	raw, err := feed.GetMsg(ctx, uint64(position))
	if err != nil {
		return message{}, fmt.Errorf("read position=%d of the feed: %w", position, err)
	}
	m, err := events.ParseMessage(raw.Data)
	if err == nil && m.Position != position {
		err = fmt.Errorf("says it is %d", m.Position)
	}
	if err != nil {
		return message{}, final(fmt.Errorf("%w: position=%d: %w", ErrDamaged, position, err))
	}
	var envelope struct {
		ID         events.EventID `json:"id"`
		RecordedAt events.Instant `json:"recorded_at"`
	}
	if err := json.Unmarshal(m.Event, &envelope); err != nil {
		return message{}, final(fmt.Errorf("%w: position=%d: %w", ErrDamaged, position, err))
	}
	return message{m, envelope.ID, envelope.RecordedAt}, nil
}

// resolve finds the cursor after which the subscription starts; found is false when the start has still to
// come, and the cursor is then that of the feed's last message.
func (s Start) resolve(ctx context.Context, feed jetstream.Stream) (_ Cursor, found bool, err error) {
	at := func(p events.Position) (m message, err error) {
		if p > 0 {
			m, err = read(ctx, feed, p)
		}
		return m, err
	}
	last := events.Position(feed.CachedInfo().State.LastSeq)
	switch {
	case s == First():
		return Cursor{}, true, nil
	case s.now || last == 0:
		m, err := at(last)
		return m.cursor(), s.now, err
	}
	// Positions up to before are before the start, those from after on are not.
	before, after := events.Position(0), last+1
	var end message // at before
	for before+1 < after {
		middle := before + (after-before)/2
		m, err := at(middle)
		if err != nil {
			return Cursor{}, false, err
		}
		if s.reached(m.marker()) {
			after = middle
		} else {
			before, end = middle, m
		}
	}
	return end.cursor(), after <= last, nil
}
