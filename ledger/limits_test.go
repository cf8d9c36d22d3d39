package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

// shortage is what limits a ledger, as a test sets it.
type shortage struct {
	space atomic.Int32
	clock atomic.Pointer[error]
}

func (g *shortage) limit(c *ledger.Config) {
	c.Space = func() ledger.Space { return ledger.Space(g.space.Load()) }
	c.ClockSound = func() error {
		if err := g.clock.Load(); err != nil {
			return *err
		}
		return nil
	}
}

// adding and takingAway are every command there is, each after those that it needs.
var (
	adding = []ledger.Command{
		operate, readAll, process,
		ledger.CreateRole{Role: "viewer"}, ledger.CreateRole{Role: "editor"},
		ledger.CreateRole{Role: "named", Attr: events.Attributes{Name: "Named"}}, ledger.ChangeRole{Role: "named", Attr: events.Attributes{Name: "Named"}},
		ledger.AddRolePermission{Role: "viewer", Right: may("read:*", "operate-api")}, ledger.IncludeRole{Role: "editor", Included: "viewer"},
		ledger.CreateGroup{Group: "team"}, ledger.CreateGroup{Group: "dept"}, ledger.AddMember{Group: "team", Member: alice},
		ledger.SetParent{Group: "team", Parent: "dept"}, ledger.AssignRole{Principal: alice, Role: "viewer"},
		ledger.Grant{Principal: alice, Right: may("read:*", "operate-api")}, ledger.Grant{Principal: bob, Right: may("read:*", "operate-api")},
		ledger.AddAdministrator{Principal: alice}, ledger.LoadCatalog{Contents: version1()},
	}
	takingAway = []ledger.Command{
		ledger.RemoveAdministrator{Principal: alice}, ledger.Revoke{Principal: alice, Right: may("read:*", "operate-api")},
		ledger.UnassignRole{Principal: alice, Role: "viewer"}, ledger.UnsetParent{Group: "team", Parent: "dept"},
		ledger.RemoveMember{Group: "team", Member: alice}, ledger.ExcludeRole{Role: "editor", Included: "viewer"},
		ledger.RemoveRolePermission{Role: "viewer", Right: may("read:*", "operate-api")},
		ledger.DeleteGroup{Group: "dept"}, ledger.DeleteRole{Role: "editor"}, ledger.DeletePrincipal{Principal: bob},
	}
)

func (r *rig) mustEach(commands []ledger.Command) {
	r.t.Helper()
	for _, c := range commands {
		r.must(c)
	}
}

// As space gets short, first what adds stops and then everything, at once and without a trace; what only takes
// away goes on in between. The control is the last step: with room again, or without a limit from the start, the
// same requests are carried out.
func TestSpace(t *testing.T) {
	for _, unlimited := range []bool{false, true} {
		var g shortage
		adjust := g.limit
		if unlimited {
			adjust = func(*ledger.Config) {}
		}
		r := newRig(t, adjust)
		// each submits the commands one by one and says how many were kept out.
		each := func(space ledger.Space, commands []ledger.Command) (refused int) {
			t.Helper()
			g.space.Store(int32(space))
			head, notes := r.Status().Head, len(r.notes())
			for _, c := range commands {
				_, err := r.Submit(t.Context(), request(c))
				switch {
				case errors.Is(err, ledger.ErrNoSpace) && errors.Is(err, ledger.ErrUnavailable):
					refused++
				case err != nil:
					t.Fatalf("%T with space %s: %v", c, space, err)
				}
			}
			if refused == len(commands) && (r.Status().Head != head || len(r.notes()) != notes) {
				t.Errorf("space %s: what was refused left a trace", space)
			}
			return refused
		}
		want := func(n int) int {
			if unlimited {
				return 0
			}
			return n
		}
		equal(t, "adding while it is full", each(ledger.SpaceFull, adding), want(len(adding)))
		equal(t, "adding while it is low", each(ledger.SpaceLow, adding), want(len(adding)))
		equal(t, "adding", each(ledger.SpaceOpen, adding), 0)
		equal(t, "taking away while it is full", each(ledger.SpaceFull, takingAway), want(len(takingAway)))
		if !unlimited { // else it was taken away just now
			equal(t, "taking away while it is low", each(ledger.SpaceLow, takingAway), 0)
		}
		if s := r.Status(); !s.Ready {
			t.Errorf("the ledger is not ready: %s", s.Reason)
		}
	}
}

// A request is one: with one command that adds, it adds.
func TestSpaceJudgesWholeRequests(t *testing.T) {
	var g shortage
	r := newRig(t, g.limit)
	r.mustEach(adding)
	fact := r.must(ledger.AssignRole{Principal: bob, Role: "editor"}).Recorded[0]
	g.space.Store(int32(ledger.SpaceLow))
	for _, q := range []ledger.Request{
		request(takingAway[1], ledger.CreateRole{Role: "new"}),
		request(ledger.CorrectValidity{Fact: events.FactID(fact.ID), Until: day(0)}), // it may as well prolong
		{Tenant: "other", Meta: events.Meta{Actor: root}, Commands: []ledger.Command{ledger.CreateTenant{}}},
	} {
		if _, err := r.Submit(t.Context(), q); !errors.Is(err, ledger.ErrNoSpace) {
			t.Errorf("%T: %v", q.Commands, err)
		}
		if _, err := r.DryRun(t.Context(), q); !errors.Is(err, ledger.ErrNoSpace) {
			t.Errorf("dry run of %T: %v", q.Commands, err)
		}
	}
	r.mustEach(takingAway)
}

