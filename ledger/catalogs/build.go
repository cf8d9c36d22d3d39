package catalogs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// builder turns a file into contents, one section after the other; each checks what it reads and refers only to
// what was read before it.
type builder struct {
	file
	out ledger.CatalogFile

	apis  map[string]bool
	types map[string]int               // by name: index in out.Types, which is the one in file.Types
	used  map[string]bool              // ids of permissions
	ids   map[string]int               // by id: index in out.Permissions
	pairs map[string]string            // by id: the name of a permission that is a pair (see pairs.go)
	names map[events.Permission]string // the place in the file that defines it
	roles map[string]bool
}

func build(f file) (ledger.CatalogFile, error) {
	b := &builder{
		file: f,
		apis: map[string]bool{}, types: map[string]int{}, used: map[string]bool{}, ids: map[string]int{},
		pairs: map[string]string{}, names: map[events.Permission]string{}, roles: map[string]bool{},
	}
	for _, section := range []func() error{
		b.info, b.readAPIs, b.readTypes, b.readPermissions, b.defineOfTypes, b.slugsAreNoNames, b.requirements, b.readRoles,
	} {
		if err := section(); err != nil {
			return ledger.CatalogFile{}, err
		}
	}
	return b.out, nil
}

func (b *builder) info() error {
	b.out.Catalog = events.Catalog(b.System)
	b.out.Info = events.CatalogInfo{Title: b.Title, Version: b.Version, Document: b.Document}
	for i, e := range b.Edges {
		at := fmt.Sprintf("grant_edges[%d]", i)
		rule := e.From + " -> " + e.To
		if err := cmp.Or(events.CheckID(at+".from", e.From), events.CheckID(at+".to", e.To), text(at, rule)); err != nil {
			return err
		}
		b.out.Info.Edges = append(b.out.Info.Edges, rule)
	}
	return cmp.Or(
		events.CheckID("system", b.System),
		events.CheckID("version", b.Version),
		text("title", b.Title),
		text("document", b.Document),
	)
}

func (b *builder) readAPIs() error {
	if len(b.APIs) == 0 {
		return events.Invalid("apis", "", "must have at least one API")
	}
	for i, a := range b.APIs {
		at := fmt.Sprintf("apis[%d]", i)
		if err := cmp.Or(
			events.CheckID(at+".id", a.ID),
			events.CheckID(at+".name", a.Name),
			events.CheckID(at+".audience", a.Audience),
			text(at+".component", a.Component),
			unique(at+".id", a.ID, b.apis),
		); err != nil {
			return err
		}
		b.out.APIs = append(b.out.APIs, ledger.APIEntry{API: events.API(a.ID), Def: events.APIDefinition{
			Name: a.Name, Audience: a.Audience, Component: a.Component, InDocument: a.InDocument,
		}})
	}
	return nil
}

func (b *builder) readTypes() error {
	for i, t := range b.Types {
		at := fmt.Sprintf("resource_types[%d]", i)
		if _, dup := b.types[t.Type]; dup {
			return duplicate(at+".type", t.Type)
		}
		b.types[t.Type] = i
		def, err := b.typeDefinition(at, t)
		if err != nil {
			return err
		}
		b.out.Types = append(b.out.Types, ledger.TypeEntry{Type: events.ResourceType(t.Type), Def: def})
	}
	return nil
}

