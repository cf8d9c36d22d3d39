package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// "Log is the truth: commits at revisions 1, 2, 3 … without gaps."
func appendInOrder(ctx context.Context, s Subject) error {
	chain, err := appendChain(ctx, s.Log, events.Head{}, 20)
	if err != nil {
		return err
	}
	return holds(ctx, s.Log, chain)
}

// "ErrConflict: the last revision is not head. Nothing was stored."
func conflictStoresNothing(ctx context.Context, s Subject) error {
	chain, err := appendChain(ctx, s.Log, events.Head{}, 3)
	if err != nil {
		return err
	}
	heads := []events.Head{{}, chain[0].Head(), chain[1].Head()}
	beyond, err := Commit(chain[2].Head(), 1, "never stored")
	if err != nil {
		return err
	}
	for _, head := range append(heads, beyond.Head()) {
		c, err := Commit(head, 1, "too late, or too early")
		if err != nil {
			return err
		}
		if err := s.Log.Append(ctx, head.Revision, c); !errors.Is(err, ledger.ErrConflict) {
			return fmt.Errorf("append after %d when 3 is last: %v, want a conflict", head.Revision, err)
		}
		if err := holds(ctx, s.Log, chain); err != nil {
			return fmt.Errorf("after the conflict: %w", err)
		}
	}
	return nil
}

// "Append stores c as the commit after head, if the log's last revision is still head." Sixteen writers
// have the same head, thirty times over.
func oneWriterWins(ctx context.Context, s Subject) error {
	const writers, rounds = 16, 30
	var chain []events.Commit
	var head events.Head
	for range rounds {
		var all [writers]events.Commit
		for w := range all {
			c, err := Commit(head, 1, fmt.Sprintf("writer %d", w))
			if err != nil {
				return err
			}
			all[w] = c
		}
		winner, err := race(ctx, s.Log, head.Revision, all[:])
		if err != nil {
			return fmt.Errorf("after revision %d: %w", head.Revision, err)
		}
		chain, head = append(chain, winner), winner.Head()
	}
	return holds(ctx, s.Log, chain)
}

// race appends all commits after the same head at once and returns the one that went in.
func race(ctx context.Context, log ledger.Log, head events.Revision, all []events.Commit) (winner events.Commit, err error) {
	errs := make([]error, len(all))
	var start, end sync.WaitGroup
	start.Add(1)
	for w := range all {
		end.Go(func() {
			start.Wait()
			errs[w] = log.Append(ctx, head, all[w])
		})
	}
	start.Done()
	end.Wait()
	winners := 0
	for w, err := range errs {
		switch {
		case err == nil:
			winner = all[w]
			winners++
		case !errors.Is(err, ledger.ErrConflict):
			return winner, fmt.Errorf("writer %d: %w, want nil or a conflict", w, err)
		}
	}
	if winners != 1 {
		return winner, fmt.Errorf("%d of %d writers won", winners, len(all))
	}
	return winner, nil
}

// "ErrUnknownOutcome: c may be stored. Appending the very same c again is safe: at most one copy is ever
// stored."
func unknownThenAgain(ctx context.Context, s Subject) error {
	if s.Unknown == nil {
		return errSkip
	}
	var chain []events.Commit
	var head events.Head
	for _, stored := range []bool{false, true} {
		c, err := Commit(head, 1, "who knows")
		if err != nil {
			return err
		}
		s.Unknown(stored)
		if err := s.Log.Append(ctx, head.Revision, c); !errors.Is(err, ledger.ErrUnknownOutcome) {
			return fmt.Errorf("append with the outcome made unknown: %v", err)
		}
		chain, head = append(chain, c), c.Head()
		switch err := s.Log.Append(ctx, c.Revision-1, c); {
		case stored && !errors.Is(err, ledger.ErrConflict):
			return fmt.Errorf("append again what was stored: %v, want a conflict", err)
		case !stored && err != nil:
			return fmt.Errorf("append again what was lost: %w", err)
		}
		if err := holds(ctx, s.Log, chain); err != nil {
			return fmt.Errorf("after appending it again: %w", err)
		}
	}
	return nil
}

