package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

// rig is a ledger on a log in memory, with a clock that stands still until it is moved. When its test ends,
// the ledger is closed and everything about the log is checked.
type rig struct {
	t     *testing.T
	log   *memlog.Log
	views *fold
	*ledger.Ledger

	mu    sync.Mutex
	now   time.Time
	heard []string // what the observer heard, in order
}

var firstDay = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func day(n int) events.Instant { return events.At(firstDay.AddDate(0, 0, n)) }

func newRig(t *testing.T, adjust ...func(*ledger.Config)) *rig {
	t.Helper()
	return openRig(t, memlog.Open(memlog.Config{}), adjust...)
}

func openRig(t *testing.T, log *memlog.Log, adjust ...func(*ledger.Config)) *rig {
	t.Helper()
	r := &rig{t: t, log: log, views: newFold(log), now: firstDay}
	cfg := r.config(adjust...)
	var err error
	if r.Ledger, err = ledger.Open(t.Context(), log, log, r.views, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		r.checkAll()
	})
	return r
}

func (r *rig) config(adjust ...func(*ledger.Config)) ledger.Config {
	cfg := ledger.Config{
		Clock:          r.clock,
		NoticeInterval: -1,
		Observer: &ledger.Observer{
			Committed: func(int, int, time.Duration) { r.hear("committed") },
			Refused:   func(c ledger.Code) { r.hear("refused " + string(c)) },
			Conflict:  func() { r.hear("conflict") },
			Unknown:   func() { r.hear("unknown") },
			Unnoted:   func(error) { r.hear("unnoted") },
			Halted:    func(error) { r.hear("halted") },
		},
	}
	for _, f := range adjust {
		f(&cfg)
	}
	return cfg
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) setDay(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = firstDay.AddDate(0, 0, n)
}

func (r *rig) hear(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, what)
}

// count says how often the observer heard something.
func (r *rig) count(what string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.heard {
		if h == what {
			n++
		}
	}
	return n
}

var root = events.Client("root")

func request(commands ...ledger.Command) ledger.Request {
	return ledger.Request{Tenant: events.DefaultTenant, Meta: events.Meta{Actor: root}, Commands: commands}
}

// must submits commands that must be carried out.
func (r *rig) must(commands ...ledger.Command) ledger.Receipt {
	r.t.Helper()
	return r.mustRequest(request(commands...))
}

func (r *rig) mustRequest(q ledger.Request) ledger.Receipt {
	r.t.Helper()
	receipt, err := r.Submit(r.t.Context(), q)
	if err != nil {
		r.t.Fatalf("submit %+v: %v", q.Commands, err)
	}
	return receipt
}

// refuses submits a request that must be refused with the code and leave no trace in the log.
func (r *rig) refuses(q ledger.Request, code ledger.Code) {
	r.t.Helper()
	head := r.Status().Head
	receipt, err := r.Submit(r.t.Context(), q)
	if codeOf(err) != code {
		r.t.Fatalf("submit %+v: %+v, error %v, want a refusal with code %s", q.Commands, receipt, err, code)
	}
	if now := r.Status().Head; now != head {
		r.t.Fatalf("a refusal moved the head from %+v to %+v", head, now)
	}
}

func codeOf(err error) ledger.Code {
	var refusal *ledger.Refusal
	var invalid *events.InvalidError
	switch {
	case errors.As(err, &refusal):
		return refusal.Code
	case errors.As(err, &invalid):
		return ledger.CodeInvalid
	}
	return ""
}

func names(recorded []events.Recorded) (all []string) {
	for _, r := range recorded {
		all = append(all, events.Name(r.Event))
	}
	return all
}

