package ledger

import (
	"context"

	"github.com/permledger/permledger/events"
)

// State is what decisions read: the facts at head, plus what earlier commands of the same commit decided.
// Methods return zero values when reading fails and remember the first error in Err; the ledger asks Err
// after each decision and trusts nothing before it.
//
// "Exists" means created and not deleted. Facts are those whose validity is not over at Now: they hold, or
// will start to.
type State interface {
	// Now is the instant at which the commit being decided is recorded.
	Now() events.Instant
	// FirstDay is when the ledger's first commit was recorded; Now for an empty ledger.
	FirstDay() events.Instant
	Err() error

	TenantExists(events.Tenant) bool
	TenantDeleted(events.Tenant) bool // it existed once, and does not now
	Administrators() []events.Principal

	// The definitions in force; ok is false when there is none or it was retired.
	Catalog(events.Tenant, events.Catalog) (_ events.CatalogInfo, ok bool)
	API(events.Tenant, events.API) (_ events.APIDefinition, ok bool)
	Permission(events.Tenant, events.Permission) (_ events.PermissionDefinition, ok bool)
	ResourceType(events.Tenant, events.ResourceType) (_ events.ResourceTypeDefinition, ok bool)
	// APIsOf lists the APIs with that audience, sorted. PermissionByID finds a permission by its slug.
	APIsOf(_ events.Tenant, audience string) []events.API
	PermissionByID(_ events.Tenant, _ events.API, id string) (_ events.Permission, ok bool)
	// CatalogContents lists what the catalog defined and has not retired, each list sorted.
	CatalogContents(events.Tenant, events.Catalog) CatalogContents

	Role(events.Tenant, events.Role) (_ events.Attributes, ok bool)
	Group(events.Tenant, events.Group) (_ events.Attributes, ok bool)
	// Holds reports whether a user, client or mapping rule holds or is a member of anything.
	Holds(events.Tenant, events.Principal) bool

	// Described is the newest description of a principal that was neither deleted nor erased since.
	Described(events.Tenant, events.Principal) (_ events.PrincipalDescribed, ok bool)
	// PersonalKeys lists the keys with which something about p is sealed and that were not destroyed.
	PersonalKeys(_ events.Tenant, p events.Principal) []events.PersonalKey

	// Facts lists the facts of exactly this edge.
	Facts(events.Tenant, events.Edge) []events.Fact
	// From lists the facts of one kind that start at p: the parents of a group, what a role includes.
	From(_ events.Tenant, p events.Principal, _ events.EdgeKind) []events.Fact
	// Fact finds any fact that was ever recorded; live is false when its principal, role or group was
	// deleted since.
	Fact(events.Tenant, events.FactID) (_ events.Fact, live, ok bool)
	// Due lists at most limit facts whose recorded start or end has come and was not noticed yet, oldest first.
	Due(limit int) []Due

	// Version is the revision that last changed p: its own attributes, what it holds, who is in it. 0: never.
	Version(events.Tenant, events.Principal) events.Revision
	// Answered finds what was answered to an idempotency key of this caller.
	Answered(_ events.Tenant, caller events.Principal, key string) (_ Answer, ok bool)
}

// CatalogContents names what a catalog defines.
type CatalogContents = events.CatalogContents

// Due is a fact whose start (or else end) has come.
type Due = events.Due

// Answer is the first answer given to an idempotency key.
type Answer = events.Answer

// Draft is the next commit in the making. Its State sees what was added to it.
type Draft interface {
	State
	// Add applies one decided event; its envelope must be complete but for revision and position.
	Add(events.Recorded) error
	// Commit makes c, which must hold exactly the added events, the projection's new head: in one atomic
	// batch, readable by every query that starts afterwards. It closes the draft.
	Commit(c events.Commit) error
	// Discard forgets the draft. Harmless after Commit.
	Discard()
}

// Projection is the views as the ledger needs them: a head, and a draft of the commit after it. What the
// ledger commits live and what a reader replays go through the same code.
type Projection interface {
	Head() events.Head
	// Begin opens a draft recorded at that instant. One draft may be open at a time.
	Begin(at events.Instant) (Draft, error)
	// CatchUp applies every commit the log has after Head. Any fault of the chain halts the projection for
	// good and is returned, wrapped in ErrCorrupt's kin of events.
	CatchUp(context.Context) error
	// NoteAnswer indexes a journal entry; entries at or before the last noted sequence are ignored.
	NoteAnswer(sequence uint64, a events.Answer) error
}
