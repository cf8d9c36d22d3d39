package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
)

// The worked example of two times: a grant, a revoke, and a correction that says it ended earlier.
func TestTwoTimes(t *testing.T) {
	now := day("2026-03-01")
	w := newWorldAt(t, func() time.Time { return now }, nil).camunda()
	granted := w.do(grant("user:alice", "write:*", "api:operate-api"))
	now = day("2026-04-01")
	revoke := grant("user:alice", "write:*", "api:operate-api")
	revoke.Do = "revoke"
	revoked := w.do(revoke)
	now = day("2026-05-01")
	fact := granted.Events[0].ID
	corrected := w.do(api.Command{Do: "correct", Fact: fact, ValidUntil: api.Time(events.At(day("2026-03-15")))})
	now = day("2026-06-01")

	q := api.Question{Principal: events.User("alice"), Permission: "write:*", Resource: api.Resource{Audience: "operate-api"}}
	at := func(s string) events.Instant { return events.At(day(s)) }
	for name, tc := range map[string]struct {
		when     api.When
		revision events.Revision
		want     bool
	}{
		"as_of 20 March":                       {api.When{AsOf: at("2026-03-20")}, granted.Revision, true},
		"valid_at 20 March":                    {api.When{ValidAt: at("2026-03-20")}, corrected.Revision, false},
		"valid_at 20 March, known_at 10 April": {api.When{ValidAt: at("2026-03-20"), KnownAt: api.Known{Time: at("2026-04-10")}}, revoked.Revision, true},
		"valid_at 20 March, known_at revision": {api.When{ValidAt: at("2026-03-20"), KnownAt: api.Known{Revision: revoked.Revision}}, revoked.Revision, true},
		"valid_at 10 March":                    {api.When{ValidAt: at("2026-03-10")}, corrected.Revision, true},
		"as_of 10 April":                       {api.When{AsOf: at("2026-04-10")}, revoked.Revision, false},
		"now":                                  {api.When{AtLeast: corrected.Revision}, corrected.Revision, false},
		"before the ledger":                    {api.When{AsOf: at("2026-02-01")}, 0, false},
	} {
		q.When = tc.when
		d, err := w.client.Check(t.Context(), q)
		if err != nil || d.Allowed != tc.want || d.Revision != tc.revision {
			t.Errorf("%s: %+v, %v; want %t at revision %d", name, d, err, tc.want, tc.revision)
		}
		e, err := w.client.Explain(t.Context(), q)
		if err != nil || e.Allowed != tc.want || tc.want != (len(e.Paths) > 0) {
			t.Errorf("%s: explained %+v, %v", name, e, err)
		}
		h, err := w.client.Holdings(t.Context(), q.Principal, tc.when)
		if err != nil || tc.want != (len(h.Holdings) == 1 && h.Holdings[0].Effective && h.Holdings[0].Resource == "api:operate-api") {
			t.Errorf("%s: holds %+v, %v", name, h, err)
		}
	}
	for known, want := range map[events.Revision]string{0: "2026-03-15", revoked.Revision: "2026-04-01"} {
		q.When = api.When{KnownAt: api.Known{Revision: known}}
		v, err := w.client.Intervals(t.Context(), q)
		if diff := cmp.Diff([]events.Interval{{From: at("2026-03-01"), Until: at(want)}}, v.Intervals); err != nil || diff != "" {
			t.Errorf("intervals known at %d: %v %s", known, err, diff)
		}
	}
	h, err := w.client.History(t.Context(), api.HistoryQuery{Fact: fact})
	if err != nil || len(h.Events) != 3 || h.Revision != corrected.Revision {
		t.Errorf("history of the fact: %+v, %v", h, err)
	}
}

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