// A key goes on giving its first answer, whatever the space, and one that was kept out has none yet.
func TestSpaceAndIdempotencyKeys(t *testing.T) {
	var g shortage
	r := newRig(t, g.limit)
	r.mustEach(adding)
	keyed := func(key string, c ledger.Command) ledger.Request {
		q := request(c)
		q.Key = key
		return q
	}
	first := r.mustRequest(keyed("k", ledger.CreateRole{Role: "kept"}))
	g.space.Store(int32(ledger.SpaceFull))
	notes := len(r.notes())
	again := r.mustRequest(keyed("k", ledger.CreateRole{Role: "kept"}))
	if again.Command != first.Command || !again.Replayed {
		t.Errorf("%+v, first %+v", again, first)
	}
	for range 2 {
		if _, err := r.Submit(t.Context(), keyed("late", ledger.CreateRole{Role: "late"})); !errors.Is(err, ledger.ErrNoSpace) {
			t.Errorf("a new key: %v", err)
		}
	}
	if _, err := r.Submit(t.Context(), keyed("k", ledger.CreateRole{Role: "other"})); codeOf(err) != ledger.CodeKeyConflict {
		t.Errorf("another request under the key: %v", err)
	}
	if now := len(r.notes()); now != notes {
		t.Errorf("%d answers were noted on a full disk", now-notes)
	}
	g.space.Store(int32(ledger.SpaceOpen))
	if got := r.mustRequest(keyed("late", ledger.CreateRole{Role: "late"})); got.Replayed || got.Events != 1 {
		t.Errorf("the key that was kept out: %+v", got)
	}
}

// Ends that come while there is no room, or no time to trust, are noticed afterwards, each once.
func TestNoticesWaitForSpaceAndTime(t *testing.T) {
	wrong := errors.New("the clock jumped")
	for name, limit := range map[string]func(*shortage){
		"low":   func(g *shortage) { g.space.Store(int32(ledger.SpaceLow)) },
		"full":  func(g *shortage) { g.space.Store(int32(ledger.SpaceFull)) },
		"clock": func(g *shortage) { g.clock.Store(&wrong) },
	} {
		var g shortage
		r := newRig(t, g.limit)
		r.mustEach(adding)
		r.mustRequest(valid(0, day(2), ledger.AssignRole{Principal: bob, Role: "viewer"}))
		r.setDay(3)
		limit(&g)
		if err := r.Notice(t.Context()); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		g.space.Store(int32(ledger.SpaceOpen))
		g.clock.Store(nil)
		for range 2 {
			if err := r.Notice(t.Context()); err != nil {
				t.Errorf("%s, afterwards: %v", name, err)
			}
		}
		ends := slices.DeleteFunc(names(r.history()), func(n string) bool { return n != "validity.expired" })
		equal(t, name+": ends noticed", len(ends), 1)
	}
}

// While the clock cannot be trusted nothing is recorded, not even what takes away: the record would say when.
func TestUnsoundClock(t *testing.T) {
	var g shortage
	r := newRig(t, g.limit)
	r.mustEach(adding)
	wrong := fmt.Errorf("it went back by an hour")
	g.clock.Store(&wrong)
	head := r.Status().Head
	for _, c := range []ledger.Command{ledger.CreateRole{Role: "new"}, takingAway[1]} {
		_, err := r.Submit(t.Context(), request(c))
		if !errors.Is(err, ledger.ErrClock) || !errors.Is(err, ledger.ErrUnavailable) || !errors.Is(err, wrong) {
			t.Errorf("%T: %v", c, err)
		}
	}
	if now := r.Status().Head; now != head {
		t.Errorf("the head moved to %+v", now)
	}
	g.clock.Store(nil)
	r.must(ledger.CreateRole{Role: "new"})
	r.must(takingAway[1])
}

// No ledger is begun where its second commit would find no room, or at a time nobody knows.
func TestNoLedgerBeginsWithinLimits(t *testing.T) {
	wrong := errors.New("it is far ahead")
	for _, adjust := range []func(*ledger.Config){
		func(c *ledger.Config) { c.Space = func() ledger.Space { return ledger.SpaceLow } },
		func(c *ledger.Config) { c.ClockSound = func() error { return wrong } },
	} {
		log := memlog.Open(memlog.Config{})
		r := &rig{t: t, now: firstDay}
		if _, err := ledger.Open(t.Context(), log, log, newFold(log), r.config(adjust)); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if last, err := log.Last(t.Context()); last != 0 || err != nil {
			t.Errorf("the log ends at %d, %v", last, err)
		}
		openRig(t, log).mustEach(adding)
	}
}
