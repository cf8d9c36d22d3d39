package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

// A new ledger begins with itself, its default tenant and its first administrator; the next opening adds
// nothing and is a new epoch.
func TestGenesis(t *testing.T) {
	r := newRig(t, func(c *ledger.Config) { c.Administrator = alice })
	first := r.history()
	equal(t, "events", names(first), []string{"ledger.created", "tenant.created", "administrator.added"})
	equal(t, "tenants", []events.Tenant{first[0].Tenant, first[1].Tenant, first[2].Tenant}, []events.Tenant{"", events.DefaultTenant, ""})
	head := r.Status().Head
	equal(t, "ledger", first[0].Event, events.Event(events.LedgerCreated{Ledger: head.Ledger}))
	equal(t, "administrator", first[2].Event, events.Event(events.AdministratorAdded{Principal: alice}))
	for _, e := range first {
		equal(t, "actor", e.Actor, alice)
		equal(t, "origin", e.Origin, events.OriginLedger)
	}
	r.must(basics...)
	r.Close()

	again := openRig(t, r.log.Reopen())
	equal(t, "commits", again.Status().Head.Revision, 2)
	again.must(ledger.CreateRole{Role: "x"})
	equal(t, "epoch", again.Status().Head.Epoch, head.Epoch+1)
	equal(t, "ledger", again.Status().Head.Ledger, head.Ledger)
}

func TestOpenRefusesBadConfig(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	_, err := ledger.Open(t.Context(), log, log, newFold(log), ledger.Config{Administrator: events.Role("r").Principal()})
	equal(t, "code", codeOf(err), ledger.CodeInvalid)
	last, err := log.Last(t.Context())
	if last != 0 || err != nil {
		t.Errorf("the log has %d commits, error %v", last, err)
	}
}

// The clock may go back; recorded_at does not.
func TestRecordedAtNeverGoesBack(t *testing.T) {
	r := newRig(t)
	r.setDay(5)
	r.must(ledger.CreateRole{Role: "a"})
	r.setDay(2)
	e := r.must(ledger.CreateRole{Role: "b"}).Recorded[0]
	equal(t, "recorded", e.RecordedAt, day(5))
}

// gate holds every append until it is opened.
func gate(log *memlog.Log) (open func(), appends *atomic.Int32) {
	held, appends := make(chan struct{}), new(atomic.Int32)
	log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
		appends.Add(1)
		<-held
		return memlog.Done
	}})
	return sync.OnceFunc(func() { close(held) }), appends
}

// However many requests wait, they are one append; each gets its own events and its own outcome.
func TestWaitingRequestsShareOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(basics...)
		open, appends := gate(r.log)
		type answer struct {
			ledger.Receipt
			err error
		}
		var wg sync.WaitGroup
		submit := func(into *answer, cs ...ledger.Command) {
			wg.Go(func() { into.Receipt, into.err = r.Submit(t.Context(), request(cs...)) })
		}
		var first answer
		submit(&first, ledger.AddMember{Group: "team", Member: alice})
		synctest.Wait() // its append is held
		const n = 200
		answers := make([]answer, n)
		for i := range answers {
			switch i % 4 {
			case 0, 1:
				submit(&answers[i], ledger.AddMember{Group: "team", Member: user(i)}, ledger.AssignRole{Principal: user(i), Role: "viewer"})
			case 2: // refused after its first command was carried out
				submit(&answers[i], ledger.AddMember{Group: "team", Member: user(i)}, ledger.AssignRole{Principal: user(i), Role: "nobody"})
			case 3: // nothing to do
				submit(&answers[i], ledger.CreateGroup{Group: "dept"})
			}
		}
		synctest.Wait()
		open()
		wg.Wait()

		equal(t, "appends", appends.Load(), 2)
		equal(t, "first", first.Revision, 3)
		seen := map[events.Position]bool{}
		for i, a := range answers {
			switch i % 4 {
			case 0, 1:
				if a.err != nil || a.Revision != 4 || a.Events != 2 {
					t.Fatalf("request %d: %+v, %v", i, a.Receipt, a.err)
				}
				for _, e := range a.Recorded {
					if e.Command != a.Command || seen[e.Position] || e.Revision != 4 {
						t.Errorf("request %d: event %d is not its own", i, e.Position)
					}
					seen[e.Position] = true
				}
				equal(t, "member", a.Recorded[0].Event, events.Event(events.GroupMemberAdded{Group: "team", Member: user(i)}))
			case 2:
				equal(t, "code", codeOf(a.err), ledger.CodeUnknownRole)
				if r.views.world.Holds(events.DefaultTenant, user(i)) {
					t.Errorf("refused request %d left a trace", i)
				}
			case 3:
				if a.err != nil || !a.Nothing || a.Revision != 4 {
					t.Errorf("request %d: %+v, %v", i, a.Receipt, a.err)
				}
			}
		}
		r.Close()
	})
}