// Every verb is carried out once, and records what it says.
func TestEveryVerb(t *testing.T) {
	w := newWorld(t)
	alice, fact := events.User("alice"), events.FactID{}
	done := map[string]bool{}
	for _, step := range []struct {
		command api.Command
		want    string // the names of the events recorded
	}{
		{api.DefineAPI("records", events.APIDefinition{Name: "Records", Audience: "records-api"}), "api.defined"},
		{api.DefinePermission(events.Permission{API: "records", Name: "read"}, events.PermissionDefinition{Description: "d"}), "permission.defined"},
		{api.Command{Do: "permission.define", API: "records", Permission: "write"}, "permission.defined"},
		{api.DefineType("record", events.ResourceTypeDefinition{API: "records"}), "resource-type.defined"},
		{api.Command{Do: "catalog.load", Catalog: "camunda-8"}, "catalog.loaded"},
		{grant("user:alice", "read", "record:1"), "permission.granted"},
		{api.Command{Do: "revoke", Principal: alice, Permission: "read", Resource: api.Resource{Type: "record", ID: "1"}}, "permission.revoked"},
		{api.Command{Do: "role.create", Role: "r", Name: "R"}, "role.created"},
		{api.Command{Do: "role.create", Role: "s"}, "role.created"},
		{api.Command{Do: "role.change", Role: "r", Description: "new"}, "role.changed"},
		{api.Command{Do: "role.add-permission", Role: "r", Permission: "read", Resource: api.Resource{Type: "record", Any: true}}, "role.permission-added"},
		{api.Command{Do: "role.remove-permission", Role: "r", Permission: "read", Resource: api.Resource{Type: "record", Any: true}}, "role.permission-removed"},
		{api.Command{Do: "role.include", Role: "r", Included: "s"}, "role.included"},
		{api.Command{Do: "role.exclude", Role: "r", Included: "s"}, "role.excluded"},
		{api.Command{Do: "assign", Principal: alice, Role: "r"}, "role.assigned"},
		{api.Command{Do: "assign", Principal: alice, Role: "r", Resource: api.Resource{Type: "record", ID: "1"}}, "role.assigned"},
		{api.Command{Do: "correct", ValidUntil: api.Time(events.At(firstDay.AddDate(1, 0, 0)))}, "validity.corrected"},
		{api.Command{Do: "unassign", Principal: alice, Role: "r"}, "role.unassigned"},
		{api.Command{Do: "group.create", Group: "g"}, "group.created"},
		{api.Command{Do: "group.create", Group: "h"}, "group.created"},
		{api.Command{Do: "group.add-member", Group: "g", Member: alice}, "group.member-added"},
		{api.Command{Do: "group.remove-member", Group: "g", Member: alice}, "group.member-removed"},
		{api.Command{Do: "group.set-parent", Group: "g", Parent: "h"}, "group.parent-set"},
		{api.Command{Do: "group.unset-parent", Group: "g", Parent: "h"}, "group.parent-unset"},
		{api.Command{Do: "group.delete", Group: "h"}, "group.deleted"},
		{api.Command{Do: "role.delete", Role: "s"}, "role.deleted"},
		{api.Command{Do: "principal.describe", Principal: alice, Profile: &events.Profile{Name: "Alice"}}, "principal.described"},
		{api.Command{Do: "principal.describe", Principal: alice, Profile: &events.Profile{Name: "Alice"}, Plain: true}, "principal.described"},
		{api.Command{Do: "principal.erase", Principal: alice}, "principal.erased"},
		{api.Command{Do: "principal.delete", Principal: alice}, "principal.deleted"},
		{api.Command{Do: "administrator.add", Principal: alice}, "administrator.added"},
		{api.Command{Do: "administrator.remove", Principal: alice}, "administrator.removed"},
	} {
		if step.command.Do == "correct" {
			step.command.Fact = fact
		}
		r := w.do(step.command)
		if len(r.Events) == 0 || events.Name(r.Events[0].Event) != step.want {
			t.Fatalf("%s recorded %+v", step.command.Do, r)
		}
		fact, done[step.command.Do] = r.Events[0].ID, true
	}
	for _, do := range []string{"tenant.create", "tenant.delete"} {
		r, err := w.client.Submit(t.Context(), api.Request{Tenant: "acme", Commands: []api.Command{{Do: do}}}, "")
		if err != nil || len(r.Events) != 1 || r.Events[0].Tenant != "acme" {
			t.Errorf("%s: %+v, %v", do, r, err)
		}
		done[do] = true
	}
	for _, v := range api.Verbs {
		if !done[v.Do] {
			t.Errorf("%s was not carried out", v.Do)
		}
	}
	odd := api.Command{Do: "assign", Principal: alice, Role: "r", Resource: api.Resource{Audience: "records-api"}}
	_, err := w.client.Submit(t.Context(), api.Request{Commands: []api.Command{odd}}, "")
	var e *api.Error
	if !errors.As(err, &e) || e.Field != "commands[0].resource" {
		t.Errorf("a role on an API: %v", err)
	}
}

