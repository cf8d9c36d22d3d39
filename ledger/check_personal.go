package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// MaxBox is how long a sealed text may be, in bytes of its box: more than the longest profile, or reason and ticket,
// can need.
const MaxBox = 16 << 10

// CheckWhy looks at the words that say why something is done, CheckProfile at those that say who somebody is:
// what the ledger looks at when they are in clear, for whoever seals them.
func CheckWhy(reason, ticket string) error {
	return cmp.Or(
		events.CheckText("reason", reason, maxReason),
		events.CheckText("ticket", ticket, maxName),
	)
}

func CheckProfile(p events.Profile) error {
	return cmp.Or(
		events.CheckText("profile.name", p.Name, maxName),
		events.CheckText("profile.email", p.Email, maxName),
		events.CheckText("profile.phone", p.Phone, maxName),
		events.CheckText("profile.description", p.Description, maxDescription),
	)
}

// CheckPerson refuses principals that have no personal key: roles and groups are nobody's.
func CheckPerson(field string, p events.Principal) error {
	switch p.Kind {
	case events.KindUser, events.KindClient, events.KindMappingRule:
		return p.Check()
	case events.KindGroup, events.KindRole:
	}
	return events.Invalid(field, p.String(), "must be a user, client or mapping-rule: nothing personal is sealed for others")
}

func checkBox(field string, s events.Sealed) error {
	if err := CheckPerson(field, s.For); err != nil {
		return err
	}
	switch {
	case s.Key == uuid.Nil:
		return events.Invalid(field, "", "must name the key")
	case len(s.Box) == 0 || len(s.Box) > MaxBox:
		return events.Invalid(field, fmt.Sprint(len(s.Box)), fmt.Sprintf("must have a box of 1 to %d bytes", MaxBox))
	}
	return nil
}

// checkSealed looks at what the request seals and erases. The ledger's own events are of no tenant and so under no
// key; what is sealed beside the erasure of its key would be lost as soon as it is recorded.
func (r *Request) checkSealed() error {
	var erased []events.Principal
	for _, c := range r.Commands {
		if e, ok := c.(ErasePrincipal); ok {
			erased = append(erased, e.Principal)
		}
	}
	if n := len(erased); n > 0 && n < len(r.Commands) {
		return events.Invalid("commands", "", "an erasure shares its request with erasures of others alone")
	}
	if r.Sealed == nil {
		return nil
	}
	switch {
	case r.Tenant == "":
		return events.Invalid("seal", r.Sealed.For.String(), "commands about the ledger itself are of no tenant, and nothing is sealed for them")
	case r.Reason != "" || r.Ticket != "":
		return events.Invalid("seal", r.Sealed.For.String(), "reason and ticket are sealed together: none is left in clear")
	case slices.Contains(erased, r.Sealed.For):
		return events.Invalid("seal", r.Sealed.For.String(), "the key is destroyed once this is recorded: say why in clear, or seal it for somebody else")
	}
	return checkBox("seal", *r.Sealed)
}

func (c DescribePrincipal) check() error {
	if err := CheckPerson("principal", c.Principal); err != nil {
		return err
	}
	switch {
	case c.Sealed == nil && c.Profile.IsZero():
		return events.Invalid("profile", "", "must say something")
	case c.Sealed == nil:
		return CheckProfile(c.Profile)
	case !c.Profile.IsZero():
		return events.Invalid("profile", "", "must be in clear or sealed, not both")
	case c.Sealed.For != c.Principal:
		return events.Invalid("profile", c.Sealed.For.String(), "must be sealed for the principal it describes")
	}
	return checkBox("profile", *c.Sealed)
}

func (c ErasePrincipal) check() error { return CheckPerson("principal", c.Principal) }
