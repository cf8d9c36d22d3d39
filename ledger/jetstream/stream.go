package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/ledger"
)

// ErrConfig: a stream is not configured as a ledger's must be. It is a kind of ledger.ErrCorrupt, because
// such a stream may have lost commits already.
var ErrConfig = fmt.Errorf("stream configuration: %w", ledger.ErrCorrupt)

const (
	ledgerSubject  = "permledger.ledger.commit"
	journalSubject = "permledger.journal.entry"
)

// pinned is the one configuration under which a stream keeps everything for ever. Every field counts: the
// package comment tells which of them erase by themselves.
func pinned(name, subject string, replicas int) natsjs.StreamConfig {
	return natsjs.StreamConfig{
		Name:              name,
		Subjects:          []string{subject},
		Storage:           natsjs.FileStorage,
		PersistMode:       natsjs.DefaultPersistMode, // async switches sync always off
		Retention:         natsjs.LimitsPolicy,
		Discard:           natsjs.DiscardNew,
		DenyDelete:        true,
		DenyPurge:         true,
		AllowDirect:       true,
		Replicas:          replicas,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		Duplicates:        100 * time.Millisecond, // the least there is; not relied on
	}
}

// operators are the fields that change nothing about what is kept and are the operator's to set.
var operators = map[string]bool{"Description": true, "Metadata": true, "Placement": true}

// drift compares a live configuration field by field with what it must be. A field that a newer client
// library knows is compared too: it must be zero, until pinned says otherwise.
func drift(want, got natsjs.StreamConfig) error {
	var faults []string
	w, g := reflect.ValueOf(want), reflect.ValueOf(got)
	for i := range w.NumField() {
		field := w.Type().Field(i).Name
		if operators[field] || same(w.Field(i), g.Field(i)) {
			continue
		}
		faults = append(faults, fmt.Sprintf("%s is %v, must be %v", field, g.Field(i), w.Field(i)))
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("%w: stream %s: %s", ErrConfig, want.Name, strings.Join(faults, "; "))
}

func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true // nil or empty
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// stream is one stream, used the one way a ledger uses streams: nothing in it ever changes or goes away,
// so sequence k is the k-th message.
type stream struct {
	conn       *nats.Conn
	js         natsjs.JetStream
	handle     natsjs.Stream // once open
	pinned     natsjs.StreamConfig
	timeout    time.Duration
	patience   time.Duration // of a publish
	maxPayload int
	failure    *failure     // of the store of the embedded server; nil with an external one
	files      *streamFiles // the same
	blocks     names        // of its messages, when the server is embedded
	salvaged   bool         // to be read as far as it can be
	remains    *remains     // what is there without a server

	seen atomic.Uint64 // the highest sequence known to be stored; it never goes back
}

func (s *stream) name() string { return s.pinned.Name }

func (s *stream) saw(seq uint64) {
	for {
		seen := s.seen.Load()
		if seq <= seen || s.seen.CompareAndSwap(seen, seq) {
			return
		}
	}
}

// maxBytes is the largest message body that goes in.
func (s *stream) maxBytes() int {
	return min(s.maxPayload, int(s.conn.MaxPayload())) - headerRoom
}

// unavailable wraps an error of a question, which changes nothing. The caller's own context says so itself.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
}

