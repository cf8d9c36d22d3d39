package projections

import (
	"context"
	"iter"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// View is one way of looking at the ledger.
//
// Apply must depend on nothing but the rows it wrote before and the event: no clock, no randomness, no map
// order. It is called once per event in order of position; rows it wrote are visible to its later reads
// through the same batch. An error halts the projector.
type View interface {
	// Name names the view's key space, for ever: one lower-case word.
	Name() string
	// Apply writes what r changes.
	Apply(rows pebblekv.Batch, r events.Recorded) error
}

// CommitView is a View that also wants the commit itself, after its events were applied.
type CommitView interface {
	View
	ApplyCommit(rows pebblekv.Batch, c events.Commit) error
}

// Source is where commits are replayed from: the reading half of a ledger.Log.
type Source interface {
	Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error]
	Last(ctx context.Context) (events.Revision, error)
}