// Requests larger than GroupBytes together take several commits, in order.
func TestGroupBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *ledger.Config) { c.GroupBytes = 4000 })
		r.must(basics...)
		open, appends := gate(r.log)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { r.must(ledger.AddMember{Group: "team", Member: user(i)}) })
			synctest.Wait()
		}
		open()
		wg.Wait()
		if n := appends.Load(); n < 8 || n > 16 {
			t.Errorf("%d appends for about 50 KB in commits of about 4 KB", n)
		}
		var got []events.Event
		for _, e := range r.history() {
			if _, ok := e.Event.(events.GroupMemberAdded); ok {
				got = append(got, events.GroupMemberAdded{Group: "team", Member: user(len(got))})
				equal(t, "order", e.Event, last2(got))
			}
		}
		equal(t, "members", len(got), 100)
		r.Close()
	})
}

func last2(all []events.Event) events.Event { return all[len(all)-1] }

// One request of five thousand events and more is one commit, seen whole.
func TestFiveThousandEvents(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	const n = 5000
	commands := make([]ledger.Command, n)
	for i := range commands {
		commands[i] = ledger.AddMember{Group: "team", Member: user(i)}
	}
	receipt := r.must(commands...)
	equal(t, "events", receipt.Events, n)
	equal(t, "revision", r.Status().Head.Revision, 3)
	if again := r.must(commands...); !again.Nothing {
		t.Errorf("the same again recorded %d events", again.Events)
	}
}

// A request that does not fit one commit is refused with its size and the limit; one that only does not fit
// beside others waits for the next.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 20_000
		r := openRig(t, memlog.Open(memlog.Config{MaxBytes: limit}))
		for _, c := range basics {
			r.must(c)
		}
		members := func(from, n int) (cs []ledger.Command) {
			for i := range n {
				cs = append(cs, ledger.AddMember{Group: "team", Member: user(from + i)})
			}
			return cs
		}
		head := r.Status().Head
		for _, submit := range []func(context.Context, ledger.Request) (ledger.Receipt, error){r.Submit, r.DryRun} {
			_, err := submit(t.Context(), request(members(0, 100)...))
			equal(t, "code", codeOf(err), ledger.CodeTooLarge)
			var size, max int
			if n, _ := fmt.Sscanf(err.Error(), "the request needs a commit of %d bytes; the limit is %d", &size, &max); n != 2 || size <= limit || max != limit {
				t.Errorf("the refusal says %q", err)
			}
		}
		equal(t, "head", r.Status().Head, head)

		open, appends := gate(r.log)
		var wg sync.WaitGroup
		wg.Go(func() { r.must(ledger.CreateRole{Role: "first"}) })
		synctest.Wait()
		revisions := make([]events.Revision, 6)
		codes := make([]ledger.Code, 6)
		for i, n := range []int{30, 20, 100, 40, 3, 3} {
			wg.Go(func() {
				receipt, err := r.Submit(t.Context(), request(members(100*i, n)...))
				revisions[i], codes[i] = receipt.Revision, codeOf(err)
			})
			synctest.Wait()
		}
		open()
		wg.Wait()
		next := head.Revision + 2
		equal(t, "revisions", revisions, []events.Revision{next, next, 0, next + 1, next + 1, next + 1})
		equal(t, "codes", codes, []ledger.Code{"", "", ledger.CodeTooLarge, "", "", ""})
		equal(t, "appends", appends.Load(), 3)
		r.Close()
	})
}

