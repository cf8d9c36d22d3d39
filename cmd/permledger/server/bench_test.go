package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/catalogs"
)

// benched is a handler with a little to answer about, without a network before it.
func benched(b *testing.B) (*Server, string) {
	b.Helper()
	n, err := node.Open(b.Context(), node.Config{Memory: true, NoticeInterval: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = n.Close() })
	c := ConfigFor(n)
	c.PublicURL = "http://127.0.0.1"
	s, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	contents, err := catalogs.Load("camunda-8")
	if err != nil {
		b.Fatal(err)
	}
	_, err = n.Ledger.Submit(b.Context(), ledger.Request{
		Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator},
		Commands: []ledger.Command{
			ledger.LoadCatalog{Contents: contents},
			ledger.Grant{Principal: events.User("alice"), Right: ledger.Right{Name: "read:*", Audience: "operate-api"}},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return s, n.RootToken
}

func serve(b *testing.B, s *Server, token, method, path, body string) string {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		b.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func BenchmarkCheck(b *testing.B) {
	s, token := benched(b)
	for b.Loop() {
		serve(b, s, token, "GET", "/v1/check?principal=user:alice&permission=read:*&resource=api:operate-api", "")
	}
}

func BenchmarkEvaluation(b *testing.B) {
	s, token := benched(b)
	body := evaluation1(alice, "read:*", operate, "")
	for b.Loop() {
		serve(b, s, token, "POST", evaluationPath, body)
	}
}

// A thousand questions of one moment, and of a thousand.
func BenchmarkBatch(b *testing.B) {
	for name, item := range map[string]func(int) string{
		"one moment":     func(int) string { return `{}` },
		"many moments":   func(i int) string { return fmt.Sprintf(`{"context":{"valid_at":"2026-03-01T12:00:00.%06dZ"}}`, i) },
		"many revisions": func(i int) string { return fmt.Sprintf(`{"context":{"as_of":"2026-03-01T12:00:00.%06dZ"}}`, i) },
	} {
		items := make([]string, 1000)
		for i := range items {
			items[i] = item(i)
		}
		body := `{"subject":` + alice + `,"action":{"name":"read:*"},"resource":` + operate + `,"evaluations":[` + strings.Join(items, ",") + `]}`
		b.Run(name, func(b *testing.B) {
			s, token := benched(b)
			for b.Loop() {
				serve(b, s, token, "POST", evaluationsPath, body)
			}
		})
	}
}