// attach finds the stream; ok is false when there is none.
func (s *stream) attach(ctx context.Context) (ok bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.handle, err = s.js.Stream(bounded, s.name())
	switch {
	case errors.Is(err, natsjs.ErrStreamNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for stream %s: %w", s.name(), unavailable(ctx, err))
	}
	return true, nil
}

// open creates the stream if it is not there, and checks it; it must reach mark.
func (s *stream) open(ctx context.Context, mark uint64) error {
	if s.handle == nil {
		bounded, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		var err error
		if s.handle, err = s.js.CreateStream(bounded, s.pinned); err != nil {
			return fmt.Errorf("create stream %s: %w", s.name(), unavailable(ctx, err))
		}
	}
	last, err := s.last(ctx)
	switch {
	case err != nil:
		return err
	case last < mark:
		return tooShort(s.name(), mark, last)
	}
	return nil
}

func (s *stream) last(ctx context.Context) (uint64, error) { return s.state(ctx, s.salvaged) }

// state gives the last sequence, of a stream that is configured as it must be and has lost nothing that can be
// seen without reading it; with salvaged, of any.
func (s *stream) state(ctx context.Context, salvaged bool) (uint64, error) {
	if s.remains != nil {
		return s.remains.last, nil
	}
	seen := s.seen.Load() // before the question: what is stored meanwhile may be in the answer or not
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	info, err := s.handle.Info(bounded)
	switch {
	case errors.Is(err, natsjs.ErrStreamNotFound):
		return 0, fmt.Errorf("%w: stream %s is gone", ledger.ErrCorrupt, s.name())
	case err != nil:
		return 0, fmt.Errorf("state of stream %s: %w", s.name(), unavailable(ctx, err))
	}
	if salvaged {
		return info.State.LastSeq, nil
	}
	if err := drift(s.pinned, info.Config); err != nil {
		return 0, err
	}
	state := info.State
	switch {
	case state.Msgs != state.LastSeq, state.NumDeleted > 0, state.Lost != nil,
		state.LastSeq > 0 && state.FirstSeq != 1:
		return 0, fmt.Errorf("%w: stream %s has sequences %d to %d, and %d messages",
			ledger.ErrCorrupt, s.name(), state.FirstSeq, state.LastSeq, state.Msgs)
	case state.LastSeq < seen && s.pinned.Replicas > 1:
		return 0, fmt.Errorf("%w: stream %s ends at %d for this leader, %d was seen", ledger.ErrUnavailable, s.name(), state.LastSeq, seen)
	case state.LastSeq < seen:
		return 0, fmt.Errorf("%w: stream %s ends at %d, %d was seen", ledger.ErrCorrupt, s.name(), state.LastSeq, seen)
	}
	s.saw(state.LastSeq)
	return state.LastSeq, nil
}

// publish stores data as one message and returns its sequence.
//
// The crash points: before the message reaches the server nothing is stored; once it does, the server
// checks, writes, syncs and answers, in this order, so an answer means it is on the disk, and so is the name of
// the file it is in when blocks have settled; without an answer
// it may be anywhere on that way, and still arrive. That is why a timeout is an unknown outcome and never a
// failure.
//
// The embedded server is waited for with more patience, because a slow disk answers in the end and a failed one
// never does, and says so elsewhere (see failure): then nothing is waited for, and nothing more is stored.
func (s *stream) publish(ctx context.Context, data []byte, opts ...natsjs.PublishOpt) (uint64, error) {
	if s.remains != nil {
		return 0, fmt.Errorf("%w: what is left of a store takes nothing", ledger.ErrUnavailable)
	}
	switch {
	case len(data) > s.maxBytes():
		return 0, fmt.Errorf("%d bytes, stream %s takes at most %d", len(data), s.name(), s.maxBytes())
	case ctx.Err() != nil:
		return 0, fmt.Errorf("%w: %w", ledger.ErrUnavailable, ctx.Err())
	case !s.conn.IsConnected():
		return 0, fmt.Errorf("%w: not connected", ledger.ErrUnavailable)
	case s.failure.err() != nil:
		return 0, fmt.Errorf("%w: %w", ledger.ErrUnavailable, s.failure.err())
	}
	bounded, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	if s.failure != nil {
		defer context.AfterFunc(s.failure.failed, cancel)()
	}
	opts = append(opts, natsjs.WithExpectStream(s.name()), natsjs.WithRetryAttempts(0))
	ack, err := s.js.Publish(bounded, s.pinned.Subjects[0], data, opts...)
	if err != nil {
		if s.failure != nil && errors.Is(bounded.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
			s.failure.fail(errUnanswered)
		}
		return 0, s.publishError(err)
	}
	if err := s.blocks.settle(); err != nil { // the message can be read back, which proves nothing of its file's name
		s.failure.fail(fmt.Errorf("the name of a file may not be on the disk: %w", err))
		return 0, fmt.Errorf("%w: %w", ledger.ErrUnknownOutcome, s.failure.err())
	}
	s.saw(ack.Sequence)
	return ack.Sequence, nil
}

// The answers of JetStream to a publish that need to be told apart.
const (
	wrongLastSequence         = natsjs.ErrorCode(10071)
	wrongLastSequenceConstant = natsjs.ErrorCode(10164)
	storeFailed               = natsjs.ErrorCode(10077)
)

// publishError says what an error means for what is stored.
func (s *stream) publishError(err error) error {
	var answer *natsjs.APIError
	switch failed := s.failure.err(); {
	case failed != nil: // whatever was answered: by then the server may not know itself
		return fmt.Errorf("%w: %w", ledger.ErrUnknownOutcome, failed)
	case errors.As(err, &answer):
		switch answer.ErrorCode {
		case wrongLastSequence, wrongLastSequenceConstant:
			return fmt.Errorf("%w: %w", ledger.ErrConflict, err)
		case storeFailed: // half-way through
			return fmt.Errorf("%w: %w", ledger.ErrUnknownOutcome, err)
		}
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err) // all others are given before anything is written
	case errors.Is(err, natsjs.ErrNoStreamResponse), // nobody heard it
		errors.Is(err, nats.ErrReconnectBufExceeded): // it was not sent
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ledger.ErrUnknownOutcome, err)
}

// message is one stored message.
type message struct {
	seq  uint64
	data []byte
}

const (
	// A replay asks for that many messages or bytes at a time and for the next ones when half of the
	// messages are consumed, so at most twice replayBytes are under way. It must exceed the largest
	// message, or the server would deliver nothing.
	replayMessages = 4096
	replayBytes    = 16 << 20

	// fewMessages are asked for one by one.
	fewMessages = 4

	// forgetConsumer is when the server forgets a replay that was neither continued nor ended.
	forgetConsumer = 10 * time.Minute
)

