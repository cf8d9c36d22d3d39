package catalogs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// small is a catalog with one of everything: an API with plain permissions, and one that lists pairs.
const small = `{
 "catalog_format": 1, "system": "shop", "version": "1", "title": "Shop", "document": null,
 "notes": "members that are not read may be of any shape", "migration": [{"from": 7}],
 "apis": [
  {"id": "shop", "name": "Shop API", "audience": "shop-api", "component": "Shop", "in_document": true, "permissions": [
   {"id": "shop.see", "name": "see", "category": "read", "requires_any_of": [], "requires_basis": "none", "price": 3},
   {"id": "shop.buy", "name": "buy:*", "description": "Buy.", "requires_any_of": [["shop.see"]], "requires_basis": "stated",
    "effects": [{"surface": "ui", "access": "write", "scope": "cart", "controlled": true}], "since": "2", "until": "3", "in_document": true}]},
  {"id": "stock", "name": "Stock API", "audience": "stock-api", "permissions": [
   {"id": "bin.read", "name": "BIN:READ", "since": "2.10"},
   {"id": "shelf.read", "name": "SHELF:READ", "since": "2.9", "in_document": true},
   {"id": "shelf.fill", "name": "SHELF:FILL"}]}],
 "resource_types": [
  {"type": "Order", "permission_types": ["see", "Cancel"], "id_forms": ["*", "exact-id"]},
  {"type": "BIN", "api": "stock", "permission_types": ["READ"], "id_forms": ["*", "property"], "example_ids": ["*", "owner"]},
  {"type": "SHELF", "api": "stock", "label": "Shelf", "permission_types": ["READ", "FILL"], "id_forms": ["*", "exact-id"],
   "permission_id_forms": {"FILL": ["*"]}, "since": "2", "example_ids": ["s1"], "in_document": true}],
 "default_roles": [
  {"id": "clerk", "name": "Clerk", "description": "Sells.", "permissions": ["shop.see", "shop.buy"], "authorizations": [
   {"resource_type": "Order", "resource_matcher": "ID", "resource_id": "42", "permission_types": ["Cancel"]},
   {"resource_type": "SHELF", "resource_matcher": "ANY", "resource_id": "*", "permission_types": ["READ", "FILL"]},
   {"resource_type": "BIN", "resource_matcher": "PROPERTY", "resource_property_name": "owner", "permission_types": ["READ"]}]}],
 "grant_edges": [{"from": "permission", "to": "role"}]
}`

