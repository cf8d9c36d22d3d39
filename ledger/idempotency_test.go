package ledger_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

func keyed(key string, q ledger.Request) ledger.Request {
	q.Key = key
	return q
}

// reopened is the same ledger after a restart.
func (r *rig) reopened() *rig {
	r.t.Helper()
	r.Close()
	return openRig(r.t, r.log.Reopen())
}

// The first answer to a key is the answer for ever: recorded, refused, or nothing to do, though by now the
// request would be decided otherwise.
func TestKeysAreAnsweredForEver(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	recorded := keyed("recorded", request(ledger.AddMember{Group: "team", Member: alice}, ledger.AddMember{Group: "dept", Member: alice}))
	refused := keyed("refused", request(ledger.AddMember{Group: "later", Member: alice}))
	nothing := keyed("nothing", request(ledger.AddMember{Group: "team", Member: alice}))

	first := r.mustRequest(recorded)
	r.refuses(refused, ledger.CodeUnknownGroup)
	none := r.mustRequest(nothing)
	r.must(ledger.CreateGroup{Group: "later"})
	r.must(ledger.RemoveMember{Group: "team", Member: alice})

	for range 3 {
		head := r.Status().Head
		again := r.mustRequest(recorded)
		if !again.Replayed || again.Nothing || again.Command != first.Command || again.Revision != first.Revision ||
			again.Position != first.Position || again.Events != 2 {
			t.Errorf("recorded: got %+v, first was %+v", again, first)
		}
		_, err := r.Submit(t.Context(), refused)
		if codeOf(err) != ledger.CodeUnknownGroup || err.Error() != `no group "later"` {
			t.Errorf("refused: got %v", err)
		}
		again = r.mustRequest(nothing)
		if !again.Replayed || !again.Nothing || again.Command != none.Command || again.Revision != none.Revision {
			t.Errorf("nothing: got %+v, first was %+v", again, none)
		}
		equal(t, "head", r.Status().Head, head)
		equal(t, "notes", len(r.notes()), 2)
		r = r.reopened()
	}
}

// A key is bound to its request: another body is a conflict, and does not take the first answer's place.
func TestKeyConflicts(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	q := keyed("k", request(ledger.CorrectValidity{Fact: r.must(aliceReads).Recorded[0].ID, Until: day(9)}))
	first := r.mustRequest(q)
	change := map[string]func(*ledger.Request){
		"command":      func(q *ledger.Request) { q.Commands = []ledger.Command{ledger.DeleteRole{Role: "viewer"}} },
		"kind":         func(q *ledger.Request) { q.Commands = []ledger.Command{ledger.DeleteGroup{Group: "viewer"}} },
		"keep or take": func(q *ledger.Request) { q.Commands = []ledger.Command{correctUntil(q, 0)} },
		"without end":  func(q *ledger.Request) { q.Commands = []ledger.Command{correctUntil(q, events.Forever)} },
		"more":         func(q *ledger.Request) { q.Commands = append(q.Commands[:1:1], ledger.CreateRole{Role: "x"}) },
		"valid from":   func(q *ledger.Request) { q.ValidFrom = day(0) },
		"valid until":  func(q *ledger.Request) { q.ValidUntil = day(3) },
		"strict":       func(q *ledger.Request) { q.Strict = true },
		"expect":       func(q *ledger.Request) { q.Expect = []ledger.Expectation{{Principal: alice, Version: 99}} },
		"reason":       func(q *ledger.Request) { q.Reason = "r" },
		"ticket":       func(q *ledger.Request) { q.Ticket = "t" },
		"on behalf of": func(q *ledger.Request) { q.OnBehalfOf = bob },
	}
	for name, f := range change {
		other := q
		f(&other)
		_, err := r.Submit(t.Context(), other)
		if codeOf(err) != ledger.CodeKeyConflict {
			t.Errorf("another %s: got %v", name, err)
		}
	}
	same := q
	same.RequestID, same.Source, same.AuthMethod, same.RequestHash = "another", "another", "another", "x"
	if again := r.mustRequest(same); !again.Replayed || again.Revision != first.Revision {
		t.Errorf("the same request on another way: got %+v", again)
	}
	// "Until for ever" and "until as it was" are different requests, though JSON writes both as null.
	endless := q
	endless.Key, endless.Commands = "endless", []ledger.Command{correctUntil(&q, events.Forever)}
	r.mustRequest(endless)
	endless.Commands = []ledger.Command{correctUntil(&q, 0)}
	r.refuses(endless, ledger.CodeKeyConflict)
	change["endless"] = nil
	equal(t, "notes", len(r.notes()), len(change)) // each conflict, without the key
	r = r.reopened()
	if again := r.mustRequest(q); !again.Replayed || again.Revision != first.Revision {
		t.Errorf("after the conflicts: got %+v", again)
	}
}

