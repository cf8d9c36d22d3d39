package api

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// Question asks whether, why or when a principal may do something.
type Question struct {
	When
	Principal  events.Principal
	Client     events.Principal // if set, a client: it is asked about instead of Principal
	Permission events.PermissionName
	Resource   Resource // with a type: an id, or none at all
	Properties []string // names of properties that hold of the resource for the principal
}

// Values is the question as query parameters.
func (q Question) Values() url.Values {
	v := q.When.Values()
	set(v, "principal", q.Principal.String())
	set(v, "client", q.Client.String())
	set(v, "permission", string(q.Permission))
	set(v, "resource", q.Resource.String())
	for _, p := range q.Properties {
		v.Add("property", p)
	}
	return v
}

// Moment is what every answer states: the knowledge it reflects and the instant it is about.
type Moment struct {
	Revision events.Revision `json:"revision"`
	ValidAt  events.Instant  `json:"valid_at"`
}

// Outcome is the answer to a question as a word.
type Outcome string

const (
	Allowed           Outcome = "allowed"
	NotHeld           Outcome = "not_held"           // no path leads to it
	Inert             Outcome = "inert"              // held, but prerequisites are missing
	UnknownPermission Outcome = "unknown_permission" // no such permission there, then
	UnknownResource   Outcome = "unknown_resource"   // no such API or resource type there, then
	Retired           Outcome = "retired"            // held, but the permission is no more
)

// Decision answers GET /v1/check.
type Decision struct {
	Moment
	Allowed bool                  `json:"allowed"`
	Outcome Outcome               `json:"outcome"`
	Reason  string                `json:"reason"`            // one sentence
	Missing [][]events.Permission `json:"missing,omitempty"` // prerequisite groups not met; any one of a group would do
}

// Explanation answers GET /v1/explain: the decision, and every path that leads to the permission.
type Explanation struct {
	Decision
	Paths    []Path        `json:"paths"`
	Requires []Requirement `json:"requires,omitempty"`
}

// Path is one way a principal holds a permission: the facts from the principal to the permission.
type Path struct {
	Steps []Step       `json:"steps"`
	Scope events.Scope `json:"scope,omitzero"` // on what the path gives it
}

// Step is an event with who recorded it and why; on a path, the one that created the fact.
type Step struct {
	Fact       *events.Fact     `json:"fact,omitempty"`  // nil when the event is about no fact, as a role's deletion
	About      string           `json:"about,omitempty"` // without a fact, the permission, principal or API the event names
	Event      events.EventID   `json:"event"`
	Type       string           `json:"type"` // the event's name
	Revision   events.Revision  `json:"revision"`
	RecordedAt events.Instant   `json:"recorded_at"`
	Actor      events.Principal `json:"actor"`
	OnBehalfOf events.Principal `json:"on_behalf_of,omitzero"`
	Reason     string           `json:"reason,omitempty"`
	Ticket     string           `json:"ticket,omitempty"`
	Sealed     *events.Sealed   `json:"sealed,omitempty"` // reason and ticket, in place of both
	Opened     *Opened          `json:"opened,omitempty"` // what they say
}

// Requirement is one prerequisite group and which of its members are effective.
type Requirement struct {
	AnyOf []events.Permission `json:"any_of"`
	Met   []events.Permission `json:"met"`
	Basis string              `json:"basis,omitempty"` // "stated" in the product's document, or "derived"
}

// Holding is a permission on a scope that somebody holds.
type Holding struct {
	Permission events.PermissionName `json:"permission"`
	API        events.API            `json:"api"`
	Audience   string                `json:"audience"`
	Resource   string                `json:"resource"` // TYPE:ID, TYPE:* for any, TYPE/PROPERTY, or api:AUDIENCE
	Scope      events.Scope          `json:"scope,omitzero"`
	Effective  bool                  `json:"effective"`
	Missing    [][]events.Permission `json:"missing,omitempty"`
}

// Holdings answers GET /v1/holdings: all that a principal holds, sorted by permission name, then resource.
type Holdings struct {
	Moment
	Principal events.Principal `json:"principal"`
	Holdings  []Holding        `json:"holdings"`
}

// HoldersQuery asks who may do something. Page is the Next of the page before; with it, When is not given,
// because all pages of one listing share one moment.
type HoldersQuery struct {
	When
	Permission events.PermissionName
	Resource   Resource
	Limit      int // 0: the server's default
	Page       string
}

// Values is the query as parameters.
func (q HoldersQuery) Values() url.Values {
	v := q.When.Values()
	set(v, "permission", string(q.Permission))
	set(v, "resource", q.Resource.String())
	set(v, "page", q.Page)
	setNumber(v, "limit", uint64(max(q.Limit, 0)))
	return v
}

// Holders answers GET /v1/holders: a page of those who may do something, users and clients, sorted.
type Holders struct {
	Moment
	Principals []events.Principal `json:"principals"`
	Next       string             `json:"next,omitempty"` // page of the next request; absent after the last
}

// Intervals answers GET /v1/intervals: when a principal effectively had a permission, merged over all
// paths, in order, without overlaps, as known at Revision.
type Intervals struct {
	Revision  events.Revision   `json:"revision"`
	Intervals []events.Interval `json:"intervals"`
}

// Point is one end of a difference: a revision with the instant it was recorded at, or a time.
type Point = Known

// DiffMode says what a time means in a difference.
type DiffMode string

const (
	DiffAsOf  DiffMode = "as_of" // what was answered then; the default
	DiffValid DiffMode = "valid" // what was true then, by all that is known now
)

// DiffQuery asks what changed in effective access from one point to another.
type DiffQuery struct {
	Tenant    events.Tenant
	From, To  Point // To may be zero: now
	Mode      DiffMode
	Principal events.Principal // zero: everybody
	AtLeast   events.Revision
}