// checkAll reads the log from its beginning and checks every commit, the chain, the ids, and that folding it
// anew gives what the live views have.
func (r *rig) checkAll() {
	r.t.Helper()
	again := newFold(r.log.Reopen())
	if err := again.CatchUp(context.Background()); err != nil {
		r.t.Errorf("replay: %v", err)
		return
	}
	if r.views.open {
		r.t.Error("a draft was left open")
	}
	if again.head == r.views.head && !reflect.DeepEqual(again.world, r.views.world) {
		r.t.Errorf("the replayed state differs from the live one:\n%+v\n%+v", again.world, r.views.world)
	}
	seen := map[events.EventID]bool{}
	for _, e := range again.read {
		if seen[e.ID] {
			r.t.Errorf("event id %s is there twice", e.ID)
		}
		seen[e.ID] = true
		if e.Actor.IsZero() || e.Command == (events.CommandID{}) {
			r.t.Errorf("event %d says not who did it, or in which command", e.Position)
		}
	}
}

// history is every event in the log.
func (r *rig) history() (all []events.Recorded) {
	r.t.Helper()
	for s, err := range r.log.Reopen().Read(context.Background(), 1) {
		if err != nil {
			r.t.Fatal(err)
		}
		c, err := events.DecodeCommit(s.Bytes)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, c.Events...)
	}
	return all
}

// notes are the answers in the journal.
func (r *rig) notes() (all []events.Answer) {
	r.t.Helper()
	for e, err := range r.log.Reopen().Notes(context.Background(), 1) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, decodeAnswer(r.t, e.Bytes))
	}
	return all
}

// Definitions and things that most tests start from.
var (
	operate = ledger.DefineAPI{API: "operate", Def: events.APIDefinition{Name: "Operate API", Audience: "operate-api"}}
	flow    = ledger.DefineAPI{API: "flow", Def: events.APIDefinition{Audience: "shared"}}
	flow2   = ledger.DefineAPI{API: "flow2", Def: events.APIDefinition{Audience: "shared"}}

	readAll  = ledger.DefinePermission{Permission: perm("operate", "read:*"), Def: events.PermissionDefinition{ID: "operate.read-all"}}
	writeAll = ledger.DefinePermission{Permission: perm("operate", "write:*")}
	access   = ledger.DefinePermission{Permission: perm("flow", "Access")}
	access2  = ledger.DefinePermission{Permission: perm("flow2", "Access")}
	only2    = ledger.DefinePermission{Permission: perm("flow2", "Only"), Def: events.PermissionDefinition{ID: "Access"}}

	process = ledger.DefineResourceType{Type: "process", Def: events.ResourceTypeDefinition{
		API: "operate", Permissions: []events.PermissionName{"read:*"}, Scopes: []string{"any", "id"}}}
	task = ledger.DefineResourceType{Type: "task", Def: events.ResourceTypeDefinition{
		API: "operate", Properties: []string{"assignee"},
		PermissionScopes: map[events.PermissionName][]string{"write:*": {"any"}}}}
)

var basics = []ledger.Command{
	operate, flow, flow2, readAll, writeAll, access, access2, only2, process, task,
	ledger.CreateRole{Role: "viewer", Attr: events.Attributes{Name: "Viewer"}}, ledger.CreateRole{Role: "editor"},
	ledger.CreateGroup{Group: "team", Attr: events.Attributes{Name: "Team"}}, ledger.CreateGroup{Group: "dept"},
}

func perm(api events.API, name events.PermissionName) events.Permission {
	return events.Permission{API: api, Name: name}
}

var alice, bob, bot = events.User("alice"), events.User("bob"), events.Client("bot")

// may is a right about no resource, on one about a resource.
func may(name events.PermissionName, audience string) ledger.Right {
	return ledger.Right{Name: name, Audience: audience}
}

func on(name events.PermissionName, s events.Scope) ledger.Right {
	return ledger.Right{Name: name, Scope: s}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func decodeAnswer(t *testing.T, b []byte) (a events.Answer) {
	t.Helper()
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func user(i int) events.Principal { return events.User(fmt.Sprintf("u%05d", i)) }
