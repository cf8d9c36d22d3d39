package node_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
)

// externalNATS runs a server until the test ends.
func externalNATS(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats does not start")
	}
	return s.ClientURL()
}

// The operator of an external NATS has lost the streams, or deleted damaged ones: repair writes them again, goes
// on where it was broken off, and touches no stream that holds anything else.
func TestRepairIntoAnExternalNATS(t *testing.T) {
	cfg := node.Config{Dir: t.TempDir(), NATSURL: externalNATS(t), CacheBytes: 8 << 20}
	n := open(t, cfg)
	for _, role := range []events.Role{"a", "b", "c", "d"} {
		createRole(t, n, role)
	}
	published(t, n)
	head := n.Projector.Head()
	var commits []events.Commit
	for stored, err := range n.Log.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		c, err := events.DecodeCommit(stored.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		commits = append(commits, c)
	}
	deleteStreams := func(js natsjs.JetStream) {
		t.Helper()
		for _, name := range []string{"LEDGER", "JOURNAL"} {
			if err := js.DeleteStream(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	deleteStreams(n.Server.JetStream())
	closed(t, n)
	if _, err := tryOpen(t, cfg); !errors.Is(err, ledger.ErrCorrupt) {
		t.Fatalf("opened without its streams: %v", err)
	}
	plan := func() (node.Repair, *node.Evidence, error) {
		e, err := node.OpenEvidence(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		plan, err := e.PlanRepair(t.Context(), nil)
		return plan, e, err
	}
	// As if broken off after three commits; and once as if somebody published something instead.
	write := func(commits ...events.Commit) natsjs.JetStream {
		t.Helper()
		s, err := jetstream.Open(t.Context(), jetstream.Config{URL: cfg.NATSURL})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		for i, c := range commits {
			if err := s.Log().Append(t.Context(), events.Revision(i), c); err != nil {
				t.Fatal(err)
			}
		}
		return s.JetStream()
	}
	other := commits[2]
	other.Bytes = []byte("{}")
	js := write(commits[0], commits[1], other)
	_, e, err := plan()
	if !errors.Is(err, node.ErrBeyondRepair) || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("a stream with something else: %v", err)
	}
	if _, err := node.OpenEvidence(t.Context(), cfg); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("views that are in use are taken for damaged: %v", err)
	}
	e.Close()
	deleteStreams(js)
	write(commits[:3]...)
	for _, state := range []string{"a part", "nothing"} {
		p, e, err := plan()
		if err != nil || p.Log == "" || p.Append != (state == "a part") {
			t.Fatalf("%s: %+v, %v", state, p, err)
		}
		kept, err := e.Carry(t.Context(), &p, func(string, events.Head) {})
		if err != nil || len(kept) > 0 {
			t.Fatalf("%s: %v, %v", state, kept, err)
		}
		n := open(t, cfg)
		if n.Projector.Head() != head || !hasRole(t, n, "d", 0) {
			t.Errorf("%s: %+v", state, n.Projector.Head())
		}
		published(t, n)
		deleteStreams(n.Server.JetStream())
		closed(t, n)
	}
}
