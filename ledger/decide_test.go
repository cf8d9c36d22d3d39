package ledger_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// Each row is decided by a ledger that has the basics and, before it, the commands in after. want lists the
// events by their names, "" stands for "so already", and a code of capitals for the refusal.
func TestDecisions(t *testing.T) {
	viewerRight := ledger.AddRolePermission{Role: "viewer", Right: may("read:*", "operate-api")}
	aliceReads := ledger.Grant{Principal: alice, Right: may("read:*", "operate-api")}
	aliceReadsOne := ledger.Grant{Principal: alice, Right: on("read:*", events.Exactly("process", "p1"))}
	aliceViews := ledger.AssignRole{Principal: alice, Role: "viewer"}
	cmds := func(cs ...ledger.Command) []ledger.Command { return cs }
	rule := events.Principal{Kind: events.KindMappingRule, ID: "r1"}
	viewer, editor, team, dept := events.Role("viewer").Principal(), events.Role("editor").Principal(), events.Group("team").Principal(), events.Group("dept").Principal()

	refused := func(c ledger.Code) string { return "! " + string(c) }
	for _, row := range []struct {
		name  string
		after []ledger.Command
		do    ledger.Command
		want  string // events, "" for nothing, "! code" for a refusal
		// strict is what a strict request gets; "" means the same as want.
		strict string
	}{
		{name: "create role", do: ledger.CreateRole{Role: "new"}, want: "role.created"},
		{name: "create role as it is", do: ledger.CreateRole{Role: "viewer", Attr: events.Attributes{Name: "Viewer"}}, strict: refused(ledger.CodeAlready)},
		{name: "create role otherwise", do: ledger.CreateRole{Role: "viewer"}, want: refused(ledger.CodeExists)},
		{name: "change role", do: ledger.ChangeRole{Role: "viewer", Attr: events.Attributes{Name: "Reader"}}, want: "role.changed"},
		{name: "change role to what it is", do: ledger.ChangeRole{Role: "editor"}, strict: refused(ledger.CodeAlready)},
		{name: "change no role", do: ledger.ChangeRole{Role: "nobody"}, want: refused(ledger.CodeUnknownRole)},
		{name: "delete role", do: ledger.DeleteRole{Role: "viewer"}, want: "role.deleted"},
		{name: "delete no role", do: ledger.DeleteRole{Role: "nobody"}, strict: refused(ledger.CodeAbsent)},
		{name: "create role again", after: cmds(ledger.DeleteRole{Role: "viewer"}), do: ledger.CreateRole{Role: "viewer"}, want: "role.created"},

		{name: "role permission", do: viewerRight, want: "role.permission-added"},
		{name: "role permission twice", after: cmds(viewerRight), do: viewerRight, strict: refused(ledger.CodeAlready)},
		{name: "role permission through grant", do: ledger.Grant{Principal: viewer, Right: may("read:*", "operate-api")}, want: "role.permission-added"},
		{name: "permission of no role", do: ledger.AddRolePermission{Role: "nobody", Right: may("read:*", "operate-api")}, want: refused(ledger.CodeUnknownRole)},
		{name: "remove role permission", after: cmds(viewerRight), do: ledger.RemoveRolePermission(viewerRight), want: "role.permission-removed"},
		{name: "remove role permission through revoke", after: cmds(viewerRight), do: ledger.Revoke{Principal: viewer, Right: may("read:*", "operate-api")}, want: "role.permission-removed"},
		{name: "remove what a role lacks", do: ledger.RemoveRolePermission(viewerRight), strict: refused(ledger.CodeAbsent)},
		{name: "remove from no role", do: ledger.RemoveRolePermission{Role: "nobody", Right: may("read:*", "operate-api")}, want: refused(ledger.CodeUnknownRole)},

		{name: "include role", do: ledger.IncludeRole{Role: "editor", Included: "viewer"}, want: "role.included"},
		{name: "include role through assign", do: ledger.AssignRole{Principal: editor, Role: "viewer"}, want: "role.included"},
		{name: "include role on a scope", do: ledger.AssignRole{Principal: editor, Role: "viewer", Scope: events.AnyOf("process")}, want: refused(ledger.CodeWrongScope)},
		{name: "include role twice", after: cmds(ledger.IncludeRole{Role: "editor", Included: "viewer"}), do: ledger.IncludeRole{Role: "editor", Included: "viewer"}, strict: refused(ledger.CodeAlready)},
		{name: "include no role", do: ledger.IncludeRole{Role: "editor", Included: "nobody"}, want: refused(ledger.CodeUnknownRole)},
		{name: "include in itself", do: ledger.IncludeRole{Role: "editor", Included: "editor"}, want: refused(ledger.CodeCycle)},
		{name: "include in a circle", after: cmds(ledger.IncludeRole{Role: "editor", Included: "viewer"}), do: ledger.IncludeRole{Role: "viewer", Included: "editor"}, want: refused(ledger.CodeCycle)},
		{name: "exclude role", after: cmds(ledger.IncludeRole{Role: "editor", Included: "viewer"}), do: ledger.ExcludeRole{Role: "editor", Included: "viewer"}, want: "role.excluded"},
		{name: "exclude role through unassign", after: cmds(ledger.IncludeRole{Role: "editor", Included: "viewer"}), do: ledger.UnassignRole{Principal: editor, Role: "viewer"}, want: "role.excluded"},
		{name: "exclude role on a scope", do: ledger.UnassignRole{Principal: editor, Role: "viewer", Scope: events.AnyOf("process")}, want: refused(ledger.CodeWrongScope)},
		{name: "exclude what is not included", do: ledger.ExcludeRole{Role: "editor", Included: "viewer"}, strict: refused(ledger.CodeAbsent)},
		{name: "exclude no role", do: ledger.ExcludeRole{Role: "editor", Included: "nobody"}, want: refused(ledger.CodeUnknownRole)},

		{name: "create group", do: ledger.CreateGroup{Group: "new"}, want: "group.created"},
		{name: "create group as it is", do: ledger.CreateGroup{Group: "dept"}, strict: refused(ledger.CodeAlready)},
		{name: "create group otherwise", do: ledger.CreateGroup{Group: "team"}, want: refused(ledger.CodeExists)},
		{name: "delete group", do: ledger.DeleteGroup{Group: "team"}, want: "group.deleted"},
		{name: "delete no group", do: ledger.DeleteGroup{Group: "nobody"}, strict: refused(ledger.CodeAbsent)},
		{name: "add member", do: ledger.AddMember{Group: "team", Member: alice}, want: "group.member-added"},
		{name: "add mapping rule", do: ledger.AddMember{Group: "team", Member: rule}, want: "group.member-added"},
		{name: "add member twice", after: cmds(ledger.AddMember{Group: "team", Member: alice}), do: ledger.AddMember{Group: "team", Member: alice}, strict: refused(ledger.CodeAlready)},
		{name: "add member to no group", do: ledger.AddMember{Group: "nobody", Member: alice}, want: refused(ledger.CodeUnknownGroup)},
		{name: "remove member", after: cmds(ledger.AddMember{Group: "team", Member: alice}), do: ledger.RemoveMember{Group: "team", Member: alice}, want: "group.member-removed"},
		{name: "remove no member", do: ledger.RemoveMember{Group: "team", Member: alice}, strict: refused(ledger.CodeAbsent)},
		{name: "remove member of no group", do: ledger.RemoveMember{Group: "nobody", Member: alice}, want: refused(ledger.CodeUnknownGroup)},
		{name: "add a group", do: ledger.AddMember{Group: "dept", Member: team}, want: "group.parent-set"},
		{name: "remove a group", after: cmds(ledger.SetParent{Group: "team", Parent: "dept"}), do: ledger.RemoveMember{Group: "dept", Member: team}, want: "group.parent-unset"},
		{name: "set parent", do: ledger.SetParent{Group: "team", Parent: "dept"}, want: "group.parent-set"},
		{name: "set parent twice", after: cmds(ledger.SetParent{Group: "team", Parent: "dept"}), do: ledger.SetParent{Group: "team", Parent: "dept"}, strict: refused(ledger.CodeAlready)},
		{name: "set no parent", do: ledger.SetParent{Group: "team", Parent: "nobody"}, want: refused(ledger.CodeUnknownGroup)},
		{name: "set parent in a circle", after: cmds(ledger.SetParent{Group: "team", Parent: "dept"}), do: ledger.AddMember{Group: "team", Member: dept}, want: refused(ledger.CodeCycle)},
		{name: "unset parent", after: cmds(ledger.SetParent{Group: "team", Parent: "dept"}), do: ledger.UnsetParent{Group: "team", Parent: "dept"}, want: "group.parent-unset"},
		{name: "unset no parent", do: ledger.UnsetParent{Group: "team", Parent: "dept"}, strict: refused(ledger.CodeAbsent)},
		{name: "a broken circle", after: cmds(ledger.SetParent{Group: "team", Parent: "dept"}, ledger.UnsetParent{Group: "team", Parent: "dept"}), do: ledger.SetParent{Group: "dept", Parent: "team"}, want: "group.parent-set"},

		{name: "assign role", do: aliceViews, want: "role.assigned"},
		{name: "assign role to a group", do: ledger.AssignRole{Principal: team, Role: "viewer"}, want: "role.assigned"},
		{name: "assign role twice", after: cmds(aliceViews), do: aliceViews, strict: refused(ledger.CodeAlready)},
		{name: "assign role on another scope", after: cmds(aliceViews), do: ledger.AssignRole{Principal: alice, Role: "viewer", Scope: events.AnyOf("process")}, want: "role.assigned"},
		{name: "assign role on no type", do: ledger.AssignRole{Principal: alice, Role: "viewer", Scope: events.AnyOf("nothing")}, want: refused(ledger.CodeUnknownType)},
		{name: "assign no role", do: ledger.AssignRole{Principal: alice, Role: "nobody"}, want: refused(ledger.CodeUnknownRole)},
		{name: "assign role to no group", do: ledger.AssignRole{Principal: events.Group("nobody").Principal(), Role: "viewer"}, want: refused(ledger.CodeUnknownGroup)},
		{name: "unassign role", after: cmds(aliceViews), do: ledger.UnassignRole(aliceViews), want: "role.unassigned"},
		{name: "unassign what is not assigned", do: ledger.UnassignRole(aliceViews), strict: refused(ledger.CodeAbsent)},
		{name: "unassign on another scope", after: cmds(aliceViews), do: ledger.UnassignRole{Principal: alice, Role: "viewer", Scope: events.AnyOf("process")}, strict: refused(ledger.CodeAbsent)},
		{name: "unassign on no type", do: ledger.UnassignRole{Principal: alice, Role: "viewer", Scope: events.AnyOf("nothing")}, want: refused(ledger.CodeUnknownType)},
		{name: "unassign no role", do: ledger.UnassignRole{Principal: alice, Role: "nobody"}, want: refused(ledger.CodeUnknownRole)},

		{name: "grant", do: aliceReads, want: "permission.granted"},
		{name: "grant by API id", do: ledger.Grant{Principal: bot, Right: may("read:*", "operate")}, want: "permission.granted"},
		{name: "grant by slug", do: ledger.Grant{Principal: bot, Right: may("operate.read-all", "operate-api")}, want: "permission.granted"},
		{name: "grant twice, once by slug", after: cmds(aliceReads), do: ledger.Grant{Principal: alice, Right: may("operate.read-all", "operate")}, strict: refused(ledger.CodeAlready)},
		{name: "grant on a resource", do: aliceReadsOne, want: "permission.granted"},
		{name: "grant on all of a type", do: ledger.Grant{Principal: alice, Right: on("read:*", events.AnyOf("process"))}, want: "permission.granted"},
		{name: "grant on a property", do: ledger.Grant{Principal: alice, Right: on("read:*", events.WithProperty("task", "assignee"))}, want: "permission.granted"},
		{name: "grant to no group", do: ledger.Grant{Principal: events.Group("nobody").Principal(), Right: may("read:*", "operate")}, want: refused(ledger.CodeUnknownGroup)},
		{name: "grant in no API", do: ledger.Grant{Principal: alice, Right: may("read:*", "nowhere")}, want: refused(ledger.CodeUnknownAPI)},
		{name: "grant no permission", do: ledger.Grant{Principal: alice, Right: may("fly", "operate")}, want: refused(ledger.CodeUnknownPermission)},
		{name: "grant on no type", do: ledger.Grant{Principal: alice, Right: on("read:*", events.AnyOf("nothing"))}, want: refused(ledger.CodeUnknownType)},
		{name: "grant on a type of another API", do: ledger.Grant{Principal: alice, Right: ledger.Right{Name: "read:*", Audience: "flow", Scope: events.AnyOf("process")}}, want: refused(ledger.CodeOtherAPI)},
		{name: "grant on a type of its API by id", do: ledger.Grant{Principal: alice, Right: ledger.Right{Name: "read:*", Audience: "operate", Scope: events.AnyOf("process")}}, want: "permission.granted"},
		{name: "grant on a type of its API", do: ledger.Grant{Principal: alice, Right: ledger.Right{Name: "read:*", Audience: "operate-api", Scope: events.AnyOf("process")}}, want: "permission.granted"},
		{name: "grant what the type does not take", do: ledger.Grant{Principal: alice, Right: on("write:*", events.AnyOf("process"))}, want: refused(ledger.CodeNotOnType)},
		{name: "grant on a form the type does not take", do: ledger.Grant{Principal: alice, Right: on("read:*", events.WithProperty("process", "x"))}, want: refused(ledger.CodeWrongScope)},
		{name: "grant on a form the permission does not take", do: ledger.Grant{Principal: alice, Right: on("write:*", events.Exactly("task", "t"))}, want: refused(ledger.CodeWrongScope)},
		{name: "grant on a property the type has not", do: ledger.Grant{Principal: alice, Right: on("read:*", events.WithProperty("task", "owner"))}, want: refused(ledger.CodeWrongScope)},
		{name: "grant what several APIs have", do: ledger.Grant{Principal: alice, Right: may("Access", "shared")}, want: refused(ledger.CodeAmbiguous)},
		{name: "grant what one of several APIs has", do: ledger.Grant{Principal: alice, Right: may("Only", "shared")}, want: "permission.granted"},

		{name: "revoke", after: cmds(aliceReads), do: ledger.Revoke(aliceReads), want: "permission.revoked"},
		{name: "revoke by slug", after: cmds(aliceReads), do: ledger.Revoke{Principal: alice, Right: may("operate.read-all", "operate")}, want: "permission.revoked"},
		{name: "revoke leaves other scopes", after: cmds(aliceReadsOne), do: ledger.Revoke(aliceReads), strict: refused(ledger.CodeAbsent)},
		{name: "revoke twice", after: cmds(aliceReads, ledger.Revoke(aliceReads)), do: ledger.Revoke(aliceReads), strict: refused(ledger.CodeAbsent)},
		{name: "revoke no permission", do: ledger.Revoke{Principal: alice, Right: may("fly", "operate")}, want: refused(ledger.CodeUnknownPermission)},
		{name: "revoke in no API", do: ledger.Revoke{Principal: alice, Right: may("read:*", "nowhere")}, want: refused(ledger.CodeUnknownAPI)},
		{name: "revoke the one held of several", after: cmds(ledger.Grant{Principal: alice, Right: may("Access", "flow2")}), do: ledger.Revoke{Principal: alice, Right: may("Access", "shared")}, want: "permission.revoked"},
		{name: "revoke one of two held", after: cmds(ledger.Grant{Principal: alice, Right: may("Access", "flow2")}, ledger.Grant{Principal: alice, Right: may("Access", "flow")}), do: ledger.Revoke{Principal: alice, Right: may("Access", "shared")}, want: refused(ledger.CodeAmbiguous)},

		{name: "delete user", after: cmds(aliceReads), do: ledger.DeletePrincipal{Principal: alice}, want: "principal.deleted"},
		{name: "delete user who holds nothing", do: ledger.DeletePrincipal{Principal: alice}, strict: refused(ledger.CodeAbsent)},
		{name: "delete user twice", after: cmds(aliceReads, ledger.DeletePrincipal{Principal: alice}), do: ledger.DeletePrincipal{Principal: alice}, strict: refused(ledger.CodeAbsent)},
		{name: "delete a role as principal", do: ledger.DeletePrincipal{Principal: viewer}, want: "role.deleted"},
		{name: "delete a group as principal", do: ledger.DeletePrincipal{Principal: team}, want: "group.deleted"},
		{name: "a deleted user has nothing to revoke", after: cmds(aliceReads, ledger.DeletePrincipal{Principal: alice}), do: ledger.Revoke(aliceReads), strict: refused(ledger.CodeAbsent)},
		{name: "a role made again holds nothing", after: cmds(viewerRight, ledger.DeleteRole{Role: "viewer"}, ledger.CreateRole{Role: "viewer"}), do: viewerRight, want: "role.permission-added"},

		{name: "define API", do: ledger.DefineAPI{API: "new", Def: events.APIDefinition{Audience: "a"}}, want: "api.defined"},
		{name: "define API as it is", do: operate, strict: refused(ledger.CodeAlready)},
		{name: "define API anew", do: ledger.DefineAPI{API: "operate", Def: events.APIDefinition{Audience: "a"}}, want: "api.defined"},
		{name: "define permission", do: ledger.DefinePermission{Permission: perm("flow", "new")}, want: "permission.defined"},
		{name: "define a permission with empty lists", do: ledger.DefinePermission{Permission: perm("flow", "new"), Def: events.PermissionDefinition{Effects: []events.Effect{}, RequiresAnyOf: [][]events.Permission{}}}, want: "permission.defined"},
		{name: "define a type with empty lists", do: ledger.DefineResourceType{Type: "new", Def: events.ResourceTypeDefinition{API: "flow", Scopes: []string{}, Properties: []string{}}}, want: "resource-type.defined"},
		{name: "define permission as it is", do: readAll, strict: refused(ledger.CodeAlready)},
		{name: "define permission with empty lists", do: ledger.DefinePermission{Permission: perm("flow", "Access"), Def: events.PermissionDefinition{Effects: []events.Effect{}}}, strict: refused(ledger.CodeAlready)},
		{name: "define permission anew", do: ledger.DefinePermission{Permission: perm("operate", "read:*")}, want: "permission.defined"},
		{name: "define permission of no API", do: ledger.DefinePermission{Permission: perm("nowhere", "x")}, want: refused(ledger.CodeUnknownAPI)},
		{name: "define permission with prerequisite", do: ledger.DefinePermission{Permission: perm("flow", "More"), Def: events.PermissionDefinition{RequiresAnyOf: [][]events.Permission{{perm("flow", "Access")}}}}, want: "permission.defined"},
		{name: "define permission with no such prerequisite", do: ledger.DefinePermission{Permission: perm("flow", "More"), Def: events.PermissionDefinition{RequiresAnyOf: [][]events.Permission{{perm("flow", "Nothing")}}}}, want: refused(ledger.CodeUnknownPermission)},
		{name: "define permission with the slug of another", do: ledger.DefinePermission{Permission: perm("operate", "x"), Def: events.PermissionDefinition{ID: "operate.read-all"}}, want: refused(ledger.CodeExists)},
		{name: "define type", do: ledger.DefineResourceType{Type: "new", Def: events.ResourceTypeDefinition{API: "flow"}}, want: "resource-type.defined"},
		{name: "define type as it is", do: process, strict: refused(ledger.CodeAlready)},
		{name: "define type anew", do: ledger.DefineResourceType{Type: "process", Def: events.ResourceTypeDefinition{API: "operate"}}, want: "resource-type.defined"},
		{name: "define type of no API", do: ledger.DefineResourceType{Type: "new", Def: events.ResourceTypeDefinition{API: "nowhere"}}, want: refused(ledger.CodeUnknownAPI)},
		{name: "define type of another API", do: ledger.DefineResourceType{Type: "process", Def: events.ResourceTypeDefinition{API: "flow"}}, want: refused(ledger.CodeOtherAPI)},

		{name: "add administrator", do: ledger.AddAdministrator{Principal: alice}, want: "administrator.added"},
		{name: "add administrator twice", do: ledger.AddAdministrator{Principal: root}, strict: refused(ledger.CodeAlready)},
		{name: "remove administrator", after: cmds(ledger.AddAdministrator{Principal: alice}), do: ledger.RemoveAdministrator{Principal: root}, want: "administrator.removed"},
		{name: "remove the last administrator", do: ledger.RemoveAdministrator{Principal: root}, want: refused(ledger.CodeLastAdministrator)},
		{name: "remove no administrator", do: ledger.RemoveAdministrator{Principal: bob}, strict: refused(ledger.CodeAbsent)},
		{name: "create tenant again", do: ledger.CreateTenant{}, strict: refused(ledger.CodeAlready)},
		{name: "delete the default tenant", do: ledger.DeleteTenant{}, want: refused(ledger.CodeInvalid)},
		{name: "correct no fact", do: ledger.CorrectValidity{Fact: ledger.NewID(), From: day(0)}, want: refused(ledger.CodeUnknownFact)},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.must(basics...)
			for _, c := range row.after {
				r.must(c)
			}
			strict := request(row.do)
			strict.Strict = true
			want := row.strict
			if want == "" {
				want = row.want
			}
			equal(t, "strict, dry", r.outcome(strict, true), want)
			equal(t, "dry", r.outcome(request(row.do), true), row.want)
			equal(t, "done", r.outcome(request(row.do), false), row.want)
		})
	}
}

