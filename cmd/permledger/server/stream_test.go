package server

import (
	"context"
	"errors"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func collect[T any](t *testing.T, rows iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for row, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

func TestEffectiveSet(t *testing.T) {
	w := newWorld(t)
	if got := collect(t, w.client.Effective(t.Context(), api.When{})); got != nil {
		t.Errorf("an empty ledger gives %v", got)
	}
	w.camunda().do(grant("user:alice", "read:*", "api:operate-api"), grant("client:job", "write:*", "api:zeebe-api"))
	want := []api.Grantee{
		{Principal: events.Client("job"), Permission: "write:*", Resource: "api:zeebe-api"},
		{Principal: events.User("alice"), Permission: "read:*", Resource: "api:operate-api"},
	}
	if diff := cmp.Diff(want, collect(t, w.client.Effective(t.Context(), api.When{}))); diff != "" {
		t.Error(diff)
	}
	status, header, body := w.ask("GET", "/v1/effective?known_at=2", "")
	if status != http.StatusOK || header.Get(api.RevisionHeader) != "2" || header.Get("Content-Type") != api.JSONLinesContentType || body != "" {
		t.Errorf("%d %v %q", status, header, body)
	}
}

// A stream that fails in the middle is never taken for a whole one.
func TestStreamThatFails(t *testing.T) {
	rows := func(n int, end error) func(context.Context) iter.Seq2[[]byte, error] {
		return func(context.Context) iter.Seq2[[]byte, error] {
			return func(yield func([]byte, error) bool) {
				for range n {
					if !yield([]byte(`{"principal":"user:a","permission":"p","resource":"api:x"}`+"\n"), nil) {
						return
					}
				}
				if end == errPanic {
					panic(end)
				}
				if end != nil {
					yield(nil, end)
				}
			}
		}
	}
	failure := errors.New("the disk is gone")
	for name, tc := range map[string]struct {
		rows     func(context.Context) iter.Seq2[[]byte, error]
		got      int
		problem  api.Code
		complete bool
	}{
		"whole":                {rows(5000, nil), 5000, "", true},
		"fails in the middle":  {rows(5000, failure), -1, "", false},
		"fails after a few":    {rows(1, failure), 0, api.CodeInternal, false}, // nothing had gone out yet
		"fails at once":        {rows(0, failure), 0, api.CodeInternal, false},
		"panics in the middle": {rows(5000, errPanic), -1, "", false},
		"panics at once":       {rows(0, errPanic), 0, api.CodeInternal, false},
		"known failure":        {rows(0, api.NewError(api.CodeHalted, "")), 0, api.CodeHalted, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			register(w.server, query("/v1/test", "a test"), func(_ context.Context, in *statusInput) (*streamed, error) {
				return w.server.stream(in.exchange, 7, false, tc.rows), nil
			})
			h := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				r.URL.Path = "/v1/test"
				w.server.ServeHTTP(rw, r)
			}))
			defer h.Close()
			c, err := consumers.New(h.URL, w.node.RootToken)
			if err != nil {
				t.Fatal(err)
			}
			got, failed := 0, error(nil)
			for _, err := range c.Effective(t.Context(), api.When{}) {
				if failed = err; err == nil {
					got++
				}
			}
			var known *api.Error
			switch {
			case tc.complete && (failed != nil || got != tc.got):
				t.Errorf("%d rows, %v", got, failed)
			case tc.problem != "" && (!errors.As(failed, &known) || known.Code != tc.problem || got != tc.got):
				t.Errorf("%d rows, %v, want %s", got, failed, tc.problem)
			case !tc.complete && tc.problem == "" && (!errors.Is(failed, consumers.ErrIncomplete) || got == 0):
				t.Errorf("%d rows, %v, want it incomplete", got, failed)
			}
		})
	}
}

var errPanic = errors.New("a bug")

func TestEventStream(t *testing.T) {
	w := newWorld(t).camunda()
	w.do(api.Command{Do: "role.create", Role: "runner"})
	w.do(api.Command{Do: "assign", Principal: events.User("alice"), Role: "runner"}, grant("user:bob", "read:*", "api:operate-api"))
	all := collect(t, w.client.Events(t.Context(), api.EventsQuery{}))
	for i, e := range all {
		if e.Position != events.Position(i+1) {
			t.Fatalf("event %d has position %d", i, e.Position)
		}
		stored, err := w.node.Audit.Event(t.Context(), e.Position)
		if err != nil || string(stored.Raw) != string(e.Raw) {
			t.Fatalf("position %d is not as stored: %v", e.Position, err)
		}
	}
	head := w.node.Projector.Head()
	if len(all) != int(head.Position) {
		t.Errorf("%d events, the head is %d", len(all), head.Position)
	}
	count := func(q api.EventsQuery) int { return len(collect(t, w.client.Events(t.Context(), q))) }
	for name, tc := range map[string]struct {
		q    api.EventsQuery
		want int
	}{
		"from now":           {api.EventsQuery{From: api.Start{Now: true}}, 0},
		"from a position":    {api.EventsQuery{From: api.Start{Position: head.Position}}, 1},
		"from a revision":    {api.EventsQuery{From: api.Start{Revision: head.Revision - 1}}, 3},
		"from a time":        {api.EventsQuery{From: api.Start{Time: events.At(firstDay)}}, len(all)},
		"from a later time":  {api.EventsQuery{From: api.Start{Time: events.At(firstDay) + 1}}, 0},
		"of a principal":     {api.EventsQuery{Principal: events.User("alice")}, 1},
		"of a type":          {api.EventsQuery{Type: "role.assigned"}, 1},
		"of nobody":          {api.EventsQuery{Actor: events.User("nobody")}, 0},
		"of a permission":    {api.EventsQuery{Permission: "read:*", Principal: events.User("bob")}, 1},
		"of another tenant":  {api.EventsQuery{Tenant: "acme"}, 0},
		"of an API and type": {api.EventsQuery{API: "operate", Type: "permission.granted"}, 1},
	} {
		if got := count(tc.q); got != tc.want {
			t.Errorf("%s: %d events, want %d", name, got, tc.want)
		}
	}
}

// A followed stream gives what comes, and ends as incomplete when the server ends.
func TestFollowedStream(t *testing.T) {
	w := newWorld(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, shutdown := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, listener) }()
	c, err := consumers.New("http://"+listener.Addr().String(), w.node.RootToken)
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(c.Events(t.Context(), api.EventsQuery{From: api.Start{Position: 3}, Follow: true, Type: "role.created"}))
	defer stop()
	for _, role := range []events.Role{"a", "b", "c"} {
		w.do(api.Command{Do: "role.create", Role: role}, api.Command{Do: "group.create", Group: events.Group(role)})
		e, err, ok := next()
		if created, is := e.Event.(events.RoleCreated); !ok || err != nil || !is || created.Role != role {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	shutdown()
	if _, err, ok := next(); !ok || !errors.Is(err, consumers.ErrIncomplete) {
		t.Errorf("the end of the server is %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A reader that goes away ends the stream on the server's side.
func TestLeavingAFollowedStream(t *testing.T) {
	w := newWorld(t)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", w.http.URL+"/v1/events?from=now&follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.node.RootToken)
	resp, err := w.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Trailer") == "" && !strings.Contains(strings.Join(resp.TransferEncoding, ""), "chunked") {
		t.Errorf("the head is %v", resp.Header)
	}
	leave()
	resp.Body.Close()
	w.http.Close() // waits for every handler
}
