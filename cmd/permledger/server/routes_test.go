package server

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// Who may reach which route without a credential. A new route without a row here fails.
var authMatrix = map[string]int{
	"GET /livez":        http.StatusOK,
	"GET /readyz":       http.StatusOK,
	"GET /openapi.json": http.StatusOK,

	"POST /v1/commands":                      http.StatusUnauthorized,
	"POST /v1/verify":                        http.StatusUnauthorized,
	"POST /v1/catalogs":                      http.StatusUnauthorized,
	"GET /v1/check":                          http.StatusUnauthorized,
	"GET /v1/explain":                        http.StatusUnauthorized,
	"GET /v1/intervals":                      http.StatusUnauthorized,
	"GET /v1/holdings":                       http.StatusUnauthorized,
	"GET /v1/holders":                        http.StatusUnauthorized,
	"GET /v1/claims":                         http.StatusUnauthorized,
	"GET /v1/diff":                           http.StatusUnauthorized,
	"GET /v1/catalogs":                       http.StatusUnauthorized,
	"GET /v1/catalogs/{name}":                http.StatusUnauthorized,
	"GET /v1/roles":                          http.StatusUnauthorized,
	"GET /v1/roles/{id}":                     http.StatusUnauthorized,
	"GET /v1/groups":                         http.StatusUnauthorized,
	"GET /v1/groups/{id}":                    http.StatusUnauthorized,
	"GET /v1/principals/{kind}/{id}":         http.StatusUnauthorized,
	"GET /v1/history":                        http.StatusUnauthorized,
	"GET /v1/effective":                      http.StatusUnauthorized,
	"GET /v1/events":                         http.StatusUnauthorized,
	"GET /v1/audit/pack":                     http.StatusUnauthorized,
	"GET /v1/backup":                         http.StatusUnauthorized,
	"GET /v1/status":                         http.StatusUnauthorized,
	"GET /v1/checkpoint":                     http.StatusUnauthorized,
	"GET /v1/events/{id}/proof":              http.StatusUnauthorized,
	"GET /v1/tlog/checkpoint":                http.StatusUnauthorized,
	"GET /v1/tlog/tile/{path...}":            http.StatusUnauthorized,
	"GET /v1/keys":                           http.StatusUnauthorized,
	"POST /v1/keys/rotate":                   http.StatusUnauthorized,
	"POST /access/v1/evaluation":             http.StatusUnauthorized,
	"POST /access/v1/evaluations":            http.StatusUnauthorized,
	"GET /.well-known/authzen-configuration": http.StatusUnauthorized,
}

// credentials that are none.
var noCredentials = map[string]string{
	"no token":      "",
	"wrong token":   "Bearer " + strings.Repeat("x", 43),
	"empty token":   "Bearer ",
	"other scheme":  "Basic cm9vdDpyb290",
	"token alone":   "TOKEN",
	"token and end": "Bearer TOKENx",
}

func TestAuthMatrix(t *testing.T) {
	w := newWorld(t)
	routes := w.muxRoutes()
	for _, route := range routes {
		want, listed := authMatrix[route]
		if !listed {
			t.Errorf("%s has no row in the matrix", route)
			continue
		}
		method, path, _ := strings.Cut(route, " ")
		for name, credential := range noCredentials {
			credential = strings.ReplaceAll(credential, "TOKEN", w.node.RootToken)
			status, header, body := w.ask(method, path, "", "Authorization", credential)
			if status != want {
				t.Errorf("%s with %s: %d, want %d", route, name, status, want)
			}
			if want != http.StatusUnauthorized {
				continue
			}
			var e api.Error
			if json.Unmarshal([]byte(body), &e) != nil || e.Code != api.CodeUnauthenticated || header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: %s %v", route, name, body, header)
			}
		}
		if status, _, _ := w.ask(method, path, "", "Authorization", "bearer "+w.node.RootToken); status == http.StatusUnauthorized {
			t.Errorf("%s does not accept the token", route)
		}
	}
	if len(routes) != len(authMatrix) {
		t.Errorf("the matrix has %d rows for %d routes", len(authMatrix), len(routes))
	}
}

// muxRoutes finds the routes in the mux itself, not in a list that somebody keeps: every path of the document
// and every method is looked up.
func (w *world) muxRoutes() []string {
	var all []string
	for path := range w.server.api.OpenAPI().Paths {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if _, pattern := w.server.mux.Handler(httptest.NewRequest(method, path, nil)); pattern != "" {
				all = append(all, pattern)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Every handler goes through register or plain, which document it; this finds one that does not.
func TestNoRouteBesideTheTable(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && (s.Sel.Name == "HandleFunc" || s.Sel.Name == "Handle") {
				calls++
			}
			return true
		})
	}
	if calls != 1 {
		t.Errorf("the mux is given handlers in %d places; there is one, Server.plain, besides huma's", calls)
	}
}

