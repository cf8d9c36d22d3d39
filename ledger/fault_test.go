package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

// script plays outcomes for the next appends, then Done; it counts the appends.
func script(log *memlog.Log, outcomes ...memlog.Outcome) *atomic.Int32 {
	n := new(atomic.Int32)
	log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
		if i := int(n.Add(1)); i <= len(outcomes) {
			return outcomes[i-1]
		}
		return memlog.Done
	}})
	return n
}

// However a write fails, its caller hears success only when the events are stored, and they are stored once.
func TestWritesThatFail(t *testing.T) {
	for _, row := range []struct {
		name     string
		outcomes []memlog.Outcome
		appends  int32
		unknown  int
		refused  bool // the caller is told that nothing was recorded
	}{
		{name: "done", appends: 1},
		{name: "refused", outcomes: []memlog.Outcome{memlog.Refused}, appends: 1, refused: true},
		{name: "kept", outcomes: []memlog.Outcome{memlog.Kept}, appends: 1, unknown: 1},
		{name: "lost", outcomes: []memlog.Outcome{memlog.Lost}, appends: 2, unknown: 1},
		{name: "lost twice", outcomes: []memlog.Outcome{memlog.Lost, memlog.Lost}, appends: 3, unknown: 1},
		{name: "lost then kept", outcomes: []memlog.Outcome{memlog.Lost, memlog.Kept}, appends: 2, unknown: 1},
		{name: "lost then refused", outcomes: []memlog.Outcome{memlog.Lost, memlog.Refused}, appends: 3, unknown: 1},
		{name: "kept late, before the second append", outcomes: []memlog.Outcome{memlog.KeptLate(1)}, appends: 1, unknown: 1},
		{name: "kept late, after the second append", outcomes: []memlog.Outcome{memlog.KeptLate(4), memlog.Lost}, unknown: 1},
		{name: "kept late twice", outcomes: []memlog.Outcome{memlog.KeptLate(3), memlog.KeptLate(2)}, unknown: 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.must(basics...)
				before := len(r.history())
				appends := script(r.log, row.outcomes...)
				q := request(ledger.AddMember{Group: "team", Member: alice}, ledger.AddMember{Group: "dept", Member: alice})
				receipt, err := r.Submit(t.Context(), q)
				stored := len(r.history()) - before
				if row.refused {
					if !errors.Is(err, ledger.ErrUnavailable) || stored != 0 {
						t.Fatalf("got %+v, %v, and %d events are stored", receipt, err, stored)
					}
					receipt = r.mustRequest(q)
				} else if err != nil || stored != 2 {
					t.Fatalf("got %+v, %v, and %d events are stored", receipt, err, stored)
				}
				equal(t, "receipt", receipt.Events, 2)
				if row.appends > 0 && !row.refused {
					equal(t, "appends", appends.Load(), row.appends)
				}
				equal(t, "unknown", r.count("unknown"), row.unknown)
				equal(t, "ready", r.Status().Ready, true)
				if r.mustRequest(q).Nothing != true {
					t.Error("the same again recorded something")
				}
				time.Sleep(time.Minute) // a late write would arrive by now
				r.must(ledger.CreateRole{Role: "after"})
				equal(t, "events", len(r.history())-before, 3)
				r.Close()
			})
		})
	}
}

// While nobody knows whether a commit is stored, nothing is decided, the ledger is not ready, and callers who
// leave are told that they cannot know.
func TestUnknownOutcomeHoldsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(basics...)
		var up atomic.Bool
		r.log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
			if up.Load() {
				return memlog.Done
			}
			return memlog.Lost
		}})
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var leave, stay sync.WaitGroup
		var gone, stays, waits error
		leave.Go(func() { _, gone = r.Submit(short, request(ledger.AddMember{Group: "team", Member: alice})) })
		synctest.Wait()
		leave.Go(func() { _, waits = r.Submit(short, request(ledger.AddMember{Group: "team", Member: bot})) })
		stay.Go(func() { _, stays = r.Submit(t.Context(), request(ledger.AddMember{Group: "team", Member: bob})) })
		time.Sleep(30 * time.Second)
		if s := r.Status(); s.Ready || s.Reason == "" {
			t.Errorf("status: %+v", s)
		}
		leave.Wait()
		if !errors.Is(gone, ledger.ErrUnknownOutcome) {
			t.Errorf("the caller whose commit is unknown got %v", gone)
		}
		if waits != context.DeadlineExceeded {
			t.Errorf("the caller who waited behind it got %v", waits)
		}
		up.Store(true)
		stay.Wait()
		if stays != nil {
			t.Errorf("the caller who stayed got %v", stays)
		}
		equal(t, "ready", r.Status().Ready, true)
		holds := func(p events.Principal) bool { return r.views.world.Holds(events.DefaultTenant, p) }
		equal(t, "holds", []bool{holds(alice), holds(bob), holds(bot)}, []bool{true, true, false})
		equal(t, "unknown", r.count("unknown"), 1)
		r.Close()
	})
}

