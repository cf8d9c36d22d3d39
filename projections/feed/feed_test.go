package feed_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/feed"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		runChild(dir)
	}
	// A server that was shut down leaves these of its stores behind.
	const store = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(store+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction(store+".(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction(store+"/ats.Register.func1"),
	)
}

var (
	ledgerID = uuid.MustParse("019a0000-0000-7000-8000-000000000009")
	otherID  = uuid.MustParse("019a0000-0000-7000-8000-00000000000a")
)

// message is one message of the stream as a reader finds it.
type message struct {
	Sequence uint64
	Subject  string
	Header   nats.Header
	Data     string
}

// dump reads the whole stream.
func dump(t *testing.T, js jetstream.JetStream) []message {
	t.Helper()
	ctx := testContext(t)
	stream, err := js.Stream(ctx, events.FeedStream)
	if err != nil {
		t.Fatal(err)
	}
	var out []message
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		for try := 0; errors.Is(err, jetstream.ErrMsgNotFound) && try < 100; try++ { // a replica may be late
			time.Sleep(10 * time.Millisecond)
			m, err = stream.GetMsg(ctx, seq)
		}
		if err != nil {
			t.Fatalf("message %d of %d: %v", seq, stream.CachedInfo().State.LastSeq, err)
		}
		delete(m.Header, "Nats-Time-Stamp") // when it was stored, which a direct read adds
		out = append(out, message{m.Sequence, m.Subject, m.Header, string(m.Data)})
	}
	return out
}

