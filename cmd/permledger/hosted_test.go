package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// hosted is a child with a client of its own, which may be limited, starved and broken without the test.
type hosted struct {
	*child
	t        *testing.T
	dir      string
	client   *consumers.Client
	patience time.Duration // with each request
	address  string        // host and port
}

// host starts "permledger serve" on dir, or what wrap makes of that command, and waits until it answers. When
// the process ends before, it has no client.
func host(t *testing.T, dir string, wrap func(serve []string) []string, flags ...string) *hosted {
	t.Helper()
	serve := append([]string{"permledger", "serve", "--data", dir, "--listen", "127.0.0.1:0"}, flags...)
	if wrap != nil {
		serve = wrap(serve)
	}
	started, err := startChild(t, serve, nil)
	c := &hosted{child: started, t: t, dir: dir, patience: 5 * time.Second}
	if err == nil {
		c.connect(started.url)
	}
	return c
}

func (c *hosted) connect(url string) {
	c.t.Helper()
	c.address = strings.TrimPrefix(url, "http://")
	token, err := os.ReadFile(filepath.Join(c.dir, "root.token"))
	if err == nil {
		c.client, err = consumers.New(url, strings.TrimSpace(string(token)))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// up fails the test unless the child answers.
func (c *hosted) up() *hosted {
	c.t.Helper()
	if c.client == nil {
		c.t.Fatalf("serve ended with %d\n%s", c.code(), c.text())
	}
	return c
}

// stop ends it as an operator does, and gives its exit code; one that does not end is killed.
func (c *hosted) stop() int {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.gone:
	case <-time.After(time.Minute):
		c.t.Errorf("serve does not end:\n%s", c.text())
		c.kill()
	}
	return c.code()
}

func (c *hosted) code() int { return c.cmd.ProcessState.ExitCode() }

// noPanic fails the test if it ended, or spoke, as programs do that were not prepared.
func (c *hosted) noPanic() {
	c.t.Helper()
	for _, word := range []string{"panic: ", "fatal error: ", "goroutine "} {
		if strings.Contains(c.text(), word) {
			c.t.Errorf("serve panicked:\n%s", c.text())
		}
	}
}

func (c *hosted) submit(key string, commands ...api.Command) (api.Receipt, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), c.patience) // beyond, the outcome is unknown
	defer cancel()
	return c.client.Submit(ctx, api.Request{Reason: "test", Commands: commands}, key)
}

// load gives the ledger a catalog to grant from.
func (c *hosted) load() {
	c.t.Helper()
	if _, err := c.client.LoadCatalog(c.t.Context(), api.CatalogLoad{Catalog: "flowable-control"}, ""); err != nil {
		c.t.Fatal(err)
	}
}

const someRight = "Access cases"

func onControl(do string, p events.Principal) api.Command {
	return api.Command{Do: do, Principal: p, Permission: someRight, Resource: api.Resource{Audience: "flowable-control"}}
}

func (c *hosted) grant(p events.Principal) error {
	_, err := c.submit("", onControl("grant", p))
	return err
}
func (c *hosted) revoke(p events.Principal) error {
	_, err := c.submit("", onControl("revoke", p))
	return err
}

// allowed asks whether p may; an error is no answer.
func (c *hosted) allowed(p events.Principal) (bool, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), c.patience)
	defer cancel()
	d, err := c.client.Check(ctx, api.Question{
		Principal: p, Permission: someRight, Resource: api.Resource{Audience: "flowable-control"},
	})
	return d.Allowed, err
}

// answers fails the test unless the answer about p is this one; failing to answer may be forgiven.
func (c *hosted) answers(what string, p events.Principal, want, mayFail bool) (answered bool) {
	c.t.Helper()
	got, err := c.allowed(p)
	if err != nil && !mayFail {
		c.t.Errorf("%s: check of %s: %v", what, p, err)
	}
	if err == nil && got != want || err != nil && got {
		c.t.Errorf("%s: %s is allowed: %t, want %t (%v)", what, p, got, want, err)
	}
	return err == nil
}

func (c *hosted) ready() error {
	ctx, cancel := context.WithTimeout(c.t.Context(), c.patience)
	defer cancel()
	return c.client.Ready(ctx)
}

func isCode(err error, code api.Code) bool { return errors.Is(err, &api.Error{Code: code}) }

// takeConnections opens connections to the server until it or the number is used up.
func takeConnections(t *testing.T, c *hosted, n int) (letGo func()) {
	t.Helper()
	var held []net.Conn
	for range n {
		conn, err := net.DialTimeout("tcp", c.address, time.Second)
		if err != nil {
			break
		}
		held = append(held, conn)
	}
	return func() {
		for _, conn := range held {
			_ = conn.Close()
		}
	}
}
