package logtest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

// The control: a suite that finds nothing wrong with a broken log proves nothing about a whole one. Each
// log here breaks one sentence of the contract, and the check of that sentence must say so.

// broken is a sound log with some of its methods replaced.
type broken struct {
	*memlog.Log
	append   func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error
	read     func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error]
	last     func(log *memlog.Log, ctx context.Context) (events.Revision, error)
	wait     func(log *memlog.Log, ctx context.Context, after events.Revision) error
	maxBytes func(log *memlog.Log) int
	note     func(log *memlog.Log, ctx context.Context, entry []byte) error
	notes    func(log *memlog.Log, ctx context.Context, from uint64) iter.Seq2[ledger.JournalEntry, error]
	close    func(log *memlog.Log) error
}

func (b *broken) Append(ctx context.Context, head events.Revision, c events.Commit) error {
	if b.append != nil {
		return b.append(b.Log, ctx, head, c)
	}
	return b.Log.Append(ctx, head, c)
}

func (b *broken) Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	if b.read != nil {
		return b.read(b.Log, ctx, from)
	}
	return b.Log.Read(ctx, from)
}

func (b *broken) Last(ctx context.Context) (events.Revision, error) {
	if b.last != nil {
		return b.last(b.Log, ctx)
	}
	return b.Log.Last(ctx)
}

func (b *broken) Wait(ctx context.Context, after events.Revision) error {
	if b.wait != nil {
		return b.wait(b.Log, ctx, after)
	}
	return b.Log.Wait(ctx, after)
}

func (b *broken) MaxBytes() int {
	if b.maxBytes != nil {
		return b.maxBytes(b.Log)
	}
	return b.Log.MaxBytes()
}

func (b *broken) Note(ctx context.Context, entry []byte) error {
	if b.note != nil {
		return b.note(b.Log, ctx, entry)
	}
	return b.Log.Note(ctx, entry)
}

func (b *broken) Notes(ctx context.Context, from uint64) iter.Seq2[ledger.JournalEntry, error] {
	if b.notes != nil {
		return b.notes(b.Log, ctx, from)
	}
	return b.Log.Notes(ctx, from)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close(b.Log)
	}
	return b.Log.Close()
}

// subject makes the log ready for every check. prepare changes each log that Reopen gives.
func (b *broken) subject(prepare func(*memlog.Log)) Subject {
	if prepare == nil {
		prepare = func(*memlog.Log) {}
	}
	var s Subject
	s = Subject{
		Log: b, Journal: b,
		Reopen: func() (Subject, error) {
			old := b.Log
			b.Log = old.Reopen()
			prepare(b.Log)
			return s, old.Close()
		},
		Unknown: func(stored bool) {
			b.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
				b.SetHooks(memlog.Hooks{})
				if stored {
					return memlog.Kept
				}
				return memlog.Lost
			}})
		},
		Damage: func(r events.Revision) (Subject, error) {
			b.Replace(r, nil)
			return s, nil
		},
	}
	return s
}

func TestEveryCheckPassesOnASoundLog(t *testing.T) {
	Run(t, func(*testing.T) Subject {
		b := broken{Log: memlog.Open(memlog.Config{MaxBytes: 64 << 10})}
		return b.subject(nil)
	})
}

func TestEveryBreakageIsFound(t *testing.T) {
	found := map[string]bool{}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			for _, name := range m.foundBy {
				i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
				if i < 0 {
					t.Fatalf("there is no check %q", name)
				}
				b := m.log
				b.Log = memlog.Open(memlog.Config{MaxBytes: 64 << 10})
				wait := patience
				if m.hangs {
					wait = 300 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				err := checks[i].run(ctx, b.subject(m.prepare))
				cancel()
				if err == nil || errors.Is(err, errSkip) {
					t.Errorf("check %q: %v, want it to find the breakage", name, err)
				}
				found[name] = true
			}
		})
	}
	for _, c := range checks {
		if !found[c.name] {
			t.Errorf("check %q: no broken log shows that it can fail", c.name)
		}
	}
}