// A catalog sent as a file is the one in the file, to the byte: its digest is the file's.
func TestCatalogFile(t *testing.T) {
	w := newWorld(t)
	text, err := os.ReadFile("../../../ledger/catalogs/data/camunda-8.json")
	if err != nil {
		t.Fatal(err)
	}
	w.do(api.Command{Do: "catalog.load", Catalog: "camunda-8"})
	if r := w.do(api.LoadFile(text)); !r.Nothing {
		t.Errorf("the same catalog as a file changed something: %+v", r)
	}
	r, err := w.client.LoadCatalog(t.Context(), api.CatalogLoad{File: text}, "")
	if err != nil {
		t.Errorf("as an object: %+v, %v", r, err)
	}
}

// What a receipt says is what the trail holds, and who acted is who the credential proves.
func TestReceipt(t *testing.T) {
	w := newWorld(t).camunda()
	c := grant("user:alice", "read:*", "api:operate-api")
	r, err := w.client.Submit(t.Context(), api.Request{
		Commands: []api.Command{c}, Reason: "new hire", Ticket: "HR-1", OnBehalfOf: events.User("boss"), RequestID: "r-77",
		Approvals: []events.Approval{{By: events.User("owner"), Ref: "mail"}},
	}, "")
	if err != nil || len(r.Events) != 1 || r.Revision != w.revision() || r.Hash != w.node.Projector.Head().Hash.String() {
		t.Fatalf("%+v, %v", r, err)
	}
	e := r.Events[0]
	if e.Actor != events.Client("root") || e.AuthMethod != "root-token" || e.Source != "127.0.0.1" || e.RequestID != "r-77" ||
		e.OnBehalfOf != events.User("boss") || e.Ticket != "HR-1" || len(e.Approvals) != 1 || e.Tenant != events.DefaultTenant {
		t.Errorf("%+v", e.Meta)
	}
	stored, err := w.node.Audit.Event(t.Context(), e.Position)
	if diff := cmp.Diff(stored, e.Recorded); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	again := w.do(c)
	if !again.Nothing || len(again.Events) != 0 || again.Revision != r.Revision || again.Hash != "" {
		t.Errorf("granted again: %+v", again)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t).camunda()
	r := api.Request{Commands: []api.Command{grant("user:alice", "read:*", "api:operate-api"), grant("user:bob", "read:*", "api:operate-api")}}
	first, err := w.client.Submit(t.Context(), r, "key 1")
	if err != nil {
		t.Fatal(err)
	}
	w.do(api.Command{Do: "role.create", Role: "later"})
	before := w.revision()
	for range 2 {
		again, err := w.client.Submit(t.Context(), r, "key 1")
		if err != nil || !again.Replayed {
			t.Fatalf("%+v, %v", again, err)
		}
		again.Replayed = false
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("another answer: %s", diff)
		}
	}
	nothing := api.Request{Commands: r.Commands[:1]}
	for range 2 {
		if again, err := w.client.Submit(t.Context(), nothing, "key 2"); err != nil || !again.Nothing {
			t.Errorf("%+v, %v", again, err)
		}
	}
	if _, err := w.client.Submit(t.Context(), nothing, "key 1"); !errors.Is(err, &api.Error{Code: api.CodeKeyConflict}) {
		t.Errorf("another request under the key: %v", err)
	}
	if w.revision() != before {
		t.Error("something was recorded")
	}
}