func correctUntil(q *ledger.Request, until events.Instant) ledger.Command {
	c := q.Commands[0].(ledger.CorrectValidity)
	c.Until = until
	return c
}

// Callers and tenants have keys of their own, and so has the ledger itself.
func TestKeysOfOthers(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	r.mustRequest(ledger.Request{Tenant: "other", Meta: events.Meta{Actor: root}, Commands: []ledger.Command{ledger.CreateTenant{}}})
	mine := keyed("k", request(ledger.CreateRole{Role: "a"}))
	theirs := keyed("k", request(ledger.CreateRole{Role: "b"}))
	theirs.Actor = alice
	elsewhere := keyed("k", request(ledger.CreateRole{Role: "a"}))
	elsewhere.Tenant = "other"
	admin := keyed("k", request(ledger.AddAdministrator{Principal: bob}))
	adminElsewhere := admin
	adminElsewhere.Tenant = "other"
	for _, q := range []ledger.Request{mine, theirs, elsewhere, admin} {
		if receipt := r.mustRequest(q); receipt.Replayed || receipt.Nothing {
			t.Errorf("got %+v", receipt)
		}
	}
	for _, q := range []ledger.Request{mine, theirs, elsewhere, admin, adminElsewhere} {
		if receipt := r.mustRequest(q); !receipt.Replayed {
			t.Errorf("again: got %+v", receipt)
		}
	}
}

// A hundred callers at once with one key: one set of events, one answer.
func TestOneKeyAtOnce(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	const n = 100
	outcomes := map[string][]ledger.Command{
		"recorded": {ledger.CreateGroup{Group: "g"}, ledger.AddMember{Group: "g", Member: alice}},
		"refused":  {ledger.AddMember{Group: "nobody", Member: alice}},
		"nothing":  {ledger.CreateGroup{Group: "dept"}},
		"too much": {ledger.CreateGroup{Group: "h"}, ledger.AddMember{Group: "nobody", Member: alice}},
	}
	for key, commands := range outcomes {
		before, notes := len(r.history()), len(r.notes())
		receipts, errs := make([]ledger.Receipt, n), make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { receipts[i], errs[i] = r.Submit(t.Context(), keyed(key, request(commands...))) })
		}
		wg.Wait()
		fresh := 0
		for i := range n {
			if errs[i] == nil && !receipts[i].Replayed {
				fresh++
			}
			if codeOf(errs[i]) != codeOf(errs[0]) || receipts[i].Command != receipts[0].Command || receipts[i].Revision != receipts[0].Revision || receipts[i].Events != receipts[0].Events {
				t.Fatalf("%s: answers differ: %+v %v, %+v %v", key, receipts[0], errs[0], receipts[i], errs[i])
			}
		}
		switch key {
		case "recorded":
			equal(t, "events", len(r.history())-before, 2)
			equal(t, "first answers", fresh, 1)
		case "nothing":
			equal(t, "notes", len(r.notes())-notes, 1)
			equal(t, "first answers", fresh, 1)
		default:
			equal(t, "code", codeOf(errs[0]), ledger.CodeUnknownGroup)
			equal(t, "events", len(r.history())-before, 0)
			equal(t, "notes", len(r.notes())-notes, 1)
		}
	}
}

