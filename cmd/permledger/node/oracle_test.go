package node_test

import (
	"slices"
	"strings"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/access"
)

// oracle is the meaning of SEMANTICS §2 and §3 in the plainest form: it keeps every event, and answers a
// question by reading all of them again. No indexes, no incarnation numbers, no intervals of intervals. The
// model-based test holds every answer of the real view against it.
type oracle struct {
	recorded []events.Recorded
	blind    string // the name of an event it does not see, to show that the test would notice
}

// world is what is known at a revision: every fact ever, and when every role, group and principal lived.
type world struct {
	facts       []*oracleFact
	lives       map[events.Principal][]*events.Interval // one after the other
	permissions map[events.Permission][]oracleDefinition
}

type oracleFact struct {
	id       events.FactID
	edge     events.Edge
	valid    events.Interval
	from, to *events.Interval // the lives of its ends; nil: always
}

type oracleDefinition struct {
	from     events.Instant
	requires [][]events.Permission
}

func (o *oracle) known(r events.Revision) *world {
	w := &world{lives: map[events.Principal][]*events.Interval{}, permissions: map[events.Permission][]oracleDefinition{}}
	for _, e := range o.recorded {
		if e.Revision > r {
			break
		}
		if events.Name(e.Event) != o.blind {
			w.fold(e)
		}
	}
	return w
}

func (w *world) fold(r events.Recorded) {
	if edge, ok := events.Begins(r.Event); ok {
		w.facts = append(w.facts, &oracleFact{r.ID, edge, r.Validity(), w.life(edge.From), w.life(edge.To)})
		return
	}
	if _, ended, ok := events.Ends(r.Event); ok {
		f := w.fact(ended.Fact)
		f.valid.Until = max(f.valid.From, r.End())
		return
	}
	switch e := r.Event.(type) {
	case events.PermissionDefined:
		w.permissions[e.Permission] = append(w.permissions[e.Permission], oracleDefinition{r.Validity().From, e.Def.RequiresAnyOf})
	case events.RoleCreated:
		w.birth(e.Role.Principal(), r)
	case events.GroupCreated:
		w.birth(e.Group.Principal(), r)
	case events.RoleDeleted:
		w.death(e.Role.Principal(), r)
	case events.GroupDeleted:
		w.death(e.Group.Principal(), r)
	case events.PrincipalDeleted:
		w.death(e.Principal, r)
		w.lives[e.Principal] = append(w.lives[e.Principal], &events.Interval{From: r.End(), Until: events.Forever})
	case events.ValidityCorrected:
		w.fact(e.Fact).valid = r.Validity()
	default: // notices and what the generated commands never lead to
	}
}

func (w *world) fact(id events.FactID) *oracleFact {
	i := slices.IndexFunc(w.facts, func(f *oracleFact) bool { return f.id == id })
	return w.facts[i]
}

func (w *world) birth(p events.Principal, r events.Recorded) {
	w.lives[p] = append(w.lives[p], &events.Interval{From: r.Validity().From, Until: events.Forever})
}

func (w *world) death(p events.Principal, r events.Recorded) {
	if len(w.lives[p]) == 0 {
		w.lives[p] = []*events.Interval{{From: events.Beginning, Until: events.Forever}}
		for _, f := range w.facts { // what it held until now, it held in this life
			if f.edge.From == p {
				f.from = w.lives[p][0]
			}
		}
	}
	life := w.life(p)
	life.Until = max(life.From, r.End())
}

// life is the present life of p; nil for one who needs none and was never deleted.
func (w *world) life(p events.Principal) *events.Interval {
	if lives := w.lives[p]; len(lives) > 0 {
		return lives[len(lives)-1]
	}
	return nil
}

// holds reports whether a fact counts at v.
func (f *oracleFact) holds(v events.Instant) bool {
	return f.valid.Holds(v) && (f.from == nil || f.from.Holds(v)) && (f.to == nil || f.to.Holds(v))
}

// held lists every scope on which p holds the permission at v, over all paths.
func (w *world) held(p events.Principal, perm events.Permission, v events.Instant) []events.Scope {
	var scopes []events.Scope
	w.follow(p, v, nil, func(at events.Principal, outer events.Scope) {
		for _, f := range w.facts {
			if f.edge.Kind == events.EdgeGrant && f.edge.From == at && f.edge.Permission == perm && f.holds(v) {
				if s, ok := narrow(f.edge.Scope, outer); ok {
					scopes = append(scopes, s)
				}
			}
		}
	})
	return scopes
}

// follow visits p and everything it leads to, along every path that passes nobody twice.
func (w *world) follow(p events.Principal, v events.Instant, way []events.Principal, visit func(events.Principal, events.Scope)) {
	w.step(p, events.Scope{}, v, way, visit)
}

func (w *world) step(p events.Principal, outer events.Scope, v events.Instant, way []events.Principal, visit func(events.Principal, events.Scope)) {
	visit(p, outer)
	way = append(slices.Clone(way), p)
	for _, f := range w.facts {
		if f.edge.From != p || f.edge.Kind == events.EdgeGrant || !f.holds(v) || slices.Contains(way, f.edge.To) {
			continue
		}
		next := outer
		if f.edge.Kind == events.EdgeAssignment {
			next = f.edge.Scope
		}
		w.step(f.edge.To, next, v, way, visit)
	}
}

