package consumertest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
)

// Ledger is a server with a feed on it, for the tests of a subscriber.
type Ledger struct {
	*Server

	t       testing.TB
	history *History
	conn    *nats.Conn
	js      jetstream.JetStream
}

// Start runs an empty ledger until the test ends.
func Start(t testing.TB) *Ledger {
	t.Helper()
	l := &Ledger{
		Server:  StartServer(t, ServerConfig{}),
		history: NewHistory(uuid.Must(uuid.NewV7())),
		t:       t,
	}
	l.conn = l.Connect(t)
	var err error
	if l.js, err = jetstream.New(l.conn); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := l.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: events.FeedStream, Subjects: []string{events.FeedSubjects}, AllowDirect: true,
	}); err != nil {
		t.Fatal(err)
	}
	return l
}

// JetStream is what a subscriber of this ledger subscribes with.
func (l *Ledger) JetStream() jetstream.JetStream { return l.js }

// Conn is the connection of JetStream.
func (l *Ledger) Conn() *nats.Conn { return l.conn }

// Events are all events published so far, in order.
func (l *Ledger) Events() []events.Recorded { return l.history.Events() }

// Publish makes the events one commit of the ledger, publishes them in order, and gives them back as
// recorded. See History.Append for what it fills in.
func (l *Ledger) Publish(evs ...events.Recorded) []events.Recorded {
	l.t.Helper()
	recorded, err := l.history.Append(evs...)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, r := range recorded {
		message := events.Message(l.history.Head().Ledger, r).Bytes()
		_, err := l.js.Publish(ctx, events.Subject(r), message, jetstream.WithExpectLastSequence(uint64(r.Position)-1))
		if err != nil {
			l.t.Fatalf("publish position=%d: %v", r.Position, err)
		}
	}
	return recorded
}
