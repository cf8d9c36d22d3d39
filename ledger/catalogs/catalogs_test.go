package catalogs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

func load(t testing.TB, name string) ledger.CatalogFile {
	t.Helper()
	c, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// permissionsOf gives what a catalog says of the permissions of one API.
func permissionsOf(c ledger.CatalogFile, api events.API) map[events.PermissionName]events.PermissionDefinition {
	defs := map[events.PermissionName]events.PermissionDefinition{}
	for _, p := range c.Permissions {
		if p.Permission.API == api {
			defs[p.Permission.Name] = p.Def
		}
	}
	return defs
}

func typeOf(t *testing.T, c ledger.CatalogFile, name events.ResourceType) events.ResourceTypeDefinition {
	t.Helper()
	for _, entry := range c.Types {
		if entry.Type == name {
			return entry.Def
		}
	}
	t.Fatalf("no resource type %s in %s", name, c.Catalog)
	return events.ResourceTypeDefinition{}
}

func roleOf(t *testing.T, c ledger.CatalogFile, name events.Role) ledger.RoleEntry {
	t.Helper()
	for _, entry := range c.Roles {
		if entry.Role == name {
			return entry
		}
	}
	t.Fatalf("no role %s in %s", name, c.Catalog)
	return ledger.RoleEntry{}
}

func TestNames(t *testing.T) {
	want := []string{"camunda-8", "camunda-orchestration-cluster", "flowable-control"}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Error(diff)
	}
	for _, name := range Names() {
		c := load(t, name)
		if string(c.Catalog) != name {
			t.Errorf("%s.json says it is of %s", name, c.Catalog)
		}
		b, err := os.ReadFile(filepath.Join("data", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if sum := fmt.Sprintf("%x", sha256.Sum256(b)); c.Info.Digest != sum {
			t.Errorf("%s has digest %s, its bytes %s", name, c.Info.Digest, sum)
		}
		again, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("%s read as a file differs from the built-in one:\n%s", name, diff)
		}
	}
	for _, name := range []string{"", "camunda", "../data/camunda-8", "camunda-8.json", "README"} {
		if _, err := Load(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("Load(%q): %v, want ErrUnknown", name, err)
		}
	}
}

// Whatever the ledger checks of an entry holds of every built-in one.
func TestEntriesAreValid(t *testing.T) {
	for _, name := range Names() {
		c := load(t, name)
		check := func(what string, err error) {
			if err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		check("catalog", c.Catalog.Check())
		defined := map[events.Permission]bool{}
		for _, p := range c.Permissions {
			check("permission", p.Permission.Check())
			if defined[p.Permission] {
				t.Errorf("%s: %s twice", name, p.Permission)
			}
			defined[p.Permission] = true
		}
		for _, a := range c.APIs {
			check("api", a.API.Check())
		}
		for _, p := range c.Permissions {
			for _, needed := range slices.Concat(p.Def.RequiresAnyOf...) {
				if !defined[needed] {
					t.Errorf("%s: %s requires %s, which is not defined", name, p.Permission, needed)
				}
			}
		}
		for _, typ := range c.Types {
			check("type", typ.Type.Check())
			for _, p := range typ.Def.Permissions {
				if !defined[events.Permission{API: typ.Def.API, Name: p}] {
					t.Errorf("%s: type %s takes %s, which is not defined", name, typ.Type, p)
				}
			}
		}
		for _, r := range c.Roles {
			check("role", r.Role.Check())
			for _, h := range r.Holds {
				check("scope of role "+string(r.Role), h.Scope.Check())
				if !defined[h.Permission] {
					t.Errorf("%s: role %s holds %s, which is not defined", name, r.Role, h.Permission)
				}
			}
		}
	}
}

// The three can be loaded into one tenant: nothing is defined by two of them.
func TestCatalogsShareATenant(t *testing.T) {
	owner := map[string]string{}
	claim := func(catalog, thing string) {
		if other, taken := owner[thing]; taken {
			t.Errorf("%s is in %s and in %s", thing, other, catalog)
		}
		owner[thing] = catalog
	}
	for _, name := range Names() {
		c := load(t, name)
		for _, a := range c.APIs {
			claim(name, "api "+string(a.API))
		}
		for _, typ := range c.Types {
			claim(name, "type "+string(typ.Type))
		}
		for _, r := range c.Roles {
			claim(name, "role "+string(r.Role))
		}
	}
}

func TestCamunda8(t *testing.T) {
	c := load(t, "camunda-8")
	if len(c.APIs) != 9 || len(c.Types) != 2 || len(c.Roles) != 11 {
		t.Errorf("%d APIs, %d types, %d roles; want 9, 2, 11", len(c.APIs), len(c.Types), len(c.Roles))
	}
	// 14 of the document, 5 beside it, and 5 that only the resource types take.
	count := map[string]int{}
	for _, p := range c.Permissions {
		switch {
		case p.Def.InDocument:
			count["document"]++
		case p.Def.Category == "resource":
			count["resource"]++
		default:
			count["beside"]++
		}
	}
	if diff := cmp.Diff(map[string]int{"document": 14, "beside": 5, "resource": 5}, count); diff != "" {
		t.Error(diff)
	}
	wantInfo := events.CatalogInfo{
		Title: "Camunda 8 Management Identity permissions", Version: "8.8-next (docs commit 06aec2e28)",
		Document: "camunda-access-management-overview.txt", Digest: c.Info.Digest,
		Edges: []string{
			"permission -> role", "permission -> application", "role -> user", "role -> group", "group -> user",
			"mapping-rule -> role", "mapping-rule -> tenant", "tenant -> user", "tenant -> group", "tenant -> application",
		},
	}
	if diff := cmp.Diff(wantInfo, c.Info); diff != "" {
		t.Error(diff)
	}
	uncontrolled := false
	wantRead := events.PermissionDefinition{
		ID: "operate.read-all", Category: "read",
		Description:   "Read the Operate UI. Reading through the API is not gated by any permission.",
		RequiresBasis: "none", InDocument: true,
		Effects: []events.Effect{{Surface: "ui", Access: "read"}, {Surface: "api", Access: "read", Controlled: &uncontrolled}},
	}
	if diff := cmp.Diff(wantRead, permissionsOf(c, "operate")["read:*"]); diff != "" {
		t.Error(diff)
	}
	// Resource authorizations are managed in Identity, under names of their own: Read is not read.
	wantProcess := events.ResourceTypeDefinition{
		API: "identity", Scopes: []string{"any", "id"},
		Permissions: []events.PermissionName{"Read", "Delete", "Update process instance", "Delete process instance", "Start process instance"},
	}
	if diff := cmp.Diff(wantProcess, typeOf(t, c, "Process")); diff != "" {
		t.Error(diff)
	}
	identity := permissionsOf(c, "identity")
	if diff := cmp.Diff(events.PermissionDefinition{Category: "resource"}, identity["Read"]); diff != "" {
		t.Error(diff)
	}
	if identity["read"].ID != "identity.read" {
		t.Errorf("read of identity is %+v", identity["read"])
	}
	wantRole := ledger.RoleEntry{
		Role: "optimize", Attr: events.Attributes{Name: "Optimize", Description: "Full access to Optimize plus the user list."},
		Holds: []ledger.RoleHolding{
			{Permission: events.Permission{API: "optimize", Name: "write:*"}},
			{Permission: events.Permission{API: "identity", Name: "read:users"}},
		},
	}
	if diff := cmp.Diff(wantRole, roleOf(t, c, "optimize")); diff != "" {
		t.Error(diff)
	}
	if r := roleOf(t, c, "default-user-role"); len(r.Holds) != 0 {
		t.Errorf("the default user role holds %v", r.Holds)
	}
}

func TestOrchestrationCluster(t *testing.T) {
	c := load(t, "camunda-orchestration-cluster")
	pairs := 0
	for _, typ := range c.Types {
		pairs += len(typ.Def.Permissions)
		if typ.Def.API != "orchestration-cluster" {
			t.Errorf("%s is of %s", typ.Type, typ.Def.API)
		}
	}
	if len(c.APIs) != 1 || len(c.Types) != 23 || pairs != 91 || len(c.Permissions) != 47 || len(c.Roles) != 6 {
		t.Errorf("%d API, %d types, %d pairs, %d permissions, %d roles; want 1, 23, 91, 47, 6",
			len(c.APIs), len(c.Types), pairs, len(c.Permissions), len(c.Roles))
	}
	defs := permissionsOf(c, "orchestration-cluster")
	for name, since := range map[events.PermissionName]string{
		"READ":                     "8.8", // on most types; AUDIT_LOG:READ came with 8.9, SECRET:READ with 8.10
		"CLAIM_USER_TASK":          "8.9",
		"SUSPEND_PROCESS_INSTANCE": "8.10",
	} {
		if diff := cmp.Diff(events.PermissionDefinition{RequiresBasis: "none", Since: since}, defs[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name := range defs {
		if strings.Contains(string(name), ":") {
			t.Errorf("%s is still a pair", name)
		}
	}
	for name, want := range map[events.ResourceType]events.ResourceTypeDefinition{
		"AUDIT_LOG": { // its ids are categories
			API: "orchestration-cluster", Label: "Audit Log", Since: "8.9",
			Permissions: []events.PermissionName{"READ"}, Scopes: []string{"any", "id"},
		},
		"RESOURCE": { // creating is about no resource that exists
			API: "orchestration-cluster", Label: "Resource", Since: "8.8",
			Permissions:      []events.PermissionName{"CREATE", "READ", "DELETE_DRD", "DELETE_FORM", "DELETE_PROCESS", "DELETE_RESOURCE"},
			Scopes:           []string{"any", "id"},
			PermissionScopes: map[events.PermissionName][]string{"CREATE": {"any"}},
		},
		"SYSTEM": {
			API: "orchestration-cluster", Label: "System", Since: "8.8",
			Permissions: []events.PermissionName{"READ", "READ_USAGE_METRIC", "READ_JOB_METRIC", "UPDATE"}, Scopes: []string{"any"},
		},
		"USER_TASK": {
			API: "orchestration-cluster", Label: "User Task", Since: "8.9",
			Permissions: []events.PermissionName{"READ", "UPDATE", "CLAIM", "COMPLETE"}, Scopes: []string{"any", "property"},
			Properties: []string{"assignee", "candidateUsers", "candidateGroups"},
		},
	} {
		if diff := cmp.Diff(want, typeOf(t, c, name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// The admin role holds every pair on any of its type.
	admin := map[ledger.RoleHolding]bool{}
	for _, h := range roleOf(t, c, "admin").Holds {
		admin[h] = true
	}
	for _, typ := range c.Types {
		for _, p := range typ.Def.Permissions {
			h := ledger.RoleHolding{Permission: events.Permission{API: "orchestration-cluster", Name: p}, Scope: events.AnyOf(typ.Type)}
			if !admin[h] {
				t.Errorf("admin does not hold %s on %s", p, h.Scope)
			}
		}
	}
	if len(admin) != 91 {
		t.Errorf("admin holds %d, want 91", len(admin))
	}
	var wantWorker []ledger.RoleHolding
	for _, property := range []string{"assignee", "candidateUsers", "candidateGroups"} {
		for _, p := range []events.PermissionName{"READ", "CLAIM", "COMPLETE"} {
			wantWorker = append(wantWorker, ledger.RoleHolding{
				Permission: events.Permission{API: "orchestration-cluster", Name: p}, Scope: events.WithProperty("USER_TASK", property),
			})
		}
	}
	if diff := cmp.Diff(wantWorker, roleOf(t, c, "task-worker").Holds); diff != "" {
		t.Error(diff)
	}
	if c.Info.Document != "" || c.Info.Edges != nil {
		t.Errorf("info %+v has a document or edges", c.Info)
	}
}

func TestFlowableControl(t *testing.T) {
	c := load(t, "flowable-control")
	defs := permissionsOf(c, "flowable-control")
	basis, category := map[string]int{}, map[events.PermissionName]string{}
	for name, def := range defs {
		if def.InDocument {
			basis[def.RequiresBasis]++
		}
		category[name] = def.Category
	}
	if diff := cmp.Diff(map[string]int{"stated": 5, "derived": 30, "none": 26}, basis); diff != "" {
		t.Error(diff)
	}
	right := func(name events.PermissionName) events.Permission {
		return events.Permission{API: "flowable-control", Name: name}
	}
	for name, want := range map[events.PermissionName][][]events.Permission{
		"Modify instance": {{right("Access cases"), right("Access processes")}},               // either of them
		"Delete instance": {{right("Access cases"), right("Access processes")}},               //
		"Add cluster":     {{right("Access control cluster")}},                                //
		"Assign roles":    {{right("Access control roles")}, {right("Access control users")}}, // both of them
		"Access cases":    nil,
	} {
		if diff := cmp.Diff(want, defs[name].RequiresAnyOf); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, def := range defs {
		switch def.Category {
		case "Administration", "Destructive":
			// "always require an additional Access permission": a group that nothing else can meet.
			if !slices.ContainsFunc(def.RequiresAnyOf, func(group []events.Permission) bool {
				return !slices.ContainsFunc(group, func(p events.Permission) bool { return category[p.Name] != "Access" })
			}) {
				t.Errorf("%s requires %v, no Access permission", name, def.RequiresAnyOf)
			}
		case "Control": // "the Control permissions rely on each other"
			for _, p := range slices.Concat(def.RequiresAnyOf...) {
				if category[p.Name] != "Control" {
					t.Errorf("%s requires %s of category %s", name, p.Name, category[p.Name])
				}
			}
		case "Access", "resource":
			if def.RequiresAnyOf != nil {
				t.Errorf("%s requires %v", name, def.RequiresAnyOf)
			}
		default:
			t.Errorf("%s is of category %q", name, def.Category)
		}
	}
	want := events.ResourceTypeDefinition{
		API: "flowable-control", Permissions: []events.PermissionName{"ACCESS"}, Scopes: []string{"any", "id"},
	}
	if diff := cmp.Diff(want, typeOf(t, c, "CLUSTER")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(events.PermissionDefinition{Category: "resource"}, defs["ACCESS"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"permission -> role", "role -> user"}, c.Info.Edges); diff != "" {
		t.Error(diff)
	}
	if len(c.Roles) != 0 || len(defs) != 62 {
		t.Errorf("%d roles and %d permissions, want none and 62", len(c.Roles), len(defs))
	}
}

func TestEarlier(t *testing.T) {
	for _, tt := range []struct{ v, w, want string }{
		{"8.8", "8.9", "8.8"}, {"8.10", "8.9", "8.9"}, {"8", "8.1", "8"}, {"", "8.8", ""}, {"8.8", "", ""}, {"8.8", "8.8", "8.8"}, {"8.x", "8.y", "8.x"},
	} {
		if got := earlier(tt.v, tt.w); got != tt.want {
			t.Errorf("the earlier of %q and %q is %q", tt.v, tt.w, got)
		}
	}
}