// read yields the messages from sequence from to sequence to, each of them, in order. With the embedded server
// the blocks that hold them are looked at first: see guard.go.
func (s *stream) read(ctx context.Context, from, to uint64) iter.Seq2[message, error] {
	if s.remains != nil {
		return s.remains.read(ctx, from, to)
	}
	if s.files == nil {
		return s.serve(ctx, from, to)
	}
	return func(yield func(message, error) bool) {
		for want := from; want <= to; {
			part := s.files.stretch(want, to)
			for m, err := range s.serve(ctx, want, min(part.to, to)) {
				if !yield(m, err) || err != nil {
					return
				}
				want++
			}
			for _, m := range part.loose {
				if m.seq != want || m.seq > to {
					continue
				}
				if !yield(m, nil) {
					return
				}
				want++
			}
			if want <= to && part.fault != nil {
				yield(message{}, part.fault)
				return
			}
		}
	}
}

// serve yields the messages from sequence from to sequence to as the server gives them.
//
// The server is not trusted to do so: it passes over a damaged message in silence, and at the end of the
// stream just delivers nothing more. Both are found by counting, and by asking for the one that is missing.
func (s *stream) serve(ctx context.Context, from, to uint64) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		want := from // from itself stays, for whoever ranges twice
		// A follower that is told of each commit reads one at a time, and asking for one costs a fifth of
		// a replay. What asking does not find is left to the replay, which finds out why.
		for want <= to && to < from+fewMessages {
			m, err := s.get(ctx, want)
			if err != nil {
				break
			}
			if !yield(m, nil) {
				return
			}
			want++
		}
		if want > to {
			return
		}
		next, stop, err := s.replay(ctx, want, to)
		if err != nil {
			yield(message{}, unavailable(ctx, err))
			return
		}
		defer stop()
		for ; want <= to; want++ {
			m, err := next()
			switch {
			case ctx.Err() != nil:
				err = ctx.Err()
			case errors.Is(err, nats.ErrTimeout), err == nil && m.seq != want:
				err = s.missing(ctx, want)
			case err != nil:
				err = fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// get asks for one message. On a replicated stream any replica may answer, also one that lags.
func (s *stream) get(ctx context.Context, seq uint64) (message, error) {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	m, err := s.handle.GetMsg(bounded, seq)
	if err != nil {
		return message{}, err
	}
	if m.Sequence != seq {
		return message{}, fmt.Errorf("asked for sequence %d, got %d", seq, m.Sequence)
	}
	return message{seq, m.Data}, nil
}

// replay starts an ephemeral consumer that delivers the messages from from to to.
func (s *stream) replay(ctx context.Context, from, to uint64) (next func() (message, error), stop func(), err error) {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	consumer, err := s.js.CreateConsumer(bounded, s.name(), natsjs.ConsumerConfig{
		DeliverPolicy:     natsjs.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         natsjs.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: forgetConsumer,
	})
	if err != nil {
		return nil, nil, err
	}
	forget := func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		defer cancel()
		_ = s.js.DeleteConsumer(bounded, s.name(), consumer.CachedInfo().Name) // or the server forgets it
	}
	messages, err := consumer.Messages(
		natsjs.PullMaxMessagesWithBytesLimit(replayMessages, max(replayBytes, 2*int(s.conn.MaxPayload()))),
		natsjs.StopAfter(int(to-from+1)),
		natsjs.WithMessagesErrOnMissingHeartbeat(false), // waiting is bounded below
	)
	if err != nil {
		forget()
		return nil, nil, err
	}
	unhook := context.AfterFunc(ctx, messages.Stop)
	next = func() (message, error) {
		msg, err := messages.Next(natsjs.NextMaxWait(s.timeout))
		if err != nil {
			return message{}, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return message{}, err
		}
		return message{meta.Sequence.Stream, msg.Data()}, nil
	}
	stop = func() {
		unhook()
		messages.Stop()
		forget()
	}
	return next, stop, nil
}

// missing says why a message that must be there was not delivered: because the stream has lost it, or for
// a reason that may pass. It asks the leader, whom no replica's lag can embarrass.
func (s *stream) missing(ctx context.Context, seq uint64) error {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	leader, err := s.conn.JetStream()
	if err == nil {
		_, err = leader.GetMsg(s.name(), seq, nats.Context(bounded))
	}
	switch {
	case err == nil:
		return fmt.Errorf("%w: stream %s has sequence %d and did not deliver it", ledger.ErrUnavailable, s.name(), seq)
	case errors.Is(err, nats.ErrMsgNotFound):
		return fmt.Errorf("%w: stream %s has lost sequence %d", ledger.ErrCorrupt, s.name(), seq)
	}
	return unavailable(ctx, err)
}
