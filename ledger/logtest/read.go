package logtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// "Read yields the stored commits from revision from, in order and without gaps. from beyond the end
// yields nothing."
func readFromAnywhere(ctx context.Context, s Subject) error {
	if got, err := readAll(ctx, s.Log, 1); err != nil || len(got) != 0 {
		return fmt.Errorf("read an empty log: %d commits, %v", len(got), err)
	}
	chain, err := appendChain(ctx, s.Log, events.Head{}, 12)
	if err != nil {
		return err
	}
	for _, from := range []events.Revision{1, 2, 7, 12, 13, 14, 1000} {
		var want []events.Commit
		if from <= 12 {
			want = chain[from-1:]
		}
		got, err := readAll(ctx, s.Log, from)
		if err == nil {
			err = same(got, want)
		}
		if err != nil {
			return fmt.Errorf("read from %d of 12: %w", from, err)
		}
	}
	return nil
}

// "… to the one that was last when Read was called."
func readEndsAtLastWhenCalled(ctx context.Context, s Subject) error {
	chain, err := appendChain(ctx, s.Log, events.Head{}, 3)
	if err != nil {
		return err
	}
	seq := s.Log.Read(ctx, 1)
	more, err := appendChain(ctx, s.Log, chain[2].Head(), 2)
	if err != nil {
		return err
	}
	for range 2 { // what Read returned can be ranged over again
		var got []events.Stored
		for c, err := range seq {
			if err != nil {
				return err
			}
			got = append(got, c)
		}
		if err := same(got, chain); err != nil {
			return fmt.Errorf("read called at revision 3, with 5 stored since: %w", err)
		}
	}
	return holds(ctx, s.Log, append(chain, more...))
}

// A caller that has seen enough leaves, and the log is none the worse for it.
func readStops(ctx context.Context, s Subject) error {
	chain, err := appendChain(ctx, s.Log, events.Head{}, 10)
	if err != nil {
		return err
	}
	for stop := 1; stop <= 10; stop++ {
		var got []events.Stored
		for c, err := range s.Log.Read(ctx, 1) {
			if err != nil {
				return err
			}
			if got = append(got, c); len(got) == stop {
				break
			}
		}
		if err := same(got, chain[:stop]); err != nil {
			return fmt.Errorf("read until %d: %w", stop, err)
		}
	}
	return holds(ctx, s.Log, chain)
}

func readRespectsContext(ctx context.Context, s Subject) error {
	if _, err := appendChain(ctx, s.Log, events.Head{}, 5); err != nil {
		return err
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if got, err := readAll(over, s.Log, 1); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("read with a context that is over: %d commits, then %v", len(got), err)
	}
	if _, err := s.Log.Last(over); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("last with a context that is over: %v", err)
	}
	return nil
}

// "A commit that should be there and cannot be read yields ErrCorrupt and ends the sequence."
func unreadableIsCorrupt(ctx context.Context, s Subject) error {
	if s.Damage == nil {
		return errSkip
	}
	chain, err := appendChain(ctx, s.Log, events.Head{}, 9)
	if err != nil {
		return err
	}
	if s, err = s.Damage(5); err != nil {
		return err
	}
	var got []events.Stored
	ended := false
	for c, err := range s.Log.Read(ctx, 1) {
		switch {
		case ended:
			return errors.New("read went on after an error")
		case err == nil:
			got = append(got, c)
		case !errors.Is(err, ledger.ErrCorrupt):
			return fmt.Errorf("read over a commit that cannot be read: %w, want corrupt", err)
		default:
			ended = true
		}
	}
	if !ended {
		return fmt.Errorf("read yielded %d commits and no error, with revision 5 of 9 unreadable", len(got))
	}
	return same(got, chain[:4])
}

