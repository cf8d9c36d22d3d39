package ledger_test

import (
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// version1 is a small catalog with everything a catalog has.
func version1() ledger.CatalogFile {
	return ledger.CatalogFile{
		Catalog: "shop", Info: events.CatalogInfo{Version: "1", Digest: "d1"},
		APIs: []ledger.APIEntry{
			{API: "till", Def: events.APIDefinition{Audience: "till-api"}},
			{API: "stock", Def: events.APIDefinition{Audience: "stock-api"}},
		},
		Permissions: []ledger.PermissionEntry{
			{Permission: perm("till", "sell"), Def: events.PermissionDefinition{ID: "till.sell", RequiresAnyOf: [][]events.Permission{{perm("till", "open")}}}},
			{Permission: perm("till", "open")},
			{Permission: perm("stock", "count")},
		},
		Types: []ledger.TypeEntry{{Type: "shelf", Def: events.ResourceTypeDefinition{API: "stock", Scopes: []string{"any", "id"}}}},
		Roles: []ledger.RoleEntry{
			{Role: "cashier", Attr: events.Attributes{Name: "Cashier"}, Holds: []ledger.RoleHolding{{Permission: perm("till", "open")}, {Permission: perm("till", "sell")}}},
			{Role: "counter", Holds: []ledger.RoleHolding{{Permission: perm("stock", "count"), Scope: events.AnyOf("shelf")}}},
		},
	}
}

// version2 drops the stock API with its permission, type and role, changes a permission and a role, adds one.
func version2() ledger.CatalogFile {
	return ledger.CatalogFile{
		Catalog: "shop", Info: events.CatalogInfo{Version: "2", Digest: "d2"},
		APIs: []ledger.APIEntry{{API: "till", Def: events.APIDefinition{Audience: "till-api"}}},
		Permissions: []ledger.PermissionEntry{
			{Permission: perm("till", "sell"), Def: events.PermissionDefinition{ID: "till.sell"}},
			{Permission: perm("till", "open")},
			{Permission: perm("till", "refund")},
		},
		Roles: []ledger.RoleEntry{
			{Role: "cashier", Attr: events.Attributes{Name: "Till"}, Holds: []ledger.RoleHolding{{Permission: perm("till", "sell")}, {Permission: perm("till", "refund")}}},
		},
	}
}

func TestLoadCatalog(t *testing.T) {
	r := newRig(t)
	receipt := r.must(ledger.LoadCatalog{Contents: version1()})
	equal(t, "version 1", strings.Join(names(receipt.Recorded), " "), strings.Join([]string{
		"catalog.loaded", "api.defined", "api.defined",
		"permission.defined", "permission.defined", "permission.defined", "resource-type.defined",
		"role.created", "role.permission-added", "role.permission-added", "role.created", "role.permission-added"}, " "))
	equal(t, "role", receipt.Recorded[7].Event, events.Event(events.RoleCreated{Role: "cashier", Catalog: "shop", Attr: events.Attributes{Name: "Cashier"}}))
	if !r.must(ledger.LoadCatalog{Contents: version1()}).Nothing {
		t.Error("loading it again recorded something")
	}
	strict := request(ledger.LoadCatalog{Contents: version1()})
	strict.Strict = true
	r.refuses(strict, ledger.CodeAlready)

	// What was given to a default role by hand stays as long as the version is the same.
	r.must(ledger.AddRolePermission{Role: "cashier", Right: may("count", "stock")})
	if !r.must(ledger.LoadCatalog{Contents: version1()}).Nothing {
		t.Error("loading the same version took what was given by hand")
	}
	// What was taken by hand comes back.
	r.must(ledger.RemoveRolePermission{Role: "cashier", Right: may("open", "till")})
	equal(t, "repaired", names(r.must(ledger.LoadCatalog{Contents: version1()}).Recorded), []string{"catalog.loaded", "role.permission-added"})
}

func TestUpgradeCatalog(t *testing.T) {
	r := newRig(t)
	r.must(ledger.LoadCatalog{Contents: version1()})
	r.must(basics...)
	r.must(ledger.Grant{Principal: alice, Right: may("count", "stock")})
	r.must(ledger.AddRolePermission{Role: "counter", Right: may("read:*", "operate")})
	receipt := r.must(ledger.LoadCatalog{Contents: version2()})
	equal(t, "version 2", names(receipt.Recorded), []string{
		"catalog.loaded", "permission.defined", "permission.defined",
		"role.changed", "role.permission-added", "role.permission-removed", // cashier
		"role.permission-removed", // counter is not in version 2, and keeps what is not of this catalog
		"resource-type.retired", "permission.retired", "api.retired"})
	loaded := receipt.Recorded[0].Event.(events.CatalogLoaded)
	equal(t, "before", loaded.Before, &events.CatalogInfo{Version: "1", Digest: "d1"})
	sell := receipt.Recorded[1].Event.(events.PermissionDefined)
	equal(t, "definition before", sell.Before.RequiresAnyOf, [][]events.Permission{{perm("till", "open")}})
	taken := receipt.Recorded[5].Event.(events.RolePermissionRemoved)
	equal(t, "taken", taken.Permission, perm("till", "open"))
	retired := receipt.Recorded[8].Event.(events.PermissionRetired)
	equal(t, "retired", retired.Permission, perm("stock", "count"))
	if !r.must(ledger.LoadCatalog{Contents: version2()}).Nothing {
		t.Error("loading it again recorded something")
	}
	if _, ok := r.views.world.Role(events.DefaultTenant, "counter"); !ok {
		t.Error("a default role was deleted")
	}

	// Who holds a retired permission can lose it, and nobody can be given it.
	r.refuses(request(ledger.Grant{Principal: bob, Right: may("count", "stock")}), ledger.CodeUnknownAPI)
	equal(t, "revoke", names(r.must(ledger.Revoke{Principal: alice, Right: may("count", "stock")}).Recorded), []string{"permission.revoked"})
	r.refuses(request(ledger.Revoke{Principal: alice, Right: may("count", "stock")}), ledger.CodeUnknownAPI)

	// Back to version 1: everything comes again.
	back := r.must(ledger.LoadCatalog{Contents: version1()})
	for _, want := range []string{"api.defined", "resource-type.defined", "permission.retired", "role.changed"} {
		if !strings.Contains(strings.Join(names(back.Recorded), " "), want) {
			t.Errorf("going back recorded %v, no %s", names(back.Recorded), want)
		}
	}
}

// A catalog upgrade that is dated back ends what it ends at the date it starts what it starts.
func TestUpgradeCatalogDatedBack(t *testing.T) {
	r := newRig(t)
	r.must(ledger.LoadCatalog{Contents: version1()})
	r.setDay(10)
	for _, e := range r.mustRequest(valid(day(5), 0, ledger.LoadCatalog{Contents: version2()})).Recorded {
		at := e.ValidFrom
		if _, _, ends := events.Ends(e.Event); ends || strings.HasSuffix(events.Name(e.Event), ".retired") {
			at = e.End()
		}
		equal(t, events.Name(e.Event), at, day(5))
	}
}

func TestCatalogRefusals(t *testing.T) {
	for _, row := range []struct {
		name   string
		after  []ledger.Command
		change func(*ledger.CatalogFile)
		want   ledger.Code // "": it loads
	}{
		{"API of another", []ledger.Command{ledger.DefineAPI{API: "till", Def: events.APIDefinition{Audience: "other"}}}, nil, ledger.CodeExists},
		{"API of another, the same", []ledger.Command{ledger.DefineAPI{API: "till", Def: events.APIDefinition{Audience: "till-api"}}}, nil, ""},
		{"permission of another", []ledger.Command{
			ledger.DefineAPI{API: "till", Def: events.APIDefinition{Audience: "till-api"}},
			ledger.DefinePermission{Permission: perm("till", "open"), Def: events.PermissionDefinition{Category: "x"}}}, nil, ledger.CodeExists},
		{"slug of another", []ledger.Command{
			ledger.DefineAPI{API: "till", Def: events.APIDefinition{Audience: "till-api"}},
			ledger.DefinePermission{Permission: perm("till", "other"), Def: events.PermissionDefinition{ID: "till.sell"}}}, nil, ledger.CodeExists},
		{"type of another", []ledger.Command{
			ledger.DefineAPI{API: "stock", Def: events.APIDefinition{Audience: "stock-api"}},
			ledger.DefineResourceType{Type: "shelf", Def: events.ResourceTypeDefinition{API: "stock"}}}, nil, ledger.CodeExists},
		{"type of another API", []ledger.Command{operate,
			ledger.DefineResourceType{Type: "shelf", Def: events.ResourceTypeDefinition{API: "operate"}}}, nil, ledger.CodeOtherAPI},
		{"role of another", []ledger.Command{ledger.CreateRole{Role: "cashier"}}, nil, ledger.CodeExists},
		{"role of another, the same", []ledger.Command{ledger.CreateRole{Role: "cashier", Attr: events.Attributes{Name: "Cashier"}}}, nil, ""},
		{"no such API", nil, func(f *ledger.CatalogFile) { f.Permissions[2].Permission.API = "nowhere" }, ledger.CodeUnknownAPI},
		{"no such prerequisite", nil, func(f *ledger.CatalogFile) { f.Permissions[0].Def.RequiresAnyOf[0][0].Name = "nothing" }, ledger.CodeUnknownPermission},
		{"type of no API", nil, func(f *ledger.CatalogFile) { f.Types[0].Def.API = "nowhere" }, ledger.CodeUnknownAPI},
		{"role holds no permission", nil, func(f *ledger.CatalogFile) { f.Roles[0].Holds[0].Permission.Name = "nothing" }, ledger.CodeUnknownPermission},
		{"role holds on no type", nil, func(f *ledger.CatalogFile) { f.Roles[1].Holds[0].Scope = events.AnyOf("nothing") }, ledger.CodeUnknownType},
		{"role holds on a type of another API", nil, func(f *ledger.CatalogFile) { f.Roles[0].Holds[0].Scope = events.AnyOf("shelf") }, ledger.CodeOtherAPI},
		{"role holds what the type does not take", nil, func(f *ledger.CatalogFile) { f.Types[0].Def.Permissions = []events.PermissionName{"x"} }, ledger.CodeNotOnType},
		{"role holds on a form the type does not take", nil, func(f *ledger.CatalogFile) { f.Roles[1].Holds[0].Scope = events.WithProperty("shelf", "mine") }, ledger.CodeWrongScope},
		{"API twice", nil, func(f *ledger.CatalogFile) { f.APIs = append(f.APIs, f.APIs[0]) }, ledger.CodeInvalid},
		{"permission twice", nil, func(f *ledger.CatalogFile) { f.Permissions = append(f.Permissions, f.Permissions[0]) }, ledger.CodeInvalid},
		{"slug twice", nil, func(f *ledger.CatalogFile) { f.Permissions[1].Def.ID = "till.sell" }, ledger.CodeInvalid},
		{"holding twice", nil, func(f *ledger.CatalogFile) { f.Roles[0].Holds = append(f.Roles[0].Holds, f.Roles[0].Holds[0]) }, ""},
		{"no version", nil, func(f *ledger.CatalogFile) { f.Info.Version = "" }, ledger.CodeInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for _, c := range row.after {
				r.must(c)
			}
			file := version1()
			if row.change != nil {
				row.change(&file)
			}
			load := request(ledger.LoadCatalog{Contents: file})
			if row.want != "" {
				r.refuses(load, row.want)
				return
			}
			r.mustRequest(load)
			if !r.mustRequest(load).Nothing {
				t.Error("loading it again recorded something")
			}
		})
	}
}

