package api

import (
	"encoding/json"
	"slices"

	"github.com/permledger/permledger/events"
)

// Opened is what the sealed texts of an event say. It is no part of the event as stored, and absent when nothing in
// it is sealed.
type Opened struct {
	Reason  string          `json:"reason,omitempty"`
	Ticket  string          `json:"ticket,omitempty"`
	Profile *events.Profile `json:"profile,omitempty"`
	Closed  []Closed        `json:"closed,omitempty"` // what stays sealed
}

// Closed is a sealed text that cannot be read, and why.
type Closed struct {
	For events.Principal   `json:"for"`
	Key events.PersonalKey `json:"key"`
	Why Closure            `json:"why"`
}

// Closure is why a sealed text cannot be read.
type Closure string

const (
	Erased  Closure = "erased"  // its key was destroyed
	NoKey   Closure = "no_key"  // its key is not where the server looks, and no erasure says why
	Damaged Closure = "damaged" // it is not what was sealed for this principal with this key
)

// PrincipalAnswer answers GET /v1/principals/{kind}/{id}: who is behind the id of a user, client or mapping rule.
type PrincipalAnswer struct {
	Revision  events.Revision  `json:"revision"`
	Principal events.Principal `json:"principal"`
	Described *Event           `json:"described,omitempty"` // the newest principal.described since it was erased or deleted
	Sealed    bool             `json:"sealed"`              // something is sealed with a key that can still be erased
	Erased    *Event           `json:"erased,omitempty"`    // the newest principal.erased
}

// ReasonAndTicket say why the event was recorded, in clear or opened; what cannot be read is "(erased)" or the like.
func (e Event) ReasonAndTicket() (reason, ticket string) {
	return reasonAndTicket(e.Reason, e.Ticket, e.Sealed, e.Opened)
}

// ReasonAndTicket say why the step was recorded, as those of an Event.
func (s Step) ReasonAndTicket() (reason, ticket string) {
	return reasonAndTicket(s.Reason, s.Ticket, s.Sealed, s.Opened)
}

func reasonAndTicket(reason, ticket string, sealed *events.Sealed, opened *Opened) (string, string) {
	switch {
	case sealed == nil:
		return reason, ticket
	case opened == nil: // read from the log itself, without the keys
		return "(sealed for " + sealed.For.String() + ")", ""
	}
	if why := opened.closure(*sealed); why != "" {
		return "(" + string(why) + ")", ""
	}
	return opened.Reason, opened.Ticket
}

// Profile is what a principal.described says, in clear or opened; why is set when it cannot be read.
func (e Event) Profile() (p events.Profile, why Closure) {
	d, ok := e.Event.(events.PrincipalDescribed)
	switch {
	case !ok || d.Sealed == nil:
		return d.Profile, ""
	case e.Opened == nil:
		return p, NoKey
	case e.Opened.Profile != nil:
		return *e.Opened.Profile, ""
	}
	return p, e.Opened.closure(*d.Sealed)
}

func (o Opened) closure(s events.Sealed) Closure {
	i := slices.IndexFunc(o.Closed, func(c Closed) bool { return c.For == s.For && c.Key == s.Key })
	if i < 0 {
		return ""
	}
	return o.Closed[i].Why
}

// decodeProfile reads a profile. Unlike others, its errors quote nothing: they end in logs, and it may be going to
// be sealed.
func decodeProfile(field string, raw json.RawMessage) (*events.Profile, error) {
	members, err := decodeObject(field, raw)
	if err != nil {
		return nil, events.Invalid(field, "", "must be an object")
	}
	var p events.Profile
	into := map[string]*string{"name": &p.Name, "email": &p.Email, "phone": &p.Phone, "description": &p.Description}
	for _, name := range sorted(members) {
		text, ok := into[name]
		if !ok {
			return nil, unknownMember(field, name)
		}
		if json.Unmarshal(members[name], text) != nil {
			return nil, events.Invalid(join(field, name), "", "must be a string")
		}
	}
	return &p, nil
}
