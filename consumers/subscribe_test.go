package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
)

// recorder is an effect in memory: positions and cursor under one lock, which is one atomic step. It
// outlives its subscriber, as a database does.
type recorder struct {
	mu      sync.Mutex
	cursor  consumers.Cursor
	begun   int
	got     []events.Position
	events  []consumers.Event
	changed chan struct{}
	refuse  func(ev consumers.Event) error // asked before anything is stored
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) Cursor(context.Context) (consumers.Cursor, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursor, r.begun > 0, nil
}

func (r *recorder) Begin(_ context.Context, c consumers.Cursor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun++
	r.store(c)
	return nil
}

func (r *recorder) Apply(_ context.Context, ev consumers.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		if err := r.refuse(ev); err != nil {
			return err
		}
	}
	r.got, r.events = append(r.got, ev.Position), append(r.events, ev)
	r.store(ev.Cursor())
	return nil
}

func (r *recorder) store(c consumers.Cursor) {
	r.cursor = c
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) positions() []events.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// until waits until the recorder's state is so.
func (r *recorder) until(t *testing.T, so func() bool) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		r.mu.Lock()
		done, changed := so(), r.changed
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("waited in vain; have %v", r.positions())
		}
	}
}

func (r *recorder) untilCount(t *testing.T, n int) {
	t.Helper()
	r.until(t, func() bool { return len(r.got) >= n })
}

// subscribe runs a subscription and gives a function that ends it and returns its error.
func subscribe(t *testing.T, js jetstream.JetStream, o consumers.Options, effect consumers.Effect) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- consumers.Subscribe(ctx, js, o, effect) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return stop
}

// outcome is what a subscription returns that ends by itself.
func outcome(t *testing.T, js jetstream.JetStream, o consumers.Options, effect consumers.Effect) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := consumers.Subscribe(ctx, js, o, effect)
	if ctx.Err() != nil {
		t.Fatalf("the subscription did not end: %v", err)
	}
	return err
}

func upTo(n int) []events.Position { return between(1, n) }

func between(from, to int) []events.Position {
	var out []events.Position
	for p := from; p <= to; p++ {
		out = append(out, events.Position(p))
	}
	return out
}

func publish(l *consumertest.Ledger, seed uint64, n int) {
	for _, r := range consumertest.Traffic(seed, n) {
		l.Publish(r)
	}
}

func TestSubscribe(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // so that everything is closed before looking for leaks
		l := consumertest.Start(t)
		recorded := l.Publish(consumertest.Traffic(1, 10)...)
		r := newRecorder()
		stop := subscribe(t, l.JetStream(), consumers.Options{Name: "test"}, r)
		r.untilCount(t, 10)
		publish(l, 2, 5)
		r.untilCount(t, 15)
		if err := stop(); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "subscribe test: ") {
			t.Errorf("ended with %v", err)
		}
		if r.begun != 1 {
			t.Errorf("begun %d times", r.begun)
		}

		publish(l, 3, 5) // while nobody listens
		stop = subscribe(t, l.JetStream(), consumers.Options{From: consumers.Now()}, r)
		r.untilCount(t, 20)
		stop()
		if got := r.positions(); !slices.Equal(got, upTo(20)) {
			t.Errorf("got %v", got)
		}
		ev, want := r.events[3], recorded[3]
		if ev.Ledger == uuid.Nil || ev.Position != 4 || ev.Revision != want.Revision || string(ev.Raw) != string(want.Raw) || !reflect.DeepEqual(ev.Event, want.Event) {
			t.Errorf("got %+v, want %+v", ev, want)
		}
	})
}

