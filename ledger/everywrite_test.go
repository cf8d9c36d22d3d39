package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

// answered is what a request was answered, as far as it must be the same each time.
type answered struct {
	command  events.CommandID
	revision events.Revision
	events   int
	nothing  bool
	refusal  ledger.Code
}

// ask gives the answer, or an error when nobody knows.
func (r *rig) ask(q ledger.Request) (answered, error) {
	receipt, err := r.Submit(r.t.Context(), q)
	if code := codeOf(err); code != "" {
		return answered{refusal: code}, nil
	}
	return answered{receipt.Command, receipt.Revision, receipt.Events, receipt.Nothing, ""}, err
}

// everyWrite is a workload of keyed requests in which each kind of answer occurs, and is written.
func everyWrite() (all []ledger.Request) {
	for i, q := range []ledger.Request{
		request(basics...),
		request(ledger.AddMember{Group: "team", Member: alice}, ledger.AddMember{Group: "dept", Member: alice}),
		request(ledger.AddMember{Group: "team", Member: alice}), // so already
		request(ledger.AddMember{Group: "none", Member: alice}), // refused
		request(ledger.RemoveMember{Group: "team", Member: alice}),
		request(ledger.CreateGroup{Group: "none"}), // the refusal would not be one any more
		request(ledger.AddMember{Group: "team", Member: bob}),
	} {
		all = append(all, keyed(fmt.Sprint(i), q))
	}
	return all
}

// failures are the ways in which one write fails. Stored says whether a restart finds it.
var failures = map[string]struct {
	outcome memlog.Outcome
	stored  bool
}{
	"failed and lost": {memlog.Lost, false},
	"failed but kept": {memlog.Kept, true},
}

// Every append of the workload fails, both ways, and the ledger ends before it can look what became of it. The
// caller is told that nobody knows; after the restart the same key gives the one answer there is, everything
// answered before stays as it was, and the history is the one without any failure.
func TestEveryAppendFailsAndTheLedgerRestarts(t *testing.T) {
	const appends = 5 // of everyWrite
	for name, failure := range failures {
		for failing := range appends {
			t.Run(fmt.Sprintf("%s, append %d", name, failing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, w := onWire(t)
					n := 0
					w.SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
						if n++; n-1 == failing {
							w.down.Store(true)
							return failure.outcome
						}
						return memlog.Done
					}})
					first := map[string]answered{}
					for _, q := range everyWrite() {
						asked, below := r, w
						time.AfterFunc(time.Minute, func() { // by then it is answered, unless nobody can
							if below.down.Load() {
								asked.Close()
							}
						})
						a, err := r.ask(q)
						time.Sleep(2 * time.Minute)
						if err == nil {
							first[q.Key] = a
							continue
						}
						if !errors.Is(err, ledger.ErrUnknownOutcome) {
							t.Errorf("the caller of append %d got %+v, %v", failing, a, err)
						}
						w.down.Store(false)
						r, w = again(t, w)
						receipt := r.mustRequest(q)
						equal(t, "was there", receipt.Replayed, failure.stored)
						first[q.Key] = answered{receipt.Command, receipt.Revision, receipt.Events, receipt.Nothing, ""}
					}
					equal(t, "failures played", n > failing, true)
					r.Close()
					settle(t, r, first)
				})
			})
		}
	}
}

// again is the ledger on the wire after a restart.
func again(t *testing.T, w *wire) (*rig, *wire) {
	t.Helper()
	next := &wire{Log: w.Log.Reopen()}
	r := &rig{t: t, log: next.Log, views: newFold(next), now: firstDay}
	var err error
	if r.Ledger, err = ledger.Open(t.Context(), next, next, r.views, r.config()); err != nil {
		t.Fatal(err)
	}
	return r, next
}

// Every note of the journal fails, both ways, and the ledger restarts then. A refusal that was not noted was
// not promised to anybody; one that was is the answer for ever.
func TestEveryNoteFailsAndTheLedgerRestarts(t *testing.T) {
	const notes = 2 // of everyWrite
	for name, failure := range failures {
		for failing := range notes {
			t.Run(fmt.Sprintf("%s, note %d", name, failing), func(t *testing.T) {
				r := newRig(t)
				n := 0
				r.log.SetHooks(memlog.Hooks{Note: func([]byte) memlog.Outcome {
					if n++; n-1 == failing {
						return failure.outcome
					}
					return memlog.Done
				}})
				first := map[string]answered{}
				for _, q := range everyWrite() {
					before := n
					a, err := r.ask(q)
					if n > before && n-1 == failing {
						r = r.reopened()
						a = r.mustAsk(q)
					} else if err != nil {
						t.Fatal(err)
					}
					first[q.Key] = a
				}
				equal(t, "failures played", n > failing, true)
				settle(t, r.reopened(), first)
			})
		}
	}
}

// settle restarts and asks for everything again: the answers are the first ones, and the history is that of a
// ledger on which nothing ever failed.
func settle(t *testing.T, r *rig, first map[string]answered) {
	t.Helper()
	r = r.reopened()
	clean := newRig(t)
	for _, q := range everyWrite() {
		equal(t, "key "+q.Key+" asked again", r.mustAsk(q), first[q.Key])
		_, _ = clean.ask(q)
	}
	equal(t, "history", names(r.history()), names(clean.history()))
	r.must(ledger.CreateRole{Role: "after"})
	r.Close()
	clean.Close()
	r.checkAll()
}

func (r *rig) mustAsk(q ledger.Request) answered {
	r.t.Helper()
	a, err := r.ask(q)
	if err != nil {
		r.t.Fatalf("submit %+v: %v", q.Commands, err)
	}
	return a
}

// The control: a log that lost its last acknowledged commit is whole and verifies, and only the answers differ.
func TestALostAppendIsSeenByItsAnswer(t *testing.T) {
	r := newRig(t)
	first := map[string]answered{}
	for _, q := range everyWrite() {
		first[q.Key] = r.mustAsk(q)
	}
	r.Close()
	log := r.log.Reopen()
	last, err := log.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log.Truncate(last - 1)
	shorter, differ := openRig(t, log), 0
	for _, q := range everyWrite() {
		if shorter.mustAsk(q) != first[q.Key] {
			differ++
		}
	}
	equal(t, "answers that differ", differ, 1)
}
