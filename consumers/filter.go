package consumers

import (
	"slices"
	"strings"

	"github.com/permledger/permledger/events"
)

// Filter selects events. A zero field selects all; fields that are set must all match.
type Filter = events.SubjectFilter

// subjects gives the NATS subjects that select what any of the filters does; nil selects everything. A
// server refuses filters of which one covers another, so these are left out; those that only overlap are
// fine, and an event that both select comes once.
func subjects(filters []Filter) ([]string, error) {
	var all []string
	for _, f := range filters {
		if err := f.Check(); err != nil {
			return nil, err
		}
		if f == (Filter{}) {
			return nil, nil
		}
		all = append(all, f.Subject())
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool {
		return slices.ContainsFunc(all, func(other string) bool { return other != s && covers(other, s) })
	}), nil
}

// covers reports whether whatever subject selects, filter selects too.
func covers(filter, subject string) bool {
	ff, ss := strings.Split(filter, "."), strings.Split(subject, ".")
	for i := range ff {
		if ff[i] != "*" && ff[i] != ss[i] {
			return false
		}
	}
	return true
}
