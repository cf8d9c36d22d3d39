package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
)

// What ends a subscription, besides errors of the effect and events.ErrUnknownEvent. None of it passes by
// waiting: somebody has to look.
var (
	// ErrOtherLedger: the cursor is of another ledger than the feed.
	ErrOtherLedger = errors.New("the cursor is of another ledger")
	// ErrRewound: the cursor is of this ledger, but of a past that it does not have (any more).
	ErrRewound = errors.New("the feed is older than the cursor, or has another past")
	// ErrNoFeed: there is no stream EVENTS.
	ErrNoFeed = errors.New("there is no feed")
	// ErrDamaged: the feed lacks a message, or holds one that no ledger wrote.
	ErrDamaged = errors.New("the feed is damaged")
)

// Options say what a subscriber wants. The zero value is everything from the first event on.
type Options struct {
	// Name is the subscriber's, in errors and for whoever looks at the server.
	Name string
	// From is where to start when the effect has no cursor yet.
	From Start
	// Filters select events: those that any of them selects. None: every event.
	Filters []Filter
	// Patience is how long a feed may be missing, or end before the cursor, without growing: a feed that
	// is being built anew does both for a while. 30 s by default.
	Patience time.Duration
	// Interrupted, if set, is told why the subscription has to attach to the feed again.
	Interrupted func(error)
}

// Subscribe hands events to effect until ctx ends or something happens that waiting does not cure. It never
// returns nil: the error is ctx's, or says what happened. The package documentation says what an effect may
// rely on.
func Subscribe(ctx context.Context, js jetstream.JetStream, o Options, effect Effect) error {
	if o.Name == "" {
		o.Name = "unnamed"
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Interrupted == nil {
		o.Interrupted = func(error) {}
	}
	s := subscription{Options: o, js: js, effect: effect}
	return fmt.Errorf("subscribe %s: %w", o.Name, s.run(ctx))
}

// subscription is one call of Subscribe.
type subscription struct {
	Options
	js       jetstream.JetStream
	effect   Effect
	subjects []string // nil: every event

	cursor Cursor // of the last event applied, or passed over before the start
	begun  bool   // the effect has a cursor

	// While the feed is missing or shorter than the cursor: since when it ends there.
	shortSince time.Time
	shortAt    events.Position
}

// final marks an error that ends the subscription; all others are tried again.
func final(err error) error { return finalError{err} }

type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

const (
	minPause   = 10 * time.Millisecond // between two attempts to attach
	maxPause   = 2 * time.Second
	detachWait = time.Second
)

// run attaches to the feed, again and again.
func (s *subscription) run(ctx context.Context) (err error) {
	if s.subjects, err = subjects(s.Filters); err != nil {
		return err
	}
	if s.cursor, s.begun, err = s.effect.Cursor(ctx); err != nil {
		return err
	}
	pause := minPause
	for {
		before := s.cursor
		err := s.session(ctx)
		if stop, ok := errors.AsType[finalError](err); ok {
			return stop.error
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed):
			return err
		}
		s.Interrupted(err)
		if s.cursor != before {
			pause = minPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, maxPause)
	}
}

// session attaches to the feed after the cursor, if it is the feed the cursor comes from, and hands over
// events until it has to attach again. The client library's ordered consumer would do that by itself, but
// without looking whether the feed is still the same.
func (s *subscription) session(ctx context.Context) error {
	connected, release := s.connected(ctx)
	defer release()
	feed, err := s.js.Stream(connected, events.FeedStream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return s.bear(0, ErrNoFeed)
	case err != nil:
		s.shortSince = time.Time{}
		return fmt.Errorf("look for the feed: %w", err)
	case s.begun:
		err = s.recognize(connected, feed)
	default:
		err = s.start(ctx, connected, feed)
	}
	if err != nil {
		return err
	}
	s.shortSince = time.Time{}
	return s.follow(ctx, connected, feed)
}

var errDisconnected = errors.New("connection lost")

// connected gives a context that ends with the connection: what comes after a reconnect may be another feed.
func (s *subscription) connected(ctx context.Context) (_ context.Context, release func()) {
	connected, lost := context.WithCancelCause(ctx)
	nc := s.js.Conn()
	status := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		defer nc.RemoveStatusListener(status)
		select {
		case <-status:
			lost(errDisconnected)
		case <-connected.Done():
		}
	}()
	return connected, func() { lost(nil) }
}

// bear gives err as one that passes, and as final once the feed has ended at last for as long as Patience.
func (s *subscription) bear(last events.Position, err error) error {
	now := time.Now()
	if s.shortSince.IsZero() || s.shortAt != last {
		s.shortSince, s.shortAt = now, last
	}
	if now.Sub(s.shortSince) >= s.Patience {
		return final(err)
	}
	return err
}

