package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/pebblekv"
)

// The words that must be nowhere, and where each is said. Those of each place differ, so that a find names its leak.
var secretWords = map[string]string{
	"reason":         "a-word-of-the-reason-4f1c",
	"ticket":         "a-word-of-the-ticket-81aa",
	"profile":        "a-word-of-the-profile-c02d",
	"mail":           "a-word-of-the-mail-77e5@example.com",
	"refused reason": "a-word-that-was-refused-9b31",
	"long reason":    "a-word-too-many-2e6f",
	"wrong profile":  "a-word-in-the-wrong-place-d4d8",
	"dry reason":     "a-word-that-was-tried-5a07",
}

// personalWorld is a ledger on disk whose files, log lines and HTTP answers are all kept, to be searched.
type personalWorld struct {
	*testing.T
	dir     string
	log     lockedBuffer // everything it ever logged, at every level
	answers lockedBuffer // the bodies and headers of every answer, while recording
	client  *consumers.Client
	url     string
	token   string
	service *service
	stop    func()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newPersonalWorld(t *testing.T) *personalWorld {
	t.Helper()
	w := &personalWorld{T: t, dir: filepath.Join(t.TempDir(), "data")}
	w.start()
	t.Cleanup(w.end)
	return w
}

func (w *personalWorld) start() {
	w.Helper()
	s, err := open(w.Context(), node.Config{
		Dir: w.dir, CacheBytes: 8 << 20, NoticeInterval: -1,
		Logger: slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, "127.0.0.1:0", "")
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	w.service, w.url, w.token = s, s.url, s.node.RootToken
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	}
	if w.client, err = consumers.New(w.url, w.token); err != nil {
		w.Fatal(err)
	}
}

func (w *personalWorld) end() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

func (w *personalWorld) restart() {
	w.Helper()
	w.end()
	w.start()
}

func (w *personalWorld) submit(r api.Request, key string) api.Receipt {
	w.Helper()
	receipt, err := w.client.Submit(w.Context(), r, key)
	if err != nil {
		w.Fatal(err)
	}
	return receipt
}

// post sends a body by hand and keeps the answer.
func (w *personalWorld) send(method, path, body string) (int, string) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	fmt.Fprintf(&w.answers, "%s %s\n%v\n%s\n", method, path, resp.Header, b)
	return resp.StatusCode, string(b)
}

// everyAnswer asks everything that could say why something was done, and keeps the answers.
func (w *personalWorld) everyAnswer() string {
	w.Helper()
	w.answers = lockedBuffer{}
	const question = "principal=user:alice&permission=read:*&resource=api:operate-api"
	for _, path := range []string{
		"/v1/history?limit=10000", "/v1/history?principal=user:alice", "/v1/events", "/v1/explain?" + question, "/v1/intervals?" + question,
		"/v1/check?" + question, "/v1/diff?from=1&to=" + fmt.Sprint(w.service.node.Projector.Head().Revision), "/v1/holdings?principal=user:alice",
		"/v1/principals/user/alice", "/v1/claims?principal=user:alice", "/v1/effective", "/v1/status", "/v1/roles", "/openapi.json",
	} {
		if status, body := w.send("GET", path, ""); status != http.StatusOK {
			w.Errorf("%s: %d %s", path, status, body)
		}
	}
	explained := `{"subject":{"type":"user","id":"alice"},"action":{"name":"read:*"},"resource":{"type":"api","id":"operate-api"},"context":{"explain":true}}`
	if status, body := w.send("POST", "/access/v1/evaluation", explained); status != http.StatusOK {
		w.Errorf("evaluation: %d %s", status, body)
	}
	return w.answers.String()
}