var mutants = []struct {
	name    string
	foundBy []string
	log     broken
	prepare func(*memlog.Log) // of what Reopen gives
	hangs   bool              // the breakage is found by waiting in vain
}{
	{
		name:    "append drops a commit",
		foundBy: []string{"append/in order", "append/cancelled, then again, stores one copy", "last/follows every append"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			return nil
		}},
	},
	{
		name:    "append stores on conflict",
		foundBy: []string{"append/conflict stores nothing", "append/again after unknown stores one copy"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			err := log.Append(ctx, head, c)
			if errors.Is(err, ledger.ErrConflict) {
				log.Foreign(c.Bytes)
			}
			return err
		}},
	},
	{
		name:    "append lets every racing writer in",
		foundBy: []string{"append/one of many racing writers wins", "append/conflict stores nothing", "reopen/same bytes, same places"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			log.Foreign(c.Bytes)
			return nil
		}},
	},
	{
		name:    "append tells every racing writer that it won",
		foundBy: []string{"append/one of many racing writers wins"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			_ = log.Append(ctx, head, c)
			return nil
		}},
	},
	{
		name:    "append reports a conflict as something else",
		foundBy: []string{"append/conflict stores nothing"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			if err := log.Append(ctx, head, c); err != nil {
				return ledger.ErrUnavailable
			}
			return nil
		}},
	},
	{
		name:    "append stores a second copy of what it did not acknowledge",
		foundBy: []string{"append/again after unknown stores one copy"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			err := log.Append(ctx, head, c)
			if errors.Is(err, ledger.ErrUnknownOutcome) {
				log.Foreign(c.Bytes)
				log.Foreign(c.Bytes)
			}
			return err
		}},
	},
	{
		name:    "append says unavailable and stores",
		foundBy: []string{"append/unavailable stores nothing", "append/cancelled, then again, stores one copy"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			if err := log.Append(context.WithoutCancel(ctx), head, c); err != nil {
				return err
			}
			return ledger.ErrUnavailable
		}},
	},
	{
		name:    "append keeps the caller's slice",
		foundBy: []string{"append/keeps its own bytes"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			aliased = c.Bytes
			return log.Append(ctx, head, c)
		}, read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			log.Replace(1, aliased) // as if append had kept it
			return log.Read(ctx, from)
		}},
	},
	{
		name:    "the limit is one too high",
		foundBy: []string{"append/up to max bytes"},
		log:     broken{maxBytes: func(log *memlog.Log) int { return log.MaxBytes() + 1 }},
	},
	{
		name:    "the limit is one too low",
		foundBy: []string{"append/up to max bytes"},
		log:     broken{maxBytes: func(log *memlog.Log) int { return log.MaxBytes() - 1 }},
	},
	{
		name:    "too large ends in an unknown outcome",
		foundBy: []string{"append/up to max bytes"},
		log: broken{append: func(log *memlog.Log, ctx context.Context, head events.Revision, c events.Commit) error {
			if len(c.Bytes) > log.MaxBytes() {
				return ledger.ErrUnknownOutcome
			}
			return log.Append(ctx, head, c)
		}},
	},
	{
		name:    "read skips a commit",
		foundBy: []string{"append/in order", "read/from anywhere", "all/from several goroutines"},
		log:     broken{read: filter(func(s events.Stored) bool { return s.Revision != 3 })},
	},
	{
		name:    "read ends before the last",
		foundBy: []string{"read/from anywhere", "append/in order"},
		log: broken{read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			last, _ := log.Last(ctx)
			return filter(func(s events.Stored) bool { return s.Revision < last })(log, ctx, from)
		}},
	},
	{
		name:    "read starts one too late",
		foundBy: []string{"read/from anywhere", "read/stops when the caller does"},
		log: broken{read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			return log.Read(ctx, from+1)
		}},
	},
	{
		name:    "read gives a commit twice",
		foundBy: []string{"read/from anywhere", "all/from several goroutines"},
		log: broken{read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			return func(yield func(events.Stored, error) bool) {
				for s, err := range log.Read(ctx, from) {
					for range 2 {
						if !yield(s, err) {
							return
						}
					}
				}
			}
		}},
	},
	{
		name:    "read gives other bytes",
		foundBy: []string{"append/in order", "reopen/same bytes, same places"},
		log: broken{read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			return func(yield func(events.Stored, error) bool) {
				for s, err := range log.Read(ctx, from) {
					s.Bytes = bytes.ToUpper(s.Bytes)
					if !yield(s, err) {
						return
					}
				}
			}
		}},
	},
	{
		name:    "read looks for the end when it is ranged over",
		foundBy: []string{"read/ends at the last when called"},
		log: broken{read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			return func(yield func(events.Stored, error) bool) { log.Read(ctx, from)(yield) }
		}},
	},
	{
		name:    "read can be ranged over once",
		foundBy: []string{"read/ends at the last when called"},
		log: broken{read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			seq := log.Read(ctx, from)
			return func(yield func(events.Stored, error) bool) {
				seq(yield)
				seq = func(func(events.Stored, error) bool) {}
			}
		}},
	},
	{
		name:    "read skips what it cannot read",
		foundBy: []string{"read/a commit that cannot be read is corrupt"},
		log: broken{read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			return func(yield func(events.Stored, error) bool) {
				last, _ := log.Last(ctx)
				for r := from; r <= last; r++ {
					for s, err := range log.Read(ctx, r) {
						if err == nil && !yield(s, nil) {
							return
						}
						break
					}
				}
			}
		}},
	},
	{
		name:    "read ends quietly at what it cannot read",
		foundBy: []string{"read/a commit that cannot be read is corrupt", "read/respects its context", "close/ends everything"},
		log: broken{read: func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
			return func(yield func(events.Stored, error) bool) {
				for s, err := range log.Read(ctx, from) {
					if err != nil || !yield(s, nil) {
						return
					}
				}
			}
		}},
	},
	{
		name:    "last lags",
		foundBy: []string{"last/follows every append", "append/in order"},
		log: broken{last: func(log *memlog.Log, ctx context.Context) (events.Revision, error) {
			last, err := log.Last(ctx)
			return max(last, 1) - 1, err
		}},
	},
	{
		name:    "wait does not wait",
		foundBy: []string{"wait/respects its context"},
		log:     broken{wait: func(*memlog.Log, context.Context, events.Revision) error { return nil }},
	},
	{
		name:    "wait never wakes",
		hangs:   true,
		foundBy: []string{"wait/wakes", "all/from several goroutines", "close/ends everything"},
		log: broken{wait: func(log *memlog.Log, ctx context.Context, after events.Revision) error {
			<-ctx.Done()
			return ctx.Err()
		}},
	},
	{
		name:    "wait ignores its context",
		hangs:   true,
		foundBy: []string{"wait/respects its context"},
		log: broken{wait: func(log *memlog.Log, ctx context.Context, after events.Revision) error {
			<-ctx.Done()
			return nil
		}},
	},
	{
		name:    "reopening loses the newest commit",
		foundBy: []string{"reopen/same bytes, same places"},
		prepare: func(log *memlog.Log) {
			last, _ := log.Last(context.Background())
			log.Truncate(last - 1)
		},
	},
	{
		name:    "reopening changes a byte",
		foundBy: []string{"reopen/same bytes, same places"},
		prepare: func(log *memlog.Log) { log.Replace(2, []byte("{}")) },
	},
	{
		name:    "the journal counts from 0",
		foundBy: []string{"journal/in order from 1", "journal/noting again is harmless"},
		log: broken{notes: func(log *memlog.Log, ctx context.Context, from uint64) iter.Seq2[ledger.JournalEntry, error] {
			return func(yield func(ledger.JournalEntry, error) bool) {
				for e, err := range log.Notes(ctx, from) {
					e.Sequence--
					if !yield(e, err) {
						return
					}
				}
			}
		}},
	},
	{
		name:    "the journal drops a note",
		foundBy: []string{"journal/in order from 1", "journal/reopen", "journal/noting again is harmless"},
		log:     broken{note: func(*memlog.Log, context.Context, []byte) error { return nil }},
	},
	{
		name:    "the journal ignores its context",
		foundBy: []string{"journal/respects its context"},
		log: broken{note: func(log *memlog.Log, ctx context.Context, entry []byte) error {
			return log.Note(context.WithoutCancel(ctx), entry)
		}},
	},
	{
		name:    "close closes nothing",
		hangs:   true,
		foundBy: []string{"close/ends everything"},
		log:     broken{close: func(*memlog.Log) error { return nil }},
	},
}

// aliased is the slice that the log "append keeps the caller's slice" should have copied.
var aliased []byte

// filter is a Read that silently leaves out what keep does not keep.
func filter(keep func(events.Stored) bool) func(*memlog.Log, context.Context, events.Revision) iter.Seq2[events.Stored, error] {
	return func(log *memlog.Log, ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
		seq := log.Read(ctx, from)
		return func(yield func(events.Stored, error) bool) {
			for s, err := range seq {
				if (err != nil || keep(s)) && !yield(s, err) {
					return
				}
			}
		}
	}
}
