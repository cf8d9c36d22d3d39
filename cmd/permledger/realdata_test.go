package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/cmd/permledger/server"
)

// full says that slow tests run whole: on JetStream, every question. Otherwise they take a sample in memory.
func full() bool { return os.Getenv("PERMLEDGER_FULL") != "" }

// running is a ledger that serves HTTP, and the command line pointed at it.
type running struct {
	t     *testing.T
	node  *node.Node
	url   string
	stop  func()
	dir   string
	token string
}

// serveIn starts a ledger on dir, or in memory.
func serveIn(t *testing.T, dir string) *running {
	t.Helper()
	n, err := node.Open(t.Context(), node.Config{Dir: dir, Memory: dir == ""})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := server.ConfigFor(n)
	config.PublicURL = "http://" + l.Addr().String()
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	r := &running{t: t, node: n, url: config.PublicURL, dir: dir, token: n.RootToken}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// restarted stops the ledger and starts it again on the same directory.
func (r *running) restarted() *running {
	r.t.Helper()
	r.stop()
	return serveIn(r.t, r.dir)
}

// cli runs one command line against the ledger and gives its standard output and exit code.
func (r *running) cli(args ...string) (string, int) {
	var out, errs bytes.Buffer
	c := &cli{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(name string) string {
		return map[string]string{"PERMLEDGER_SERVER": r.url, "PERMLEDGER_TOKEN": r.token}[name]
	}}
	code := c.run(r.t.Context(), args)
	if code > 1 {
		r.t.Fatalf("permledger %s: exit code %d: %s", strings.Join(args, " "), code, &errs)
	}
	return out.String(), code
}

// post sends JSON the way a service would, without our client.
func (r *running) post(path string, body any, into any) {
	r.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+path, bytes.NewReader(b))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err = io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: status %d, %v: %s", path, answer.StatusCode, err, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		r.t.Fatalf("%s: %v: %s", path, err, b)
	}
}

// evaluation is one AuthZEN question.
type evaluation struct {
	Subject  entity         `json:"subject"`
	Action   action         `json:"action"`
	Resource entity         `json:"resource"`
	Context  map[string]any `json:"context,omitempty"`
}

type entity struct {
	Type string `json:"type"`
	ID   string `json:"id,omitempty"`
}

type action struct {
	Name string `json:"name"`
}

// evaluate asks questions in batches over HTTP, several at a time, and counts the wrong answers.
func (r *running) evaluate(questions []evaluation, want []bool) (wrong int) {
	r.t.Helper()
	const batch, clients = 500, 4
	var mu sync.Mutex
	var wg sync.WaitGroup
	free := make(chan struct{}, clients)
	for from := 0; from < len(questions); from += batch {
		to := min(from+batch, len(questions))
		wg.Add(1)
		free <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-free }()
			var answer struct {
				Evaluations []struct {
					Decision bool            `json:"decision"`
					Context  json.RawMessage `json:"context"`
				} `json:"evaluations"`
			}
			r.post("/access/v1/evaluations", map[string]any{"evaluations": questions[from:to]}, &answer)
			mu.Lock()
			defer mu.Unlock()
			if len(answer.Evaluations) != to-from {
				r.t.Errorf("%d answers to %d questions", len(answer.Evaluations), to-from)
			}
			for i, got := range answer.Evaluations {
				if got.Decision != want[from+i] {
					if wrong++; wrong < 5 {
						r.t.Errorf("%+v: %v (%s), want %v", questions[from+i], got.Decision, got.Context, want[from+i])
					}
				}
			}
		}()
	}
	wg.Wait()
	return wrong
}

