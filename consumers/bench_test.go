package consumers_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
)

// BenchmarkReplay measures events per second from the first to the last: by Subscribe, which checks and
// decodes each, and by the client library's ordered consumer, which hands over bytes.
func BenchmarkReplay(b *testing.B) {
	const n = 50_000
	l := consumertest.Start(b)
	history := consumertest.Traffic(1, n)
	h := consumertest.NewHistory(events.LedgerID{1})
	recorded, err := h.Append(history...)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range recorded {
		if _, err := l.JetStream().PublishAsync(events.Subject(r), events.Message(h.Head().Ledger, r).Bytes()); err != nil {
			b.Fatal(err)
		}
		if r.Position%2000 == 0 {
			<-l.JetStream().PublishAsyncComplete()
		}
	}
	<-l.JetStream().PublishAsyncComplete()

	done := errors.New("done")
	b.Run("subscribe", func(b *testing.B) {
		for b.Loop() {
			effect := consumers.Func(func(_ context.Context, ev consumers.Event) error {
				if ev.Position == n {
					return done
				}
				return nil
			}, nil)
			if err := consumers.Subscribe(context.Background(), l.JetStream(), consumers.Options{}, effect); !errors.Is(err, done) {
				b.Fatal(err)
			}
		}
		b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("ordered-consumer", func(b *testing.B) {
		for b.Loop() {
			reader, err := l.JetStream().OrderedConsumer(context.Background(), events.FeedStream, jetstream.OrderedConsumerConfig{})
			if err != nil {
				b.Fatal(err)
			}
			messages, err := reader.Messages()
			if err != nil {
				b.Fatal(err)
			}
			for range n {
				if _, err := messages.Next(); err != nil {
					b.Fatal(err)
				}
			}
			messages.Stop()
		}
		b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}