// Closing while nobody knows does not wait for ever, and claims nothing.
func TestCloseWhileUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(basics...)
		r.log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome { return memlog.Lost }})
		var first, second error
		var wg sync.WaitGroup
		wg.Go(func() {
			_, first = r.Submit(t.Context(), keyed("k", request(ledger.AddMember{Group: "team", Member: alice})))
		})
		synctest.Wait()
		wg.Go(func() { _, second = r.Submit(t.Context(), request(ledger.AddMember{Group: "team", Member: bob})) })
		time.Sleep(time.Second)
		r.Close()
		wg.Wait()
		if !errors.Is(first, ledger.ErrUnknownOutcome) {
			t.Errorf("the caller whose commit is unknown got %v", first)
		}
		if !errors.Is(second, ledger.ErrUnavailable) {
			t.Errorf("the caller behind it got %v", second)
		}
		again := openRig(t, r.log.Reopen())
		if receipt := again.mustRequest(keyed("k", request(ledger.AddMember{Group: "team", Member: alice}))); receipt.Replayed || receipt.Events != 1 {
			t.Errorf("the lost request again: %+v", receipt)
		}
		again.Close()
	})
}

// Two writers on one log: the later one catches up and decides again on what the other stored.
func TestForeignWriter(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	other := openRig(t, r.log.Reopen())
	other.must(ledger.AddMember{Group: "team", Member: alice}, ledger.DeleteGroup{Group: "dept"})

	if receipt := r.must(ledger.AddMember{Group: "team", Member: alice}, ledger.AddMember{Group: "team", Member: bob}); receipt.Events != 1 || receipt.Revision != 4 {
		t.Errorf("got %+v", receipt)
	}
	equal(t, "conflicts", r.count("conflict"), 1)
	if _, err := other.Submit(t.Context(), request(ledger.AddMember{Group: "team", Member: bot})); err != nil {
		t.Fatal(err)
	}
	r.refuses2(request(ledger.CreateRole{Role: "x"}, ledger.AddMember{Group: "dept", Member: bob}), ledger.CodeUnknownGroup)
	epochs := map[uint64]string{}
	for s, err := range r.log.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		c, err := events.DecodeCommit(s.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if w, ok := epochs[c.Epoch]; ok && w != c.Writer {
			t.Errorf("epoch %d has two writers", c.Epoch)
		}
		epochs[c.Epoch] = c.Writer
	}
}

// refuses2 is refuses without a look at the head, which another writer may move.
func (r *rig) refuses2(q ledger.Request, code ledger.Code) {
	r.t.Helper()
	if receipt, err := r.Submit(r.t.Context(), q); codeOf(err) != code {
		r.t.Fatalf("got %+v, %v, want %s", receipt, err, code)
	}
}

// Several writers at once: every request is carried out exactly once, and all end with one state.
func TestManyWriters(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	rigs := []*rig{r, openRig(t, r.log.Reopen()), openRig(t, r.log.Reopen())}
	const each = 40
	var wg sync.WaitGroup
	for w, rig := range rigs {
		for i := range each {
			wg.Go(func() { rig.must(ledger.AddMember{Group: "team", Member: user(w*each + i)}) })
		}
	}
	wg.Wait()
	members := 0
	for _, e := range r.history() {
		if _, ok := e.Event.(events.GroupMemberAdded); ok {
			members++
		}
	}
	equal(t, "members", members, len(rigs)*each)
}

