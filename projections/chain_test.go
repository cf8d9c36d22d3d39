package projections_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
	"github.com/permledger/permledger/projections/receipts"
)

// world makes commits that a ledger could have written, as far as views that look at one event at a time can
// tell: every kind of event, few names so that things meet, facts that end and are corrected, commands of
// several events, and moments in which several commits are recorded.
type world struct {
	draw  func(n int) int // one of 0 … n-1
	ids   uint64
	now   events.Instant
	head  events.Head
	facts []events.Fact
}

func newWorld(draw func(n int) int) *world {
	return &world{draw: draw, now: events.At(testDay)}
}

func seeded(seed uint64) *world {
	return newWorld(rand.New(rand.NewPCG(seed, 0)).IntN)
}

func drawn(t *rapid.T) *world {
	return newWorld(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "d") })
}

func pick[T any](w *world, from ...T) T { return from[w.draw(len(from))] }

func (w *world) id() (id events.EventID) {
	w.ids++
	binary.BigEndian.PutUint64(id[:], 0x0190_A1B2_C3D4_7E5F)
	binary.BigEndian.PutUint64(id[8:], 1<<63|w.ids)
	return id
}

var (
	users   = []events.Principal{events.User("alice"), events.User("bob"), events.User("a/b=c"), events.Client("backup")}
	actors  = []events.Principal{events.User("root"), events.User("alice"), events.Client("sync")}
	roles   = []events.Role{"operate", "admin", "alice"}
	groups  = []events.Group{"staff", "ops", "admin"}
	apis    = []events.API{"operate", "tasklist"}
	names   = []events.PermissionName{"read:*", "write:*", "operate"}
	types   = []events.ResourceType{"process", "decision"}
	tenants = []events.Tenant{"", "default", "acme", "a.b"}
	keys    = []string{"", "", "k1", "k 2", "schlüssel"}
	signers = []events.PrivateKey{signer(1), signer(2)}
)

func (w *world) permission() events.Permission {
	return events.Permission{API: pick(w, apis...), Name: pick(w, names...)}
}

func (w *world) scope() events.Scope {
	t := pick(w, types...)
	return pick(w, events.Scope{}, events.AnyOf(t), events.Exactly(t, "order:1"), events.WithProperty(t, "assignee"))
}

