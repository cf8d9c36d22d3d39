package access

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Holdings lists all that p holds at the session's instant, effective or inert.
func (s *Session) Holdings(p events.Principal) (Holdings, error) {
	h := Holdings{Moment: s.moment, Principal: p, Holdings: []Holding{}}
	if err := p.Check(); err != nil {
		return h, err
	}
	set, err := s.heldBy(p)
	if err != nil {
		return h, err
	}
	for permission := range set.scopes {
		scopes, err := set.candidates(permission)
		if err != nil {
			return h, err
		}
		for _, scope := range scopes {
			holding, err := set.holding(permission, scope)
			if err != nil {
				return h, err
			}
			h.Holdings = append(h.Holdings, holding)
		}
	}
	slices.SortFunc(h.Holdings, compareHoldings)
	return h, nil
}

func compareHoldings(a, b Holding) int {
	if c := strings.Compare(string(a.Permission.Name), string(b.Permission.Name)); c != 0 {
		return c
	}
	if c := strings.Compare(a.Resource(), b.Resource()); c != 0 {
		return c
	}
	return strings.Compare(string(a.Permission.API), string(b.Permission.API))
}

// heldSet is all that one principal holds at the session's instant.
type heldSet struct {
	s      *Session
	scopes map[events.Permission][]events.Scope // sorted, each once
	asking []events.Permission
}

func (s *Session) heldBy(p events.Principal) (*heldSet, error) {
	reached, err := s.walk(p, nil, s.instant())
	if err != nil {
		return nil, err
	}
	set := &heldSet{s: s, scopes: map[events.Permission][]events.Scope{}}
	for from := range reached {
		links, err := s.links(from.incarnation, events.EdgeGrant)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			scope, ok := l.edge.Scope.Narrow(from.scope)
			if ok && l.Holds(s.moment.ValidAt) {
				set.scopes[l.edge.Permission] = append(set.scopes[l.edge.Permission], scope)
			}
		}
	}
	for p, scopes := range set.scopes {
		slices.SortFunc(scopes, events.Scope.Compare)
		set.scopes[p] = slices.Compact(scopes)
	}
	return set, nil
}

// candidates gives the scopes on which p is listed: those it is held on and, when it is held on any of a type
// and has prerequisites, those its prerequisites may be held on more narrowly.
func (h *heldSet) candidates(p events.Permission) ([]events.Scope, error) {
	scopes := slices.Clone(h.scopes[p])
	needed, err := h.prerequisites(p, nil)
	if err != nil {
		return nil, err
	}
	for _, held := range h.scopes[p] {
		if held.Kind != events.ScopeAny {
			continue
		}
		for _, q := range needed {
			for _, narrower := range h.scopes[q] {
				if narrower.Type == held.Type {
					scopes = append(scopes, narrower)
				}
			}
		}
	}
	slices.SortFunc(scopes, events.Scope.Compare)
	return slices.Compact(scopes), nil
}

// prerequisites gives every permission p may need, over the whole chain.
func (h *heldSet) prerequisites(p events.Permission, seen []events.Permission) ([]events.Permission, error) {
	def, ok, err := h.definition(p)
	if err != nil || !ok {
		return seen, err
	}
	for _, group := range def.RequiresAnyOf {
		for _, q := range group {
			if slices.Contains(seen, q) {
				continue
			}
			if seen, err = h.prerequisites(q, append(seen, q)); err != nil {
				return nil, err
			}
		}
	}
	return seen, nil
}

// definition is p's at the session's instant; ok is false when there is none or it is retired.
func (h *heldSet) definition(p events.Permission) (events.PermissionDefinition, bool, error) {
	segments, err := h.s.permission(p)
	if err != nil {
		return events.PermissionDefinition{}, false, err
	}
	d, ok := at(h.s, segments)
	return d.Def, ok && !d.Retired, nil
}

func (h *heldSet) holding(p events.Permission, on events.Scope) (Holding, error) {
	segments, err := h.s.api(p.API)
	if err != nil {
		return Holding{}, err
	}
	api, _ := at(h.s, segments)
	held := Holding{Permission: p, Audience: api.Def.Audience, Scope: on}
	exists, err := h.exists(p.API, on)
	if err != nil || !exists {
		return held, err
	}
	held.Effective, held.Missing, err = h.judge(p, on)
	return held, err
}

