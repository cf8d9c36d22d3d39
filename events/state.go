package events

import "encoding/json"

// CatalogContents names what a catalog defines, each list sorted.
type CatalogContents struct {
	APIs        []API
	Permissions []Permission
	Types       []ResourceType
	Roles       []Role
}

// Due is a fact whose start, or else end, has come.
type Due struct {
	Tenant Tenant
	Fact   Fact
	Starts bool
	At     Instant
}

// Answer is what was answered to a request: for one with events where they are, for a refused or empty one
// the answer itself. It is what an idempotency key leads back to.
type Answer struct {
	Tenant      Tenant    `json:"tenant,omitempty"`
	Caller      Principal `json:"caller"`
	Key         string    `json:"key,omitempty"`
	RequestHash string    `json:"request_hash,omitempty"`
	Command     CommandID `json:"command"`
	AnsweredAt  Instant   `json:"answered_at"`
	Revision    Revision  `json:"revision"` // of the commit, or the one the answer was judged at

	// With events:
	Position Position `json:"position,omitempty"` // of the first
	Events   int      `json:"events,omitempty"`   // how many

	// Without: nil Refusal means there was nothing to record.
	Refusal *RefusalNote    `json:"refusal,omitempty"`
	Request json.RawMessage `json:"request,omitempty"` // what was asked, for whoever reads the journal
}

// RefusalNote is a refusal as it is kept: the code is stable, the message is for people.
type RefusalNote struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}
