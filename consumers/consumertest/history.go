package consumertest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// History is the events of a made-up ledger, in memory. It is a source for a feed. Its methods may be
// called by several goroutines.
type History struct {
	ledger events.LedgerID

	mu      sync.Mutex
	head    events.Head
	events  []events.Recorded // the one at position p is events[p-1]
	changed chan struct{}     // closed and replaced when events are appended
}

// NewHistory makes an empty history of the ledger with that id.
func NewHistory(ledger events.LedgerID) *History {
	return &History{ledger: ledger, changed: make(chan struct{})}
}

// Event puts an event of the default tenant into an envelope with what every envelope must have.
func Event(e events.Event) events.Recorded {
	return events.Recorded{Tenant: events.DefaultTenant, Event: e}
}

// Append makes the events one commit and gives them back as recorded. An event without an id, a command or
// an actor gets one; the commit is recorded when its first event says, else now, but not before the last.
func (h *History) Append(evs ...events.Recorded) ([]events.Recorded, error) {
	if len(evs) == 0 {
		return nil, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	evs = slices.Clone(evs)
	command := uuid.Must(uuid.NewV7())
	for i := range evs {
		r := &evs[i]
		if r.ID == uuid.Nil {
			r.ID = uuid.Must(uuid.NewV7())
		}
		if r.Command == uuid.Nil {
			r.Command = command
		}
		if r.Actor.IsZero() {
			r.Actor = events.User("root")
		}
	}
	at := events.At(time.Now())
	if !evs[0].RecordedAt.IsZero() {
		at = evs[0].RecordedAt
	}
	c, err := events.Seal(h.head, events.Header{
		Ledger: h.ledger, Writer: "test", RecordedAt: max(at, h.head.RecordedAt),
	}, evs, nil)
	if err != nil {
		return nil, fmt.Errorf("append to history: %w", err)
	}
	h.head = c.Head()
	h.events = append(h.events, c.Events...)
	close(h.changed)
	h.changed = make(chan struct{})
	return c.Events, nil
}

// Head is the last commit.
func (h *History) Head() events.Head {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head
}

// Events are all events so far, in order.
func (h *History) Events() []events.Recorded {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clip(h.events)
}

// Follow yields the events from position from on, in order, and waits for those to come until ctx ends;
// then it yields ctx's error.
func (h *History) Follow(ctx context.Context, from events.Position) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for next := max(from, 1); ; {
			h.mu.Lock()
			all, changed := h.events, h.changed
			h.mu.Unlock()
			for ; int(next) <= len(all); next++ {
				if ctx.Err() != nil || !yield(all[next-1], nil) {
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(events.Recorded{}, ctx.Err())
				return
			}
		}
	}
}