func TestDryRun(t *testing.T) {
	w := newWorld(t).camunda()
	before := w.node.Projector.Head()
	r := api.Request{DryRun: true, Commands: []api.Command{grant("user:alice", "read:*", "api:operate-api")}}
	would, err := w.client.Submit(t.Context(), r, "key")
	if err != nil || !would.DryRun || len(would.Events) != 1 || events.Name(would.Events[0].Event) != "permission.granted" {
		t.Fatalf("%+v, %v", would, err)
	}
	r.Commands[0].Permission = "fly"
	if _, err := w.client.Submit(t.Context(), r, ""); !errors.Is(err, &api.Error{Code: api.CodeUnknownPermission}) {
		t.Errorf("%v", err)
	}
	if after := w.node.Projector.Head(); after != before {
		t.Error("a dry run recorded something")
	}
	r.Commands[0].Permission, r.DryRun = "read:*", false
	if done, err := w.client.Submit(t.Context(), r, "key"); err != nil || done.Replayed {
		t.Errorf("the dry run used the key: %+v, %v", done, err)
	}
}

func TestDescriptions(t *testing.T) {
	w := newWorld(t)
	load, err := w.client.LoadCatalog(t.Context(), api.CatalogLoad{Catalog: "flowable-control", Reason: "first"}, "load")
	if err != nil || load.Revision != w.revision() || load.Events[0].Reason != "first" {
		t.Fatalf("%+v, %v", load, err)
	}
	all, err := w.client.Catalogs(t.Context(), api.When{})
	if err != nil || len(all.Catalogs) != 1 || all.Catalogs[0].Permissions < 61 || len(all.Embedded) != 3 {
		t.Errorf("%+v, %v", all, err)
	}
	c, err := w.client.Catalog(t.Context(), "flowable-control", api.When{})
	if err != nil || len(c.APIs) != 1 || len(c.APIs[0].Permissions) != all.Catalogs[0].Permissions || c.Revision != load.Revision {
		t.Errorf("%d APIs, %v", len(c.APIs), err)
	}
	w.do(
		api.Command{Do: "role.create", Role: "a/b", Name: "A or B"}, api.Command{Do: "role.create", Role: ".."},
		api.Command{Do: "role.include", Role: "a/b", Included: ".."},
		api.Command{Do: "group.create", Group: "ops"}, api.Command{Do: "group.create", Group: "all"},
		api.Command{Do: "group.set-parent", Group: "ops", Parent: "all"},
		api.Command{Do: "group.add-member", Group: "ops", Member: events.User("alice")},
	)
	r, err := w.client.Role(t.Context(), "a/b", api.When{})
	want := api.Role{Role: "a/b", Version: w.revision(), Attributes: events.Attributes{Name: "A or B"}, Holds: []api.Holding{}, Includes: []events.Role{".."}}
	if diff := cmp.Diff(want, r.Role); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if r, err := w.client.Role(t.Context(), "..", api.When{}); err != nil || r.Role.Role != ".." {
		t.Errorf("%+v, %v", r, err)
	}
	g, err := w.client.Group(t.Context(), "ops", api.When{})
	if err != nil || len(g.Members) != 1 || len(g.Parents) != 1 {
		t.Errorf("%+v, %v", g, err)
	}
	if roles, err := w.client.Roles(t.Context(), api.When{}); err != nil || len(roles.Roles) < 2 {
		t.Errorf("%+v, %v", roles, err)
	}
	if groups, err := w.client.Groups(t.Context(), api.When{KnownAt: api.Known{Revision: load.Revision}}); err != nil || len(groups.Groups) != 0 {
		t.Errorf("%+v, %v", groups, err)
	}
	_, header, _ := w.ask("GET", "/v1/groups/ops", "")
	if header.Get("ETag") != fmt.Sprintf(`"%d"`, g.Version) {
		t.Errorf("ETag %s, version %d", header.Get("ETag"), g.Version)
	}
	stale := api.Request{
		Commands: []api.Command{{Do: "group.delete", Group: "ops"}},
		Expect:   []api.Expectation{{Principal: events.Group("ops").Principal(), Version: g.Version - 1}},
	}
	if _, err := w.client.Submit(t.Context(), stale, ""); !errors.Is(err, &api.Error{Code: api.CodePreconditionFailed}) {
		t.Errorf("an old version: %v", err)
	}
	stale.Expect[0].Version = g.Version
	if _, err := w.client.Submit(t.Context(), stale, ""); err != nil {
		t.Errorf("the present version: %v", err)
	}
}

