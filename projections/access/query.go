package access

import (
	"time"

	"github.com/permledger/permledger/events"
)

// When places a question in time. The zero value asks about now, with all that is known.
//
// ValidAt is the instant asked about. KnownAt is the knowledge used. AsOf T is shorthand for both: what
// would have been answered at T. AsOf excludes the others.
type When struct {
	ValidAt events.Instant  // zero: now
	KnownAt Known           // zero: the head
	AsOf    events.Instant  // zero: not given
	AtLeast events.Revision // wait until this revision is applied, else ErrBehind
}

// Known is a state of knowledge: a revision, or the last commit recorded at or before a time.
type Known struct {
	Revision events.Revision
	Time     events.Instant
}

// Moment is what every answer states: the knowledge it reflects and the instant it is about.
type Moment struct {
	Revision events.Revision `json:"revision"`
	ValidAt  events.Instant  `json:"valid_at"`
	Head     bool            `json:"-"` // Revision was the newest when the question was asked
}

// Question asks whether Principal may do Permission on Resource.
type Question struct {
	Principal  events.Principal
	Client     events.Principal // if set, a client: it is asked about instead of Principal (SEMANTICS §3.3)
	Permission events.PermissionName
	Resource   Resource
}

// Resource is what a question is about: an API's audience and nothing in particular; a type and no id; or
// a type and one id. Properties name what holds of it for the asking principal.
type Resource struct {
	Audience   string              // set, or else Type
	Type       events.ResourceType //
	ID         string              // "": no id, which only a scope of kind any meets
	Properties []string
}

// Outcome is the answer to a Question, as a word that outlives its explanation.
type Outcome string

const (
	Allowed           Outcome = "allowed"
	NotHeld           Outcome = "not_held"           // no path leads to it
	Inert             Outcome = "inert"              // held, but prerequisites are missing
	UnknownPermission Outcome = "unknown_permission" // no such permission there, then
	UnknownResource   Outcome = "unknown_resource"   // no such API or resource type there, then
	Retired           Outcome = "retired"            // held, but the permission is no more
)

// Decision is the answer to a Question.
type Decision struct {
	Moment
	Allowed bool    `json:"allowed"`
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason"` // one sentence
	// Missing lists, when inert, the prerequisite groups that are not met; any one of a group would do.
	Missing [][]events.Permission `json:"missing,omitempty"`
}

// Explanation is a Decision with every path that leads to the permission.
type Explanation struct {
	Decision
	Paths []Path `json:"paths"`
	// Requires has, for each prerequisite group of the permission, how it is met or not.
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
	About      string           `json:"about,omitempty"` // without a fact, what the event names
	Event      events.EventID   `json:"event"`
	Type       string           `json:"type"` // the event's wire name
	Revision   events.Revision  `json:"revision"`
	RecordedAt events.Instant   `json:"recorded_at"`
	Actor      events.Principal `json:"actor"`
	OnBehalfOf events.Principal `json:"on_behalf_of,omitzero"`
	Reason     string           `json:"reason,omitempty"`
	Ticket     string           `json:"ticket,omitempty"`
	Sealed     *events.Sealed   `json:"sealed,omitempty"` // reason and ticket, in place of both
}

// Requirement is one prerequisite group and which of its members are effective.
type Requirement struct {
	AnyOf []events.Permission `json:"any_of"`
	Met   []events.Permission `json:"met"`
	Basis string              `json:"basis,omitempty"` // "stated" in the product's document, or "derived"
}

// Holding is a permission on a scope that somebody holds.
type Holding struct {
	Permission events.Permission     `json:"permission"`
	Audience   string                `json:"audience"`
	Scope      events.Scope          `json:"scope,omitzero"`
	Effective  bool                  `json:"effective"`
	Missing    [][]events.Permission `json:"missing,omitempty"`
}

// Resource is the written form of what the holding is about: TYPE:ID, TYPE:* for any, TYPE/PROPERTY, or
// api:AUDIENCE for nothing in particular.
func (h Holding) Resource() string {
	if h.Scope.Kind == events.ScopeNone {
		return "api:" + h.Audience
	}
	return h.Scope.String()
}

// Holdings is all that a principal holds, sorted by permission name, then resource, then API.
type Holdings struct {
	Moment
	Principal events.Principal `json:"principal"`
	Holdings  []Holding        `json:"holdings"`
}

// Page asks for part of a listing. All pages of one listing share one Moment, which the token holds.
type Page struct {
	Limit int    // at most MaxPage; 0: DefaultPage
	Token string // "" for the first
}

const (
	DefaultPage = 1000
	MaxPage     = 10_000
)

// Holders is a page of those who may do something: users and clients, sorted.
type Holders struct {
	Moment
	Principals []events.Principal `json:"principals"`
	Next       string             `json:"next,omitempty"` // token of the next page; "" after the last
}

// Grantee is one row of the effective set.
type Grantee struct {
	Principal  events.Principal
	Permission events.PermissionName
	Resource   string // as Holding.Resource
}

// Intervals is when a principal effectively had a permission on a resource, merged over all paths, in
// order, without overlaps, as known at Revision.
type Intervals struct {
	Revision  events.Revision   `json:"revision"`
	Intervals []events.Interval `json:"intervals"`
}

// Change is one row of a difference of effective access between two moments.
type Change struct {
	Principal  events.Principal `json:"principal"`
	Permission string           `json:"permission"`
	Resource   string           `json:"resource"`
	Gained     bool             `json:"gained"`
	// Causes are the events between the moments that touch the paths, oldest first; empty when only the
	// passing of time made the difference.
	Causes []Step `json:"causes"`
}

// Difference is what changed from one moment to another, sorted by principal, permission, resource.
type Difference struct {
	From    Moment   `json:"from"`
	To      Moment   `json:"to"`
	Changes []Change `json:"changes"`
}

// Claims are the permissions of a principal as a token carries them: per audience the sorted names it
// effectively holds on nothing in particular. Audiences without any are left out.
type Claims struct {
	Moment
	Audiences   []string                           `json:"aud"`
	Permissions map[string][]events.PermissionName `json:"permissions"`
}

// waitForRevision bounds how long a question waits for AtLeast.
const waitForRevision = 5 * time.Second
