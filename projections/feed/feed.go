package feed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
)

// Source is the ledger's events. audit.Trail is one.
type Source interface {
	// Follow yields the events from position from (at least 1) on, in order and without gaps, and waits
	// for those to come until ctx ends.
	Follow(ctx context.Context, from events.Position) iter.Seq2[events.Recorded, error]
	// Head is the last commit whose events Follow would yield.
	Head() events.Head
}

// Config says from where and to where a feed publishes.
type Config struct {
	JetStream jetstream.JetStream // the account whose stream EVENTS is the feed
	Source    Source

	// Replicas of the stream: 1 (the default), or 3 or 5 in a cluster.
	Replicas int
	// Window is how many messages may be published and not yet acknowledged; 1000 by default.
	Window int
	// Patience is how long the stream may be ahead of the source, which happens for a moment when
	// another process publishes the same feed, before it counts as foreign; 10 s by default.
	Patience time.Duration
}

// Faults of the stream. After one of them the feed publishes nothing until it is rebuilt.
var (
	ErrForeign = errors.New("the feed's stream is not of this ledger")
	ErrDamaged = errors.New("the feed's stream has lost messages")
	ErrConfig  = errors.New("the feed's stream is configured otherwise")
)

// ErrClosed is returned by a feed that was closed.
var ErrClosed = errors.New("feed closed")

func halting(err error) bool {
	return errors.Is(err, ErrForeign) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrConfig) || errors.Is(err, ErrClosed)
}

// Feed keeps the stream in step with the source. Create it with Start.
type Feed struct {
	cfg       Config
	publisher jetstream.JetStream // on the same connection, with acknowledgements of its own

	control sync.Mutex // held by whoever starts or stops the run
	stop    context.CancelFunc
	stopped chan struct{} // closed when the run has ended; nil before the first
	closed  bool

	mu       sync.Mutex
	position events.Position // of the last message known to be stored
	err      error
	changed  chan struct{} // closed and replaced whenever position or err changes
}

// Start publishes what the stream lacks and goes on until Close. The source must be caught up. Start
// returns an error only when the stream cannot be reached, with ctx as the limit; what is wrong with the
// stream is told by Err.
func Start(ctx context.Context, cfg Config) (*Feed, error) {
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.Window == 0 {
		cfg.Window = 1000
	}
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Second
	}
	f := &Feed{cfg: cfg, changed: make(chan struct{})}
	var err error
	f.publisher, err = jetstream.New(cfg.JetStream.Conn(),
		jetstream.WithPublishAsyncTimeout(ackWait), jetstream.WithPublishAsyncMaxPending(2*cfg.Window+1))
	if err != nil {
		return nil, fmt.Errorf("start feed: %w", err)
	}
	if _, err := f.open(ctx); err != nil && !halting(err) {
		return nil, fmt.Errorf("start feed: %w", err)
	}
	f.control.Lock()
	defer f.control.Unlock()
	f.begin()
	return f, nil
}

// Position is the last event known to be in the stream.
func (f *Feed) Position() events.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.position
}

// Err is nil while the feed publishes, or what keeps it from it: ErrForeign, ErrDamaged and ErrConfig until
// it is rebuilt, ErrClosed for good, anything else until the next try succeeds.
func (f *Feed) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Wait returns when the event at position is in the stream, when the feed halts, or with ctx's error.
func (f *Feed) Wait(ctx context.Context, position events.Position) error {
	for {
		f.mu.Lock()
		reached, err, changed := f.position, f.err, f.changed
		f.mu.Unlock()
		switch {
		case halting(err):
			return err
		case reached >= position:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the feed's position=%d, have %d: %w", position, reached, errors.Join(ctx.Err(), err))
		}
	}
}

// Rebuild deletes the stream, whatever it holds, and publishes every event again. It returns when the feed
// has reached where the source is now. Subscribers wait meanwhile and go on where they were.
//
// A crash in the middle leaves no stream, or a shorter one: the next Start completes it.
func (f *Feed) Rebuild(ctx context.Context) error {
	to := f.cfg.Source.Head().Position
	if err := f.restart(ctx); err != nil {
		return fmt.Errorf("rebuild feed: %w", err)
	}
	return f.Wait(ctx, to)
}

func (f *Feed) restart(ctx context.Context) error {
	f.control.Lock()
	defer f.control.Unlock()
	if f.closed {
		return ErrClosed
	}
	f.end()
	defer f.begin()
	if err := f.replace(ctx); err != nil {
		return err
	}
	f.reached(0)
	return nil
}

// Close stops publishing. The stream stays.
func (f *Feed) Close() {
	f.control.Lock()
	defer f.control.Unlock()
	if !f.closed {
		f.closed = true
		f.end()
		f.publisher.CleanupPublisher()
		f.report(ErrClosed)
	}
}

// begin and end are called with control held.
func (f *Feed) begin() {
	var ctx context.Context
	ctx, f.stop = context.WithCancel(context.Background())
	f.stopped = make(chan struct{})
	go func() {
		defer close(f.stopped)
		f.run(ctx)
	}()
}

func (f *Feed) end() {
	f.stop()
	<-f.stopped
}

// reached notes that all up to position is stored and that nothing is wrong.
func (f *Feed) reached(position events.Position) { f.note(position, nil) }

// report notes what is wrong.
func (f *Feed) report(err error) { f.note(f.Position(), err) }

func (f *Feed) note(position events.Position, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.position, f.err = position, err
	close(f.changed)
	f.changed = make(chan struct{})
}
