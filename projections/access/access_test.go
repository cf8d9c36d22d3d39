package access_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
)

var alice, bob = events.User("alice"), events.User("bob")

// The worked example of two times: a grant on 1 March, its revoke on 1 April, and on 1 May the correction that it
// really ended on 15 March.
func TestTwoTimes(t *testing.T) {
	w := newWorld(t)
	w.files("write")
	write := events.Permission{API: "files", Name: "write"}
	w.now = day("2026-03-01")
	granted := w.grant(alice, "write")
	w.now = day("2026-04-01")
	revoked := w.event(events.PermissionRevoked{Principal: alice, Permission: write, Ended: events.Ended{Fact: granted.ID}})
	w.now = day("2026-05-01")
	w.recorded(events.Recorded{
		ValidFrom: day("2026-03-01"), ValidUntil: day("2026-03-15"),
		Event: events.ValidityCorrected{
			Fact: granted.ID, Edge: events.Edge{Kind: events.EdgeGrant, From: alice, Permission: write},
			Before: events.Interval{From: day("2026-03-01"), Until: day("2026-04-01")},
		},
	})
	w.now = day("2026-06-01")

	known := func(at events.Instant) access.Known { return access.Known{Time: at} }
	for _, c := range []struct {
		name string
		when access.When
		want bool
	}{
		{"as of 20 March: that is what we said", access.When{AsOf: day("2026-03-20")}, true},
		{"valid at 20 March: that is what was true", access.When{ValidAt: day("2026-03-20")}, false},
		{"valid at 20 March, known at 10 April", access.When{ValidAt: day("2026-03-20"), KnownAt: known(day("2026-04-10"))}, true},
		{"the same by revision", access.When{ValidAt: day("2026-03-20"), KnownAt: access.Known{Revision: revoked.Revision}}, true},
		{"valid at 10 March", access.When{ValidAt: day("2026-03-10")}, true},
		{"as of 10 April", access.When{AsOf: day("2026-04-10")}, false},
		{"as of the grant itself", access.When{AsOf: day("2026-03-01")}, true},
		{"as of just before", access.When{AsOf: day("2026-03-01") - 1}, false},
		{"as of before the ledger", access.When{AsOf: day("2020-01-01")}, false},
		{"now", access.When{}, false},
	} {
		d, err := w.session(c.when).Check(ask(alice, "write"))
		if err != nil || d.Allowed != c.want {
			t.Errorf("%s: %+v, %v, want %v", c.name, d, err, c.want)
		}
	}

	for _, c := range []struct {
		when  access.When
		until string
	}{{access.When{}, "2026-03-15"}, {access.When{KnownAt: access.Known{Revision: revoked.Revision}}, "2026-04-01"}} {
		got, err := w.session(c.when).Intervals(ask(alice, "write"))
		want := []events.Interval{{From: day("2026-03-01"), Until: day(c.until)}}
		if err != nil || !slices.Equal(got.Intervals, want) {
			t.Errorf("%+v: %v, %v, want %v", c.when, got, err, want)
		}
	}
}

// An explanation names every fact on every path, who recorded it, when and why.
func TestExplainNamesItsEvents(t *testing.T) {
	w := newWorld(t)
	w.files("read")
	read := events.Permission{API: "files", Name: "read"}
	w.event(events.GroupCreated{Group: "team"})
	w.event(events.RoleCreated{Role: "reader"})
	member := w.event(events.GroupMemberAdded{Group: "team", Member: alice})
	assigned := w.event(events.RoleAssigned{Principal: events.Group("team").Principal(), Role: "reader"})
	added := w.event(events.RolePermissionAdded{Role: "reader", Permission: read})
	direct := w.grant(alice, "read")

	x, err := w.session(access.When{}).Explain(context.Background(), ask(alice, "read"))
	if err != nil || !x.Allowed || len(x.Paths) != 2 {
		t.Fatalf("%+v, %v, want two paths", x, err)
	}
	want := [][]events.Recorded{{direct}, {member, assigned, added}}
	for i, path := range x.Paths {
		if len(path.Steps) != len(want[i]) {
			t.Fatalf("path %d: %+v, want %d steps", i, path, len(want[i]))
		}
		for j, step := range path.Steps {
			r := want[i][j]
			if step.Event != r.ID || step.Fact.ID != r.ID || step.Revision != r.Revision || step.RecordedAt != r.RecordedAt ||
				step.Actor != r.Actor || step.Reason != r.Reason || step.Type != events.Name(r.Event) {
				t.Errorf("path %d step %d: %+v, want %+v", i, j, step, r)
			}
		}
	}
}

