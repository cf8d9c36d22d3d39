package memlog

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// DefaultMaxBytes is the largest commit when Config does not say otherwise.
const DefaultMaxBytes = 8<<20 - 1024

// Config configures a log. The zero value works.
type Config struct {
	MaxBytes int   // the largest commit; default DefaultMaxBytes
	Hooks    Hooks // failures to play; SetHooks changes them later
}

// Log is a ledger.Log and a ledger.Journal in memory. Several handles may share one store, see Reopen.
type Log struct {
	store    *store
	maxBytes int

	mu     sync.Mutex
	hooks  Hooks
	failed bool // by a hook: no write is taken any more
	closed bool
	gone   chan struct{} // closed by Close
}

var (
	_ ledger.Log     = (*Log)(nil)
	_ ledger.Journal = (*Log)(nil)
)

// Open makes an empty log.
func Open(cfg Config) *Log {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	return newHandle(&store{changed: make(chan struct{})}, cfg)
}

func newHandle(s *store, cfg Config) *Log {
	return &Log{store: s, maxBytes: cfg.MaxBytes, hooks: cfg.Hooks, gone: make(chan struct{})}
}

// Reopen gives another handle on what is stored, as a restart or a second process finds it: without
// hooks, with late writes still under way, and without what was only cached. The old handle goes on working
// unless it is closed.
func (l *Log) Reopen() *Log {
	l.store.forgetCached()
	return newHandle(l.store, Config{MaxBytes: l.maxBytes})
}

// SetHooks changes the failures to play.
func (l *Log) SetHooks(h Hooks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hooks = h
}

// open gives the hooks, or says that the handle is closed.
func (l *Log) open() (Hooks, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Hooks{}, fmt.Errorf("%w: the log is closed", ledger.ErrUnavailable)
	}
	return l.hooks, nil
}

// Append implements ledger.Log.
func (l *Log) Append(ctx context.Context, head events.Revision, c events.Commit) error {
	if err := l.append(ctx, head, c); err != nil {
		return fmt.Errorf("append revision=%d: %w", head+1, err)
	}
	return nil
}

func (l *Log) append(ctx context.Context, head events.Revision, c events.Commit) error {
	hooks, err := l.open()
	switch {
	case err != nil:
		return err
	case c.Revision != head+1:
		return fmt.Errorf("the commit says revision %d", c.Revision)
	case len(c.Bytes) > l.maxBytes:
		return fmt.Errorf("%d bytes, the log takes at most %d", len(c.Bytes), l.maxBytes)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, ctx.Err())
	case l.hasFailed():
		return errFailed
	}
	b := bytes.Clone(c.Bytes)
	switch o := hooks.append(head, c); o.kind {
	case refused:
		return fmt.Errorf("%w: refused by a hook", ledger.ErrUnavailable)
	case lost:
		return fmt.Errorf("%w: lost by a hook", ledger.ErrUnknownOutcome)
	case kept:
		l.store.append(head, b) // a lost race stays a lost race; the caller does not hear of it
		return fmt.Errorf("%w: kept by a hook", ledger.ErrUnknownOutcome)
	case keptLate:
		l.store.appendLate(head, b, o.reads)
		return fmt.Errorf("%w: kept late by a hook", ledger.ErrUnknownOutcome)
	case cached:
		l.store.appendCached(head, b)
		return fmt.Errorf("%w: cached by a hook", ledger.ErrUnknownOutcome)
	case failed:
		l.store.appendCached(head, b)
		return l.fail()
	case failedKept:
		l.store.append(head, b)
		return l.fail()
	}
	if last, ok := l.store.append(head, b); !ok {
		return fmt.Errorf("%w: the last revision is %d", ledger.ErrConflict, last)
	}
	return nil
}

var errFailed = fmt.Errorf("%w: %w before", ledger.ErrUnavailable, ledger.ErrStoreFailed)

func (l *Log) hasFailed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// fail ends all writing by this handle, and gives what its last writer hears.
func (l *Log) fail() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = true
	return fmt.Errorf("%w: %w by a hook", ledger.ErrUnknownOutcome, ledger.ErrStoreFailed)
}

