package audit

import (
	"context"
	"iter"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Filter says which events are meant: those that meet every field that is set. The zero Filter means all.
type Filter struct {
	Tenant     events.Tenant     // "": every tenant, and the ledger itself
	Actor      events.Principal  // who did it
	OnBehalfOf events.Principal  // whom it was done for
	Principal  events.Principal  // whom it is about: see events.About
	Permission events.Permission // which permission it names; without API, the name in any API
	API        events.API        // which API it is about: see events.About
	Fact       events.FactID     // events that create, end, correct or notice this fact
	Command    events.CommandID  // events of this command
	Type       string            // wire name, as in "role.assigned"

	From, To                 events.Position // both included; zero: open
	FromRevision, ToRevision events.Revision // both included; zero: open
	Since, Until             events.Instant  // recorded at or after Since and before Until; zero: open

	Newest bool // newest first
	Limit  int  // at most so many; 0: all
}

// Events yields the events that f means, in order of position, with Revision, Position and Raw set. They are
// all of one moment, the head when the iteration began, and complete for it: a list ends with an error or is
// whole. To say in an answer which revision it reflects, give Head().Revision as ToRevision.
func (t *Trail) Events(ctx context.Context, f Filter) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		v, err := t.pin()
		if err != nil {
			yield(events.Recorded{}, err)
			return
		}
		defer v.Close()
		v.filter(ctx, f, yield)
	}
}

func (v view) filter(ctx context.Context, f Filter, yield func(events.Recorded, error) bool) {
	positions, err := v.candidates(f)
	if err != nil {
		yield(events.Recorded{}, err)
		return
	}
	found := 0
	for position, err := range positions {
		var r events.Recorded
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			r, err = v.event(position)
		}
		if err != nil {
			yield(events.Recorded{}, err)
			return
		}
		if !f.Matches(r) {
			continue
		}
		if found++; !yield(r, nil) || found == f.Limit {
			return
		}
	}
}

// Matches reports whether r is one of the events that f means: what every condition of a filter says, here and
// nowhere else, for whoever reads events of the log itself. Newest and Limit are about a list, not about an event.
func (f Filter) Matches(r events.Recorded) bool {
	holder, others, api := events.About(r.Event)
	permission := events.PermissionOf(r.Event)
	fact, _ := factOf(r)
	return f.spans(r) &&
		(f.Tenant == "" || f.Tenant == r.Tenant) &&
		(f.Actor.IsZero() || f.Actor == r.Actor) &&
		(f.OnBehalfOf.IsZero() || f.OnBehalfOf == r.OnBehalfOf) &&
		(f.Principal.IsZero() || f.Principal == holder || slices.Contains(others, f.Principal)) &&
		(f.Permission.Name == "" || f.Permission.Name == permission.Name) &&
		(f.Permission.API == "" || f.Permission.API == permission.API) &&
		(f.API == "" || f.API == api) &&
		(f.Fact == events.FactID{} || f.Fact == fact) &&
		(f.Command == events.CommandID{} || f.Command == r.Command) &&
		(f.Type == "" || f.Type == events.Name(r.Event))
}

// spans reports whether r lies within the bounds of f.
func (f Filter) spans(r events.Recorded) bool {
	return r.Position >= f.From && (f.To == 0 || r.Position <= f.To) &&
		r.Revision >= f.FromRevision && (f.ToRevision == 0 || r.Revision <= f.ToRevision) &&
		r.RecordedAt >= f.Since && (f.Until.IsZero() || r.RecordedAt < f.Until)
}

// indexes are the lists that hold every event f means, those that tend to be short first.
func (f Filter) indexes() (lists []pebblekv.Key) {
	if (f.Fact != events.FactID{}) {
		lists = append(lists, indexID(f.Fact))
	}
	if (f.Command != events.CommandID{}) {
		lists = append(lists, indexID(f.Command))
	}
	if !f.Principal.IsZero() {
		lists = append(lists, indexWho(tablePrincipal, f.Principal))
	}
	if f.Permission.Name != "" {
		lists = append(lists, indexPermission(f.Permission))
	}
	if !f.OnBehalfOf.IsZero() {
		lists = append(lists, indexWho(tableBehalf, f.OnBehalfOf))
	}
	if !f.Actor.IsZero() {
		lists = append(lists, indexWho(tableActor, f.Actor))
	}
	if f.Type != "" {
		lists = append(lists, indexType(f.Type))
	}
	if api := f.API; api != "" || f.Permission.API != "" {
		if api == "" {
			api = f.Permission.API // an event that names a permission is about its API
		}
		lists = append(lists, indexAPI(api))
	}
	if f.Tenant != "" {
		lists = append(lists, indexTenant(f.Tenant))
	}
	return lists
}

// candidates yields the positions at which events that f means can be, in f's order.
func (v view) candidates(f Filter) (iter.Seq2[events.Position, error], error) {
	in, err := v.span(f)
	if err != nil {
		return nil, err
	}
	lists := f.indexes()
	if len(lists) == 0 {
		return in.all(f.Newest), nil
	}
	shortest, err := v.shortest(lists, in)
	if err != nil {
		return nil, err
	}
	if f.Newest {
		return v.listBack(shortest, in), nil
	}
	return v.list(shortest, in), nil
}

// span is the range of positions that f's bounds leave, within the head.
func (v view) span(f Filter) (span, error) {
	in := span{max(f.From, 1), v.Head.Position}
	if f.To != 0 {
		in.to = min(in.to, f.To)
	}
	if f.FromRevision != 0 {
		first, err := v.positionOf(f.FromRevision)
		if err != nil {
			return in, err
		}
		in.from = max(in.from, first)
	}
	if f.ToRevision != 0 && f.ToRevision < v.Head.Revision {
		beyond, err := v.positionOf(f.ToRevision + 1)
		if err != nil {
			return in, err
		}
		in.to = min(in.to, beyond-1)
	}
	if !f.Since.IsZero() {
		first, err := v.positionAt(f.Since)
		if err != nil {
			return in, err
		}
		in.from = max(in.from, first)
	}
	if !f.Until.IsZero() {
		beyond, err := v.positionAt(f.Until)
		if err != nil {
			return in, err
		}
		in.to = min(in.to, beyond-1)
	}
	return in, nil
}

// all yields every position of the span.
func (in span) all(newest bool) iter.Seq2[events.Position, error] {
	return func(yield func(events.Position, error) bool) {
		for i := events.Position(0); in.from+i <= in.to; i++ {
			position := in.from + i
			if newest {
				position = in.to - i
			}
			if !yield(position, nil) {
				return
			}
		}
	}
}

// The most rows that shortest counts of a list. Beyond it, reading the list costs so much more than counting
// that any choice will do.
const countAtMost = 16 << 10

// shortest gives the shortest of the lists within the span. It counts a little of each and then more, until
// one ends, so it reads no more than a few times the shortest list.
func (v view) shortest(lists []pebblekv.Key, in span) (pebblekv.Key, error) {
	if len(lists) == 1 {
		return lists[0], nil
	}
	for limit := 64; limit <= countAtMost; limit *= 4 {
		for _, list := range lists {
			n := 0
			for _, err := range v.list(list, in) {
				if err != nil {
					return nil, err
				}
				if n++; n == limit {
					break
				}
			}
			if n < limit {
				return list, nil
			}
		}
	}
	return lists[0], nil
}
