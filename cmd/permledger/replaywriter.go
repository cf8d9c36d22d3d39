package main

import (
	"bytes"
	"fmt"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
)

// replayWriter prints the events that match, commit by commit.
type replayWriter struct {
	filter  audit.Filter
	lines   *eventListing // writes to pending
	pending bytes.Buffer  // of the commit under way, or what a format keeps until the end
	to      *replayOut
	cursor  *replayCursor // nil: none is kept
	unsaved int           // commits since the cursor was saved
	saved   int64         // length of the output then
	matched int

	from  events.Revision // the first commit wanted
	after mark            // what an earlier replay has seen of the one before
}

// How far the cursor may stay behind where that costs a second reading and nothing else: in a file, which is cut
// back to the cursor, and while nothing matches. Saving makes three files durable, and a log may have millions of
// commits.
const (
	saveEvery      = 1000    // commits
	saveEveryBytes = 4 << 20 // of output
)

// replayWriter opens everything a replay writes to, where the one before stopped if there was one.
func (c *cli) replayWriter(f replayFlags, filter audit.Filter, ledger events.LedgerID) (_ *replayWriter, err error) {
	w := &replayWriter{filter: filter, from: events.Revision(max(f.from, 1))}
	if f.cursor == "" {
		w.to, err = newReplayOut(c.out, f.out)
	} else {
		question := replayQuestion(format(c.format), c.noHeaders, w.from, filter)
		w.cursor, w.to, err = openCursor(f.cursor, replayCursor{Ledger: ledger, Revision: w.from - 1, Question: question}, c.out, f.out)
	}
	if err != nil {
		return nil, err
	}
	p := c.printer()
	p.w = &w.pending
	begun := false
	if w.cursor != nil {
		w.after = mark{w.cursor.Revision, w.cursor.Hash}
		w.from, begun = w.cursor.Revision+1, w.after.known()
		w.saved = w.to.length
		p.noHeaders = true
	}
	w.lines = p.records(ledger)
	// With a cursor the header is written first and not with the first row: whether there was a row already is
	// nothing that a later replay could know.
	if w.cursor != nil && p.format == formatCSV && !c.noHeaders && !begun {
		err = w.lines.csvRow(recordHeader)
	}
	return w, err
}

// commit prints a commit and keeps that it did.
func (w *replayWriter) commit(c events.Commit) error {
	for _, e := range c.Events {
		if !w.filter.Matches(e) {
			continue
		}
		w.matched++
		if err := w.lines.add(api.Event{Recorded: e}); err != nil {
			return err
		}
	}
	w.unsaved++
	printed := w.pending.Len() > 0
	if err := w.flush(); err != nil {
		return err
	}
	if w.due(printed) {
		return w.save(c.Head())
	}
	return nil
}

// due reports whether the cursor is to follow now. What went to standard output cannot be taken back, so there it
// follows every commit that printed something.
func (w *replayWriter) due(printed bool) bool {
	return w.cursor != nil && (w.unsaved >= saveEvery || w.to.length-w.saved >= saveEveryBytes || printed && w.cursor.Out == nil)
}

// close prints what a format keeps until the end.
func (w *replayWriter) close(head events.Head) error {
	if err := w.lines.close(); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	if w.cursor == nil {
		return w.to.sync()
	}
	return w.save(head)
}

func (w *replayWriter) flush() error {
	if w.pending.Len() == 0 {
		return nil
	}
	if _, err := w.to.Write(w.pending.Bytes()); err != nil {
		return fmt.Errorf("write replayed events: %w", err)
	}
	w.pending.Reset()
	return nil
}

// save makes the output durable and then the cursor, in this order: a cursor never says more than is written.
//
//   - A crash before the sync: the file ends anywhere behind the old cursor's length. The next replay cuts it there
//     and writes the same bytes again.
//   - A crash after the sync, before the cursor is replaced: the same.
//   - A crash after it: the next replay goes on behind this commit.
func (w *replayWriter) save(head events.Head) error {
	if err := w.to.sync(); err != nil {
		return fmt.Errorf("write replayed events: %w", err)
	}
	w.unsaved, w.saved = 0, w.to.length
	w.cursor.Revision, w.cursor.Hash, w.cursor.Position = head.Revision, head.Hash, head.Position
	return w.cursor.save(w.to)
}