// Where a subscription starts, and that its cursor wins once it has one.
func TestFrom(t *testing.T) {
	l := consumertest.Start(t)
	traffic := consumertest.Traffic(1, 25) // recorded 1 ms apart
	revisions := func(from, to int) {
		for _, r := range traffic[from-1 : to] {
			next := r
			next.ID = uuid.New()
			l.Publish(r, next) // revision n is positions 2n-1 and 2n
		}
	}
	revisions(1, 20)
	recorded := func(position int) time.Time { return l.Events()[position-1].RecordedAt.Time() }
	cases := []struct {
		name string
		from consumers.Start
		want int // the first position
	}{
		{"first", consumers.First(), 1},
		{"the first revision", consumers.FromRevision(1), 1},
		{"a revision", consumers.FromRevision(7), 13},
		{"the last revision", consumers.FromRevision(20), 39},
		{"a revision to come", consumers.FromRevision(23), 45},
		{"a position", consumers.FromPosition(8), 8},
		{"the next position", consumers.FromPosition(41), 41},
		{"a position to come", consumers.FromPosition(44), 44},
		{"the beginning", consumers.FromTime(time.Time{}), 1},
		{"a time", consumers.FromTime(recorded(31)), 31},
		{"a little later", consumers.FromTime(recorded(31).Add(time.Microsecond)), 33},
		{"a time to come", consumers.FromTime(recorded(40).Add(2 * time.Millisecond)), 43},
		{"now", consumers.Now(), 41},
	}
	recorders, stops := make([]*recorder, len(cases)), make([]func() error, len(cases))
	for i, tt := range cases {
		recorders[i] = newRecorder()
		stops[i] = subscribe(t, l.JetStream(), consumers.Options{From: tt.from}, recorders[i])
		if tt.from == consumers.Now() {
			recorders[i].until(t, func() bool { return recorders[i].begun == 1 })
		}
	}
	revisions(21, 25)
	for i, tt := range cases {
		recorders[i].untilCount(t, 50-tt.want+1)
		stops[i]()
		if got := recorders[i].positions(); !slices.Equal(got, between(tt.want, 50)) {
			t.Errorf("%s: got %v, want from %d", tt.name, got, tt.want)
		}
		if recorders[i].begun != 1 {
			t.Errorf("%s: begun %d times", tt.name, recorders[i].begun)
		}
	}
	for i, tt := range cases { // started again, with another start
		stops[i] = subscribe(t, l.JetStream(), consumers.Options{From: consumers.Now()}, recorders[i])
		l.Publish(consumertest.Event(events.RoleCreated{Role: "r"}))
		recorders[i].untilCount(t, 50-tt.want+2+i)
		stops[i]()
		if got := recorders[i].positions(); !slices.Equal(got, between(tt.want, 51+i)) {
			t.Errorf("%s, again: got %v, want from %d", tt.name, got, tt.want)
		}
	}
}

// Now is the moment of the first start, also when nothing matched before the second.
func TestNowStaysTheSameMoment(t *testing.T) {
	l := consumertest.Start(t)
	r := newRecorder()
	for range 2 { // of an empty feed, then of one that has grown
		stop := subscribe(t, l.JetStream(), consumers.Options{From: consumers.Now()}, r)
		r.until(t, func() bool { return r.begun == 1 })
		stop()
		publish(l, 1, 3)
	}
	stop := subscribe(t, l.JetStream(), consumers.Options{From: consumers.Now()}, r)
	r.untilCount(t, 6)
	stop()
	if got := r.positions(); !slices.Equal(got, upTo(6)) {
		t.Errorf("got %v", got)
	}
}

// selects is what a filter means, without subjects.
func selects(filters []consumers.Filter, r events.Recorded) bool {
	holder, _, api := events.About(r.Event)
	name := events.Name(r.Event)
	return len(filters) == 0 || slices.ContainsFunc(filters, func(f consumers.Filter) bool {
		return (f.Tenant == "" || f.Tenant == r.Tenant) &&
			(f.API == "" || f.API == api) &&
			(f.Kind == "" || f.Kind == name || f.Kind == name[:strings.Index(name, ".")]) &&
			(f.PrincipalKind == "" || f.PrincipalKind == holder.Kind) &&
			(f.PrincipalID == "" || f.PrincipalID == holder.ID)
	})
}

