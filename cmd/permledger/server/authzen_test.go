package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// authZEN is a world with a past: alice reads operate until the second day, bob from then on. Records 1 and
// any are granted as well.
func authZEN(t *testing.T) (w *world, days [3]time.Time) {
	t.Helper()
	now := firstDay
	for i := range days {
		days[i] = firstDay.AddDate(0, 0, i)
	}
	w = newWorldAt(t, func() time.Time { return now }, nil).camunda()
	w.do(
		api.DefineAPI("records", events.APIDefinition{Name: "Records", Audience: "records-api"}),
		api.DefineType("record", events.ResourceTypeDefinition{API: "records"}),
		api.DefinePermission(events.Permission{API: "records", Name: "read"}, events.PermissionDefinition{}),
		api.Command{Do: "group.create", Group: "ops"},
		api.Command{Do: "group.add-member", Group: "ops", Member: events.User("carol")},
		grant("user:alice", "read:*", "api:operate-api"),
		grant("group:ops", "read", "record:1"),
		grant("client:job", "read:*", "api:operate-api"),
	)
	w.do(api.Command{Do: "grant", Principal: events.User("dora"), Permission: "read", Resource: api.Resource{Type: "record", Any: true}},
		api.Command{Do: "grant", Principal: events.User("erik"), Permission: "read", Resource: api.Resource{Type: "record", Property: "owner"}})
	now = days[1]
	w.do(api.Command{Do: "revoke", Principal: events.User("alice"), Permission: "read:*", Resource: api.Resource{Audience: "operate-api"}},
		grant("user:bob", "read:*", "api:operate-api"))
	now = days[2]
	return w, days
}

func evaluation1(subject, action, resource, rest string) string {
	return fmt.Sprintf(`{"subject":%s,"action":{"name":%q},"resource":%s%s}`, subject, action, resource, rest)
}

const (
	alice   = `{"type":"user","id":"alice"}`
	bob     = `{"type":"user","id":"bob"}`
	carol   = `{"type":"user","id":"carol"}`
	operate = `{"type":"api","id":"operate-api"}`
	record1 = `{"type":"record","id":"1"}`
)