// The same with outcomes that really are unknown: the caller's context ends at this and that moment of the
// write.
func cancelledThenAgain(ctx context.Context, s Subject) error {
	var chain []events.Commit
	var head events.Head
	for i := range 50 {
		c, err := Commit(head, 1, "cut short")
		if err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, time.Duration(i)*10*time.Microsecond)
		first := s.Log.Append(short, head.Revision, c)
		cancel()
		again := s.Log.Append(ctx, head.Revision, c)
		if err := agree(first, again); err != nil {
			return err
		}
		chain, head = append(chain, c), c.Head()
	}
	return holds(ctx, s.Log, chain)
}

// agree judges what appending a commit and appending it again may say, when nobody else writes.
func agree(first, again error) error {
	stored, refused := again != nil, again == nil
	if again != nil && !errors.Is(again, ledger.ErrConflict) {
		return fmt.Errorf("append again: %w, want nil or a conflict", again)
	}
	switch {
	case first == nil && refused:
		return errors.New("append said stored, and it was not there")
	case errors.Is(first, ledger.ErrUnavailable) && stored:
		return fmt.Errorf("append said %w, and it was stored", first)
	case first != nil && !errors.Is(first, ledger.ErrUnknownOutcome) && !errors.Is(first, ledger.ErrUnavailable):
		return fmt.Errorf("append with a context that ends: %w", first)
	}
	return nil
}

// "ErrUnavailable: nothing was stored." A context that is over before the write starts must not store.
func unavailableStoresNothing(ctx context.Context, s Subject) error {
	chain, err := appendChain(ctx, s.Log, events.Head{}, 1)
	if err != nil {
		return err
	}
	c, err := Commit(chain[0].Head(), 1, "not this one")
	if err != nil {
		return err
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Log.Append(over, 1, c); !errors.Is(err, ledger.ErrUnavailable) {
		return fmt.Errorf("append with a context that is over: %v, want unavailable", err)
	}
	return holds(ctx, s.Log, chain)
}

// "Append stores the bytes of c": those it was given, whatever becomes of the slices.
func keepsItsOwnBytes(ctx context.Context, s Subject) error {
	c, err := Commit(events.Head{}, 1, "mine")
	if err != nil {
		return err
	}
	given := c
	given.Bytes = bytes.Clone(c.Bytes)
	if err := s.Log.Append(ctx, 0, given); err != nil {
		return err
	}
	scribble(given.Bytes)
	got, err := readAll(ctx, s.Log, 1)
	if err != nil {
		return err
	}
	if err := same(got, []events.Commit{c}); err != nil {
		return fmt.Errorf("after the caller wrote on what it gave: %w", err)
	}
	scribble(got[0].Bytes)
	if err := holds(ctx, s.Log, []events.Commit{c}); err != nil {
		return fmt.Errorf("after the caller wrote on what it got: %w", err)
	}
	return nil
}

func scribble(b []byte) {
	for i := range b {
		b[i] = '!'
	}
}

// "MaxBytes is the largest commit Append takes."
func upToMaxBytes(ctx context.Context, s Subject) error {
	limit := s.Log.MaxBytes()
	fits, err := CommitOf(events.Head{}, limit)
	if err != nil {
		return err
	}
	if err := s.Log.Append(ctx, 0, fits); err != nil {
		return fmt.Errorf("append %d bytes, the limit: %w", limit, err)
	}
	tooLarge, err := CommitOf(fits.Head(), limit+1)
	if err != nil {
		return err
	}
	switch err := s.Log.Append(ctx, 1, tooLarge); {
	case err == nil:
		return fmt.Errorf("append %d bytes, one above the limit: accepted", limit+1)
	case errors.Is(err, ledger.ErrUnknownOutcome), errors.Is(err, ledger.ErrConflict):
		return fmt.Errorf("append %d bytes, one above the limit: %w, want a refusal", limit+1, err)
	}
	return holds(ctx, s.Log, []events.Commit{fits})
}