// Read implements ledger.Log.
func (l *Log) Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	last, err := l.Last(ctx)
	return func(yield func(events.Stored, error) bool) {
		switch {
		case err != nil:
			yield(events.Stored{}, fmt.Errorf("read from revision=%d: %w", from, err))
			return
		case from == 0:
			yield(events.Stored{}, fmt.Errorf("read from revision=0: revisions start at 1"))
			return
		}
		for r := from; r <= last; r++ {
			b, err := l.readOne(ctx, r)
			if err != nil {
				yield(events.Stored{}, fmt.Errorf("read revision=%d: %w", r, err))
				return
			}
			if !yield(events.Stored{Revision: r, Bytes: b}, nil) {
				return
			}
		}
	}
}

func (l *Log) readOne(ctx context.Context, r events.Revision) ([]byte, error) {
	if _, err := l.open(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := l.store.commit(r)
	if b == nil {
		return nil, fmt.Errorf("%w: it is not there", ledger.ErrCorrupt)
	}
	return bytes.Clone(b), nil
}

// Last implements ledger.Log.
func (l *Log) Last(ctx context.Context) (events.Revision, error) {
	if _, err := l.open(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return l.store.look(), nil
}

// Wait implements ledger.Log. It is no read in the sense of KeptLate.
func (l *Log) Wait(ctx context.Context, after events.Revision) error {
	for {
		if _, err := l.open(); err != nil {
			return err
		}
		last, changed := l.store.watch()
		if last > after {
			return nil
		}
		select {
		case <-changed:
		case <-l.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// MaxBytes implements ledger.Log.
func (l *Log) MaxBytes() int { return l.maxBytes }

// Close ends this handle: its methods fail from then on, and those that wait return. What is stored stays
// for Reopen.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.gone)
	}
	return nil
}

// Note implements ledger.Journal.
func (l *Log) Note(ctx context.Context, entry []byte) error {
	hooks, err := l.open()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("note: %w", err)
	}
	if l.hasFailed() {
		return fmt.Errorf("note: %w", errFailed)
	}
	b := bytes.Clone(entry)
	switch o := hooks.note(entry); o.kind {
	case refused:
		return fmt.Errorf("note: %w: refused by a hook", ledger.ErrUnavailable)
	case lost:
		return fmt.Errorf("note: %w: lost by a hook", ledger.ErrUnknownOutcome)
	case kept, keptLate: // nobody looks whether a note arrived, so late is no different
		l.store.note(b)
		return fmt.Errorf("note: %w: kept by a hook", ledger.ErrUnknownOutcome)
	case cached, failed: // the entry is lost; nobody reads one back before Reopen
		return fmt.Errorf("note: %w", l.fail())
	case failedKept:
		l.store.note(b)
		return fmt.Errorf("note: %w", l.fail())
	}
	l.store.note(b)
	return nil
}

// Notes implements ledger.Journal.
func (l *Log) Notes(ctx context.Context, from uint64) iter.Seq2[ledger.JournalEntry, error] {
	notes := l.store.notesFrom(from)
	return func(yield func(ledger.JournalEntry, error) bool) {
		if from == 0 {
			yield(ledger.JournalEntry{}, fmt.Errorf("read journal from 0: sequences start at 1"))
			return
		}
		for i, b := range notes {
			_, err := l.open()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(ledger.JournalEntry{}, fmt.Errorf("read journal: %w", err))
				return
			}
			if !yield(ledger.JournalEntry{Sequence: from + uint64(i), Bytes: bytes.Clone(b)}, nil) {
				return
			}
		}
	}
}

// Foreign stores bytes as the next commit, whatever they are, as another writer would; it returns their
// revision.
func (l *Log) Foreign(b []byte) events.Revision {
	return l.store.force(bytes.Clone(b))
}

// Replace puts other bytes in the place of a stored commit; nil makes it unreadable.
func (l *Log) Replace(r events.Revision, b []byte) { l.store.replace(r, bytes.Clone(b)) }

// Truncate forgets every commit after r, as an older backup does.
func (l *Log) Truncate(r events.Revision) { l.store.truncate(r) }