// A prerequisite that is missing makes a permission inert, the answer names it, and it revives by itself.
func TestInert(t *testing.T) {
	w := newWorld(t)
	w.files("read", "write")
	w.grant(alice, "write")
	d, err := w.session(access.When{}).Check(ask(alice, "write"))
	if err != nil || d.Outcome != access.Inert || len(d.Missing) != 1 || d.Missing[0][0].Name != "read" {
		t.Errorf("%+v, %v, want inert without read", d, err)
	}
	h, err := w.session(access.When{}).Holdings(alice)
	if err != nil || len(h.Holdings) != 1 || h.Holdings[0].Effective || len(h.Holdings[0].Missing) != 1 {
		t.Errorf("holdings %+v, %v, want write, inert", h, err)
	}
	w.grant(alice, "read")
	if d, err = w.session(access.When{}).Check(ask(alice, "write")); err != nil || !d.Allowed {
		t.Errorf("%+v, %v, want allowed once read is held", d, err)
	}
	x, err := w.session(access.When{}).Explain(context.Background(), ask(alice, "write"))
	if err != nil || len(x.Requires) != 1 || len(x.Requires[0].Met) != 1 || x.Requires[0].Basis != "stated" {
		t.Errorf("requirements %+v, %v", x.Requires, err)
	}
}

func TestUnknown(t *testing.T) {
	w := newWorld(t)
	w.files("read")
	w.grant(alice, "read")
	s := w.session(access.When{})
	for want, q := range map[access.Outcome]access.Question{
		access.Allowed:           ask(alice, "slug-read"), // a slug stands for the name
		access.NotHeld:           ask(bob, "read"),
		access.UnknownPermission: ask(alice, "reed"),
		access.UnknownResource:   {Principal: alice, Permission: "read", Resource: access.Resource{Audience: "file-api"}},
	} {
		if d, err := s.Check(q); err != nil || d.Outcome != want || d.Allowed != (want == access.Allowed) {
			t.Errorf("%+v: %+v, %v, want %s", q, d, err, want)
		}
	}
	if d, err := s.Check(access.Question{Principal: alice, Permission: "read", Resource: access.Resource{Type: "doc", ID: "x"}}); err != nil || d.Outcome != access.UnknownResource {
		t.Errorf("an unknown type: %+v, %v", d, err)
	}
}

// A client given with the question is asked about instead of the user; it does not add to what the user has.
func TestClientWins(t *testing.T) {
	w := newWorld(t)
	w.files("read")
	w.grant(alice, "read")
	s := w.session(access.When{})
	q := ask(alice, "read")
	q.Client = events.Client("worker")
	if d, err := s.Check(q); err != nil || d.Allowed {
		t.Errorf("%+v, %v, want denied: the client holds nothing", d, err)
	}
	w.grant(q.Client, "read")
	q.Principal = bob
	if d, err := w.session(access.When{}).Check(q); err != nil || !d.Allowed {
		t.Errorf("%+v, %v, want allowed: the client holds it", d, err)
	}
}

func TestRetiredPermission(t *testing.T) {
	w := newWorld(t)
	w.files("read")
	w.grant(alice, "read")
	before := w.head.Revision
	w.now++
	w.event(events.PermissionRetired{Permission: events.Permission{API: "files", Name: "read"}})
	d, err := w.session(access.When{}).Check(ask(alice, "read"))
	if err != nil || d.Outcome != access.Retired {
		t.Errorf("%+v, %v, want retired", d, err)
	}
	holders, err := w.session(access.When{}).Holders("read", access.Resource{Audience: "files-api"}, access.Page{})
	if err != nil || len(holders.Principals) != 0 {
		t.Errorf("holders of a retired permission: %+v, %v", holders, err)
	}
	if d, err = w.session(access.When{KnownAt: access.Known{Revision: before}}).Check(ask(alice, "read")); err != nil || !d.Allowed {
		t.Errorf("as known before: %+v, %v, want allowed", d, err)
	}
}

// Claims: per audience, sorted, only what is effective on nothing in particular, nothing empty.
func TestClaims(t *testing.T) {
	w := newWorld(t)
	w.files("b", "a", "needs-both")
	w.event(events.APIDefined{API: "other", Def: events.APIDefinition{Name: "Other", Audience: "other-api"}})
	w.event(events.ResourceTypeDefined{Type: "doc", Def: events.ResourceTypeDefinition{API: "files"}})
	w.grant(alice, "b")
	w.grant(alice, "needs-both") // inert
	w.event(events.PermissionGranted{Principal: alice, Permission: events.Permission{API: "files", Name: "a"}, Scope: events.AnyOf("doc")})
	c, err := w.session(access.When{}).Claims(alice)
	if err != nil || !slices.Equal(c.Audiences, []string{"files-api"}) || len(c.Permissions) != 1 ||
		!slices.Equal(c.Permissions["files-api"], []events.PermissionName{"b"}) {
		t.Errorf("%+v, %v, want b of files-api alone", c, err)
	}
}