func TestExpectations(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	seen := r.must(ledger.AddMember{Group: "team", Member: alice}).Revision
	r.must(ledger.AddMember{Group: "dept", Member: bob})
	expect := func(p events.Principal, v events.Revision, c ledger.Command) ledger.Request {
		q := request(c)
		q.Expect = []ledger.Expectation{{Principal: p, Version: v}}
		return q
	}
	team := events.Group("team").Principal()
	r.refuses(expect(team, seen-1, ledger.AddMember{Group: "team", Member: bob}), ledger.CodePreconditionFailed)
	r.refuses(expect(alice, 0, ledger.AddMember{Group: "team", Member: bob}), ledger.CodePreconditionFailed)
	_, err := r.Submit(t.Context(), expect(team, seen-1, ledger.AddMember{Group: "team", Member: bob}))
	if want := fmt.Sprintf("group:team changed at revision %d, after revision %d", seen, seen-1); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	r.mustRequest(expect(events.User("never"), 0, ledger.CreateRole{Role: "x"}))
	r.mustRequest(expect(team, seen, ledger.AddMember{Group: "team", Member: bob}))
}

// Of several requests that expect the same version one wins, even when they are decided in one commit.
func TestExpectationsInOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		version := r.must(basics...).Revision
		open, _ := gate(r.log)
		go r.Submit(t.Context(), request(ledger.CreateRole{Role: "first"}))
		synctest.Wait()
		var won, lost atomic.Int32
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				q := request(ledger.ChangeRole{Role: "viewer", Attr: events.Attributes{Name: fmt.Sprint(i)}})
				q.Expect = []ledger.Expectation{{Principal: events.Role("viewer").Principal(), Version: version}}
				switch _, err := r.Submit(t.Context(), q); codeOf(err) {
				case "":
					won.Add(1)
				case ledger.CodePreconditionFailed:
					lost.Add(1)
				}
			})
		}
		synctest.Wait()
		open()
		wg.Wait()
		equal(t, "won and lost", []int32{won.Load(), lost.Load()}, []int32{1, 9})
		r.Close()
	})
}

// A dry run answers as the run would and leaves nothing: no commit, no note, no used key.
func TestDryRun(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	head := r.Status().Head
	q := request(ledger.CreateGroup{Group: "g"}, ledger.AddMember{Group: "g", Member: alice})
	q.Key = "k"
	for range 2 {
		receipt, err := r.DryRun(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "events", names(receipt.Recorded), []string{"group.created", "group.member-added"})
		equal(t, "judged at", receipt.Revision, head.Revision)
		for _, e := range receipt.Recorded {
			if e.Revision != 0 || e.Position != 0 || e.RecordedAt != day(0) || e.Actor != root {
				t.Errorf("got %+v", e)
			}
		}
	}
	bad := q
	bad.Commands = []ledger.Command{ledger.AddMember{Group: "nobody", Member: alice}}
	_, err := r.DryRun(t.Context(), bad)
	equal(t, "code", codeOf(err), ledger.CodeUnknownGroup)
	equal(t, "head", r.Status().Head, head)
	equal(t, "notes", len(r.notes()), 0)

	receipt := r.mustRequest(q)
	replayed, err := r.DryRun(t.Context(), q)
	if err != nil || !replayed.Replayed || replayed.Revision != receipt.Revision {
		t.Errorf("a dry run of an answered key gives %+v, %v", replayed, err)
	}
	_, err = r.DryRun(t.Context(), bad)
	equal(t, "code", codeOf(err), ledger.CodeKeyConflict)
}

