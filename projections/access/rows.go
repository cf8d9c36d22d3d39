package access

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// The tables of the view. A key is the table's byte, ids as "token/", then fixed-size numbers; T is the
// tenant, P a principal as kind/id, S a scope as kind/type/value, X the thing held: kind/id of a group or
// role, or api/name of a permission. ~ marks a revision sorted newest first.
//
//	h T P edge S X fact ~revision   what is known of a fact since that revision, from its holder
//	H T edge X S P fact ~revision   the same from the thing held
//	l T P edge S X fact             a fact that is not over, as known now
//	L T edge X S P fact             the same from the thing held
//	f T fact                        a fact's edge, its present knowledge, and the position that created it
//	n T P                           the present incarnation of a principal
//	N T P incarnation ~revision     what is known of an incarnation's lifetime since that revision
//	p T P                           with which keys something about a principal is sealed, and its description
//	v T P                           the revision that last changed a principal
//	d T what id id ~revision        a definition known since that revision: catalog, api, permission, type
//	i T api slug ~revision          the name of the permission that has the slug since that revision
//	u T audience api                an API that has, or had, the audience
//	t T ~revision                   whether the tenant exists
//	a P ~revision                   whether the principal administers the ledger
//	r time revision                 when each commit was recorded
//	D time T fact S|E               a start or end that has not come, or was not noticed yet
const (
	tableHistory        = 'h'
	tableHistoryReverse = 'H'
	tableLive           = 'l'
	tableLiveReverse    = 'L'
	tableFact           = 'f'
	tableNode           = 'n'
	tableLifetime       = 'N'
	tablePersonal       = 'p'
	tableVersion        = 'v'
	tableDefinition     = 'd'
	tableSlug           = 'i'
	tableAudience       = 'u'
	tableTenant         = 't'
	tableAdministrator  = 'a'
	tableRecorded       = 'r'
	tableDue            = 'D'
)

// The kinds of scope in keys.
var scopeWords = [...]string{events.ScopeNone: "", events.ScopeAny: "any", events.ScopeID: "id", events.ScopeProperty: "property"}

func scopeIDs(s events.Scope) (kind, typ, value string) {
	return scopeWords[s.Kind], string(s.Type), s.Value
}

// held gives the two ids of the thing an edge leads to.
func held(e events.Edge) (x, y string) {
	if e.Kind == events.EdgeGrant {
		return string(e.Permission.API), string(e.Permission.Name)
	}
	return string(e.To.Kind), e.To.ID
}

// forwardKey is the key of an edge from its holder. The scope comes before the thing held, so that all roles
// somebody holds on one resource stand together.
func forwardKey(table byte, t events.Tenant, e events.Edge) pebblekv.Key {
	kind, typ, value := scopeIDs(e.Scope)
	x, y := held(e)
	return pebblekv.NewKey(table).IDs(string(t), string(e.From.Kind), e.From.ID, string(e.Kind), kind, typ, value, x, y)
}

// reverseKey is the key of an edge from the thing held.
func reverseKey(table byte, t events.Tenant, e events.Edge) pebblekv.Key {
	kind, typ, value := scopeIDs(e.Scope)
	x, y := held(e)
	return pebblekv.NewKey(table).IDs(string(t), string(e.Kind), x, y, kind, typ, value, string(e.From.Kind), e.From.ID)
}

// edgeOf reads the edge and fact back from a key of the history or live tables.
func edgeOf(key []byte) (events.Edge, events.FactID, *pebblekv.Parts, error) {
	p := pebblekv.Split(key)
	p.ID() // tenant
	var e events.Edge
	var kind, typ, value, x, y string
	switch key[0] {
	case tableHistory, tableLive:
		e.From.Kind, e.From.ID = events.Kind(p.ID()), p.ID()
		e.Kind = events.EdgeKind(p.ID())
		kind, typ, value = p.ID(), p.ID(), p.ID()
		x, y = p.ID(), p.ID()
	default:
		e.Kind = events.EdgeKind(p.ID())
		x, y = p.ID(), p.ID()
		kind, typ, value = p.ID(), p.ID(), p.ID()
		e.From.Kind, e.From.ID = events.Kind(p.ID()), p.ID()
	}
	for k, word := range scopeWords {
		if word == kind {
			e.Scope = events.Scope{Kind: events.ScopeKind(k), Type: events.ResourceType(typ), Value: value}
		}
	}
	if e.Kind == events.EdgeGrant {
		e.Permission = events.Permission{API: events.API(x), Name: events.PermissionName(y)}
	} else {
		e.To = events.Principal{Kind: events.Kind(x), ID: y}
	}
	var id events.FactID
	copy(id[:], p.Raw(len(id)))
	return e, id, p, p.Err()
}

