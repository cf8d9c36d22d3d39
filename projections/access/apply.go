package access

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Name is the view's key space.
const Name = "access"

// Rows writes the view. It implements projections.View.
type Rows struct{}

func (Rows) Name() string { return Name }

// errImpossible marks events that the ledger never decides; meeting one halts the projector.
var errImpossible = errors.New("event does not fit the facts before it")

// Apply writes what r changes.
func (Rows) Apply(rows pebblekv.Batch, r events.Recorded) error {
	a := applier{rows, r}
	if err := rows.Set(pebblekv.NewKey(tableRecorded).Number(uint64(r.RecordedAt)).Number(uint64(r.Revision)), nil); err != nil {
		return err
	}
	if err := a.bump(); err != nil {
		return err
	}
	if err := a.seal(); err != nil {
		return err
	}
	if edge, ok := events.Begins(r.Event); ok {
		return a.begin(edge)
	}
	if _, ended, ok := events.Ends(r.Event); ok {
		return a.end(ended)
	}
	switch e := r.Event.(type) {
	case events.LedgerCreated, events.KeyAnnounced, events.ForkAccepted:
		return nil
	case events.AdministratorAdded:
		return a.flag(pebblekv.NewKey(tableAdministrator).IDs(string(e.Principal.Kind), e.Principal.ID), true)
	case events.AdministratorRemoved:
		return a.flag(pebblekv.NewKey(tableAdministrator).IDs(string(e.Principal.Kind), e.Principal.ID), false)
	case events.TenantCreated:
		return a.flag(pebblekv.NewKey(tableTenant).IDs(string(r.Tenant)), true)
	case events.TenantDeleted:
		return a.flag(pebblekv.NewKey(tableTenant).IDs(string(r.Tenant)), false)

	case events.CatalogLoaded:
		return define(a, e.Catalog, whatCatalog, string(e.Catalog), "", e.Info, false)
	case events.APIDefined:
		return a.defineAPI(e)
	case events.APIRetired:
		return define(a, "", whatAPI, string(e.API), "", e.Before, true)
	case events.PermissionDefined:
		return a.definePermission(e)
	case events.PermissionRetired:
		return define(a, "", whatPermission, string(e.Permission.API), string(e.Permission.Name), e.Before, true)
	case events.ResourceTypeDefined:
		return define(a, e.Catalog, whatType, string(e.Type), "", e.Def, false)
	case events.ResourceTypeRetired:
		return define(a, "", whatType, string(e.Type), "", e.Before, true)

	case events.RoleCreated:
		return a.create(e.Role.Principal(), e.Attr, e.Catalog)
	case events.RoleChanged:
		return a.change(e.Role.Principal(), e.Attr)
	case events.RoleDeleted:
		return a.delete(e.Role.Principal())
	case events.GroupCreated:
		return a.create(e.Group.Principal(), e.Attr, "")
	case events.GroupDeleted:
		return a.delete(e.Group.Principal())
	case events.PrincipalDeleted:
		return errors.Join(a.delete(e.Principal), a.undescribe(e.Principal))
	case events.PrincipalDescribed:
		return a.describe(e)
	case events.PrincipalErased:
		return a.erase(e)

	case events.ValidityCorrected:
		return a.correct(e.Fact, r.Validity())
	case events.ValidityStarted:
		return a.notice(e.Fact, true)
	case events.ValidityExpired:
		return a.notice(e.Fact, false)

	case events.RolePermissionAdded, events.RolePermissionRemoved, events.RoleIncluded, events.RoleExcluded,
		events.GroupMemberAdded, events.GroupMemberRemoved, events.GroupParentSet, events.GroupParentUnset,
		events.RoleAssigned, events.RoleUnassigned, events.PermissionGranted, events.PermissionRevoked:
		// They begin or end a fact: done above.
	}
	return fmt.Errorf("%w: %T", errImpossible, r.Event)
}

// applier is one event on its way into the rows.
type applier struct {
	rows pebblekv.Batch
	r    events.Recorded
}

func (a applier) flag(key pebblekv.Key, on bool) error {
	v := []byte{0}
	if on {
		v[0] = 1
	}
	return a.rows.Set(key.Newest(uint64(a.r.Revision)), v)
}

