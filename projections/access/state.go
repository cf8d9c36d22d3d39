package access

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// State is what decisions read: the newest knowledge in some rows, usually those of a draft. It satisfies
// all of ledger.State but Answered. Methods give zero values when reading fails; Err has the first fault.
type State struct {
	rows pebblekv.Reader
	now  events.Instant
	err  error
}

// NewState reads rows as of now, the instant at which the commit being decided is recorded.
func NewState(rows pebblekv.Reader, now events.Instant) *State { return &State{rows: rows, now: now} }

func (s *State) Now() events.Instant { return s.now }
func (s *State) Err() error          { return s.err }

func (s *State) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// FirstDay is when the first commit was recorded; now for an empty ledger.
func (s *State) FirstDay() events.Instant {
	for row, err := range s.rows.Scan(pebblekv.NewKey(tableRecorded)) {
		if err != nil {
			s.fail(err)
			break
		}
		return events.Instant(pebblekv.Split(row.Key).Number())
	}
	return s.now
}

func (s *State) TenantExists(t events.Tenant) bool {
	on, err := flagged(s.rows, pebblekv.NewKey(tableTenant).IDs(string(t)), maxRevision)
	if err != nil {
		s.fail(err)
	}
	return on
}

// TenantDeleted reports whether the tenant existed once and does not now.
func (s *State) TenantDeleted(t events.Tenant) bool {
	for _, err := range s.rows.Scan(pebblekv.NewKey(tableTenant).IDs(string(t))) {
		if err != nil {
			s.fail(err)
			return false
		}
		return !s.TenantExists(t)
	}
	return false
}

// maxRevision asks for the newest knowledge there is.
const maxRevision = events.Revision(^uint64(0))

// flagged reads a flag as known at a revision.
func flagged(rows pebblekv.Reader, key pebblekv.Key, known events.Revision) (bool, error) {
	for row, err := range rows.ScanFrom(key, slices.Clone(key).Newest(uint64(known))) {
		if err != nil {
			return false, err
		}
		return row.Value[0] == 1, nil
	}
	return false, nil
}

// Administrators are the principals that administer the ledger, sorted.
func (s *State) Administrators() []events.Principal {
	var all []events.Principal
	var last events.Principal
	for row, err := range s.rows.Scan(pebblekv.NewKey(tableAdministrator)) {
		if err != nil {
			s.fail(err)
			return nil
		}
		parts := pebblekv.Split(row.Key)
		p := events.Principal{Kind: events.Kind(parts.ID()), ID: parts.ID()}
		if err := parts.Err(); err != nil {
			s.fail(err)
			return nil
		}
		if p != last && row.Value[0] == 1 { // the first row of a principal is the newest
			all = append(all, p)
		}
		last = p
	}
	slices.SortFunc(all, events.Principal.Compare)
	return all
}

func present[D any](s *State, t events.Tenant, what, id, id2 string) (def D, ok bool) {
	d, ok, err := latestDefinition[D](s.rows, definitionKey(t, what, id, id2))
	if err != nil {
		s.fail(err)
	}
	if !ok || d.Retired {
		return def, false
	}
	return d.Def, true
}

func (s *State) Catalog(t events.Tenant, c events.Catalog) (events.CatalogInfo, bool) {
	return present[events.CatalogInfo](s, t, whatCatalog, string(c), "")
}

func (s *State) API(t events.Tenant, a events.API) (events.APIDefinition, bool) {
	return present[events.APIDefinition](s, t, whatAPI, string(a), "")
}

func (s *State) Permission(t events.Tenant, p events.Permission) (events.PermissionDefinition, bool) {
	return present[events.PermissionDefinition](s, t, whatPermission, string(p.API), string(p.Name))
}

func (s *State) ResourceType(t events.Tenant, rt events.ResourceType) (events.ResourceTypeDefinition, bool) {
	return present[events.ResourceTypeDefinition](s, t, whatType, string(rt), "")
}

// APIsOf lists the APIs with that audience, sorted.
func (s *State) APIsOf(t events.Tenant, audience string) []events.API {
	all, err := ofAudience(s.rows, t, audience)
	if err != nil {
		s.fail(err)
	}
	return slices.DeleteFunc(all, func(a events.API) bool {
		def, ok := s.API(t, a)
		return !ok || def.Audience != audience
	})
}

