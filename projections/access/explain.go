package access

import (
	"context"
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
)

// The bounds of an explanation. Beyond them it would not be whole, and is an error instead.
const (
	maxPaths = 10_000
	maxVisit = 1_000_000
)

// Explain answers as Check does, with every path to the permission and how each prerequisite is met.
// ErrTooManyPaths when there are more than 10,000.
func (s *Session) Explain(ctx context.Context, q Question) (Explanation, error) {
	c, err := s.ask(q)
	if err != nil {
		return Explanation{}, err
	}
	d, err := c.decide()
	if err != nil {
		return Explanation{}, err
	}
	x := Explanation{Decision: d, Paths: []Path{}}
	for _, p := range c.permissions {
		found, err := c.paths(p)
		if err != nil {
			return Explanation{}, err
		}
		for _, links := range found {
			path, err := s.describe(ctx, links)
			if err != nil {
				return Explanation{}, err
			}
			x.Paths = append(x.Paths, path)
		}
		requires, err := c.requirements(p)
		if err != nil {
			return Explanation{}, err
		}
		x.Requires = append(x.Requires, requires...)
	}
	return x, nil
}

// requirements says how each prerequisite group of p is met.
func (c *inquiry) requirements(p events.Permission) ([]Requirement, error) {
	segments, err := c.s.permission(p)
	if err != nil {
		return nil, err
	}
	def, ok := at(c.s, segments)
	if !ok {
		return nil, nil
	}
	var all []Requirement
	for _, group := range def.Def.RequiresAnyOf {
		met, err := c.met(p, group)
		if err != nil {
			return nil, err
		}
		all = append(all, Requirement{AnyOf: group, Met: append([]events.Permission{}, met...), Basis: def.Def.RequiresBasis})
	}
	return all, nil
}

// paths lists every way from the principal to p at the session's instant, as the facts passed.
func (c *inquiry) paths(p events.Permission) ([][]link, error) {
	f := pathFinder{c: c, permission: p, held: map[place][]link{}}
	for at, when := range c.reached {
		if at.Principal == c.who && at.scope.Kind == events.ScopeNone && when.holds(c.s.moment.ValidAt) {
			if err := f.from(at); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(f.found, comparePaths)
	return f.found, nil
}

// comparePaths puts short paths first, then orders by the facts' ids, which is their age.
func comparePaths(a, b []link) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	for i := range a {
		if c := slices.Compare(a[i].id[:], b[i].id[:]); c != 0 {
			return c
		}
	}
	return 0
}

// pathFinder walks depth first, never through a principal twice on one path.
type pathFinder struct {
	c          *inquiry
	permission events.Permission
	way        []link
	found      [][]link
	visits     int
	held       map[place][]link
}

func (f *pathFinder) from(at place) error {
	if f.visits++; f.visits > maxVisit || len(f.found) > maxPaths {
		return fmt.Errorf("%w: more than %d", ErrTooManyPaths, maxPaths)
	}
	now := f.c.s.moment.ValidAt
	grants, err := memo(f.held, at, func() ([]link, error) { return f.c.s.grants(at, f.permission, f.c.wanted) })
	if err != nil {
		return err
	}
	for _, l := range grants {
		if l.Holds(now) {
			f.found = append(f.found, append(slices.Clone(f.way), l))
		}
	}
	onward, err := f.c.s.onward(at, f.c.wanted)
	if err != nil {
		return err
	}
	for _, l := range onward {
		scope, _ := l.edge.Scope.Narrow(at.scope)
		next := place{l.to(), scope}
		if !l.Holds(now) || !f.c.reached[next].holds(now) || f.passed(next.Principal) {
			continue
		}
		f.way = append(f.way, l)
		if err := f.from(next); err != nil {
			return err
		}
		f.way = f.way[:len(f.way)-1]
	}
	return nil
}

func (f *pathFinder) passed(p events.Principal) bool {
	return p == f.c.who || slices.ContainsFunc(f.way, func(l link) bool { return l.edge.To == p })
}

// describe turns the links of a path into steps.
func (s *Session) describe(ctx context.Context, links []link) (Path, error) {
	var path Path
	for _, l := range links {
		row, ok, err := getJSON[factRow](s.rows, factKey(s.tenant, l.id))
		if err != nil {
			return path, err
		}
		if !ok {
			return path, fmt.Errorf("%w: no fact %s", errImpossible, l.id)
		}
		step, err := s.step(ctx, row.Created, &events.Fact{ID: l.id, Edge: l.edge, Interval: l.Interval})
		if err != nil {
			return path, err
		}
		path.Steps = append(path.Steps, step)
		path.Scope, _ = l.edge.Scope.Narrow(path.Scope)
	}
	return path, nil
}

// step reads the event at a position, which is about that fact, or about none.
func (s *Session) step(ctx context.Context, at events.Position, fact *events.Fact) (Step, error) {
	r, err := s.view.trail.Event(ctx, at)
	if err != nil {
		return Step{}, fmt.Errorf("explain position=%d: %w", at, err)
	}
	about := ""
	if fact == nil {
		about = events.NamedBy(r.Event)
	}
	return Step{
		Fact: fact, About: about, Event: r.ID, Type: events.Name(r.Event), Revision: r.Revision, RecordedAt: r.RecordedAt,
		Actor: r.Actor, OnBehalfOf: r.OnBehalfOf, Reason: r.Reason, Ticket: r.Ticket, Sealed: r.Sealed,
	}, nil
}