// Refusals are noted with who asked for what; what is refused is not what is done.
func TestRefusalsAreNoted(t *testing.T) {
	r := newRig(t)
	q := request(ledger.AssignRole{Principal: alice, Role: "nobody"})
	q.Reason = "why not"
	r.refuses(q, ledger.CodeUnknownRole)
	r.must(ledger.CreateTenant{}) // nothing to do, and no key: not noted
	notes := r.notes()
	if len(notes) != 1 {
		t.Fatalf("%d notes", len(notes))
	}
	n := notes[0]
	equal(t, "caller", n.Caller, root)
	equal(t, "at", n.AnsweredAt, day(0))
	equal(t, "refusal", n.Refusal, &events.RefusalNote{Code: "unknown_role", Message: `no role "nobody"`})
	equal(t, "request", string(n.Request), `{"tenant":"default","reason":"why not","commands":[{"command":"role.assign","with":{"principal":"user:alice","role":"nobody"}}]}`)
	equal(t, "heard", r.count("refused unknown_role"), 1)

	// A large request is noted by its size.
	var many []ledger.Command
	for i := range 1000 {
		many = append(many, ledger.AssignRole{Principal: user(i), Role: "nobody"})
	}
	r.refuses(request(many...), ledger.CodeUnknownRole)
	if b := r.notes()[1].Request; len(b) > 200 {
		t.Errorf("noted %d bytes of a request", len(b))
	}
}

// Close answers what was accepted and takes nothing more.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		open, _ := gate(r.log)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { r.must(ledger.CreateRole{Role: events.Role(user(i).ID)}) })
			synctest.Wait()
		}
		closed := make(chan struct{})
		go func() {
			r.Close()
			close(closed)
		}()
		synctest.Wait()
		_, err := r.Submit(t.Context(), request(ledger.CreateRole{Role: "late"}))
		if !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		open()
		wg.Wait()
		<-closed
		r.Close()
		if s := r.Status(); s.Ready || s.Reason == "" {
			t.Errorf("status after close: %+v", s)
		}
	})
}

// A caller who gives up before its request was taken gets its own error, and nothing of it is recorded. One
// whose request is being stored cannot know.
func TestCallersWhoLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *ledger.Config) { c.QueueLength = 2 })
		r.must(basics...)
		open, _ := gate(r.log)
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make([]error, 4) // being stored, waiting, waiting, not even waiting
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = r.Submit(ctx, request(ledger.AddMember{Group: "team", Member: user(i)})) })
			synctest.Wait()
		}
		cancel(nil)
		wg.Wait()
		if !errors.Is(errs[0], ledger.ErrUnknownOutcome) || !errors.Is(errs[0], context.Canceled) {
			t.Errorf("being stored: %v", errs[0])
		}
		for _, err := range errs[1:] {
			if err != context.Canceled {
				t.Errorf("waiting: %v", err)
			}
		}
		open()
		r.must(ledger.CreateRole{Role: "after"})
		for i := range errs {
			equal(t, user(i).ID, r.views.world.Holds(events.DefaultTenant, user(i)), i == 0)
		}
		if _, err := r.Submit(ctx, request(ledger.CreateRole{Role: "x"})); err != context.Canceled {
			t.Errorf("with a context that is over: %v", err)
		}
		r.Close()
	})
}

// The observer hears of commits with their size, and ids come from the configuration.
func TestConfigIsUsed(t *testing.T) {
	var next atomic.Uint32
	var bytes, count int
	r := newRig(t, func(c *ledger.Config) {
		c.Writer = "here"
		c.NewID = func() uuid.UUID { return uuid.UUID{6: 0x70, 8: 0x80, 15: byte(next.Add(1))} }
		c.Observer.Committed = func(n, b int, took time.Duration) { count, bytes = n, b }
	})
	q := request(ledger.CreateRole{Role: "a"}, ledger.CreateRole{Role: "b"})
	q.RequestHash = "the ledger's to set"
	receipt := r.mustRequest(q)
	equal(t, "request hash", receipt.Recorded[0].RequestHash, "")
	equal(t, "writer", r.Status().Head.Writer, "here")
	equal(t, "command", receipt.Command[15]+1, receipt.Recorded[0].ID[15])
	equal(t, "events", count, 2)
	for s, err := range r.log.Read(t.Context(), 2) {
		if err != nil || len(s.Bytes) != bytes {
			t.Errorf("heard of %d bytes, stored %d, %v", bytes, len(s.Bytes), err)
		}
	}
}