// judge reports whether p, which is held on a scope that covers on, is effective there, and which of its
// prerequisite groups are missing.
func (h *heldSet) judge(p events.Permission, on events.Scope) (effective bool, missing [][]events.Permission, _ error) {
	def, ok, err := h.definition(p)
	if err != nil || !ok {
		return false, nil, err
	}
	h.asking = append(h.asking, p)
	defer func() { h.asking = h.asking[:len(h.asking)-1] }()
	for _, group := range def.RequiresAnyOf {
		met, err := h.anyEffective(group, on)
		if err != nil {
			return false, nil, err
		}
		if !met {
			missing = append(missing, group)
		}
	}
	return len(missing) == 0, missing, nil
}

// exists reports whether what a scope is about exists at the session's instant: its type, or the API.
func (h *heldSet) exists(api events.API, on events.Scope) (bool, error) {
	if on.Kind == events.ScopeNone {
		segments, err := h.s.api(api)
		d, ok := at(h.s, segments)
		return ok && !d.Retired, err
	}
	segments, err := h.s.resourceType(on.Type)
	d, ok := at(h.s, segments)
	return ok && !d.Retired && d.Def.API == api, err
}

func (h *heldSet) anyEffective(group []events.Permission, on events.Scope) (bool, error) {
	for _, p := range group {
		if slices.Contains(h.asking, p) || !slices.ContainsFunc(h.scopes[p], func(s events.Scope) bool { return s.Covers(on) }) {
			continue
		}
		effective, _, err := h.judge(p, on)
		if err != nil || effective {
			return effective, err
		}
	}
	return false, nil
}

// Effective yields the whole effective set of users and clients at the session's instant, sorted by
// principal, permission and resource. An error is the last thing it yields: without one, it was whole.
func (s *Session) Effective(ctx context.Context) iter.Seq2[Grantee, error] {
	return func(yield func(Grantee, error) bool) {
		everybody, err := s.everybody()
		if err != nil {
			yield(Grantee{}, err)
			return
		}
		for _, p := range everybody {
			rows, err := s.effectiveOf(p)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Grantee{}, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// effectiveOf lists what p effectively has, each permission and resource once.
func (s *Session) effectiveOf(p events.Principal) ([]Grantee, error) {
	h, err := s.Holdings(p)
	if err != nil {
		return nil, err
	}
	var rows []Grantee
	for _, holding := range h.Holdings {
		if holding.Effective {
			rows = append(rows, Grantee{p, holding.Permission.Name, holding.Resource()})
		}
	}
	return slices.Compact(rows), nil
}

// everybody lists the users and clients that hold or are members of anything, sorted.
func (s *Session) everybody() ([]events.Principal, error) {
	table := byte(tableHistory)
	if s.live {
		table = tableLive
	}
	var all []events.Principal
	for _, kind := range []events.Kind{events.KindClient, events.KindUser} {
		prefix := pebblekv.NewKey(table).IDs(string(s.tenant), string(kind))
		for from := prefix; ; {
			p, ok, err := s.firstHolder(prefix, from)
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			all = append(all, p)
			from = nodeKey(table, s.tenant, p)
			from[len(from)-1]++ // the first key behind all of p's
		}
	}
	slices.SortFunc(all, events.Principal.Compare)
	return all, nil
}

func (s *Session) firstHolder(prefix, from pebblekv.Key) (events.Principal, bool, error) {
	for row, err := range s.rows.ScanFrom(prefix, from) {
		if err != nil {
			return events.Principal{}, false, err
		}
		parts := pebblekv.Split(row.Key)
		parts.ID() // tenant
		p := events.Principal{Kind: events.Kind(parts.ID()), ID: parts.ID()}
		return p, true, parts.Err()
	}
	return events.Principal{}, false, nil
}

// Claims gives what a token of p carries: per audience, the names it effectively holds on nothing in
// particular (SEMANTICS §4).
func (s *Session) Claims(p events.Principal) (Claims, error) {
	h, err := s.Holdings(p)
	if err != nil {
		return Claims{}, err
	}
	c := Claims{Moment: s.moment, Audiences: []string{}, Permissions: map[string][]events.PermissionName{}}
	for _, holding := range h.Holdings {
		if !holding.Effective || holding.Scope.Kind != events.ScopeNone {
			continue
		}
		if _, known := c.Permissions[holding.Audience]; !known {
			c.Audiences = append(c.Audiences, holding.Audience)
		}
		c.Permissions[holding.Audience] = append(c.Permissions[holding.Audience], holding.Permission.Name)
	}
	slices.Sort(c.Audiences)
	for audience, names := range c.Permissions {
		slices.Sort(names)
		c.Permissions[audience] = slices.Compact(names)
	}
	return c, nil
}
