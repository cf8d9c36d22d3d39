package consumers_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/feed"
)

var errKilled = errors.New("killed")

// maybe says now and then, when asked at a crash point, that the subscriber dies there.
type maybe func() bool

func oneIn(n int) maybe { return func() bool { return rand.IntN(n) == 0 } }

// sound stores effect and cursor in one step, and may die before it and after it.
type sound struct {
	*recorder
	dies maybe
}

func (s sound) Apply(ctx context.Context, ev consumers.Event) error {
	if s.dies() {
		return errKilled
	}
	if err := s.recorder.Apply(ctx, ev); err != nil {
		return err
	}
	if s.dies() {
		return errKilled
	}
	return nil
}

// cursorFirst stores the cursor and then the effect: what dies in between has lost the event.
type cursorFirst struct {
	*recorder
	dies maybe
}

func (c cursorFirst) Apply(_ context.Context, ev consumers.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store(ev.Cursor())
	if c.dies() {
		return errKilled
	}
	c.got = append(c.got, ev.Position)
	return nil
}

// effectFirst is what Func promises: what dies in between gets the event again.
type effectFirst struct {
	*recorder
	dies maybe
}

func (e effectFirst) Apply(_ context.Context, ev consumers.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.got = append(e.got, ev.Position)
	if e.dies() {
		return errKilled
	}
	e.store(ev.Cursor())
	return nil
}

// chaos runs a subscriber for each of interests while events are published, the server goes away and comes
// back, the feed is thrown away and built anew, and the subscribers die and are started again, all at
// random. It gives what each got and should have got.
func chaos(t *testing.T, n int, effect func(*recorder, maybe) consumers.Effect) (got, want [][]events.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	server := consumertest.StartServer(t, consumertest.ServerConfig{})
	connect := func() jetstream.JetStream {
		js, err := jetstream.New(server.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	history := consumertest.NewHistory(uuid.New())
	f, err := feed.Start(ctx, feed.Config{JetStream: connect(), Source: history})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	traffic := consumertest.Traffic(rand.Uint64(), n)
	for _, filters := range interests {
		want = append(want, nil)
		for i, r := range traffic { // every event is its own commit: position i+1
			if selects(filters, r) {
				want[len(want)-1] = append(want[len(want)-1], events.Position(i+1))
			}
		}
	}

	var running sync.WaitGroup
	published := make(chan struct{})
	running.Go(func() { // the ledger
		defer close(published)
		for i, r := range traffic {
			if _, err := history.Append(r); err != nil {
				t.Error(err)
			}
			if i%10 == 0 {
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			}
			if i == n/3 || i == n/3*2 {
				for f.Rebuild(ctx) != nil && ctx.Err() == nil { // the server may be away
				}
			}
		}
	})
	running.Go(func() { // the server
		for {
			select {
			case <-published:
				return
			case <-time.After(time.Duration(50+rand.IntN(250)) * time.Millisecond):
			}
			server.Stop()
			time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
			if err := server.Run(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	recorders, starts := make([]*recorder, len(interests)), make([]int, len(interests))
	for i, filters := range interests {
		recorders[i] = newRecorder()
		e := effect(recorders[i], oneIn(100))
		running.Go(func() {
			js := connect()
			last := want[i][len(want[i])-1]
			for ctx.Err() == nil {
				if c, _, _ := recorders[i].Cursor(ctx); c.Position >= last {
					return
				}
				life, end := context.WithTimeout(ctx, time.Duration(rand.IntN(300))*time.Millisecond)
				err := consumers.Subscribe(life, js, consumers.Options{Filters: filters, Patience: time.Minute}, e)
				end()
				starts[i]++
				if !errors.Is(err, errKilled) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("subscriber %d: %v", i, err)
				}
			}
		})
	}
	running.Wait()
	for i, r := range recorders {
		got = append(got, r.positions())
		t.Logf("subscriber %d: %d events in %d lives", i, len(got[i]), starts[i])
	}
	return got, want
}

// Each subscriber sees each position that it selects exactly once, in order, whatever happens.
func TestExactlyOnce(t *testing.T) {
	const store = "github.com/nats-io/nats-server/v2/server" // a server that was shut down leaves some behind
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction(store+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction(store+".(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction(store+"/ats.Register.func1"))
	t.Run("chaos", func(t *testing.T) {
		got, want := chaos(t, 2000, func(r *recorder, dies maybe) consumers.Effect { return sound{r, dies} })
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("subscriber %d got %v,\nwant %v", i, got[i], want[i])
			}
		}
	})
}

// Effects that do not store both in one step lose events or get them twice, and the same harness sees it.
func TestExactlyOnceNeedsOneStep(t *testing.T) {
	t.Run("cursor first", func(t *testing.T) {
		got, want := chaos(t, 600, func(r *recorder, dies maybe) consumers.Effect { return cursorFirst{r, dies} })
		lost := 0
		for i := range want {
			lost += len(want[i]) - len(got[i])
			if !slices.IsSorted(got[i]) || len(slices.Compact(slices.Clone(got[i]))) != len(got[i]) {
				t.Errorf("subscriber %d got %v", i, got[i])
			}
		}
		if lost == 0 {
			t.Error("nothing was lost: this harness shows nothing")
		}
		t.Logf("%d events lost", lost)
	})
	t.Run("effect first", func(t *testing.T) {
		got, want := chaos(t, 600, func(r *recorder, dies maybe) consumers.Effect { return effectFirst{r, dies} })
		twice := 0
		for i := range want {
			twice += len(got[i]) - len(want[i])
			if !slices.Equal(slices.Compact(slices.Clone(got[i])), want[i]) {
				t.Errorf("subscriber %d got %v, want at least once %v", i, got[i], want[i])
			}
		}
		if twice == 0 {
			t.Error("nothing came twice: this harness shows nothing")
		}
		t.Logf("%d events came twice", twice)
	})
}
