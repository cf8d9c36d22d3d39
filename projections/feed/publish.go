package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
)

const (
	minPause = 20 * time.Millisecond // between a fault and the next try
	maxPause = 2 * time.Second
	ackWait  = 5 * time.Second // for one acknowledgement
)

// run publishes until ctx ends or the stream is one that must not be published to. Every fault in between
// starts over at the stream's own last sequence.
func (f *Feed) run(ctx context.Context) {
	pause := minPause
	for {
		before := f.Position()
		err := f.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		f.report(err)
		if halting(err) {
			return
		}
		if f.Position() > before {
			pause = minPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// attempt publishes from where the stream ends until something goes wrong.
//
// Crash points: nothing is kept but the stream. Before a message is stored, the next attempt publishes it.
// After it is stored and before we hear of it, the next attempt finds it as the last one, or gets a wrong
// last sequence for it and finds it then.
func (f *Feed) attempt(ctx context.Context) error {
	stream, err := f.open(ctx)
	if err != nil {
		return err
	}
	last := events.Position(stream.CachedInfo().State.LastSeq)
	before, err := f.recognize(ctx, stream, last)
	if err != nil {
		return err
	}
	f.reached(last)

	sound, fail := context.WithCancelCause(ctx)
	sent := make(chan publication, f.cfg.Window)
	acknowledged := make(chan struct{})
	go func() {
		defer close(acknowledged)
		f.acknowledge(ctx, sent, fail)
	}()
	fail(f.send(sound, last, before, sent)) // of several failures the first stands
	close(sent)
	<-acknowledged
	return context.Cause(sound)
}

// recognize makes sure that the stream's last message is the event at that position of this ledger, and
// gives the event's id.
func (f *Feed) recognize(ctx context.Context, stream jetstream.Stream, last events.Position) (id events.EventID, err error) {
	if last == 0 {
		return id, nil
	}
	stored, err := read(ctx, stream, last)
	if err != nil {
		return id, err
	}
	limited, cancel := context.WithTimeout(ctx, f.cfg.Patience)
	defer cancel()
	for r, err := range f.cfg.Source.Follow(limited, last) {
		switch {
		case err == nil:
			return r.ID, compare(f.message(r), stored)
		case limited.Err() == nil:
			return id, fmt.Errorf("read position=%d of the ledger: %w", last, err)
		}
	}
	head := f.cfg.Source.Head().Position
	switch {
	case ctx.Err() != nil:
		return id, ctx.Err()
	case head >= last:
		return id, fmt.Errorf("read position=%d of the ledger: %w", last, limited.Err())
	}
	return id, fmt.Errorf("%w: it ends at position=%d, the ledger at %d", ErrForeign, last, head)
}

func compare(want *nats.Msg, stored *jetstream.RawStreamMsg) error {
	if stored.Subject != want.Subject || !bytes.Equal(stored.Data, want.Data) {
		return fmt.Errorf("%w: position=%d holds another message than the ledger's event", ErrForeign, stored.Sequence)
	}
	return nil
}

// message is what the feed says about r, whose commit the head includes.
func (f *Feed) message(r events.Recorded) *nats.Msg {
	return &nats.Msg{
		Subject: events.Subject(r),
		Data:    events.Message(f.cfg.Source.Head().Ledger, r).Bytes(),
	}
}

// publication is a message on its way.
type publication struct {
	position events.Position
	ack      jetstream.PubAckFuture
}

// send publishes the events after last and waits for no acknowledgement but the oldest when the window is
// full. Each message is stored only if the stream's last is the one before: by its sequence and by its id.
// The sequence alone would let message 3 follow a foreign message that took the place of message 2.
func (f *Feed) send(ctx context.Context, last events.Position, before events.EventID, sent chan<- publication) error {
	for r, err := range f.cfg.Source.Follow(ctx, last+1) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read position=%d of the ledger: %w", last+1, err)
		case r.Position != last+1:
			return fmt.Errorf("read position=%d of the ledger: got %d", last+1, r.Position)
		}
		m := f.message(r)
		m.Header = nats.Header{
			jetstream.MsgIDHeader:           {r.ID.String()},
			jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(uint64(last), 10)},
		}
		if last > 0 {
			m.Header[jetstream.ExpectedLastMsgIDHeader] = []string{before.String()}
		}
		ack, err := f.publisher.PublishMsgAsync(m, jetstream.WithRetryAttempts(0))
		if err != nil {
			return fmt.Errorf("publish position=%d: %w", r.Position, err)
		}
		select {
		case sent <- publication{r.Position, ack}:
		case <-ctx.Done():
			return ctx.Err()
		}
		last, before = r.Position, r.ID
	}
	return errors.New("the source of the feed has ended")
}

// acknowledge takes in the acknowledgements in order. After a failure it only waits for what is still under
// way, so that the next attempt reads a stream that stands still. That is courtesy: a straggler is stored
// as the message it is or not at all.
func (f *Feed) acknowledge(ctx context.Context, sent <-chan publication, fail context.CancelCauseFunc) {
	failed := false
	for p := range sent {
		err := p.outcome(ctx)
		switch {
		case err != nil:
			failed = true
			fail(fmt.Errorf("publish position=%d: %w", p.position, err))
		case !failed:
			f.reached(p.position)
		}
	}
}

// outcome waits for the acknowledgement, which the client library gives up after ackWait.
func (p publication) outcome(ctx context.Context) error {
	select {
	case ack := <-p.ack.Ok():
		if ack.Stream != events.FeedStream || ack.Sequence != uint64(p.position) {
			return fmt.Errorf("stored as %s/%d", ack.Stream, ack.Sequence)
		}
		return nil
	case err := <-p.ack.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