func (b *builder) typeDefinition(at string, t resType) (events.ResourceTypeDefinition, error) {
	// A type belongs to one API: the one it names, else the first of the file. Management Identity keeps the
	// resource authorizations of Camunda 8 for every component, and its API stands first there; the other
	// catalogs have one API.
	def := events.ResourceTypeDefinition{
		API: b.out.APIs[0].API, Label: t.Label, Since: t.Since, InDocument: t.InDocument,
	}
	for _, name := range t.PermissionTypes {
		def.Permissions = append(def.Permissions, events.PermissionName(name))
	}
	if t.API != "" {
		def.API = events.API(t.API)
	}
	if !b.apis[string(def.API)] {
		return def, events.Invalid(at+".api", t.API, "must be the id of an API of this file")
	}
	err := cmp.Or(
		place(at+".type", events.ResourceType(t.Type).Check()),
		text(at+".label", t.Label),
		text(at+".since", t.Since),
		distinctIDs(at+".permission_types", t.PermissionTypes),
		distinctIDs(at+".example_ids", t.ExampleIDs),
	)
	if err != nil {
		return def, err
	}
	if def.Scopes, err = scopeForms(at+".id_forms", t.IDForms); err != nil {
		return def, err
	}
	if slices.Contains(def.Scopes, "property") {
		for _, id := range t.ExampleIDs { // with a property form the examples are the names there are
			if id != "*" {
				def.Properties = append(def.Properties, id)
			}
		}
	}
	def.PermissionScopes, err = permissionScopes(at+".permission_id_forms", t, def.Scopes)
	return def, err
}

// permissionScopes reads the narrower forms of single permissions.
func permissionScopes(at string, t resType, whole []string) (map[events.PermissionName][]string, error) {
	var scopes map[events.PermissionName][]string
	for _, name := range slices.Sorted(maps.Keys(t.PermissionIDForms)) {
		at, forms := at+"."+name, t.PermissionIDForms[name]
		narrow, err := scopeForms(at, forms)
		switch {
		case err != nil:
			return nil, err
		case !slices.Contains(t.PermissionTypes, name):
			return nil, events.Invalid(at, name, "must be one of the type's permission_types")
		case narrow == nil || whole != nil && slices.ContainsFunc(narrow, func(s string) bool { return !slices.Contains(whole, s) }):
			return nil, events.Invalid(at, fmt.Sprint(forms), "must be some of the type's id_forms")
		}
		if scopes == nil {
			scopes = map[events.PermissionName][]string{}
		}
		scopes[events.PermissionName(name)] = narrow
	}
	return scopes, nil
}

// scopeForms reads the forms of an id as kinds of scope: "*" is any of the type, "property" one property, and
// everything else ("exact-id", "category") one id. No forms: nil, all kinds.
func scopeForms(at string, forms []string) ([]string, error) {
	has := map[string]bool{}
	for i, form := range forms {
		switch form {
		case "*":
			has["any"] = true
		case "property":
			has["property"] = true
		case "":
			return nil, events.Invalid(fmt.Sprintf("%s[%d]", at, i), form, "must not be empty")
		default:
			has["id"] = true
		}
	}
	var scopes []string
	for _, kind := range []string{"any", "id", "property"} {
		if has[kind] {
			scopes = append(scopes, kind)
		}
	}
	return scopes, nil
}

func (b *builder) readPermissions() error {
	for i, a := range b.APIs {
		for j, p := range a.Permissions {
			at := fmt.Sprintf("apis[%d].permissions[%d]", i, j)
			if err := checkPermission(at, p); err != nil {
				return err
			}
			// Ids are unique in the file, because prerequisites name them without an API.
			if err := unique(at+".id", p.ID, b.used); err != nil {
				return err
			}
		}
		read := b.define
		if b.listsPairs(a) {
			read = b.fold
		}
		if err := read(i, a); err != nil {
			return err
		}
	}
	return nil
}

func checkPermission(at string, p permission) error {
	if !slices.Contains([]string{"", "none", "stated", "derived"}, p.RequiresBasis) {
		return events.Invalid(at+".requires_basis", p.RequiresBasis, `must be "stated", "derived" or "none"`)
	}
	for i, e := range p.Effects {
		at := fmt.Sprintf("%s.effects[%d]", at, i)
		if err := cmp.Or(events.CheckID(at+".surface", e.Surface), events.CheckID(at+".access", e.Access), text(at+".scope", e.Scope)); err != nil {
			return err
		}
	}
	return cmp.Or(
		events.CheckID(at+".id", p.ID),
		events.CheckID(at+".name", p.Name),
		text(at+".category", p.Category),
		description(at+".description", p.Description),
		text(at+".since", p.Since),
		text(at+".until", p.Until),
	)
}