// Values is the query as parameters.
func (q DiffQuery) Values() url.Values {
	v := When{Tenant: q.Tenant, AtLeast: q.AtLeast}.Values()
	set(v, "from", q.From.String())
	set(v, "to", q.To.String())
	set(v, "mode", string(q.Mode))
	set(v, "principal", q.Principal.String())
	return v
}

// Change is one row of a difference of effective access.
type Change struct {
	Principal  events.Principal `json:"principal"`
	Permission string           `json:"permission"`
	Resource   string           `json:"resource"`
	Gained     bool             `json:"gained"`
	Causes     []Step           `json:"causes"` // the events that made it; empty when only time passed
}

// Difference answers GET /v1/diff, sorted by principal, permission, resource.
type Difference struct {
	From    Moment   `json:"from"`
	To      Moment   `json:"to"`
	Changes []Change `json:"changes"`
}

// Grantee is one row of GET /v1/effective.
type Grantee struct {
	Principal  events.Principal      `json:"principal"`
	Permission events.PermissionName `json:"permission"`
	Resource   string                `json:"resource"`
}

// Claims answers GET /v1/claims: the permissions of a principal as a token carries them.
type Claims struct {
	Moment
	Audiences   []string                           `json:"aud"`
	Permissions map[string][]events.PermissionName `json:"permissions"`
}

// HistoryQuery asks for recorded events. All that is given must match; the zero value asks for everything
// in the default tenant, oldest first.
type HistoryQuery struct {
	Tenant     events.Tenant
	Principal  events.Principal // whom it is about: who got or lost something, or the role or group
	Actor      events.Principal // who did it
	OnBehalfOf events.Principal // whom it was done for
	Permission events.PermissionName
	API        events.API // of the permission, or alone
	Fact       events.FactID
	Command    events.CommandID
	Type       string         // event name, as in "role.assigned"
	Since      events.Instant // recorded at or after
	Until      events.Instant // recorded before
	Newest     bool           // newest first
	After      events.Position
	Before     events.Position
	Limit      int // 0: the server's default
	AtLeast    events.Revision
}

// Values is the query as parameters.
func (q HistoryQuery) Values() url.Values {
	v := When{Tenant: q.Tenant, AtLeast: q.AtLeast}.Values()
	set(v, "principal", q.Principal.String())
	set(v, "actor", q.Actor.String())
	set(v, "on_behalf_of", q.OnBehalfOf.String())
	set(v, "permission", string(q.Permission))
	set(v, "api", string(q.API))
	setID(v, "fact", q.Fact)
	setID(v, "command", q.Command)
	set(v, "type", q.Type)
	set(v, "since", q.Since.String())
	set(v, "until", q.Until.String())
	setNumber(v, "after", uint64(q.After))
	setNumber(v, "before", uint64(q.Before))
	setNumber(v, "limit", uint64(max(q.Limit, 0)))
	if q.Newest {
		v.Set("newest", "true")
	}
	return v
}

// History answers GET /v1/history.
type History struct {
	Revision events.Revision `json:"revision"` // the newest one looked at
	Events   []Event         `json:"events"`
	More     bool            `json:"more,omitempty"` // there are more: ask again after the last position, or before it when newest first
}

// Start says where a stream of events begins.
type Start struct {
	Now      bool            // only what is recorded from now on
	Position events.Position // this event and later ones
	Revision events.Revision // this commit and later ones
	Time     events.Instant  // what was recorded at or after it
}

// String is the written form: first, now, 123, rev:45, or RFC 3339.
func (s Start) String() string {
	switch {
	case s.Now:
		return "now"
	case s.Position > 0:
		return strconv.FormatUint(uint64(s.Position), 10)
	case s.Revision > 0:
		return "rev:" + strconv.FormatUint(uint64(s.Revision), 10)
	case s.Time > 0:
		return s.Time.String()
	}
	return "first"
}

// ParseStart reads the written form; "" means first.
func ParseStart(field, s string) (Start, error) {
	switch s {
	case "", "first":
		return Start{}, nil
	case "now":
		return Start{Now: true}, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n > 0 {
		return Start{Position: events.Position(n)}, nil
	}
	if digits, ok := strings.CutPrefix(s, "rev:"); ok {
		r, err := ParseRevision(field, digits)
		return Start{Revision: r}, err
	}
	t, err := events.ParseInstant(field, s)
	if err != nil {
		return Start{}, events.Invalid(field, s, "must be first, now, a position, rev:N or a time as in 2026-03-01T00:00:00Z")
	}
	return Start{Time: t}, nil
}

// EventsQuery asks for the stream of recorded events. All that is given must match; without a tenant it is
// every tenant, and the ledger itself.
type EventsQuery struct {
	From       Start
	Follow     bool // go on with what is recorded later
	Tenant     events.Tenant
	Principal  events.Principal
	Actor      events.Principal
	Permission events.PermissionName
	API        events.API
	Type       string
}

// Values is the query as parameters.
func (q EventsQuery) Values() url.Values {
	v := url.Values{}
	set(v, "from", q.From.String())
	if q.Follow {
		v.Set("follow", "true")
	}
	set(v, "tenant", string(q.Tenant))
	set(v, "principal", q.Principal.String())
	set(v, "actor", q.Actor.String())
	set(v, "permission", string(q.Permission))
	set(v, "api", string(q.API))
	set(v, "type", q.Type)
	return v
}

func setID(v url.Values, name string, id uuid.UUID) {
	if id != (uuid.UUID{}) {
		v.Set(name, id.String())
	}
}

func setNumber(v url.Values, name string, n uint64) {
	if n > 0 {
		v.Set(name, strconv.FormatUint(n, 10))
	}
}
