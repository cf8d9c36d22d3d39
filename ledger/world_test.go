package ledger_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/permledger/permledger/events"
)

// world is the state of a ledger as a naive fold of its events: maps, no cleverness, everything at head.
type world struct {
	now, first events.Instant
	tenants    map[events.Tenant]bool
	admins     map[events.Principal]bool
	defs       map[thing]definition
	nodes      map[who]node
	facts      map[place][]row
	places     map[events.FactID]place
	versions   map[who]events.Revision
	answers    map[askedBy]events.Answer
	personal   map[who]personal
}

type (
	thing struct { // id is an API, Permission, ResourceType or Catalog
		tenant events.Tenant
		id     any
	}
	definition struct {
		catalog events.Catalog
		def     any
	}
	who struct {
		tenant events.Tenant
		p      events.Principal
	}
	node struct {
		incarnation int
		alive       bool
		attr        events.Attributes
		catalog     events.Catalog
	}
	place struct {
		tenant events.Tenant
		edge   events.Edge
	}
	row struct {
		events.Fact
		from, to   int  // incarnations of its ends
		start, end bool // still to be noticed
	}
	personal struct {
		keys, erased []events.PersonalKey
		described    *events.PrincipalDescribed
	}
	askedBy struct {
		tenant events.Tenant
		caller events.Principal
		key    string
	}
)

func newWorld() *world {
	return &world{
		tenants: map[events.Tenant]bool{}, admins: map[events.Principal]bool{}, defs: map[thing]definition{},
		nodes: map[who]node{}, facts: map[place][]row{}, places: map[events.FactID]place{},
		versions: map[who]events.Revision{}, answers: map[askedBy]events.Answer{}, personal: map[who]personal{},
	}
}

func (w *world) clone() *world {
	c := *w
	c.tenants, c.admins, c.defs, c.nodes = maps.Clone(w.tenants), maps.Clone(w.admins), maps.Clone(w.defs), maps.Clone(w.nodes)
	c.facts, c.places, c.versions, c.answers = maps.Clone(w.facts), maps.Clone(w.places), maps.Clone(w.versions), maps.Clone(w.answers)
	c.personal = maps.Clone(w.personal)
	return &c
}

// apply folds one event in; its revision and position are the next ones.
func (w *world) apply(r events.Recorded) error {
	w.now = r.RecordedAt
	if w.first == 0 {
		w.first = r.RecordedAt
	}
	t := r.Tenant
	w.answer(r)
	for _, s := range events.SealedIn(r) {
		p := w.personal[who{t, s.For}]
		if !slices.Contains(slices.Concat(p.keys, p.erased), s.Key) {
			p.keys = append(slices.Clone(p.keys), s.Key)
		}
		w.personal[who{t, s.For}] = p
	}
	holder, others, _ := events.About(r.Event)
	for _, p := range append(others, holder) {
		w.versions[who{t, p}] = r.Revision
	}
	if e, ok := events.Begins(r.Event); ok {
		return w.begin(r, e)
	}
	if _, ended, ok := events.Ends(r.Event); ok {
		return w.reshape(r, ended.Fact, func(f *row) { f.Interval.Until = max(f.Interval.From, r.End()) })
	}
	switch e := r.Event.(type) {
	case events.AdministratorAdded:
		w.admins[e.Principal] = true
	case events.AdministratorRemoved:
		delete(w.admins, e.Principal)
	case events.TenantCreated:
		w.tenants[t] = true
	case events.TenantDeleted:
		w.tenants[t] = false
	case events.CatalogLoaded:
		w.defs[thing{t, e.Catalog}] = definition{e.Catalog, e.Info}
	case events.APIDefined:
		w.defs[thing{t, e.API}] = definition{e.Catalog, e.Def}
	case events.APIRetired:
		delete(w.defs, thing{t, e.API})
	case events.PermissionDefined:
		w.defs[thing{t, e.Permission}] = definition{e.Catalog, e.Def}
	case events.PermissionRetired:
		delete(w.defs, thing{t, e.Permission})
	case events.ResourceTypeDefined:
		w.defs[thing{t, e.Type}] = definition{e.Catalog, e.Def}
	case events.ResourceTypeRetired:
		delete(w.defs, thing{t, e.Type})
	case events.RoleCreated:
		return w.create(t, e.Role.Principal(), e.Attr, e.Catalog)
	case events.GroupCreated:
		return w.create(t, e.Group.Principal(), e.Attr, "")
	case events.RoleChanged:
		n := w.nodes[who{t, e.Role.Principal()}]
		n.attr = e.Attr
		w.nodes[who{t, e.Role.Principal()}] = n
	case events.RoleDeleted:
		w.remove(t, e.Role.Principal())
	case events.GroupDeleted:
		w.remove(t, e.Group.Principal())
	case events.PrincipalDeleted:
		w.remove(t, e.Principal)
		p := w.personal[who{t, e.Principal}]
		p.described = nil
		w.personal[who{t, e.Principal}] = p
	case events.PrincipalDescribed:
		p := w.personal[who{t, e.Principal}]
		p.described = &e
		w.personal[who{t, e.Principal}] = p
	case events.PrincipalErased:
		w.personal[who{t, e.Principal}] = personal{erased: slices.Concat(w.personal[who{t, e.Principal}].erased, e.Keys)}
	case events.ValidityCorrected:
		return w.reshape(r, e.Fact, func(f *row) { f.Interval = r.Validity() })
	case events.ValidityStarted:
		return w.notice(e.Fact, func(f *row) { f.start = false })
	case events.ValidityExpired:
		return w.notice(e.Fact, func(f *row) { f.end = false })
	}
	return nil
}

