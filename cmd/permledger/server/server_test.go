package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// world is a node in memory behind a server, and a client of it.
type world struct {
	*testing.T
	node   *node.Node
	server *Server
	http   *httptest.Server
	client *consumers.Client
}

var firstDay = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldAt(t, fixed, nil)
}

func newWorldAt(t *testing.T, now func() time.Time, change func(*Config)) *world {
	t.Helper()
	n, err := node.Open(t.Context(), node.Config{Memory: true, Clock: now, NoticeInterval: -1, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	config := ConfigFor(n)
	config.PublicURL, config.Version = "https://permissions.example.com", "test"
	if change != nil {
		change(&config)
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c, err := consumers.New(h.URL, n.RootToken, consumers.WithHTTPClient(h.Client()))
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, n, s, h, c}
}

// do has commands carried out in the default tenant.
func (w *world) do(commands ...api.Command) api.Receipt {
	w.Helper()
	r, err := w.client.Submit(w.Context(), api.Request{Commands: commands}, "")
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) revision() events.Revision { return w.node.Projector.Head().Revision }

// ask sends a request by hand; a header "" is left out.
func (w *world) ask(method, path, body string, headers ...string) (int, http.Header, string) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.http.URL+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.node.RootToken)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := w.http.Client().Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func grant(who, permission, resource string) api.Command {
	p, err := events.ParsePrincipal(who)
	if err != nil {
		panic(err)
	}
	r, err := api.ParseResource("resource", resource)
	if err != nil {
		panic(err)
	}
	return api.Command{Do: "grant", Principal: p, Permission: events.PermissionName(permission), Resource: r}
}

// camunda loads the catalog most tests ask about.
func (w *world) camunda() *world {
	w.Helper()
	w.do(api.Command{Do: "catalog.load", Catalog: "camunda-8"})
	return w
}

func fixed() time.Time { return firstDay }
