package access

import (
	"slices"

	"github.com/permledger/permledger/events"
)

// timeline is a set of instants as sorted intervals that neither overlap nor touch.
type timeline []events.Interval

// add gives the union of t and v.
func (t timeline) add(v events.Interval) timeline {
	if v.Empty() {
		return t
	}
	first := slices.IndexFunc(t, func(w events.Interval) bool { return w.Until >= v.From })
	if first < 0 {
		return append(t, v)
	}
	last := first
	for last < len(t) && t[last].From <= v.Until {
		v.From, v.Until = min(v.From, t[last].From), max(v.Until, t[last].Until)
		last++
	}
	return slices.Concat(t[:first], timeline{v}, t[last:])
}

// union gives the instants in either.
func (t timeline) union(u timeline) timeline {
	for _, v := range u {
		t = t.add(v)
	}
	return t
}

// within gives the instants of t that are in v.
func (t timeline) within(v events.Interval) timeline {
	var in timeline
	for _, w := range t {
		if x := w.Intersect(v); !x.Empty() {
			in = append(in, x)
		}
	}
	return in
}

// intersect gives the instants in both.
func (t timeline) intersect(u timeline) timeline {
	var in timeline
	for _, v := range u {
		in = append(in, t.within(v)...)
	}
	return in
}

func (t timeline) holds(i events.Instant) bool {
	return slices.ContainsFunc(t, func(w events.Interval) bool { return w.Holds(i) })
}
