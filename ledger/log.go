package ledger

import (
	"context"
	"errors"
	"iter"

	"github.com/permledger/permledger/events"
)

// Faults of a log, wrapped with what was being done.
var (
	// ErrConflict: somebody else's commit is already there. Nothing of ours was stored. Catch up and decide again.
	ErrConflict = errors.New("conflict")
	// ErrUnknownOutcome: the commit may or may not be stored. Look before answering anybody.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrUnavailable: nothing was done; trying later may help.
	ErrUnavailable = errors.New("unavailable")
	// ErrStoreFailed: the store under the log failed and takes nothing any more until it is opened again. It
	// comes beside ErrUnknownOutcome for what was being written, and ErrUnavailable for what was not. A look
	// at the log settles nothing then: what can be read back may not be on the disk.
	ErrStoreFailed = errors.New("the store failed")
	// ErrCorrupt: the log is not what it was. Nothing may be answered from it.
	ErrCorrupt = errors.New("corrupt")
)

// Log is the truth: commits at revisions 1, 2, 3 … without gaps, each stored once and for ever.
// All methods may be called from several goroutines. logtest.Run proves this contract.
type Log interface {
	// Append stores the bytes of c as the commit after head, if the log's last revision is still head.
	//
	//   - nil: c is durable, and its revision will never be given to another commit.
	//   - ErrConflict: the last revision is not head. Nothing was stored.
	//   - ErrUnknownOutcome: c may be stored, now or a little later. Appending the very same c again is
	//     safe: at most one copy is ever stored. With ErrStoreFailed beside it, only opening the log again
	//     can tell.
	//   - ErrUnavailable: nothing was stored. With ErrStoreFailed beside it, nothing will be.
	Append(ctx context.Context, head events.Revision, c events.Commit) error

	// Read yields the stored commits from revision from (at least 1) to the one that was last when Read
	// was called, in order and without gaps. A commit that should be there and cannot be read yields
	// ErrCorrupt and ends the sequence. from beyond the end yields nothing.
	Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error]

	// Last is the last revision, 0 for an empty log.
	Last(ctx context.Context) (events.Revision, error)

	// Wait returns when the last revision is greater than after, or with ctx's error.
	Wait(ctx context.Context, after events.Revision) error

	// MaxBytes is the largest commit Append takes.
	MaxBytes() int

	Close() error
}

// Journal keeps answers that recorded no event: refusals, and keyed requests that changed nothing. It is
// no part of the truth about permissions; it is what makes an idempotency key's first answer the only one,
// and a refused attempt visible.
type Journal interface {
	// Note stores entry durably. An error means it may or may not be stored; noting it again is harmless.
	Note(ctx context.Context, entry []byte) error
	// Notes yields the entries from sequence from (at least 1) on, in order.
	Notes(ctx context.Context, from uint64) iter.Seq2[JournalEntry, error]
}

// JournalEntry is a stored entry: Sequence counts from 1.
type JournalEntry struct {
	Sequence uint64
	Bytes    []byte
}