// narrow says on what a permission held on inner is held by one who holds the role on outer.
func narrow(inner, outer events.Scope) (events.Scope, bool) {
	switch {
	case outer.Kind == events.ScopeNone:
		return inner, true
	case inner.Kind == events.ScopeNone:
		return outer, true
	case inner.Type != outer.Type:
		return inner, false
	case inner.Kind == events.ScopeAny:
		return outer, true
	case outer.Kind == events.ScopeAny || inner == outer:
		return inner, true
	}
	return inner, false
}

// meets says whether something held on s answers a question about r.
func meets(s events.Scope, r access.Resource) bool {
	switch s.Kind {
	case events.ScopeNone:
		return r.Type == ""
	case events.ScopeAny:
		return r.Type == s.Type
	case events.ScopeID:
		return r.Type == s.Type && r.ID == s.Value
	case events.ScopeProperty:
		return r.Type == s.Type && slices.Contains(r.Properties, s.Value)
	}
	return false
}

// allowed: held on a scope that meets the question, and one of each prerequisite group allowed too.
func (w *world) allowed(p events.Principal, perm events.Permission, r access.Resource, v events.Instant, asking ...events.Permission) bool {
	if slices.Contains(asking, perm) || !slices.ContainsFunc(w.held(p, perm, v), func(s events.Scope) bool { return meets(s, r) }) {
		return false
	}
	asking = append(slices.Clone(asking), perm)
	for _, group := range w.requires(perm, v) {
		if !slices.ContainsFunc(group, func(q events.Permission) bool { return w.allowed(p, q, r, v, asking...) }) {
			return false
		}
	}
	return true
}

// requires: the last definition that starts by v, else the first there was.
func (w *world) requires(perm events.Permission, v events.Instant) [][]events.Permission {
	all := w.permissions[perm]
	if len(all) == 0 {
		return nil
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].from <= v {
			return all[i].requires
		}
	}
	return all[0].requires
}

// intervals asks at every instant at which anything changes.
func (w *world) intervals(p events.Principal, perm events.Permission, r access.Resource) []events.Interval {
	edges := []events.Instant{events.Beginning, events.Forever}
	for _, f := range w.facts {
		edges = append(edges, f.valid.From, f.valid.Until)
	}
	for _, lives := range w.lives {
		for _, life := range lives {
			edges = append(edges, life.From, life.Until)
		}
	}
	for _, defs := range w.permissions {
		for _, d := range defs {
			edges = append(edges, d.from)
		}
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	all := []events.Interval{}
	for i, from := range edges[:len(edges)-1] {
		if !w.allowed(p, perm, r, from) {
			continue
		}
		if n := len(all); n > 0 && all[n-1].Until == from {
			all[n-1].Until = edges[i+1]
		} else {
			all = append(all, events.Interval{From: from, Until: edges[i+1]})
		}
	}
	return all
}

// rows lists p's effective permissions on every scope the universe has, as the view writes them.
func (w *world) rows(p events.Principal, u universe, v events.Instant) []access.Grantee {
	var all []access.Grantee
	for _, perm := range u.permissions {
		for _, scope := range u.scopes {
			if !w.listed(p, perm, scope, v) || !w.allowed(p, perm, asked(scope, u), v) {
				continue
			}
			resource := scope.String()
			if scope.Kind == events.ScopeNone {
				resource = "api:" + u.audience
			}
			all = append(all, access.Grantee{Principal: p, Permission: perm.Name, Resource: resource})
		}
	}
	slices.SortFunc(all, func(a, b access.Grantee) int {
		if c := strings.Compare(string(a.Permission), string(b.Permission)); c != 0 {
			return c
		}
		return strings.Compare(a.Resource, b.Resource)
	})
	return all
}

// listed: a scope is a row of its own when the permission or, under an any of its type, one of its
// prerequisites is held on exactly it.
func (w *world) listed(p events.Principal, perm events.Permission, scope events.Scope, v events.Instant) bool {
	held := w.held(p, perm, v)
	if slices.Contains(held, scope) {
		return true
	}
	if scope.Kind == events.ScopeNone || !slices.Contains(held, events.AnyOf(scope.Type)) {
		return false
	}
	return slices.ContainsFunc(w.chain(perm, v, nil), func(q events.Permission) bool { return slices.Contains(w.held(p, q, v), scope) })
}

func (w *world) chain(perm events.Permission, v events.Instant, seen []events.Permission) []events.Permission {
	for _, group := range w.requires(perm, v) {
		for _, q := range group {
			if !slices.Contains(seen, q) {
				seen = w.chain(q, v, append(seen, q))
			}
		}
	}
	return seen
}

// asked is the question that exactly this scope answers.
func asked(s events.Scope, u universe) access.Resource {
	switch s.Kind {
	case events.ScopeNone:
		return access.Resource{Audience: u.audience}
	case events.ScopeID:
		return access.Resource{Type: s.Type, ID: s.Value}
	case events.ScopeProperty:
		return access.Resource{Type: s.Type, Properties: []string{s.Value}}
	default:
		return access.Resource{Type: s.Type}
	}
}