// "Last is the last revision, 0 for an empty log."
func lastFollows(ctx context.Context, s Subject) error {
	var head events.Head
	for {
		last, err := s.Log.Last(ctx)
		if err != nil {
			return err
		}
		if last != head.Revision {
			return fmt.Errorf("last is %d after %d appends", last, head.Revision)
		}
		if last == 5 {
			return nil
		}
		chain, err := appendChain(ctx, s.Log, head, 1)
		if err != nil {
			return err
		}
		head = chain[0].Head()
	}
}

// "Wait returns when the last revision is greater than after."
func waitWakes(ctx context.Context, s Subject) error {
	var head events.Head
	for range 10 {
		var appended atomic.Bool
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() {
				err := s.Log.Wait(ctx, head.Revision)
				if err == nil && !appended.Load() {
					err = fmt.Errorf("wait for more than %d returned before there was more", head.Revision)
				}
				errs <- err
			}()
		}
		c, err := Commit(head, 1, "awaited")
		if err != nil {
			return err
		}
		appended.Store(true)
		if err := s.Log.Append(ctx, head.Revision, c); err != nil {
			return err
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				return fmt.Errorf("wait for more than %d: %w", head.Revision, err)
			}
		}
		head = c.Head()
	}
	for after := range head.Revision { // what has long been there is not waited for
		if err := s.Log.Wait(ctx, after); err != nil {
			return fmt.Errorf("wait for more than %d at %d: %w", after, head.Revision, err)
		}
	}
	return nil
}

// "… or with ctx's error."
func waitRespectsContext(ctx context.Context, s Subject) error {
	if _, err := appendChain(ctx, s.Log, events.Head{}, 2); err != nil {
		return err
	}
	for _, after := range []events.Revision{2, 3, 100} {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		err := s.Log.Wait(short, after)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("wait for more than %d at 2: %v, want the context's error", after, err)
		}
	}
	return nil
}

// "All methods may be called from several goroutines." Readers follow a writer; each must see a prefix.
func severalGoroutines(ctx context.Context, s Subject) error {
	const commits, readers = 60, 4
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, readers+1)
	var all sync.WaitGroup
	all.Go(func() {
		_, err := appendChain(ctx, s.Log, events.Head{}, commits)
		errs <- err
	})
	for range readers {
		all.Go(func() { errs <- follow(ctx, s.Log, commits) })
	}
	var first error
	for range readers + 1 {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel() // the others would wait for commits that never come
		}
	}
	all.Wait()
	return first
}

// follow reads what comes until revision end, and reports what is not the very next commit.
func follow(ctx context.Context, log ledger.Log, end events.Revision) error {
	var head events.Head
	for head.Revision < end {
		if err := log.Wait(ctx, head.Revision); err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		for s, err := range log.Read(ctx, head.Revision+1) {
			if err != nil {
				return fmt.Errorf("read: %w", err)
			}
			c, err := events.DecodeCommit(s.Bytes)
			if err != nil {
				return err
			}
			if err := head.Follows(c); err != nil {
				return err
			}
			head = c.Head()
		}
	}
	return nil
}

// "When nil, c is durable, and its revision will never be given to another commit."
func reopenSameBytes(ctx context.Context, s Subject) error {
	if s.Reopen == nil {
		return errSkip
	}
	var chain []events.Commit
	var head events.Head
	for range 3 {
		more, err := appendChain(ctx, s.Log, head, 5)
		if err != nil {
			return err
		}
		chain, head = append(chain, more...), more[4].Head()
		if s, err = s.Reopen(); err != nil {
			return fmt.Errorf("reopen: %w", err)
		}
		if err := holds(ctx, s.Log, chain); err != nil {
			return fmt.Errorf("after reopening: %w", err)
		}
		again, err := Commit(more[3].Head(), 1, "the same place again")
		if err != nil {
			return err
		}
		if err := s.Log.Append(ctx, again.Revision-1, again); !errors.Is(err, ledger.ErrConflict) {
			return fmt.Errorf("append at revision %d, which is taken, after reopening: %v", again.Revision, err)
		}
	}
	return nil
}
