package ledger

import (
	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// Request is what a caller asks for: one or more commands, carried out whole or not at all.
type Request struct {
	Tenant      events.Tenant // of every command; ignored by those about the ledger itself
	events.Meta               // Meta.Key makes the request idempotent for ever; RequestHash is the ledger's to set

	// ValidFrom and ValidUntil bound what the commands create. What they end is over at ValidUntil or,
	// if only ValidFrom is given, at ValidFrom: "from T on it was like this" covers both. Zero: from when
	// it is recorded, without end; ended when it is recorded.
	ValidFrom  events.Instant
	ValidUntil events.Instant

	Commands []Command
	Expect   []Expectation // all must hold, else CodePreconditionFailed
	Strict   bool          // refuse what is so already (CodeAlready) or not there (CodeAbsent)
}

// Expectation is a precondition: nothing changed Principal (a role, a group, anybody) after Version.
type Expectation struct {
	Principal events.Principal `json:"principal"`
	Version   events.Revision  `json:"version"`
}

// Receipt is the answer to a request.
type Receipt struct {
	Command  events.CommandID
	Revision events.Revision   // of the commit; when nothing was recorded, the one the request was judged at
	Hash     events.Hash       // of the commit; zero when nothing was recorded or the receipt was found by key
	Position events.Position   // of its first event; zero when nothing was recorded
	Events   int               // how many it recorded
	Recorded []events.Recorded // the events themselves; empty when the receipt was found by key
	Nothing  bool              // it was so already: nothing happened, nothing was recorded
	Replayed bool              // this is the first answer to the idempotency key; nothing was done now
}

// Right names a permission the way people and products do: by its name, and by what it is about.
type Right struct {
	Name     events.PermissionName `json:"name"`               // exact name, or the permission's slug
	Audience string                `json:"audience,omitempty"` // the API's audience or id; needed with ScopeNone, else the type says it
	Scope    events.Scope          `json:"scope,omitzero"`
}

// Command is a wish, in the imperative. The set is closed.
//
//sumtype:decl
type Command interface {
	// check looks at the command alone: ids and forms.
	check() error
	// decide looks at the state. No events and no error mean it is so already.
	decide(s State, in situation) ([]decision, error)
}

// situation is what a decision knows besides the state and the command.
type situation struct {
	tenant events.Tenant
	from   events.Instant // when what it creates starts; never zero
	until  events.Instant // when what it creates ends; Forever if not given
	end    events.Instant // when what it ends is over; never zero
	strict bool
	origin string
}

// decision is an event with its validity; zero instants mean what they mean in events.Recorded.
type decision struct {
	event       events.Event
	from, until events.Instant
}

// NewID gives the ids of events and commands: UUIDv7, so that they sort by time.
func NewID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
