package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/permledger/permledger/events"
)

// Diff lists what changed in effective access between two moments; only one principal's if one is named.
func (v *View) Diff(ctx context.Context, tenant events.Tenant, from, to When, only events.Principal) (Difference, error) {
	before, err := v.At(ctx, tenant, from)
	if err != nil {
		return Difference{}, fmt.Errorf("from: %w", err)
	}
	defer before.Close()
	after, err := v.At(ctx, tenant, to)
	if err != nil {
		return Difference{}, fmt.Errorf("to: %w", err)
	}
	defer after.Close()
	d := Difference{From: before.moment, To: after.moment, Changes: []Change{}}
	everybody := []events.Principal{only}
	if only.IsZero() {
		if everybody, err = eitherBody(before, after); err != nil {
			return d, err
		}
	} else if err := only.Check(); err != nil {
		return d, err
	}
	for _, p := range everybody {
		if err := ctx.Err(); err != nil {
			return d, err
		}
		changes, err := changesOf(ctx, before, after, p)
		if err != nil {
			return d, err
		}
		d.Changes = append(d.Changes, changes...)
	}
	return d, nil
}

func eitherBody(a, b *Session) ([]events.Principal, error) {
	inA, err := a.everybody()
	if err != nil {
		return nil, err
	}
	inB, err := b.everybody()
	if err != nil {
		return nil, err
	}
	all := slices.Concat(inA, inB)
	slices.SortFunc(all, events.Principal.Compare)
	return slices.Compact(all), nil
}

// changesOf compares what one principal effectively had and has.
func changesOf(ctx context.Context, before, after *Session, p events.Principal) ([]Change, error) {
	had, err := before.effectiveOf(p)
	if err != nil {
		return nil, err
	}
	has, err := after.effectiveOf(p)
	if err != nil {
		return nil, err
	}
	var changes []Change
	collect := func(these, others []Grantee, gained bool) error {
		for _, g := range these {
			if _, both := slices.BinarySearchFunc(others, g, compareGrantees); both {
				continue
			}
			causes, err := causesOf(ctx, before, after, g, gained)
			if err != nil {
				return err
			}
			changes = append(changes, Change{g.Principal, string(g.Permission), g.Resource, gained, causes})
		}
		return nil
	}
	if err := errors.Join(collect(had, has, false), collect(has, had, true)); err != nil {
		return nil, err
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return compareGrantees(
			Grantee{a.Principal, events.PermissionName(a.Permission), a.Resource},
			Grantee{b.Principal, events.PermissionName(b.Permission), b.Resource})
	})
	return changes, nil
}

func compareGrantees(a, b Grantee) int {
	if c := a.Principal.Compare(b.Principal); c != 0 {
		return c
	}
	if c := strings.Compare(string(a.Permission), string(b.Permission)); c != 0 {
		return c
	}
	return strings.Compare(a.Resource, b.Resource)
}

// causesOf finds the events between the moments that touch the paths of a row: the paths that hold it where
// it is held, and those of its prerequisites. What the two sessions know differently there is the cause.
func causesOf(ctx context.Context, before, after *Session, g Grantee, gained bool) ([]Step, error) {
	with, without := before, after
	if gained {
		with, without = after, before
	}
	c, err := with.ask(Question{Principal: g.Principal, Permission: g.Permission, Resource: parseResource(g.Resource)})
	if err != nil {
		return nil, err
	}
	t := touched{with: with, without: without, gained: gained, at: map[events.Position]*events.Fact{}}
	for _, p := range c.permissions {
		if err := t.permission(c, p, nil); err != nil {
			return nil, err
		}
	}
	positions := make([]events.Position, 0, len(t.at))
	for at := range t.at {
		positions = append(positions, at)
	}
	slices.Sort(positions)
	causes := []Step{}
	for _, at := range positions {
		step, err := with.step(ctx, at, t.at[at])
		if err != nil {
			return nil, err
		}
		causes = append(causes, step)
	}
	return causes, nil
}