// Views that somebody else keeps in step with the log, between any two steps of the writer: receipts are of
// the writer's own commits, and nothing looks broken.
func TestViewsThatMoveByThemselves(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	other := openRig(t, r.log.Reopen())
	other.setDay(5) // its commits are recorded later than this ledger's clock says
	n := 0
	r.views.follow = func() {
		if n++; n > 12 {
			return
		}
		other.must(ledger.CreateRole{Role: events.Role(user(n).ID)})
		if err := r.views.CatchUp(context.Background()); err != nil {
			t.Error(err)
		}
	}
	for i := range 4 {
		receipt := r.must(ledger.AddMember{Group: "team", Member: user(i)})
		for _, e := range receipt.Recorded {
			equal(t, "revision", e.Revision, receipt.Revision)
		}
		for s, err := range r.log.Read(t.Context(), receipt.Revision) {
			c, decodeErr := events.DecodeCommit(s.Bytes)
			if err != nil || decodeErr != nil {
				t.Fatal(err, decodeErr)
			}
			equal(t, "hash", receipt.Hash, c.Hash)
			break
		}
		if nothing := r.must(ledger.AddMember{Group: "team", Member: user(i)}); !nothing.Nothing {
			t.Errorf("again: %+v", nothing)
		}
	}
	if n <= 12 || r.count("halted") > 0 || r.count("conflict") > 0 {
		t.Errorf("after %d moves: %v", n, r.heard)
	}
}

// A write whose fate is unknown, while another writer takes its place: it is decided again, not claimed.
func TestForeignCommitInThePlaceOfALostOne(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	other := openRig(t, r.log.Reopen())
	var once sync.Once
	r.log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) (o memlog.Outcome) {
		once.Do(func() {
			other.must(ledger.AddMember{Group: "team", Member: alice})
			o = memlog.Lost
		})
		return o
	}})
	receipt := r.must(ledger.AddMember{Group: "team", Member: alice}, ledger.AddMember{Group: "dept", Member: alice})
	if receipt.Events != 1 || receipt.Revision != 4 {
		t.Errorf("got %+v", receipt)
	}
	equal(t, "heard", []int{r.count("unknown"), r.count("conflict")}, []int{1, 1})
}

// A caller who left while its commit was being stored was told that nobody knows. When another writer's commit
// takes the place, the request is not tried again behind its back.
func TestNobodyWaitsForALostRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(basics...)
		other := openRig(t, r.log.Reopen())
		open, appends := gate(r.log)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Submit(ctx, request(ledger.AddMember{Group: "team", Member: alice}))
		if !errors.Is(err, ledger.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
		other.must(ledger.CreateRole{Role: "x"})
		open()
		synctest.Wait()
		equal(t, "appends", appends.Load(), 1)
		equal(t, "conflicts", r.count("conflict"), 1)
		r.must(ledger.CreateRole{Role: "y"})
		equal(t, "holds", r.views.world.Holds(events.DefaultTenant, alice), false)
		r.Close()
		other.Close()
	})
}

// The other writer's journal counts as well: a key it answered has its answer.
func TestForeignAnswers(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	other := openRig(t, r.log.Reopen())
	refused := keyed("k", request(ledger.AddMember{Group: "later", Member: alice}))
	other.refuses(refused, ledger.CodeUnknownGroup)
	other.must(ledger.CreateGroup{Group: "later"})
	r.must(ledger.CreateRole{Role: "x"}) // finds the other's commit, and with it that its journal is to be read
	r.refuses(refused, ledger.CodeUnknownGroup)
}

func (r *rig) halts(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if s := r.Status(); s.Ready || s.Reason == "" {
		t.Errorf("status: %+v", s)
	}
	equal(t, "halted", r.count("halted"), 1)
	for _, submit := range []func(context.Context, ledger.Request) (ledger.Receipt, error){r.Submit, r.DryRun} {
		if _, err := submit(t.Context(), request(ledger.CreateTenant{})); !errors.Is(err, ledger.ErrCorrupt) {
			t.Errorf("afterwards: %v", err)
		}
	}
	if err := r.Notice(t.Context()); !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("notice afterwards: %v", err)
	}
}

// A commit that is stored and that the views cannot take halts the ledger; the next start has it.
func TestViewsThatCannotTakeACommit(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	r.views.failCommit = func() error { return errors.New("disk full") }
	q := keyed("k", request(ledger.AddMember{Group: "team", Member: alice}))
	_, err := r.Submit(t.Context(), q)
	r.halts(t, err)
	r = r.reopened()
	if receipt := r.mustRequest(q); !receipt.Replayed || receipt.Events != 1 {
		t.Errorf("after a restart: %+v", receipt)
	}
}

// Somebody else's commit that does not belong there halts the ledger.
func TestBrokenLog(t *testing.T) {
	log := memlog.Open(memlog.Config{})
	r := &rig{t: t, log: log, views: newFold(log), now: firstDay}
	var err error
	if r.Ledger, err = ledger.Open(t.Context(), log, log, r.views, r.config()); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.must(basics...)
	log.Foreign([]byte(`{"format":1}`))
	_, err = r.Submit(t.Context(), request(ledger.CreateRole{Role: "x"}))
	r.halts(t, err)
}