// bump notes the revision as the version of whoever the event changes: the holder, and a group whose members
// or children change.
func (a applier) bump() error {
	holder, others, _ := events.About(a.r.Event)
	if holder.IsZero() || a.r.Tenant == "" {
		return nil
	}
	version := binary.BigEndian.AppendUint64(nil, uint64(a.r.Revision))
	for _, p := range append([]events.Principal{holder}, others...) {
		if p != holder && p.Kind != events.KindGroup {
			continue
		}
		if err := a.rows.Set(nodeKey(tableVersion, a.r.Tenant, p), version); err != nil {
			return err
		}
	}
	return nil
}

// begin writes a new fact.
func (a applier) begin(e events.Edge) error {
	k := knowledge{Interval: a.r.Validity(), position: a.r.Position}
	var err error
	if k.fromIncarnation, err = a.incarnation(e.From); err != nil {
		return err
	}
	if !e.To.IsZero() {
		if k.toIncarnation, err = a.incarnation(e.To); err != nil {
			return err
		}
	}
	row := factRow{e, k.Interval, k.fromIncarnation, k.toIncarnation, a.r.Position}
	if err := setJSON(a.rows, factKey(a.r.Tenant, a.r.ID), row); err != nil {
		return err
	}
	return a.know(a.r.ID, e, k, true)
}

// incarnation gives the present incarnation of p, which must live.
func (a applier) incarnation(p events.Principal) (uint64, error) {
	n, ok, err := getJSON[nodeRow](a.rows, nodeKey(tableNode, a.r.Tenant, p))
	if err != nil {
		return 0, err
	}
	if ok && !n.Alive || !ok && managed(p) {
		return 0, fmt.Errorf("%w: %s does not exist", errImpossible, p)
	}
	return n.Incarnation, nil
}

// managed reports whether p must be created to exist; the others exist by being named.
func managed(p events.Principal) bool { return p.Kind == events.KindGroup || p.Kind == events.KindRole }

// know writes what is now known of a fact: one more history row each way, and the live rows while it is not
// over and both its ends live. A fact taken back before it started never holds and is over at once.
func (a applier) know(id events.FactID, e events.Edge, k knowledge, live bool) error {
	t, v := a.r.Tenant, k.encode()
	rev := uint64(a.r.Revision)
	if err := a.rows.Set(forwardKey(tableHistory, t, e).Raw(id[:]).Newest(rev), v); err != nil {
		return err
	}
	if err := a.rows.Set(reverseKey(tableHistoryReverse, t, e).Raw(id[:]).Newest(rev), v); err != nil {
		return err
	}
	if !live || k.Empty() || k.Until <= a.r.RecordedAt {
		return a.unlive(id, e)
	}
	if err := a.rows.Set(forwardKey(tableLive, t, e).Raw(id[:]), v); err != nil {
		return err
	}
	if err := a.rows.Set(reverseKey(tableLiveReverse, t, e).Raw(id[:]), v); err != nil {
		return err
	}
	return a.schedule(id, k.Interval)
}

func (a applier) unlive(id events.FactID, e events.Edge) error {
	return errors.Join(
		a.rows.Delete(forwardKey(tableLive, a.r.Tenant, e).Raw(id[:])),
		a.rows.Delete(reverseKey(tableLiveReverse, a.r.Tenant, e).Raw(id[:])))
}

const (
	dueStart = 'S'
	dueEnd   = 'E'
)

func (a applier) dueKey(at events.Instant, id events.FactID, which byte) pebblekv.Key {
	return pebblekv.NewKey(tableDue).Number(uint64(at)).IDs(string(a.r.Tenant)).Raw(id[:]).Raw([]byte{which})
}

// schedule notes the start and end of a fact that are still to come.
func (a applier) schedule(id events.FactID, v events.Interval) error {
	if v.From > a.r.RecordedAt {
		if err := a.rows.Set(a.dueKey(v.From, id, dueStart), nil); err != nil {
			return err
		}
	}
	if v.Until > a.r.RecordedAt && v.Until != events.Forever {
		return a.rows.Set(a.dueKey(v.Until, id, dueEnd), nil)
	}
	return nil
}

func (a applier) unschedule(id events.FactID, v events.Interval) error {
	return errors.Join(
		a.rows.Delete(a.dueKey(v.From, id, dueStart)),
		a.rows.Delete(a.dueKey(v.Until, id, dueEnd)))
}