func (w *world) answer(r events.Recorded) {
	if r.Key == "" {
		return
	}
	k := askedBy{r.Tenant, r.Actor, r.Key}
	a, ok := w.answers[k]
	if !ok {
		a = events.Answer{
			Tenant: r.Tenant, Caller: r.Actor, Key: r.Key, RequestHash: r.RequestHash, Command: r.Command,
			AnsweredAt: r.RecordedAt, Revision: r.Revision, Position: r.Position,
		}
	}
	a.Events++
	w.answers[k] = a
}

func (w *world) begin(r events.Recorded, e events.Edge) error {
	f := row{Fact: events.Fact{ID: r.ID, Edge: e, Interval: r.Validity()}}
	f.from, f.to = w.nodes[who{r.Tenant, e.From}].incarnation, w.nodes[who{r.Tenant, e.To}].incarnation
	if !w.lives(r.Tenant, f) {
		return fmt.Errorf("%v begins between things that are not there", e)
	}
	f.schedule(r.RecordedAt)
	at := place{r.Tenant, e}
	w.facts[at] = append(slices.Clone(w.facts[at]), f)
	w.places[r.ID] = at
	return nil
}

func (f *row) schedule(now events.Instant) {
	f.start = f.Interval.From > now
	f.end = f.Interval.Until > now && f.Interval.Until != events.Forever
}

func (w *world) reshape(r events.Recorded, id events.FactID, change func(*row)) error {
	return w.notice(id, func(f *row) {
		change(f)
		f.schedule(r.RecordedAt)
	})
}

func (w *world) notice(id events.FactID, change func(*row)) error {
	at := w.places[id]
	rows := slices.Clone(w.facts[at])
	i := slices.IndexFunc(rows, func(f row) bool { return f.ID == id })
	if i < 0 {
		return fmt.Errorf("no fact %s", id)
	}
	change(&rows[i])
	w.facts[at] = rows
	return nil
}

func (w *world) create(t events.Tenant, p events.Principal, attr events.Attributes, c events.Catalog) error {
	n := w.nodes[who{t, p}]
	if n.alive {
		return fmt.Errorf("%s is created twice", p)
	}
	w.nodes[who{t, p}] = node{n.incarnation + 1, true, attr, c}
	return nil
}

func (w *world) remove(t events.Tenant, p events.Principal) {
	n := w.nodes[who{t, p}]
	w.nodes[who{t, p}] = node{incarnation: n.incarnation + 1}
}

func managed(p events.Principal) bool { return p.Kind == events.KindRole || p.Kind == events.KindGroup }

func (w *world) lives(t events.Tenant, f row) bool {
	from, to := w.nodes[who{t, f.Edge.From}], w.nodes[who{t, f.Edge.To}]
	return from.incarnation == f.from && to.incarnation == f.to &&
		(from.alive || !managed(f.Edge.From)) && (to.alive || f.Edge.To.IsZero())
}