func selected(filters []consumers.Filter, all []events.Recorded) []events.Position {
	var out []events.Position
	for _, r := range all {
		if selects(filters, r) {
			out = append(out, r.Position)
		}
	}
	return out
}

// interests are what eight subscribers want: everything, single filters, unions that overlap or cover.
var interests = [][]consumers.Filter{
	nil,
	{{Tenant: "default"}},
	{{Tenant: "*"}, {API: "a>b"}}, // they overlap
	{{Kind: "role.assigned"}, {Kind: "role.unassigned"}, {Kind: "role"}},
	{{PrincipalKind: events.KindUser, PrincipalID: "x.*"}},
	{{PrincipalKind: events.KindClient}, {PrincipalID: ">"}},
	{{Tenant: "a.b", Kind: "permission", API: "operate"}},
	{{Kind: "resource-type.defined"}, {Kind: "principal.deleted", Tenant: "default"}, {PrincipalKind: events.KindRole}},
}

func TestFilters(t *testing.T) {
	l := consumertest.Start(t)
	publish(l, 1, 300)
	sum := 0
	for _, filters := range interests {
		want := selected(filters, l.Events())
		sum += len(want)
		r := newRecorder()
		stop := subscribe(t, l.JetStream(), consumers.Options{Filters: filters}, r)
		r.untilCount(t, len(want))
		stop()
		if got := r.positions(); !slices.Equal(got, want) {
			t.Errorf("%+v: got %v, want %v", filters, got, want)
		}
		if len(want) == 0 {
			t.Errorf("%+v selects nothing, which shows nothing", filters)
		}
	}
	if err := outcome(t, l.JetStream(), consumers.Options{Filters: []consumers.Filter{{Kind: "x"}}}, newRecorder()); !isInvalid(err) {
		t.Errorf("a wrong filter gives %v", err)
	}
}

func isInvalid(err error) bool {
	_, ok := errors.AsType[*events.InvalidError](err)
	return ok
}

// What an effect refuses ends the subscription, and comes first when it is started again.
func TestRefusedEvent(t *testing.T) {
	l := consumertest.Start(t)
	publish(l, 1, 10)
	r, broken := newRecorder(), errors.New("disk full")
	r.refuse = func(ev consumers.Event) error {
		if ev.Position == 6 {
			return broken
		}
		return nil
	}
	for range 2 {
		if err := outcome(t, l.JetStream(), consumers.Options{}, r); !errors.Is(err, broken) || !strings.Contains(err.Error(), "apply position=6") {
			t.Errorf("ended with %v", err)
		}
	}
	r.refuse = nil
	stop := subscribe(t, l.JetStream(), consumers.Options{}, r)
	r.untilCount(t, 10)
	stop()
	if got := r.positions(); !slices.Equal(got, upTo(10)) {
		t.Errorf("got %v", got)
	}

	noCursor := consumers.Func(nil, failing{})
	if err := outcome(t, l.JetStream(), consumers.Options{}, noCursor); !errors.Is(err, errFailing) {
		t.Errorf("a cursor that cannot be read: %v", err)
	}
}

var errFailing = errors.New("no such table")

type failing struct{}

func (failing) Load(context.Context) (consumers.Cursor, bool, error) {
	return consumers.Cursor{}, false, errFailing
}
func (failing) Save(context.Context, consumers.Cursor) error { return errFailing }

const storeFailed = 10049 // of nats-server, while the files of the stream before are still being deleted

