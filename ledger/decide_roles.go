package ledger

import (
	"fmt"

	"github.com/permledger/permledger/events"
)

func (c CreateRole) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("role %q", c.Role)
	switch have, ok := s.Role(in.tenant, c.Role); {
	case ok && have == c.Attr:
		return in.already(what + " exists")
	case ok:
		return nil, refuse(CodeExists, "%s exists with another name or description", what)
	}
	return in.defines(s, what, events.RoleCreated{Role: c.Role, Attr: c.Attr})
}

func (c ChangeRole) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("role %q", c.Role)
	switch have, ok := s.Role(in.tenant, c.Role); {
	case !ok:
		return nil, refuse(CodeUnknownRole, "no %s", what)
	case have == c.Attr:
		return in.already(what + " is so")
	default:
		return in.defines(s, what, events.RoleChanged{Role: c.Role, Attr: c.Attr, Before: have})
	}
}

func (c DeleteRole) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("role %q", c.Role)
	if _, ok := s.Role(in.tenant, c.Role); !ok {
		return in.absent("no " + what)
	}
	return in.deletes(s, what, events.RoleDeleted{Role: c.Role})
}

func (c AddRolePermission) decide(s State, in situation) ([]decision, error) {
	return Grant{c.Role.Principal(), c.Right}.decide(s, in)
}

func (c RemoveRolePermission) decide(s State, in situation) ([]decision, error) {
	return Revoke{c.Role.Principal(), c.Right}.decide(s, in)
}

func (c IncludeRole) decide(s State, in situation) ([]decision, error) {
	return nest(s, in, events.EdgeInclusion, c.Role.Principal(), c.Included.Principal())
}

func (c ExcludeRole) decide(s State, in situation) ([]decision, error) {
	return unlink(s, in, events.Edge{Kind: events.EdgeInclusion, From: c.Role.Principal(), To: c.Included.Principal()})
}

// nest puts a role into a role or a group below a group.
func nest(s State, in situation, kind events.EdgeKind, from, to events.Principal) ([]decision, error) {
	for _, p := range []events.Principal{from, to} {
		if err := known(s, in.tenant, p); err != nil {
			return nil, err
		}
	}
	if err := cycle(s, in.tenant, kind, from, to); err != nil {
		return nil, err
	}
	return begin(s, in, events.Edge{Kind: kind, From: from, To: to})
}

// unlink ends an edge between two principals. Where there is none, that one of them does not exist is said
// first.
func unlink(s State, in situation, e events.Edge) ([]decision, error) {
	if ds := finish(s, in, e, in.end); len(ds) > 0 {
		return ds, nil
	}
	for _, p := range []events.Principal{e.From, e.To} {
		if err := known(s, in.tenant, p); err != nil {
			return nil, err
		}
	}
	if err := knownType(s, in.tenant, e.Scope); err != nil {
		return nil, err
	}
	return in.absent(noState(e))
}