// everyByte gives all files of the data directory and, because stores may compress what they hold, every row of the
// views and every message of the streams as well. Nobody may be serving.
func (w *personalWorld) everyByte() map[string]string {
	w.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found[path] = string(b)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	found["rows"] = w.rows()
	w.start() // for the streams, through the doors the ledger itself uses
	var streams bytes.Buffer
	for c, err := range w.service.node.Log.Read(w.Context(), 1) {
		if err != nil {
			w.Fatal(err)
		}
		streams.Write(c.Bytes)
	}
	for n, err := range w.service.node.Server.Journal().Notes(w.Context(), 1) {
		if err != nil {
			w.Fatal(err)
		}
		streams.Write(n.Bytes)
	}
	found["streams"] = streams.String()
	w.end()
	return found
}

func (w *personalWorld) rows() string {
	w.Helper()
	store, err := pebblekv.Open(filepath.Join(w.dir, "views"), pebblekv.Options{})
	if err != nil {
		w.Fatal(err)
	}
	defer store.Close()
	snap := store.NewSnapshot()
	defer snap.Close()
	var rows bytes.Buffer
	for r, err := range snap.Window(nil).Scan(nil) {
		if err != nil {
			w.Fatal(err)
		}
		rows.Write(r.Key)
		rows.Write(r.Value)
	}
	return rows.String()
}

func (w *personalWorld) keyFiles() (files []string) {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(node.PersonalDir(w.dir), "*"))
	if err != nil {
		w.Fatal(err)
	}
	return files
}

var personalAlice = events.User("alice")

// grantAlice is a request whose reason is sealed for alice.
func grantAlice(reason, ticket string) api.Request {
	return api.Request{Reason: reason, Ticket: ticket, Seal: personalAlice, Commands: []api.Command{{
		Do: "grant", Principal: personalAlice, Permission: "read:*", Resource: api.Resource{Audience: "operate-api"},
	}}}
}

func describeAlice(p events.Profile) api.Request {
	return api.Request{Commands: []api.Command{{Do: "principal.describe", Principal: personalAlice, Profile: &p}}}
}

func eraseAlice(key string) (api.Request, string) {
	return api.Request{Reason: "on request", Commands: []api.Command{{Do: "principal.erase", Principal: personalAlice}}}, key
}

// sayEverything puts every secret word where it belongs: into what is recorded, refused, tried and malformed.
func (w *personalWorld) sayEverything() {
	w.Helper()
	w.submit(api.Request{Commands: []api.Command{{Do: "catalog.load", Catalog: "camunda-8"}}}, "")
	w.submit(grantAlice(secretWords["reason"], secretWords["ticket"]), "granted")
	w.submit(describeAlice(events.Profile{Name: secretWords["profile"], Email: secretWords["mail"]}), "")

	refused := grantAlice(secretWords["refused reason"], "")
	refused.Commands[0].Permission = "no such permission"
	if _, err := w.client.Submit(w.Context(), refused, "refused"); !errors.Is(err, &api.Error{Code: api.CodeUnknownPermission}) {
		w.Fatal(err)
	}
	tried := grantAlice(secretWords["dry reason"], "")
	tried.DryRun, tried.Commands[0].Permission = true, "write:*"
	w.submit(tried, "")
	long := grantAlice(secretWords["long reason"]+strings.Repeat("x", 5000), "")
	if _, err := w.client.Submit(w.Context(), long, ""); !errors.Is(err, &api.Error{Code: api.CodeInvalid}) || strings.Contains(err.Error(), secretWords["long reason"]) {
		w.Errorf("a reason that is too long: %v", err)
	}
	for _, profile := range []string{
		`"` + secretWords["wrong profile"] + `"`, `{"name":["` + secretWords["wrong profile"] + `"]}`,
		`{"name":"` + secretWords["wrong profile"] + strings.Repeat("x", 300) + `"}`, `{"email":"` + secretWords["wrong profile"] + `","fax":"1"}`,
	} {
		status, body := w.send("POST", "/v1/commands", `{"commands":[{"do":"principal.describe","principal":"user:alice","profile":`+profile+`}]}`)
		if status != http.StatusBadRequest || strings.Contains(body, secretWords["wrong profile"]) {
			w.Errorf("profile %.40s…: %d %s", profile, status, body)
		}
	}
}

