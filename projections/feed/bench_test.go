package feed_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/feed"
)

// BenchmarkPublish measures events per second into the stream: by the feed, by the client library without
// the chain and the waiting in order ("raw"), and so with a stream that persists each message before it is
// acknowledged ("raw-sync"), which the feed's stream does not.
func BenchmarkPublish(b *testing.B) {
	b.Run("feed", func(b *testing.B) {
		js, h := benchmarkLedger(b)
		b.ResetTimer()
		f, err := feed.Start(context.Background(), feed.Config{JetStream: js, Source: h})
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		if err := f.Wait(context.Background(), h.Head().Position); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	for name, mode := range map[string]jetstream.PersistModeType{
		"raw": jetstream.AsyncPersistMode, "raw-sync": jetstream.DefaultPersistMode,
	} {
		b.Run(name, func(b *testing.B) {
			js, h := benchmarkLedger(b)
			if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{
				Name: events.FeedStream, Subjects: []string{events.FeedSubjects}, PersistMode: mode,
			}); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for _, r := range h.Events() {
				if _, err := js.PublishAsync(events.Subject(r), events.Message(ledgerID, r).Bytes(), jetstream.WithStallWait(time.Minute)); err != nil {
					b.Fatal(err)
				}
			}
			<-js.PublishAsyncComplete()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func benchmarkLedger(b *testing.B) (jetstream.JetStream, *consumertest.History) {
	b.Helper()
	server := consumertest.StartServer(b, consumertest.ServerConfig{SyncAlways: true})
	js, err := jetstream.New(server.Connect(b), jetstream.WithPublishAsyncMaxPending(4000), jetstream.WithPublishAsyncTimeout(time.Minute))
	if err != nil {
		b.Fatal(err)
	}
	h := consumertest.NewHistory(ledgerID)
	if _, err := h.Append(consumertest.Traffic(1, b.N)...); err != nil {
		b.Fatal(err)
	}
	return js, h
}
