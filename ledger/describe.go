package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/permledger/permledger/events"
)

// kindOf names a command, by hand and for ever: the hash an idempotency key is bound to covers the name.
// It is "" for what is no command a caller can ask for.
func kindOf(c Command) string {
	switch c.(type) {
	case CreateTenant:
		return "tenant.create"
	case DeleteTenant:
		return "tenant.delete"
	case AddAdministrator:
		return "administrator.add"
	case RemoveAdministrator:
		return "administrator.remove"
	case RotateKey:
		return "key.rotate"
	case AcceptFork:
		return "fork.accept"
	case LoadCatalog:
		return "catalog.load"
	case DefineAPI:
		return "api.define"
	case DefinePermission:
		return "permission.define"
	case DefineResourceType:
		return "resource-type.define"
	case CreateRole:
		return "role.create"
	case ChangeRole:
		return "role.change"
	case DeleteRole:
		return "role.delete"
	case AddRolePermission:
		return "role.add-permission"
	case RemoveRolePermission:
		return "role.remove-permission"
	case IncludeRole:
		return "role.include"
	case ExcludeRole:
		return "role.exclude"
	case CreateGroup:
		return "group.create"
	case DeleteGroup:
		return "group.delete"
	case AddMember:
		return "group.add-member"
	case RemoveMember:
		return "group.remove-member"
	case SetParent:
		return "group.set-parent"
	case UnsetParent:
		return "group.unset-parent"
	case AssignRole:
		return "role.assign"
	case UnassignRole:
		return "role.unassign"
	case Grant:
		return "permission.grant"
	case Revoke:
		return "permission.revoke"
	case DeletePrincipal:
		return "principal.delete"
	case DescribePrincipal:
		return "principal.describe"
	case ErasePrincipal:
		return "principal.erase"
	case CorrectValidity:
		return "validity.correct"
	case recordDue:
		return ""
	}
	return "" // a pointer to a command: kinds are values
}

// described is a request in a form that is stable for ever: what the caller asked for and why, not how the
// request came here. Of what is sealed it has the box: a hash of the text itself would let whoever has the log try
// out what it said, with no key at all and after the key is gone.
type described struct {
	Tenant     events.Tenant      `json:"tenant,omitempty"`
	ValidFrom  events.Instant     `json:"valid_from,omitzero"`
	ValidUntil events.Instant     `json:"valid_until,omitzero"`
	Strict     bool               `json:"strict,omitempty"`
	Expect     []Expectation      `json:"expect,omitempty"`
	Reason     string             `json:"reason,omitempty"`
	Ticket     string             `json:"ticket,omitempty"`
	Sealed     *events.Sealed     `json:"sealed,omitempty"`
	OnBehalfOf events.Principal   `json:"on_behalf_of,omitzero"`
	Approvals  []events.Approval  `json:"approvals,omitempty"`
	Origin     string             `json:"origin,omitempty"`
	Commands   []describedCommand `json:"commands"`
}

type describedCommand struct {
	Kind string `json:"command"`
	With any    `json:"with"`
}

// describe gives a command with its kind, ready to be encoded.
func describe(c Command) describedCommand {
	d := describedCommand{kindOf(c), c}
	if c, ok := c.(CorrectValidity); ok { // JSON has one null for "keep what was" and "without end"
		d.With = struct {
			Fact  events.FactID `json:"fact"`
			From  string        `json:"from"`
			Until string        `json:"until"`
		}{c.Fact, c.From.String(), c.Until.String()}
	}
	return d
}

// describe gives the request as stable JSON.
func (r *Request) describe() (json.RawMessage, error) {
	d := described{
		Tenant: r.Tenant, ValidFrom: r.ValidFrom, ValidUntil: r.ValidUntil, Strict: r.Strict, Expect: r.Expect,
		Reason: r.Reason, Ticket: r.Ticket, Sealed: r.Sealed, OnBehalfOf: r.OnBehalfOf, Approvals: r.Approvals, Origin: r.Origin,
		Commands: make([]describedCommand, len(r.Commands)),
	}
	for i, c := range r.Commands {
		d.Commands[i] = describe(c)
	}
	return json.Marshal(d)
}

// hashOf is what an idempotency key is bound to.
func hashOf(description json.RawMessage) string {
	sum := sha256.Sum256(description)
	return hex.EncodeToString(sum[:])
}