func signer(n byte) events.PrivateKey {
	return events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

// begin makes an event that creates a fact.
func (w *world) begin() events.Event {
	switch w.draw(6) {
	case 0:
		return events.GroupMemberAdded{Group: pick(w, groups...), Member: pick(w, users...)}
	case 1:
		return events.GroupParentSet{Group: pick(w, groups...), Parent: pick(w, groups...)}
	case 2:
		return events.RoleAssigned{Principal: pick(w, append(users, groups[0].Principal())...), Role: pick(w, roles...), Scope: w.scope()}
	case 3:
		return events.RoleIncluded{Role: pick(w, roles...), Included: pick(w, roles...)}
	case 4:
		return events.PermissionGranted{Principal: pick(w, users...), Permission: w.permission(), Scope: w.scope()}
	default:
		return events.RolePermissionAdded{Role: pick(w, roles...), Permission: w.permission(), Scope: w.scope()}
	}
}

// touch makes an event that ends, corrects or notices a fact.
func (w *world) touch() events.Event {
	if len(w.facts) == 0 {
		return w.begin()
	}
	f := pick(w, w.facts...)
	switch w.draw(6) {
	case 0:
		return events.ValidityCorrected{Fact: f.ID, Edge: f.Edge, Before: f.Interval}
	case 1:
		return events.ValidityStarted{Fact: f.ID, Edge: f.Edge}
	case 2:
		return events.ValidityExpired{Fact: f.ID, Edge: f.Edge}
	}
	ended := events.Ended{Fact: f.ID}
	role, group := events.Role(f.From.ID), events.Group(f.From.ID)
	switch {
	case f.Kind == events.EdgeMember:
		return events.GroupMemberRemoved{Group: events.Group(f.To.ID), Member: f.From, Ended: ended}
	case f.Kind == events.EdgeParent:
		return events.GroupParentUnset{Group: group, Parent: events.Group(f.To.ID), Ended: ended}
	case f.Kind == events.EdgeAssignment:
		return events.RoleUnassigned{Principal: f.From, Role: events.Role(f.To.ID), Scope: f.Scope, Ended: ended}
	case f.Kind == events.EdgeInclusion:
		return events.RoleExcluded{Role: role, Included: events.Role(f.To.ID), Ended: ended}
	case f.From.Kind == events.KindRole:
		return events.RolePermissionRemoved{Role: role, Permission: f.Permission, Scope: f.Scope, Ended: ended}
	default:
		return events.PermissionRevoked{Principal: f.From, Permission: f.Permission, Scope: f.Scope, Ended: ended}
	}
}

// define makes an event about something that is no fact.
func (w *world) define() events.Event {
	api, role, group, attr := pick(w, apis...), pick(w, roles...), pick(w, groups...), events.Attributes{Name: "N"}
	def := events.APIDefinition{Name: string(api), Audience: string(api) + "-api"}
	perm := events.PermissionDefinition{Category: "Access", RequiresAnyOf: [][]events.Permission{{w.permission()}}}
	typ := events.ResourceTypeDefinition{API: api, Label: "L"}
	info := events.CatalogInfo{Version: "1", Digest: "00"}
	return pick[events.Event](w,
		events.LedgerCreated{Ledger: w.id()},
		events.KeyAnnounced{Key: pick(w, signers...).Public()},
		events.ForkAccepted{Lost: w.head.Mark(), Kept: w.head.Mark()},
		events.AdministratorAdded{Principal: pick(w, actors...)},
		events.AdministratorRemoved{Principal: pick(w, actors...)},
		events.TenantCreated{Name: "T"},
		events.TenantDeleted{},
		events.CatalogLoaded{Catalog: "c", Info: info},
		events.APIDefined{API: api, Def: def},
		events.APIRetired{API: api, Before: def},
		events.PermissionDefined{Permission: w.permission(), Def: perm},
		events.PermissionRetired{Permission: w.permission(), Before: perm},
		events.ResourceTypeDefined{Type: types[0], Def: typ},
		events.ResourceTypeRetired{Type: types[1], Before: typ},
		events.RoleCreated{Role: role, Attr: attr},
		events.RoleChanged{Role: role, Attr: attr},
		events.RoleDeleted{Role: role},
		events.GroupCreated{Group: group, Attr: attr},
		events.GroupDeleted{Group: group},
		events.PrincipalDeleted{Principal: pick(w, users...)},
		events.PrincipalDescribed{Principal: pick(w, users...), Profile: events.Profile{Name: "N"}},
		events.PrincipalErased{Principal: pick(w, users...), Keys: []events.PersonalKey{w.id()}},
	)
}

// next makes the events of the next commit, complete but for revision, position and bytes.
func (w *world) next() (events.Header, []events.Recorded) {
	w.now += events.Instant(w.draw(3)) * 1_500_000 // 0, 1.5 or 3 seconds
	var evs []events.Recorded
	for range 1 + w.draw(3) {
		evs = append(evs, w.command()...)
	}
	return events.Header{Ledger: testLedger, RecordedAt: w.now, Writer: "w1"}, evs
}

func (w *world) command() []events.Recorded {
	meta := events.Meta{
		Actor: pick(w, actors...), OnBehalfOf: pick(w, events.Principal{}, users[0], users[2]),
		AuthMethod: "token", Reason: pick(w, "", "new hire", "<&> ü"), Key: pick(w, keys...),
	}
	if meta.Key != "" {
		meta.RequestHash = fmt.Sprintf("%064x", w.draw(1000))
	}
	command, tenant := w.id(), pick(w, tenants...)
	evs := make([]events.Recorded, 1+w.draw(4))
	for i := range evs {
		r := events.Recorded{ID: w.id(), Command: command, Tenant: tenant, RecordedAt: w.now, Meta: meta}
		switch w.draw(4) {
		case 0:
			r.Event = w.define()
		case 1:
			r.Event = w.touch()
			r.ValidUntil = pick(w, 0, w.now-1)
		default:
			r.Event = w.begin()
			r.ValidFrom, r.ValidUntil = pick(w, 0, w.now-1), pick(w, 0, w.now+10)
		}
		if edge, ok := events.Begins(r.Event); ok {
			w.facts = append(w.facts, events.Fact{ID: r.ID, Edge: edge, Interval: r.Validity()})
		}
		evs[i] = r
	}
	return evs
}

// commit seals the next commit.
func (w *world) commit(t testing.TB) events.Commit {
	header, evs := w.next()
	return w.seal(t, header, evs)
}

func (w *world) seal(t testing.TB, header events.Header, evs []events.Recorded) events.Commit {
	c, err := events.Seal(w.head, header, evs, w.signer(evs))
	if err != nil {
		t.Fatal(err)
	}
	w.head = c.Head()
	return c
}

// signer is the key that must sign evs: the ledger's, or else the first one that they announce.
func (w *world) signer(evs []events.Recorded) events.Signer {
	key := w.head.Key
	for _, r := range evs {
		if e, ok := r.Event.(events.KeyAnnounced); ok && key.IsZero() {
			key = e.Key
		}
	}
	for _, s := range signers {
		if s.Public() == key {
			return s
		}
	}
	return nil
}

// memory is a log that can be made to misbehave.
type memory struct {
	mu      sync.Mutex
	stored  []events.Stored
	claims  events.Revision // what Last says, if not 0
	failing error           // of Last and, from failAt on, of Read
	failAt  events.Revision
	mute    bool // Read ends without a word when it is cancelled
}

func (m *memory) add(cs ...events.Commit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range cs {
		m.stored = append(m.stored, events.Stored{Revision: c.Revision, Bytes: c.Bytes})
	}
}

func (m *memory) Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	return func(yield func(events.Stored, error) bool) {
		m.mu.Lock()
		stored, failing, failAt := slices.Clone(m.stored), m.failing, m.failAt
		m.mu.Unlock()
		for _, s := range stored {
			switch {
			case ctx.Err() != nil && m.mute:
				return
			case ctx.Err() != nil:
				yield(events.Stored{}, ctx.Err())
				return
			case failing != nil && s.Revision >= failAt:
				yield(events.Stored{}, failing)
				return
			case s.Revision >= from && !yield(s, nil):
				return
			}
		}
	}
}

