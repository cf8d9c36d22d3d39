package consumertest_test

import (
	"context"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
)

// What is published stands in the stream as a ledger's feed would have it.
func TestPublish(t *testing.T) {
	l := consumertest.Start(t)
	one := l.Publish(consumertest.Traffic(1, 3)...)
	two := l.Publish(consumertest.Event(events.RoleCreated{Role: "r"}))
	all := l.Events()
	if len(all) != 4 || one[2].Position != 3 || one[2].Revision != 1 || two[0].Position != 4 || two[0].Revision != 2 {
		t.Errorf("recorded %+v and %+v", one, two)
	}
	if two[0].RecordedAt < one[2].RecordedAt || two[0].Actor.IsZero() || two[0].Tenant != "default" {
		t.Errorf("the envelope is %+v", two[0])
	}
	if l.Publish() != nil || len(l.Events()) != 4 {
		t.Error("nothing was published as something")
	}
	l.Stop() // and everything is still there afterwards
	if err := l.Run(); err != nil {
		t.Fatal(err)
	}
	stream, err := l.JetStream().Stream(context.Background(), events.FeedStream)
	for tries := 0; err != nil && tries < 5; tries++ { // a request on the way when the server went is lost
		stream, err = l.JetStream().Stream(context.Background(), events.FeedStream)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range all {
		stored, err := stream.GetMsg(context.Background(), uint64(want.Position))
		if err != nil {
			t.Fatal(err)
		}
		m, err := events.ParseMessage(stored.Data)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Event) != string(want.Raw) || stored.Subject != events.Subject(want) || m.Position != want.Position || m.Revision != want.Revision {
			t.Errorf("position %d is %s on %s", want.Position, stored.Data, stored.Subject)
		}
	}
}

// A history is followed from anywhere, and waited for.
func TestFollow(t *testing.T) {
	h := consumertest.NewHistory(events.LedgerID{1})
	if _, err := h.Append(consumertest.Traffic(1, 5)...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []events.Position
	for r, err := range h.Follow(ctx, 3) {
		if err != nil {
			break
		}
		got = append(got, r.Position)
		switch r.Position {
		case 5:
			go h.Append(consumertest.Traffic(2, 2)...)
		case 7:
			cancel()
		}
	}
	if !slices.Equal(got, []events.Position{3, 4, 5, 6, 7}) {
		t.Errorf("followed %v", got)
	}
	if head := h.Head(); head.Position != 7 || head.Revision != 2 || head.Ledger != (events.LedgerID{1}) {
		t.Errorf("head %+v", head)
	}
}

func TestTrafficIsTheSameForTheSameSeed(t *testing.T) {
	one, two, other := consumertest.NewHistory(events.LedgerID{1}), consumertest.NewHistory(events.LedgerID{1}), consumertest.NewHistory(events.LedgerID{1})
	for h, seed := range map[*consumertest.History]uint64{one: 7, two: 7, other: 8} {
		if _, err := h.Append(consumertest.Traffic(seed, 50)...); err != nil {
			t.Fatal(err)
		}
	}
	if one.Head().Hash != two.Head().Hash || one.Head().Hash == other.Head().Hash {
		t.Error("the seed does not decide")
	}
}

func TestServerComesBackOnTheSamePort(t *testing.T) {
	s := consumertest.StartServer(t, consumertest.ServerConfig{Listen: true})
	url := s.URL()
	s.Stop()
	if _, err := s.InProcessConn(); err == nil {
		t.Error("connected to a stopped server")
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	if s.URL() != url {
		t.Errorf("it listens on %s and did on %s", s.URL(), url)
	}
	js, err := jetstream.New(s.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AccountInfo(context.Background()); err != nil {
		t.Error(err)
	}
}
