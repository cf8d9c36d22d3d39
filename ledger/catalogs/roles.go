package catalogs

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

func (b *builder) readRoles() error {
	for i, r := range b.Roles {
		at := fmt.Sprintf("default_roles[%d]", i)
		if err := cmp.Or(
			events.CheckID(at+".id", r.ID),
			text(at+".name", r.Name),
			description(at+".description", r.Description),
			unique(at+".id", r.ID, b.roles),
		); err != nil {
			return err
		}
		holds, err := b.holdings(at, r)
		if err != nil {
			return err
		}
		b.out.Roles = append(b.out.Roles, ledger.RoleEntry{
			Role: events.Role(r.ID), Attr: events.Attributes{Name: r.Name, Description: r.Description}, Holds: holds,
		})
	}
	return nil
}

// holdings lists what a role holds: permissions about nothing in particular, then authorizations, each a type, a
// scope and the permissions on it.
func (b *builder) holdings(at string, r role) ([]ledger.RoleHolding, error) {
	var holds []ledger.RoleHolding
	seen := map[ledger.RoleHolding]bool{}
	add := func(at, value string, h ledger.RoleHolding) error {
		if seen[h] {
			return duplicate(at, value)
		}
		seen[h], holds = true, append(holds, h)
		return nil
	}
	for j, id := range r.Permissions {
		at := fmt.Sprintf("%s.permissions[%d]", at, j)
		right, err := b.byID(at, id)
		if err != nil {
			return nil, err
		}
		if err := add(at, id, ledger.RoleHolding{Permission: right}); err != nil {
			return nil, err
		}
	}
	for j, a := range r.Authorizations {
		at := fmt.Sprintf("%s.authorizations[%d]", at, j)
		index, known := b.types[a.ResourceType]
		if !known {
			return nil, events.Invalid(at+".resource_type", a.ResourceType, "must be a resource type of this file")
		}
		def := b.out.Types[index].Def
		scope, err := scopeOf(at, a, def)
		if err != nil {
			return nil, err
		}
		if len(a.PermissionTypes) == 0 {
			return nil, events.Invalid(at+".permission_types", "", "must have at least one permission")
		}
		for k, name := range a.PermissionTypes {
			at := fmt.Sprintf("%s.permission_types[%d]", at, k)
			right := events.Permission{API: def.API, Name: events.PermissionName(name)}
			if err := cmp.Or(b.takes(at, right, def, a.Matcher), add(at, name, ledger.RoleHolding{Permission: right, Scope: scope})); err != nil {
				return nil, err
			}
		}
	}
	return holds, nil
}

// kinds gives the kind of scope that a matcher makes.
var kinds = map[string]string{"ANY": "any", "ID": "id", "PROPERTY": "property"}

func scopeOf(at string, a authorization, def events.ResourceTypeDefinition) (events.Scope, error) {
	t := events.ResourceType(a.ResourceType)
	switch a.Matcher {
	case "ANY":
		if a.ResourceID != "" && a.ResourceID != "*" || a.Property != "" {
			return events.Scope{}, events.Invalid(at+".resource_matcher", a.Matcher, `goes with the resource_id "*" or none, and no property`)
		}
		return events.AnyOf(t), nil
	case "ID":
		if a.Property != "" {
			return events.Scope{}, events.Invalid(at+".resource_property_name", a.Property, "goes with the matcher PROPERTY only")
		}
		s := events.Exactly(t, a.ResourceID)
		return s, place(at+".resource_id", s.Check())
	case "PROPERTY":
		if a.ResourceID != "" {
			return events.Scope{}, events.Invalid(at+".resource_id", a.ResourceID, "does not go with the matcher PROPERTY")
		}
		if def.Properties != nil && !slices.Contains(def.Properties, a.Property) {
			return events.Scope{}, events.Invalid(at+".resource_property_name", a.Property, "must be a property of the type")
		}
		s := events.WithProperty(t, a.Property)
		return s, place(at+".resource_property_name", s.Check())
	}
	return events.Scope{}, events.Invalid(at+".resource_matcher", a.Matcher, "must be ANY, ID or PROPERTY")
}

// takes checks that the type takes the permission, and takes it on that kind of scope.
func (b *builder) takes(at string, right events.Permission, def events.ResourceTypeDefinition, matcher string) error {
	scopes := def.Scopes
	if narrower, ok := def.PermissionScopes[right.Name]; ok {
		scopes = narrower
	}
	_, defined := b.names[right]
	switch {
	case !defined || def.Permissions != nil && !slices.Contains(def.Permissions, right.Name):
		return events.Invalid(at, string(right.Name), "must be a permission that the resource type takes")
	case scopes != nil && !slices.Contains(scopes, kinds[matcher]):
		return events.Invalid(at, string(right.Name), fmt.Sprintf("is not taken on %s of the type, only on %v", kinds[matcher], scopes))
	}
	return nil
}
