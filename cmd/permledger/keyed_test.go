package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// keyed are clients that write under idempotency keys, remember what they were answered and hold a server to
// it after whatever happened to it.
type keyed struct {
	t       *testing.T
	client  *consumers.Client
	mu      sync.Mutex
	answers map[string]firstAnswer
	unsure  []unsure // cut off: they may have happened
	cut     int

	after func(answered int)            // called after each answer, if it is set
	fault func(format string, a ...any) // what was acknowledged is not so: fails the test, unless it is to happen
}

// firstAnswer is what a key was answered first.
type firstAnswer struct {
	request  api.Request
	command  events.CommandID
	revision events.Revision
	events   int
	nothing  bool
	refusal  api.Code
}

type unsure struct {
	key     string
	request api.Request
}

func newKeyed(t *testing.T) *keyed {
	return &keyed{t: t, answers: map[string]firstAnswer{}, fault: t.Errorf}
}

// copy is for a copy of the directory that these clients wrote to.
func (k *keyed) copy(t *testing.T) *keyed {
	return &keyed{t: t, answers: maps.Clone(k.answers), unsure: slices.Clone(k.unsure), fault: t.Errorf}
}

// connect goes on at a server of the directory.
func (k *keyed) connect(dir, url string) {
	k.t.Helper()
	client, err := consumers.New(url, strings.TrimSpace(readFile(k.t, filepath.Join(dir, "root.token"))))
	if err != nil {
		k.t.Fatal(err)
	}
	k.client = client
}

// load has eight clients write until the server is gone, or each has sent as many requests as limit says, if it
// is not 0. The round is part of the keys.
func (k *keyed) load(round int, server *child, limit int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-server.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil && (limit == 0 || i < limit); i++ {
				k.write(ctx, fmt.Sprintf("%d/%d/%d", round, n, i), i)
			}
		})
	}
	clients.Wait()
}

// write sends one request under a key that is also a group's name: one that records events, then one that
// finds it so already, then one that is refused.
func (k *keyed) write(ctx context.Context, key string, i int) {
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
	if k.after != nil {
		k.after(len(k.answers))
	}
}

// ask gives the answer to a request, or an error when there was none.
func (k *keyed) ask(ctx context.Context, key string, r api.Request) (firstAnswer, error) {
	receipt, err := k.client.Submit(ctx, r, key)
	var problem *api.Error
	if errors.As(err, &problem) && problem.Status < 500 {
		return firstAnswer{request: r, refusal: problem.Code}, nil
	}
	return firstAnswer{r, receipt.Command, receipt.Revision, len(receipt.Events), receipt.Nothing, ""}, err
}

// askAgain repeats what was cut off, and some of what was answered, and compares.
func (k *keyed) askAgain(some int) {
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
		if err != nil || again.command != first.command || again.revision != first.revision || again.events != first.events ||
			again.nothing != first.nothing || again.refusal != first.refusal {
			k.fault("key %s was answered %+v and then %+v, %v", key, first, again, err)
		}
	}
}

// trail reads every event and holds it against the answers: each acknowledged key once and at its revision,
// no key that was answered otherwise.
func (k *keyed) trail() {
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
			k.fault("key %s: event at revision %d of command %s, answered %+v", e.Key, e.Revision, e.Command, a)
		}
	}
	for key, a := range k.answers {
		if recorded[key] != a.events || (a.events == 0) != (a.nothing || a.refusal != "") {
			k.fault("key %s has %d events: %+v", key, recorded[key], a)
		}
	}
}

// killing is keyed clients of one directory and the process that serves it.
type killing struct {
	*keyed
	dir    string
	server *child
}

func newKilling(t *testing.T) *killing { return &killing{keyed: newKeyed(t), dir: t.TempDir()} }

// serve starts the server as its own process; stop kills it.
func (k *killing) serve() (stop func()) {
	k.t.Helper()
	server, err := serveChild(k.t, k.dir)
	if err != nil {
		k.t.Fatal(err)
	}
	k.server = server
	k.connect(k.dir, server.url)
	return server.kill
}