// The same when all but the first wait for one commit: they get the answer of the first of them.
func TestOneKeyInOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(basics...)
		open, appends := gate(r.log)
		var wg sync.WaitGroup
		wg.Go(func() { r.must(ledger.CreateRole{Role: "first"}) })
		synctest.Wait()
		type asked struct {
			q       ledger.Request
			code    ledger.Code
			events  int
			replays int
			answers []ledger.Receipt
			errs    []error
		}
		all := []*asked{
			{q: keyed("recorded", request(ledger.AddMember{Group: "team", Member: alice})), events: 1, replays: 3},
			{q: keyed("recorded", request(ledger.AddMember{Group: "team", Member: bob})), code: ledger.CodeKeyConflict},
			{q: keyed("nothing", request(ledger.CreateGroup{Group: "dept"})), replays: 3},
			{q: keyed("nothing", request(ledger.CreateGroup{Group: "new"})), code: ledger.CodeKeyConflict},
			{q: keyed("refused", request(ledger.AddMember{Group: "nobody", Member: alice})), code: ledger.CodeUnknownGroup},
			{q: keyed("refused", request(ledger.CreateGroup{Group: "new"})), code: ledger.CodeKeyConflict},
		}
		for _, a := range all {
			a.answers, a.errs = make([]ledger.Receipt, 4), make([]error, 4)
			for i := range a.answers {
				wg.Go(func() { a.answers[i], a.errs[i] = r.Submit(t.Context(), a.q) })
			}
			synctest.Wait()
		}
		open()
		wg.Wait()
		equal(t, "appends", appends.Load(), 2)
		for _, a := range all {
			replays := 0
			for i, answer := range a.answers {
				equal(t, "code of "+a.q.Key, codeOf(a.errs[i]), a.code)
				if a.code == "" && (answer.Command != a.answers[0].Command || answer.Events != a.events || answer.Revision != 4) {
					t.Errorf("%s: %+v beside %+v", a.q.Key, answer, a.answers[0])
				}
				if answer.Replayed {
					replays++
				}
			}
			equal(t, "replays of "+a.q.Key, replays, a.replays)
		}
		equal(t, "kept answers", len(slices.DeleteFunc(r.notes(), func(a events.Answer) bool { return a.Key == "" })), 2)
		r.Close()
	})
}

// When the answer that others of the commit wait for cannot be kept, none of them gets it.
func TestReplaysOfAnAnswerThatIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(basics...)
		open, _ := gate(r.log)
		go r.Submit(t.Context(), request(ledger.CreateRole{Role: "first"}))
		synctest.Wait()
		errs := make([]error, 3)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = r.Submit(t.Context(), keyed("k", request(ledger.CreateGroup{Group: "dept"}))) })
		}
		synctest.Wait()
		r.log.SetHooks(memlog.Hooks{Note: func([]byte) memlog.Outcome { return memlog.Refused }})
		open()
		wg.Wait()
		for _, err := range errs {
			if !errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		}
		r.Close()
	})
}

// A keyed answer that the journal may not have is not given. Once the journal works, it is the first answer.
func TestJournalFailures(t *testing.T) {
	for name, outcome := range map[string]memlog.Outcome{"refused": memlog.Refused, "lost": memlog.Lost, "kept": memlog.Kept} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.must(basics...)
			r.log.SetHooks(memlog.Hooks{Note: func([]byte) memlog.Outcome { return outcome }})
			unavailable := func(q ledger.Request) {
				t.Helper()
				if receipt, err := r.Submit(t.Context(), q); !errors.Is(err, ledger.ErrUnavailable) {
					t.Errorf("got %+v, %v", receipt, err)
				}
			}
			refused := keyed("refused", request(ledger.AddMember{Group: "later", Member: alice}))
			unavailable(refused)
			// Until it is kept no other key is judged either: its answer could be the lost one.
			unavailable(keyed("other", request(ledger.CreateRole{Role: "x"})))
			// Without a key all goes on.
			r.must(ledger.CreateGroup{Group: "later"})
			r.refuses(request(ledger.AddMember{Group: "nobody", Member: alice}), ledger.CodeUnknownGroup)
			if r.count("unnoted") == 0 {
				t.Error("nobody heard")
			}

			r.log.SetHooks(memlog.Hooks{})
			r.mustRequest(keyed("other", request(ledger.CreateRole{Role: "x"})))
			r.refuses(refused, ledger.CodeUnknownGroup) // as it was decided first
			r = r.reopened()
			r.refuses(refused, ledger.CodeUnknownGroup)
		})
	}
}

// An index that fails after the journal took the note: the answer is given, and keys wait for the index.
func TestIndexFailure(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	var fixed atomic.Bool
	r.views.failNote = func() error {
		if fixed.Load() {
			return nil
		}
		return errors.New("disk full")
	}
	refused := keyed("k", request(ledger.AddMember{Group: "later", Member: alice}))
	r.refuses(refused, ledger.CodeUnknownGroup)
	if _, err := r.Submit(t.Context(), refused); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	r.must(ledger.CreateGroup{Group: "later"})
	fixed.Store(true)
	r.refuses(refused, ledger.CodeUnknownGroup)
}

// A journal that cannot be read keeps the ledger from opening: keys could be answered twice.
func TestUnreadableJournal(t *testing.T) {
	r := newRig(t)
	r.Close()
	if err := r.log.Note(t.Context(), []byte("{half")); err != nil {
		t.Fatal(err)
	}
	_, err := ledger.Open(t.Context(), r.log, r.log, newFold(r.log), ledger.Config{})
	if !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}