// A log that is shorter than the views remember, or whose commit cannot be read, is not written to.
func TestLogThatLostCommits(t *testing.T) {
	for name, damage := range map[string]func(*memlog.Log){
		"shorter at start": func(l *memlog.Log) { l.Truncate(2) },
		"unreadable":       func(l *memlog.Log) { l.Replace(2, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.must(basics...)
			r.must(ledger.CreateRole{Role: "x"})
			r.Close()
			log := r.log.Reopen()
			views := newFold(log)
			if err := views.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if name == "unreadable" {
				views = newFold(log)
			}
			restore := keep(t, log)
			damage(log)
			_, err := ledger.Open(t.Context(), log, log, views, ledger.Config{})
			if !errors.Is(err, ledger.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			restore()
		})
	}

	t.Run("shorter while it runs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.must(basics...)
			restore := keep(t, r.log)
			r.log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
				r.log.Truncate(1)
				return memlog.Lost
			}})
			_, err := r.Submit(t.Context(), request(ledger.CreateRole{Role: "x"}))
			r.halts(t, err)
			r.Close()
			restore()
		})
	})
}

// keep puts the log back as it is now, so that what is checked at the end of a test finds it whole.
func keep(t *testing.T, log *memlog.Log) (restore func()) {
	var all [][]byte
	for s, err := range log.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s.Bytes)
	}
	return func() {
		log.Truncate(0)
		for _, b := range all {
			log.Foreign(b)
		}
	}
}

// wire is a log that can be cut off, or lie.
type wire struct {
	*memlog.Log
	down atomic.Bool  // Last and Read fail
	lies atomic.Int32 // how many more appends are conflicts with nobody
}

func (w *wire) fail() error {
	if w.down.Load() {
		return fmt.Errorf("%w: no route", ledger.ErrUnavailable)
	}
	return nil
}

func (w *wire) Last(ctx context.Context) (events.Revision, error) {
	if err := w.fail(); err != nil {
		return 0, err
	}
	return w.Log.Last(ctx)
}

func (w *wire) Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	if err := w.fail(); err != nil {
		return func(yield func(events.Stored, error) bool) { yield(events.Stored{}, err) }
	}
	return w.Log.Read(ctx, from)
}

func (w *wire) Append(ctx context.Context, head events.Revision, c events.Commit) error {
	if w.lies.Add(-1) >= 0 {
		return fmt.Errorf("%w: so they say", ledger.ErrConflict)
	}
	return w.Log.Append(ctx, head, c)
}

func onWire(t *testing.T, adjust ...func(*ledger.Config)) (*rig, *wire) {
	t.Helper()
	w := &wire{Log: memlog.Open(memlog.Config{})}
	r := &rig{t: t, log: w.Log, views: newFold(w), now: firstDay}
	var err error
	if r.Ledger, err = ledger.Open(t.Context(), w, w, r.views, r.config(adjust...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		r.checkAll()
	})
	return r, w
}

// A log that cannot be reached keeps the outcome unknown until it can.
func TestUnknownWhileUnreachable(t *testing.T) {
	for name, outcome := range map[string]memlog.Outcome{"lost": memlog.Lost, "kept": memlog.Kept} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := onWire(t)
				r.must(basics...)
				var once sync.Once
				r.log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) (o memlog.Outcome) {
					once.Do(func() {
						w.down.Store(true)
						o = outcome
					})
					return o
				}})
				done := make(chan ledger.Receipt)
				go func() { done <- r.must(ledger.AddMember{Group: "team", Member: alice}) }()
				time.Sleep(time.Hour)
				select {
				case <-done:
					t.Fatal("answered without a look")
				default:
				}
				equal(t, "ready", r.Status().Ready, false)
				w.down.Store(false)
				equal(t, "events", (<-done).Events, 1)
				equal(t, "ready", r.Status().Ready, true)
				r.Close()
			})
		})
	}
}

// A log that does not answer makes nobody's request come true, and readiness comes back with it.
func TestUnreachableLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := onWire(t, func(c *ledger.Config) { c.NoticeInterval = 0 })
		r.must(basics...)
		r.log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome { return memlog.Refused }})
		w.down.Store(true)
		if _, err := r.Submit(t.Context(), request(ledger.CreateRole{Role: "x"})); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
		equal(t, "ready", r.Status().Ready, false)
		// What needs no append is judged all the same.
		r.refuses(request(ledger.AddMember{Group: "nobody", Member: alice}), ledger.CodeUnknownGroup)
		w.down.Store(false)
		time.Sleep(time.Minute)
		equal(t, "ready", r.Status().Ready, true)
		r.Close()
	})
}