// list gives the facts that are not over and whose place matches.
func (w *world) list(match func(place) bool) (all []events.Fact) {
	for at, rows := range w.facts {
		if match(at) {
			all = append(all, w.at(at, rows)...)
		}
	}
	slices.SortFunc(all, func(a, b events.Fact) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return all
}

func (w *world) at(at place, rows []row) (all []events.Fact) {
	for _, f := range rows {
		if w.lives(at.tenant, f) && f.Interval.Until > w.now {
			all = append(all, f.Fact)
		}
	}
	return all
}

func (w *world) Facts(t events.Tenant, e events.Edge) []events.Fact {
	return w.at(place{t, e}, w.facts[place{t, e}])
}

func (w *world) From(t events.Tenant, p events.Principal, kind events.EdgeKind) []events.Fact {
	return w.list(func(at place) bool { return at.tenant == t && at.edge.From == p && at.edge.Kind == kind })
}

func (w *world) Holds(t events.Tenant, p events.Principal) bool {
	return len(w.list(func(at place) bool { return at.tenant == t && at.edge.From == p })) > 0
}

func (w *world) Fact(t events.Tenant, id events.FactID) (events.Fact, bool, bool) {
	at := w.places[id]
	for _, f := range w.facts[at] {
		if f.ID == id && at.tenant == t {
			return f.Fact, w.lives(t, f), true
		}
	}
	return events.Fact{}, false, false
}

func (w *world) Due(limit int) (all []events.Due) {
	for at, rows := range w.facts {
		for _, f := range rows {
			if f.start && f.Interval.From <= w.now && w.lives(at.tenant, f) {
				all = append(all, events.Due{Tenant: at.tenant, Fact: f.Fact, Starts: true, At: f.Interval.From})
			}
			if f.end && f.Interval.Until <= w.now && w.lives(at.tenant, f) {
				all = append(all, events.Due{Tenant: at.tenant, Fact: f.Fact, At: f.Interval.Until})
			}
		}
	}
	slices.SortFunc(all, func(a, b events.Due) int {
		if a.At != b.At {
			return int(a.At - b.At)
		}
		return bytes.Compare(a.Fact.ID[:], b.Fact.ID[:])
	})
	return all[:min(limit, len(all))]
}

func (w *world) Now() events.Instant { return w.now }

func (w *world) FirstDay() events.Instant {
	if w.first == 0 {
		return w.now
	}
	return w.first
}

func (w *world) TenantExists(t events.Tenant) bool { return w.tenants[t] }
func (w *world) TenantDeleted(t events.Tenant) bool {
	exists, known := w.tenants[t]
	return known && !exists
}
func (w *world) Administrators() []events.Principal {
	return slices.SortedFunc(maps.Keys(w.admins), events.Principal.Compare)
}

func find[D any](w *world, t events.Tenant, id any) (def D, ok bool) {
	d, ok := w.defs[thing{t, id}]
	if ok {
		def = d.def.(D)
	}
	return def, ok
}

func (w *world) Catalog(t events.Tenant, c events.Catalog) (events.CatalogInfo, bool) {
	return find[events.CatalogInfo](w, t, c)
}

func (w *world) API(t events.Tenant, a events.API) (events.APIDefinition, bool) {
	return find[events.APIDefinition](w, t, a)
}

func (w *world) Permission(t events.Tenant, p events.Permission) (events.PermissionDefinition, bool) {
	return find[events.PermissionDefinition](w, t, p)
}

func (w *world) ResourceType(t events.Tenant, r events.ResourceType) (events.ResourceTypeDefinition, bool) {
	return find[events.ResourceTypeDefinition](w, t, r)
}

func (w *world) APIsOf(t events.Tenant, audience string) (all []events.API) {
	for k, d := range w.defs {
		if def, ok := d.def.(events.APIDefinition); ok && k.tenant == t && def.Audience == audience {
			all = append(all, k.id.(events.API))
		}
	}
	slices.Sort(all)
	return all
}

func (w *world) PermissionByID(t events.Tenant, a events.API, id string) (events.Permission, bool) {
	for k, d := range w.defs {
		if p, ok := k.id.(events.Permission); ok && k.tenant == t && p.API == a && d.def.(events.PermissionDefinition).ID == id && id != "" {
			return p, true
		}
	}
	return events.Permission{}, false
}

func (w *world) CatalogContents(t events.Tenant, c events.Catalog) (all events.CatalogContents) {
	for k, d := range w.defs {
		if k.tenant != t || d.catalog != c {
			continue
		}
		switch id := k.id.(type) {
		case events.API:
			all.APIs = append(all.APIs, id)
		case events.Permission:
			all.Permissions = append(all.Permissions, id)
		case events.ResourceType:
			all.Types = append(all.Types, id)
		}
	}
	for k, n := range w.nodes {
		if k.tenant == t && n.alive && n.catalog == c && k.p.Kind == events.KindRole {
			all.Roles = append(all.Roles, events.Role(k.p.ID))
		}
	}
	slices.Sort(all.APIs)
	slices.SortFunc(all.Permissions, events.Permission.Compare)
	slices.Sort(all.Types)
	slices.Sort(all.Roles)
	return all
}

func (w *world) Role(t events.Tenant, r events.Role) (events.Attributes, bool) {
	n := w.nodes[who{t, r.Principal()}]
	return n.attr, n.alive
}

func (w *world) Group(t events.Tenant, g events.Group) (events.Attributes, bool) {
	n := w.nodes[who{t, g.Principal()}]
	return n.attr, n.alive
}

func (w *world) Version(t events.Tenant, p events.Principal) events.Revision {
	return w.versions[who{t, p}]
}

func (w *world) Described(t events.Tenant, p events.Principal) (events.PrincipalDescribed, bool) {
	d := w.personal[who{t, p}].described
	if d == nil {
		return events.PrincipalDescribed{}, false
	}
	return *d, true
}

func (w *world) PersonalKeys(t events.Tenant, p events.Principal) []events.PersonalKey {
	return w.personal[who{t, p}].keys
}
