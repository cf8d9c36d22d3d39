package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/permledger/permledger/events"
)

// Catalogs lists the catalogs loaded, by name.
func (s *Session) Catalogs() ([]CatalogEntry, error) {
	infos, err := inForceNow[events.CatalogInfo](s, whatCatalog)
	if err != nil {
		return nil, err
	}
	all := []CatalogEntry{}
	for _, d := range infos {
		c, err := s.Catalog(events.Catalog(d.id))
		if err != nil {
			return nil, err
		}
		entry := CatalogEntry{Catalog: c.Catalog, CatalogInfo: c.CatalogInfo, APIs: len(c.APIs), Types: len(c.Types), Roles: len(c.Roles)}
		for _, a := range c.APIs {
			entry.Permissions += len(a.Permissions)
		}
		for _, t := range c.Types {
			entry.Pairs += len(t.Names)
		}
		all = append(all, entry)
	}
	return all, nil
}

// Catalog describes what a catalog defines at the session's moment. ErrNotFound if it is not loaded.
func (s *Session) Catalog(c events.Catalog) (CatalogDescription, error) {
	d := CatalogDescription{Moment: s.moment, Catalog: c, APIs: []APIDescription{}}
	info, err := segments[events.CatalogInfo](s, whatCatalog, string(c), "")
	if err != nil {
		return d, err
	}
	present, ok := at(s, info)
	if !ok {
		return d, fmt.Errorf("catalog %s: %w", c, ErrNotFound)
	}
	d.CatalogInfo = present.Def
	types, err := inForceNow[events.ResourceTypeDefinition](s, whatType)
	if err != nil {
		return d, err
	}
	onTypes := map[events.Permission]bool{}
	for _, t := range types {
		if t.Catalog != c {
			continue
		}
		described := TypeDescription{Type: events.ResourceType(t.id), ResourceTypeDefinition: t.Def}
		for _, name := range t.Def.Permissions {
			described.Names = append(described.Names, t.id+":"+string(name))
			onTypes[events.Permission{API: t.Def.API, Name: name}] = true
		}
		d.Types = append(d.Types, described)
	}
	if d.APIs, err = s.describeAPIs(c, onTypes); err != nil {
		return d, err
	}
	roles, err := s.Roles()
	if err != nil {
		return d, err
	}
	for _, r := range roles {
		if r.Catalog == c {
			d.Roles = append(d.Roles, r)
		}
	}
	return d, nil
}