type nobody struct{}

func (nobody) Authenticate(*http.Request) (Caller, error) {
	return Caller{Principal: events.User("eve"), Method: "test"}, nil
}

func TestWhoIsNoAdministratorIsForbidden(t *testing.T) {
	w := newWorldAt(t, fixed, func(c *Config) { c.Auth = nobody{} })
	before := w.revision()
	status, _, body := w.ask("POST", "/v1/commands", `{"commands":[{"do":"role.create","role":"r"}]}`)
	if status != http.StatusForbidden || !strings.Contains(body, `"code":"forbidden"`) || w.revision() != before {
		t.Errorf("%d %s", status, body)
	}
}

func TestPathsAndMethods(t *testing.T) {
	w := newWorld(t)
	for route, want := range map[string]api.Code{
		"GET /":                     api.CodeNotFound,
		"GET /v1/nothing":           api.CodeNotFound,
		"GET /v1/roles/a/b":         api.CodeNotFound,
		"DELETE /v1/check":          api.CodeMethodNotAllowed,
		"POST /v1/status":           api.CodeMethodNotAllowed,
		"GET /v1/commands":          api.CodeMethodNotAllowed,
		"GET /access/v1/evaluation": api.CodeMethodNotAllowed,
	} {
		method, path, _ := strings.Cut(route, " ")
		status, header, body := w.ask(method, path, "", api.RequestIDHeader, "r-17")
		w.isProblem(route, status, header, body, want, "")
		if header.Get(api.RequestIDHeader) != "r-17" || !strings.Contains(body, `"instance":"r-17"`) {
			t.Errorf("%s: the request id is lost: %v %s", route, header, body)
		}
		if want == api.CodeMethodNotAllowed && header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", route)
		}
	}
}

// isProblem checks a catalogued error.
func (w *world) isProblem(what string, status int, header http.Header, body string, code api.Code, field string) {
	w.Helper()
	entry, ok := api.Lookup(code)
	var e api.Error
	if err := json.Unmarshal([]byte(body), &e); err != nil || !ok {
		w.Errorf("%s: %d %q is no problem: %v", what, status, body, err)
		return
	}
	if e.Code != code || e.Field != field || status != entry.Status || e.Status != status || e.Title != entry.Meaning ||
		e.Type != "https://permledger.dev/errors/"+string(code) || header.Get("Content-Type") != api.ProblemContentType || e.Instance == "" {
		w.Errorf("%s: %d %s %s, want %s about %q", what, status, header.Get("Content-Type"), body, code, field)
	}
}

func TestOpenAPI(t *testing.T) {
	w := newWorld(t)
	status, header, body := w.ask("GET", "/openapi.json", "", "Authorization", "")
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", status, header)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Responses   map[string]any
			RequestBody any
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %s", doc.OpenAPI)
	}
	ids := map[string]bool{}
	for route := range authMatrix {
		method, path, _ := strings.Cut(route, " ")
		op, ok := doc.Paths[path][strings.ToLower(method)]
		if !ok || op.Summary == "" || op.OperationID == "" || op.Responses["200"] == nil || ids[op.OperationID] {
			t.Errorf("%s is not documented: %+v", route, op)
		}
		ids[op.OperationID] = true
		if method == "POST" && op.RequestBody == nil {
			t.Errorf("%s has no request body", route)
		}
		if op.Responses["default"] == nil {
			t.Errorf("%s does not document its errors", route)
		}
	}
	for _, ref := range references(body) {
		if doc.Components.Schemas[ref] == nil {
			t.Errorf("schema %s is not there", ref)
		}
	}
	for _, verb := range api.Verbs {
		if !strings.Contains(body, strconv.Quote(verb.Do)) {
			t.Errorf("verb %s is not documented", verb.Do)
		}
	}
}

func references(body string) (all []string) {
	for _, part := range strings.Split(body, `"$ref": "`+schemaPrefix)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		all = append(all, name)
	}
	return all
}

// Every code of the ledger has its entry in the catalogue, and nothing becomes an internal error on its way.
func TestLedgerCodesAreCatalogued(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../../ledger/refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		kind, ok := spec.Type.(*ast.Ident)
		if !ok || kind.Name != "Code" {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		if _, ok := api.Lookup(api.Code(value)); !ok {
			t.Errorf("%s is not in the catalogue", value)
		}
		if e := problemOf(&ledger.Refusal{Code: ledger.Code(value), Message: "m"}); e.Code != api.Code(value) || e.Detail != "m" {
			t.Errorf("%s became %+v", value, e)
		}
		return true
	})
	if found < 24 {
		t.Errorf("found only %d codes", found)
	}
}