// republish replaces the feed by one that holds these messages.
func republish(t *testing.T, js jetstream.JetStream, messages ...*nats.Msg) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for last := uint64(1); last > 0; { // messages come back when streams are deleted in quick succession, or none can be made
		if err := js.DeleteStream(ctx, events.FeedStream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Fatal(err)
		}
		stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: events.FeedStream, Subjects: []string{events.FeedSubjects}, AllowDirect: true,
		})
		if refused := (*jetstream.APIError)(nil); errors.As(err, &refused) && refused.ErrorCode == storeFailed && ctx.Err() == nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		last = stream.CachedInfo().State.LastSeq
	}
	for _, m := range messages {
		if _, err := js.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
}

func feedOf(ledger events.LedgerID, evs []events.Recorded) []*nats.Msg {
	var out []*nats.Msg
	for _, r := range evs {
		out = append(out, &nats.Msg{Subject: events.Subject(r), Data: events.Message(ledger, r).Bytes()})
	}
	return out
}

// A feed that is not the one the cursor comes from, is damaged, or says what nobody knows.
func TestFeedsThatEndASubscription(t *testing.T) {
	l := consumertest.Start(t)
	publish(l, 1, 20)
	r := newRecorder()
	stop := subscribe(t, l.JetStream(), consumers.Options{}, r)
	r.untilCount(t, 20)
	stop()
	ledger, evs, cursor := r.events[0].Ledger, l.Events(), r.cursor

	fork := slices.Clone(evs)
	for i := 15; i < len(fork); i++ {
		fork[i].ID = uuid.New()
		fork[i].Raw = []byte(strings.Replace(string(fork[i].Raw), evs[i].ID.String(), fork[i].ID.String(), 1))
	}
	more := consumertest.NewHistory(ledger)
	for _, r := range append(slices.Clone(evs), consumertest.Traffic(2, 5)...) {
		if _, err := more.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	longer := more.Events()
	future := longer[21]
	future.Raw = []byte(strings.Replace(string(future.Raw), `"type":"`, `"type":"later.`, 1))
	damaged := func(change func(*nats.Msg)) []*nats.Msg {
		out := feedOf(ledger, longer)
		change(out[21])
		return out
	}
	filtered := []consumers.Filter{{Tenant: "default"}, {Tenant: "a.b"}, {Tenant: "*"}} // everything, but not known to be
	for _, tt := range []struct {
		name    string
		feed    []*nats.Msg
		filters []consumers.Filter
		want    error
	}{
		{"an older feed", feedOf(ledger, evs[:19]), nil, consumers.ErrRewound},
		{"an empty feed", nil, nil, consumers.ErrRewound},
		{"the same ledger with another past", feedOf(ledger, fork), nil, consumers.ErrRewound},
		{"another ledger", feedOf(uuid.New(), longer), nil, consumers.ErrOtherLedger},
		{"a shorter feed of another ledger", feedOf(uuid.New(), evs[:3]), nil, consumers.ErrOtherLedger},
		{"another ledger after the cursor", append(feedOf(ledger, longer[:21]), feedOf(uuid.New(), longer[21:])...), nil, consumers.ErrOtherLedger},
		{"an event this build does not know", append(feedOf(ledger, longer[:21]), &nats.Msg{
			Subject: events.Subject(longer[21]), Data: events.Message(ledger, future).Bytes(),
		}), nil, events.ErrUnknownEvent},
		{"no message of a feed", damaged(func(m *nats.Msg) { m.Data = []byte("{}") }), nil, consumers.ErrDamaged},
		{"half a message", damaged(func(m *nats.Msg) { m.Data = m.Data[:100] }), nil, consumers.ErrDamaged},
		{"a message left out", slices.Delete(feedOf(ledger, longer), 21, 22), nil, consumers.ErrDamaged},
		{"a message left out of what is selected", slices.Delete(feedOf(ledger, longer), 21, 22), filtered, consumers.ErrDamaged},
		{"revisions that go back", append(feedOf(ledger, longer[:21]), func() *nats.Msg {
			old := longer[21]
			old.Revision = 0
			return feedOf(ledger, []events.Recorded{old})[0]
		}()), nil, consumers.ErrDamaged},
	} {
		republish(t, l.JetStream(), tt.feed...)
		again := newRecorder()
		again.begun, again.cursor = 1, cursor
		o := consumers.Options{Patience: 50 * time.Millisecond, Filters: tt.filters}
		if err := outcome(t, l.JetStream(), o, again); !errors.Is(err, tt.want) {
			t.Errorf("%s: ended with %v, want %v", tt.name, err, tt.want)
		}
		for _, p := range again.positions() {
			if p != 21 {
				t.Errorf("%s: position %d was applied", tt.name, p)
			}
		}
	}

	// A message deleted from the stream: a gap after the cursor, or no message at the cursor.
	for _, position := range []uint64{20, 22} {
		republish(t, l.JetStream(), feedOf(ledger, longer)...)
		stream, err := l.JetStream().Stream(context.Background(), events.FeedStream)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.DeleteMsg(context.Background(), position); err != nil {
			t.Fatal(err)
		}
		again := newRecorder()
		again.begun, again.cursor = 1, cursor
		if err := outcome(t, l.JetStream(), consumers.Options{Patience: 50 * time.Millisecond}, again); !errors.Is(err, consumers.ErrDamaged) {
			t.Errorf("without message %d: ended with %v", position, err)
		}
	}

	if err := l.JetStream().DeleteStream(context.Background(), events.FeedStream); err != nil {
		t.Fatal(err)
	}
	if err := outcome(t, l.JetStream(), consumers.Options{Patience: 50 * time.Millisecond}, newRecorder()); !errors.Is(err, consumers.ErrNoFeed) {
		t.Errorf("without a feed: ended with %v", err)
	}
}

// A feed that is being built anew is waited for as long as it grows, which takes longer than Patience here.
func TestWaitsForARebuild(t *testing.T) {
	l := consumertest.Start(t)
	publish(l, 1, 20)
	r := newRecorder()
	interrupted := make(chan error, 1000)
	o := consumers.Options{Patience: 2 * time.Second, Interrupted: func(err error) { interrupted <- err }}
	stop := subscribe(t, l.JetStream(), o, r)
	r.untilCount(t, 20)
	republish(t, l.JetStream())
	ctx := context.Background()
	for seen := false; !seen; { // it is noticed
		seen = errors.Is(<-interrupted, consumers.ErrRewound)
	}
	for _, m := range feedOf(r.events[0].Ledger, l.Events()) {
		if _, err := l.JetStream().PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	publish(l, 2, 5)
	r.untilCount(t, 25)
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if got := r.positions(); !slices.Equal(got, upTo(25)) {
		t.Errorf("got %v", got)
	}
}

func TestConnectionClosed(t *testing.T) {
	server := consumertest.StartServer(t, consumertest.ServerConfig{Listen: true})
	nc, err := consumers.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	closing := consumers.Options{Interrupted: func(error) { nc.Close() }}
	if err := outcome(t, js, closing, newRecorder()); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("ended with %v", err)
	}
	server.Stop()
	if _, err := consumers.Connect(server.URL()); !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("connected to nothing: %v", err)
	}
}

func ExampleSubscribe() {
	// In a test, consumertest.Start(t) gives the JetStream; in a service, Connect does.
	subscribe := func(ctx context.Context, js jetstream.JetStream) error {
		gained := func(_ context.Context, ev consumers.Event) error {
			if e, ok := ev.Event.(events.RoleAssigned); ok {
				fmt.Printf("%s is %s now: %s\n", e.Principal, e.Role, ev.Reason)
			}
			return nil
		}
		return consumers.Subscribe(ctx, js, consumers.Options{
			Name:    "welcome",
			Filters: []consumers.Filter{{Tenant: "default", Kind: "role.assigned"}},
		}, consumers.Func(gained, consumers.FileCursor("/var/lib/welcome/cursor")))
	}
	_ = subscribe
}