// checkStream compares the stream with the events it must hold.
func checkStream(t *testing.T, js jetstream.JetStream, ledger events.LedgerID, want []events.Recorded) {
	t.Helper()
	have := dump(t, js)
	if len(have) != len(want) {
		t.Fatalf("the stream holds %d messages, want %d", len(have), len(want))
	}
	for i, r := range want {
		m := have[i]
		if m.Sequence != uint64(r.Position) || m.Subject != events.Subject(r) || m.Data != string(events.Message(ledger, r).Bytes()) {
			t.Fatalf("message %d is %+v, want position %d of\n%s", i+1, m, r.Position, r.Raw)
		}
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, s *consumertest.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func start(t *testing.T, js jetstream.JetStream, source feed.Source) *feed.Feed {
	t.Helper()
	f, err := feed.Start(testContext(t), feed.Config{JetStream: js, Source: source, Patience: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// appendAll records evs in commits of a few events each.
func appendAll(t *testing.T, h *consumertest.History, evs []events.Recorded) {
	t.Helper()
	for len(evs) > 0 {
		n := min(len(evs), 1+len(evs)%5)
		if _, err := h.Append(evs[:n]...); err != nil {
			t.Fatal(err)
		}
		evs = evs[n:]
	}
}

func wait(t *testing.T, f *feed.Feed, h *consumertest.History) {
	t.Helper()
	if err := f.Wait(testContext(t), h.Head().Position); err != nil {
		t.Fatal(err)
	}
}

// waitHalted waits until the feed has halted, and says why.
func waitHalted(t *testing.T, f *feed.Feed) error {
	t.Helper()
	err := f.Wait(testContext(t), 1<<60)
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the feed has not halted: %v", err)
	}
	if !errors.Is(f.Err(), err) {
		t.Errorf("Wait says %v, Err says %v", err, f.Err())
	}
	return err
}

func TestFeed(t *testing.T) {
	js := connect(t, consumertest.StartServer(t, consumertest.ServerConfig{}))
	h := consumertest.NewHistory(ledgerID)
	all := consumertest.Traffic(1, 500)
	appendAll(t, h, all[:300])

	f := start(t, js, h) // what was there before
	wait(t, f, h)
	checkStream(t, js, ledgerID, h.Events())

	appendAll(t, h, all[300:400]) // what comes while it runs
	wait(t, f, h)
	if f.Position() != 400 || f.Err() != nil {
		t.Errorf("position %d, %v", f.Position(), f.Err())
	}
	f.Close()
	if err := f.Wait(testContext(t), 401); !errors.Is(err, feed.ErrClosed) {
		t.Errorf("wait for a closed feed: %v", err)
	}
	if err := f.Rebuild(testContext(t)); !errors.Is(err, feed.ErrClosed) {
		t.Errorf("rebuild a closed feed: %v", err)
	}

	appendAll(t, h, all[400:]) // what came while it did not
	g := start(t, js, h)
	wait(t, g, h)
	checkStream(t, js, ledgerID, h.Events())
	if err := g.Verify(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestFeedOfAnEmptyLedger(t *testing.T) {
	js := connect(t, consumertest.StartServer(t, consumertest.ServerConfig{}))
	h := consumertest.NewHistory(ledgerID)
	f := start(t, js, h)
	wait(t, f, h)
	if err := f.Verify(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := f.Rebuild(testContext(t)); err != nil {
		t.Error(err)
	}
	appendAll(t, h, consumertest.Traffic(1, 3))
	wait(t, f, h)
	checkStream(t, js, ledgerID, h.Events())
}

// A feed thrown away and built again is the same, headers and all.
func TestRebuild(t *testing.T) {
	js := connect(t, consumertest.StartServer(t, consumertest.ServerConfig{}))
	h := consumertest.NewHistory(ledgerID)
	appendAll(t, h, consumertest.Traffic(2, 500))
	f := start(t, js, h)
	wait(t, f, h)
	before := dump(t, js)
	created := streamInfo(t, js).Created

	if err := f.Rebuild(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if streamInfo(t, js).Created.Equal(created) {
		t.Error("the stream was not deleted")
	}
	if diff := cmp.Diff(before, dump(t, js)); diff != "" {
		t.Errorf("the rebuilt feed is another (-before +after):\n%s", diff)
	}
	for range 5 { // in quick succession, when the server may still be at the deletion before
		created := streamInfo(t, js).Created
		if err := f.Rebuild(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if streamInfo(t, js).Created.Equal(created) {
			t.Error("the stream was not deleted")
		}
	}
	checkStream(t, js, ledgerID, h.Events())
}

// Rebuilding really starts with an empty stream, however soon after the last time: what is replaced here
// is foreign each time, and must not come back.
func TestRebuildForeignStreamsInSuccession(t *testing.T) {
	js := connect(t, consumertest.StartServer(t, consumertest.ServerConfig{}))
	ours, theirs := consumertest.NewHistory(ledgerID), consumertest.NewHistory(otherID)
	appendAll(t, ours, consumertest.Traffic(2, 10))
	appendAll(t, theirs, consumertest.Traffic(3, 20))
	for range 10 {
		for ledger, h := range map[events.LedgerID]*consumertest.History{otherID: theirs, ledgerID: ours} {
			f := start(t, js, h)
			if err := f.Rebuild(testContext(t)); err != nil {
				t.Fatal(err)
			}
			checkStream(t, js, ledger, h.Events())
			f.Close()
		}
	}
}

// The server goes away and comes back while events are published; so does the stream, once.
func TestServerRestarts(t *testing.T) {
	server := consumertest.StartServer(t, consumertest.ServerConfig{SyncAlways: true})
	js := connect(t, server)
	h := consumertest.NewHistory(ledgerID)
	f := start(t, js, h)
	all := consumertest.Traffic(3, 3000)
	const steps = 8
	for i := range steps {
		appendAll(t, h, all[i*len(all)/steps:(i+1)*len(all)/steps])
		if i == steps/2 {
			if err := js.DeleteStream(testContext(t), events.FeedStream); err != nil {
				t.Fatal(err)
			}
			continue
		}
		time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
		server.Stop()
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, f, h)
	checkStream(t, js, ledgerID, h.Events())
}

// Several processes that publish the same feed get in each other's way and nothing else.
func TestTwoFeeds(t *testing.T) {
	server := consumertest.StartServer(t, consumertest.ServerConfig{})
	h := consumertest.NewHistory(ledgerID)
	one, two := start(t, connect(t, server), h), start(t, connect(t, server), h)
	all := consumertest.Traffic(4, 2000)
	for i := 0; i < len(all); i += 100 {
		appendAll(t, h, all[i:i+100])
	}
	wait(t, one, h)
	wait(t, two, h)
	checkStream(t, connect(t, server), ledgerID, h.Events())
	if one.Err() != nil || two.Err() != nil {
		t.Errorf("%v, %v", one.Err(), two.Err())
	}
}

func streamInfo(t *testing.T, js jetstream.JetStream) *jetstream.StreamInfo {
	t.Helper()
	stream, err := js.Stream(testContext(t), events.FeedStream)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo()
}

// What halts a feed: in each case nothing is published until it is rebuilt, and then all is well.
func TestHalts(t *testing.T) {
	publish := func(t *testing.T, js jetstream.JetStream, subject, data string) {
		t.Helper()
		if _, err := js.Publish(testContext(t), subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	alter := func(change func(*jetstream.StreamConfig)) func(*testing.T, jetstream.JetStream, *consumertest.History) {
		return func(t *testing.T, js jetstream.JetStream, _ *consumertest.History) {
			t.Helper()
			cfg := streamInfo(t, js).Config
			change(&cfg)
			if _, err := js.UpdateStream(testContext(t), cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(position func(events.Position) events.Position) func(*testing.T, jetstream.JetStream, *consumertest.History) {
		return func(t *testing.T, js jetstream.JetStream, h *consumertest.History) {
			t.Helper()
			stream, err := js.Stream(testContext(t), events.FeedStream)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.DeleteMsg(testContext(t), uint64(position(h.Head().Position))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, js jetstream.JetStream, h *consumertest.History)
		want  error
	}{
		"a message nobody recorded": {func(t *testing.T, js jetstream.JetStream, h *consumertest.History) {
			publish(t, js, "permledger.events.default.~.role.created.role.x", "{}")
		}, feed.ErrForeign},
		"the next message, but not the next event": {func(t *testing.T, js jetstream.JetStream, h *consumertest.History) {
			last := h.Events()[h.Head().Position-1]
			last.Position++
			publish(t, js, events.Subject(last), string(events.Message(ledgerID, last).Bytes()))
			appendAll(t, h, consumertest.Traffic(99, 1))
		}, feed.ErrForeign},
		"the right event on another subject": {func(t *testing.T, js jetstream.JetStream, h *consumertest.History) {
			appendAll(t, h, consumertest.Traffic(99, 1))
			last := h.Events()[h.Head().Position-1]
			publish(t, js, "permledger.events.x", string(events.Message(ledgerID, last).Bytes()))
		}, feed.ErrForeign},
		"the stream of another ledger": {func(t *testing.T, js jetstream.JetStream, h *consumertest.History) {
			other := consumertest.NewHistory(otherID)
			appendAll(t, other, h.Events())
			f := start(t, js, consumertest.NewHistory(otherID))
			f.Close()
			if err := js.DeleteStream(testContext(t), events.FeedStream); err != nil {
				t.Fatal(err)
			}
			f = start(t, js, other)
			wait(t, f, other)
			f.Close()
		}, feed.ErrForeign},
		"a message removed in the middle": {remove(func(last events.Position) events.Position { return last / 2 }), feed.ErrDamaged},
		"the first message removed":       {remove(func(events.Position) events.Position { return 1 }), feed.ErrDamaged},
		"the last message removed":        {remove(func(last events.Position) events.Position { return last }), feed.ErrDamaged},
		"purged": {func(t *testing.T, js jetstream.JetStream, h *consumertest.History) {
			stream, err := js.Stream(testContext(t), events.FeedStream)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Purge(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}, feed.ErrDamaged},
		"an age limit":         {alter(func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }), feed.ErrConfig},
		"old ones give way":    {alter(func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 1000 }), feed.ErrConfig},
		"more subjects":        {alter(func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more") }), feed.ErrConfig},
		"messages that expire": {alter(func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }), feed.ErrConfig},
		"in memory": {func(t *testing.T, js jetstream.JetStream, h *consumertest.History) {
			cfg := streamInfo(t, js).Config
			if err := js.DeleteStream(testContext(t), cfg.Name); err != nil {
				t.Fatal(err)
			}
			cfg.Storage, cfg.PersistMode = jetstream.MemoryStorage, jetstream.DefaultPersistMode
			if _, err := js.CreateStream(testContext(t), cfg); err != nil {
				t.Fatal(err)
			}
		}, feed.ErrConfig},
	} {
		t.Run(name, func(t *testing.T) {
			js := connect(t, consumertest.StartServer(t, consumertest.ServerConfig{}))
			h := consumertest.NewHistory(ledgerID)
			appendAll(t, h, consumertest.Traffic(5, 50))
			f := start(t, js, h)
			wait(t, f, h)
			f.Close()

			tt.spoil(t, js, h)
			spoilt := streamInfo(t, js).State

			f = start(t, js, h)
			if err := waitHalted(t, f); !errors.Is(err, tt.want) {
				t.Errorf("halted by %v, want %v", err, tt.want)
			}
			appendAll(t, h, consumertest.Traffic(6, 20))
			if now := streamInfo(t, js).State; now.LastSeq != spoilt.LastSeq || now.Msgs != spoilt.Msgs {
				t.Errorf("a halted feed has published: %d messages to %d, before %d to %d", now.Msgs, now.LastSeq, spoilt.Msgs, spoilt.LastSeq)
			}
			if err := f.Verify(testContext(t)); !errors.Is(err, tt.want) {
				t.Errorf("verify says %v, want %v", err, tt.want)
			}
			if err := f.Rebuild(testContext(t)); err != nil {
				t.Fatal(err)
			}
			checkStream(t, js, ledgerID, h.Events())
			if f.Err() != nil {
				t.Errorf("after the rebuild: %v", f.Err())
			}
		})
	}
}

// A foreign message while the feed runs halts it at the next event.
func TestForeignWhileRunning(t *testing.T) {
	js := connect(t, consumertest.StartServer(t, consumertest.ServerConfig{}))
	h := consumertest.NewHistory(ledgerID)
	appendAll(t, h, consumertest.Traffic(5, 50))
	f := start(t, js, h)
	wait(t, f, h)
	if _, err := js.Publish(testContext(t), "permledger.events.x", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	appendAll(t, h, consumertest.Traffic(6, 50))
	if err := waitHalted(t, f); !errors.Is(err, feed.ErrForeign) {
		t.Errorf("halted by %v", err)
	}
	if last := streamInfo(t, js).State.LastSeq; last != 51 {
		t.Errorf("published on, to %d", last)
	}
}

// A damaged record is passed over in silence by the store: no reader is told. Verify is.
func TestVerifyFindsADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	server := consumertest.StartServer(t, consumertest.ServerConfig{Dir: dir})
	js := connect(t, server)
	h := consumertest.NewHistory(ledgerID)
	appendAll(t, h, consumertest.Traffic(7, 200))
	f := start(t, js, h)
	wait(t, f, h)
	server.Stop()

	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", events.FeedStream, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks %v, %v", blocks, err)
	}
	block, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(block, h.Events()[99].Raw)
	if at < 0 {
		t.Fatal("position 100 is not in the block")
	}
	block[at+10] ^= 1
	if err := os.WriteFile(blocks[0], block, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	err = f.Verify(ctx)
	for errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // the connection is not back yet
		err = f.Verify(ctx)
	}
	if !errors.Is(err, feed.ErrDamaged) {
		t.Errorf("verify says %v", err)
	}
	if err := f.Rebuild(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(testContext(t)); err != nil {
		t.Errorf("after the rebuild: %v", err)
	}
}

func TestStartNeedsAServer(t *testing.T) {
	server := consumertest.StartServer(t, consumertest.ServerConfig{})
	js := connect(t, server)
	server.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if f, err := feed.Start(ctx, feed.Config{JetStream: js, Source: consumertest.NewHistory(ledgerID)}); err == nil {
		f.Close()
		t.Error("started without a server")
	}
}