func TestAuthZENDecisions(t *testing.T) {
	w, days := authZEN(t)
	past := func(member string, at time.Time) string {
		return fmt.Sprintf(`,"context":{%q:%q}`, member, at.Add(time.Hour).Format(time.RFC3339))
	}
	for name, tc := range map[string]struct {
		body string
		want bool
	}{
		"held":                        {evaluation1(bob, "read:*", operate, ""), true},
		"revoked":                     {evaluation1(alice, "read:*", operate, ""), false},
		"as of the first day":         {evaluation1(alice, "read:*", operate, past("as_of", days[0])), true},
		"bob, as of the first day":    {evaluation1(bob, "read:*", operate, past("as_of", days[0])), false},
		"valid at the first day":      {evaluation1(alice, "read:*", operate, past("valid_at", days[0])), true},
		"known at a revision":         {evaluation1(alice, "read:*", operate, `,"context":{"known_at":4}`), true},
		"known at a revision, text":   {evaluation1(alice, "read:*", operate, `,"context":{"known_at":"4"}`), true},
		"known at a time":             {evaluation1(alice, "read:*", operate, past("known_at", days[0])), true},
		"at least a revision":         {evaluation1(bob, "read:*", operate, `,"context":{"at_least":5}`), true},
		"through a group":             {evaluation1(carol, "read", record1, ""), true},
		"another record":              {evaluation1(carol, "read", `{"type":"record","id":"2"}`, ""), false},
		"any, with an id":             {evaluation1(`{"type":"user","id":"dora"}`, "read", record1, ""), true},
		"any, without an id":          {evaluation1(`{"type":"user","id":"dora"}`, "read", `{"type":"record"}`, ""), true},
		"one id, without an id":       {evaluation1(carol, "read", `{"type":"record"}`, ""), false},
		"property that holds":         {evaluation1(`{"type":"user","id":"erik"}`, "read", record1, `,"context":{"properties":["owner"]}`), true},
		"property that does not":      {evaluation1(`{"type":"user","id":"erik"}`, "read", record1, ""), false},
		"a group":                     {evaluation1(`{"type":"group","id":"ops"}`, "read", record1, ""), true},
		"a client":                    {evaluation1(`{"type":"client","id":"job"}`, "read:*", operate, ""), true},
		"client wins over user":       {evaluation1(alice, "read:*", operate, `,"context":{"client":"job"}`), true},
		"client that may not":         {evaluation1(bob, "read:*", operate, `,"context":{"client":"other"}`), false},
		"another permission":          {evaluation1(bob, "read:x", operate, ""), false},
		"permission nobody can have":  {evaluation1(bob, "a\tb", operate, ""), false},
		"unknown audience":            {evaluation1(bob, "read:*", `{"type":"api","id":"nowhere"}`, ""), false},
		"unknown resource type":       {evaluation1(bob, "read:*", `{"type":"todo","id":"1"}`, ""), false},
		"resource type none can have": {evaluation1(bob, "read:*", `{"type":"a:b","id":"1"}`, ""), false},
		"unknown subject":             {evaluation1(`{"type":"user","id":"nobody"}`, "read:*", operate, ""), false},
		"unknown subject type":        {evaluation1(`{"type":"robot","id":"r2"}`, "read:*", operate, ""), false},
		"id nobody can have":          {evaluation1(fmt.Sprintf(`{"type":"user","id":%q}`, strings.Repeat("x", 300)), "read:*", operate, ""), false},
		"star is no pattern":          {evaluation1(carol, "read", `{"type":"record","id":"*"}`, ""), false},
		"members in another order":    {`{"resource":` + operate + `,"context":{},"action":{"name":"read:*"},"subject":` + bob + `}`, true},
		"unknown members":             {`{"x":1,"subject":{"id":"bob","type":"user","y":2,"properties":{"role":"admin"}},"action":{"name":"read:*","z":3},"resource":` + operate + `,"context":{"time":"2025-06-27T18:03-07:00","ip":"::1"}}`, true},
		"null members":                {evaluation1(bob, "read:*", operate, `,"context":null`), true},
		"names are not folded":        {evaluation1(bob, "read:*", operate, `,"Subject":`+alice), true},
	} {
		status, header, body := w.ask("POST", evaluationPath, tc.body)
		if want := fmt.Sprintf(`{"decision":%t}`, tc.want); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %s, want %s", name, status, body, want)
		}
		if header.Get("Content-Type") != "application/json" || header.Get(api.RevisionHeader) == "" {
			t.Errorf("%s: %v", name, header)
		}
	}
}

