package ledger_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
)

var addAlice = keyed("k", request(ledger.AddMember{Group: "team", Member: alice}))

// A store that failed may give back what it never wrote. Whoever was waiting hears that nobody knows, nobody
// writes any more, and the next start finds out what is so: the same key then has one outcome.
func TestAStoreThatFailedIsNotBelieved(t *testing.T) {
	for _, row := range []struct {
		name     string
		outcomes []memlog.Outcome
		stored   bool // what the restart finds
	}{
		{"in the cache and not on the disk", []memlog.Outcome{memlog.Failed}, false},
		{"on the disk", []memlog.Outcome{memlog.FailedKept}, true},
		{"lost, and failed when it was written again", []memlog.Outcome{memlog.Lost, memlog.Failed}, false},
		{"lost, and failed but kept", []memlog.Outcome{memlog.Lost, memlog.FailedKept}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			r.must(basics...)
			appends := script(r.log, row.outcomes...)
			if receipt, err := r.Submit(t.Context(), addAlice); !errors.Is(err, ledger.ErrUnknownOutcome) {
				t.Fatalf("got %+v, %v, want that nobody knows", receipt, err)
			}
			for range 3 {
				_, err := r.Submit(t.Context(), request(ledger.CreateRole{Role: "later"}))
				if !errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, ledger.ErrUnknownOutcome) || !strings.Contains(err.Error(), "restarted") {
					t.Errorf("a later request got %v", err)
				}
			}
			equal(t, "appends", appends.Load(), int32(len(row.outcomes))) // nothing was tried again
			if s := r.Status(); s.Ready || !strings.Contains(s.Reason, "restarted") || !strings.Contains(s.Reason, "the store failed") {
				t.Errorf("status: %+v", s)
			}
			equal(t, "halted", r.count("halted"), 1)
			if r.views.world.Holds(events.DefaultTenant, alice) {
				t.Error("the views show what nobody knows to be stored")
			}
			r.Close()

			again := openRig(t, r.log.Reopen())
			receipt := again.mustRequest(addAlice)
			if receipt.Replayed != row.stored || receipt.Events != 1 {
				t.Errorf("the same key after the restart: %+v, stored before: %v", receipt, row.stored)
			}
			if once := again.mustRequest(addAlice); !once.Replayed || once.Revision != receipt.Revision {
				t.Errorf("and once more: %+v, want revision %d", once, receipt.Revision)
			}
			again.must(ledger.CreateRole{Role: "later"})
		})
	}
}

// The control: a log that does not say that its store failed makes the ledger look, find the bytes in the cache,
// and acknowledge what a restart does not find. A test that cannot lose proves nothing by not losing.
func TestALookAcknowledgesWhatWasOnlyCached(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	script(r.log, memlog.Cached)
	if receipt := r.mustRequest(addAlice); receipt.Events != 1 {
		t.Fatalf("got %+v", receipt)
	}
	r.Close()
	again := openRig(t, r.log.Reopen())
	if receipt := again.mustRequest(addAlice); receipt.Replayed {
		t.Errorf("got %+v: what was only cached survived", receipt)
	}
}

// The journal is on the same disk. An answer it may not have is not given, and nothing is stored after it.
func TestAJournalWhoseStoreFailedEndsWriting(t *testing.T) {
	r := newRig(t)
	r.must(basics...)
	r.log.SetHooks(memlog.Hooks{Note: func([]byte) memlog.Outcome { return memlog.Failed }})
	q := keyed("refused", request(ledger.AddMember{Group: "no-such-group", Member: alice}))
	if receipt, err := r.Submit(t.Context(), q); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("the answer that could not be kept: %+v, %v", receipt, err)
	}
	if _, err := r.Submit(t.Context(), addAlice); !errors.Is(err, ledger.ErrUnavailable) || !strings.Contains(err.Error(), "restarted") {
		t.Errorf("a later request got %v", err)
	}
	equal(t, "ready", r.Status().Ready, false)
	r.Close()
	again := openRig(t, r.log.Reopen())
	again.refuses(q, ledger.CodeUnknownGroup)
	again.mustRequest(addAlice)
}

// A slow disk is no failed one: the write is waited for, and meanwhile the ledger says for what.
func TestASlowStoreIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(basics...)
		slow := func() memlog.Outcome { time.Sleep(40 * time.Second); return memlog.Done }
		r.log.SetHooks(memlog.Hooks{
			Append: func(events.Revision, events.Commit) memlog.Outcome { return slow() },
			Note:   func([]byte) memlog.Outcome { return slow() },
		})
		for _, row := range []struct {
			request ledger.Request
			reason  string
		}{
			{addAlice, "revision 3"},
			{keyed("nothing", request(ledger.AddMember{Group: "team", Member: alice})), "journal"},
		} {
			var wg sync.WaitGroup
			wg.Go(func() { r.mustRequest(row.request) })
			time.Sleep(time.Second)
			equal(t, "ready after a second", r.Status().Ready, true)
			time.Sleep(30 * time.Second)
			if s := r.Status(); s.Ready || !strings.Contains(s.Reason, row.reason) {
				t.Errorf("status: %+v, want a reason that says %s", s, row.reason)
			}
			wg.Wait()
			synctest.Wait()
			equal(t, "ready again", r.Status().Ready, true)
		}
		equal(t, "unknown", r.count("unknown"), 0)
		r.Close()
	})
}