// outcome gives the events of a request by name, "" for none, or "! code"; it checks that what is said of a
// receipt is so.
func (r *rig) outcome(q ledger.Request, dry bool) string {
	r.t.Helper()
	before := r.Status().Head
	submit := r.Submit
	if dry {
		submit = r.DryRun
	}
	receipt, err := submit(r.t.Context(), q)
	after := r.Status().Head
	recorded := !dry && err == nil && !receipt.Nothing
	if recorded != (after.Revision == before.Revision+1) || !recorded && after != before {
		r.t.Errorf("the head went from %d to %d", before.Revision, after.Revision)
	}
	if err != nil {
		if codeOf(err) == "" {
			r.t.Errorf("no refusal: %v", err)
		}
		return "! " + string(codeOf(err))
	}
	if receipt.Revision != after.Revision || receipt.Nothing != (len(receipt.Recorded) == 0) || receipt.Events != len(receipt.Recorded) {
		r.t.Errorf("the receipt does not fit: %+v", receipt)
	}
	if recorded && (receipt.Hash != after.Hash || receipt.Position+events.Position(receipt.Events)-1 != after.Position) {
		r.t.Errorf("the receipt says %s and %d, the head %+v", receipt.Hash, receipt.Position, after)
	}
	return strings.Join(names(receipt.Recorded), " ")
}

