package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

func note(ctx context.Context, j ledger.Journal, from, n int) error {
	for i := range n {
		entry := entry(from + i)
		if err := j.Note(ctx, entry); err != nil {
			return fmt.Errorf("note %d: %w", from+i, err)
		}
		scribble(entry)
	}
	return nil
}

// entry is the i-th entry of a journal as note fills it.
func entry(i int) []byte { return fmt.Appendf(nil, `{"answer":%d}`, i) }

func readNotes(ctx context.Context, j ledger.Journal, from uint64) ([]ledger.JournalEntry, error) {
	var all []ledger.JournalEntry
	for e, err := range j.Notes(ctx, from) {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

// journalHolds reports whether the journal holds entry(1) to entry(n), from every sequence on.
func journalHolds(ctx context.Context, j ledger.Journal, n int) error {
	for from := 1; from <= n+2; from++ {
		got, err := readNotes(ctx, j, uint64(from))
		if err != nil {
			return fmt.Errorf("notes from %d: %w", from, err)
		}
		if want := max(0, n-from+1); len(got) != want {
			return fmt.Errorf("notes from %d: %d entries, want %d", from, len(got), want)
		}
		for i, e := range got {
			if e.Sequence != uint64(from+i) {
				return fmt.Errorf("notes from %d: entry %d has sequence %d", from, i, e.Sequence)
			}
			if !bytes.Equal(e.Bytes, entry(from+i)) {
				return fmt.Errorf("notes from %d: sequence %d is %q", from, e.Sequence, e.Bytes)
			}
		}
	}
	return nil
}

// "Notes yields the entries from sequence from (at least 1) on, in order. Sequence counts from 1."
func journalInOrder(ctx context.Context, s Subject) error {
	if err := journalHolds(ctx, s.Journal, 0); err != nil {
		return fmt.Errorf("an empty journal: %w", err)
	}
	if err := note(ctx, s.Journal, 1, 8); err != nil {
		return err
	}
	if err := journalHolds(ctx, s.Journal, 8); err != nil {
		return err
	}
	// The journal is no part of the truth: it and the log have nothing in common.
	chain, err := appendChain(ctx, s.Log, events.Head{}, 2)
	if err != nil {
		return err
	}
	if err := journalHolds(ctx, s.Journal, 8); err != nil {
		return fmt.Errorf("after appending to the log: %w", err)
	}
	for range s.Journal.Notes(ctx, 1) {
		break // a caller that has seen enough leaves
	}
	return holds(ctx, s.Log, chain)
}

// "An error means it may or may not be stored; noting it again is harmless."
func journalNotingAgain(ctx context.Context, s Subject) error {
	e := entry(1)
	for range 3 {
		if err := s.Journal.Note(ctx, e); err != nil {
			return fmt.Errorf("note again: %w", err)
		}
	}
	got, err := readNotes(ctx, s.Journal, 1)
	if err != nil {
		return err
	}
	if len(got) == 0 {
		return errors.New("noted three times, and not there")
	}
	for i, g := range got {
		if g.Sequence != uint64(i+1) || !bytes.Equal(g.Bytes, e) {
			return fmt.Errorf("noted %q again: entry %d is %q", e, g.Sequence, g.Bytes)
		}
	}
	return nil
}

func journalRespectsContext(ctx context.Context, s Subject) error {
	if err := note(ctx, s.Journal, 1, 3); err != nil {
		return err
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Journal.Note(over, entry(4)); err == nil {
		return errors.New("note with a context that is over: no error")
	}
	if got, err := readNotes(over, s.Journal, 1); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("notes with a context that is over: %d entries, then %v", len(got), err)
	}
	return nil
}

// "Note stores entry durably."
func journalReopen(ctx context.Context, s Subject) error {
	if s.Reopen == nil {
		return errSkip
	}
	for n := range 3 {
		if err := note(ctx, s.Journal, 4*n+1, 4); err != nil {
			return err
		}
		var err error
		if s, err = s.Reopen(); err != nil {
			return fmt.Errorf("reopen: %w", err)
		}
		if err := journalHolds(ctx, s.Journal, 4*n+4); err != nil {
			return fmt.Errorf("after reopening: %w", err)
		}
	}
	return nil
}

// A closed log fails; it neither hangs nor answers, and whoever waits for it is told.
func closeEndsEverything(ctx context.Context, s Subject) error {
	chain, err := appendChain(ctx, s.Log, events.Head{}, 2)
	if err != nil {
		return err
	}
	waiting := make(chan error, 1)
	go func() { waiting <- s.Log.Wait(ctx, 2) }()
	if err := s.Log.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if err := <-waiting; err == nil || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("wait while the log closed: %v, want an error soon", err)
	}
	c, err := Commit(chain[1].Head(), 1, "after the end")
	if err != nil {
		return err
	}
	if err := s.Log.Append(ctx, 2, c); !errors.Is(err, ledger.ErrUnavailable) {
		return fmt.Errorf("append to a closed log: %v, want unavailable", err)
	}
	if _, err := s.Log.Last(ctx); !errors.Is(err, ledger.ErrUnavailable) {
		return fmt.Errorf("last of a closed log: %v, want unavailable", err)
	}
	if _, err := readAll(ctx, s.Log, 1); !errors.Is(err, ledger.ErrUnavailable) {
		return fmt.Errorf("read a closed log: %v, want unavailable", err)
	}
	if err := s.Log.Wait(ctx, 0); !errors.Is(err, ledger.ErrUnavailable) {
		return fmt.Errorf("wait for a closed log: %v, want unavailable", err)
	}
	if err := s.Log.Close(); err != nil {
		return fmt.Errorf("close again: %w", err)
	}
	return nil
}
