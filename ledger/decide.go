package ledger

import (
	"bytes"
	"encoding/json"

	"github.com/permledger/permledger/events"
)

// situation gives what the request's commands use of its validity, and refuses what none could use.
func (r *Request) situation(s State) (situation, error) {
	in := situation{
		tenant: r.Tenant, strict: r.Strict, origin: r.Origin,
		from: r.ValidFrom, until: r.ValidUntil, end: r.ValidUntil,
	}
	if in.end.IsZero() {
		in.end = in.from
	}
	if in.end.IsZero() {
		in.end = s.Now()
	}
	if in.from.IsZero() {
		in.from = s.Now()
	}
	if in.until.IsZero() {
		in.until = events.Forever
	}
	if !r.ValidFrom.IsZero() && !r.ValidUntil.IsZero() && r.ValidUntil <= r.ValidFrom {
		return in, refuse(CodeEmptyInterval, "valid until %s ends before it starts, valid from %s", r.ValidUntil, r.ValidFrom)
	}
	if err := in.sinceFirstDay(s, r.ValidFrom); err != nil {
		return in, err
	}
	return in, in.sinceFirstDay(s, r.ValidUntil)
}

// sinceFirstDay refuses an instant before the ledger's first commit, which only an import may state.
func (in situation) sinceFirstDay(s State, i events.Instant) error {
	if i.IsZero() || in.origin == events.OriginImport || i >= s.FirstDay() {
		return nil
	}
	return refuse(CodeBeforeFirstDay, "%s is before the ledger's first day, %s; only an import may say so", i, s.FirstDay())
}

// already is the decision on what is so already; absent on what is not there to be ended.
func (in situation) already(what string) ([]decision, error) {
	if in.strict {
		return nil, refuse(CodeAlready, "%s already", what)
	}
	return nil, nil
}

func (in situation) absent(what string) ([]decision, error) {
	if in.strict {
		return nil, refuse(CodeAbsent, "%s", what)
	}
	return nil, nil
}

// Tenants, definitions, roles, groups and principals are there from an instant that has come until they are
// deleted; only facts may start or end in the future.

// defines decides one event about such a thing.
func (in situation) defines(s State, what string, e events.Event) ([]decision, error) {
	if err := in.mayDefine(s, what); err != nil {
		return nil, err
	}
	return []decision{in.defined(s, e)}, nil
}

func (in situation) mayDefine(s State, what string) error {
	switch {
	case in.from > s.Now():
		return refuse(CodeNotYet, "%s cannot start in the future, at %s", what, in.from)
	case in.until == events.Forever:
		return nil
	case in.until > s.Now():
		return refuse(CodeNotYet, "%s cannot end in the future, at %s", what, in.until)
	}
	return refuse(CodeInvalid, "%s takes no valid until: it is there until it is deleted", what)
}

func (in situation) defined(s State, e events.Event) decision {
	return decision{event: e, from: unlessNow(s, in.from)}
}

// deletes decides the event that ends such a thing.
func (in situation) deletes(s State, what string, e events.Event) ([]decision, error) {
	if in.end > s.Now() {
		return nil, refuse(CodeNotYet, "%s cannot end in the future, at %s", what, in.end)
	}
	return []decision{{event: e, until: unlessNow(s, in.end)}}, nil
}

// unlessNow leaves out of an envelope what its recorded_at says.
func unlessNow(s State, i events.Instant) events.Instant {
	if i == s.Now() {
		return 0
	}
	return i
}

// begin decides a fact: nothing if one of the same edge covers the interval wanted.
func begin(s State, in situation, e events.Edge) ([]decision, error) {
	if in.until <= in.from {
		return nil, refuse(CodeEmptyInterval, "valid until %s ends before it starts, at %s", in.until, in.from)
	}
	if covered(s.Facts(in.tenant, e), in.from, in.until) {
		return in.already(state(e))
	}
	d := decision{event: begins(e), from: unlessNow(s, in.from)}
	if in.until != events.Forever {
		d.until = in.until
	}
	return []decision{d}, nil
}

func covered(facts []events.Fact, from, until events.Instant) bool {
	for _, f := range facts {
		if f.Interval.From <= from && f.Interval.Until >= until {
			return true
		}
	}
	return false
}

// finish decides the end of every fact of e that lasts beyond end. None may be a fact that never held.
func finish(s State, in situation, e events.Edge, end events.Instant) []decision {
	var ds []decision
	for _, f := range s.Facts(in.tenant, e) {
		until := max(f.Interval.From, end)
		if f.Interval.Until <= until {
			continue
		}
		ended := events.Ended{Fact: f.ID}
		if f.Interval.Until != events.Forever {
			ended.WasUntil = f.Interval.Until
		}
		ds = append(ds, decision{event: ends(e, ended), until: unlessNow(s, until)})
	}
	return ds
}

