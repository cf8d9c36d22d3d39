package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/permledger/permledger/ledger"
)

// Journal is the stream JOURNAL. Like a commit a note is on the disk when it is acknowledged.
type Journal struct {
	stream *stream
}

var _ ledger.Journal = (*Journal)(nil)

// Note implements ledger.Journal.
func (j *Journal) Note(ctx context.Context, entry []byte) error {
	if _, err := j.stream.publish(ctx, entry); err != nil {
		return fmt.Errorf("note: %w", err)
	}
	return nil
}

// Notes implements ledger.Journal: the entries up to the one that was last when it was called.
func (j *Journal) Notes(ctx context.Context, from uint64) iter.Seq2[ledger.JournalEntry, error] {
	last, err := j.last(ctx)
	if err == nil && from == 0 {
		err = errors.New("sequences start at 1")
	}
	return func(yield func(ledger.JournalEntry, error) bool) {
		if err != nil {
			yield(ledger.JournalEntry{}, fmt.Errorf("read journal from %d: %w", from, err))
			return
		}
		for m, err := range j.stream.read(ctx, from, last) {
			if err != nil {
				err = fmt.Errorf("read journal: %w", err)
			}
			if !yield(ledger.JournalEntry{Sequence: m.seq, Bytes: m.data}, err) || err != nil {
				return
			}
		}
	}
}

func (j *Journal) last(ctx context.Context) (uint64, error) { return j.stream.last(ctx) }

// Last is the sequence of the last entry, 0 for an empty journal.
func (j *Journal) Last(ctx context.Context) (uint64, error) { return j.last(ctx) }
