package access

import (
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// incarnation names one life of a principal.
type incarnation struct {
	events.Principal
	number uint64
}

// place is where a walk along the edges stands: at a principal, holding what it holds on a scope. A path
// has at most one edge with a scope of its own before its last, the assignment of a role.
type place struct {
	incarnation
	scope events.Scope
}

// link is a fact as it stands in the rows: an edge and what is known of it.
type link struct {
	id   events.FactID
	edge events.Edge
	knowledge
}

func (l link) to() incarnation   { return incarnation{l.edge.To, l.toIncarnation} }
func (l link) from() incarnation { return incarnation{l.edge.From, l.fromIncarnation} }

// wanted is the set of scopes that meet a question; nil means every scope.
type wanted []events.Scope

func (w wanted) met(s events.Scope) bool { return w == nil || slices.Contains(w, s) }

// wantedBy gives the scopes that meet a question about r (SEMANTICS §3.5).
func wantedBy(r Resource) wanted {
	if r.Type == "" {
		return wanted{{}}
	}
	w := wanted{events.AnyOf(r.Type)}
	if r.ID != "" {
		w = append(w, events.Exactly(r.Type, r.ID))
	}
	for _, p := range r.Properties {
		w = append(w, events.WithProperty(r.Type, p))
	}
	return w
}

// edgesKey remembers what links read; only for groups and roles, which many walks pass.
type edgesKey struct {
	incarnation
	kind events.EdgeKind
}

// links reads the facts of one kind that start at a principal, whatever their validity. With live rows only
// those not over are there, which is all a question about now needs.
func (s *Session) links(from incarnation, kind events.EdgeKind) ([]link, error) {
	key := edgesKey{from, kind}
	if known, ok := s.edges[key]; ok {
		return known, nil
	}
	table := byte(tableHistory)
	if s.live {
		table = tableLive
	}
	all, err := s.scan(nodeKey(table, s.tenant, from.Principal).IDs(string(kind)))
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(l link) bool { return l.fromIncarnation != from.number })
	if managed(from.Principal) {
		s.edges[key] = all
	}
	return all, nil
}

// linksOn reads the grants or assignments of a principal on one scope.
func (s *Session) linksOn(from incarnation, kind events.EdgeKind, on events.Scope, p events.Permission) ([]link, error) {
	table := byte(tableHistory)
	if s.live {
		table = tableLive
	}
	k, typ, value := scopeIDs(on)
	key := nodeKey(table, s.tenant, from.Principal).IDs(string(kind), k, typ, value)
	if !p.IsZero() {
		key = key.IDs(string(p.API), string(p.Name))
	}
	all, err := s.scan(key)
	return slices.DeleteFunc(all, func(l link) bool { return l.fromIncarnation != from.number }), err
}

// linksTo reads the facts that lead to a group, role or permission: x and y as in rows.go.
func (s *Session) linksTo(kind events.EdgeKind, x, y string) ([]link, error) {
	table := byte(tableHistoryReverse)
	if s.live {
		table = tableLiveReverse
	}
	return s.scan(pebblekv.NewKey(table).IDs(string(s.tenant), string(kind), x, y))
}

// scan reads the links under a prefix. Of each fact in the history tables it takes the newest row known at
// the session's revision, and passes over facts not known yet.
func (s *Session) scan(prefix pebblekv.Key) ([]link, error) {
	var all []link
	var last events.FactID
	for row, err := range s.rows.Scan(prefix) {
		if err != nil {
			return nil, err
		}
		e, id, parts, err := edgeOf(row.Key)
		if err != nil {
			return nil, err
		}
		if !s.live {
			if id == last || events.Revision(parts.Newest()) > s.moment.Revision {
				continue
			}
			last = id
		}
		k, err := decodeKnowledge(row.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, link{id, e, k})
	}
	return all, nil
}

// lifetime is when an incarnation lived, as known at the session's revision; remembered for groups and
// roles, which many walks pass.
func (s *Session) lifetime(n incarnation) (events.Interval, error) {
	if !managed(n.Principal) {
		return s.readLifetime(n)
	}
	return memo(s.lived, n, func() (events.Interval, error) { return s.readLifetime(n) })
}

func (s *Session) readLifetime(n incarnation) (events.Interval, error) {
	lives, err := s.lives(n.Principal)
	return lives[n.number], err
}