// TestCryptoShred seals words in every place that takes them, erases whose they are, and looks for them in every
// file, row, message, log line and answer. The control is a word in clear, which the same search must find.
func TestCryptoShred(t *testing.T) {
	inProcesses(t)
	const clear = "a-word-in-clear-60fb"
	w := newPersonalWorld(t)
	w.sayEverything()
	w.submit(api.Request{Reason: clear, Commands: []api.Command{{Do: "role.create", Role: "r"}}}, "")

	before := w.everyAnswer()
	for _, where := range []string{"reason", "ticket", "profile", "mail"} {
		if !strings.Contains(before, secretWords[where]) {
			t.Errorf("the %s is sealed and nobody reads it, before it is erased", where)
		}
	}
	// Services that ask whether somebody may do something are not told why, in words that are sealed.
	_, verdict, _ := strings.Cut(before, "POST /access/v1/evaluation")
	if !strings.Contains(verdict, `"sealed"`) || strings.Contains(verdict, secretWords["reason"]) {
		t.Errorf("evaluation: %s", verdict)
	}
	w.end()
	logged := w.log.String()
	search := func(when string, places map[string]string) {
		t.Helper()
		found := 0
		for place, text := range places {
			found += strings.Count(text, clear)
			for what, word := range secretWords {
				if strings.Contains(text, word) {
					t.Errorf("%s: the %s is in %s", when, what, place)
				}
			}
		}
		if found == 0 {
			t.Errorf("%s: the search does not even find what is in clear", when)
		}
	}
	places := w.everyByte()
	for _, place := range []string{"rows", "streams"} {
		if !strings.Contains(places[place], clear) {
			t.Errorf("the search does not find what is in clear in the %s", place)
		}
	}
	places["log"] = logged
	search("before the erasure", places)

	w.start()
	head := w.service.node.Projector.Head()
	sealedBefore, err := w.service.node.Audit.Commit(t.Context(), head.Revision-1)
	if err != nil {
		t.Fatal(err)
	}
	if files := w.keyFiles(); len(files) != 1 {
		t.Fatalf("key files %v", files)
	}
	receipt := w.submit(eraseAlice("bye"))
	if len(receipt.Events) != 1 || len(receipt.Events[0].Event.(events.PrincipalErased).Keys) != 1 {
		t.Fatalf("%+v", receipt)
	}
	if files := w.keyFiles(); len(files) != 0 {
		t.Errorf("key files after the erasure: %v", files)
	}
	places = map[string]string{"answers": w.everyAnswer()}
	if !strings.Contains(places["answers"], `"why":"erased"`) {
		t.Error("no answer says that something was erased")
	}
	if again := w.submit(eraseAlice("bye")); !again.Replayed || again.Command != receipt.Command {
		t.Errorf("sent again: %+v", again)
	}
	sealedAfter, err := w.service.node.Audit.Commit(t.Context(), head.Revision-1)
	if err != nil || !bytes.Equal(sealedBefore.Bytes, sealedAfter.Bytes) {
		t.Errorf("a stored commit changed: %v", err)
	}
	w.end()
	for place, text := range w.everyByte() {
		places[place] = text
	}
	places["log"] = w.log.String()
	search("after the erasure", places)
	w.proofsHold()
}

// proofsHold replays the log and builds the views anew: the chain is whole, and the digests are those in use.
func (w *personalWorld) proofsHold() {
	w.Helper()
	for _, verb := range [][]string{{"replay", "--data", w.dir}, {"rebuild", "--data", w.dir, "-o", "json"}} {
		var out, said bytes.Buffer
		c := &cli{in: strings.NewReader(""), out: &out, err: &said, getenv: func(string) string { return "" }}
		if code := c.run(w.Context(), verb); code != 0 {
			w.Errorf("%s ends with %d: %s%s", verb[0], code, out.String(), said.String())
		}
		if verb[0] == "rebuild" && !strings.Contains(out.String(), `"equal": true`) {
			w.Errorf("rebuild: %s", out.String())
		}
	}
}

