package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/permledger/permledger/consumers/api"
)

// Every kind of wrong input gets its catalogued error, names the field, and changes nothing.
func TestWrongInput(t *testing.T) {
	w := newWorld(t).camunda()
	w.do(
		api.Command{Do: "role.create", Role: "outer"}, api.Command{Do: "role.create", Role: "inner"},
		api.Command{Do: "role.include", Role: "outer", Included: "inner"},
		api.Command{Do: "group.create", Group: "up"}, api.Command{Do: "group.create", Group: "down"},
		api.Command{Do: "group.set-parent", Group: "down", Parent: "up"},
		grant("user:alice", "read:*", "api:operate-api"),
	)
	before := w.node.Projector.Head()

	commands := func(list string, rest ...string) string {
		return `{"commands":[` + list + `]` + strings.Join(rest, "") + `}`
	}
	const alice = `{"do":"grant","principal":"user:alice","permission":"write:*","resource":"api:operate-api"}`
	long := strings.Repeat("x", 257)
	post := "POST /v1/commands"
	for name, tc := range map[string]struct {
		route   string
		body    string
		code    api.Code
		field   string
		headers []string
	}{
		"bad id":              {post, commands(`{"do":"role.create","role":"a\u0007b"}`), api.CodeInvalid, "role", nil},
		"long id":             {post, commands(`{"do":"role.create","role":"` + long + `"}`), api.CodeInvalid, "role", nil},
		"bidi id":             {post, commands(`{"do":"administrator.add","principal":"user:a\u202eb"}`), api.CodeInvalid, "commands[0].principal", nil},
		"empty id":            {post, commands(`{"do":"role.create","role":""}`), api.CodeInvalid, "role", nil},
		"unknown kind":        {post, commands(`{"do":"administrator.add","principal":"robot:r"}`), api.CodeInvalid, "commands[0].principal", nil},
		"unknown permission":  {post, commands(`{"do":"grant","principal":"user:alice","permission":"fly","resource":"api:operate-api"}`), api.CodeUnknownPermission, "", nil},
		"unknown api":         {post, commands(`{"do":"grant","principal":"user:alice","permission":"read:*","resource":"api:nowhere"}`), api.CodeUnknownAPI, "", nil},
		"unknown type":        {post, commands(`{"do":"grant","principal":"user:alice","permission":"read:*","resource":"thing:1"}`), api.CodeUnknownType, "", nil},
		"star":                {post, commands(`{"do":"grant","principal":"user:alice","permission":"read:*","resource":"thing:*"}`), api.CodeInvalid, "commands[0].resource", nil},
		"missing role":        {post, commands(`{"do":"assign","principal":"user:alice","role":"nobody"}`), api.CodeUnknownRole, "", nil},
		"missing group":       {post, commands(`{"do":"group.add-member","group":"nobody","member":"user:alice"}`), api.CodeUnknownGroup, "", nil},
		"missing fact":        {post, commands(`{"do":"correct","fact":"0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c","valid_until":"forever"}`), api.CodeUnknownFact, "", nil},
		"missing tenant":      {post, commands(alice, `,"tenant":"nowhere"`), api.CodeUnknownTenant, "", nil},
		"missing catalog":     {post, commands(`{"do":"catalog.load","catalog":"nothing"}`), api.CodeUnknownCatalog, "", nil},
		"role cycle":          {post, commands(`{"do":"role.include","role":"inner","included":"outer"}`), api.CodeCycle, "", nil},
		"group cycle":         {post, commands(`{"do":"group.set-parent","group":"up","parent":"down"}`), api.CodeCycle, "", nil},
		"last administrator":  {post, commands(`{"do":"administrator.remove","principal":"client:root"}`), api.CodeLastAdministrator, "", nil},
		"bad time":            {post, commands(alice, `,"valid_from":"2026-13-01"`), api.CodeInvalid, "valid_from", nil},
		"before first day":    {post, commands(alice, `,"valid_from":"2020-01-01T00:00:00Z"`), api.CodeBeforeFirstDay, "", nil},
		"ends before start":   {post, commands(alice, `,"valid_from":"2026-05-01T00:00:00Z","valid_until":"2026-04-01T00:00:00Z"`), api.CodeEmptyInterval, "", nil},
		"strict":              {post, commands(`{"do":"grant","principal":"user:alice","permission":"read:*","resource":"api:operate-api"}`, `,"strict":true`), api.CodeAlready, "", nil},
		"precondition":        {post, commands(alice, `,"expect":[{"principal":"user:alice","version":1}]`), api.CodePreconditionFailed, "", nil},
		"half a transaction":  {post, commands(alice + `,{"do":"assign","principal":"user:alice","role":"nobody"}`), api.CodeUnknownRole, "", nil},
		"unknown member":      {post, commands(alice, `,"actor":"user:mallory"`), api.CodeInvalid, "actor", nil},
		"unknown verb":        {post, commands(`{"do":"fly"}`), api.CodeInvalid, "commands[0].do", nil},
		"half JSON":           {post, `{"commands":[{"do":"gra`, api.CodeBadJSON, "", nil},
		"name twice":          {post, `{"reason":"a","reason":"b","commands":[` + alice + `]}`, api.CodeBadJSON, "", nil},
		"no body":             {post, "", api.CodeBadJSON, "", []string{"Content-Type", "application/json"}},
		"10 MB body":          {post, `{"reason":"` + strings.Repeat("x", 10<<20) + `"}`, api.CodeBodyTooLarge, "", nil},
		"form":                {post, "a=b", api.CodeUnsupportedMediaType, "", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		"no content type":     {post, commands(alice), api.CodeUnsupportedMediaType, "", []string{"Content-Type", ""}},
		"gzip":                {post, commands(alice), api.CodeUnsupportedMediaType, "", []string{"Content-Encoding", "gzip"}},
		"latin-1":             {post, commands(alice), api.CodeUnsupportedMediaType, "", []string{"Content-Type", "application/json; charset=latin1"}},
		"bad inline catalog":  {post, commands(`{"do":"catalog.load","file":{"catalog_format":1}}`), api.CodeInvalid, "commands[0].file.system", nil},
		"both catalogs":       {"POST /v1/catalogs", `{"catalog":"camunda-8","file":{}}`, api.CodeInvalid, "catalog", nil},
		"no token":            {post, commands(alice), api.CodeUnauthenticated, "", []string{"Authorization", ""}},
		"wrong token":         {post, commands(alice), api.CodeUnauthenticated, "", []string{"Authorization", "Bearer wrong"}},
		"no token, any body":  {post, `{"half`, api.CodeUnauthenticated, "", []string{"Authorization", ""}},
		"no principal":        {"GET /v1/check?permission=read:*&resource=api:operate-api", "", api.CodeInvalid, "principal", nil},
		"no permission":       {"GET /v1/check?principal=user:alice&resource=api:operate-api", "", api.CodeInvalid, "permission", nil},
		"no resource":         {"GET /v1/check?principal=user:alice&permission=read:*", "", api.CodeInvalid, "resource", nil},
		"star asked":          {"GET /v1/check?principal=user:alice&permission=p&resource=record:*", "", api.CodeInvalid, "resource", nil},
		"property asked":      {"GET /v1/check?principal=user:alice&permission=p&resource=record/owner", "", api.CodeInvalid, "resource", nil},
		"misspelt parameter":  {"GET /v1/check?principal=user:alice&permission=p&resource=api:x&as-of=2026-03-01T00:00:00Z", "", api.CodeInvalid, "as-of", nil},
		"empty parameter":     {"GET /v1/check?principal=user:alice&permission=p&resource=api:x&as_of=", "", api.CodeInvalid, "as_of", nil},
		"parameter twice":     {"GET /v1/check?principal=user:alice&permission=p&resource=api:x&principal=user:bob", "", api.CodeInvalid, "principal", nil},
		"broken query":        {"GET /v1/check?principal=%zz", "", api.CodeInvalid, "query", nil},
		"bad as_of":           {"GET /v1/holdings?principal=user:alice&as_of=yesterday", "", api.CodeInvalid, "as_of", nil},
		"two times":           {"GET /v1/holdings?principal=user:alice&as_of=2026-03-01T00:00:00Z&known_at=1", "", api.CodeInvalid, "as_of", nil},
		"client is a user":    {"GET /v1/check?client=user:alice&permission=p&resource=api:x", "", api.CodeInvalid, "client", nil},
		"bad page":            {"GET /v1/holders?permission=read:*&resource=api:operate-api&page=abc", "", api.CodeBadPageToken, "", nil},
		"page and time":       {"GET /v1/holders?permission=read:*&resource=api:operate-api&page=abc&known_at=1", "", api.CodeInvalid, "page", nil},
		"bad limit":           {"GET /v1/holders?permission=read:*&resource=api:operate-api&limit=0", "", api.CodeInvalid, "limit", nil},
		"no from":             {"GET /v1/diff?to=2026-03-01T00:00:00Z", "", api.CodeInvalid, "from", nil},
		"bad mode":            {"GET /v1/diff?from=1&mode=both", "", api.CodeInvalid, "mode", nil},
		"bad event type":      {"GET /v1/history?type=role.enchanted", "", api.CodeInvalid, "type", nil},
		"bad position":        {"GET /v1/history?after=-1", "", api.CodeInvalid, "after", nil},
		"bad fact":            {"GET /v1/history?fact=1", "", api.CodeInvalid, "fact", nil},
		"bad flag":            {"GET /v1/history?newest=yes", "", api.CodeInvalid, "newest", nil},
		"bad start":           {"GET /v1/events?from=rev:0", "", api.CodeInvalid, "from", nil},
		"bad follow":          {"GET /v1/events?follow=1", "", api.CodeInvalid, "follow", nil},
		"bad effective":       {"GET /v1/effective?known_at=0", "", api.CodeInvalid, "known_at", nil},
		"no such role":        {"GET /v1/roles/nobody", "", api.CodeNotFound, "", nil},
		"no such group":       {"GET /v1/groups/nobody", "", api.CodeNotFound, "", nil},
		"no such catalog":     {"GET /v1/catalogs/nothing", "", api.CodeNotFound, "", nil},
		"tenant not there":    {"GET /v1/roles?tenant=nowhere", "", api.CodeUnknownTenant, "", nil},
		"body of a question":  {"POST /v1/check", "{}", api.CodeMethodNotAllowed, "", nil},
		"a revision too high": {"GET /v1/status?at_least=9", "", api.CodeInvalid, "at_least", nil},
	} {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(tc.route, " ")
			status, header, body := w.ask(method, path, tc.body, tc.headers...)
			at := *w
			at.T = t
			at.isProblem(name, status, header, body, tc.code, tc.field)
		})
	}
	if after := w.node.Projector.Head(); after != before {
		t.Errorf("something was recorded: %+v after %+v", after, before)
	}
}

