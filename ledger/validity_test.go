package ledger_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

func valid(from, until events.Instant, commands ...ledger.Command) ledger.Request {
	q := request(commands...)
	q.ValidFrom, q.ValidUntil = from, until
	return q
}

func imported(q ledger.Request) ledger.Request {
	q.Origin = events.OriginImport
	return q
}

var (
	aliceReads   = ledger.Grant{Principal: alice, Right: may("read:*", "operate")}
	aliceUnreads = ledger.Revoke(aliceReads)
)

// Where a request puts its events in time: on day 10 of a ledger that began on day 0.
func TestWhereEventsAreInTime(t *testing.T) {
	const none, forever = events.Instant(0), events.Forever
	now := day(10)
	for _, row := range []struct {
		name        string
		held        events.Interval // what alice holds before; empty for nothing
		do          ledger.Command
		from, until events.Instant // of the request
		origin      string
		refused     ledger.Code
		nothing     bool
		want        events.Interval // what the fact's validity is then
	}{
		{name: "granted now", do: aliceReads, want: events.Interval{From: now, Until: forever}},
		{name: "granted until", do: aliceReads, until: day(20), want: events.Interval{From: now, Until: day(20)}},
		{name: "granted from", do: aliceReads, from: day(20), want: events.Interval{From: day(20), Until: forever}},
		{name: "granted back", do: aliceReads, from: day(5), want: events.Interval{From: day(5), Until: forever}},
		{name: "granted for a time that is over", do: aliceReads, from: day(5), until: day(6), want: events.Interval{From: day(5), Until: day(6)}},
		{name: "granted from now, said so", do: aliceReads, from: now, want: events.Interval{From: now, Until: forever}},
		{name: "granted until before now", do: aliceReads, until: day(5), refused: ledger.CodeEmptyInterval},
		{name: "granted until now", do: aliceReads, until: now, refused: ledger.CodeEmptyInterval},
		{name: "granted for no time", do: aliceReads, from: day(5), until: day(5), refused: ledger.CodeEmptyInterval},
		{name: "granted backwards", do: aliceReads, from: day(6), until: day(5), refused: ledger.CodeEmptyInterval},
		{name: "granted before the first day", do: aliceReads, from: day(-1), refused: ledger.CodeBeforeFirstDay},
		{name: "granted before the first day, imported", do: aliceReads, from: day(-1), origin: events.OriginImport, want: events.Interval{From: day(-1), Until: forever}},
		{name: "granted on the first day", do: aliceReads, from: day(0), want: events.Interval{From: day(0), Until: forever}},

		{name: "held longer", held: events.Interval{From: day(1), Until: forever}, do: aliceReads, from: day(5), until: day(20), nothing: true},
		{name: "held as long", held: events.Interval{From: day(1), Until: day(20)}, do: aliceReads, from: day(1), until: day(20), nothing: true},
		{name: "held since later", held: events.Interval{From: day(5), Until: forever}, do: aliceReads, from: day(2), want: events.Interval{From: day(2), Until: forever}},
		{name: "held shorter", held: events.Interval{From: day(1), Until: day(20)}, do: aliceReads, want: events.Interval{From: now, Until: forever}},

		{name: "revoked now", held: events.Interval{From: day(1), Until: forever}, do: aliceUnreads, want: events.Interval{From: day(1), Until: now}},
		{name: "revoked until", held: events.Interval{From: day(1), Until: forever}, do: aliceUnreads, until: day(5), want: events.Interval{From: day(1), Until: day(5)}},
		{name: "revoked from", held: events.Interval{From: day(1), Until: forever}, do: aliceUnreads, from: day(5), want: events.Interval{From: day(1), Until: day(5)}},
		{name: "revoked later", held: events.Interval{From: day(1), Until: forever}, do: aliceUnreads, until: day(15), want: events.Interval{From: day(1), Until: day(15)}},
		{name: "revoked later than it ends", held: events.Interval{From: day(1), Until: day(15)}, do: aliceUnreads, until: day(16), nothing: true},
		{name: "revoked earlier than it ends", held: events.Interval{From: day(1), Until: day(15)}, do: aliceUnreads, want: events.Interval{From: day(1), Until: now}},
		{name: "revoked before it starts", held: events.Interval{From: day(12), Until: forever}, do: aliceUnreads, want: events.Interval{From: day(12), Until: day(12)}},
		{name: "revoked before the first day", held: events.Interval{From: day(1), Until: forever}, do: aliceUnreads, until: day(-1), refused: ledger.CodeBeforeFirstDay},
		{name: "revoked before the first day, imported", held: events.Interval{From: day(-5), Until: forever}, do: aliceUnreads, until: day(-1), origin: events.OriginImport, want: events.Interval{From: day(-5), Until: day(-1)}},

		{name: "role from before", do: ledger.CreateRole{Role: "r"}, from: day(5), want: events.Interval{From: day(5), Until: forever}},
		{name: "role from later", do: ledger.CreateRole{Role: "r"}, from: day(11), refused: ledger.CodeNotYet},
		{name: "role until later", do: ledger.CreateRole{Role: "r"}, until: day(11), refused: ledger.CodeNotYet},
		{name: "role until before", do: ledger.CreateRole{Role: "r"}, until: day(9), refused: ledger.CodeInvalid},
		{name: "role deleted later", do: ledger.DeleteRole{Role: "viewer"}, until: day(11), refused: ledger.CodeNotYet},
		{name: "group deleted later", do: ledger.DeleteGroup{Group: "team"}, from: day(11), refused: ledger.CodeNotYet},
		{name: "group from later", do: ledger.CreateGroup{Group: "g"}, from: day(11), refused: ledger.CodeNotYet},
		{name: "API from later", do: ledger.DefineAPI{API: "a", Def: events.APIDefinition{Audience: "a"}}, from: day(11), refused: ledger.CodeNotYet},
		{name: "catalog from later", do: ledger.LoadCatalog{Contents: version1()}, from: day(11), refused: ledger.CodeNotYet},
		{name: "principal deleted later", held: events.Interval{From: day(1), Until: forever}, do: ledger.DeletePrincipal{Principal: alice}, until: day(11), refused: ledger.CodeNotYet},
		{name: "administrator from later", do: ledger.AddAdministrator{Principal: alice}, from: day(11), refused: ledger.CodeNotYet},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.must(basics...)
			if !row.held.Empty() {
				r.mustRequest(imported(valid(row.held.From, row.held.Until%forever, aliceReads)))
			}
			r.setDay(10)
			q := valid(row.from, row.until, row.do)
			q.Origin = row.origin
			if row.refused != "" {
				r.refuses(q, row.refused)
				return
			}
			receipt := r.mustRequest(q)
			if receipt.Nothing != row.nothing {
				t.Fatalf("got %+v", receipt)
			}
			if row.nothing {
				return
			}
			e := receipt.Recorded[0]
			got := e.Validity()
			if _, ended, ok := events.Ends(e.Event); ok {
				fact, _, _ := r.views.world.Fact(events.DefaultTenant, ended.Fact)
				got = fact.Interval
				if wasForever := row.held.Until == forever; wasForever != ended.WasUntil.IsZero() || !wasForever && ended.WasUntil != row.held.Until {
					t.Errorf("it ended something until %s, held was %s", ended.WasUntil, row.held)
				}
			}
			equal(t, "validity", got, row.want)
			if e.ValidFrom == now || e.ValidUntil == now {
				t.Error("the envelope repeats recorded_at")
			}
		})
	}
}