// define adds the permissions of the i-th API. Their prerequisites wait until all ids are known.
func (b *builder) define(i int, a api) error {
	for j, p := range a.Permissions {
		at := fmt.Sprintf("apis[%d].permissions[%d]", i, j)
		right := events.Permission{API: events.API(a.ID), Name: events.PermissionName(p.Name)}
		if _, dup := b.names[right]; dup {
			return duplicate(at+".name", p.Name)
		}
		def := events.PermissionDefinition{
			ID: p.ID, Category: p.Category, Description: p.Description, RequiresBasis: p.RequiresBasis,
			Since: p.Since, Until: p.Until, InDocument: p.InDocument,
		}
		for _, e := range p.Effects {
			def.Effects = append(def.Effects, events.Effect{Surface: e.Surface, Access: e.Access, Scope: e.Scope, Controlled: e.Controlled})
		}
		b.ids[p.ID] = b.add(at, right, def)
	}
	return nil
}

// add gives the index of the permission it adds.
func (b *builder) add(at string, right events.Permission, def events.PermissionDefinition) int {
	b.names[right] = at
	b.out.Permissions = append(b.out.Permissions, ledger.PermissionEntry{Permission: right, Def: def})
	return len(b.out.Permissions) - 1
}

// defineOfTypes defines the permission types that no API of the file lists, as permissions of the type's API:
// a grant of one needs a permission to name.
func (b *builder) defineOfTypes() error {
	for i, t := range b.out.Types {
		for j, name := range t.Def.Permissions {
			right := events.Permission{API: t.Def.API, Name: name}
			if _, defined := b.names[right]; !defined {
				at := fmt.Sprintf("resource_types[%d].permission_types[%d]", i, j)
				b.add(at, right, events.PermissionDefinition{Category: "resource"})
			}
		}
	}
	return nil
}

// slugsAreNoNames refuses an id that is the name of another permission of its API: both may be written to mean a
// permission, and nobody should be granted the other one.
func (b *builder) slugsAreNoNames() error {
	for _, p := range b.out.Permissions {
		of := b.names[p.Permission]
		other := events.Permission{API: p.Permission.API, Name: events.PermissionName(p.Def.ID)}
		if at, taken := b.names[other]; taken && at != of {
			return events.Invalid(of+".id", p.Def.ID, "is the name of another permission of this API, "+at)
		}
	}
	return nil
}

func (b *builder) requirements() error {
	for i, a := range b.APIs {
		for j, p := range a.Permissions {
			at := fmt.Sprintf("apis[%d].permissions[%d].requires_any_of", i, j)
			groups, err := b.groups(at, p.RequiresAnyOf)
			if err != nil {
				return err
			}
			switch index, ok := b.ids[p.ID]; {
			case ok:
				b.out.Permissions[index].Def.RequiresAnyOf = groups
			case groups != nil:
				return events.Invalid(at, p.ID, "a permission on a resource type has no prerequisites of its own")
			}
		}
	}
	return nil
}

// groups resolves an AND of groups, of which any one member will do.
func (b *builder) groups(at string, ids [][]string) (groups [][]events.Permission, err error) {
	for i, group := range ids {
		at := fmt.Sprintf("%s[%d]", at, i)
		if len(group) == 0 {
			return nil, events.Invalid(at, "", "must name at least one permission, else nothing can meet it")
		}
		members := make([]events.Permission, len(group))
		for j, id := range group {
			if members[j], err = b.byID(fmt.Sprintf("%s[%d]", at, j), id); err != nil {
				return nil, err
			}
		}
		groups = append(groups, members)
	}
	return groups, nil
}

// byID finds the permission that an id of the file means.
func (b *builder) byID(at, id string) (events.Permission, error) {
	if pair, ok := b.pairs[id]; ok {
		return events.Permission{}, events.Invalid(at, id, "is a permission on a resource type ("+pair+"), which only authorizations can name")
	}
	index, ok := b.ids[id]
	if !ok {
		return events.Permission{}, events.Invalid(at, id, "must be the id of a permission of this file")
	}
	return b.out.Permissions[index].Permission, nil
}
