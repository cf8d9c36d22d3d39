package ledger

import (
	"slices"

	"github.com/permledger/permledger/events"
)

// resolve finds the one permission that a right names: among the APIs it may mean, by exact name, or else
// by slug.
func (r Right) resolve(s State, t events.Tenant) (events.Permission, error) {
	apis, err := r.apis(s, t)
	if err != nil {
		return events.Permission{}, err
	}
	byName := func(api events.API) (events.Permission, bool) {
		p := events.Permission{API: api, Name: r.Name}
		_, ok := s.Permission(t, p)
		return p, ok
	}
	bySlug := func(api events.API) (events.Permission, bool) { return s.PermissionByID(t, api, string(r.Name)) }
	for _, find := range []func(events.API) (events.Permission, bool){byName, bySlug} {
		var found []events.Permission
		for _, api := range apis {
			if p, ok := find(api); ok {
				found = append(found, p)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return events.Permission{}, refuse(CodeAmbiguous, "several APIs of %q have permission %q: %q and %q; name the API by its id",
				r.Audience, r.Name, found[0].API, found[1].API)
		}
	}
	return events.Permission{}, refuse(CodeUnknownPermission, "API %q has no permission %q", apis[0], r.Name)
}

// apis lists where the permission may be: with a typed scope in the API of the type, else in those of the
// audience, else in the API of that id.
func (r Right) apis(s State, t events.Tenant) ([]events.API, error) {
	if r.Scope.Kind == events.ScopeNone {
		apis := r.ofAudience(s, t)
		if len(apis) == 0 {
			return nil, refuse(CodeUnknownAPI, "no API has the audience or id %q", r.Audience)
		}
		return apis, nil
	}
	def, ok := s.ResourceType(t, r.Scope.Type)
	switch {
	case !ok:
		return nil, refuse(CodeUnknownType, "no resource type %q", r.Scope.Type)
	case r.Audience != "" && r.Audience != string(def.API) && !slices.Contains(s.APIsOf(t, r.Audience), def.API):
		return nil, refuse(CodeOtherAPI, "resource type %q belongs to API %q, not to %q", r.Scope.Type, def.API, r.Audience)
	}
	return []events.API{def.API}, nil
}

func (r Right) ofAudience(s State, t events.Tenant) []events.API {
	if apis := s.APIsOf(t, r.Audience); len(apis) > 0 {
		return apis
	}
	if _, ok := s.API(t, events.API(r.Audience)); ok {
		return []events.API{events.API(r.Audience)}
	}
	return nil
}

// maybeOf reports whether the right can mean a permission of api. An audience that nobody has any more may
// have been that of an API that was retired.
func (r Right) maybeOf(s State, t events.Tenant, api events.API) bool {
	if r.Audience == "" || r.Audience == string(api) {
		return true
	}
	if apis := r.ofAudience(s, t); len(apis) > 0 {
		return slices.Contains(apis, api)
	}
	_, known := s.API(t, api)
	return !known
}

// takes refuses a permission or a form of scope that the resource type does not take.
func takes(def events.ResourceTypeDefinition, name events.PermissionName, on events.Scope) error {
	if def.Permissions != nil && !slices.Contains(def.Permissions, name) {
		return refuse(CodeNotOnType, "resource type %q does not take permission %q", on.Type, name)
	}
	forms := def.Scopes
	if narrower, ok := def.PermissionScopes[name]; ok {
		forms = narrower
	}
	form := formOf(on)
	switch {
	case forms != nil && !slices.Contains(forms, form):
		return refuse(CodeWrongScope, "permission %q on resource type %q takes a scope of %q, not of %q", name, on.Type, forms, form)
	case on.Kind == events.ScopeProperty && def.Properties != nil && !slices.Contains(def.Properties, on.Value):
		return refuse(CodeWrongScope, "resource type %q has no property %q, only %q", on.Type, on.Value, def.Properties)
	}
	return nil
}

func formOf(on events.Scope) string {
	switch on.Kind {
	case events.ScopeAny:
		return formAny
	case events.ScopeID:
		return formID
	case events.ScopeProperty:
		return formProperty
	case events.ScopeNone:
	}
	return ""
}