// Commands of one request see what those before them did, and a refused one takes them all back.
func TestCommandsOfOneRequest(t *testing.T) {
	r := newRig(t)
	receipt := r.must(append(slices.Clone(basics),
		ledger.AddRolePermission{Role: "viewer", Right: may("read:*", "operate-api")},
		ledger.AssignRole{Principal: alice, Role: "viewer"},
		ledger.AssignRole{Principal: alice, Role: "viewer"})...)
	equal(t, "events", receipt.Events, len(basics)+2)
	command := receipt.Recorded[0].Command
	for _, e := range receipt.Recorded {
		if e.Command != command || e.Command != receipt.Command {
			t.Errorf("%s is of command %s, the receipt says %s", events.Name(e.Event), e.Command, receipt.Command)
		}
	}
	r.refuses(request(
		ledger.CreateGroup{Group: "late"},
		ledger.AddMember{Group: "late", Member: alice},
		ledger.AddMember{Group: "never", Member: alice}), ledger.CodeUnknownGroup)
	if receipt := r.must(ledger.CreateGroup{Group: "late", Attr: events.Attributes{Name: "free"}}); receipt.Nothing {
		t.Error("the refused request left its group")
	}
}

func TestRefusalsMatchByCode(t *testing.T) {
	r := newRig(t)
	_, err := r.Submit(t.Context(), request(ledger.ChangeRole{Role: "nobody"}))
	if !errors.Is(err, &ledger.Refusal{Code: ledger.CodeUnknownRole}) || errors.Is(err, &ledger.Refusal{Code: ledger.CodeCycle}) {
		t.Errorf("got %v", err)
	}
}