// lifetimes are all incarnations of p, as known at the session's revision. A user, client or mapping rule that
// was never deleted has always lived.
func (s *Session) lifetimes(p events.Principal) (map[uint64]lifetimeRow, error) {
	all := map[uint64]lifetimeRow{}
	for row, err := range s.rows.Scan(nodeKey(tableLifetime, s.tenant, p)) {
		if err != nil {
			return nil, err
		}
		parts := pebblekv.Split(row.Key)
		for range 3 { // tenant, kind, id
			parts.ID()
		}
		number, revision := parts.Number(), events.Revision(parts.Newest())
		if err := parts.Err(); err != nil {
			return nil, err
		}
		if _, known := all[number]; known || revision > s.moment.Revision {
			continue
		}
		if all[number], err = decodeLifetime(row); err != nil {
			return nil, err
		}
	}
	if _, known := all[0]; !known && !managed(p) {
		all[0] = lifetimeRow{Interval: events.Always}
	}
	return all, nil
}

// lives are the incarnations of p and when they lived; with live rows only the present one.
func (s *Session) lives(p events.Principal) (map[uint64]events.Interval, error) {
	if s.live {
		n, ok, err := getJSON[nodeRow](s.rows, nodeKey(tableNode, s.tenant, p))
		if err != nil || ok && !n.Alive || !ok && managed(p) {
			return nil, err
		}
		return map[uint64]events.Interval{n.Incarnation: {From: n.Since, Until: events.Forever}}, nil
	}
	all, err := s.lifetimes(p)
	lives := make(map[uint64]events.Interval, len(all))
	for number, life := range all {
		lives[number] = life.Interval
	}
	return lives, err
}

// reach is where somebody stands when, along the paths a question allows.
type reach map[place]timeline

// walk follows memberships, parents, assignments and inclusions from p and gives every place reached and
// when, within window. Nested groups may have formed a cycle over time, though never at one instant; the
// walk goes on only while it learns of new instants, and so ends.
func (s *Session) walk(p events.Principal, w wanted, window events.Interval) (reach, error) {
	lives, err := s.lives(p)
	if err != nil {
		return nil, err
	}
	reached := reach{}
	var queue []place
	arrive := func(at place, when timeline) {
		if len(when) == 0 {
			return
		}
		before := reached[at]
		after := before.union(when)
		if !slices.Equal(before, after) {
			reached[at] = after
			queue = append(queue, at)
		}
	}
	for number, life := range lives {
		arrive(place{incarnation{p, number}, events.Scope{}}, timeline{window}.within(life))
	}
	for len(queue) > 0 {
		from := queue[0]
		queue = queue[1:]
		when := reached[from]
		links, err := s.onward(from, w)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			then := when.within(l.Interval)
			if len(then) == 0 {
				continue
			}
			life, err := s.lifetime(l.to())
			if err != nil {
				return nil, err
			}
			scope, _ := l.edge.Scope.Narrow(from.scope) // one of the two is none
			arrive(place{l.to(), scope}, then.within(life))
		}
	}
	return reached, nil
}

// onward gives the links that lead on from a place, to groups and roles.
func (s *Session) onward(from place, w wanted) ([]link, error) {
	switch from.Kind {
	case events.KindRole:
		return s.links(from.incarnation, events.EdgeInclusion)
	case events.KindGroup:
		parents, err := s.links(from.incarnation, events.EdgeParent)
		if err != nil {
			return nil, err
		}
		roles, err := s.assignments(from.incarnation, w)
		return slices.Concat(parents, roles), err
	default:
		groups, err := s.links(from.incarnation, events.EdgeMember)
		if err != nil {
			return nil, err
		}
		roles, err := s.assignments(from.incarnation, w)
		return slices.Concat(groups, roles), err
	}
}

// assignments gives the roles held on nothing in particular or on a scope that meets the question.
func (s *Session) assignments(from incarnation, w wanted) ([]link, error) {
	if w == nil {
		return s.links(from, events.EdgeAssignment)
	}
	var all []link
	for _, on := range w.withNone() {
		roles, err := s.linksOn(from, events.EdgeAssignment, on, events.Permission{})
		if err != nil {
			return nil, err
		}
		all = append(all, roles...)
	}
	return all, nil
}

// withNone gives the wanted scopes and the scope none, each once.
func (w wanted) withNone() []events.Scope {
	if slices.Contains(w, events.Scope{}) {
		return w
	}
	return append([]events.Scope{{}}, w...)
}

// grants gives the links by which those at a place hold p so that it meets the question.
func (s *Session) grants(from place, p events.Permission, w wanted) ([]link, error) {
	var all []link
	for _, on := range w.withNone() {
		if scope, ok := on.Narrow(from.scope); !ok || !w.met(scope) {
			continue
		}
		links, err := s.linksOn(from.incarnation, events.EdgeGrant, on, p)
		if err != nil {
			return nil, err
		}
		all = append(all, links...)
	}
	return all, nil
}

// held is when somebody who reached those places holds p in a way that meets the question.
func (s *Session) held(reached reach, p events.Permission, w wanted) (timeline, error) {
	var t timeline
	for from, when := range reached {
		links, err := s.grants(from, p, w)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			t = t.union(when.within(l.Interval))
		}
	}
	return t, nil
}
