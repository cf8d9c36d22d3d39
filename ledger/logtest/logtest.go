// Package logtest proves the contracts of ledger.Log and ledger.Journal: every sentence of their comments
// is a check here, and every implementation passes them all.
//
//	func TestContract(t *testing.T) {
//		logtest.Run(t, func(t *testing.T) logtest.Subject {
//			log := memlog.Open(memlog.Config{})
//			return logtest.Subject{Log: log, Journal: log}
//		})
//	}
//
// A check is a function that returns an error, so the package can test itself: control_test.go runs the
// checks on logs that are broken on purpose, and each breakage must be found.
//
// Beyond the contract's words the suite asks for what its callers cannot do without: a closed log fails
// instead of hanging or answering, Close can be called twice, and what is stored does not change when the
// caller writes on the slices it passed in or got back.
package logtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// Subject is an empty log and journal to check. What it cannot do stays nil, and the checks that need it
// are skipped.
type Subject struct {
	Log     ledger.Log
	Journal ledger.Journal

	// Reopen closes the subject and opens what it stored again.
	Reopen func() (Subject, error)

	// Unknown makes the next Append end in ledger.ErrUnknownOutcome, its commit stored or not.
	Unknown func(stored bool)

	// Damage makes the stored commit at r unreadable, and opens again if it had to close for it.
	Damage func(r events.Revision) (Subject, error)
}

// patience is how long a check waits for what must happen. It bounds a hang; it measures nothing.
const patience = time.Minute

// errSkip is what a check returns that needs more than the subject can do.
var errSkip = errors.New("the subject cannot do this")

// Run checks the subjects that open returns, each check on a new one. open registers its own clean-up.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			switch err := c.run(ctx, open(t)); {
			case errors.Is(err, errSkip):
				t.Skip(err)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

// check is one sentence of the contracts.
type check struct {
	name string
	run  func(context.Context, Subject) error
}

var checks = []check{
	{"append/in order", appendInOrder},
	{"append/conflict stores nothing", conflictStoresNothing},
	{"append/one of many racing writers wins", oneWriterWins},
	{"append/again after unknown stores one copy", unknownThenAgain},
	{"append/cancelled, then again, stores one copy", cancelledThenAgain},
	{"append/unavailable stores nothing", unavailableStoresNothing},
	{"append/keeps its own bytes", keepsItsOwnBytes},
	{"append/up to max bytes", upToMaxBytes},
	{"read/from anywhere", readFromAnywhere},
	{"read/ends at the last when called", readEndsAtLastWhenCalled},
	{"read/stops when the caller does", readStops},
	{"read/respects its context", readRespectsContext},
	{"read/a commit that cannot be read is corrupt", unreadableIsCorrupt},
	{"last/follows every append", lastFollows},
	{"wait/wakes", waitWakes},
	{"wait/respects its context", waitRespectsContext},
	{"all/from several goroutines", severalGoroutines},
	{"reopen/same bytes, same places", reopenSameBytes},
	{"journal/in order from 1", journalInOrder},
	{"journal/noting again is harmless", journalNotingAgain},
	{"journal/respects its context", journalRespectsContext},
	{"journal/reopen", journalReopen},
	{"close/ends everything", closeEndsEverything},
}