// A permission whose API was retired can be revoked by any audience, as long as one fact is meant.
func TestRevokeWhatWasRetired(t *testing.T) {
	r := newRig(t)
	r.must(ledger.LoadCatalog{Contents: version1()})
	r.must(basics...)
	shelf := ledger.Right{Name: "count", Scope: events.AnyOf("shelf")}
	r.must(ledger.Grant{Principal: alice, Right: may("count", "stock")}, ledger.Grant{Principal: alice, Right: shelf},
		ledger.Grant{Principal: alice, Right: may("Only", "flow2")})
	r.must(ledger.LoadCatalog{Contents: version2()})
	r.refuses(request(ledger.Revoke{Principal: alice, Right: may("count", "flow2")}), ledger.CodeUnknownPermission)
	got := r.must(ledger.Revoke{Principal: alice, Right: may("count", "stock-api")}, ledger.Revoke{Principal: alice, Right: shelf})
	equal(t, "events", names(got.Recorded), []string{"permission.revoked", "permission.revoked"})
	r.refuses(request(ledger.Revoke{Principal: alice, Right: shelf}), ledger.CodeUnknownType)
}

// A deep circle is refused with the way round it.
func TestCycleNamesThePath(t *testing.T) {
	r := newRig(t)
	for _, g := range []events.Group{"a", "b", "c", "d"} {
		r.must(ledger.CreateGroup{Group: g})
	}
	r.must(ledger.SetParent{Group: "a", Parent: "b"}, ledger.SetParent{Group: "b", Parent: "c"}, ledger.SetParent{Group: "a", Parent: "d"})
	_, err := r.Submit(t.Context(), request(ledger.SetParent{Group: "c", Parent: "a"}))
	if codeOf(err) != ledger.CodeCycle || !strings.Contains(err.Error(), "group:c -> group:a -> group:b -> group:c") {
		t.Errorf("got %v", err)
	}
	// One that would start only later is a circle as well.
	future := request(ledger.SetParent{Group: "d", Parent: "a"})
	future.ValidFrom = day(30)
	r.refuses(future, ledger.CodeCycle)
	// One that was to start, and was taken back before it did, is none.
	future.Commands = []ledger.Command{ledger.SetParent{Group: "b", Parent: "d"}}
	r.mustRequest(future)
	r.refuses(request(ledger.SetParent{Group: "d", Parent: "b"}), ledger.CodeCycle)
	r.must(ledger.UnsetParent{Group: "b", Parent: "d"})
	r.must(ledger.SetParent{Group: "d", Parent: "b"})
}