// TestErasureIsFinished plays the crash between the event and the destruction of its key, and the return of the key
// file in an old copy: the next start destroys it. The control is a key that no erasure names, which stays.
func TestErasureIsFinished(t *testing.T) {
	inProcesses(t)
	w := newPersonalWorld(t)
	w.sayEverything()
	w.submit(api.Request{Reason: "about bob", Seal: events.User("bob"), Commands: []api.Command{{Do: "role.create", Role: "r"}}}, "")
	copies := map[string][]byte{}
	for _, f := range w.keyFiles() {
		copies[f] = []byte(readFile(t, f))
	}
	if len(copies) != 2 {
		t.Fatalf("%d key files", len(copies))
	}
	w.submit(eraseAlice(""))
	putBack := func() {
		for f, b := range copies {
			if err := os.WriteFile(f, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.end()
	putBack()
	w.start()
	if files := w.keyFiles(); len(files) != 1 {
		t.Errorf("key files after the start: %v", files)
	}
	if strings.Contains(w.everyAnswer(), secretWords["reason"]) {
		t.Error("an erased reason is read after a restart")
	}
	if _, body := w.send("GET", "/v1/history?limit=10000", ""); !strings.Contains(body, "about bob") {
		t.Error("bob's key went with alice's")
	}

	// Used again, the id has a new key: the start leaves it alone, and the old one in its place would be seen.
	w.submit(describeAlice(events.Profile{Name: "another person"}), "")
	anew := w.keyFiles()
	w.restart()
	if files := w.keyFiles(); len(files) != len(anew) {
		t.Errorf("key files %v, had %v", files, anew)
	}
	p, err := w.client.Principal(t.Context(), "", personalAlice)
	if err != nil {
		t.Fatal(err)
	}
	if profile, why := p.Described.Profile(); profile.Name != "another person" || why != "" || p.Erased == nil {
		t.Errorf("described as %+v (%s), erased %v", profile, why, p.Erased)
	}
	w.end()
	w.proofsHold()
}

// An answer that nobody waited for: the erasure is recorded and its key is destroyed all the same, by the agent.
// Here it is recorded past the server, as by another node.
func TestErasureOfAnotherNode(t *testing.T) {
	w := newPersonalWorld(t)
	w.sayEverything()
	content := readFile(t, w.keyFiles()[0])
	var key struct {
		Key events.PersonalKey `json:"key"`
	}
	if err := json.Unmarshal([]byte(content), &key); err != nil {
		t.Fatal(err)
	}
	if err := w.recordErasure(key.Key); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); len(w.keyFiles()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the key is still there")
		}
	}
}

// The directory of keys cannot be written: the caller hears that the erasure is recorded and not complete. Once it
// can, the same request again completes it.
func TestErasureThatCannotDestroy(t *testing.T) {
	w := newPersonalWorld(t)
	w.sayEverything()
	file := w.keyFiles()[0]
	if err := os.Chmod(file, 0o644); err != nil { // what is refused, whoever runs the test
		t.Fatal(err)
	}
	r, _ := eraseAlice("")
	if _, err := w.client.Submit(t.Context(), r, "bye"); !errors.Is(err, &api.Error{Code: api.CodeUnavailable}) {
		t.Errorf("with a key file that cannot be read: %v", err)
	}
	if head, _ := w.client.Status(t.Context()); head.Revision != 4 {
		t.Errorf("something was recorded: revision %d", head.Revision)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if receipt := w.submit(r, "bye"); len(receipt.Events) != 1 || len(w.keyFiles()) != 0 {
		t.Errorf("%+v, key files %v", receipt, w.keyFiles())
	}
}

func (w *personalWorld) recordErasure(key events.PersonalKey) error {
	_, err := w.service.node.Ledger.Submit(w.Context(), ledger.Request{
		Tenant: events.DefaultTenant, Meta: events.Meta{Actor: events.Client("root")},
		Commands: []ledger.Command{ledger.ErasePrincipal{Principal: personalAlice, Keys: []events.PersonalKey{key}}},
	})
	return err
}
