package ledger

import (
	"github.com/permledger/permledger/events"
)

func (c AssignRole) decide(s State, in situation) ([]decision, error) {
	if c.Principal.Kind == events.KindRole {
		if c.Scope.Kind != events.ScopeNone {
			return nil, refuse(CodeWrongScope, "%s cannot include role %q on %s: an inclusion has no scope", c.Principal, c.Role, c.Scope)
		}
		return IncludeRole{events.Role(c.Principal.ID), c.Role}.decide(s, in)
	}
	for _, p := range []events.Principal{c.Principal, c.Role.Principal()} {
		if err := known(s, in.tenant, p); err != nil {
			return nil, err
		}
	}
	if err := knownType(s, in.tenant, c.Scope); err != nil {
		return nil, err
	}
	return begin(s, in, c.edge())
}

func (c UnassignRole) decide(s State, in situation) ([]decision, error) {
	if c.Principal.Kind == events.KindRole {
		if c.Scope.Kind != events.ScopeNone {
			return nil, refuse(CodeWrongScope, "%s cannot include role %q on %s: an inclusion has no scope", c.Principal, c.Role, c.Scope)
		}
		return ExcludeRole{events.Role(c.Principal.ID), c.Role}.decide(s, in)
	}
	return unlink(s, in, AssignRole(c).edge())
}

func (c AssignRole) edge() events.Edge {
	return events.Edge{Kind: events.EdgeAssignment, From: c.Principal, To: c.Role.Principal(), Scope: c.Scope}
}

func knownType(s State, t events.Tenant, on events.Scope) error {
	if on.Kind == events.ScopeNone {
		return nil
	}
	if _, ok := s.ResourceType(t, on.Type); !ok {
		return refuse(CodeUnknownType, "no resource type %q", on.Type)
	}
	return nil
}

func (c Grant) decide(s State, in situation) ([]decision, error) {
	if err := known(s, in.tenant, c.Principal); err != nil {
		return nil, err
	}
	permission, err := c.Right.resolve(s, in.tenant)
	if err != nil {
		return nil, err
	}
	if on := c.Right.Scope; on.Kind != events.ScopeNone {
		def, _ := s.ResourceType(in.tenant, on.Type)
		if err := takes(def, permission.Name, on); err != nil {
			return nil, err
		}
	}
	return begin(s, in, holding(c.Principal, permission, c.Right.Scope))
}

func (c Revoke) decide(s State, in situation) ([]decision, error) {
	permission, unresolved := c.Right.resolve(s, in.tenant)
	if unresolved != nil {
		permission = c.held(s, in.tenant)
	}
	edge := holding(c.Principal, permission, c.Right.Scope)
	if !permission.IsZero() {
		if ds := finish(s, in, edge, in.end); len(ds) > 0 {
			return ds, nil
		}
	}
	if err := known(s, in.tenant, c.Principal); err != nil {
		return nil, err
	}
	if unresolved != nil {
		return nil, unresolved
	}
	return in.absent(noState(edge))
}

func holding(p events.Principal, permission events.Permission, on events.Scope) events.Edge {
	return events.Edge{Kind: events.EdgeGrant, From: p, Permission: permission, Scope: on}
}

// held finds what a right means among what the principal holds, for when definitions do not say: they were
// retired, or several APIs have a permission of that name and the principal holds one.
func (c Revoke) held(s State, t events.Tenant) (only events.Permission) {
	for _, f := range s.From(t, c.Principal, events.EdgeGrant) {
		if f.Permission.Name != c.Right.Name || f.Scope != c.Right.Scope || !c.Right.maybeOf(s, t, f.Permission.API) {
			continue
		}
		if !only.IsZero() && only != f.Permission {
			return events.Permission{}
		}
		only = f.Permission
	}
	return only
}

func (c DeletePrincipal) decide(s State, in situation) ([]decision, error) {
	switch c.Principal.Kind {
	case events.KindRole:
		return DeleteRole{events.Role(c.Principal.ID)}.decide(s, in)
	case events.KindGroup:
		return DeleteGroup{events.Group(c.Principal.ID)}.decide(s, in)
	case events.KindUser, events.KindClient, events.KindMappingRule:
	}
	if !s.Holds(in.tenant, c.Principal) {
		return in.absent(c.Principal.String() + " holds nothing")
	}
	return in.deletes(s, c.Principal.String(), events.PrincipalDeleted{Principal: c.Principal})
}