// end and correct replace the interval of a fact.
func (a applier) end(ended events.Ended) error {
	row, err := a.fact(ended.Fact)
	if err != nil {
		return err
	}
	return a.replace(ended.Fact, row, events.Interval{From: row.Interval.From, Until: max(row.Interval.From, a.r.End())})
}

func (a applier) correct(id events.FactID, v events.Interval) error {
	row, err := a.fact(id)
	if err != nil {
		return err
	}
	return a.replace(id, row, v)
}

func (a applier) replace(id events.FactID, row factRow, v events.Interval) error {
	if err := a.unschedule(id, row.Interval); err != nil {
		return err
	}
	row.Interval = v
	if err := setJSON(a.rows, factKey(a.r.Tenant, id), row); err != nil {
		return err
	}
	live, err := alive(a.rows, a.r.Tenant, row)
	if err != nil {
		return err
	}
	k := knowledge{v, row.FromIncarnation, row.ToIncarnation, a.r.Position}
	return a.know(id, row.Edge, k, live)
}

func (a applier) fact(id events.FactID) (factRow, error) {
	row, ok, err := getJSON[factRow](a.rows, factKey(a.r.Tenant, id))
	if err == nil && !ok {
		err = fmt.Errorf("%w: no fact %s", errImpossible, id)
	}
	return row, err
}

// alive reports whether both ends of a fact are still of the incarnation it belongs to.
func alive(rows pebblekv.Reader, t events.Tenant, row factRow) (bool, error) {
	for _, end := range []struct {
		p           events.Principal
		incarnation uint64
	}{{row.Edge.From, row.FromIncarnation}, {row.Edge.To, row.ToIncarnation}} {
		if end.p.IsZero() {
			continue
		}
		n, ok, err := getJSON[nodeRow](rows, nodeKey(tableNode, t, end.p))
		if err != nil {
			return false, err
		}
		if ok && (!n.Alive || n.Incarnation != end.incarnation) {
			return false, nil
		}
	}
	return true, nil
}

// notice removes a start or end that has come, and the live rows of a fact that is over.
func (a applier) notice(id events.FactID, starts bool) error {
	row, err := a.fact(id)
	if err != nil {
		return err
	}
	if starts {
		return a.rows.Delete(a.dueKey(row.Interval.From, id, dueStart))
	}
	if row.Interval.Until > a.r.RecordedAt {
		return fmt.Errorf("%w: fact %s is not over", errImpossible, id)
	}
	if err := a.rows.Delete(a.dueKey(row.Interval.Until, id, dueEnd)); err != nil {
		return err
	}
	return a.unlive(id, row.Edge)
}

// create begins an incarnation of a role or group.
func (a applier) create(p events.Principal, attr events.Attributes, c events.Catalog) error {
	key := nodeKey(tableNode, a.r.Tenant, p)
	n, ok, err := getJSON[nodeRow](a.rows, key)
	if err != nil {
		return err
	}
	if ok && n.Alive {
		return fmt.Errorf("%w: %s exists", errImpossible, p)
	}
	if ok {
		n.Incarnation++
	}
	n = nodeRow{n.Incarnation, true, attr, c, a.r.Validity().From}
	if err := setJSON(a.rows, key, n); err != nil {
		return err
	}
	return a.live(p, n.Incarnation, lifetimeRow{Interval: a.r.Validity(), Attr: attr, Catalog: c})
}

func (a applier) live(p events.Principal, incarnation uint64, row lifetimeRow) error {
	row.Position = a.r.Position
	return setJSON(a.rows, nodeKey(tableLifetime, a.r.Tenant, p).Number(incarnation).Newest(uint64(a.r.Revision)), row)
}

func (a applier) change(p events.Principal, attr events.Attributes) error {
	key := nodeKey(tableNode, a.r.Tenant, p)
	n, ok, err := getJSON[nodeRow](a.rows, key)
	if err != nil {
		return err
	}
	if !ok || !n.Alive {
		return fmt.Errorf("%w: %s does not exist", errImpossible, p)
	}
	n.Attr = attr
	if err := setJSON(a.rows, key, n); err != nil {
		return err
	}
	return a.live(p, n.Incarnation, lifetimeRow{Interval: events.Interval{From: n.Since, Until: events.Forever}, Attr: attr, Catalog: n.Catalog})
}

