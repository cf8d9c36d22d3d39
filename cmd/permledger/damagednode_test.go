package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/ledger/jetstream"
)

// TestDamagedNodes damages the store of a server that was killed, and starts it again: it must not serve, end
// with 6 and say what is wrong where; or, where nothing is lost, serve with everything there.
func TestDamagedNodes(t *testing.T) {
	inProcesses(t)
	template := newKilling(t)
	stop := template.serve()
	for i := range 30 {
		template.write(t.Context(), fmt.Sprintf("0/0/%d", i), i)
	}
	feedIsThere(t, template)
	stop()
	for _, row := range []struct {
		name   string
		damage func(*copied)
		says   []string // nil: it serves
	}{
		{"nothing", func(*copied) {}, nil},
		{"a write that was cut off", func(c *copied) { c.append(c.lastBlock(), []byte("\xff\x02\x00\x00\x1f")) }, nil},
		{"a bit in the middle of the log", func(c *copied) { c.flipIn(c.lastBlock(), `"revision":7,`) },
			[]string{"1.blk at byte", "whole record"}},
		{"a bit in the last commit", func(c *copied) { c.flipLast(c.lastBlock()) },
			[]string{"stream LEDGER ends at", "no message"}},
		{"a bit in the journal", func(c *copied) { c.flipAt(c.file("JOURNAL", "msgs/1.blk"), 100, 1) },
			[]string{"JOURNAL/msgs/1.blk at byte 0"}},
		{"a bit in the feed", func(c *copied) { c.flipIn(c.file("../../FEED/streams/EVENTS", "msgs/1.blk"), "permledger") },
			nil}, // it is made from the log again
		{"no block", func(c *copied) { c.remove(c.lastBlock()) }, []string{"stream LEDGER ends at 0"}},
		{"no meta.inf", func(c *copied) { c.remove(c.file("LEDGER", "meta.inf")) }, []string{"the log is not there"}},
		{"no log at all", func(c *copied) { c.removeAll(filepath.Join(c.dir, "jetstream")) }, []string{"the log is not there"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := &killing{keyed: template.copy(t), dir: t.TempDir()}
			copyDir(t, template.dir, k.dir)
			row.damage(&copied{t: t, dir: node.LogDir(k.dir)})
			if row.says == nil {
				stop := k.serve()
				k.askAgain(1000)
				k.writeAll("healed")
				k.trail()
				feedIsThere(t, k)
				stop()
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var said bytes.Buffer
			cmd := exec.CommandContext(ctx, "permledger", "serve", "--data", k.dir, "--listen", "127.0.0.1:0")
			cmd.Stderr = &said
			err := cmd.Run()
			var ended *exec.ExitError
			if !errors.As(err, &ended) || exit(ended.ExitCode()) != exitIntegrity {
				t.Errorf("serve: %v, want exit %d\n%s", err, exitIntegrity, &said)
			}
			for _, w := range row.says {
				if !strings.Contains(said.String(), w) {
					t.Errorf("it does not say %q:\n%s", w, &said)
				}
			}
		})
	}
}

// feedIsThere waits until the feed has every event.
func feedIsThere(t *testing.T, k *killing) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, err := k.client.Status(t.Context())
		if err == nil && s.Ready && s.Feed.Position == s.Position {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("status: %+v, %v", s, err)
		}
	}
}

func (c *copied) append(path string, b []byte) {
	c.write(path, append([]byte(readFile(c.t, path)), b...))
}

func (c *copied) flipIn(path, text string) {
	at := strings.Index(readFile(c.t, path), text)
	if at < 0 {
		c.t.Fatalf("%q is not in %s", text, path)
	}
	c.flipAt(path, at+3, 1)
}

func (c *copied) flipLast(path string) { c.flipAt(path, len(readFile(c.t, path))-20, 1) }

func (c *copied) removeAll(path string) {
	if err := os.RemoveAll(path); err != nil {
		c.t.Fatal(err)
	}
}

// TestPreflightOfAMillion shows that the bound on memory is no bound for a healthy store: a million commits fit
// in less than half of it.
func TestPreflightOfAMillion(t *testing.T) {
	inProcesses(t)
	n := 20_000
	if full() {
		n = 1_000_000
	}
	dir := t.TempDir()
	s, err := jetstream.Open(t.Context(), jetstream.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	publish(t, dir, n)
	cmd := exec.Command("permledger", "preflight", dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	state := cmd.ProcessState
	t.Logf("%d messages of 600 bytes: %v, of which %v were worked, %d MB", n, time.Since(start).Round(time.Millisecond),
		(state.UserTime() + state.SystemTime()).Round(time.Millisecond), maxRSS(cmd)>>10)
}

// publish stores messages without waiting for the disk, as no ledger does.
func publish(t *testing.T, dir string, n int) {
	t.Helper()
	s, conn := bareServer(dir, false)
	js, err := natsjs.New(conn, natsjs.WithPublishAsyncMaxPending(4096))
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 600)
	for range n {
		if _, err := js.PublishAsync("permledger.ledger.commit", body, natsjs.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	conn.Close()
	s.Shutdown()
	s.WaitForShutdown()
}