// gunzip reads a file of testdata/history.
func gunzip(t *testing.T, parts ...string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join(append([]string{"testdata", "history"}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lines decodes JSON lines; every nth of them, from the first on.
func lines[V any](t *testing.T, b []byte, nth int) iter.Seq[V] {
	return func(yield func(V) bool) {
		s := bufio.NewScanner(bytes.NewReader(b))
		s.Buffer(nil, 1<<20)
		for i := 0; s.Scan(); i++ {
			if i%nth != 0 {
				continue
			}
			var v V
			if err := json.Unmarshal(s.Bytes(), &v); err != nil {
				t.Fatal(err)
			}
			if !yield(v) {
				return
			}
		}
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKubernetesOrg imports eight years of real history and compares every answer with the known one: after
// the import, after a second one, after a restart and after the views were made again.
func TestKubernetesOrg(t *testing.T) {
	dir, nth := "", 12
	switch {
	case full():
		dir, nth = t.TempDir(), 1
	case testing.Short():
		nth = 60
	}
	r := serveIn(t, dir)
	history := filepath.Join("testdata", "history", "k8s-org", "ops.jsonl.gz")
	r.cli("import", "history", history, "--api", "k8s")
	head := r.node.Ledger.Status().Head
	r.k8sAnswers(nth)

	r.cli("import", "history", history, "--api", "k8s")
	if after := r.node.Ledger.Status().Head; after != head {
		t.Errorf("a second import moved the head from revision %d to %d", head.Revision, after.Revision)
	}
	if !full() {
		return
	}
	r.k8sAnswers(nth)
	r = r.restarted()
	r.k8sAnswers(nth)
	if _, err := r.node.Projector.Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r.k8sAnswers(nth)
}

// k8sAnswers asks every nth question there is a known answer to.
func (r *running) k8sAnswers(nth int) {
	r.t.Helper()
	start := time.Now()
	asked := r.k8sChecks(nth)
	truths := r.k8sTruth(nth)
	lists := r.k8sIntervals(nth)
	r.t.Logf("%d questions, %d effective sets and %d interval lists compared in %s", asked, truths, lists, time.Since(start).Round(time.Millisecond))
}

func (r *running) k8sChecks(nth int) int {
	type check struct {
		Time       string
		User       string
		Permission string
		Resource   *string
		Allowed    bool
	}
	var questions []evaluation
	var want []bool
	for c := range lines[check](r.t, gunzip(r.t, "k8s-org", "checks.jsonl.gz"), nth) {
		on := entity{"api", "k8s"}
		if c.Resource != nil {
			on.Type, on.ID, _ = strings.Cut(*c.Resource, ":")
		}
		questions = append(questions, evaluation{
			entity{"user", c.User}, action{c.Permission}, on, map[string]any{"valid_at": c.Time},
		})
		want = append(want, c.Allowed)
	}
	if wrong := r.evaluate(questions, want); wrong > 0 {
		r.t.Errorf("%d of %d answers are wrong", wrong, len(questions))
	}
	return len(questions)
}

// k8sTruth compares whole effective sets, through the command line.
func (r *running) k8sTruth(nth int) int {
	files, err := filepath.Glob(filepath.Join("testdata", "history", "k8s-org", "truth", "*.json.gz"))
	if err != nil || len(files) != 52 {
		r.t.Fatalf("%d truth files, %v", len(files), err)
	}
	compared := 0
	for i := 0; i < len(files); i += nth {
		var truth struct {
			Time      string
			Effective [][]*string
		}
		if err := json.Unmarshal(gunzip(r.t, "k8s-org", "truth", filepath.Base(files[i])), &truth); err != nil {
			r.t.Fatal(err)
		}
		var want bytes.Buffer
		for _, row := range truth.Effective {
			resource := "api:k8s"
			if row[2] != nil {
				resource = *row[2]
			}
			fmt.Fprintf(&want, `{"principal":"user:%s","permission":"%s","resource":"%s"}`+"\n", *row[0], *row[1], resource)
		}
		got, _ := r.cli("export", "effective", "--valid-at", truth.Time, "-o", "jsonl")
		if got != want.String() {
			r.t.Errorf("%s at %s: %s", files[i], truth.Time, firstDifference(got, want.String()))
		}
		compared++
	}
	return compared
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is %s, want %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

func (r *running) k8sIntervals(nth int) int {
	var known struct {
		Triples []struct {
			User, Permission, Resource string
			Intervals                  [][]*string
		}
	}
	if err := json.Unmarshal(gunzip(r.t, "k8s-org", "intervals.json.gz"), &known); err != nil {
		r.t.Fatal(err)
	}
	compared := 0
	for i := 0; i < len(known.Triples); i += nth {
		k := known.Triples[i]
		out, _ := r.cli("intervals", "user:"+k.User, k.Permission, k.Resource, "-o", "json")
		var got []struct {
			From  string  `json:"valid_from"`
			Until *string `json:"valid_until"`
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			r.t.Fatalf("%v: %s", err, out)
		}
		same := len(got) == len(k.Intervals)
		for j := 0; same && j < len(got); j++ {
			from, until := k.Intervals[j][0], k.Intervals[j][1]
			same = got[j].From == *from && (got[j].Until == nil) == (until == nil) && (until == nil || *got[j].Until == *until)
		}
		if !same {
			r.t.Errorf("%+v: %s", k, out)
		}
		compared++
	}
	return compared
}

// TestW1 imports the generated organisation and compares questions about now and lists both ways.
func TestW1(t *testing.T) {
	if !full() {
		t.Skip("slow: set PERMLEDGER_FULL=1 (.ci/run does)")
	}
	r := serveIn(t, t.TempDir())
	start := time.Now()
	r.cli("import", "history", filepath.Join("testdata", "history", "w1", "ops.jsonl.gz"), "--api", "w1")
	t.Logf("imported in %s", time.Since(start).Round(time.Millisecond))
	r.w1Checks()
	r.w1Lists()
}

func (r *running) w1Checks() {
	type check struct {
		User       string
		Permission string
		Resource   entity
		Allowed    bool
	}
	var questions []evaluation
	var want []bool
	for c := range lines[check](r.t, gunzip(r.t, "w1", "checks.jsonl.gz"), 1) {
		questions = append(questions, evaluation{entity{"user", c.User}, action{c.Permission}, c.Resource, nil})
		want = append(want, c.Allowed)
	}
	start := time.Now()
	if wrong := r.evaluate(questions, want); wrong > 0 || len(questions) != 100_000 {
		r.t.Errorf("%d of %d answers are wrong", wrong, len(questions))
	}
	r.t.Logf("%d questions in %s", len(questions), time.Since(start).Round(time.Millisecond))
}

func (r *running) w1Lists() {
	var known struct {
		PermissionsOfUser map[string][]string `json:"permissions_of_user"`
		UsersOfPermission map[string][]string `json:"users_of_permission"`
	}
	if err := json.Unmarshal(gunzip(r.t, "w1", "lists.json.gz"), &known); err != nil {
		r.t.Fatal(err)
	}
	for user, want := range known.PermissionsOfUser {
		var got []string
		out, _ := r.cli("can-what", "user:"+user, "-o", "jsonl")
		type row struct{ Permission, Resource string }
		for h := range lines[row](r.t, []byte(out), 1) {
			if h.Resource == "record:*" {
				got = append(got, h.Permission)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			r.t.Errorf("%s has %d permissions on any record, want %d", user, len(got), len(want))
		}
	}
	for permission, want := range known.UsersOfPermission {
		var got []string
		out, _ := r.cli("who-can", permission, "record", "-o", "jsonl")
		type row struct{ Principal string }
		for h := range lines[row](r.t, []byte(out), 1) {
			got = append(got, strings.TrimPrefix(h.Principal, "user:"))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			r.t.Errorf("%s has %d holders, want %d", permission, len(got), len(want))
		}
	}
	r.t.Logf("%d + %d lists compared", len(known.PermissionsOfUser), len(known.UsersOfPermission))
}