// A revoke ends every fact of the edge, and a second one finds nothing: not even the fact that, revoked
// before its start, is still to come and will never hold.
func TestRevokeEndsEveryFact(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	r.mustRequest(valid(day(1), day(5), aliceReads))
	r.mustRequest(valid(day(3), day(9), aliceReads))
	r.mustRequest(valid(day(8), 0, aliceReads))
	r.setDay(4)
	equal(t, "events", r.must(aliceUnreads).Events, 3)
	if !r.must(aliceUnreads).Nothing {
		t.Error("a second revoke found something")
	}
	if r.views.world.Holds(events.DefaultTenant, alice) && r.must(ledger.DeletePrincipal{Principal: alice}).Nothing {
		t.Error("what will never hold cannot be deleted either")
	}
}

// A request that both ends and begins happens at one instant.
func TestMoveAtOneInstant(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	r.mustRequest(imported(valid(day(-9), 0, ledger.AddMember{Group: "team", Member: alice})))
	receipt := r.mustRequest(imported(valid(day(-3), 0,
		ledger.RemoveMember{Group: "team", Member: alice}, ledger.AddMember{Group: "dept", Member: alice})))
	equal(t, "end", receipt.Recorded[0].End(), day(-3))
	equal(t, "start", receipt.Recorded[1].Validity().From, day(-3))
}

