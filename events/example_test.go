package events_test

import (
	"fmt"
	"log"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// Seal a commit after a head, read it back from its bytes, and follow the chain: only the very next commit
// follows a head.
func Example() {
	var head events.Head // before the first commit
	draft := []events.Recorded{{
		ID:      uuid.MustParse("019a0000-0000-7000-8000-000000000001"),
		Command: uuid.MustParse("019a0000-0000-7000-8000-000000000002"),
		Tenant:  events.DefaultTenant,
		Meta:    events.Meta{Actor: events.User("root"), Reason: "new hire"},
		Event:   events.RoleAssigned{Principal: events.User("alice"), Role: "operator"},
	}}
	sealed, err := events.Seal(head, events.Header{
		Ledger:     uuid.MustParse("019a0000-0000-7000-8000-000000000009"),
		RecordedAt: events.At(time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)),
		Writer:     "node-1",
	}, draft, nil)
	if err != nil {
		log.Fatal(err)
	}

	commit, err := events.DecodeCommit(sealed.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("follows:", head.Follows(commit))
	for _, r := range commit.Events {
		fmt.Println(r.Revision, r.Position, events.Name(r.Event), r.RecordedAt, "by", r.Actor)
	}

	head = commit.Head()
	fmt.Println("again:", head.Follows(commit))
	// Output:
	// follows: <nil>
	// 1 1 role.assigned 2026-03-01T09:30:00Z by user:root
	// again: broken chain: after revision 1 comes 1
}