// ofAudience lists the APIs that have, or had at some time, an audience, sorted.
func ofAudience(rows pebblekv.Reader, t events.Tenant, audience string) ([]events.API, error) {
	var all []events.API
	for row, err := range rows.Scan(pebblekv.NewKey(tableAudience).IDs(string(t), audience)) {
		if err != nil {
			return nil, err
		}
		parts := pebblekv.Split(row.Key)
		parts.ID() // tenant
		parts.ID() // audience
		all = append(all, events.API(parts.ID()))
		if err := parts.Err(); err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return all, nil
}

// PermissionByID finds a permission by its slug.
func (s *State) PermissionByID(t events.Tenant, a events.API, id string) (events.Permission, bool) {
	p, ok, err := bySlug(s.rows, t, a, id, maxRevision)
	if err != nil {
		s.fail(err)
	}
	if !ok {
		return events.Permission{}, false
	}
	def, ok := s.Permission(t, p)
	return p, ok && def.ID == id
}

// bySlug finds the permission that had the slug last, as known at a revision. It may have another by now.
func bySlug(rows pebblekv.Reader, t events.Tenant, a events.API, slug string, known events.Revision) (p events.Permission, ok bool, _ error) {
	key := slugKey(t, a, slug)
	for row, err := range rows.ScanFrom(key, slices.Clone(key).Newest(uint64(known))) {
		return events.Permission{API: a, Name: events.PermissionName(row.Value)}, err == nil, err
	}
	return p, false, nil
}

// defined is a definition with the ids of its key.
type defined[D any] struct {
	id, id2 string
	definitionRow[D]
}

// definitions yields the newest version of every definition of one kind, retired ones too. A fault ends it
// and is in s.Err.
func definitions[D any](s *State, t events.Tenant, what string) func(yield func(defined[D]) bool) {
	return func(yield func(defined[D]) bool) {
		var last defined[D]
		for row, err := range s.rows.Scan(pebblekv.NewKey(tableDefinition).IDs(string(t), what)) {
			if err != nil {
				s.fail(err)
				return
			}
			d, err := splitDefinition[D](row)
			if err != nil {
				s.fail(err)
				return
			}
			if d.id == last.id && d.id2 == last.id2 {
				continue // an older version
			}
			last = d
			if !yield(d) {
				return
			}
		}
	}
}

func splitDefinition[D any](row pebblekv.Row) (d defined[D], err error) {
	parts := pebblekv.Split(row.Key)
	parts.ID() // tenant
	parts.ID() // what
	d.id, d.id2 = parts.ID(), parts.ID()
	if err := parts.Err(); err != nil {
		return d, err
	}
	d.definitionRow, err = decodeDefinition[D](row)
	return d, err
}

func decodeDefinition[D any](row pebblekv.Row) (d definitionRow[D], err error) {
	if err := json.Unmarshal(row.Value, &d); err != nil {
		return d, fmt.Errorf("%w: definition %q: %w", pebblekv.ErrStore, row.Key, err)
	}
	return d, nil
}

// CatalogContents lists what the catalog defined and has not retired.
func (s *State) CatalogContents(t events.Tenant, c events.Catalog) (all events.CatalogContents) {
	for d := range definitions[events.APIDefinition](s, t, whatAPI) {
		if d.Catalog == c && !d.Retired {
			all.APIs = append(all.APIs, events.API(d.id))
		}
	}
	for d := range definitions[events.PermissionDefinition](s, t, whatPermission) {
		if d.Catalog == c && !d.Retired {
			all.Permissions = append(all.Permissions, events.Permission{API: events.API(d.id), Name: events.PermissionName(d.id2)})
		}
	}
	for d := range definitions[events.ResourceTypeDefinition](s, t, whatType) {
		if d.Catalog == c && !d.Retired {
			all.Types = append(all.Types, events.ResourceType(d.id))
		}
	}
	for p, n := range s.nodes(t, events.KindRole) {
		if n.Alive && n.Catalog == c {
			all.Roles = append(all.Roles, events.Role(p.ID))
		}
	}
	slices.Sort(all.APIs)
	slices.SortFunc(all.Permissions, events.Permission.Compare)
	slices.Sort(all.Types)
	slices.Sort(all.Roles)
	return all
}

// nodes yields every principal of a kind that has a row.
func (s *State) nodes(t events.Tenant, kind events.Kind) func(yield func(events.Principal, nodeRow) bool) {
	return func(yield func(events.Principal, nodeRow) bool) {
		for row, err := range s.rows.Scan(pebblekv.NewKey(tableNode).IDs(string(t), string(kind))) {
			if err != nil {
				s.fail(err)
				return
			}
			parts := pebblekv.Split(row.Key)
			parts.ID() // tenant
			p := events.Principal{Kind: events.Kind(parts.ID()), ID: parts.ID()}
			var n nodeRow
			if err := parts.Err(); err != nil {
				s.fail(err)
				return
			}
			if err := json.Unmarshal(row.Value, &n); err != nil {
				s.fail(fmt.Errorf("%w: row of %s: %w", pebblekv.ErrStore, p, err))
				return
			}
			if !yield(p, n) {
				return
			}
		}
	}
}

func (s *State) Role(t events.Tenant, r events.Role) (events.Attributes, bool) {
	return s.attributes(t, r.Principal())
}

func (s *State) Group(t events.Tenant, g events.Group) (events.Attributes, bool) {
	return s.attributes(t, g.Principal())
}

func (s *State) attributes(t events.Tenant, p events.Principal) (events.Attributes, bool) {
	n, ok, err := getJSON[nodeRow](s.rows, nodeKey(tableNode, t, p))
	if err != nil {
		s.fail(err)
	}
	return n.Attr, ok && n.Alive
}

// Holds reports whether p holds or is a member of anything.
func (s *State) Holds(t events.Tenant, p events.Principal) bool {
	return len(s.facts(nodeKey(tableLive, t, p), 1)) > 0
}

// Facts lists the facts of exactly this edge that are not over.
func (s *State) Facts(t events.Tenant, e events.Edge) []events.Fact {
	return s.facts(forwardKey(tableLive, t, e), 0)
}

// From lists the facts of one kind that start at p and are not over.
func (s *State) From(t events.Tenant, p events.Principal, kind events.EdgeKind) []events.Fact {
	return s.facts(nodeKey(tableLive, t, p).IDs(string(kind)), 0)
}

// facts reads at most limit live rows under prefix; 0 means all.
func (s *State) facts(prefix pebblekv.Key, limit int) []events.Fact {
	var all []events.Fact
	for row, err := range s.rows.Scan(prefix) {
		if err != nil {
			s.fail(err)
			return nil
		}
		e, id, _, err := edgeOf(row.Key)
		if err != nil {
			s.fail(err)
			return nil
		}
		k, err := decodeKnowledge(row.Value)
		if err != nil {
			s.fail(err)
			return nil
		}
		if k.Until <= s.now {
			continue // over, and not noticed yet
		}
		all = append(all, events.Fact{ID: id, Edge: e, Interval: k.Interval})
		if len(all) == limit {
			break
		}
	}
	return all
}

// Fact finds any fact ever recorded; live is false when one of its ends was deleted since.
func (s *State) Fact(t events.Tenant, id events.FactID) (f events.Fact, live, ok bool) {
	row, ok, err := getJSON[factRow](s.rows, factKey(t, id))
	if err != nil {
		s.fail(err)
	}
	if !ok {
		return f, false, false
	}
	if live, err = alive(s.rows, t, row); err != nil {
		s.fail(err)
	}
	return events.Fact{ID: id, Edge: row.Edge, Interval: row.Interval}, live, true
}

// Due lists at most limit starts and ends that have come, oldest first.
func (s *State) Due(limit int) []events.Due {
	var due []events.Due
	for row, err := range s.rows.Scan(pebblekv.NewKey(tableDue)) {
		if err != nil {
			s.fail(err)
			return nil
		}
		parts := pebblekv.Split(row.Key)
		at := events.Instant(parts.Number())
		if at > s.now || len(due) == limit {
			break
		}
		d := events.Due{At: at, Tenant: events.Tenant(parts.ID())}
		copy(d.Fact.ID[:], parts.Raw(len(d.Fact.ID)))
		which := parts.Raw(1)
		if err := parts.Err(); err != nil {
			s.fail(err)
			return nil
		}
		d.Starts = which[0] == dueStart
		f, _, ok := s.Fact(d.Tenant, d.Fact.ID)
		if !ok {
			s.fail(fmt.Errorf("%w: due fact %s is not there", errImpossible, d.Fact.ID))
			return nil
		}
		d.Fact = f
		due = append(due, d)
	}
	return due
}

// Version is the revision that last changed p.
func (s *State) Version(t events.Tenant, p events.Principal) events.Revision {
	v, err := version(s.rows, t, p)
	if err != nil {
		s.fail(err)
	}
	return v
}

func version(rows pebblekv.Reader, t events.Tenant, p events.Principal) (events.Revision, error) {
	b, ok, err := rows.Get(nodeKey(tableVersion, t, p))
	if err != nil || !ok {
		return 0, err
	}
	return events.Revision(binary.BigEndian.Uint64(b)), nil
}
