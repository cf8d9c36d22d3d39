package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// TestTheDiskFails lets the kernel refuse the served process what it asks of the log's file. Whoever writes at
// that moment must never hear that it is done, everybody after that the server needs a restart; questions are
// answered; the server is not ready and says why, also when the disk is well again; and after a restart each
// key has the one outcome that the log has. The control is the same with a tracer that injects nothing.
func TestTheDiskFails(t *testing.T) {
	inProcesses(t)
	for _, row := range []struct {
		name, inject, reason string
	}{
		{"fsync gives EIO", "fsync:error=EIO", "input/output error"},
		{"one fsync gives EIO", "fsync:error=EIO:when=1", "input/output error"},
		{"write gives ENOSPC", "pwrite64:error=ENOSPC", "no space left on device"},
		{"write gives EIO", "pwrite64:error=EIO", "input/output error"},
		{"the disk became read-only", "pwrite64:error=EROFS", "read-only file system"},
		{"nothing fails", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := newKilling(t)
			stop := k.serve()
			for i := range 9 {
				k.write(t.Context(), fmt.Sprintf("before/%d", i), i)
			}
			block := filepath.Join(node.LogDir(k.dir), "jetstream", "LEDGER", "streams", "LEDGER", "msgs", "1.blk")
			detach := trace(t, k.server.cmd.Process.Pid, block, row.inject)
			codes := k.writeAll("during")
			if row.inject == "" {
				detach()
				if len(codes) > 0 {
					t.Errorf("with nothing injected: %v", codes)
				}
				if err := k.client.Ready(t.Context()); err != nil {
					t.Errorf("with nothing injected: not ready: %v", err)
				}
				return
			}
			if codes[api.CodeOutcomeUnknown] == 0 || len(codes) > 2 {
				t.Errorf("the writers heard %v, want %s for some and %s for the others", codes, api.CodeOutcomeUnknown, api.CodeUnavailable)
			}
			detach()
			if after := k.writeAll("after"); after[api.CodeUnavailable] != writersAtOnce || len(after) != 1 {
				t.Errorf("with the disk well again: %v, want %s for all", after, api.CodeUnavailable)
			}
			_, err := k.ask(t.Context(), "again", api.Request{Commands: []api.Command{{Do: "group.create", Group: "again"}}})
			k.says("a later request", err, "restarted")
			k.says("readyz", k.client.Ready(t.Context()), "restarted", row.reason)
			if _, err := k.client.Group(t.Context(), "before/0", api.When{}); err != nil {
				t.Errorf("a question: %v", err)
			}
			if s, err := k.client.Status(t.Context()); err != nil || s.Ready {
				t.Errorf("status: %+v, %v", s, err)
			}
			if err := k.server.cmd.Process.Signal(syscall.SIGTERM); err != nil { // it also ends as it should
				t.Fatal(err)
			}
			time.AfterFunc(time.Minute, stop)
			<-k.server.gone
			k.serve()
			k.askAgain(1000)
			k.trail()
			k.writeAll("healed")
			k.trail()
			if err := k.client.Ready(t.Context()); err != nil {
				t.Errorf("after the restart: %v", err)
			}
			t.Logf("writers under way heard %v", codes)
		})
	}
}

// TestASlowDiskIsWaitedFor delays what the kernel does. The server says what it waits for, and then that it is done.
func TestASlowDiskIsWaitedFor(t *testing.T) {
	inProcesses(t)
	delay := 3 * time.Second
	if full() {
		delay = 12 * time.Second // more than any step with a server in the same process may take otherwise
	}
	k := newKilling(t)
	k.serve()
	k.write(t.Context(), "before", 0)
	block := filepath.Join(node.LogDir(k.dir), "jetstream", "LEDGER", "streams", "LEDGER", "msgs", "1.blk")
	detach := trace(t, k.server.cmd.Process.Pid, block, fmt.Sprintf("fsync:delay_enter=%d:when=1", delay.Microseconds()))
	done := make(chan error, 1)
	go func() {
		_, err := k.ask(context.Background(), "slow", api.Request{Commands: []api.Command{{Do: "group.create", Group: "slow"}}})
		done <- err
	}()
	said := false
	for waiting := true; waiting; {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the slow request: %v", err)
			}
			waiting = false
		case <-time.After(10 * time.Millisecond):
			err := k.client.Ready(t.Context())
			said = said || err != nil && strings.Contains(err.Error(), "takes long to store revision")
		}
	}
	if !said {
		t.Error("it never said what it waited for")
	}
	detach()
	if err := k.client.Ready(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if codes := k.writeAll("after"); len(codes) > 0 {
		t.Errorf("afterwards: %v", codes)
	}
}

const writersAtOnce = 6

// writeAll sends one new request from each of several clients, and counts the codes of those that got no answer.
func (k *killing) writeAll(name string) map[api.Code]int {
	codes := map[api.Code]int{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	for n := range writersAtOnce {
		clients.Go(func() {
			key := fmt.Sprintf("%s/%d", name, n)
			r := api.Request{Reason: "load", Commands: []api.Command{{Do: "group.create", Group: events.Group(key)}}}
			got, err := k.ask(context.Background(), key, r)
			k.mu.Lock()
			defer k.mu.Unlock()
			if err == nil {
				k.answers[key] = got
				return
			}
			k.unsure = append(k.unsure, unsure{key, r})
			var problem *api.Error
			if !errors.As(err, &problem) {
				k.t.Errorf("key %s: %v", key, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			codes[problem.Code]++
		})
	}
	clients.Wait()
	return codes
}

func (k *killing) says(what string, err error, words ...string) {
	k.t.Helper()
	var problem *api.Error
	if !errors.As(err, &problem) || problem.Code != api.CodeUnavailable {
		k.t.Errorf("%s: %v, want %s", what, err, api.CodeUnavailable)
		return
	}
	for _, w := range words {
		if !strings.Contains(problem.Detail, w) {
			k.t.Errorf("%s: %q does not say %q", what, problem.Detail, w)
		}
	}
}

// trace attaches strace to a process, which then gets an error for what it does with a file, and detaches it.
func trace(t *testing.T, pid int, file, inject string) (detach func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace, to let the kernel refuse what a process asks")
	}
	args := []string{"-f", "-p", strconv.Itoa(pid), "-P", file, "-e", "trace=fsync,pwrite64", "-o", os.DevNull}
	if inject != "" {
		args = append(args, "-e", "inject="+inject)
	}
	cmd := exec.Command(strace, args...)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	detach = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it lets go of the process before it ends
		_ = cmd.Wait()
	})
	t.Cleanup(detach)
	lines := bufio.NewScanner(stderr)
	for said := ""; lines.Scan(); {
		said += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "attached") {
			go func() {
				for lines.Scan() {
				}
			}()
			return detach
		}
		if strings.Contains(lines.Text(), "ptrace(PTRACE_SEIZE") {
			detach()
			t.Skipf("strace may not attach here: %s", said)
		}
	}
	t.Fatal("strace did not attach")
	return nil
}