func (m *memory) Last(context.Context) (events.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.failing != nil && m.failAt == 0:
		return 0, m.failing
	case m.claims != 0:
		return m.claims, nil
	case len(m.stored) == 0:
		return 0, nil
	}
	return m.stored[len(m.stored)-1].Revision, nil
}

// tally is a view that reads what it wrote: it counts the events of each type. With damage it says of an
// event that it cannot apply it.
type tally struct {
	damage func(events.Recorded) error
}

func (tally) Name() string { return "tally" }

func (v tally) Apply(rows pebblekv.Batch, r events.Recorded) error {
	if v.damage != nil {
		if err := v.damage(r); err != nil {
			return err
		}
	}
	key := pebblekv.NewKey('n').IDs(events.Name(r.Event))
	value, ok, err := rows.Get(key)
	if err != nil {
		return err
	}
	n := uint64(1)
	if ok {
		n += binary.BigEndian.Uint64(value)
	}
	return rows.Set(key, binary.BigEndian.AppendUint64(nil, n))
}

func openStore(t testing.TB, dir string, o pebblekv.Options) *pebblekv.Store {
	t.Helper()
	o.CacheBytes = 4 << 20
	s, err := pebblekv.Open(dir, o)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func openProjector(t testing.TB, s *pebblekv.Store, log projections.Source, damage func(events.Recorded) error) *projections.Projector {
	t.Helper()
	p, err := projections.Open(s, log, tally{damage}, audit.Rows{}, receipts.Rows{})
	must(t, err)
	return p
}

// inMemory is a projector in a store of its own that has applied the whole log.
func inMemory(t testing.TB, log projections.Source) *projections.Projector {
	t.Helper()
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	must(t, p.CatchUp(t.Context()))
	return p
}

// history is n commits and the log that holds them.
func history(t testing.TB, w *world, n int) ([]events.Commit, *memory) {
	t.Helper()
	commits, log := make([]events.Commit, n), &memory{}
	for i := range commits {
		commits[i] = w.commit(t)
	}
	log.add(commits...)
	return commits, log
}

func digests(t testing.TB, p *projections.Projector) map[string]string {
	t.Helper()
	revision, all, err := p.Digests(t.Context())
	must(t, err)
	if revision != p.Head().Revision {
		t.Fatalf("digests at revision %d, head %d", revision, p.Head().Revision)
	}
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