func TestAuthZENRefusals(t *testing.T) {
	w, _ := authZEN(t)
	good := evaluation1(bob, "read:*", operate, "")
	for name, tc := range map[string]struct {
		path, body string
		status     int
		headers    []string
	}{
		"empty body":          {evaluationPath, ``, 400, []string{"Content-Type", "application/json"}},
		"half":                {evaluationPath, `{"subject":`, 400, nil},
		"a list":              {evaluationPath, `[]`, 400, nil},
		"a name twice":        {evaluationPath, `{"subject":` + alice + `,"subject":` + bob + `,"action":{"name":"read:*"},"resource":` + operate + `}`, 400, nil},
		"not UTF-8":           {evaluationPath, strings.Replace(good, "bob", "\xff", 1), 400, nil},
		"no subject":          {evaluationPath, `{"action":{"name":"read:*"},"resource":` + operate + `}`, 400, nil},
		"no action":           {evaluationPath, `{"subject":` + bob + `,"resource":` + operate + `}`, 400, nil},
		"no resource":         {evaluationPath, `{"subject":` + bob + `,"action":{"name":"read:*"}}`, 400, nil},
		"subject is text":     {evaluationPath, evaluation1(`"user:bob"`, "read:*", operate, ""), 400, nil},
		"no subject type":     {evaluationPath, evaluation1(`{"id":"bob"}`, "read:*", operate, ""), 400, nil},
		"no subject id":       {evaluationPath, evaluation1(`{"type":"user"}`, "read:*", operate, ""), 400, nil},
		"id is a number":      {evaluationPath, evaluation1(`{"type":"user","id":7}`, "read:*", operate, ""), 400, nil},
		"no action name":      {evaluationPath, evaluation1(bob, "", operate, ""), 400, nil},
		"no resource type":    {evaluationPath, evaluation1(bob, "read:*", `{"id":"1"}`, ""), 400, nil},
		"no audience":         {evaluationPath, evaluation1(bob, "read:*", `{"type":"api"}`, ""), 400, nil},
		"context is text":     {evaluationPath, evaluation1(bob, "read:*", operate, `,"context":"x"`), 400, nil},
		"bad as_of":           {evaluationPath, evaluation1(bob, "read:*", operate, `,"context":{"as_of":"yesterday"}`), 400, nil},
		"as_of is a number":   {evaluationPath, evaluation1(bob, "read:*", operate, `,"context":{"as_of":7}`), 400, nil},
		"as_of and valid_at":  {evaluationPath, evaluation1(bob, "read:*", operate, `,"context":{"as_of":"2026-03-01T12:00:00Z","known_at":1}`), 400, nil},
		"known_at zero":       {evaluationPath, evaluation1(bob, "read:*", operate, `,"context":{"known_at":0}`), 400, nil},
		"unknown tenant":      {evaluationPath, evaluation1(bob, "read:*", operate, `,"context":{"tenant":"nowhere"}`), 400, nil},
		"content type":        {evaluationPath, good, 400, []string{"Content-Type", "text/plain"}},
		"gzip":                {evaluationPath, good, 400, []string{"Content-Encoding", "gzip"}},
		"too large":           {evaluationPath, `{"x":"` + strings.Repeat("x", 10<<20) + `"}`, 413, nil},
		"no token":            {evaluationPath, good, 401, []string{"Authorization", ""}},
		"evaluations is text": {evaluationsPath, `{"evaluations":"x"}`, 400, nil},
		"unknown semantic":    {evaluationsPath, `{"evaluations":[` + good + `],"options":{"evaluations_semantic":"guess"}}`, 400, nil},
		"options is a list":   {evaluationsPath, `{"evaluations":[` + good + `],"options":[]}`, 400, nil},
		"too many":            {evaluationsPath, `{"evaluations":[` + strings.Repeat("{},", api.MaxEvaluations) + `{}]}`, 400, nil},
		"none, and no entity": {evaluationsPath, `{"evaluations":[]}`, 400, nil},
	} {
		headers := append([]string{api.RequestIDHeader, "pep-1"}, tc.headers...)
		status, header, body := w.ask("POST", tc.path, tc.body, headers...)
		if status != tc.status || body == "" || header.Get(api.RequestIDHeader) != "pep-1" {
			t.Errorf("%s: %d %q %v, want %d", name, status, body, header, tc.status)
		}
		if status != http.StatusUnauthorized && header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %s", name, header.Get("Content-Type"))
		}
		if status == http.StatusUnauthorized && header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	charset, _, _ := w.ask("POST", evaluationPath, good, "Content-Type", "application/json; charset=utf-8")
	if charset != http.StatusOK {
		t.Errorf("with a charset: %d", charset)
	}
}

