package ledger

import (
	"cmp"
	"slices"

	"github.com/permledger/permledger/events"
)

func (c DefineAPI) check() error          { return APIEntry(c).check() }
func (c DefinePermission) check() error   { return PermissionEntry(c).check() }
func (c DefineResourceType) check() error { return TypeEntry(c).check() }
func (c LoadCatalog) check() error        { return c.Contents.check() }

func (e APIEntry) check() error {
	return cmp.Or(
		e.API.Check(),
		events.CheckID("audience", e.Def.Audience),
		events.CheckText("name", e.Def.Name, maxName),
		events.CheckText("component", e.Def.Component, maxName),
	)
}

func (e PermissionEntry) check() error {
	err := cmp.Or(
		e.Permission.Check(),
		events.CheckText("category", e.Def.Category, maxName),
		events.CheckText("description", e.Def.Description, maxDescription),
		events.CheckText("requires_basis", e.Def.RequiresBasis, maxName),
		events.CheckText("since", e.Def.Since, maxName),
		events.CheckText("until", e.Def.Until, maxName),
	)
	if err == nil && e.Def.ID != "" {
		err = events.CheckID("permission id", e.Def.ID)
	}
	for _, group := range e.Def.RequiresAnyOf {
		if len(group) == 0 {
			err = cmp.Or(err, events.Invalid("requires_any_of", "[]", "a group without members can never be met"))
		}
		for _, p := range group {
			err = cmp.Or(err, p.Check())
		}
	}
	for _, f := range e.Def.Effects {
		err = cmp.Or(err,
			events.CheckText("surface", f.Surface, maxName),
			events.CheckText("access", f.Access, maxName),
			events.CheckText("scope", f.Scope, maxName),
		)
	}
	return err
}

func (e TypeEntry) check() error {
	err := cmp.Or(
		e.Type.Check(),
		e.Def.API.Check(),
		events.CheckText("label", e.Def.Label, maxName),
		events.CheckText("since", e.Def.Since, maxName),
		checkForms(e.Def.Scopes),
	)
	for _, n := range e.Def.Permissions {
		err = cmp.Or(err, n.Check())
	}
	for _, p := range e.Def.Properties {
		err = cmp.Or(err, events.CheckID("property", p))
	}
	for n, forms := range e.Def.PermissionScopes {
		err = cmp.Or(err, n.Check(), checkForms(forms))
	}
	return err
}

// The forms of a scope on a resource type, as definitions name them.
const (
	formAny      = "any"
	formID       = "id"
	formProperty = "property"
)

func checkForms(forms []string) error {
	for _, f := range forms {
		if f != formAny && f != formID && f != formProperty {
			return events.Invalid("scopes", f, `must be "any", "id" or "property"`)
		}
	}
	return nil
}

func (e RoleEntry) check() error {
	err := cmp.Or(e.Role.Check(), checkAttributes(e.Attr))
	for _, h := range e.Holds {
		err = cmp.Or(err, h.Permission.Check(), h.Scope.Check())
	}
	return err
}

func (f CatalogFile) check() error {
	err := cmp.Or(
		f.Catalog.Check(),
		events.CheckText("title", f.Info.Title, maxName),
		events.CheckID("version", f.Info.Version),
		events.CheckText("document", f.Info.Document, maxName),
		events.CheckID("digest", f.Info.Digest),
	)
	for _, e := range f.Info.Edges {
		err = cmp.Or(err, events.CheckText("edges", e, maxName))
	}
	return cmp.Or(err,
		checkEach("api", f.APIs, func(e APIEntry) string { return string(e.API) }),
		checkEach("permission", f.Permissions, func(e PermissionEntry) string { return e.Permission.String() }),
		checkEach("resource type", f.Types, func(e TypeEntry) string { return string(e.Type) }),
		checkEach("role", f.Roles, func(e RoleEntry) string { return string(e.Role) }),
		checkSlugs(f.Permissions),
	)
}

// checkEach checks the entries of one kind, and that none is there twice.
func checkEach[E interface{ check() error }](kind string, entries []E, name func(E) string) error {
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		if err := e.check(); err != nil {
			return err
		}
		if seen[name(e)] {
			return events.Invalid(kind, name(e), "is in the catalog twice")
		}
		seen[name(e)] = true
	}
	return nil
}

// checkSlugs makes sure that a slug names one permission of an API.
func checkSlugs(entries []PermissionEntry) error {
	ids := make([]events.Permission, 0, len(entries))
	for _, e := range entries {
		if e.Def.ID != "" {
			ids = append(ids, events.Permission{API: e.Permission.API, Name: events.PermissionName(e.Def.ID)})
		}
	}
	slices.SortFunc(ids, events.Permission.Compare)
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			return events.Invalid("permission id", string(ids[i].Name), "is in the catalog twice")
		}
	}
	return nil
}