// delete ends the present incarnation and takes its facts out of the live tables. Their history needs no
// rows: the lifetime bounds it.
func (a applier) delete(p events.Principal) error {
	key := nodeKey(tableNode, a.r.Tenant, p)
	n, ok, err := getJSON[nodeRow](a.rows, key)
	if err != nil {
		return err
	}
	if ok && !n.Alive || !ok && managed(p) {
		return fmt.Errorf("%w: %s does not exist", errImpossible, p)
	}
	end := max(n.Since, a.r.End())
	if err := a.live(p, n.Incarnation, lifetimeRow{Interval: events.Interval{From: n.Since, Until: end}, Attr: n.Attr, Catalog: n.Catalog}); err != nil {
		return err
	}
	if managed(p) {
		n.Alive = false
	} else {
		n = nodeRow{Incarnation: n.Incarnation + 1, Alive: true, Since: end}
		if err := a.live(p, n.Incarnation, lifetimeRow{Interval: events.Interval{From: end, Until: events.Forever}}); err != nil {
			return err
		}
	}
	if err := setJSON(a.rows, key, n); err != nil {
		return err
	}
	return a.forget(p)
}

// forget removes the live rows of every fact that p is an end of.
func (a applier) forget(p events.Principal) error {
	prefixes := []pebblekv.Key{nodeKey(tableLive, a.r.Tenant, p)}
	for _, kind := range []events.EdgeKind{events.EdgeMember, events.EdgeParent, events.EdgeAssignment, events.EdgeInclusion} {
		prefixes = append(prefixes, pebblekv.NewKey(tableLiveReverse).IDs(string(a.r.Tenant), string(kind), string(p.Kind), p.ID))
	}
	type gone struct {
		id events.FactID
		e  events.Edge
		v  events.Interval
	}
	var all []gone
	for _, prefix := range prefixes {
		for row, err := range a.rows.Scan(prefix) {
			if err != nil {
				return err
			}
			e, id, _, err := edgeOf(row.Key)
			if err != nil {
				return err
			}
			k, err := decodeKnowledge(row.Value)
			if err != nil {
				return err
			}
			all = append(all, gone{id, e, k.Interval})
		}
	}
	for _, g := range all {
		if err := errors.Join(a.unlive(g.id, g.e), a.unschedule(g.id, g.v)); err != nil {
			return err
		}
	}
	return nil
}

// define writes one version of a definition. What no catalog says, by hand or by retiring it, leaves it with the
// catalog it belongs to.
func define[D any](a applier, c events.Catalog, what, id, id2 string, def D, retired bool) error {
	key, from := definitionKey(a.r.Tenant, what, id, id2), a.r.Validity().From
	if retired {
		from = a.r.End()
	}
	if c == "" {
		before, ok, err := latestDefinition[D](a.rows, key)
		if err != nil {
			return err
		}
		if ok {
			c = before.Catalog
		}
	}
	return setJSON(a.rows, key.Newest(uint64(a.r.Revision)), definitionRow[D]{from, retired, c, def, a.r.Position})
}

func (a applier) defineAPI(e events.APIDefined) error {
	if err := a.rows.Set(pebblekv.NewKey(tableAudience).IDs(string(a.r.Tenant), e.Def.Audience, string(e.API)), nil); err != nil {
		return err
	}
	return define(a, e.Catalog, whatAPI, string(e.API), "", e.Def, false)
}

func (a applier) definePermission(e events.PermissionDefined) error {
	if e.Def.ID != "" {
		slug := slugKey(a.r.Tenant, e.Permission.API, e.Def.ID).Newest(uint64(a.r.Revision))
		if err := a.rows.Set(slug, []byte(e.Permission.Name)); err != nil {
			return err
		}
	}
	return define(a, e.Catalog, whatPermission, string(e.Permission.API), string(e.Permission.Name), e.Def, false)
}

// latestDefinition is the newest version of one definition.
func latestDefinition[D any](rows pebblekv.Reader, key pebblekv.Key) (d definitionRow[D], ok bool, err error) {
	for row, err := range rows.Scan(key) {
		if err != nil {
			return d, false, err
		}
		d, err := decodeDefinition[D](row)
		return d, err == nil, err
	}
	return d, false, nil
}