func TestAuthZENBatches(t *testing.T) {
	w, days := authZEN(t)
	day1 := days[0].Add(time.Hour).Format(time.RFC3339)
	for name, tc := range map[string]struct{ body, want string }{
		"defaults are inherited": {
			`{"subject":` + bob + `,"action":{"name":"read:*"},"resource":` + operate + `,"evaluations":[{},{"subject":` + alice + `},{"action":{"name":"read:x"}}]}`,
			`{"evaluations":[{"decision":true},{"decision":false},{"decision":false}]}`,
		},
		"an entity replaces the whole default": {
			`{"subject":` + bob + `,"action":{"name":"read:*"},"resource":{"type":"api","id":"operate-api"},"evaluations":[{"resource":{"type":"record"}}]}`,
			`{"evaluations":[{"decision":false}]}`,
		},
		"an empty default that nobody uses": {
			`{"subject":` + bob + `,"action":{"name":"read:*"},"resource":{},"evaluations":[{"resource":` + operate + `}]}`,
			`{"evaluations":[{"decision":true}]}`,
		},
		"bad items in a good batch": {
			`{"subject":` + bob + `,"action":{"name":"read:*"},"evaluations":[{"resource":` + operate + `},{},7,{"resource":` + operate + `,"context":{"as_of":"x"}}]}`,
			`{"evaluations":[{"decision":true},` +
				`{"decision":false,"context":{"error":{"status":400,"message":"invalid resource \"\": must be an object"}}},` +
				`{"decision":false,"context":{"error":{"status":400,"message":"invalid evaluations \"7\": must be an object"}}},` +
				`{"decision":false,"context":{"error":{"status":400,"message":"invalid context.as_of \"x\": must be a time as in 2026-03-01T00:00:00Z (RFC 3339)"}}}]}`,
		},
		"another tenant is not there": {
			`{"evaluations":[` + evaluation1(bob, "read:*", operate, `,"context":{"tenant":"acme"}`) + `]}`,
			`{"evaluations":[{"decision":false,"context":{"error":{"status":404,"message":"unknown tenant: acme"}}}]}`,
		},
		"each item has its own time": {
			`{"action":{"name":"read:*"},"resource":` + operate + `,"context":{"as_of":"` + day1 + `"},"evaluations":[{"subject":` + alice + `},{"subject":` + alice + `,"context":{}},{"subject":` + bob + `},{"subject":` + bob + `,"context":{}}]}`,
			`{"evaluations":[{"decision":true},{"decision":false},{"decision":false},{"decision":true}]}`,
		},
		"all": {
			batchOf("execute_all", alice, bob, alice), `{"evaluations":[{"decision":false},{"decision":true},{"decision":false}]}`,
		},
		"until the first deny": {
			batchOf("deny_on_first_deny", bob, alice, bob), `{"evaluations":[{"decision":true},{"decision":false}]}`,
		},
		"until the first permit": {
			batchOf("permit_on_first_permit", alice, bob, alice), `{"evaluations":[{"decision":false},{"decision":true}]}`,
		},
		"none":  {`{"evaluations":[],"subject":` + bob + `,"action":{"name":"read:*"},"resource":` + operate + `}`, `{"decision":true}`},
		"empty": {evaluation1(bob, "read:*", operate, ""), `{"decision":true}`},
	} {
		status, _, body := w.ask("POST", evaluationsPath, tc.body)
		if status != http.StatusOK || body != tc.want {
			t.Errorf("%s: %d\ngot  %s\nwant %s", name, status, body, tc.want)
		}
	}
}

func batchOf(semantic string, subjects ...string) string {
	items := make([]string, len(subjects))
	for i, s := range subjects {
		items[i] = `{"subject":` + s + `}`
	}
	return `{"action":{"name":"read:*"},"resource":` + operate + `,"options":{"evaluations_semantic":"` + semantic + `"},"evaluations":[` + strings.Join(items, ",") + `]}`
}

