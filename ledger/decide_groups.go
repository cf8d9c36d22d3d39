package ledger

import (
	"fmt"

	"github.com/permledger/permledger/events"
)

func (c CreateGroup) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("group %q", c.Group)
	switch have, ok := s.Group(in.tenant, c.Group); {
	case ok && have == c.Attr:
		return in.already(what + " exists")
	case ok:
		return nil, refuse(CodeExists, "%s exists with another name or description", what)
	}
	return in.defines(s, what, events.GroupCreated{Group: c.Group, Attr: c.Attr})
}

func (c DeleteGroup) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("group %q", c.Group)
	if _, ok := s.Group(in.tenant, c.Group); !ok {
		return in.absent("no " + what)
	}
	return in.deletes(s, what, events.GroupDeleted{Group: c.Group})
}

func (c AddMember) decide(s State, in situation) ([]decision, error) {
	if c.Member.Kind == events.KindGroup {
		return SetParent{events.Group(c.Member.ID), c.Group}.decide(s, in)
	}
	if err := known(s, in.tenant, c.Group.Principal()); err != nil {
		return nil, err
	}
	return begin(s, in, events.Edge{Kind: events.EdgeMember, From: c.Member, To: c.Group.Principal()})
}

func (c RemoveMember) decide(s State, in situation) ([]decision, error) {
	if c.Member.Kind == events.KindGroup {
		return UnsetParent{events.Group(c.Member.ID), c.Group}.decide(s, in)
	}
	return unlink(s, in, events.Edge{Kind: events.EdgeMember, From: c.Member, To: c.Group.Principal()})
}

func (c SetParent) decide(s State, in situation) ([]decision, error) {
	return nest(s, in, events.EdgeParent, c.Group.Principal(), c.Parent.Principal())
}

func (c UnsetParent) decide(s State, in situation) ([]decision, error) {
	return unlink(s, in, events.Edge{Kind: events.EdgeParent, From: c.Group.Principal(), To: c.Parent.Principal()})
}
