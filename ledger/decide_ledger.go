package ledger

import (
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
)

func (c CreateTenant) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("tenant %q", in.tenant)
	if s.TenantExists(in.tenant) {
		return in.already(what + " exists")
	}
	if s.TenantDeleted(in.tenant) {
		return nil, refuse(CodeTenantDeleted, "%s was deleted; its name is not used again, because all it had would be there again", what)
	}
	return in.defines(s, what, events.TenantCreated{Name: c.Name})
}

func (DeleteTenant) decide(s State, in situation) ([]decision, error) {
	if in.tenant == events.DefaultTenant {
		return nil, refuse(CodeInvalid, "the default tenant cannot be deleted")
	}
	return in.deletes(s, fmt.Sprintf("tenant %q", in.tenant), events.TenantDeleted{})
}

func (c AddAdministrator) decide(s State, in situation) ([]decision, error) {
	if slices.Contains(s.Administrators(), c.Principal) {
		return in.already(c.Principal.String() + " is an administrator")
	}
	return in.defines(s, "an administrator", events.AdministratorAdded{Principal: c.Principal})
}

func (c RemoveAdministrator) decide(s State, in situation) ([]decision, error) {
	all := s.Administrators()
	switch {
	case !slices.Contains(all, c.Principal):
		return in.absent(c.Principal.String() + " is no administrator")
	case len(all) == 1:
		return nil, refuse(CodeLastAdministrator, "%s is the last administrator", c.Principal)
	}
	return in.deletes(s, "an administrator", events.AdministratorRemoved{Principal: c.Principal})
}

func (c RotateKey) decide(s State, in situation) ([]decision, error) {
	return in.defines(s, "a key", events.KeyAnnounced(c))
}

func (c AcceptFork) decide(s State, in situation) ([]decision, error) {
	return in.defines(s, "a fork", events.ForkAccepted(c))
}
