package node_test

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
)

// Somebody with the rights to do so bends the streams under a running node. The node finds it by itself, with
// nobody asking or writing anything: questions and requests fail, and it says why it is not ready.
func TestBentStreamsAreFoundWhileRunning(t *testing.T) {
	for _, row := range []struct {
		name string
		bend func(context.Context, jetstream.JetStream) error
		says string // a regular expression; "": it is left alone, the control
	}{
		{"messages may end", changed("LEDGER", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }), "AllowMsgTTL"},
		{"the log forgets", changed("LEDGER", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }), "MaxAge"},
		{"the log is limited", changed("LEDGER", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 }), "MaxMsgs"},
		{"the journal forgets", changed("JOURNAL", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }), "MaxAge"},
		{"the log is gone", deleted("LEDGER"), "gone"},
		{"the journal is gone", deleted("JOURNAL"), "gone"},
		{"another log is in its place", replaced("LEDGER"), "ends at 0|gone"}, // gone in between
		{"a note for people", changed("LEDGER", func(c *jetstream.StreamConfig) { c.Description = "ours" }), ""},
		{"nothing", func(context.Context, jetstream.JetStream) error { return nil }, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			url := natsServer(t).ClientURL()
			n := open(t, node.Config{Dir: t.TempDir(), NATSURL: url, CheckInterval: 20 * time.Millisecond})
			createRole(t, n, "operate")
			conn, err := nats.Connect(url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			js, err := jetstream.New(conn)
			if err != nil {
				t.Fatal(err)
			}
			if err := row.bend(t.Context(), js); err != nil {
				t.Fatal(err)
			}
			if row.says == "" {
				time.Sleep(200 * time.Millisecond)
				createRole(t, n, "more")
				published(t, n)
				return
			}
			for deadline := time.Now().Add(30 * time.Second); n.Projector.Halted() == nil; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it was not found")
				}
			}
			if err := n.Ready(); !errors.Is(err, ledger.ErrCorrupt) || !regexp.MustCompile(row.says).MatchString(err.Error()) {
				t.Errorf("ready: %v, want that it says %q", err, row.says)
			}
			if s, err := n.Access.At(t.Context(), events.DefaultTenant, access.When{}); !errors.Is(err, projections.ErrHalted) {
				t.Errorf("a question: %v, %v", s, err)
			}
			_, err = n.Ledger.Submit(t.Context(), ledger.Request{
				Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator},
				Commands: []ledger.Command{ledger.CreateRole{Role: "late"}},
			})
			if !errors.Is(err, ledger.ErrCorrupt) {
				t.Errorf("a request: %v", err)
			}
		})
	}
}

// The control: without the timer a question is answered from views whose log is gone.
func TestWithoutTheTimerBentStreamsAreNotFound(t *testing.T) {
	url := natsServer(t).ClientURL()
	n := open(t, node.Config{Dir: t.TempDir(), NATSURL: url, CheckInterval: time.Hour})
	createRole(t, n, "operate")
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err == nil {
		err = js.DeleteStream(t.Context(), "LEDGER")
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if err := n.Projector.Halted(); err != nil {
		t.Errorf("halted: %v", err)
	}
	if !hasRole(t, n, "operate", 0) {
		t.Error("the role is gone")
	}
}

func changed(stream string, change func(*jetstream.StreamConfig)) func(context.Context, jetstream.JetStream) error {
	return func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		c := s.CachedInfo().Config
		change(&c)
		_, err = js.UpdateStream(ctx, c)
		return err
	}
}

func deleted(stream string) func(context.Context, jetstream.JetStream) error {
	return func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, stream) }
}

func replaced(stream string) func(context.Context, jetstream.JetStream) error {
	return func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if err := js.DeleteStream(ctx, stream); err != nil {
			return err
		}
		_, err = js.CreateStream(ctx, s.CachedInfo().Config)
		return err
	}
}

// natsServer is a server of somebody else's.
func natsServer(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats does not start")
	}
	return s
}