func TestTenants(t *testing.T) {
	r := newRig(t)
	there := request(ledger.CreateTenant{Name: "Other"})
	there.Tenant = "other"
	nowhere := request(ledger.CreateRole{Role: "x"})
	nowhere.Tenant = "other"
	r.refuses(nowhere, ledger.CodeUnknownTenant)
	gone := nowhere
	gone.Commands = []ledger.Command{ledger.DeleteTenant{}}
	r.refuses(gone, ledger.CodeUnknownTenant)
	receipt := r.mustRequest(there)
	equal(t, "tenant", receipt.Recorded[0].Tenant, "other")
	r.mustRequest(nowhere)
	if _, ok := r.views.world.Role(events.DefaultTenant, "x"); ok {
		t.Error("the role is in another tenant too")
	}
	r.mustRequest(gone)
	r.refuses(nowhere, ledger.CodeUnknownTenant)

	// Commands about the ledger are in no tenant, whatever the request says.
	admin := nowhere
	admin.Commands = []ledger.Command{ledger.AddAdministrator{Principal: alice}}
	equal(t, "tenant of an administrator", r.mustRequest(admin).Recorded[0].Tenant, "")
	mixed := request(ledger.AddAdministrator{Principal: bob}, ledger.CreateRole{Role: "y"})
	r.refuses(mixed, ledger.CodeInvalid)
}