// begins is the event that creates a fact of e: the inverse of events.Begins.
func begins(e events.Edge) events.Event {
	switch e.Kind {
	case events.EdgeMember:
		return events.GroupMemberAdded{Group: events.Group(e.To.ID), Member: e.From}
	case events.EdgeParent:
		return events.GroupParentSet{Group: events.Group(e.From.ID), Parent: events.Group(e.To.ID)}
	case events.EdgeAssignment:
		return events.RoleAssigned{Principal: e.From, Role: events.Role(e.To.ID), Scope: e.Scope}
	case events.EdgeInclusion:
		return events.RoleIncluded{Role: events.Role(e.From.ID), Included: events.Role(e.To.ID)}
	case events.EdgeGrant:
		if e.From.Kind == events.KindRole {
			return events.RolePermissionAdded{Role: events.Role(e.From.ID), Permission: e.Permission, Scope: e.Scope}
		}
	}
	return events.PermissionGranted{Principal: e.From, Permission: e.Permission, Scope: e.Scope}
}

// ends is the event that ends a fact of e: the inverse of events.Ends.
func ends(e events.Edge, ended events.Ended) events.Event {
	switch e.Kind {
	case events.EdgeMember:
		return events.GroupMemberRemoved{Group: events.Group(e.To.ID), Member: e.From, Ended: ended}
	case events.EdgeParent:
		return events.GroupParentUnset{Group: events.Group(e.From.ID), Parent: events.Group(e.To.ID), Ended: ended}
	case events.EdgeAssignment:
		return events.RoleUnassigned{Principal: e.From, Role: events.Role(e.To.ID), Scope: e.Scope, Ended: ended}
	case events.EdgeInclusion:
		return events.RoleExcluded{Role: events.Role(e.From.ID), Included: events.Role(e.To.ID), Ended: ended}
	case events.EdgeGrant:
		if e.From.Kind == events.KindRole {
			return events.RolePermissionRemoved{Role: events.Role(e.From.ID), Permission: e.Permission, Scope: e.Scope, Ended: ended}
		}
	}
	return events.PermissionRevoked{Principal: e.From, Permission: e.Permission, Scope: e.Scope, Ended: ended}
}

// state says in words what an edge states, noState that nothing states it.
func state(e events.Edge) string { return phrase(e, "is a member of", "is below", "includes", "holds") }
func noState(e events.Edge) string {
	return phrase(e, "is no member of", "is not below", "does not include", "does not hold")
}

func phrase(e events.Edge, member, parent, inclusion, holding string) string {
	verb, what := holding, e.To.String()
	switch e.Kind {
	case events.EdgeMember:
		verb = member
	case events.EdgeParent:
		verb = parent
	case events.EdgeInclusion:
		verb = inclusion
	case events.EdgeAssignment:
	case events.EdgeGrant:
		what = e.Permission.String()
	}
	if e.Scope.Kind != events.ScopeNone {
		what += " on " + e.Scope.String()
	}
	return e.From.String() + " " + verb + " " + what
}

// cycle finds the way from a thing to itself that a new edge from -> to would close, over edges of one kind
// whatever their validity, and refuses it.
func cycle(s State, t events.Tenant, kind events.EdgeKind, from, to events.Principal) error {
	came := map[events.Principal]events.Principal{to: from}
	for next := []events.Principal{to}; len(next) > 0; next = next[1:] {
		p := next[0]
		if p == from {
			return refuse(CodeCycle, "%s would be below or inside itself: %s", from, path(came, from, to))
		}
		for _, f := range s.From(t, p, kind) {
			if _, seen := came[f.To]; !seen && !f.Interval.Empty() {
				came[f.To] = p
				next = append(next, f.To)
			}
		}
	}
	return nil
}

// path writes the way from -> to -> … -> from.
func path(came map[events.Principal]events.Principal, from, to events.Principal) string {
	text := from.String()
	for p := from; p != to; {
		p = came[p]
		text = p.String() + " -> " + text
	}
	return from.String() + " -> " + text
}

// known refuses a role or group that does not exist. Users, clients and mapping rules exist by being named.
func known(s State, t events.Tenant, p events.Principal) error {
	switch p.Kind {
	case events.KindRole:
		if _, ok := s.Role(t, events.Role(p.ID)); !ok {
			return refuse(CodeUnknownRole, "no role %q", p.ID)
		}
	case events.KindGroup:
		if _, ok := s.Group(t, events.Group(p.ID)); !ok {
			return refuse(CodeUnknownGroup, "no group %q", p.ID)
		}
	case events.KindUser, events.KindClient, events.KindMappingRule:
	}
	return nil
}

// knownTenant refuses a command in a tenant that does not exist, unless it needs none.
func knownTenant(s State, t events.Tenant, c Command) error {
	switch c.(type) {
	case CreateTenant, recordDue:
		return nil
	case ErasePrincipal:
		if s.TenantDeleted(t) { // the keys of its principals outlive it, and must not do so for ever
			return nil
		}
	default:
	}
	if !aboutLedger(c) && !s.TenantExists(t) {
		return refuse(CodeUnknownTenant, "no tenant %q", t)
	}
	return nil
}

// asStored gives v as it will be read back (an empty list is stored as none), so that what is decided now
// and what is replayed later are one value.
func asStored[T any](v T) T {
	var back T
	if b, err := json.Marshal(v); err != nil || json.Unmarshal(b, &back) != nil {
		return v
	}
	return back
}

// same reports whether two definitions are stored as the same bytes.
func same[T any](a, b T) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