func TestCorrectValidity(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	r.setDay(10)
	fact := r.must(aliceReads).Recorded[0].ID
	r.setDay(20)
	r.must(aliceUnreads)
	correct := func(from, until events.Instant) ledger.Request {
		return request(ledger.CorrectValidity{Fact: fact, From: from, Until: until})
	}
	for _, step := range []struct {
		from, until events.Instant
		want        events.Interval
	}{
		{0, day(15), events.Interval{From: day(10), Until: day(15)}},
		{day(5), 0, events.Interval{From: day(5), Until: day(15)}},
		{0, events.Forever, events.Interval{From: day(5), Until: events.Forever}},
		{0, day(5), events.Interval{From: day(5), Until: day(5)}}, // it never held
		{day(2), day(30), events.Interval{From: day(2), Until: day(30)}},
		{day(25), day(26), events.Interval{From: day(25), Until: day(26)}},
	} {
		before, _, _ := r.views.world.Fact(events.DefaultTenant, fact)
		receipt := r.mustRequest(correct(step.from, step.until))
		e := receipt.Recorded[0]
		equal(t, "event", e.Event, events.Event(events.ValidityCorrected{Fact: fact, Edge: before.Edge, Before: before.Interval}))
		equal(t, "validity", e.Validity(), step.want)
		if e.ValidFrom.IsZero() {
			t.Error("a correction must say its start")
		}
		after, _, _ := r.views.world.Fact(events.DefaultTenant, fact)
		equal(t, "fact", after.Interval, step.want)
		if !r.mustRequest(correct(step.from, step.until)).Nothing {
			t.Error("the same correction again recorded something")
		}
	}
	strict := correct(0, day(26))
	strict.Strict = true
	r.refuses(strict, ledger.CodeAlready)
	r.refuses(correct(day(27), 0), ledger.CodeEmptyInterval)
	r.refuses(correct(day(-1), 0), ledger.CodeBeforeFirstDay)
	r.mustRequest(imported(correct(day(-1), 0)))
	r.mustRequest(correct(0, day(25))) // only what is said is judged, not the start that an import said

	// The history of somebody who is gone can be corrected too.
	r.must(ledger.Grant{Principal: alice, Right: may("write:*", "operate")})
	r.must(ledger.DeletePrincipal{Principal: alice})
	r.mustRequest(correct(day(1), day(2)))
	elsewhere := correct(day(3), day(4))
	elsewhere.Tenant = "other"
	r.mustRequest(ledger.Request{Tenant: "other", Meta: events.Meta{Actor: root}, Commands: []ledger.Command{ledger.CreateTenant{}}})
	r.refuses(elsewhere, ledger.CodeUnknownFact)
}

// Starts and ends that have come become events, once each, in the tenant of their fact.
func TestNotices(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	grant := r.mustRequest(valid(day(2), day(4), aliceReads)).Recorded[0]
	quiet := r.mustRequest(valid(day(2), day(4), ledger.Grant{Principal: bob, Right: may("read:*", "operate")})).Recorded[0]
	r.must(ledger.DeletePrincipal{Principal: bob})

	notice := func() []events.Recorded {
		t.Helper()
		before := len(r.history())
		if err := r.Notice(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.history()[before:]
	}
	equal(t, "before anything is due", len(notice()), 0)
	r.setDay(3)
	started := notice()
	equal(t, "started", names(started), []string{"validity.started"})
	equal(t, "fact", started[0].Event.(events.ValidityStarted).Fact, grant.ID)
	equal(t, "since", started[0].ValidFrom, day(2))
	equal(t, "tenant", started[0].Tenant, events.DefaultTenant)
	equal(t, "origin", started[0].Origin, events.OriginLedger)
	equal(t, "again", len(notice()), 0)
	r.setDay(5)
	expired := notice()
	equal(t, "expired", names(expired), []string{"validity.expired"})
	equal(t, "end", expired[0].End(), day(4))
	equal(t, "again", len(notice()), 0)
	if quiet.ID == grant.ID {
		t.Error("one fact has the id of another")
	}
}

// More starts than one request records are recorded all the same.
func TestManyNotices(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	const n = 1200
	commands := make([]ledger.Command, n)
	for i := range commands {
		commands[i] = ledger.Grant{Principal: user(i), Right: may("read:*", "operate")}
	}
	r.mustRequest(valid(day(1), 0, commands...))
	r.setDay(1)
	before := r.Status().Head.Position
	if err := r.Notice(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "notices", r.Status().Head.Position-before, n)
}

// The ledger notices by itself, at its interval.
func TestNoticesByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *ledger.Config) { c.Clock, c.NoticeInterval = nil, 0 })
		r.must(basics...)
		r.mustRequest(valid(events.At(time.Now().Add(90*time.Second)), 0, aliceReads))
		time.Sleep(89 * time.Second)
		equal(t, "last before", events.Name(last(r.history()).Event), "permission.granted")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		equal(t, "last after", events.Name(last(r.history()).Event), "validity.started")
	})
}

func last(all []events.Recorded) events.Recorded { return all[len(all)-1] }