func TestRead(t *testing.T) {
	got, err := Read(strings.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	see, buy := events.Permission{API: "shop", Name: "see"}, events.Permission{API: "shop", Name: "buy:*"}
	read, fill := events.Permission{API: "stock", Name: "READ"}, events.Permission{API: "stock", Name: "FILL"}
	cancel, yes := events.Permission{API: "shop", Name: "Cancel"}, true
	want := ledger.CatalogFile{
		Catalog: "shop",
		Info:    events.CatalogInfo{Title: "Shop", Version: "1", Digest: got.Info.Digest, Edges: []string{"permission -> role"}},
		APIs: []ledger.APIEntry{
			{API: "shop", Def: events.APIDefinition{Name: "Shop API", Audience: "shop-api", Component: "Shop", InDocument: true}},
			{API: "stock", Def: events.APIDefinition{Name: "Stock API", Audience: "stock-api"}},
		},
		Permissions: []ledger.PermissionEntry{
			{Permission: see, Def: events.PermissionDefinition{ID: "shop.see", Category: "read", RequiresBasis: "none"}},
			{Permission: buy, Def: events.PermissionDefinition{
				ID: "shop.buy", Description: "Buy.", RequiresAnyOf: [][]events.Permission{{see}}, RequiresBasis: "stated",
				Effects: []events.Effect{{Surface: "ui", Access: "write", Scope: "cart", Controlled: &yes}},
				Since:   "2", Until: "3", InDocument: true,
			}},
			{Permission: read, Def: events.PermissionDefinition{Since: "2.9", InDocument: true}}, // of two pairs
			{Permission: fill},
			{Permission: cancel, Def: events.PermissionDefinition{Category: "resource"}}, // only the type names it
		},
		Types: []ledger.TypeEntry{
			{Type: "Order", Def: events.ResourceTypeDefinition{
				API: "shop", Permissions: []events.PermissionName{"see", "Cancel"}, Scopes: []string{"any", "id"},
			}},
			{Type: "BIN", Def: events.ResourceTypeDefinition{
				API: "stock", Permissions: []events.PermissionName{"READ"}, Scopes: []string{"any", "property"}, Properties: []string{"owner"},
			}},
			{Type: "SHELF", Def: events.ResourceTypeDefinition{
				API: "stock", Label: "Shelf", Permissions: []events.PermissionName{"READ", "FILL"}, Scopes: []string{"any", "id"},
				PermissionScopes: map[events.PermissionName][]string{"FILL": {"any"}}, Since: "2", InDocument: true,
			}},
		},
		Roles: []ledger.RoleEntry{{
			Role: "clerk", Attr: events.Attributes{Name: "Clerk", Description: "Sells."},
			Holds: []ledger.RoleHolding{
				{Permission: see}, {Permission: buy},
				{Permission: cancel, Scope: events.Exactly("Order", "42")},
				{Permission: read, Scope: events.AnyOf("SHELF")}, {Permission: fill, Scope: events.AnyOf("SHELF")},
				{Permission: read, Scope: events.WithProperty("BIN", "owner")},
			},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

type wrongFile struct {
	old, new string // the change to small that makes it wrong; "" old: new is the file
	field    string // that the error names
	rule     string // part of what the error says of it
}

func (w wrongFile) file() string {
	if w.old == "" {
		return w.new
	}
	return strings.Replace(small, w.old, w.new, 1)
}

var wrong = []wrongFile{
	// What is no catalog file.
	{"", "", "catalog", "must be JSON"},
	{"", small[:len(small)/2], "catalog", "must be JSON"},
	{"", small + "{}", "catalog", "must be JSON"},
	{"", "[]", "catalog", "must be an object"},
	{"", `"shop"`, "catalog", "must be an object"},
	{"", "null", "catalog_format", "must be 1"},
	{"", "{}", "catalog_format", "must be 1"},
	{"shop-api", "shop\xff", "catalog", "UTF-8"},
	{`"catalog_format": 1`, `"catalog_format": 2`, "catalog_format", "must be 1"},
	{`"catalog_format": 1`, `"catalog_format": "1"`, "catalog_format", "must be a whole number (line 2)"},
	{`"catalog_format": 1`, `"catalog_format": 1.5`, "catalog_format", "must be a whole number"},

	// The catalog itself.
	{`"system": "shop"`, `"name": "shop"`, "system", "must not be empty"},
	{`"system": "shop"`, `"system": "a\u0000b"`, "system", "control"},
	{`"version": "1"`, `"version": ""`, "version", "must not be empty"},
	{`"version": "1"`, `"version": 1`, "version", "must be a string"},
	{`"title": "Shop"`, `"title": "\u202eShop"`, "title", "bidirectional"},
	{`"title": "Shop"`, `"title": "` + strings.Repeat("t", maxText+1) + `"`, "title", "at most"},
	{`"from": "permission"`, `"from": "` + strings.Repeat("f", 255) + `"`, "grant_edges[0]", "at most"},
	{`"from": "permission"`, `"from": ""`, "grant_edges[0].from", "must not be empty"},
	{`"grant_edges": [`, `"grant_edges": [7, `, "grant_edges", "must be an object"},

	// APIs.
	{"", `{"catalog_format": 1, "system": "a", "version": "1"}`, "apis", "at least one"},
	{`"apis": [`, `"apis": [[], `, "apis", "must be an object"},
	{`"id": "stock"`, `"id": "shop"`, "apis[1].id", "before"},
	{`"id": "stock"`, `"id": ""`, "apis[1].id", "must not be empty"},
	{`"name": "Stock API"`, `"name": null`, "apis[1].name", "must not be empty"},
	{`"audience": "shop-api"`, `"aud": "shop-api"`, "apis[0].audience", "must not be empty"},
	{`"component": "Shop"`, `"component": []`, "apis.component", "must be a string"},
	{`"in_document": true`, `"in_document": "yes"`, "apis.in_document", "must be true or false"},

	// Permissions.
	{`"name": "see"`, `"name": ""`, "apis[0].permissions[0].name", "must not be empty"},
	{`"name": "see"`, `"name": "` + strings.Repeat("s", 257) + `"`, "apis[0].permissions[0].name", "at most 256 bytes"},
	{`"name": "see"`, `"name": 7`, "apis.permissions.name", "must be a string (line 6)"},
	{`"name": "buy:*"`, `"name": "see"`, "apis[0].permissions[1].name", "before"},
	{`"id": "shop.see"`, `"id": ""`, "apis[0].permissions[0].id", "must not be empty"},
	{`"id": "shop.buy"`, `"id": "shop.see"`, "apis[0].permissions[1].id", "before"},
	{`"id": "bin.read"`, `"id": "shop.see"`, "apis[1].permissions[0].id", "before"}, // of another API
	{`"id": "shop.buy"`, `"id": "see"`, "apis[0].permissions[1].id", "name of another permission"},
	{`"id": "shop.buy"`, `"id": "Cancel"`, "apis[0].permissions[1].id", "name of another permission"},
	{`"category": "read"`, `"category": {}`, "apis.permissions.category", "must be a string"},
	{`"description": "Buy."`, `"description": "` + strings.Repeat("d", maxDescription+1) + `"`, "apis[0].permissions[1].description", "at most"},
	{`"requires_basis": "none"`, `"requires_basis": "guessed"`, "apis[0].permissions[0].requires_basis", "stated"},
	{`[["shop.see"]]`, `["shop.see"]`, "apis.permissions.requires_any_of", "must be a list"},
	{`[["shop.see"]]`, `[[]]`, "apis[0].permissions[1].requires_any_of[0]", "at least one"},
	{`[["shop.see"]]`, `[null]`, "apis[0].permissions[1].requires_any_of[0]", "at least one"},
	{`[["shop.see"]]`, `[["shop.see", "shop.sell"]]`, "apis[0].permissions[1].requires_any_of[0][1]", "must be the id"},
	{`[["shop.see"]]`, `[["see"]]`, "apis[0].permissions[1].requires_any_of[0][0]", "must be the id"}, // a name
	{`[["shop.see"]]`, `[["bin.read"]]`, "apis[0].permissions[1].requires_any_of[0][0]", "BIN:READ"},
	{`"surface": "ui"`, `"surface": ""`, "apis[0].permissions[1].effects[0].surface", "must not be empty"},
	{`"controlled": true`, `"controlled": 1`, "apis.permissions.effects.controlled", "must be true or false"},

	// Permissions as pairs.
	{`"BIN:READ"`, `"BIM:READ"`, "apis[1].permissions[0].name", "TYPE:PERMISSION"},
	{`"BIN:READ"`, `"BIN:FILL"`, "apis[1].permissions[0].name", "TYPE:PERMISSION"},
	{`"BIN:READ"`, `"read"`, "apis[1].permissions[0].name", "TYPE:PERMISSION"},
	{`"BIN:READ"`, `"Order:see"`, "apis[1].permissions[0].name", "TYPE:PERMISSION"}, // of another API
	{`"SHELF:FILL"`, `"SHELF:READ"`, "apis[1].permissions[2].name", "before"},
	{`"permission_types": ["READ", "FILL"], "id_forms"`, `"permission_types": ["READ", "FILL", "EMPTY"], "id_forms"`, "resource_types[2].permission_types[2]", "SHELF:EMPTY"},
	{`"name": "SHELF:FILL"`, `"name": "SHELF:FILL", "requires_any_of": [["shop.see"]]`, "apis[1].permissions[2].requires_any_of", "no prerequisites"},

	// Resource types.
	{`"type": "Order"`, `"type": ""`, "resource_types[0].type", "must not be empty"},
	{`"type": "Order"`, `"type": "api"`, "resource_types[0].type", `the word "api"`},
	{`"type": "Order"`, `"type": "Or:der"`, "resource_types[0].type", "':'"},
	{`"type": "BIN"`, `"type": "Order"`, "resource_types[1].type", "before"},
	{`"api": "stock"`, `"api": "store"`, "resource_types[1].api", "id of an API"},
	{`["see", "Cancel"]`, `["see", "see"]`, "resource_types[0].permission_types[1]", "before"},
	{`["see", "Cancel"]`, `["see", ""]`, "resource_types[0].permission_types[1]", "must not be empty"},
	{`["see", "Cancel"]`, `"see"`, "resource_types.permission_types", "must be a list"},
	{`["*", "property"]`, `["*", ""]`, "resource_types[1].id_forms[1]", "must not be empty"},
	{`"example_ids": ["*", "owner"]`, `"example_ids": ["*", "own\ner"]`, "resource_types[1].example_ids[1]", "control"},
	{`{"FILL": ["*"]}`, `{"EMPTY": ["*"]}`, "resource_types[2].permission_id_forms.EMPTY", "permission_types"},
	{`{"FILL": ["*"]}`, `{"FILL": ["property"]}`, "resource_types[2].permission_id_forms.FILL", "id_forms"},
	{`{"FILL": ["*"]}`, `{"FILL": []}`, "resource_types[2].permission_id_forms.FILL", "id_forms"},
	{`{"FILL": ["*"]}`, `["FILL"]`, "resource_types.permission_id_forms", "must be an object"},

	// Default roles.
	{`"id": "clerk"`, `"id": ""`, "default_roles[0].id", "must not be empty"},
	{`"default_roles": [`, `"default_roles": [{"id": "clerk"}, `, "default_roles[1].id", "before"},
	{`["shop.see", "shop.buy"]`, `["shop.see", "shop.sell"]`, "default_roles[0].permissions[1]", "must be the id"},
	{`["shop.see", "shop.buy"]`, `["shop.see", "shop.see"]`, "default_roles[0].permissions[1]", "before"},
	{`["shop.see", "shop.buy"]`, `["shelf.read"]`, "default_roles[0].permissions[0]", "only authorizations"},
	{`"resource_type": "Order"`, `"resource_type": "Ordre"`, "default_roles[0].authorizations[0].resource_type", "resource type of this file"},
	{`"resource_matcher": "ID"`, `"resource_matcher": "any"`, "default_roles[0].authorizations[0].resource_matcher", "ANY, ID or PROPERTY"},
	{`"resource_matcher": "ID", "resource_id": "42"`, `"resource_matcher": "ANY", "resource_id": "42"`, "default_roles[0].authorizations[0].resource_matcher", `"*"`},
	{`"resource_id": "42"`, `"resource_id": "*"`, "default_roles[0].authorizations[0].resource_id", "not a pattern"},
	{`"resource_id": "42"`, `"resource_property_name": "x"`, "default_roles[0].authorizations[0].resource_property_name", "PROPERTY only"},
	{`"resource_id": "42", `, ``, "default_roles[0].authorizations[0].resource_id", "must not be empty"},
	{`"resource_property_name": "owner"`, `"resource_property_name": "maker"`, "default_roles[0].authorizations[2].resource_property_name", "property of the type"},
	{`"resource_property_name": "owner"`, `"resource_id": "owner"`, "default_roles[0].authorizations[2].resource_id", "does not go"},
	{`"permission_types": ["Cancel"]`, `"permission_types": []`, "default_roles[0].authorizations[0].permission_types", "at least one"},
	{`"permission_types": ["Cancel"]`, `"permission_types": ["buy:*"]`, "default_roles[0].authorizations[0].permission_types[0]", "resource type takes"},
	{`"permission_types": ["Cancel"]`, `"permission_types": ["Cancel", "Cancel"]`, "default_roles[0].authorizations[0].permission_types[1]", "before"},
	{`"resource_matcher": "ANY", "resource_id": "*"`, `"resource_matcher": "ID", "resource_id": "s1"`, "default_roles[0].authorizations[1].permission_types[1]", "not taken on id"},
	{`"resource_matcher": "ID", "resource_id": "42"`, `"resource_matcher": "PROPERTY", "resource_property_name": "x"`, "default_roles[0].authorizations[0].permission_types[0]", "not taken on property"},
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range wrong {
		t.Run(fmt.Sprintf("%.40s becomes %.40s", tt.old, tt.new), func(t *testing.T) {
			if tt.file() == small {
				t.Fatalf("%q does not occur", tt.old)
			}
			got, err := Read(strings.NewReader(tt.file()))
			var invalid *events.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("got %v, want an InvalidError", err)
			}
			if invalid.Field != tt.field || !strings.Contains(invalid.Rule, tt.rule) {
				t.Errorf("got %q: %s\nwant %q: …%s…", invalid.Field, invalid.Rule, tt.field, tt.rule)
			}
			if diff := cmp.Diff(ledger.CatalogFile{}, got); diff != "" {
				t.Errorf("with the error came contents:\n%s", diff)
			}
		})
	}
}

// Names that look like pairs are names, unless one of them is a pair.
func TestReadKeepsNamesWithColons(t *testing.T) {
	c, err := Read(strings.NewReader(`{"catalog_format": 1, "system": "hub", "version": "1",
		"apis": [{"id": "hub", "name": "Hub", "audience": "hub", "permissions": [
			{"id": "a", "name": "repo:admin"}, {"id": "b", "name": "gist"}, {"id": "c", "name": "repo:"}]}],
		"resource_types": [{"type": "repo", "permission_types": ["push"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range c.Permissions {
		names = append(names, string(p.Permission.Name))
	}
	if diff := cmp.Diff([]string{"repo:admin", "gist", "repo:", "push"}, names); diff != "" {
		t.Error(diff)
	}
	if def := c.Types[0].Def; def.Scopes != nil || def.Properties != nil {
		t.Errorf("without id_forms the type has %+v, want every form", def)
	}
}

func TestReadBounds(t *testing.T) {
	padding := bytes.Repeat([]byte(" "), MaxBytes-len(small))
	if _, err := Read(io.MultiReader(strings.NewReader(small), bytes.NewReader(padding))); err != nil {
		t.Errorf("a file of the largest size: %v", err)
	}
	if _, err := Read(io.MultiReader(strings.NewReader(small), bytes.NewReader(append(padding, ' ')))); err == nil {
		t.Error("a file that is too large is taken")
	}
	broken := errors.New("cable pulled")
	if _, err := Read(io.MultiReader(strings.NewReader(small), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the reader", err)
	}
}

// FuzzRead: no bytes make it panic, and what it takes is sound.
func FuzzRead(f *testing.F) {
	f.Add([]byte(small))
	for _, tt := range wrong {
		f.Add([]byte(tt.file()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if !json.Valid(b) || c.Catalog.Check() != nil || c.Info.Version == "" || len(c.APIs) == 0 {
			t.Fatalf("took %s as %+v", b, c)
		}
		defined := map[events.Permission]bool{}
		for _, p := range c.Permissions {
			if p.Permission.Check() != nil || defined[p.Permission] {
				t.Fatalf("bad or second permission %s", p.Permission)
			}
			defined[p.Permission] = true
		}
		for _, r := range c.Roles {
			for _, h := range r.Holds {
				if !defined[h.Permission] || h.Scope.Check() != nil {
					t.Fatalf("role %s holds %+v", r.Role, h)
				}
			}
		}
	})
}