func TestAuthZENContextOnRequest(t *testing.T) {
	w, _ := authZEN(t)
	verdict := func(context string) api.VerdictContext {
		t.Helper()
		_, _, body := w.ask("POST", evaluationPath, evaluation1(bob, "read:*", operate, `,"context":`+context))
		var v api.Verdict
		var c api.VerdictContext
		if json.Unmarshal([]byte(body), &v) != nil || !v.Decision || json.Unmarshal(v.Context, &c) != nil {
			t.Fatalf("%s: %s", context, body)
		}
		return c
	}
	if c := verdict(`{"detail":true}`); c.Decision == nil || c.Decision.Outcome != api.Allowed || c.Decision.Revision != w.revision() || c.Explanation != nil {
		t.Errorf("%+v", c)
	}
	if c := verdict(`{"explain":true}`); c.Explanation == nil || len(c.Explanation.Paths) != 1 || c.Decision != nil {
		t.Errorf("%+v", c)
	}
}

// A ledger that cannot answer is never a decision, not in a batch either.
func TestAuthZENFaultIsNoDecision(t *testing.T) {
	w, _ := authZEN(t)
	_ = w.node.Projector.Halt(fmt.Errorf("%w: a test", events.ErrBroken))
	one := evaluation1(bob, "read:*", operate, "")
	for path, body := range map[string]string{evaluationPath: one, evaluationsPath: `{"evaluations":[` + one + `]}`} {
		if status, _, answer := w.ask("POST", path, body); status < 500 || strings.Contains(answer, "decision") {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	status, header, body := w.ask("GET", "/readyz", "", "Authorization", "")
	w.isProblem("readyz", status, header, body, api.CodeUnavailable, "")
	status, header, body = w.ask("GET", "/v1/check?principal=user:bob&permission=read:*&resource=api:operate-api", "")
	w.isProblem("check", status, header, body, api.CodeCorrupt, "")
	if status, _, _ := w.ask("GET", "/livez", ""); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	if s, err := w.client.Status(t.Context()); err != nil || s.Ready || s.Reason == "" {
		t.Errorf("status %+v, %v", s, err)
	}
}

// The configuration comes from the configuration, whatever host a request names.
func TestAuthZENConfiguration(t *testing.T) {
	w := newWorld(t)
	_, _, body := w.ask("GET", configurationPath, "", "X-Forwarded-Host", "evil.example.com")
	const want = `{"policy_decision_point":"https://permissions.example.com",` +
		`"access_evaluation_endpoint":"https://permissions.example.com/access/v1/evaluation",` +
		`"access_evaluations_endpoint":"https://permissions.example.com/access/v1/evaluations"}`
	if strings.TrimSpace(body) != want {
		t.Errorf("got %s", body)
	}
}

// All items of a batch reflect one revision, while writes go on.
func TestAuthZENBatchIsOfOneRevision(t *testing.T) {
	w := newWorld(t).camunda()
	items := make([]string, 300)
	for i := range items {
		// Times of their own, so that each item opens its own session.
		items[i] = fmt.Sprintf(`{"context":{"valid_at":"2026-03-01T12:00:00.%06dZ"}}`, i)
	}
	body := `{"subject":` + alice + `,"action":{"name":"read:*"},"resource":` + operate + `,"evaluations":[` + strings.Join(items, ",") + `]}`
	written := make(chan struct{})
	go func() {
		defer close(written)
		verbs := []string{"grant", "revoke"}
		for i := range 40 {
			c := grant("user:alice", "read:*", "api:operate-api")
			c.Do = verbs[i%2]
			r := api.Request{Commands: []api.Command{c}, Origin: "import", ValidFrom: events.At(firstDay) - 1}
			if _, err := w.client.Submit(t.Context(), r, ""); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	}()
	for writing := true; writing; {
		select {
		case <-written:
			writing = false
		default:
		}
		status, _, answer := w.ask("POST", evaluationsPath, body)
		allowed, denied := strings.Count(answer, `"decision":true`), strings.Count(answer, `"decision":false`)
		if status != http.StatusOK || allowed+denied != len(items) || allowed > 0 && denied > 0 {
			t.Errorf("%d: %d allowed, %d denied", status, allowed, denied)
		}
	}
}