// Pages of one listing are of one moment, whatever is recorded meanwhile; a token serves no other listing.
func TestPages(t *testing.T) {
	w := newWorld(t)
	w.files("read", "list")
	everybody := []events.Principal{events.Client("z"), events.User("a"), events.User("b"), events.User("c"), events.User("d")}
	for _, p := range everybody {
		w.grant(p, "read")
	}
	files := access.Resource{Audience: "files-api"}
	page, err := w.session(access.When{}).Holders("read", files, access.Page{Limit: 2})
	if err != nil || page.Next == "" {
		t.Fatalf("%+v, %v, want a first page", page, err)
	}
	first := page.Moment
	got := page.Principals
	for page.Next != "" {
		w.now += 1_000_000
		w.grant(events.User("late"+w.now.String()), "read")
		s, err := w.view.Resume(context.Background(), events.DefaultTenant, page.Next)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		if page, err = s.Holders("read", files, access.Page{Limit: 2, Token: page.Next}); err != nil {
			t.Fatal(err)
		}
		if page.Revision != first.Revision || page.ValidAt != first.ValidAt {
			t.Errorf("page of %+v, want %+v", page.Moment, first)
		}
		got = append(got, page.Principals...)
	}
	if !slices.Equal(got, everybody) {
		t.Errorf("%v, want %v", got, everybody)
	}

	page, err = w.session(access.When{}).Holders("read", files, access.Page{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]func() error{
		"another tenant":     func() error { _, err := w.view.Resume(context.Background(), "other", page.Next); return err },
		"another permission": func() error { return holdersErr(w, "list", page.Next) },
		"another moment":     func() error { w.now++; return holdersErr(w, "read", page.Next) },
		"no token":           func() error { return holdersErr(w, "read", "x") },
	} {
		if err := use(); !errors.Is(err, access.ErrBadPage) {
			t.Errorf("%s: %v, want ErrBadPage", name, err)
		}
	}
	var invalid *events.InvalidError
	if _, err := w.session(access.When{}).Holders("read", files, access.Page{Limit: access.MaxPage + 1}); !errors.As(err, &invalid) || invalid.Field != "limit" {
		t.Errorf("a page too large: %v", err)
	}
}

func holdersErr(w *world, name events.PermissionName, token string) error {
	_, err := w.session(access.When{}).Holders(name, access.Resource{Audience: "files-api"}, access.Page{Token: token})
	return err
}

// A clock that steps back, on the machine that answers, must not let an ended grant live again.
func TestClockStepsBack(t *testing.T) {
	w := newWorld(t)
	w.files("read")
	w.now = day("2026-03-01")
	granted := w.grant(alice, "read")
	w.now = day("2026-03-02")
	w.event(events.PermissionRevoked{Principal: alice, Permission: events.Permission{API: "files", Name: "read"}, Ended: events.Ended{Fact: granted.ID}})
	w.now = day("2026-03-01") + 1
	if d, err := w.session(access.When{}).Check(ask(alice, "read")); err != nil || d.Allowed {
		t.Errorf("%+v, %v, want denied: now is not before the last commit", d, err)
	}
}

func TestAtRefuses(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	var invalid *events.InvalidError
	if _, err := w.view.At(ctx, events.DefaultTenant, access.When{AsOf: 1, ValidAt: 1}); !errors.As(err, &invalid) || invalid.Field != "as_of" {
		t.Errorf("as_of with valid_at: %v", err)
	}
	if _, err := w.view.At(ctx, events.DefaultTenant, access.When{KnownAt: access.Known{Revision: 1, Time: 1}}); !errors.As(err, &invalid) || invalid.Field != "known_at" {
		t.Errorf("known_at twice: %v", err)
	}
	if _, err := w.view.At(ctx, "nowhere", access.When{}); !errors.Is(err, access.ErrUnknownTenant) {
		t.Errorf("another tenant: %v", err)
	}
	soon, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	for _, when := range []access.When{{AtLeast: 99}, {KnownAt: access.Known{Revision: 99}}} {
		if _, err := w.view.At(soon, events.DefaultTenant, when); !errors.Is(err, projections.ErrBehind) {
			t.Errorf("%+v: %v, want ErrBehind", when, err)
		}
	}
	w.project.Halt(errors.New("damage"))
	if _, err := w.view.At(ctx, events.DefaultTenant, access.When{}); !errors.Is(err, projections.ErrHalted) {
		t.Errorf("halted: %v, want ErrHalted", err)
	}
}

// A difference names the events that made it.
func TestDiffNamesCauses(t *testing.T) {
	w := newWorld(t)
	w.files("read")
	read := events.Permission{API: "files", Name: "read"}
	w.event(events.RoleCreated{Role: "reader"})
	w.event(events.RolePermissionAdded{Role: "reader", Permission: read})
	w.event(events.RoleAssigned{Principal: alice, Role: "reader"})
	from := w.head.Revision
	w.now += 1_000_000
	granted := w.grant(bob, "read")
	deleted := w.event(events.RoleDeleted{Role: "reader"})
	d, err := w.view.Diff(context.Background(), events.DefaultTenant,
		access.When{KnownAt: access.Known{Revision: from}}, access.When{}, events.Principal{})
	if err != nil || len(d.Changes) != 2 {
		t.Fatalf("%+v, %v, want two changes", d, err)
	}
	for i, want := range []struct {
		who    events.Principal
		gained bool
		cause  events.Recorded
		about  string
	}{{alice, false, deleted, "role:reader"}, {bob, true, granted, ""}} {
		c := d.Changes[i]
		if c.Principal != want.who || c.Gained != want.gained || len(c.Causes) != 1 || c.Causes[0].Event != want.cause.ID ||
			c.Causes[0].About != want.about {
			t.Errorf("change %d: %+v, want %+v", i, c, want)
		}
	}
}

// What the ledger would never decide halts the projector instead of being guessed at.
func TestImpossibleEventsHalt(t *testing.T) {
	for name, e := range map[string]events.Event{
		"an assignment of no role":      events.RoleAssigned{Principal: alice, Role: "ghost"},
		"a member of no group":          events.GroupMemberAdded{Group: "ghost", Member: alice},
		"the deletion of no role":       events.RoleDeleted{Role: "ghost"},
		"a revoke of no fact":           events.PermissionRevoked{Principal: alice},
		"a correction of no fact":       events.ValidityCorrected{},
		"an expiry of no fact":          events.ValidityExpired{},
		"a second tenant's role change": events.RoleChanged{Role: "ghost"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c, err := events.Seal(w.head, events.Header{RecordedAt: w.now, Writer: "test"},
				[]events.Recorded{{Tenant: events.DefaultTenant, Meta: events.Meta{Actor: alice}, Event: e}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.log = append(w.log, events.Stored{Revision: c.Revision, Bytes: c.Bytes})
			if err := w.project.CatchUp(context.Background()); !errors.Is(err, projections.ErrHalted) {
				t.Errorf("%v, want ErrHalted", err)
			}
			if w.project.Head().Revision != w.head.Revision {
				t.Error("something was applied")
			}
		})
	}
}

// A slug is known as everything else is: at a past revision it names what it named then.
func TestSlugsHaveAPast(t *testing.T) {
	w := newWorld(t)
	w.files("read", "write")
	w.grant(alice, "read")
	before := w.head.Revision
	for name, slug := range map[events.PermissionName]string{"read": "moved", "write": "slug-read"} {
		w.event(events.PermissionDefined{Permission: events.Permission{API: "files", Name: name}, Def: events.PermissionDefinition{ID: slug}})
	}
	q := ask(alice, "slug-read")
	if d, err := w.session(access.When{}).Check(q); err != nil || d.Allowed {
		t.Errorf("%+v, %v, want denied: the slug names write now", d, err)
	}
	if d, err := w.session(access.When{KnownAt: access.Known{Revision: before}}).Check(q); err != nil || !d.Allowed {
		t.Errorf("%+v, %v, want allowed: the slug named read then", d, err)
	}
}

// A grant taken back before it starts is over: nothing falls due, and it never holds.
func TestTakenBackBeforeItStarts(t *testing.T) {
	w := newWorld(t)
	w.files("read")
	read := events.Permission{API: "files", Name: "read"}
	start := w.now + 3_600_000_000
	future := w.recorded(events.Recorded{ValidFrom: start, Event: events.PermissionGranted{Principal: alice, Permission: read}})
	w.recorded(events.Recorded{ValidUntil: start, Event: events.PermissionRevoked{Principal: alice, Permission: read, Ended: events.Ended{Fact: future.ID}}})
	w.now = start + 1
	views, err := w.project.Views()
	if err != nil {
		t.Fatal(err)
	}
	defer views.Close()
	state := access.NewState(views.Rows(access.Name), w.now)
	if due := state.Due(10); len(due) != 0 || state.Err() != nil {
		t.Errorf("due: %+v, %v, want nothing", due, state.Err())
	}
	if d, err := w.session(access.When{}).Check(ask(alice, "read")); err != nil || d.Allowed {
		t.Errorf("%+v, %v, want denied", d, err)
	}
}