// knowledge is what is known of a fact: its validity, the incarnations of its ends, and the position of
// the event that said so.
type knowledge struct {
	events.Interval
	fromIncarnation uint64
	toIncarnation   uint64 // 0 for grants
	position        events.Position
}

func (k knowledge) encode() []byte {
	b := make([]byte, 0, 28)
	b = binary.BigEndian.AppendUint64(b, uint64(k.From))
	b = binary.BigEndian.AppendUint64(b, uint64(k.Until))
	b = binary.AppendUvarint(b, k.fromIncarnation)
	b = binary.AppendUvarint(b, k.toIncarnation)
	return binary.AppendUvarint(b, uint64(k.position))
}

func decodeKnowledge(b []byte) (k knowledge, err error) {
	if len(b) < 19 {
		return k, fmt.Errorf("%w: a fact's row is %d bytes", pebblekv.ErrStore, len(b))
	}
	k.From = events.Instant(binary.BigEndian.Uint64(b))
	k.Until = events.Instant(binary.BigEndian.Uint64(b[8:]))
	b = b[16:]
	for _, into := range []*uint64{&k.fromIncarnation, &k.toIncarnation, (*uint64)(&k.position)} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return k, fmt.Errorf("%w: a fact's row ends early", pebblekv.ErrStore)
		}
		*into, b = v, b[n:]
	}
	return k, nil
}

// factRow is the f table: JSON, because it is read rarely and one at a time.
type factRow struct {
	Edge            events.Edge     `json:"edge"`
	Interval        events.Interval `json:"interval"`
	FromIncarnation uint64          `json:"from_incarnation,omitempty"`
	ToIncarnation   uint64          `json:"to_incarnation,omitempty"`
	Created         events.Position `json:"created"`
}

// nodeRow is the n table: the present incarnation of a principal. Users, clients and mapping rules without a
// row are incarnation 0 and alive.
type nodeRow struct {
	Incarnation uint64            `json:"incarnation"`
	Alive       bool              `json:"alive"`
	Attr        events.Attributes `json:"attributes,omitzero"`
	Catalog     events.Catalog    `json:"catalog,omitempty"`
	Since       events.Instant    `json:"since,omitzero"`
}

// lifetimeRow is the N table.
type lifetimeRow struct {
	Interval events.Interval   `json:"interval"`
	Attr     events.Attributes `json:"attributes,omitzero"`
	Catalog  events.Catalog    `json:"catalog,omitempty"`
	Position events.Position   `json:"position"` // of the event that said so
}

// The words of the d table.
const (
	whatCatalog    = "catalog"
	whatAPI        = "api"
	whatPermission = "permission"
	whatType       = "type"
)

// definitionRow is the d table: a definition of type D, in force from From until a newer one.
type definitionRow[D any] struct {
	From     events.Instant  `json:"from"`
	Retired  bool            `json:"retired,omitempty"`
	Catalog  events.Catalog  `json:"catalog,omitempty"`
	Def      D               `json:"def"`
	Position events.Position `json:"position"` // of the event that said so
}

func definitionKey(t events.Tenant, what, id, id2 string) pebblekv.Key {
	return pebblekv.NewKey(tableDefinition).IDs(string(t), what, id, id2)
}

func slugKey(t events.Tenant, a events.API, slug string) pebblekv.Key {
	return pebblekv.NewKey(tableSlug).IDs(string(t), string(a), slug)
}

func nodeKey(table byte, t events.Tenant, p events.Principal) pebblekv.Key {
	return pebblekv.NewKey(table).IDs(string(t), string(p.Kind), p.ID)
}

func factKey(t events.Tenant, id events.FactID) pebblekv.Key {
	return pebblekv.NewKey(tableFact).IDs(string(t)).Raw(id[:])
}

// decodeLifetime reads a row of the N table.
func decodeLifetime(row pebblekv.Row) (l lifetimeRow, err error) {
	if err := json.Unmarshal(row.Value, &l); err != nil {
		return l, fmt.Errorf("%w: lifetime %q: %w", pebblekv.ErrStore, row.Key, err)
	}
	return l, nil
}

func getJSON[V any](rows pebblekv.Reader, key []byte) (v V, ok bool, err error) {
	b, ok, err := rows.Get(key)
	if err != nil || !ok {
		return v, false, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, false, fmt.Errorf("%w: row %q: %w", pebblekv.ErrStore, key, err)
	}
	return v, true, nil
}

func setJSON(rows pebblekv.Batch, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return rows.Set(key, b)
}