// parseResource reads Holding.Resource back. A scope of kind any asks about the type without an id, and a
// property about the type with it.
func parseResource(s string) Resource {
	if audience, ok := strings.CutPrefix(s, "api:"); ok {
		return Resource{Audience: audience}
	}
	if i := strings.IndexAny(s, ":/"); i >= 0 && s[i] == '/' { // types hold neither
		return Resource{Type: events.ResourceType(s[:i]), Properties: []string{s[i+1:]}}
	}
	typ, id, _ := strings.Cut(s, ":")
	if id == "*" {
		id = ""
	}
	return Resource{Type: events.ResourceType(typ), ID: id}
}

// touched collects the positions of events that one session knows of the paths and the other does not.
type touched struct {
	with, without *Session // the session in which the row is effective, and the other
	gained        bool
	at            map[events.Position]*events.Fact
}

// permission looks at the definition, the paths and the prerequisites of p in the session that has it.
func (t *touched) permission(c *inquiry, p events.Permission, passed []events.Permission) error {
	if slices.Contains(passed, p) {
		return nil
	}
	passed = append(passed, p)
	def, err := t.definition(p)
	if err != nil {
		return err
	}
	paths, err := c.paths(p)
	if err != nil {
		return err
	}
	for _, links := range paths {
		for _, l := range links {
			if err := t.link(l); err != nil {
				return err
			}
		}
	}
	for _, group := range def.RequiresAnyOf {
		for _, q := range group {
			if err := t.permission(c, q, passed); err != nil {
				return err
			}
		}
	}
	return nil
}

// definition notes when the definition in force differs; it gives the prerequisites of both.
func (t *touched) definition(p events.Permission) (events.PermissionDefinition, error) {
	inWith, err := t.with.permission(p)
	if err != nil {
		return events.PermissionDefinition{}, err
	}
	inWithout, err := t.without.permission(p)
	if err != nil {
		return events.PermissionDefinition{}, err
	}
	a, _ := at(t.with, inWith)
	b, _ := at(t.without, inWithout)
	t.differ(a.Position, b.Position, nil)
	def := a.Def
	def.RequiresAnyOf = slices.Concat(a.Def.RequiresAnyOf, b.Def.RequiresAnyOf)
	return def, nil
}

// differ notes the newer of two positions if they differ: what ended a thing that was lost, what began one
// that was gained.
func (t *touched) differ(with, without events.Position, f *events.Fact) {
	if with == without {
		return
	}
	at := without
	if t.gained {
		at = with
	}
	if at != 0 {
		t.at[at] = f
	}
}

// link compares what the sessions know of a fact and of the principals at its ends.
func (t *touched) link(l link) error {
	fact := &events.Fact{ID: l.id, Edge: l.edge, Interval: l.Interval}
	other, err := t.without.known(l)
	if err != nil {
		return err
	}
	t.differ(l.position, other.position, fact)
	for _, end := range []incarnation{l.from(), l.to()} {
		if end.IsZero() {
			continue
		}
		a, err := t.with.lifePosition(end)
		if err != nil {
			return err
		}
		b, err := t.without.lifePosition(end)
		if err != nil {
			return err
		}
		t.differ(a, b, nil)
	}
	return nil
}

// known is what the session knows of a link's fact, from the history rows; zero if nothing yet.
func (s *Session) known(l link) (knowledge, error) {
	past := *s
	past.live = false
	all, err := past.scan(forwardKey(tableHistory, s.tenant, l.edge).Raw(l.id[:]))
	if err != nil || len(all) == 0 {
		return knowledge{}, err
	}
	return all[0].knowledge, nil
}

// lifePosition is the event that told the session of an incarnation's lifetime; 0 if none did.
func (s *Session) lifePosition(n incarnation) (events.Position, error) {
	key := nodeKey(tableLifetime, s.tenant, n.Principal).Number(n.number)
	for row, err := range s.rows.ScanFrom(key, slices.Clone(key).Newest(uint64(s.moment.Revision))) {
		if err != nil {
			return 0, err
		}
		life, err := decodeLifetime(row)
		return life.Position, err
	}
	return 0, nil
}
