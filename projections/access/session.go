package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

var (
	// ErrUnknownTenant: the tenant did not exist in the knowledge asked for.
	ErrUnknownTenant = errors.New("unknown tenant")
	// ErrNotFound: no such catalog, role or group in the knowledge asked for.
	ErrNotFound = errors.New("not found")
	// ErrBadPage: the page token is not one of this listing.
	ErrBadPage = errors.New("bad page token")
	// ErrTooManyPaths: an explanation would not be whole.
	ErrTooManyPaths = errors.New("too many paths to list")
)

// Trail finds the event at a position, for explanations. *audit.Trail is one.
type Trail interface {
	Event(ctx context.Context, at events.Position) (events.Recorded, error)
}

// View answers questions. It is safe for use by several goroutines.
type View struct {
	projector *projections.Projector
	trail     Trail
	clock     func() time.Time
}

// NewView reads what p projects; p must have Rows among its views. clock says what "now" is; nil is the
// wall clock.
func NewView(p *projections.Projector, trail Trail, clock func() time.Time) *View {
	if clock == nil {
		clock = time.Now
	}
	return &View{p, trail, clock}
}

// Session is pinned to one tenant, one revision and one instant. It is for one goroutine. Close it.
type Session struct {
	view   *View
	views  *projections.Views
	rows   pebblekv.Reader
	tenant events.Tenant
	moment Moment
	live   bool // only the live rows are needed

	permissions map[events.Permission][]segment[events.PermissionDefinition]
	types       map[events.ResourceType][]segment[events.ResourceTypeDefinition]
	apis        map[events.API][]segment[events.APIDefinition]
	edges       map[edgesKey][]link
	lived       map[incarnation]events.Interval
}