// What changes says what was before, what ends says which fact.
func TestEventsSayWhatWasBefore(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	changed := r.must(ledger.ChangeRole{Role: "viewer", Attr: events.Attributes{Name: "Reader"}}).Recorded[0]
	equal(t, "role", changed.Event, events.Event(events.RoleChanged{
		Role: "viewer", Attr: events.Attributes{Name: "Reader"}, Before: events.Attributes{Name: "Viewer"}}))

	api := r.must(ledger.DefineAPI{API: "flow", Def: events.APIDefinition{Audience: "else"}}).Recorded[0].Event.(events.APIDefined)
	equal(t, "API", api.Before, &events.APIDefinition{Audience: "shared"})
	def := r.must(ledger.DefinePermission{Permission: perm("flow", "Access"), Def: events.PermissionDefinition{Category: "c"}}).Recorded[0].Event.(events.PermissionDefined)
	equal(t, "permission", def.Before, &events.PermissionDefinition{})
	typ := r.must(ledger.DefineResourceType{Type: "process", Def: events.ResourceTypeDefinition{API: "operate", Label: "Process"}}).Recorded[0].Event.(events.ResourceTypeDefined)
	equal(t, "type", typ.Before, &process.Def)

	granted := r.must(ledger.Grant{Principal: alice, Right: may("read:*", "operate")}).Recorded[0]
	revoked := r.must(ledger.Revoke{Principal: alice, Right: may("read:*", "operate")}).Recorded[0]
	equal(t, "revoked", revoked.Event, events.Event(events.PermissionRevoked{
		Principal: alice, Permission: perm("operate", "read:*"), Ended: events.Ended{Fact: granted.ID}}))
}