// A body whose size is not announced is cut off at the limit, too.
func TestChunkedBodyIsBounded(t *testing.T) {
	w := newWorld(t)
	before := w.revision()
	r, err := http.NewRequest("POST", w.http.URL+"/v1/commands", io.LimitReader(endless('x'), 10<<20))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.node.RootToken)
	r.Header.Set("Content-Type", "application/json")
	resp, err := w.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge || w.revision() != before {
		t.Errorf("%d", resp.StatusCode)
	}
}

type endless byte

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

// A request that is refused with a key stays refused under it; another body under the key is a conflict.
func TestKeyBoundToARefusal(t *testing.T) {
	w := newWorld(t)
	const body = `{"commands":[{"do":"assign","principal":"user:alice","role":"later"}]}`
	for range 2 {
		status, header, answer := w.ask("POST", "/v1/commands", body, api.IdempotencyKeyHeader, "k1")
		w.isProblem("first and again", status, header, answer, api.CodeUnknownRole, "")
	}
	w.do(api.Command{Do: "role.create", Role: "later"})
	status, header, answer := w.ask("POST", "/v1/commands", body, api.IdempotencyKeyHeader, "k1")
	w.isProblem("after the role came", status, header, answer, api.CodeUnknownRole, "")
	status, header, answer = w.ask("POST", "/v1/commands", strings.Replace(body, "alice", "bob", 1), api.IdempotencyKeyHeader, "k1")
	w.isProblem("another body", status, header, answer, api.CodeKeyConflict, "")
	status, header, answer = w.ask("POST", "/v1/commands", body, api.IdempotencyKeyHeader, strings.Repeat("k", 300))
	w.isProblem("a long key", status, header, answer, api.CodeInvalid, "idempotency key")
}

func TestRequestIDsThatCannotBeEchoed(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{strings.Repeat("x", 129), "a b", "ä"} {
		_, header, _ := w.ask("GET", "/livez", "", api.RequestIDHeader, id)
		if got := header.Get(api.RequestIDHeader); got == id || len(got) != 36 {
			t.Errorf("%q became %q", id, got)
		}
	}
}
