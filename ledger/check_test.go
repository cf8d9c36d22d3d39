package ledger_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// What is malformed is refused before anything else, with the field as the caller knows it.
func TestInvalidRequests(t *testing.T) {
	long, text := strings.Repeat("x", 257), strings.Repeat("x", 4097)
	year10000 := events.At(time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)) + 1
	ok := ledger.CreateRole{Role: "r"}
	meta := func(change func(*events.Meta)) ledger.Request {
		q := request(ok)
		change(&q.Meta)
		return q
	}
	do := func(c ledger.Command) ledger.Request { return request(c) }
	catalog := func(change func(*ledger.CatalogFile)) ledger.Request {
		f := version1()
		change(&f)
		return do(ledger.LoadCatalog{Contents: f})
	}
	for _, row := range []struct {
		field string
		q     ledger.Request
	}{
		{"commands", request()},
		{"command", do(nil)},
		{"command", do(&ok)},
		{"tenant", ledger.Request{Meta: events.Meta{Actor: root}, Commands: []ledger.Command{ok}}},
		{"actor", meta(func(m *events.Meta) { m.Actor = events.Principal{} })},
		{"actor", meta(func(m *events.Meta) { m.Actor = events.Role("r").Principal() })},
		{"user", meta(func(m *events.Meta) { m.Actor = events.User("a\x00b") })},
		{"principal", meta(func(m *events.Meta) { m.OnBehalfOf = events.Principal{Kind: "x", ID: "y"} })},
		{"auth_method", meta(func(m *events.Meta) { m.AuthMethod = long })},
		{"source", meta(func(m *events.Meta) { m.Source = long })},
		{"request_id", meta(func(m *events.Meta) { m.RequestID = long })},
		{"reason", meta(func(m *events.Meta) { m.Reason = text })},
		{"reason", meta(func(m *events.Meta) { m.Reason = "\u202e" })},
		{"ticket", meta(func(m *events.Meta) { m.Ticket = long })},
		{"idempotency key", meta(func(m *events.Meta) { m.Key = long })},
		{"origin", meta(func(m *events.Meta) { m.Origin = "ledger" })},
		{"approvals", meta(func(m *events.Meta) { m.Approvals = make([]events.Approval, 17) })},
		{"approval", meta(func(m *events.Meta) { m.Approvals = make([]events.Approval, 1) })},
		{"approval time", meta(func(m *events.Meta) { m.Approvals = []events.Approval{{By: alice, At: -1}} })},
		{"approval reference", meta(func(m *events.Meta) { m.Approvals = []events.Approval{{By: alice, Ref: long}} })},
		{"valid_from", valid(-1, 0, ok)},
		{"valid_from", valid(year10000, 0, ok)},
		{"valid_until", valid(0, events.Forever, ok)},
		{"user", func() ledger.Request {
			q := request(ok)
			q.Expect = []ledger.Expectation{{Principal: events.User("")}}
			return q
		}()},

		{"name", do(ledger.CreateTenant{Name: long})},
		{"administrator", do(ledger.AddAdministrator{Principal: events.Role("r").Principal()})},
		{"user", do(ledger.RemoveAdministrator{Principal: events.User(long)})},
		{"role", do(ledger.CreateRole{})},
		{"role", do(ledger.CreateRole{Role: "a\xffb"})},
		{"name", do(ledger.CreateRole{Role: "r", Attr: events.Attributes{Name: long}})},
		{"description", do(ledger.ChangeRole{Role: "r", Attr: events.Attributes{Description: text}})},
		{"role", do(ledger.DeleteRole{})},
		{"role", do(ledger.AddRolePermission{Right: may("p", "a")})},
		{"role", do(ledger.RemoveRolePermission{Right: may("p", "a")})},
		{"role", do(ledger.IncludeRole{Role: "r"})},
		{"role", do(ledger.ExcludeRole{Included: "r"})},
		{"group", do(ledger.CreateGroup{})},
		{"group", do(ledger.DeleteGroup{})},
		{"group", do(ledger.AddMember{Member: alice})},
		{"member", do(ledger.AddMember{Group: "g", Member: events.Role("r").Principal()})},
		{"member", do(ledger.RemoveMember{Group: "g", Member: events.Role("r").Principal()})},
		{"group", do(ledger.SetParent{Group: "g"})},
		{"group", do(ledger.UnsetParent{Parent: "g"})},
		{"principal", do(ledger.AssignRole{Role: "r"})},
		{"resource id", do(ledger.AssignRole{Principal: alice, Role: "r", Scope: events.Exactly("t", "*")})},
		{"scope", do(ledger.UnassignRole{Principal: alice, Role: "r", Scope: events.Scope{Kind: 9, Type: "t"}})},
		{"permission", do(ledger.Grant{Principal: alice, Right: may("", "a")})},
		{"audience", do(ledger.Grant{Principal: alice, Right: may("p", "")})},
		{"audience", do(ledger.Grant{Principal: alice, Right: ledger.Right{Name: "p", Audience: long, Scope: events.AnyOf("t")}})},
		{"resource type", do(ledger.Revoke{Principal: alice, Right: on("p", events.AnyOf("api"))})},
		{"user", do(ledger.DeletePrincipal{Principal: events.User("")})},
		{"fact", do(ledger.CorrectValidity{From: day(0)})},
		{"from", do(ledger.CorrectValidity{Fact: uuid.New(), From: events.Forever})},
		{"from", do(ledger.CorrectValidity{Fact: uuid.New(), From: -1, Until: events.Forever})},
		{"until", do(ledger.CorrectValidity{Fact: uuid.New(), Until: year10000})},

		{"api", do(ledger.DefineAPI{Def: events.APIDefinition{Audience: "a"}})},
		{"audience", do(ledger.DefineAPI{API: "a"})},
		{"permission", do(ledger.DefinePermission{Permission: perm("a", "")})},
		{"permission id", do(ledger.DefinePermission{Permission: perm("a", "p"), Def: events.PermissionDefinition{ID: long}})},
		{"requires_any_of", do(ledger.DefinePermission{Permission: perm("a", "p"), Def: events.PermissionDefinition{RequiresAnyOf: [][]events.Permission{{}}}})},
		{"surface", do(ledger.DefinePermission{Permission: perm("a", "p"), Def: events.PermissionDefinition{Effects: []events.Effect{{Surface: long}}}})},
		{"resource type", do(ledger.DefineResourceType{Type: "a:b", Def: events.ResourceTypeDefinition{API: "a"}})},
		{"scopes", do(ledger.DefineResourceType{Type: "t", Def: events.ResourceTypeDefinition{API: "a", Scopes: []string{"all"}}})},
		{"property", do(ledger.DefineResourceType{Type: "t", Def: events.ResourceTypeDefinition{API: "a", Properties: []string{""}}})},
		{"scopes", do(ledger.DefineResourceType{Type: "t", Def: events.ResourceTypeDefinition{API: "a", PermissionScopes: map[events.PermissionName][]string{"p": {"x"}}}})},
		{"catalog", catalog(func(f *ledger.CatalogFile) { f.Catalog = "" })},
		{"digest", catalog(func(f *ledger.CatalogFile) { f.Info.Digest = "" })},
		{"edges", catalog(func(f *ledger.CatalogFile) { f.Info.Edges = []string{long} })},
		{"resource type", catalog(func(f *ledger.CatalogFile) { f.Types[0].Type = "" })},
		{"permission", catalog(func(f *ledger.CatalogFile) { f.Roles[0].Holds[0].Permission.Name = "" })},
	} {
		t.Run(row.field, func(t *testing.T) {
			r := newRig(t)
			r.refuses(row.q, ledger.CodeInvalid)
			_, err := r.DryRun(t.Context(), row.q)
			var invalid *events.InvalidError
			if !errors.As(err, &invalid) || invalid.Field != row.field {
				t.Errorf("got %v, want field %q", err, row.field)
			}
			equal(t, "heard", r.count("refused invalid"), 1)
			equal(t, "notes", len(r.notes()), 0)
		})
	}
}

// Whatever check lets through is stored and read back as it was: ids and texts at their limits.
func TestLimitsAreStored(t *testing.T) {
	r := newRig(t)
	id, text := strings.Repeat("ü", 128), strings.Repeat("\"\\<é>\n", 500)
	q := request(
		ledger.CreateRole{Role: events.Role(id), Attr: events.Attributes{Name: strings.Repeat("n", 256), Description: text}},
		ledger.CreateGroup{Group: "g<&>"},
		ledger.AssignRole{Principal: events.User(id), Role: events.Role(id)})
	q.Meta = events.Meta{
		Actor: events.Client(id), OnBehalfOf: events.User(id), AuthMethod: "m", Source: "s", RequestID: "i",
		Reason: text, Ticket: "t", Key: id, Approvals: []events.Approval{{By: alice, At: day(0), Ref: "r"}},
	}
	q.ValidFrom = day(0)
	receipt := r.mustRequest(q)
	for i, e := range r.history()[3:] {
		want := receipt.Recorded[i]
		e.Raw, want.Raw = nil, nil
		equal(t, "read back", e, want)
	}
	far := valid(0, day(365*7900), aliceReads)
	r.must(basics...)
	r.mustRequest(far)
}