func TestListsBothWays(t *testing.T) {
	w := newWorld(t).camunda()
	var grants []api.Command
	for i := range 25 {
		grants = append(grants, grant(fmt.Sprintf("user:u%02d", i), "read:*", "api:operate-api"))
	}
	w.do(grants...)
	q := api.HoldersQuery{Permission: "read:*", Resource: api.Resource{Audience: "operate-api"}, Limit: 10}
	first, err := w.client.Holders(t.Context(), q)
	if err != nil || len(first.Principals) != 10 || first.Next == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	revoke := grants[20]
	revoke.Do = "revoke"
	w.do(revoke) // pages of one listing are of one revision
	next := api.HoldersQuery{Permission: q.Permission, Resource: q.Resource, Limit: 10, Page: first.Next}
	second, err := w.client.Holders(t.Context(), next)
	if err != nil || second.Revision != first.Revision || second.Principals[0] != events.User("u10") {
		t.Errorf("%+v, %v", second, err)
	}
	count := 0
	for _, err := range w.client.AllHolders(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	if count != 24 {
		t.Errorf("%d holders", count)
	}
	claims, err := w.client.Claims(t.Context(), events.User("u01"), api.When{})
	if err != nil || len(claims.Audiences) != 1 || claims.Permissions["operate-api"][0] != "read:*" {
		t.Errorf("%+v, %v", claims, err)
	}
	none, err := w.client.Claims(t.Context(), events.User("nobody"), api.When{})
	if err != nil || none.Audiences == nil || none.Permissions == nil {
		t.Errorf("%+v, %v", none, err)
	}
}

func TestDifference(t *testing.T) {
	now := day("2026-03-01")
	w := newWorldAt(t, func() time.Time { return now }, nil).camunda()
	a := w.do(grant("user:alice", "read:*", "api:operate-api"))
	now = day("2026-03-02")
	revoke := grant("user:alice", "read:*", "api:operate-api")
	revoke.Do = "revoke"
	b := w.do(revoke, grant("user:bob", "read:*", "api:operate-api"))
	now = day("2026-03-03")
	changes := func(q api.DiffQuery) string {
		t.Helper()
		d, err := w.client.Diff(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, c := range d.Changes {
			all = append(all, fmt.Sprintf("%s %t %d", c.Principal, c.Gained, len(c.Causes)))
		}
		return strings.Join(all, ", ")
	}
	const want = "user:alice false 1, user:bob true 1"
	for name, q := range map[string]api.DiffQuery{
		"revisions":        {From: api.Known{Revision: a.Revision}, To: api.Known{Revision: b.Revision}},
		"times":            {From: api.Known{Time: events.At(day("2026-03-01").Add(time.Hour))}, To: api.Known{Time: events.At(day("2026-03-02").Add(time.Hour))}},
		"a time until now": {From: api.Known{Time: events.At(day("2026-03-01").Add(time.Hour))}},
	} {
		if got := changes(q); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	// What is known is the same at both ends, so only the passing of time made the difference.
	valid := api.DiffQuery{Mode: api.DiffValid, From: api.Known{Time: events.At(day("2026-03-01").Add(time.Hour))}, To: api.Known{Time: events.At(day("2026-03-02").Add(time.Hour))}}
	if got := changes(valid); got != "user:alice false 0, user:bob true 0" {
		t.Errorf("valid times: %s", got)
	}
	if got := changes(api.DiffQuery{From: api.Known{Revision: a.Revision}, Principal: events.User("bob")}); got != "user:bob true 1" {
		t.Errorf("of bob: %s", got)
	}
}

func TestHistory(t *testing.T) {
	w := newWorld(t).camunda()
	for i := range 5 {
		w.do(api.Command{Do: "group.create", Group: events.Group(fmt.Sprint(i))})
	}
	positions := func(q api.HistoryQuery) (all []events.Position) {
		t.Helper()
		for e, err := range w.client.AllHistory(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e.Position)
		}
		return all
	}
	last := w.node.Projector.Head().Position
	want := []events.Position{last - 4, last - 3, last - 2, last - 1, last}
	if diff := cmp.Diff(want, positions(api.HistoryQuery{Type: "group.created", Limit: 2})); diff != "" {
		t.Error(diff)
	}
	newest := []events.Position{last, last - 1, last - 2, last - 3, last - 4}
	if diff := cmp.Diff(newest, positions(api.HistoryQuery{Type: "group.created", Limit: 2, Newest: true})); diff != "" {
		t.Error(diff)
	}
	if got := positions(api.HistoryQuery{Principal: events.Group("3").Principal()}); len(got) != 1 {
		t.Errorf("of group 3: %v", got)
	}
	if got := positions(api.HistoryQuery{Type: "group.created", Until: events.At(firstDay)}); got != nil {
		t.Errorf("before the first day: %v", got)
	}
	if got := positions(api.HistoryQuery{Before: 1}); got != nil {
		t.Errorf("before the first event: %v", got)
	}
}

func TestProblems(t *testing.T) {
	for code, err := range map[api.Code]error{
		api.CodeBehind:         fmt.Errorf("%w: %w", projections.ErrBehind, context.DeadlineExceeded),
		api.CodeHalted:         fmt.Errorf("%w: %w", projections.ErrHalted, errors.New("a view")),
		api.CodeCorrupt:        fmt.Errorf("%w: %w", projections.ErrHalted, events.ErrBroken),
		api.CodeOutcomeUnknown: fmt.Errorf("%w: %w", ledger.ErrUnknownOutcome, context.DeadlineExceeded),
		api.CodeUnavailable:    fmt.Errorf("queue: %w", ledger.ErrUnavailable),
		api.CodeConflict:       ledger.ErrConflict,
		api.CodeBadPageToken:   access.ErrBadPage,
		api.CodeTooManyPaths:   access.ErrTooManyPaths,
		api.CodeBodyTooLarge:   &http.MaxBytesError{Limit: 1},
		api.CodeInternal:       errors.New("secret path /etc"),
	} {
		e := problemOf(fmt.Errorf("doing it: %w", err))
		if e.Code != code {
			t.Errorf("%v became %s, want %s", err, e.Code, code)
		}
		if code == api.CodeInternal && e.Detail != "" {
			t.Errorf("an internal error tells %q", e.Detail)
		}
	}
	if e := problemOf(audit.ErrNotFound); e.Code != api.CodeNotFound {
		t.Errorf("not in the trail became %s", e.Code)
	}
}

// A question about a revision that does not come is an error, and says to try later.
func TestBehind(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.server.session(ctx, When{AtLeast: "99"})
	e := problemOf(err)
	if e.Code != api.CodeBehind || e.Retry() != api.RetryLater || problemHeaders(e).Get("Retry-After") == "" {
		t.Errorf("%v", err)
	}
}
