package consumers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// answering is a client of a server that answers everything with h.
func answering(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL+"/", "secret", WithHTTPClient(s.Client()), WithUserAgent("tester/1"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientSaysWhoItIs(t *testing.T) {
	var got *http.Request
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		fmt.Fprint(w, `{"allowed":true,"revision":7,"valid_at":"2026-03-01T00:00:00Z","unknown":1}`)
	})
	d, err := c.Check(t.Context(), api.Question{
		Principal: events.User("a b&c"), Permission: "read:*", Resource: api.Resource{Type: "record", ID: "x/y"},
		Properties: []string{"assignee", "owner"},
	})
	if err != nil || !d.Allowed || d.Revision != 7 {
		t.Fatalf("%+v, %v", d, err)
	}
	if got.Header.Get("Authorization") != "Bearer secret" || !strings.HasPrefix(got.UserAgent(), "tester/1 permledger-go/") ||
		got.Header.Get(api.RequestIDHeader) == "" {
		t.Errorf("headers %v", got.Header)
	}
	q := got.URL.Query()
	if got.URL.Path != "/v1/check" || q.Get("principal") != "user:a b&c" || q.Get("resource") != "record:x/y" || len(q["property"]) != 2 {
		t.Errorf("asked %s", got.URL)
	}
}

func TestClientEscapesIDs(t *testing.T) {
	var path string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.EscapedPath()
		fmt.Fprint(w, `{}`)
	})
	for role, want := range map[events.Role]string{
		"a/b": "/v1/roles/a%2Fb", "..": "/v1/roles/%2E%2E", "ä ?": "/v1/roles/%C3%A4%20%3F",
	} {
		if _, err := c.Role(t.Context(), role, api.When{}); err != nil || path != want {
			t.Errorf("%s: asked for %s, %v", role, path, err)
		}
	}
}

func TestNewRefusesWhatIsNoURL(t *testing.T) {
	for _, s := range []string{"", "localhost:8080", "ftp://a", "http://", "%"} {
		if _, err := New(s, ""); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestClientErrors(t *testing.T) {
	answers := map[string]func(http.ResponseWriter){
		"problem": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", api.ProblemContentType)
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"type":"https://permledger.dev/errors/cycle","status":409,"code":"cycle","detail":"d","field":"f","instance":"i"}`)
		},
		"proxy": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, "<html>bad gateway</html>")
		},
		"garbage": func(w http.ResponseWriter) { fmt.Fprint(w, "not json") },
		"cut":     func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	}
	ask := func(kind string) error {
		c := answering(t, func(w http.ResponseWriter, _ *http.Request) { answers[kind](w) })
		_, err := c.Status(t.Context())
		return err
	}

	var known *api.Error
	if err := ask("problem"); !errors.As(err, &known) || known.Code != api.CodeCycle || known.Field != "f" || known.Retry() != api.RetryNever {
		t.Errorf("problem: %#v", err)
	}
	if err := ask("proxy"); !errors.As(err, &known) || known.Code != "" || known.Status != 502 || known.Retry() != api.RetryLater {
		t.Errorf("proxy: %#v", err)
	}
	var network *NetworkError
	if err := ask("garbage"); err == nil || errors.As(err, &network) || errors.As(err, &known) {
		t.Errorf("garbage: %v", err)
	}
	if err := ask("cut"); !errors.As(err, &network) || network.Doing != "GET /v1/status" {
		t.Errorf("cut: %v", err)
	}
	gone, err := New("http://127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Status(t.Context()); !errors.As(err, &network) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestCancelledCallSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := answering(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not say that the context ended", err)
	}
}

// Only a stream that says how many rows it has is whole.
func TestStreams(t *testing.T) {
	const row = `{"principal":"user:a","permission":"p","resource":"api:x"}` + "\n"
	send := func(body, trailer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", api.CompleteTrailer)
			fmt.Fprint(w, body)
			w.(http.Flusher).Flush()
			if trailer == "abort" {
				panic(http.ErrAbortHandler)
			}
			if trailer != "" {
				w.Header().Set(api.CompleteTrailer, trailer)
			}
		}
	}
	for name, tc := range map[string]struct {
		body, trailer string
		rows          int
		whole         bool
	}{
		"whole":             {row + row, "2", 2, true},
		"empty":             {"", "0", 0, true},
		"signs of life":     {row + "\n\n" + row, "2", 2, true},
		"no trailer":        {row, "", 1, false},
		"fewer than told":   {row, "2", 1, false},
		"last row cut":      {row + row[:20], "2", 1, false},
		"row without end":   {row + strings.TrimSpace(row), "2", 1, false},
		"connection broken": {row, "abort", 1, false},
	} {
		c := answering(t, send(tc.body, tc.trailer))
		rows, failed := 0, error(nil)
		for g, err := range c.Effective(t.Context(), api.When{}) {
			if err != nil {
				failed = err
				continue
			}
			if rows++; g.Principal != events.User("a") {
				t.Errorf("%s: %+v", name, g)
			}
		}
		if rows != tc.rows || tc.whole != (failed == nil) || !tc.whole && !errors.Is(failed, ErrIncomplete) {
			t.Errorf("%s: %d rows, %v", name, rows, failed)
		}
	}
	c := answering(t, send("{\n", "1"))
	for _, err := range c.Effective(t.Context(), api.When{}) {
		if err == nil || errors.Is(err, ErrIncomplete) {
			t.Errorf("a row that is no JSON: %v", err)
		}
	}
}

func TestStreamCanBeLeft(t *testing.T) {
	left := make(chan struct{})
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"principal":"user:a","permission":"p","resource":"api:x"}`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(left)
	})
	for range c.Effective(t.Context(), api.When{}) {
		break
	}
	<-left
}

// Pages are asked for until there are no more; times are given once.
func TestAllHolders(t *testing.T) {
	var asked []string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		if r.URL.Query().Get("page") == "" {
			fmt.Fprint(w, `{"revision":3,"principals":["user:a","user:b"],"next":"t2"}`)
			return
		}
		fmt.Fprint(w, `{"revision":3,"principals":["user:c"]}`)
	})
	q := api.HoldersQuery{When: api.When{Tenant: "acme", AtLeast: 3}, Permission: "p", Resource: api.Resource{Audience: "x"}, Limit: 2}
	var got []string
	for p, err := range c.AllHolders(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.ID)
	}
	if strings.Join(got, "") != "abc" {
		t.Errorf("got %v", got)
	}
	want := []string{
		"at_least=3&limit=2&permission=p&resource=api%3Ax&tenant=acme",
		"limit=2&page=t2&permission=p&resource=api%3Ax&tenant=acme",
	}
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked %q", asked)
	}
}
