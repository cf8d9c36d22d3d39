package ledger

import (
	"cmp"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// How long free texts may be, in bytes.
const (
	maxName        = 256
	maxDescription = 4096
	maxReason      = 4096
	maxApprovals   = 16
)

// lastInstant is the last one that RFC 3339 can write and therefore the log can give back.
var lastInstant = events.At(time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC))

// check looks at everything that can be judged without the state. What passes here survives being stored:
// it reads back as it was written.
func (r *Request) check() error {
	if err := cmp.Or(
		checkMeta(r.Meta),
		checkInstant("valid_from", r.ValidFrom),
		checkInstant("valid_until", r.ValidUntil),
		r.checkTenant(),
		r.checkSealed(),
	); err != nil {
		return err
	}
	for _, e := range r.Expect {
		if err := e.Principal.Check(); err != nil {
			return err
		}
	}
	for _, c := range r.Commands {
		if kindOf(c) == "" {
			return events.Invalid("command", fmt.Sprintf("%T", c), "is not one that can be asked for")
		}
		if err := c.check(); err != nil {
			return err
		}
	}
	return nil
}

// checkTenant settles the tenant. Commands about the ledger itself have none, and stand alone: a request's
// events are all in the tenant its idempotency key is bound to.
func (r *Request) checkTenant() error {
	if len(r.Commands) == 0 {
		return events.Invalid("commands", "", "must have at least one")
	}
	ofLedger := 0
	for _, c := range r.Commands {
		if aboutLedger(c) {
			ofLedger++
		}
	}
	switch ofLedger {
	case 0:
		return r.Tenant.Check()
	case len(r.Commands):
		r.Tenant = ""
		return nil
	}
	return events.Invalid("commands", "", "those about the ledger itself cannot share a request with those of a tenant")
}

func aboutLedger(c Command) bool {
	switch c.(type) {
	case AddAdministrator, RemoveAdministrator, RotateKey, AcceptFork:
		return true
	default:
		return false
	}
}

func checkMeta(m events.Meta) error {
	if !m.Actor.Acts() {
		return events.Invalid("actor", m.Actor.String(), "must be a user or a client")
	}
	err := cmp.Or(
		m.Actor.Check(),
		checkOptional(m.OnBehalfOf),
		events.CheckText("auth_method", m.AuthMethod, maxName),
		events.CheckText("source", m.Source, maxName),
		events.CheckText("request_id", m.RequestID, maxName),
		CheckWhy(m.Reason, m.Ticket),
		checkApprovals(m.Approvals),
	)
	switch {
	case err != nil:
		return err
	case m.Origin != "" && m.Origin != events.OriginImport:
		return events.Invalid("origin", m.Origin, `must be "import" or not given`)
	case m.Key != "":
		return events.CheckID("idempotency key", m.Key)
	}
	return nil
}

func checkApprovals(as []events.Approval) error {
	if len(as) > maxApprovals {
		return events.Invalid("approvals", fmt.Sprint(len(as)), fmt.Sprintf("must be at most %d", maxApprovals))
	}
	for _, a := range as {
		if !a.By.Acts() {
			return events.Invalid("approval", a.By.String(), "must be by a user or a client")
		}
		if err := cmp.Or(a.By.Check(), checkInstant("approval time", a.At), events.CheckText("approval reference", a.Ref, maxName)); err != nil {
			return err
		}
	}
	return nil
}

func checkOptional(p events.Principal) error {
	if p.IsZero() {
		return nil
	}
	return p.Check()
}

func checkInstant(field string, i events.Instant) error {
	if i < 0 || i > lastInstant {
		return events.Invalid(field, i.String(), "must be in the years 1 to 9999, or not given")
	}
	return nil
}

func checkAttributes(a events.Attributes) error {
	return cmp.Or(
		events.CheckText("name", a.Name, maxName),
		events.CheckText("description", a.Description, maxDescription),
	)
}

func (r Right) check() error {
	err := cmp.Or(r.Name.Check(), r.Scope.Check())
	if err == nil && (r.Audience != "" || r.Scope.Kind == events.ScopeNone) {
		err = events.CheckID("audience", r.Audience)
	}
	return err
}

func (c CreateTenant) check() error        { return events.CheckText("name", c.Name, maxName) }
func (DeleteTenant) check() error          { return nil }
func (c AddAdministrator) check() error    { return checkAdministrator(c.Principal) }
func (c RemoveAdministrator) check() error { return checkAdministrator(c.Principal) }

func (c RotateKey) check() error {
	if c.Key.IsZero() {
		return events.Invalid("key", "", "must not be empty")
	}
	return nil
}

func (c AcceptFork) check() error {
	if c.Lost.Revision == 0 {
		return events.Invalid("lost", "", "must be a mark")
	}
	return nil
}

func checkAdministrator(p events.Principal) error {
	if !p.Acts() {
		return events.Invalid("administrator", p.String(), "must be a user or a client")
	}
	return p.Check()
}

func (c CreateRole) check() error           { return cmp.Or(c.Role.Check(), checkAttributes(c.Attr)) }
func (c ChangeRole) check() error           { return cmp.Or(c.Role.Check(), checkAttributes(c.Attr)) }
func (c DeleteRole) check() error           { return c.Role.Check() }
func (c AddRolePermission) check() error    { return cmp.Or(c.Role.Check(), c.Right.check()) }
func (c RemoveRolePermission) check() error { return cmp.Or(c.Role.Check(), c.Right.check()) }
func (c IncludeRole) check() error          { return cmp.Or(c.Role.Check(), c.Included.Check()) }
func (c ExcludeRole) check() error          { return cmp.Or(c.Role.Check(), c.Included.Check()) }

func (c CreateGroup) check() error  { return cmp.Or(c.Group.Check(), checkAttributes(c.Attr)) }
func (c DeleteGroup) check() error  { return c.Group.Check() }
func (c AddMember) check() error    { return cmp.Or(c.Group.Check(), checkMember(c.Member)) }
func (c RemoveMember) check() error { return cmp.Or(c.Group.Check(), checkMember(c.Member)) }
func (c SetParent) check() error    { return cmp.Or(c.Group.Check(), c.Parent.Check()) }
func (c UnsetParent) check() error  { return cmp.Or(c.Group.Check(), c.Parent.Check()) }

func checkMember(p events.Principal) error {
	if p.Kind == events.KindRole {
		return events.Invalid("member", p.String(), "must be a user, client, mapping-rule or group")
	}
	return p.Check()
}

func (c AssignRole) check() error {
	return cmp.Or(c.Principal.Check(), c.Role.Check(), c.Scope.Check())
}

func (c UnassignRole) check() error {
	return cmp.Or(c.Principal.Check(), c.Role.Check(), c.Scope.Check())
}

func (c Grant) check() error           { return cmp.Or(c.Principal.Check(), c.Right.check()) }
func (c Revoke) check() error          { return cmp.Or(c.Principal.Check(), c.Right.check()) }
func (c DeletePrincipal) check() error { return c.Principal.Check() }

func (c CorrectValidity) check() error {
	if c.Fact == uuid.Nil {
		return events.Invalid("fact", "", "must not be empty")
	}
	if c.Until == events.Forever {
		return checkInstant("from", c.From)
	}
	return cmp.Or(checkInstant("from", c.From), checkInstant("until", c.Until))
}

func (recordDue) check() error { return nil }
