package events

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What subscribers filter on and the trail is indexed by, for the golden event of every name.
func TestAbout(t *testing.T) {
	var (
		alice, root, ci = User("alice"), User("root"), Client("ci")
		ops, staff      = Group("ops").Principal(), Group("staff").Principal()
		operator        = Role("operator").Principal()
		viewer          = Role("viewer").Principal()
		mapping         = Principal{KindMappingRule, "sso:ops"}
		read, write     = Permission{"operate", "read:*"}, Permission{"operate", "write:*"}
	)
	type about struct {
		holder Principal
		others []Principal
		api    API
		right  Permission
	}
	others := func(p ...Principal) []Principal { return p }
	want := map[string]about{
		"ledger.created":          {},
		"key.announced":           {},
		"fork.accepted":           {},
		"administrator.added":     {holder: root},
		"administrator.removed":   {holder: ci},
		"tenant.created":          {},
		"tenant.deleted":          {},
		"catalog.loaded":          {},
		"api.defined":             {api: "operate"},
		"api.retired":             {api: "operate"},
		"permission.defined":      {api: "operate", right: write},
		"permission.retired":      {api: "operate", right: write},
		"resource-type.defined":   {api: "operate"},
		"resource-type.retired":   {api: "operate"},
		"role.created":            {holder: operator},
		"role.changed":            {holder: operator},
		"role.deleted":            {holder: operator},
		"role.permission-added":   {holder: operator, api: "operate", right: read},
		"role.permission-removed": {holder: operator, api: "operate", right: read},
		"role.included":           {holder: operator, others: others(viewer)},
		"role.excluded":           {holder: operator, others: others(viewer)},
		"group.created":           {holder: ops},
		"group.deleted":           {holder: ops},
		"group.member-added":      {holder: ci, others: others(ops)},
		"group.member-removed":    {holder: mapping, others: others(ops)},
		"group.parent-set":        {holder: ops, others: others(staff)},
		"group.parent-unset":      {holder: ops, others: others(staff)},
		"role.assigned":           {holder: ops, others: others(operator)},
		"role.unassigned":         {holder: ops, others: others(operator)},
		"permission.granted":      {holder: alice, api: "operate", right: read},
		"permission.revoked":      {holder: alice, api: "operate", right: read},
		"principal.deleted":       {holder: alice},
		"principal.described":     {holder: alice},
		"principal.erased":        {holder: alice},
		"validity.corrected":      {holder: alice, api: "operate", right: read},
		"validity.started":        {holder: ops, others: others(operator)},
		"validity.expired":        {holder: ops, others: others(operator)},
	}
	for _, name := range Names() {
		e := newestGolden(name)
		var got about
		got.holder, got.others, got.api = About(e)
		got.right = PermissionOf(e)
		expected, listed := want[name]
		if !listed {
			t.Errorf("%s is not in this test", name)
		}
		if got.holder != expected.holder || !slices.Equal(got.others, expected.others) || got.api != expected.api || got.right != expected.right {
			t.Errorf("%s is about %+v, want %+v", name, got, expected)
		}
	}
}

func newestGolden(name string) Event {
	versions := golden[name]
	return versions[len(versions)-1]
}

// Each event that ends a fact names the edge that its counterpart began, and the fact.
func TestBeginsAndEnds(t *testing.T) {
	ends := map[Event]Event{
		GroupMemberAdded{"ops", User("a")}:                          GroupMemberRemoved{"ops", User("a"), goldenEnded},
		GroupParentSet{"ops", "staff"}:                              GroupParentUnset{"ops", "staff", goldenEnded},
		RoleAssigned{User("a"), "r", AnyOf("T")}:                    RoleUnassigned{User("a"), "r", AnyOf("T"), goldenEnded},
		RoleIncluded{"r", "s"}:                                      RoleExcluded{"r", "s", goldenEnded},
		PermissionGranted{User("a"), Permission{"x", "y"}, Scope{}}: PermissionRevoked{User("a"), Permission{"x", "y"}, Scope{}, goldenEnded},
		RolePermissionAdded{"r", Permission{"x", "y"}, AnyOf("T")}:  RolePermissionRemoved{"r", Permission{"x", "y"}, AnyOf("T"), goldenEnded},
	}
	seen := map[string]bool{}
	for begin, end := range ends {
		began, ok := Begins(begin)
		if !ok {
			t.Errorf("%s begins nothing", Name(begin))
		}
		ended, which, ok := Ends(end)
		if !ok || ended != began || which != goldenEnded {
			t.Errorf("%s ends %+v of %+v, %s began %+v", Name(end), ended, which, Name(begin), began)
		}
		seen[Name(begin)], seen[Name(end)] = true, true
	}
	for _, name := range Names() {
		_, begins := Begins(newestGolden(name))
		_, _, isEnd := Ends(newestGolden(name))
		if (begins || isEnd) != seen[name] || begins && isEnd {
			t.Errorf("%s: begins a fact %v, ends one %v", name, begins, isEnd)
		}
	}
	// A grant to a role and a permission added to it state the same edge.
	grant, _ := Begins(PermissionGranted{Role("r").Principal(), Permission{"x", "y"}, Scope{}})
	added, _ := Begins(RolePermissionAdded{"r", Permission{"x", "y"}, Scope{}})
	if grant != added {
		t.Errorf("%+v and %+v differ", grant, added)
	}
}

// A fact keeps its id and edge in JSON, not only the interval it embeds.
func TestFactJSON(t *testing.T) {
	march := mustInstant("2026-03-01T00:00:00Z")
	for want, f := range map[string]Fact{
		`{"fact":"019a0000-0000-7000-8000-000000000003","kind":"grant","from":"user:alice",` +
			`"permission":{"api":"operate","name":"read:*"},"scope":{"type":"Process","id":"order:1"},` +
			`"valid":{"valid_from":"2026-03-01T00:00:00Z","valid_until":null}}`: {testID(3), goldenGrant, Interval{march, Forever}},
		`{"fact":"019a0000-0000-7000-8000-000000000004","kind":"member","from":"user:alice","to":"group:ops",` +
			`"valid":{"valid_from":null,"valid_until":"2026-03-01T00:00:00Z"}}`: {
			testID(4), Edge{Kind: EdgeMember, From: User("alice"), To: Group("ops").Principal()}, Interval{Beginning, march},
		},
	} {
		b, err := json.Marshal(f)
		if err != nil || string(b) != want {
			t.Errorf("got %s, %v\nwant %s", b, err, want)
		}
		var back Fact
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, back); diff != "" {
			t.Errorf("read otherwise than written (-want +got):\n%s", diff)
		}
	}
}
