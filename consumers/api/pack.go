package api

import (
	"net/url"

	"github.com/permledger/permledger/events"
)

// PackQuery asks for the report of a period that can be verified without the ledger. Zero fields do not matter.
type PackQuery struct {
	From, To   events.Instant // recorded at or after From and before To
	Tenant     events.Tenant  // "": every tenant, and the ledger itself
	Principal  events.Principal
	Actor      events.Principal
	OnBehalfOf events.Principal
	Permission events.PermissionName
	API        events.API
	Type       string

	// OnlyMatching leaves out everything but the events that match: the report is then proved to be true, and not
	// to be complete.
	OnlyMatching bool
	// Since is a signed checkpoint of before From, to begin with in place of one of the ledger's own.
	Since []byte
}

// Values is the query as parameters.
func (q PackQuery) Values() url.Values {
	v := url.Values{}
	set(v, "from", q.From.String())
	set(v, "to", q.To.String())
	set(v, "tenant", string(q.Tenant))
	for name, p := range map[string]events.Principal{"principal": q.Principal, "actor": q.Actor, "on_behalf_of": q.OnBehalfOf} {
		if !p.IsZero() {
			v.Set(name, p.String())
		}
	}
	set(v, "permission", string(q.Permission))
	set(v, "api", string(q.API))
	set(v, "type", q.Type)
	if q.OnlyMatching {
		v.Set("only_matching", "true")
	}
	set(v, "since_checkpoint", string(q.Since))
	return v
}