// A prerequisite or an API that an upgrade retires cannot be relied on by the upgrade.
func TestUpgradeCannotRelyOnWhatItRetires(t *testing.T) {
	r := newRig(t)
	r.must(ledger.LoadCatalog{Contents: version1()})
	file := version2()
	file.Permissions[0].Def.RequiresAnyOf = [][]events.Permission{{perm("stock", "count")}}
	r.refuses(request(ledger.LoadCatalog{Contents: file}), ledger.CodeUnknownPermission)
	file = version2()
	file.Permissions = append(file.Permissions, ledger.PermissionEntry{Permission: perm("stock", "new")})
	r.refuses(request(ledger.LoadCatalog{Contents: file}), ledger.CodeUnknownAPI)
	file = version2()
	file.Roles[0].Holds = append(file.Roles[0].Holds, ledger.RoleHolding{Permission: perm("stock", "count")})
	r.refuses(request(ledger.LoadCatalog{Contents: file}), ledger.CodeUnknownPermission)
}

// A role that was there before the catalog gains permissions and loses none, not even by an upgrade.
func TestCatalogReusesRole(t *testing.T) {
	r := newRig(t)
	r.must(ledger.CreateRole{Role: "cashier", Attr: events.Attributes{Name: "Cashier"}})
	r.must(ledger.LoadCatalog{Contents: version1()})
	file := version2()
	file.Roles[0].Attr.Name = "Cashier"
	equal(t, "upgrade", names(r.must(ledger.LoadCatalog{Contents: file}).Recorded), []string{
		"catalog.loaded", "permission.defined", "permission.defined", "role.permission-added",
		"role.permission-removed", // of counter, which is this catalog's
		"resource-type.retired", "permission.retired", "api.retired"})
	holds := r.views.world.From(events.DefaultTenant, events.Role("cashier").Principal(), events.EdgeGrant)
	equal(t, "holdings", len(holds), 3)
}
