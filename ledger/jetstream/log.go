package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// Log is the stream LEDGER: the message with sequence k is the commit with revision k.
type Log struct {
	stream *stream

	mu     sync.RWMutex // held for reading during an append, so that Close waits for it
	closed bool
	gone   chan struct{} // closed by Close

	notify sync.Mutex
	grown  chan struct{} // closed and replaced when an append of this process succeeded
}

var _ ledger.Log = (*Log)(nil)

func newLog(s *stream) *Log {
	return &Log{stream: s, gone: make(chan struct{}), grown: make(chan struct{})}
}

var errClosed = fmt.Errorf("%w: the log is closed", ledger.ErrUnavailable)

func (l *Log) isClosed() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// Append implements ledger.Log. The head is the caller's, not the stream's word: a stream that went back
// to an older state refuses it.
func (l *Log) Append(ctx context.Context, head events.Revision, c events.Commit) error {
	if err := l.append(ctx, head, c); err != nil {
		return fmt.Errorf("append revision=%d: %w", head+1, err)
	}
	return nil
}

func (l *Log) append(ctx context.Context, head events.Revision, c events.Commit) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case l.closed:
		return errClosed
	case c.Revision != head+1:
		return fmt.Errorf("the commit says revision %d", c.Revision)
	}
	seq, err := l.stream.publish(ctx, c.Bytes, natsjs.WithExpectLastSequence(uint64(head)))
	switch {
	case err != nil:
		return err
	case seq != uint64(c.Revision):
		return fmt.Errorf("%w: stored as sequence %d", ledger.ErrCorrupt, seq)
	}
	l.notify.Lock()
	defer l.notify.Unlock()
	close(l.grown)
	l.grown = make(chan struct{})
	return nil
}

// Read implements ledger.Log.
func (l *Log) Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	last, err := l.Last(ctx)
	if err == nil && from == 0 {
		err = errors.New("revisions start at 1")
	}
	return func(yield func(events.Stored, error) bool) {
		if err != nil {
			yield(events.Stored{}, fmt.Errorf("read from revision=%d: %w", from, err))
			return
		}
		revision := from
		for m, err := range l.stream.read(ctx, uint64(from), uint64(last)) {
			if err != nil {
				yield(events.Stored{}, fmt.Errorf("read revision=%d: %w", revision, err))
				return
			}
			if !yield(events.Stored{Revision: revision, Bytes: m.data}, nil) {
				return
			}
			revision++
		}
	}
}

// Last implements ledger.Log. Every call also compares the stream's configuration with what it must be.
func (l *Log) Last(ctx context.Context) (events.Revision, error) {
	if l.isClosed() {
		return 0, errClosed
	}
	last, err := l.stream.last(ctx)
	return events.Revision(last), err
}

const (
	firstLook = 5 * time.Millisecond
	slowLook  = 250 * time.Millisecond
)

// Wait implements ledger.Log. Commits of this process wake it at once; those of others are found by
// looking, at most slowLook later, because a notice by NATS may be lost where a commit is not. What may
// pass is waited out; a log that is corrupt or closed is not.
func (l *Log) Wait(ctx context.Context, after events.Revision) error {
	for pause := firstLook; ; pause = min(2*pause, slowLook) {
		l.notify.Lock()
		grown := l.grown
		l.notify.Unlock()
		if l.isClosed() {
			return errClosed
		}
		if l.stream.seen.Load() > uint64(after) {
			return nil
		}
		last, err := l.Last(ctx)
		switch {
		case err == nil && last > after:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ledger.ErrCorrupt):
			return fmt.Errorf("wait for a revision after %d: %w", after, err)
		}
		look := time.NewTimer(pause)
		select {
		case <-grown:
		case <-look.C:
		case <-l.gone:
		case <-ctx.Done():
		}
		look.Stop()
	}
}

// MaxBytes implements ledger.Log.
func (l *Log) MaxBytes() int { return l.stream.maxBytes() }

// Close waits for appends under way and refuses what comes after. The server goes on until Server.Close.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.gone)
	}
	return nil
}