// recognize makes sure that the feed is the one the cursor comes from.
func (s *subscription) recognize(ctx context.Context, feed jetstream.Stream) error {
	last := events.Position(feed.CachedInfo().State.LastSeq)
	var m message
	if at := min(last, s.cursor.Position); at > 0 {
		var err error
		switch m, err = read(ctx, feed, at); {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return s.bear(at, fmt.Errorf("%w: %w", ErrDamaged, err)) // or a replica is late
		case err != nil:
			return err
		case m.Ledger != s.cursor.Ledger:
			return final(fmt.Errorf("%w: %s, the feed's is %s", ErrOtherLedger, s.cursor.Ledger, m.Ledger))
		}
	}
	switch {
	case last < s.cursor.Position:
		return s.bear(last, fmt.Errorf("%w: it ends at position=%d, the cursor is at %d", ErrRewound, last, s.cursor.Position))
	case m.id != s.cursor.Event:
		return final(fmt.Errorf("%w: position=%d is event %s, the cursor's is %s", ErrRewound, s.cursor.Position, m.id, s.cursor.Event))
	}
	return nil
}

// start finds where to start. When that has still to come, the effect gets no cursor yet: found again after
// a restart, the start is the same.
func (s *subscription) start(ctx, connected context.Context, feed jetstream.Stream) (err error) {
	var found bool
	if s.cursor, found, err = s.From.resolve(connected, feed); err != nil || !found {
		return err
	}
	return s.begin(ctx)
}

func (s *subscription) begin(ctx context.Context) error {
	if err := s.effect.Begin(ctx, s.cursor); err != nil {
		return final(fmt.Errorf("begin at position=%d: %w", s.cursor.Position, err))
	}
	s.begun = true
	return nil
}

// follow hands over what comes after the cursor until the connection is lost.
func (s *subscription) follow(ctx, connected context.Context, feed jetstream.Stream) error {
	reader, err := feed.CreateConsumer(connected, jetstream.ConsumerConfig{
		Description:       "permledger subscriber " + s.Name,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       uint64(s.cursor.Position) + 1,
		FilterSubjects:    s.subjects,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("attach to the feed: %w", err)
	}
	defer s.detach(ctx, feed, reader)
	messages, err := reader.Messages(jetstream.PullMaxMessages(500), jetstream.PullHeartbeat(5*time.Second))
	if err != nil {
		return fmt.Errorf("attach to the feed: %w", err)
	}
	defer messages.Stop()
	for n := uint64(1); ; n++ {
		m, err := messages.Next(jetstream.NextContext(connected))
		if err != nil {
			return errors.Join(err, context.Cause(connected))
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("follow the feed: %w", err)
		}
		if meta.Sequence.Consumer != n {
			return fmt.Errorf("follow the feed: delivery %d came after %d", meta.Sequence.Consumer, n-1)
		}
		if err := s.deliver(ctx, m, events.Position(meta.Sequence.Stream)); err != nil {
			return err
		}
	}
}

// detach takes the reader off the server, which would forget it by itself a little later.
func (s *subscription) detach(ctx context.Context, feed jetstream.Stream, reader jetstream.Consumer) {
	if s.js.Conn().IsConnected() {
		ctx, done := context.WithTimeout(context.WithoutCancel(ctx), detachWait)
		defer done()
		feed.DeleteConsumer(ctx, reader.CachedInfo().Name) // best effort
	}
}

// deliver checks one message and applies its event.
func (s *subscription) deliver(ctx context.Context, delivered jetstream.Msg, at events.Position) error {
	m, err := events.ParseMessage(delivered.Data())
	switch {
	case err != nil:
		return final(fmt.Errorf("%w: position=%d: %w", ErrDamaged, at, err))
	case m.Position != at:
		return final(fmt.Errorf("%w: position=%d says it is %d", ErrDamaged, at, m.Position))
	case s.cursor.Ledger != uuid.Nil && m.Ledger != s.cursor.Ledger:
		return final(fmt.Errorf("%w: %s, position=%d is of %s", ErrOtherLedger, s.cursor.Ledger, at, m.Ledger))
	case at <= s.cursor.Position:
		return fmt.Errorf("follow the feed: position=%d came after %d", at, s.cursor.Position)
	case s.subjects == nil && at != s.cursor.Position+1:
		return final(fmt.Errorf("%w: position=%d is missing", ErrDamaged, s.cursor.Position+1))
	case m.Revision < s.cursor.Revision:
		return final(fmt.Errorf("%w: position=%d is of revision %d, an earlier one of %d", ErrDamaged, at, m.Revision, s.cursor.Revision))
	}
	r, err := events.UnmarshalEvent(m.Event)
	if err != nil {
		return final(fmt.Errorf("position=%d: %w", at, err))
	}
	r.Revision, r.Position = m.Revision, m.Position
	return s.apply(ctx, Event{m.Ledger, r})
}

func (s *subscription) apply(ctx context.Context, ev Event) error {
	if !s.begun {
		if !s.From.reached(marker{ev.Revision, ev.Position, ev.RecordedAt}) {
			s.cursor = ev.Cursor()
			return nil
		}
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	if err := s.effect.Apply(ctx, ev); err != nil {
		return final(fmt.Errorf("apply position=%d: %w", ev.Position, err))
	}
	s.cursor = ev.Cursor()
	return nil
}
