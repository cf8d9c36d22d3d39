package memlog_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/logtest"
	"github.com/permledger/permledger/ledger/memlog"
)

func TestContract(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		return subject(memlog.Open(memlog.Config{}))
	})
}

func subject(log *memlog.Log) logtest.Subject {
	return logtest.Subject{
		Log: log, Journal: log,
		Reopen: func() (logtest.Subject, error) {
			again := log.Reopen()
			return subject(again), log.Close()
		},
		Unknown: func(stored bool) {
			if stored {
				next(log, memlog.Kept)
			} else {
				next(log, memlog.Lost)
			}
		},
		Damage: func(r events.Revision) (logtest.Subject, error) {
			log.Replace(r, nil)
			return subject(log), nil
		},
	}
}

// next gives the next append that outcome, and Done to those after it.
func next(log *memlog.Log, o memlog.Outcome) {
	log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
		log.SetHooks(memlog.Hooks{})
		return o
	}})
}

func commit(t *testing.T, head events.Head, tag string) events.Commit {
	t.Helper()
	c, err := logtest.Commit(head, 1, tag)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func last(t *testing.T, log *memlog.Log) events.Revision {
	t.Helper()
	last, err := log.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return last
}

func TestOutcomesOfAnAppend(t *testing.T) {
	for _, tc := range []struct {
		name   string
		o      memlog.Outcome
		err    error
		stored events.Revision
	}{
		{"done", memlog.Done, nil, 1},
		{"refused", memlog.Refused, ledger.ErrUnavailable, 0},
		{"lost", memlog.Lost, ledger.ErrUnknownOutcome, 0},
		{"kept", memlog.Kept, ledger.ErrUnknownOutcome, 1},
		{"kept late", memlog.KeptLate(1), ledger.ErrUnknownOutcome, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log := memlog.Open(memlog.Config{})
			next(log, tc.o)
			if err := log.Append(t.Context(), 0, commit(t, events.Head{}, "x")); !errors.Is(err, tc.err) {
				t.Errorf("append: %v, want %v", err, tc.err)
			}
			if got := last(t, log); got != tc.stored {
				t.Errorf("last is %d, want %d", got, tc.stored)
			}
		})
	}
}

func TestKeptLateArrivesAfterTheReadsItWasGiven(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	c := commit(t, events.Head{}, "late")
	next(log, memlog.KeptLate(3))
	if err := log.Append(t.Context(), 0, c); !errors.Is(err, ledger.ErrUnknownOutcome) {
		t.Fatalf("append: %v", err)
	}
	for i := range 3 {
		for range log.Read(t.Context(), 1) {
			t.Fatalf("read %d sees the late write", i+1)
		}
	}
	for s, err := range log.Read(t.Context(), 1) {
		if err != nil || !bytes.Equal(s.Bytes, c.Bytes) {
			t.Errorf("read 4: %v, and its bytes are not those appended", err)
		}
	}
	if got := last(t, log); got != 1 {
		t.Errorf("last is %d, want 1", got)
	}
}

func TestKeptLateLosesItsPlaceToAnybodyFaster(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	c := commit(t, events.Head{}, "late")
	next(log, memlog.KeptLate(2))
	if err := log.Append(t.Context(), 0, c); !errors.Is(err, ledger.ErrUnknownOutcome) {
		t.Fatalf("append: %v", err)
	}
	if err := log.Append(t.Context(), 0, c); err != nil { // the very same again, and it goes in
		t.Fatalf("append again: %v", err)
	}
	again := log.Reopen() // the late write is still under way after a restart
	for range 5 {
		if got := last(t, again); got != 1 {
			t.Fatalf("last is %d: a second copy arrived", got)
		}
	}
}

func TestOutcomesOfANote(t *testing.T) {
	for _, tc := range []struct {
		o      memlog.Outcome
		err    error
		stored int
	}{
		{memlog.Done, nil, 1},
		{memlog.Refused, ledger.ErrUnavailable, 0},
		{memlog.Lost, ledger.ErrUnknownOutcome, 0},
		{memlog.Kept, ledger.ErrUnknownOutcome, 1},
		{memlog.KeptLate(4), ledger.ErrUnknownOutcome, 1},
	} {
		log := memlog.Open(memlog.Config{Hooks: memlog.Hooks{
			Note: func([]byte) memlog.Outcome { return tc.o },
		}})
		if err := log.Note(t.Context(), []byte("n")); !errors.Is(err, tc.err) {
			t.Errorf("%+v: note: %v, want %v", tc.o, err, tc.err)
		}
		stored := 0
		for _, err := range log.Notes(t.Context(), 1) {
			if err != nil {
				t.Error(err)
			}
			stored++
		}
		if stored != tc.stored {
			t.Errorf("%+v: %d notes stored, want %d", tc.o, stored, tc.stored)
		}
	}
}

func TestForeignCommitFromWithinAnAppendIsALostRace(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	theirs := commit(t, events.Head{}, "theirs")
	log.SetHooks(memlog.Hooks{Append: func(head events.Revision, _ events.Commit) memlog.Outcome {
		if head == 0 {
			log.Foreign(theirs.Bytes)
		}
		return memlog.Done
	}})
	if err := log.Append(t.Context(), 0, commit(t, events.Head{}, "ours")); !errors.Is(err, ledger.ErrConflict) {
		t.Fatalf("append: %v, want a conflict", err)
	}
	if err := log.Append(t.Context(), 1, commit(t, theirs.Head(), "ours")); err != nil {
		t.Fatalf("append after theirs: %v", err)
	}
}

func TestACommitAtTheWrongPlaceIsRefused(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	c := commit(t, commit(t, events.Head{}, "first").Head(), "second")
	if err := log.Append(t.Context(), 0, c); err == nil || errors.Is(err, ledger.ErrConflict) {
		t.Errorf("append revision 2 after 0: %v, want a refusal", err)
	}
	if got := last(t, log); got != 0 {
		t.Errorf("last is %d, want 0", got)
	}
}

func TestTruncateForgetsTheNewest(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	var head events.Head
	for range 3 {
		c := commit(t, head, "x")
		if err := log.Append(t.Context(), head.Revision, c); err != nil {
			t.Fatal(err)
		}
		head = c.Head()
	}
	log.Truncate(1)
	if got := last(t, log); got != 1 {
		t.Errorf("last is %d, want 1", got)
	}
	for range log.Read(context.Background(), 2) {
		t.Error("what was truncated can be read")
	}
}
