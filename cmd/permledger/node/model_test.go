package node_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
)

// steps is how many commands and questions the model-based test makes, over all its sequences.
func steps() int {
	if os.Getenv("PERMLEDGER_FULL") != "" {
		return 50_000
	}
	return 4_000
}

// universe is everything the generated commands and questions are about. The ids are awkward on purpose.
type universe struct {
	audience    string
	actors      []events.Principal
	groups      []events.Group
	roles       []events.Role
	permissions []events.Permission
	scopes      []events.Scope
	resources   []access.Resource
}

func smallUniverse() universe {
	const typ = "doc"
	u := universe{
		audience: "files-api",
		actors:   []events.Principal{events.User("a"), events.User("ü/*>"), events.Client("a")},
		groups:   []events.Group{"g", "g/1", "g=2F1"},
		roles:    []events.Role{"r", "r:1", "r 2"},
		scopes:   []events.Scope{{}, events.AnyOf(typ), events.Exactly(typ, "x"), events.Exactly(typ, "x/y"), events.WithProperty(typ, "owner")},
		resources: []access.Resource{
			{Audience: "files-api"}, {Type: typ}, {Type: typ, ID: "x"}, {Type: typ, ID: "x/y"},
			{Type: typ, ID: "x", Properties: []string{"owner"}}, {Type: typ, Properties: []string{"owner"}},
		},
	}
	for _, name := range []events.PermissionName{"read", "write", "purge", "read:*"} {
		u.permissions = append(u.permissions, events.Permission{API: "files", Name: name})
	}
	return u
}

// requirements are the prerequisites permissions are defined with, and later redefined with: chained, in a
// circle, either-or.
func (u universe) requirements() [][][]events.Permission {
	p := u.permissions
	return [][][]events.Permission{nil, {{p[0]}}, {{p[0], p[3]}}, {{p[1]}, {p[0], p[3]}}, {{p[2]}}}
}

// TestModel drives random commands through a whole ledger and holds every kind of answer, at random moments,
// against the oracle.
func TestModel(t *testing.T) {
	const length = 50
	sequences := steps() / length
	seen := map[string]int{}
	setFlag(t, "rapid.checks", fmt.Sprint(sequences))
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(rt)
		m.seen = seen
		defer m.close()
		for range length {
			m.command()
			m.question()
			seen["step"]++
		}
		m.everything()
	})
	t.Log(seen)
	if testing.Short() { // rapid makes a fifth of the steps then, in which not everything need come up
		return
	}
	// Agreement means nothing where nothing was asked: each of these must have come up.
	for _, what := range []string{
		"allowed", "inert", "not_held", "now", "past", "nested", "included", "reborn", "several intervals", "gained", "lost",
		"role.deleted", "group.deleted", "principal.deleted", "validity.corrected", "validity.started", "validity.expired",
		"role.changed", "permission.defined", "refused", "nothing", "notice",
	} {
		if seen[what] == 0 {
			t.Errorf("%s never came up in %d steps", what, seen["step"])
		}
	}
}

// TestModelNotices shows that the model-based test can fail: an oracle that does not see one kind of event must
// soon disagree with the view.
func TestModelNotices(t *testing.T) {
	setFlag(t, "rapid.checks", "100")
	setFlag(t, "rapid.nofailfile", "true")
	setFlag(t, "rapid.shrinktime", "0")
	for _, kind := range []string{
		"permission.revoked", "role.permission-removed", "role.unassigned", "group.member-removed",
		"role.deleted", "group.deleted", "principal.deleted", "validity.corrected", "permission.defined",
	} {
		t.Run(kind, func(t *testing.T) {
			for tries := 0; !blindnessIsNoticed(t, kind); tries++ { // what is drawn may happen not to matter
				if tries == 10 {
					t.Fatalf("nobody noticed that the oracle does not see %s", kind)
				}
			}
		})
	}
}

func blindnessIsNoticed(t *testing.T, kind string) bool {
	probe := &probe{T: t}
	done := make(chan struct{})
	go func() { // a failing check ends its goroutine
		defer close(done)
		rapid.Check(probe, func(rt *rapid.T) {
			m := newMachine(rt)
			defer m.close()
			m.oracle.blind = kind
			for range 50 {
				m.command()
				m.question()
			}
		})
	}()
	<-done
	return probe.failed
}

