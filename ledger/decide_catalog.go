package ledger

import (
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
)

// decide brings the tenant to the version of the catalog in the file. What is as the file says gives no
// event, so that loading a version records what it changed, and loading it again records nothing.
func (c LoadCatalog) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("catalog %q", c.Contents.Catalog)
	if err := in.mayDefine(s, what); err != nil {
		return nil, err
	}
	l := newLoad(s, in, c.Contents)
	for _, step := range []func() error{l.apis, l.permissions, l.types, l.roles} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	l.retire()
	before, loaded := s.Catalog(in.tenant, c.Contents.Catalog)
	if loaded && same(before, c.Contents.Info) && len(l.ds) == 0 {
		return in.already(fmt.Sprintf("%s version %s is loaded", what, before.Version))
	}
	e := events.CatalogLoaded{Catalog: c.Contents.Catalog, Info: asStored(c.Contents.Info)}
	if loaded {
		e.Before = &before
	}
	return append([]decision{in.defined(s, e)}, l.ds...), nil
}

// load is one loading of a catalog: what the file defines, and what the catalog defined before.
type load struct {
	s    State
	in   situation
	file CatalogFile
	ds   []decision

	hasAPI        map[events.API]bool // what the file defines …
	hasPermission map[events.Permission]bool
	hasType       map[events.ResourceType]events.ResourceTypeDefinition
	own           CatalogContents // … and what this catalog defined before
	ownAPI        map[events.API]bool
	ownPermission map[events.Permission]bool
	ownType       map[events.ResourceType]bool
	ownRole       map[events.Role]bool
	upgrade       bool // the file is another version than the one loaded
}

func newLoad(s State, in situation, file CatalogFile) *load {
	own := s.CatalogContents(in.tenant, file.Catalog)
	before, loaded := s.Catalog(in.tenant, file.Catalog)
	l := &load{
		s: s, in: in, file: file, own: own,
		hasAPI:        setOf(file.APIs, func(e APIEntry) events.API { return e.API }),
		hasPermission: setOf(file.Permissions, func(e PermissionEntry) events.Permission { return e.Permission }),
		hasType:       make(map[events.ResourceType]events.ResourceTypeDefinition, len(file.Types)),
		ownAPI:        setOf(own.APIs, itself),
		ownPermission: setOf(own.Permissions, itself),
		ownType:       setOf(own.Types, itself),
		ownRole:       setOf(own.Roles, itself),
		upgrade:       loaded && !same(before, file.Info),
	}
	for _, e := range file.Types {
		l.hasType[e.Type] = e.Def
	}
	return l
}

func itself[T any](v T) T { return v }

func setOf[E any, K comparable](list []E, key func(E) K) map[K]bool {
	set := make(map[K]bool, len(list))
	for _, e := range list {
		set[key(e)] = true
	}
	return set
}

func (l *load) add(e events.Event) { l.ds = append(l.ds, l.in.defined(l.s, e)) }

// The definitions as they will be after the load: in the file, or somebody else's.

func (l *load) knowsAPI(a events.API) bool {
	_, ok := l.s.API(l.in.tenant, a)
	return l.hasAPI[a] || ok && !l.ownAPI[a]
}

func (l *load) knowsPermission(p events.Permission) bool {
	_, ok := l.s.Permission(l.in.tenant, p)
	return l.hasPermission[p] || ok && !l.ownPermission[p]
}

func (l *load) typeDef(t events.ResourceType) (events.ResourceTypeDefinition, bool) {
	if def, ok := l.hasType[t]; ok {
		return def, true
	}
	def, ok := l.s.ResourceType(l.in.tenant, t)
	return def, ok && !l.ownType[t]
}

// changes judges one definition against what is there: no event if it is the same, a refusal if it differs
// and is not this catalog's to change.
func changes[D any](what string, own, exists bool, have, want D) (bool, error) {
	switch {
	case exists && same(have, want):
		return false, nil
	case exists && !own:
		return false, refuse(CodeExists, "%s exists, not from this catalog, and differs", what)
	}
	return true, nil
}

func (l *load) apis() error {
	for _, e := range l.file.APIs {
		have, exists := l.s.API(l.in.tenant, e.API)
		change, err := changes(fmt.Sprintf("API %q", e.API), l.ownAPI[e.API], exists, have, e.Def)
		if err != nil {
			return err
		}
		if change {
			l.add(events.APIDefined{API: e.API, Catalog: l.file.Catalog, Def: e.Def, Before: before(exists, have)})
		}
	}
	return nil
}

func (l *load) permissions() error {
	for _, e := range l.file.Permissions {
		what := fmt.Sprintf("permission %q of API %q", e.Permission.Name, e.Permission.API)
		if !l.knowsAPI(e.Permission.API) {
			return refuse(CodeUnknownAPI, "%s: no such API", what)
		}
		for _, p := range slices.Concat(e.Def.RequiresAnyOf...) {
			if !l.knowsPermission(p) {
				return refuse(CodeUnknownPermission, "%s requires %s, which does not exist", what, p)
			}
		}
		other, taken := l.s.PermissionByID(l.in.tenant, e.Permission.API, e.Def.ID)
		if taken && e.Def.ID != "" && other != e.Permission && !l.ownPermission[other] {
			return refuse(CodeExists, "id %q is that of %s, which is not from this catalog", e.Def.ID, other)
		}
		def := asStored(e.Def)
		have, exists := l.s.Permission(l.in.tenant, e.Permission)
		change, err := changes(what, l.ownPermission[e.Permission], exists, have, def)
		if err != nil {
			return err
		}
		if change {
			l.add(events.PermissionDefined{Permission: e.Permission, Catalog: l.file.Catalog, Def: def, Before: before(exists, have)})
		}
	}
	return nil
}

