package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// child is a process of this program, with whatever was put in front of it, in a process group of its own.
type child struct {
	cmd  *exec.Cmd
	url  string        // where it answers
	gone chan struct{} // closed when the process has ended
	kill func()        // kills the whole group, and waits for the end

	mu   sync.Mutex
	said strings.Builder
}

// text is what it said on standard error until now.
func (c *child) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.String()
}

// serveChild serves the ledger in dir and waits until it answers. Words in front, such as strace with its
// flags, run the program. If it ends before it answers, the error is what it said, and the child is one that ended.
func serveChild(t *testing.T, dir string, front ...string) (*child, error) {
	t.Helper()
	return startChild(t, append(front, "permledger", "serve", "--data", dir, "--listen", "127.0.0.1:0"), nil)
}

// startChild starts any command and waits until it answers or ends. started, if it is given, gets the child first.
func startChild(t *testing.T, words []string, started func(*child)) (*child, error) {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, gone: make(chan struct{})}
	answers := make(chan string, 1)
	go func() {
		defer close(c.gone)
		defer close(answers)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			c.mu.Lock()
			c.said.WriteString(lines.Text() + "\n")
			c.mu.Unlock()
			if _, url, ok := strings.Cut(lines.Text(), " answers at "); ok {
				answers <- url
			}
		}
		_ = cmd.Wait()
	}()
	c.kill = sync.OnceFunc(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-c.gone
	})
	t.Cleanup(c.kill)
	if started != nil {
		started(c)
	}
	url, ok := <-answers
	if !ok {
		<-c.gone
		return c, fmt.Errorf("ended before it answered: %s", c.text())
	}
	c.url = url
	return c, nil
}

// ended reports whether the process has ended.
func (c *child) ended() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// killed reports whether a process that has ended was killed, and did not end by itself.
func (c *child) killed() bool {
	<-c.gone
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// inProcesses skips a test under -short whose subject runs in processes of its own: the race detector, with which
// CI gives -short, sees this process only, and makes the others many times slower.
func inProcesses(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: what happens in other processes is tested without it")
	}
}