// A conflict whose winner cannot be read is answered as what it is: nothing was recorded.
func TestConflictWithoutAWinner(t *testing.T) {
	r, w := onWire(t)
	r.must(basics...)
	w.lies.Store(1)
	if _, err := r.Submit(t.Context(), request(ledger.CreateRole{Role: "x"})); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("with nobody: %v", err)
	}
	w.lies.Store(1)
	w.down.Store(true)
	if _, err := r.Submit(t.Context(), request(ledger.CreateRole{Role: "x"})); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("unreachable: %v", err)
	}
	w.down.Store(false)
	r.must(ledger.CreateRole{Role: "x"})
}

// The first commit can fail like any other, and somebody else may write it.
func TestGenesisThatFails(t *testing.T) {
	for name, outcomes := range map[string][]memlog.Outcome{
		"kept": {memlog.Kept}, "lost": {memlog.Lost}, "late": {memlog.KeptLate(4), memlog.Lost}, "refused": {memlog.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memlog.Open(memlog.Config{})
				script(log, outcomes...)
				if name == "refused" {
					if _, err := ledger.Open(t.Context(), log, log, newFold(log), ledger.Config{}); !errors.Is(err, ledger.ErrUnavailable) {
						t.Errorf("got %v", err)
					}
				}
				r := openRig(t, log)
				equal(t, "events", len(r.history()), 3)
				r.Close()
			})
		})
	}
	t.Run("somebody else", func(t *testing.T) {
		log := memlog.Open(memlog.Config{})
		var other *rig
		log.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
			if other == nil {
				other = openRig(t, log.Reopen())
			}
			return memlog.Done
		}})
		r := openRig(t, log)
		equal(t, "events", len(r.history()), 3)
		equal(t, "ledger", r.Status().Head.Ledger, other.Status().Head.Ledger)
	})
	t.Run("unreachable", func(t *testing.T) {
		w := &wire{Log: memlog.Open(memlog.Config{})}
		w.down.Store(true)
		if _, err := ledger.Open(t.Context(), w, w, newFold(w), ledger.Config{}); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

// Views that cannot be read decide nothing; when they can again, all goes on.
func TestUnreadableViews(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	var broken atomic.Bool
	r.views.failRead = func() error {
		if broken.Load() {
			return errors.New("bad block")
		}
		return nil
	}
	broken.Store(true)
	for _, q := range []ledger.Request{
		request(ledger.CreateRole{Role: "x"}),                     // would be recorded
		request(ledger.AddMember{Group: "nobody", Member: alice}), // would be refused
		keyed("k", request(ledger.CreateTenant{})),                // would be nothing
	} {
		if receipt, err := r.Submit(t.Context(), q); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("got %+v, %v", receipt, err)
		}
	}
	equal(t, "notes", len(r.notes()), 0)
	broken.Store(false)
	r.must(ledger.CreateRole{Role: "x"})
}

// An event that the views do not take costs its own request only, not the others of its group.
func TestViewsThatRefuseAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(basics...)
		r.views.failAdd = func(e events.Recorded) error {
			if a, ok := e.Event.(events.GroupMemberAdded); ok && a.Member == bob {
				return errors.New("impossible")
			}
			return nil
		}
		open, _ := gate(r.log)
		go r.Submit(t.Context(), request(ledger.CreateRole{Role: "first"}))
		synctest.Wait()
		errs := make([]error, 5)
		var wg sync.WaitGroup
		submit := func(i int, commands ...ledger.Command) {
			wg.Go(func() { _, errs[i] = r.Submit(t.Context(), request(commands...)) })
			synctest.Wait()
		}
		submit(0, ledger.AddMember{Group: "team", Member: alice})
		submit(1, ledger.CreateGroup{Group: "1"}, ledger.AddMember{Group: "team", Member: bob})
		submit(2, ledger.AddMember{Group: "team", Member: bot})
		submit(3, ledger.AddMember{Group: "team", Member: bob})
		submit(4, ledger.CreateGroup{Group: "4"})
		open()
		wg.Wait()
		for i, err := range errs {
			if fails := i == 1 || i == 3; fails != errors.Is(err, ledger.ErrUnavailable) || fails != (err != nil) {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if _, ok := r.views.world.Group(events.DefaultTenant, "1"); ok {
			t.Error("the failed request left a group")
		}
		r.Close()
	})
}
