package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// TestKilled kills the server without warning while eight clients write, again and again on one directory.
// Whatever was acknowledged must be there, once; what was not may be asked for again with the same key; and
// every key must go on giving its first answer, be it events, nothing, or a refusal.
func TestKilled(t *testing.T) {
	kills := 3
	if full() {
		kills = 50
	}
	k := &killing{t: t, dir: t.TempDir(), answers: map[string]firstAnswer{}}
	for round := range kills {
		stop := k.serve()
		k.askAgain(200)
		k.load(round, time.Duration(50+rand.IntN(400))*time.Millisecond, stop)
	}
	stop := k.serve()
	k.askAgain(len(k.answers))
	k.trail()
	t.Logf("%d kills: %d keys answered, %d requests cut off and asked again", kills, len(k.answers), k.cut)
	stop()
}

// firstAnswer is what a key was answered first.
type firstAnswer struct {
	request  api.Request
	command  events.CommandID
	revision events.Revision
	nothing  bool
	refusal  api.Code
}

type killing struct {
	t       *testing.T
	dir     string
	client  *consumers.Client
	process *os.Process
	mu      sync.Mutex
	answers map[string]firstAnswer
	unsure  []unsure // cut off: they may have happened
	cut     int
}

type unsure struct {
	key     string
	request api.Request
}

// serve starts the server as its own process; stop kills it.
func (k *killing) serve() (stop func()) {
	k.t.Helper()
	cmd := exec.Command("permledger", "serve", "--data", k.dir, "--listen", "127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.process = cmd.Process
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	k.t.Cleanup(stop)
	var said strings.Builder
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if _, url, ok := strings.Cut(lines.Text(), " answers at "); ok {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			k.connect(url)
			return stop
		}
	}
	k.t.Fatalf("serve did not start again:\n%s", said.String())
	return nil
}

func (k *killing) connect(url string) {
	k.t.Helper()
	token, err := os.ReadFile(filepath.Join(k.dir, "root.token"))
	if err == nil {
		k.client, err = consumers.New(url, strings.TrimSpace(string(token)))
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// load writes until the server is killed under it.
func (k *killing) load(round int, after time.Duration, kill func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				k.write(ctx, fmt.Sprintf("%d/%d/%d", round, n, i), i)
			}
		})
	}
	time.Sleep(after)
	kill()
	cancel()
	clients.Wait()
}

// write sends one request under a key that is also a group's name: one that records events, then one that
// finds it so already, then one that is refused.
func (k *killing) write(ctx context.Context, key string, i int) {
	group := events.Group(key)
	r := api.Request{Reason: "load", Commands: []api.Command{{Do: "group.create", Group: group}}}
	switch i % 3 {
	case 0:
		r.Commands = append(r.Commands, api.Command{Do: "group.add-member", Group: group, Member: events.User("alice")})
	case 1:
		r.Commands[0].Group = "0/0/0"
	case 2:
		r.Commands = append(r.Commands, api.Command{Do: "group.add-member", Group: "no-such-group", Member: events.User("alice")})
	}
	got, err := k.ask(ctx, key, r)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.unsure = append(k.unsure, unsure{key, r})
		return
	}
	k.answers[key] = got
}

// ask gives the answer to a request, or an error when there was none.
func (k *killing) ask(ctx context.Context, key string, r api.Request) (firstAnswer, error) {
	receipt, err := k.client.Submit(ctx, r, key)
	var problem *api.Error
	if errors.As(err, &problem) && problem.Status < 500 {
		return firstAnswer{request: r, refusal: problem.Code}, nil
	}
	return firstAnswer{r, receipt.Command, receipt.Revision, receipt.Nothing, ""}, err
}

// askAgain repeats what was cut off, and some of what was answered, and compares.
func (k *killing) askAgain(some int) {
	k.t.Helper()
	for _, u := range k.unsure {
		got, err := k.ask(context.Background(), u.key, u.request)
		if err != nil {
			k.t.Fatalf("key %s asked again: %v", u.key, err)
		}
		k.answers[u.key] = got
		k.cut++
	}
	k.unsure = nil
	for key, first := range k.answers { // in random order
		if some--; some < 0 {
			break
		}
		again, err := k.ask(context.Background(), key, first.request)
		if err != nil || again.command != first.command || again.revision != first.revision ||
			again.nothing != first.nothing || again.refusal != first.refusal {
			k.t.Errorf("key %s was answered %+v and then %+v, %v", key, first, again, err)
		}
	}
}

// trail reads every event and holds it against the answers: each acknowledged key once and at its revision,
// no key that was answered otherwise.
func (k *killing) trail() {
	k.t.Helper()
	recorded := map[string]int{}
	for e, err := range k.client.Events(context.Background(), api.EventsQuery{}) {
		if err != nil {
			k.t.Fatal(err)
		}
		if e.Key == "" {
			continue
		}
		recorded[e.Key]++
		if a := k.answers[e.Key]; a.command != e.Command || a.revision != e.Revision {
			k.t.Errorf("key %s: event at revision %d of command %s, answered %+v", e.Key, e.Revision, e.Command, a)
		}
	}
	for key, a := range k.answers {
		want := 0
		if a.refusal == "" && !a.nothing {
			want = len(a.request.Commands)
		}
		if recorded[key] != want {
			k.t.Errorf("key %s has %d events, want %d: %+v", key, recorded[key], want, a)
		}
	}
}