func (l *load) types() error {
	for _, e := range l.file.Types {
		what := fmt.Sprintf("resource type %q", e.Type)
		have, exists := l.s.ResourceType(l.in.tenant, e.Type)
		switch {
		case !l.knowsAPI(e.Def.API):
			return refuse(CodeUnknownAPI, "%s: no API %q", what, e.Def.API)
		case exists && have.API != e.Def.API:
			return refuse(CodeOtherAPI, "%s belongs to API %q, not to %q", what, have.API, e.Def.API)
		}
		def := asStored(e.Def)
		change, err := changes(what, l.ownType[e.Type], exists, have, def)
		if err != nil {
			return err
		}
		if change {
			l.add(events.ResourceTypeDefined{Type: e.Type, Catalog: l.file.Catalog, Def: def, Before: before(exists, have)})
		}
	}
	return nil
}

func before[D any](exists bool, have D) *D {
	if !exists {
		return nil
	}
	return &have
}

// roles brings the default roles to what the file says. A role that was there with the same name and
// description, made by hand or by another catalog, is used as it is: it gains permissions and loses none.
func (l *load) roles() error {
	in := make(map[events.Role]bool, len(l.file.Roles))
	for _, e := range l.file.Roles {
		in[e.Role] = true
		have, exists := l.s.Role(l.in.tenant, e.Role)
		own := l.ownRole[e.Role]
		if _, err := changes(fmt.Sprintf("role %q", e.Role), own, exists, have, e.Attr); err != nil {
			return err
		}
		switch {
		case !exists:
			l.add(events.RoleCreated{Role: e.Role, Catalog: l.file.Catalog, Attr: e.Attr})
		case have != e.Attr:
			l.add(events.RoleChanged{Role: e.Role, Attr: e.Attr, Before: have})
		}
		if err := l.holdings(e, exists); err != nil {
			return err
		}
	}
	for _, role := range l.own.Roles {
		if _, exists := l.s.Role(l.in.tenant, role); exists && !in[role] {
			l.loses(role, nil)
		}
	}
	return nil
}

// holdings gives a default role what the file says and takes what the file no longer says.
func (l *load) holdings(e RoleEntry, exists bool) error {
	wanted := make(map[RoleHolding]bool, len(e.Holds))
	for _, h := range e.Holds {
		if err := l.mayHold(e.Role, h); err != nil {
			return err
		}
		edge := holding(e.Role.Principal(), h.Permission, h.Scope)
		has := exists && covered(l.s.Facts(l.in.tenant, edge), l.in.from, events.Forever)
		if !has && !wanted[h] {
			l.add(begins(edge))
		}
		wanted[h] = true
	}
	if exists && l.ownRole[e.Role] {
		l.loses(e.Role, wanted)
	}
	return nil
}

func (l *load) mayHold(role events.Role, h RoleHolding) error {
	if !l.knowsPermission(h.Permission) {
		return refuse(CodeUnknownPermission, "role %q holds %s, which does not exist", role, h.Permission)
	}
	if h.Scope.Kind == events.ScopeNone {
		return nil
	}
	def, ok := l.typeDef(h.Scope.Type)
	switch {
	case !ok:
		return refuse(CodeUnknownType, "role %q holds %s on %s: no such resource type", role, h.Permission, h.Scope)
	case def.API != h.Permission.API:
		return refuse(CodeOtherAPI, "role %q holds %s on %s, a resource type of API %q", role, h.Permission, h.Scope, def.API)
	}
	return takes(def, h.Permission.Name, h.Scope)
}

// loses takes from a default role the permissions of this catalog that a new version no longer gives it.
// Loading the version that is loaded takes nothing: what the role holds beyond it was added by hand.
func (l *load) loses(role events.Role, wanted map[RoleHolding]bool) {
	if !l.upgrade {
		return
	}
	done := map[events.Edge]bool{}
	for _, f := range l.s.From(l.in.tenant, role.Principal(), events.EdgeGrant) {
		ours := l.ownPermission[f.Permission] || l.hasPermission[f.Permission]
		if ours && !wanted[RoleHolding{f.Permission, f.Scope}] && !done[f.Edge] {
			done[f.Edge] = true
			l.ds = append(l.ds, finish(l.s, l.in, f.Edge, l.in.from)...)
		}
	}
}

// retire ends what the catalog defined before and the file does not: types first, APIs last.
func (l *load) retire() {
	for _, t := range l.own.Types {
		_, stays := l.hasType[t]
		if have, ok := l.s.ResourceType(l.in.tenant, t); ok && !stays {
			l.end(events.ResourceTypeRetired{Type: t, Before: have})
		}
	}
	for _, p := range l.own.Permissions {
		if have, ok := l.s.Permission(l.in.tenant, p); ok && !l.hasPermission[p] {
			l.end(events.PermissionRetired{Permission: p, Before: have})
		}
	}
	for _, a := range l.own.APIs {
		if have, ok := l.s.API(l.in.tenant, a); ok && !l.hasAPI[a] {
			l.end(events.APIRetired{API: a, Before: have})
		}
	}
}

func (l *load) end(e events.Event) {
	l.ds = append(l.ds, decision{event: e, until: unlessNow(l.s, l.in.from)})
}
