package logtest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// ledgerID is the ledger of every commit made here.
var ledgerID = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")

// Commit makes a real commit of n events after head. tag goes into the events, so that commits with
// different tags differ.
func Commit(head events.Head, n int, tag string) (events.Commit, error) {
	evs := make([]events.Recorded, n)
	for i := range evs {
		evs[i] = events.Recorded{
			ID:      id(head.Position + events.Position(i) + 1),
			Command: id(head.Position + 1),
			Tenant:  events.DefaultTenant,
			Meta:    events.Meta{Actor: events.User("root"), Reason: tag},
			Event:   events.RoleAssigned{Principal: events.User(fmt.Sprintf("user-%d", i)), Role: "operator"},
		}
	}
	return events.Seal(head, events.Header{
		Ledger:     ledgerID,
		RecordedAt: events.At(time.Unix(1_700_000_000+int64(head.Revision), 0)),
		Writer:     "logtest",
	}, evs, nil)
}

// CommitOf makes a commit of exactly size bytes after head.
func CommitOf(head events.Head, size int) (events.Commit, error) {
	small, err := Commit(head, 1, "x")
	if err != nil {
		return events.Commit{}, err
	}
	if size < len(small.Bytes) {
		return events.Commit{}, fmt.Errorf("a commit has at least %d bytes", len(small.Bytes))
	}
	return Commit(head, 1, strings.Repeat("x", size-len(small.Bytes)+1))
}

// id is a UUID that only depends on n.
func id(n events.Position) uuid.UUID { return uuid.NewSHA1(ledgerID, fmt.Append(nil, n)) }

// appendChain appends n commits after head and returns them.
func appendChain(ctx context.Context, log ledger.Log, head events.Head, n int) ([]events.Commit, error) {
	var chain []events.Commit
	for range n {
		c, err := Commit(head, 2, "chain")
		if err != nil {
			return nil, err
		}
		if err := log.Append(ctx, head.Revision, c); err != nil {
			return nil, fmt.Errorf("append revision %d after %d: %w", c.Revision, head.Revision, err)
		}
		chain, head = append(chain, c), c.Head()
	}
	return chain, nil
}

// readAll collects what the log yields from revision from.
func readAll(ctx context.Context, log ledger.Log, from events.Revision) ([]events.Stored, error) {
	var all []events.Stored
	for s, err := range log.Read(ctx, from) {
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
	return all, nil
}

// holds reports whether the log holds exactly these commits, read from 1 and by Last.
func holds(ctx context.Context, log ledger.Log, want []events.Commit) error {
	last, err := log.Last(ctx)
	if err != nil {
		return fmt.Errorf("last: %w", err)
	}
	if last != events.Revision(len(want)) {
		return fmt.Errorf("last is revision %d, want %d", last, len(want))
	}
	got, err := readAll(ctx, log, 1)
	if err != nil {
		return fmt.Errorf("read from 1: %w", err)
	}
	return same(got, want)
}

// same reports whether got is want: the revisions and the very bytes.
func same(got []events.Stored, want []events.Commit) error {
	for i, s := range got {
		if i == len(want) {
			return fmt.Errorf("%d commits and more, want %d", len(got), len(want))
		}
		if s.Revision != want[i].Revision {
			return fmt.Errorf("commit %d is revision %d, want %d", i, s.Revision, want[i].Revision)
		}
		if !bytes.Equal(s.Bytes, want[i].Bytes) {
			return fmt.Errorf("revision %d does not have the bytes that were appended", s.Revision)
		}
	}
	if len(got) < len(want) {
		return fmt.Errorf("%d commits, want %d", len(got), len(want))
	}
	return nil
}