// describeAPIs leaves out permissions that only resource types name, which have no slug of their own: they are
// described there.
func (s *Session) describeAPIs(c events.Catalog, onTypes map[events.Permission]bool) ([]APIDescription, error) {
	apis, err := inForceNow[events.APIDefinition](s, whatAPI)
	if err != nil {
		return nil, err
	}
	permissions, err := inForceNow[events.PermissionDefinition](s, whatPermission)
	if err != nil {
		return nil, err
	}
	all := []APIDescription{}
	for _, a := range apis {
		if a.Catalog != c {
			continue
		}
		d := APIDescription{API: events.API(a.id), APIDefinition: a.Def, Permissions: []PermissionDescription{}}
		for _, p := range permissions {
			named := events.Permission{API: events.API(p.id), Name: events.PermissionName(p.id2)}
			if p.id == a.id && p.Catalog == c && (!onTypes[named] || p.Def.ID != "") {
				d.Permissions = append(d.Permissions, PermissionDescription{named.Name, p.Def})
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// inForceNow lists the definitions of one kind in force at the session's moment, sorted by id.
func inForceNow[D any](s *Session, what string) ([]defined[D], error) {
	var all []defined[D]
	state := NewState(s.rows, s.moment.ValidAt)
	for newest := range definitions[D](state, s.tenant, what) {
		known, err := segments[D](s, what, newest.id, newest.id2)
		if err != nil {
			return nil, err
		}
		if d, ok := at(s, known); ok && !d.Retired {
			all = append(all, defined[D]{newest.id, newest.id2, d})
		}
	}
	slices.SortFunc(all, func(a, b defined[D]) int {
		if c := strings.Compare(a.id, b.id); c != 0 {
			return c
		}
		return strings.Compare(a.id2, b.id2)
	})
	return all, state.Err()
}

// Roles lists the roles that exist at the session's moment, sorted.
func (s *Session) Roles() ([]RoleDescription, error) {
	all := []RoleDescription{}
	err := s.eachManaged(events.KindRole, func(n incarnation, life lifetimeRow) error {
		d, err := s.describeRole(n, life)
		all = append(all, d)
		return err
	})
	slices.SortFunc(all, func(a, b RoleDescription) int { return strings.Compare(string(a.Role), string(b.Role)) })
	return all, err
}

// Role describes one role. ErrNotFound if it does not exist at the session's moment.
func (s *Session) Role(r events.Role) (RoleDescription, error) {
	n, life, ok, err := s.managedNow(r.Principal())
	if err == nil && !ok {
		err = fmt.Errorf("role %s: %w", r, ErrNotFound)
	}
	if err != nil {
		return RoleDescription{}, err
	}
	return s.describeRole(n, life)
}

func (s *Session) describeRole(n incarnation, life lifetimeRow) (RoleDescription, error) {
	d := RoleDescription{Role: events.Role(n.ID), Catalog: life.Catalog, Attributes: life.Attr, Holds: []Holding{}}
	var err error
	if d.Version, err = version(s.rows, s.tenant, n.Principal); err != nil {
		return d, err
	}
	grants, err := s.linksNow(n, events.EdgeGrant)
	if err != nil {
		return d, err
	}
	set := heldSet{s: s}
	for _, l := range grants {
		api, err := s.api(l.edge.Permission.API)
		if err != nil {
			return d, err
		}
		def, _ := at(s, api)
		_, effective, err := set.definition(l.edge.Permission)
		if err != nil {
			return d, err
		}
		d.Holds = append(d.Holds, Holding{Permission: l.edge.Permission, Audience: def.Def.Audience, Scope: l.edge.Scope, Effective: effective})
	}
	slices.SortFunc(d.Holds, compareHoldings)
	includes, err := s.linksNow(n, events.EdgeInclusion)
	for _, l := range includes {
		d.Includes = append(d.Includes, events.Role(l.edge.To.ID))
	}
	slices.Sort(d.Includes)
	return d, err
}

// Groups lists the groups that exist at the session's moment, sorted.
func (s *Session) Groups() ([]GroupDescription, error) {
	all := []GroupDescription{}
	err := s.eachManaged(events.KindGroup, func(n incarnation, life lifetimeRow) error {
		d, err := s.describeGroup(n, life)
		all = append(all, d)
		return err
	})
	slices.SortFunc(all, func(a, b GroupDescription) int { return strings.Compare(string(a.Group), string(b.Group)) })
	return all, err
}

// Group describes one group. ErrNotFound if it does not exist at the session's moment.
func (s *Session) Group(g events.Group) (GroupDescription, error) {
	n, life, ok, err := s.managedNow(g.Principal())
	if err == nil && !ok {
		err = fmt.Errorf("group %s: %w", g, ErrNotFound)
	}
	if err != nil {
		return GroupDescription{}, err
	}
	return s.describeGroup(n, life)
}

func (s *Session) describeGroup(n incarnation, life lifetimeRow) (GroupDescription, error) {
	d := GroupDescription{Group: events.Group(n.ID), Attributes: life.Attr, Members: []events.Principal{}}
	var err error
	if d.Version, err = version(s.rows, s.tenant, n.Principal); err != nil {
		return d, err
	}
	for _, kind := range []events.EdgeKind{events.EdgeMember, events.EdgeParent} {
		links, err := s.linksTo(kind, string(n.Kind), n.ID)
		if err != nil {
			return d, err
		}
		if links, err = s.now(links); err != nil {
			return d, err
		}
		for _, l := range links {
			if l.toIncarnation == n.number {
				d.Members = append(d.Members, l.edge.From)
			}
		}
	}
	slices.SortFunc(d.Members, events.Principal.Compare)
	d.Members = slices.Compact(d.Members)
	parents, err := s.linksNow(n, events.EdgeParent)
	for _, l := range parents {
		d.Parents = append(d.Parents, events.Group(l.edge.To.ID))
	}
	slices.Sort(d.Parents)
	return d, err
}

// now keeps the links that hold at the session's instant, between principals that then live.
func (s *Session) now(links []link) ([]link, error) {
	var all []link
	for _, l := range links {
		holds := l.Holds(s.moment.ValidAt)
		for _, end := range []incarnation{l.from(), l.to()} {
			if end.IsZero() || !holds {
				continue
			}
			life, err := s.lifetime(end)
			if err != nil {
				return nil, err
			}
			holds = life.Holds(s.moment.ValidAt)
		}
		if holds {
			all = append(all, l)
		}
	}
	return all, nil
}

// linksNow reads the links of one kind that start at n and hold now.
func (s *Session) linksNow(n incarnation, kind events.EdgeKind) ([]link, error) {
	links, err := s.links(n, kind)
	if err != nil {
		return nil, err
	}
	return s.now(links)
}

// eachManaged visits the roles or groups that exist at the session's moment.
func (s *Session) eachManaged(kind events.Kind, visit func(incarnation, lifetimeRow) error) error {
	state := NewState(s.rows, s.moment.ValidAt)
	for p := range state.nodes(s.tenant, kind) {
		n, life, ok, err := s.managedNow(p)
		if err != nil {
			return err
		}
		if ok {
			if err := visit(n, life); err != nil {
				return err
			}
		}
	}
	return state.Err()
}

// managedNow finds the incarnation of a role or group that lives at the session's instant.
func (s *Session) managedNow(p events.Principal) (incarnation, lifetimeRow, bool, error) {
	lives, err := s.lifetimes(p)
	if err != nil {
		return incarnation{}, lifetimeRow{}, false, err
	}
	for number, life := range lives {
		if life.Interval.Holds(s.moment.ValidAt) {
			return incarnation{p, number}, life, true, nil
		}
	}
	return incarnation{}, lifetimeRow{}, false, nil
}
