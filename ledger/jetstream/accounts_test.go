package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
)

const feedSubject = "permledger.events"

// listening is a server with a log of five commits, a feed of ten events and a listener for readers.
func listening(t *testing.T) (*Server, events.Head) {
	s := mustOpen(t, Config{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", ReaderUser: "reader", ReaderPassword: "secret",
	})
	head := fill(t, s.Log(), events.Head{}, 5)
	_, err := s.JetStream().CreateStream(t.Context(), natsjs.StreamConfig{
		Name: feedStream, Subjects: []string{feedSubject + ".>"}, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := s.JetStream().Publish(t.Context(), fmt.Sprintf("%s.%d", feedSubject, i%2), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	return s, head
}

// reader connects as a reader does. Refusals by the server go nowhere: what counts is what they prevent.
func reader(t *testing.T, s *Server) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), nats.UserInfo("reader", "secret"),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func TestReadersConsumeTheFeed(t *testing.T) {
	s, _ := listening(t)
	js, err := natsjs.New(reader(t, s))
	if err != nil {
		t.Fatal(err)
	}
	feed, err := js.Stream(t.Context(), feedStream)
	if err != nil {
		t.Fatal(err)
	}
	if last := feed.CachedInfo().State.LastSeq; last != 10 {
		t.Errorf("the feed ends at %d, want 10", last)
	}
	if m, err := feed.GetMsg(t.Context(), 4); err != nil || string(m.Data) != "3" || m.Subject != feedSubject+".1" {
		t.Errorf("message 4: %+v, %v", m, err)
	}
	ordered, err := js.OrderedConsumer(t.Context(), feedStream, natsjs.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := ordered.Messages(natsjs.StopAfter(10))
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for i := range 10 {
		m, err := messages.Next(natsjs.NextMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Stream != uint64(i+1) || string(m.Data()) != fmt.Sprint(i) {
			t.Errorf("message %d: %s %q, %+v, %v", i, m.Subject(), m.Data(), meta, err)
		}
	}

	durable, err := js.CreateConsumer(t.Context(), feedStream, natsjs.ConsumerConfig{
		Durable: "service", FilterSubject: feedSubject + ".1", AckPolicy: natsjs.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := durable.Fetch(5)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if info, err := durable.Info(t.Context()); err != nil || info.AckFloor.Consumer != 5 {
		t.Errorf("after five acknowledgements: %+v, %v", info, err)
	}
	if err := js.DeleteConsumer(t.Context(), feedStream, "service"); err != nil {
		t.Error(err)
	}
}

// Every way a reader could find to write to the log or the feed, or to see the log, has no effect.
func TestReadersCanDoNothingElse(t *testing.T) {
	s, head := listening(t)
	conn := reader(t, s)
	js, err := natsjs.New(conn, natsjs.WithDefaultTimeout(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()

	for _, name := range []string{"LEDGER", "JOURNAL"} {
		if _, err := js.Stream(ctx, name); err == nil {
			t.Errorf("a reader sees stream %s", name)
		}
		if _, err := js.OrderedConsumer(ctx, name, natsjs.OrderedConsumerConfig{MaxResetAttempts: 1}); err == nil {
			t.Errorf("a reader consumes stream %s", name)
		}
	}
	for names, err := range streamNames(ctx, js) {
		if err == nil && names != feedStream {
			t.Errorf("a reader hears of stream %s", names)
		}
	}

	for _, subject := range []string{ledgerSubject, journalSubject, feedSubject + ".1"} {
		if err := conn.Publish(subject, []byte("forged")); err != nil {
			t.Error(err)
		}
		// Asking for an answer at that subject makes JetStream publish it there.
		for request, body := range map[string]string{
			"$JS.API.INFO":                     "",
			"$JS.API.STREAM.INFO.EVENTS":       "",
			"$JS.API.STREAM.MSG.GET.EVENTS":    `{"seq":1}`,
			"$JS.API.DIRECT.GET.EVENTS":        `{"seq":1}`,
			"$JS.API.CONSUMER.CREATE.EVENTS.x": "{}",
		} {
			if err := conn.PublishRequest(request, subject, []byte(body)); err != nil {
				t.Error(err)
			}
		}
		// A consumer that delivers to that subject makes JetStream publish all events there.
		request := fmt.Sprintf(`{"stream_name":"EVENTS","action":"create","config":{"name":"evil-%s","deliver_policy":"all","ack_policy":"none","deliver_subject":%q}}`,
			strings.ReplaceAll(subject, ".", "-"), subject)
		_, _ = conn.Request("$JS.API.CONSUMER.CREATE.EVENTS.evil-"+strings.ReplaceAll(subject, ".", "-"), []byte(request), time.Second)
	}
	// So does one that delivers to the subject of an administrator's request.
	_, _ = conn.Request("$JS.API.CONSUMER.CREATE.EVENTS.admin", []byte(`{"stream_name":"EVENTS","action":"create",`+
		`"config":{"name":"admin","deliver_policy":"all","ack_policy":"none","deliver_subject":"$JS.API.STREAM.PURGE.EVENTS"}}`), time.Second)

	for _, name := range []string{"LEDGER", "JOURNAL", feedStream} {
		for _, request := range []string{
			"STREAM.PURGE." + name, "STREAM.DELETE." + name, "STREAM.UPDATE." + name, "STREAM.CREATE." + name,
			"STREAM.MSG.DELETE." + name, "STREAM.SNAPSHOT." + name, "STREAM.RESTORE." + name,
			"STREAM.LEADER.STEPDOWN." + name, "STREAM.PEER.REMOVE." + name, "ACCOUNT.PURGE." + ledgerAccount,
		} {
			if m, err := conn.Request("$JS.API."+request, []byte(`{"seq":1}`), 50*time.Millisecond); err == nil {
				t.Errorf("%s is answered: %s", request, m.Data)
			}
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // what would be stored, would be stored by now

	if got, err := readAll(ctx, s.Log()); err != nil || got != head {
		t.Errorf("the log ends at %+v, %v; want %+v", got, err, head)
	}
	if last, err := s.Journal().last(ctx); err != nil || last != 0 {
		t.Errorf("the journal ends at %d, %v", last, err)
	}
	feed, err := s.JetStream().Stream(ctx, feedStream)
	if err != nil {
		t.Fatal(err)
	}
	if state := feed.CachedInfo().State; state.LastSeq != 10 || state.Msgs != 10 {
		t.Errorf("the feed has %d messages up to %d, want 10", state.Msgs, state.LastSeq)
	}
}

// streamNames lists what a client is told of streams.
func streamNames(ctx context.Context, js natsjs.JetStream) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		list := js.StreamNames(ctx)
		for name := range list.Name() {
			if !yield(name, nil) {
				return
			}
		}
		if err := list.Err(); err != nil {
			yield("", err)
		}
	}
}

// The control: in one account for all, the same permissions let a reader write. It is why there are three.
func TestInOneAccountPermissionsAreNotEnough(t *testing.T) {
	srv := external(t)
	s := mustOpen(t, Config{URL: srv.ClientURL()})
	fill(t, s.Log(), events.Head{}, 2)
	if _, err := s.JetStream().CreateStream(t.Context(), natsjs.StreamConfig{Name: feedStream, Subjects: []string{feedSubject + ".>"}}); err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.PublishRequest("$JS.API.STREAM.INFO.EVENTS", ledgerSubject, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Log().Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t.Context(), s.Log()); !errors.Is(err, events.ErrMalformed) {
		t.Errorf("the answer stored as a commit reads as %v", err)
	}
}

func TestStrangersCannotConnect(t *testing.T) {
	s, _ := listening(t)
	for name, opts := range map[string][]nats.Option{
		"anonymous":      nil,
		"wrong password": {nats.UserInfo("reader", "guess")},
		"no password":    {nats.UserInfo("reader", "")},
		"the ledger":     {nats.UserInfo("ledger", "")},
		"the feed":       {nats.UserInfo("feed", "")},
		"a token":        {nats.Token("secret")},
	} {
		conn, err := nats.Connect(s.ClientURL(), opts...)
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v, want an authorization violation", name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// The ledger's own connection cannot harm what it has written, and the feed's cannot reach it.
func TestOurOwnConnectionsAreLimited(t *testing.T) {
	s, head := listening(t)
	ctx := t.Context()
	own, err := natsjs.New(s.conn, natsjs.WithDefaultTimeout(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	s.conn.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	if err := own.DeleteStream(ctx, "LEDGER"); err == nil {
		t.Error("the ledger deletes its stream")
	}
	cfg := pinned("LEDGER", ledgerSubject, 1)
	cfg.MaxAge = time.Second
	if _, err := own.UpdateStream(ctx, cfg); err == nil {
		t.Error("the ledger changes its stream")
	}
	if _, err := s.conn.Request("$JS.API.STREAM.PURGE.LEDGER", nil, 300*time.Millisecond); err == nil {
		t.Error("the ledger purges its stream")
	}
	if _, err := s.JetStream().Stream(ctx, "LEDGER"); err == nil {
		t.Error("the feed sees the log")
	}
	if err := s.Conn().Publish(ledgerSubject, []byte("forged")); err != nil {
		t.Error(err)
	}
	if err := s.Conn().Flush(); err != nil {
		t.Error(err)
	}
	if got, err := readAll(ctx, s.Log()); err != nil || got != head {
		t.Errorf("the log ends at %+v, %v; want %+v", got, err, head)
	}
}

// Readers hear the checkpoints that the ledger publishes, and none that another reader made up.
func TestReadersHearCheckpoints(t *testing.T) {
	s, _ := listening(t)
	conn, forger := reader(t, s), reader(t, s)
	heard, err := conn.SubscribeSync(checkpointSubject)
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := forger.Publish(checkpointSubject, []byte("forged")); err != nil {
		t.Fatal(err)
	}
	if err := forger.PublishRequest("$JS.API.INFO", checkpointSubject, nil); err != nil { // answered there
		t.Fatal(err)
	}
	if err := forger.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Conn().Publish(checkpointSubject, []byte("signed")); err != nil {
		t.Fatal(err)
	}
	m, err := heard.NextMsg(10 * time.Second)
	for err == nil && strings.Contains(string(m.Data), "io.nats.jetstream") {
		m, err = heard.NextMsg(10 * time.Second) // JetStream's answer, which the checkpoint's signature tells apart
	}
	if err != nil || string(m.Data) != "signed" {
		t.Errorf("heard %+v, %v", m, err)
	}
	if m, err := heard.NextMsg(100 * time.Millisecond); err == nil {
		t.Errorf("heard %q, too", m.Data)
	}
}
