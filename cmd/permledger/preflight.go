package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
)

// After a stop that was not clean the store is looked at in a process of its own, because a damaged one can
// make nats-server allocate without bound. That process may die of it; the server then knows why not to start.

// preflightMemory bounds the data of the process that looks. A healthy store of a million messages took 107 MB
// of it, and 8 s of work.
const preflightMemory = 512 << 20

// preflight runs "permledger preflight" on a log's directory and says what came of it.
func preflight(ctx context.Context, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("%w: find the program: %w", ledger.ErrUnavailable, err)
	}
	cmd := exec.CommandContext(ctx, self, "preflight", dir)
	cmd.Args[0] = "permledger" // a test binary is the program under this name only
	return look(ctx, cmd)
}

// look runs the process that looks. One that dies did so of what it looked at.
func look(ctx context.Context, cmd *exec.Cmd) error {
	var said tail
	cmd.Stderr = &said
	cmd.SysProcAttr = apart()
	err := runOnOneThread(cmd)
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &ended):
		return fmt.Errorf("%w: start the look at the store: %w", ledger.ErrUnavailable, err)
	case exit(ended.ExitCode()) == exitServer:
		return fmt.Errorf("%w: %s", ledger.ErrUnavailable, said.line("permledger: "))
	case exit(ended.ExitCode()) == exitIntegrity:
		return fmt.Errorf("%w: %s; %s", ledger.ErrCorrupt, said.line("permledger: "), helpCorrupt)
	}
	return fmt.Errorf("%w: the process that looked at the store ended with %w: %s; %s",
		ledger.ErrCorrupt, err, said.line("fatal error: ", "panic: ", "runtime: "), helpCorrupt)
}

const helpCorrupt = `"permledger repair" makes the stream again from the archive in the views`

// runOnOneThread runs a command that the kernel ends with the thread that started it (see apart): that thread
// must stay.
func runOnOneThread(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}

// preflightVerb is what preflight runs. It is no verb for people: it is hidden, and prints nothing.
func (c *cli) preflightVerb() *cobra.Command {
	return &cobra.Command{
		Use: "preflight DIR", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Look at the store in a log's directory, in little memory",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := boundMemory(preflightMemory); err != nil {
				return err
			}
			logger := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelError}))
			return jetstream.Examine(cmd.Context(), jetstream.Config{Dir: args[0], Logger: logger})
		},
	}
}

// boundMemory makes the kernel refuse this process more than so much memory, and the garbage collector work
// harder before it comes to that.
func boundMemory(most uint64) error {
	debug.SetMemoryLimit(int64(most / 4 * 3))
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
		return fmt.Errorf("bound the memory: %w", err)
	}
	return nil
}

// tail keeps the beginning of what is written, where a runtime that dies says why, and the end, where a program
// says how it ended.
type tail struct{ begin, end []byte }

const tailBytes = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	if room := tailBytes - len(t.begin); room > 0 {
		t.begin = append(t.begin, p[:min(room, len(p))]...)
	}
	t.end = append(t.end, p...)
	t.end = t.end[max(0, len(t.end)-tailBytes):]
	return len(p), nil
}

// line gives the line that begins with the first of the prefixes that any does, without it; or the last line.
func (t *tail) line(prefixes ...string) string {
	last := "it said nothing"
	for _, prefix := range prefixes {
		for _, part := range [][]byte{t.begin, t.end} {
			for line := range bytes.Lines(part) {
				text := strings.TrimSpace(string(line))
				if rest, ok := strings.CutPrefix(text, prefix); ok {
					return rest
				}
				if text != "" {
					last = text
				}
			}
		}
	}
	return last
}
