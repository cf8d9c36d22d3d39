package feed

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
)

// config is the stream's. It keeps everything, and needs no protection from deletion: it is derived.
//
// One replica persists asynchronously: the stream may forget its newest messages in a crash, and the feed
// publishes the very same ones again. Synchronous writes would protect what the log protects already, at
// the price of one fsync a message: 7,000 events/s instead of 66,000 (BenchmarkPublish, 4 cores, a server
// that syncs always). Several replicas cannot persist asynchronously and need not.
func config(replicas int) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:        events.FeedStream,
		Description: "The ledger's events, one a message. Derived: it may be rebuilt from the ledger.",
		Subjects:    []string{events.FeedSubjects},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
		Discard:     jetstream.DiscardNew,
		AllowDirect: true,
		Duplicates:  100 * time.Millisecond, // the least there is: ids chain the messages, positions tell them apart
		MaxMsgs:     -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
	}
	if replicas == 1 {
		c.PersistMode = jetstream.AsyncPersistMode
	}
	return c
}

// requestWait is for one look at the stream: a request is lost with the server it was sent to, and made again.
const requestWait = 3 * time.Second

// open finds the stream, or makes it, and looks at its configuration and state.
func (f *Feed) open(ctx context.Context) (jetstream.Stream, error) {
	ctx, done := context.WithTimeout(ctx, requestWait)
	defer done()
	want := config(f.cfg.Replicas)
	stream, err := f.cfg.JetStream.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = f.cfg.JetStream.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", want.Name, err)
	}
	info := stream.CachedInfo()
	if other := differences(want, info.Config); len(other) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrConfig, strings.Join(other, ", "))
	}
	if s := info.State; s.Msgs != s.LastSeq || s.Lost != nil {
		return nil, fmt.Errorf("%w: it ends at position=%d and holds %d", ErrDamaged, s.LastSeq, s.Msgs)
	}
	return stream, nil
}

// replace deletes the stream and makes an empty one.
//
// A server (2.15.2) that is still removing the files of a stream deleted a moment ago may fail to remove
// those of the next one of that name, say nothing, and give them to the one after, or fail to make that.
// So look whether it is empty, and do it again.
func (f *Feed) replace(ctx context.Context) error {
	pause := minPause
	for try := 1; ; try++ {
		err := f.replaceOnce(ctx)
		if err == nil || try == 10 {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

func (f *Feed) replaceOnce(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, requestWait)
	defer done()
	js, want := f.cfg.JetStream, config(f.cfg.Replicas)
	if err := js.DeleteStream(ctx, want.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete stream %s: %w", want.Name, err)
	}
	stream, err := js.CreateStream(ctx, want)
	if err != nil {
		return fmt.Errorf("create stream %s: %w", want.Name, err)
	}
	if last := stream.CachedInfo().State.LastSeq; last > 0 {
		return fmt.Errorf("create stream %s: the server gives back %d messages of the deleted one", want.Name, last)
	}
	return nil
}

// indifferent are the settings that change nothing about what is kept.
var indifferent = map[string]bool{
	"Description": true, "Metadata": true, "Placement": true, "Compression": true,
	"ConsumerLimits": true, "MirrorDirect": true,
}

// differences lists in which settings the stream is otherwise, every one this client knows of.
func differences(want, have jetstream.StreamConfig) []string {
	var out []string
	w, h := reflect.ValueOf(want), reflect.ValueOf(have)
	for i := range w.NumField() {
		name := w.Type().Field(i).Name
		if !indifferent[name] && !reflect.DeepEqual(w.Field(i).Interface(), h.Field(i).Interface()) {
			out = append(out, fmt.Sprintf("%s is %v instead of %v", name, h.Field(i), w.Field(i)))
		}
	}
	return out
}

// read gets the message at a position that the stream must have. A replica may be a little late with it.
func read(ctx context.Context, stream jetstream.Stream, position events.Position) (*jetstream.RawStreamMsg, error) {
	ctx, done := context.WithTimeout(ctx, requestWait)
	defer done()
	for try := 1; ; try++ {
		stored, err := stream.GetMsg(ctx, uint64(position))
		switch {
		case err == nil:
			return stored, nil
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return nil, fmt.Errorf("read position=%d of the feed: %w", position, err)
		case try == 5:
			return nil, fmt.Errorf("%w: position=%d", ErrDamaged, position)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Verify compares the whole stream with the ledger and returns ErrDamaged or ErrForeign at the first
// position that is not right. A store with a damaged record passes over it in silence, and a subscriber
// that selects events cannot notice; this does.
func (f *Feed) Verify(ctx context.Context) error {
	stream, err := f.open(ctx)
	if err != nil {
		return fmt.Errorf("verify feed: %w", err)
	}
	last := events.Position(stream.CachedInfo().State.LastSeq)
	if _, err := f.recognize(ctx, stream, last); err != nil || last == 0 {
		return err
	}
	for r, err := range f.cfg.Source.Follow(ctx, 1) {
		if err != nil {
			return fmt.Errorf("verify feed: read the ledger: %w", err)
		}
		stored, err := read(ctx, stream, r.Position)
		if err == nil {
			err = compare(f.message(r), stored)
		}
		if err != nil {
			return fmt.Errorf("verify feed: %w", err)
		}
		if r.Position == last {
			break
		}
	}
	return nil
}