// At pins a session. Errors: *events.InvalidError for a When that contradicts itself, ErrUnknownTenant,
// projections.ErrBehind when AtLeast or KnownAt is not applied in time, projections.ErrHalted.
func (v *View) At(ctx context.Context, tenant events.Tenant, w When) (*Session, error) {
	if err := tenant.Check(); err != nil {
		return nil, err
	}
	if !w.AsOf.IsZero() {
		if !w.ValidAt.IsZero() || w.KnownAt != (Known{}) {
			return nil, events.Invalid("as_of", w.AsOf.String(), "stands for both times: give either it, or valid_at and known_at")
		}
		w.ValidAt, w.KnownAt = w.AsOf, Known{Time: w.AsOf}
	}
	if w.KnownAt.Revision > 0 && !w.KnownAt.Time.IsZero() {
		return nil, events.Invalid("known_at", w.KnownAt.Time.String(), "must be a revision or a time, not both")
	}
	wait, cancel := context.WithTimeout(ctx, waitForRevision)
	defer cancel()
	if err := v.projector.Wait(wait, max(w.AtLeast, w.KnownAt.Revision)); err != nil {
		return nil, err
	}
	views, err := v.projector.Views()
	if err != nil {
		return nil, err
	}
	s := &Session{
		view: v, views: views, rows: views.Rows(Name), tenant: tenant,
		permissions: map[events.Permission][]segment[events.PermissionDefinition]{},
		types:       map[events.ResourceType][]segment[events.ResourceTypeDefinition]{},
		apis:        map[events.API][]segment[events.APIDefinition]{},
		edges:       map[edgesKey][]link{},
		lived:       map[incarnation]events.Interval{},
	}
	if err := s.pin(w); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// pin settles the revision and the instant.
func (s *Session) pin(w When) error {
	head := s.views.Head
	s.moment.Revision = head.Revision
	switch {
	case w.KnownAt.Revision > 0:
		s.moment.Revision = w.KnownAt.Revision
	case !w.KnownAt.Time.IsZero():
		r, err := lastRecorded(s.rows, w.KnownAt.Time)
		if err != nil {
			return err
		}
		s.moment.Revision = r
	}
	// Now is never before what is recorded: a clock that steps back must not let an ended grant live again.
	s.moment.ValidAt = w.ValidAt
	if w.ValidAt.IsZero() {
		s.moment.ValidAt = max(events.At(s.view.clock()), head.RecordedAt)
	}
	s.moment.Head = s.moment.Revision == head.Revision
	s.live = s.moment.Head && s.moment.ValidAt >= head.RecordedAt

	exists, err := flagged(s.rows, pebblekv.NewKey(tableTenant).IDs(string(s.tenant)), s.moment.Revision)
	if err != nil {
		return err
	}
	// Before the first commit nothing was known, not even that there are tenants: everything is denied.
	if !exists && s.moment.Revision > 0 {
		return fmt.Errorf("%w: %s", ErrUnknownTenant, s.tenant)
	}
	return nil
}

// lastRecorded is the last revision recorded at or before t; 0 if there is none.
func lastRecorded(rows pebblekv.Reader, t events.Instant) (events.Revision, error) {
	table := pebblekv.NewKey(tableRecorded)
	row, ok, err := rows.Last(table, slices.Clone(table).Number(uint64(t)).Number(^uint64(0)))
	if err != nil || !ok {
		return 0, err
	}
	parts := pebblekv.Split(row.Key)
	parts.Number() // time
	return events.Revision(parts.Number()), parts.Err()
}

// Moment is what the session's answers reflect.
func (s *Session) Moment() Moment { return s.moment }

// Tenant is the one the session is pinned to.
func (s *Session) Tenant() events.Tenant { return s.tenant }

// Close lets go of the pinned rows.
func (s *Session) Close() { s.views.Close() }

// instant is the session's instant as a window one microsecond wide: a check is an interval list whose
// window is a single instant.
func (s *Session) instant() events.Interval {
	return events.Interval{From: s.moment.ValidAt, Until: s.moment.ValidAt + 1}
}

// segment is a definition and the interval in which it is in force.
type segment[D any] struct {
	events.Interval
	definitionRow[D]
}

// segments gives what was in force when, of one definition, as known at the session's revision. What is said
// later overrides what was said before, from its own start on. The first version is taken to have applied
// before it was recorded too, because nothing else is known of that time.
func segments[D any](s *Session, what, id, id2 string) ([]segment[D], error) {
	key := definitionKey(s.tenant, what, id, id2)
	var all []segment[D]
	var open timeline = timeline{events.Always} // not settled by a newer version
	var oldest *definitionRow[D]
	for row, err := range s.rows.ScanFrom(key, slices.Clone(key).Newest(uint64(s.moment.Revision))) {
		if err != nil {
			return nil, err
		}
		d, err := decodeDefinition[D](row)
		if err != nil {
			return nil, err
		}
		from := events.Interval{From: d.From, Until: events.Forever}
		for _, v := range open.within(from) {
			all = append(all, segment[D]{v, d})
		}
		open = open.within(events.Interval{From: events.Beginning, Until: d.From})
		oldest = &d
	}
	if oldest != nil {
		for _, v := range open {
			all = append(all, segment[D]{v, *oldest})
		}
	}
	return all, nil
}

func (s *Session) permission(p events.Permission) ([]segment[events.PermissionDefinition], error) {
	return memo(s.permissions, p, func() ([]segment[events.PermissionDefinition], error) {
		return segments[events.PermissionDefinition](s, whatPermission, string(p.API), string(p.Name))
	})
}

func (s *Session) resourceType(t events.ResourceType) ([]segment[events.ResourceTypeDefinition], error) {
	return memo(s.types, t, func() ([]segment[events.ResourceTypeDefinition], error) {
		return segments[events.ResourceTypeDefinition](s, whatType, string(t), "")
	})
}

func (s *Session) api(a events.API) ([]segment[events.APIDefinition], error) {
	return memo(s.apis, a, func() ([]segment[events.APIDefinition], error) {
		return segments[events.APIDefinition](s, whatAPI, string(a), "")
	})
}

func memo[K comparable, V any](m map[K]V, k K, read func() (V, error)) (V, error) {
	if v, ok := m[k]; ok {
		return v, nil
	}
	v, err := read()
	if err == nil {
		m[k] = v
	}
	return v, err
}

// at is the definition in force at the session's instant.
func at[D any](s *Session, all []segment[D]) (definitionRow[D], bool) {
	for _, seg := range all {
		if seg.Holds(s.moment.ValidAt) {
			return seg.definitionRow, true
		}
	}
	return definitionRow[D]{}, false
}

// inForce is when a definition exists and is not retired.
func inForce[D any](all []segment[D]) timeline {
	var t timeline
	for _, seg := range all {
		if !seg.Retired {
			t = t.add(seg.Interval)
		}
	}
	return t
}
