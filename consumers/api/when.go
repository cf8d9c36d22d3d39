package api

import (
	"net/url"
	"strconv"

	"github.com/permledger/permledger/events"
)

// When places a question in a tenant and in time. The zero value asks about the default tenant, now, with
// all that is known.
//
// ValidAt is the instant asked about, KnownAt the knowledge used. AsOf T is shorthand for both: what would
// have been answered at T; it excludes the other two.
type When struct {
	Tenant  events.Tenant
	ValidAt events.Instant  // zero: now
	KnownAt Known           // zero: the newest revision
	AsOf    events.Instant  // zero: not given
	AtLeast events.Revision // wait until the server has applied this revision
}

// Known is a state of knowledge: a revision, or the last commit recorded at or before a time.
type Known struct {
	Revision events.Revision
	Time     events.Instant
}

func (k Known) IsZero() bool { return k == Known{} }

// String is the written form: a number, or RFC 3339.
func (k Known) String() string {
	if k.Revision > 0 {
		return strconv.FormatUint(uint64(k.Revision), 10)
	}
	return k.Time.String()
}

// ParseKnown reads a revision or a time; field names it in errors.
func ParseKnown(field, s string) (Known, error) {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n > 0 {
		return Known{Revision: events.Revision(n)}, nil
	}
	t, err := events.ParseInstant(field, s)
	if err != nil {
		return Known{}, events.Invalid(field, s, "must be a revision, from 1, or a time as in 2026-03-01T00:00:00Z")
	}
	return Known{Time: t}, nil
}

// ParseRevision reads a revision from 1.
func ParseRevision(field, s string) (events.Revision, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, events.Invalid(field, s, "must be a revision: a number from 1")
	}
	return events.Revision(n), nil
}

// ParseWhen reads the parameters of a When; get gives "" for an absent one.
func ParseWhen(get func(name string) string) (w When, err error) {
	w.Tenant = events.Tenant(get("tenant"))
	if w.Tenant != "" {
		if err := w.Tenant.Check(); err != nil {
			return w, err
		}
	}
	for name, into := range map[string]*events.Instant{"valid_at": &w.ValidAt, "as_of": &w.AsOf} {
		if s := get(name); s != "" {
			if *into, err = events.ParseInstant(name, s); err != nil {
				return w, err
			}
		}
	}
	if s := get("known_at"); s != "" {
		if w.KnownAt, err = ParseKnown("known_at", s); err != nil {
			return w, err
		}
	}
	if s := get("at_least"); s != "" {
		if w.AtLeast, err = ParseRevision("at_least", s); err != nil {
			return w, err
		}
	}
	if w.AsOf != 0 && (w.ValidAt != 0 || !w.KnownAt.IsZero()) {
		return w, events.Invalid("as_of", w.AsOf.String(), "sets both times: leave out valid_at and known_at")
	}
	return w, nil
}

// Values is the When as query parameters.
func (w When) Values() url.Values {
	v := url.Values{}
	set(v, "tenant", string(w.Tenant))
	set(v, "valid_at", w.ValidAt.String())
	set(v, "known_at", w.KnownAt.String())
	set(v, "as_of", w.AsOf.String())
	if w.AtLeast > 0 {
		v.Set("at_least", strconv.FormatUint(uint64(w.AtLeast), 10))
	}
	return v
}

func set(v url.Values, name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}
