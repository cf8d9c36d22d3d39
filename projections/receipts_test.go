package projections_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
	"github.com/permledger/permledger/projections/receipts"
)

// answersOf is what was answered, read off the commits: by command, and by key the first one.
func answersOf(commits []events.Commit) (byCommand map[events.CommandID]events.Answer, byKey map[[3]string]events.Answer) {
	byCommand, byKey = map[events.CommandID]events.Answer{}, map[[3]string]events.Answer{}
	var order []events.CommandID
	for _, c := range commits {
		for _, r := range c.Events {
			a, known := byCommand[r.Command]
			if !known {
				order = append(order, r.Command)
				a = events.Answer{
					Tenant: r.Tenant, Caller: r.Actor, Key: r.Key, RequestHash: r.RequestHash, Command: r.Command,
					AnsweredAt: c.RecordedAt, Revision: c.Revision, Position: r.Position,
				}
			}
			a.Events++
			byCommand[r.Command] = a
		}
	}
	for _, id := range order {
		a := byCommand[id]
		key := [3]string{string(a.Tenant), a.Caller.String(), a.Key}
		if _, known := byKey[key]; !known && a.Key != "" {
			byKey[key] = a
		}
	}
	return byCommand, byKey
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	w, log := seeded(60), &memory{}
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	for range 80 {
		live(t, p, w, log)
	}
	var commits []events.Commit
	for _, s := range log.stored {
		c, err := events.DecodeCommit(s.Bytes)
		must(t, err)
		commits = append(commits, c)
	}
	byCommand, byKey := answersOf(commits)
	check := func(p *projections.Projector) {
		t.Helper()
		views, err := p.Views()
		must(t, err)
		defer views.Close()
		rows := views.Rows(receipts.Name)
		for id, want := range byCommand {
			if got, ok, err := receipts.ByCommand(rows, id); !ok || err != nil || !cmp.Equal(got, want) {
				t.Fatalf("command %s: %v %v\n%s", id, ok, err, cmp.Diff(want, got))
			}
		}
		for _, tenant := range append(tenants, "never seen") {
			for _, caller := range append(actors, events.User("nobody")) {
				for _, key := range append(keys, "another") {
					want, known := byKey[[3]string{string(tenant), caller.String(), key}]
					if !known {
						want, known = byKey[[3]string{"", caller.String(), key}]
					}
					got, ok, err := receipts.Find(rows, tenant, caller, key)
					if ok != known || err != nil || !cmp.Equal(got, want) {
						t.Fatalf("key %q of %s in %q: %v %v\n%s", key, caller, tenant, ok, err, cmp.Diff(want, got))
					}
				}
			}
		}
		if _, ok, err := receipts.ByCommand(rows, events.CommandID{1}); ok || err != nil {
			t.Errorf("a command that never was: %v %v", ok, err)
		}
	}
	check(p)
	if len(byKey) < 20 {
		t.Fatalf("only %d keys", len(byKey))
	}
	_, err := p.Rebuild(t.Context(), nil)
	must(t, err)
	check(p)
	check(inMemory(t, log))
}

// A later request in the same draft finds the answer to an earlier one.
func TestReceiptsInADraft(t *testing.T) {
	t.Parallel()
	w := seeded(61)
	p := inMemory(t, &memory{})
	d, err := p.Begin()
	must(t, err)
	defer d.Discard()
	command := w.id()
	for i := range 3 {
		must(t, d.Add(events.Recorded{
			ID: w.id(), Command: command, Tenant: "default", RecordedAt: w.now,
			Meta: events.Meta{Actor: actors[0], Key: "k", RequestHash: "aa"}, Event: events.RoleCreated{Role: "r"},
		}))
		a, ok, err := receipts.Find(d.Rows(receipts.Name), "default", actors[0], "k")
		if !ok || err != nil || a.Command != command || a.Events != i+1 || a.Position != 1 || a.Revision != 1 || a.RequestHash != "aa" {
			t.Errorf("after %d events: %+v %v %v", i+1, a, ok, err)
		}
	}
}

// A command with events about the ledger and about a tenant has one answer, under both.
func TestOneAnswerForACommandInTwoTenants(t *testing.T) {
	t.Parallel()
	w, log := seeded(62), &memory{}
	command, meta := w.id(), events.Meta{Actor: actors[0], Key: "k"}
	evs := []events.Recorded{
		{ID: w.id(), Command: command, Meta: meta, Event: events.LedgerCreated{Ledger: testLedger}},
		{ID: w.id(), Command: command, Meta: meta, Tenant: "default", Event: events.TenantCreated{}},
		{ID: w.id(), Command: command, Meta: meta, Event: events.AdministratorAdded{Principal: actors[0]}},
	}
	log.add(w.seal(t, events.Header{Ledger: testLedger, RecordedAt: w.now, Writer: "w"}, evs))
	p := inMemory(t, log)
	views, err := p.Views()
	must(t, err)
	defer views.Close()
	for _, tenant := range []events.Tenant{"", "default", "another"} {
		a, ok, err := receipts.Find(views.Rows(receipts.Name), tenant, actors[0], "k")
		if !ok || err != nil || a.Command != command || a.Position != 1 || a.Events != 3 || a.Tenant != "" {
			t.Errorf("in %q: %+v %v %v", tenant, a, ok, err)
		}
	}
}