// probe is a test that may fail without failing the test it is in.
type probe struct {
	*testing.T
	failed bool
}

func (p *probe) Errorf(string, ...any) { p.failed = true }
func (p *probe) Error(...any)          { p.failed = true }
func (p *probe) Fail()                 { p.failed = true }
func (p *probe) Failed() bool          { return p.failed }
func (p *probe) Log(...any)            {}
func (p *probe) Logf(string, ...any)   {}
func (p *probe) Fatalf(string, ...any) { p.FailNow() }
func (p *probe) Fatal(...any)          { p.FailNow() }
func (p *probe) FailNow() {
	p.failed = true
	runtime.Goexit()
}

// setFlag sets a flag of rapid for this test.
func setFlag(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	before := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(before) })
}

type machine struct {
	*rapid.T
	u universe
	*stack
	oracle oracle
	clock  time.Time
	facts  []events.FactID
	seen   map[string]int // what came up, over all sequences
	born   map[events.Principal]int
	ready  events.Revision // from which on everything is defined
}

func newMachine(t *rapid.T) *machine {
	m := &machine{T: t, u: smallUniverse(), seen: map[string]int{}, born: map[events.Principal]int{}, clock: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	m.stack = openStack(t, memlog.Open(memlog.Config{}), func() time.Time { return m.clock })
	m.must(ledger.DefineAPI{API: "files", Def: events.APIDefinition{Name: "Files", Audience: m.u.audience}})
	m.must(ledger.DefineResourceType{Type: "doc", Def: events.ResourceTypeDefinition{API: "files"}})
	for _, p := range m.u.permissions {
		m.must(ledger.DefinePermission{Permission: p})
	}
	for i := range m.u.groups {
		m.must(ledger.CreateGroup{Group: m.u.groups[i]})
		m.must(ledger.CreateRole{Role: m.u.roles[i]})
	}
	m.ready = m.ledger.Status().Head.Revision
	return m
}

func (m *machine) close() {
	m.stack.close(m.T)
}

func (m *machine) must(c ledger.Command) {
	m.Helper()
	if _, err := m.submit(ledger.Request{Commands: []ledger.Command{c}}); err != nil {
		m.Fatal(err)
	}
}

// submit sends a request and tells the oracle what was recorded.
func (m *machine) submit(r ledger.Request) (ledger.Receipt, error) {
	r.Tenant, r.Actor, r.Reason = events.DefaultTenant, events.User("root"), "model"
	receipt, err := m.ledger.Submit(context.Background(), r)
	if err == nil {
		m.record()
	}
	return receipt, err
}

// record reads the trail on from where the oracle is.
func (m *machine) record() {
	for r, err := range m.trail.Events(context.Background(), audit.Filter{From: events.Position(len(m.oracle.recorded) + 1)}) {
		if err != nil {
			m.Fatal(err)
		}
		m.oracle.recorded = append(m.oracle.recorded, r)
		m.note(r.Event)
		if _, begins := events.Begins(r.Event); begins {
			m.facts = append(m.facts, r.ID)
		}
	}
}

// note counts what is worth having come up.
func (m *machine) note(e events.Event) {
	m.seen[events.Name(e)]++
	switch e := e.(type) {
	case events.RoleCreated:
		m.birth(e.Role.Principal())
	case events.GroupCreated:
		m.birth(e.Group.Principal())
	default:
	}
}

func (m *machine) birth(p events.Principal) {
	if m.born[p]++; m.born[p] > 1 {
		m.seen["reborn"]++
	}
}

// uniform draws from 0 to n-1, each as likely. rapid's own integers favour the small and the round, which
// starves most commands; this still shrinks towards 0.
func uniform(t *rapid.T, n int, label string) int {
	v := 0
	for _, bit := range rapid.SliceOfN(rapid.Bool(), 10, 10).Draw(t, label) {
		v <<= 1
		if bit {
			v |= 1
		}
	}
	return v * n >> 10
}

func pick[V any](m *machine, from []V, label string) V { return from[uniform(m.T, len(from), label)] }

func (m *machine) chance(percent int, label string) bool {
	return uniform(m.T, 100, label) < percent
}

// instant is somewhere around the present: hours before and after, often exactly now or at an earlier edge.
func (m *machine) instant(label string) events.Instant {
	if m.chance(30, label+" edge") {
		r := pick(m, m.oracle.recorded, label)
		return r.Validity().From
	}
	return events.At(m.clock.Add(time.Duration(uniform(m.T, 41, label)-30) * time.Hour))
}

// command lets time pass and sends one random request.
func (m *machine) command() {
	m.clock = m.clock.Add(time.Duration(uniform(m.T, 4, "hours")) * time.Hour)
	if m.chance(8, "notice") {
		if err := m.ledger.Notice(context.Background()); err != nil {
			m.Fatal(err)
		}
		m.seen["notice"]++
		m.record()
	}
	r := ledger.Request{}
	for range pick(m, []int{1, 1, 1, 1, 1, 2}, "commands") {
		r.Commands = append(r.Commands, m.draw())
	}
	if m.chance(25, "backdated") {
		r.Origin, r.ValidFrom = events.OriginImport, m.instant("valid from")
	}
	if m.chance(20, "bounded") {
		r.ValidUntil = m.instant("valid until")
	}
	before := m.ledger.Status().Head
	receipt, err := m.submit(r)
	var refusal *ledger.Refusal
	if err == nil {
		if receipt.Nothing {
			m.seen["nothing"]++
		}
		return
	}
	if !errors.As(err, &refusal) {
		m.Fatalf("%#v: %v", r, err)
	}
	m.seen["refused"]++
	if after := m.ledger.Status().Head; after != before {
		m.Fatalf("%v was refused (%v) and the head moved from %d to %d", r.Commands, err, before.Revision, after.Revision)
	}
}

func (m *machine) draw() ledger.Command {
	u := m.u
	actor, group, role := pick(m, u.actors, "actor"), pick(m, u.groups, "group"), pick(m, u.roles, "role")
	other, included := pick(m, u.groups, "parent"), pick(m, u.roles, "included")
	holder := pick(m, []events.Principal{actor, actor, group.Principal(), role.Principal()}, "holder")
	right := ledger.Right{Name: pick(m, u.permissions, "permission").Name, Audience: u.audience, Scope: m.scope("scope")}
	on := m.scope("on")
	return pick(m, []func() ledger.Command{
		func() ledger.Command { return ledger.CreateRole{Role: role} },
		func() ledger.Command { return ledger.CreateRole{Role: role} },
		func() ledger.Command { return ledger.CreateGroup{Group: group} },
		func() ledger.Command { return ledger.CreateGroup{Group: group} },
		func() ledger.Command {
			return pick(m, []ledger.Command{
				ledger.DeleteRole{Role: role}, ledger.DeleteGroup{Group: group}, ledger.DeletePrincipal{Principal: actor},
			}, "deleted")
		},
		m.undo, m.undo, m.undo,
		func() ledger.Command { return ledger.ChangeRole{Role: role, Attr: events.Attributes{Name: "changed"}} },
		func() ledger.Command { return ledger.AddRolePermission{Role: role, Right: right} },
		func() ledger.Command { return ledger.AddRolePermission{Role: role, Right: right} },
		func() ledger.Command { return ledger.RemoveRolePermission{Role: role, Right: right} },
		func() ledger.Command { return ledger.IncludeRole{Role: role, Included: included} },
		func() ledger.Command { return ledger.ExcludeRole{Role: role, Included: included} },
		func() ledger.Command { return ledger.AddMember{Group: group, Member: actor} },
		func() ledger.Command { return ledger.AddMember{Group: group, Member: actor} },
		func() ledger.Command { return ledger.RemoveMember{Group: group, Member: actor} },
		func() ledger.Command { return ledger.SetParent{Group: group, Parent: other} },
		func() ledger.Command { return ledger.UnsetParent{Group: group, Parent: other} },
		func() ledger.Command { return ledger.AssignRole{Principal: holder, Role: role, Scope: on} },
		func() ledger.Command { return ledger.AssignRole{Principal: holder, Role: role, Scope: on} },
		func() ledger.Command { return ledger.UnassignRole{Principal: holder, Role: role, Scope: on} },
		func() ledger.Command { return ledger.Grant{Principal: holder, Right: right} },
		func() ledger.Command { return ledger.Grant{Principal: holder, Right: right} },
		func() ledger.Command { return ledger.Revoke{Principal: holder, Right: right} },
		func() ledger.Command {
			p := pick(m, u.permissions, "redefined")
			return ledger.DefinePermission{Permission: p, Def: events.PermissionDefinition{RequiresAnyOf: pick(m, u.requirements(), "requires")}}
		},
		func() ledger.Command {
			if len(m.facts) == 0 {
				return ledger.CreateRole{Role: role}
			}
			from := m.instant("corrected from")
			until := pick(m, []events.Instant{events.Forever, from, m.instant("corrected until")}, "until")
			return ledger.CorrectValidity{Fact: pick(m, m.facts, "fact"), From: from, Until: until}
		},
	}, "command")()
}

// scope is mostly none or any, so that what is given meets what is asked.
func (m *machine) scope(label string) events.Scope {
	if m.chance(70, label+" wide") {
		return pick(m, m.u.scopes[:2], label)
	}
	return pick(m, m.u.scopes, label)
}

// undo takes back something that was given, whether or not it still holds.
func (m *machine) undo() ledger.Command {
	facts := m.oracle.known(m.ledger.Status().Head.Revision).facts
	if len(facts) == 0 {
		return ledger.CreateRole{Role: m.u.roles[0]}
	}
	e := pick(m, facts, "undone").edge
	switch e.Kind {
	case events.EdgeMember:
		return ledger.RemoveMember{Group: events.Group(e.To.ID), Member: e.From}
	case events.EdgeParent:
		return ledger.UnsetParent{Group: events.Group(e.From.ID), Parent: events.Group(e.To.ID)}
	case events.EdgeInclusion:
		return ledger.ExcludeRole{Role: events.Role(e.From.ID), Included: events.Role(e.To.ID)}
	case events.EdgeAssignment:
		return ledger.UnassignRole{Principal: e.From, Role: events.Role(e.To.ID), Scope: e.Scope}
	default:
		return ledger.Revoke{Principal: e.From, Right: ledger.Right{Name: e.Permission.Name, Audience: m.u.audience, Scope: e.Scope}}
	}
}

// aim draws what to ask about: mostly what somebody was given, on a resource where that may matter.
func (m *machine) aim(known *world, v events.Instant) (events.Principal, events.Permission, access.Resource) {
	if m.chance(60, "aimed") {
		who := pick(m, m.u.actors, "who")
		for _, at := range rapid.Permutation([]int{0, 1, 2, 3}).Draw(m.T, "permissions") {
			perm := m.u.permissions[at]
			if held := known.held(who, perm, v); len(held) > 0 {
				return who, perm, asked(pick(m, held, "on"), m.u)
			}
		}
	}
	holders := []events.Principal{m.u.groups[0].Principal(), m.u.roles[0].Principal()}
	who := pick(m, slices.Concat(m.u.actors, holders), "who")
	return who, pick(m, m.u.permissions, "what"), pick(m, m.u.resources, "on what")
}

// when draws a moment in every way a question may be placed in time, and what it means to the oracle.
func (m *machine) when() (access.When, events.Revision, events.Instant) {
	head := m.ledger.Status().Head
	now := max(events.At(m.clock), head.RecordedAt)
	switch uniform(m.T, 7, "when") {
	case 1:
		v := m.instant("valid at")
		return access.When{ValidAt: v}, head.Revision, v
	case 2:
		r, v := events.Revision(3+uniform(m.T, int(head.Revision)-2, "known")), m.instant("valid at")
		return access.When{ValidAt: v, KnownAt: access.Known{Revision: r}}, r, v
	case 3:
		t := pick(m, m.oracle.recorded, "as of").RecordedAt
		return access.When{AsOf: t}, m.recordedBy(t), t
	case 4:
		t, v := pick(m, m.oracle.recorded, "known time").RecordedAt, m.instant("valid at")
		return access.When{ValidAt: v, KnownAt: access.Known{Time: t}}, m.recordedBy(t), v
	default:
		return access.When{}, head.Revision, now
	}
}

func (m *machine) recordedBy(t events.Instant) (last events.Revision) {
	for _, r := range m.oracle.recorded {
		if r.RecordedAt <= t {
			last = r.Revision
		}
	}
	return last
}

func (m *machine) session(w access.When) *access.Session {
	s, err := m.access.At(context.Background(), events.DefaultTenant, w)
	if err != nil {
		m.Fatalf("%+v: %v", w, err)
	}
	return s
}

// question asks one question of each kind at a random moment.
func (m *machine) question() {
	w, revision, v := m.when()
	s, known := m.session(w), m.oracle.known(revision)
	defer s.Close()
	if got := s.Moment(); got.Revision != revision || got.ValidAt != v {
		m.Fatalf("%+v: moment %+v, want revision %d at %s", w, got, revision, v)
	}
	who, perm, r := m.aim(known, v)
	if revision < m.ready {
		return // not everything is defined yet
	}
	q := access.Question{Principal: who, Permission: perm.Name, Resource: r}
	m.check(s, known, q, perm, v)
	m.holders(s, known, perm, r, v)
	m.holdings(s, known, who, v)
	when := "past"
	if s.Moment().Head && v >= m.ledger.Status().Head.RecordedAt {
		when = "now"
	}
	m.seen[when]++
	intervals, err := s.Intervals(q)
	if len(intervals.Intervals) > 1 {
		m.seen["several intervals"]++
	}
	want := known.intervals(who, perm, r)
	if err != nil || !slices.Equal(intervals.Intervals, want) {
		m.Fatalf("%+v at revision %d: intervals %v, %v, want %v", q, revision, intervals.Intervals, err, want)
	}
}

func (m *machine) check(s *access.Session, known *world, q access.Question, perm events.Permission, v events.Instant) {
	want := known.allowed(known.alive(q.Principal, v), perm, q.Resource, v)
	held := slices.ContainsFunc(known.held(known.alive(q.Principal, v), perm, v), func(s events.Scope) bool { return meets(s, q.Resource) })
	d, err := s.Check(q)
	m.seen[string(d.Outcome)]++
	if err != nil || d.Allowed != want {
		m.Fatalf("%+v at %+v: %+v, %v, want %v", q, s.Moment(), d, err, want)
	}
	if inert := d.Outcome == access.Inert; inert != (held && !want) || inert != (len(d.Missing) > 0) {
		m.Fatalf("%+v at %+v: %+v, held %v", q, s.Moment(), d, held)
	}
	x, err := s.Explain(context.Background(), q)
	if err != nil || x.Allowed != want || (len(x.Paths) > 0) != held {
		m.Fatalf("explain %+v at %+v: %+v, %v, want allowed %v, held %v", q, s.Moment(), x, err, want, held)
	}
	for _, path := range x.Paths {
		for _, step := range path.Steps {
			switch step.Fact.Kind {
			case events.EdgeParent:
				m.seen["nested"]++
			case events.EdgeInclusion:
				m.seen["included"]++
			default:
			}
		}
		m.path(known, path, q, perm, v)
	}
}

// path checks that a path really leads from the principal to the permission over facts that hold.
func (m *machine) path(known *world, path access.Path, q access.Question, perm events.Permission, v events.Instant) {
	at := q.Principal
	for i, step := range path.Steps {
		f := known.fact(step.Fact.ID)
		if step.Fact.From != at || !f.holds(v) || f.valid != step.Fact.Interval || f.edge != step.Fact.Edge || step.Event != f.id {
			m.Fatalf("step %d of %+v at %s does not hold or follow", i, path, v)
		}
		at = step.Fact.To
	}
	if last := path.Steps[len(path.Steps)-1].Fact; last.Permission != perm || !meets(path.Scope, q.Resource) {
		m.Fatalf("%+v does not end at %s on %s", path, perm, q.Resource)
	}
}

// alive gives p, or nobody if p is a role or group that does not live at v.
func (w *world) alive(p events.Principal, v events.Instant) events.Principal {
	if p.Acts() || slices.ContainsFunc(w.lives[p], func(life *events.Interval) bool { return life.Holds(v) }) {
		return p
	}
	return events.Principal{}
}

func (m *machine) holders(s *access.Session, known *world, perm events.Permission, r access.Resource, v events.Instant) {
	var want []events.Principal
	for _, p := range m.u.actors {
		if known.allowed(p, perm, r, v) {
			want = append(want, p)
		}
	}
	slices.SortFunc(want, events.Principal.Compare)
	var got []events.Principal
	page := access.Page{Limit: 1 + uniform(m.T, 3, "page")}
	for {
		h, err := s.Holders(perm.Name, r, page)
		if err != nil {
			m.Fatal(err)
		}
		got = append(got, h.Principals...)
		if page.Token = h.Next; h.Next == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		m.Fatalf("holders of %s on %s at %+v: %v, want %v", perm, r, s.Moment(), got, want)
	}
}

func (m *machine) holdings(s *access.Session, known *world, who events.Principal, v events.Instant) {
	h, err := s.Holdings(who)
	if err != nil {
		m.Fatal(err)
	}
	var got []access.Grantee
	for _, holding := range h.Holdings {
		if holding.Effective {
			got = append(got, access.Grantee{Principal: who, Permission: holding.Permission.Name, Resource: holding.Resource()})
		}
	}
	if want := known.rows(known.alive(who, v), m.u, v); !sameRows(got, want) {
		m.Fatalf("holdings of %s at %+v: %v, want %v", who, s.Moment(), got, want)
	}
}

func sameRows(got, want []access.Grantee) bool {
	return slices.EqualFunc(got, want, func(a, b access.Grantee) bool { return a.Permission == b.Permission && a.Resource == b.Resource })
}

// everything compares the whole effective set and a difference at random moments, and the rebuilt views.
func (m *machine) everything() {
	w1, r1, v1 := m.when()
	w2, r2, v2 := m.when()
	had, has := m.effective(w1, r1, v1), m.effective(w2, r2, v2)
	d, err := m.access.Diff(context.Background(), events.DefaultTenant, w1, w2, events.Principal{})
	if err != nil {
		m.Fatal(err)
	}
	var want []string
	for row := range had {
		if !has[row] {
			m.seen["lost"]++
			want = append(want, row+" false")
		}
	}
	for row := range has {
		if !had[row] {
			m.seen["gained"]++
			want = append(want, row+" true")
		}
	}
	var got []string
	for _, c := range d.Changes {
		got = append(got, fmt.Sprintf("%s %s %s %v", c.Principal, c.Permission, c.Resource, c.Gained))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		m.Fatalf("difference from %+v to %+v:\n%s\nwant\n%s", w1, w2, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := m.projector.Rebuild(context.Background(), nil); err != nil {
		m.Fatalf("rebuild: %v", err)
	}
}

func (m *machine) effective(w access.When, r events.Revision, v events.Instant) map[string]bool {
	s, known := m.session(w), m.oracle.known(r)
	defer s.Close()
	got := map[string]bool{}
	for g, err := range s.Effective(context.Background()) {
		if err != nil {
			m.Fatal(err)
		}
		got[fmt.Sprintf("%s %s %s", g.Principal, g.Permission, g.Resource)] = true
	}
	want := map[string]bool{}
	for _, p := range m.u.actors {
		for _, g := range known.rows(p, m.u, v) {
			want[fmt.Sprintf("%s %s %s", p, g.Permission, g.Resource)] = true
		}
	}
	if len(got) != len(want) {
		m.Fatalf("effective set at %+v: %v, want %v", w, got, want)
	}
	for row := range want {
		if !got[row] {
			m.Fatalf("effective set at %+v: %v, want %v", w, got, want)
		}
	}
	return got
}
