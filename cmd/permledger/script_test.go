package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/cmd/permledger/server"
)

// TestScripts runs the stories in testdata/script. Besides what testscript knows, they use:
//
//	ledger TIME        a ledger in memory whose clock stands at TIME; the program finds it by its environment
//	clock TIME         sets that clock
//	serve DIR [FLAG…]  "permledger serve" on DIR, on a free port; the program finds it likewise
//	interrupt          interrupts that, and waits for it to end well
//	exits N ARG…       runs the program, which must end with exit code N
//	keep NAME REGEXP   sets a variable to what the group in the expression matched on standard output
//	tamper DIR OLD NEW replaces bytes in the files of a directory, as a bad disk or a bad person would
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ledger":    scriptLedger,
			"clock":     scriptClock,
			"serve":     scriptServe,
			"interrupt": scriptInterrupt,
			"exits":     scriptExits,
			"keep":      scriptKeep,
			"tamper":    scriptTamper,
		},
		Setup: func(e *testscript.Env) error {
			e.Values[worldKey{}] = &world{}
			return nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// world is what runs beside a script.
type world struct {
	clock atomic.Int64 // nanoseconds since 1970
	serve *exec.Cmd
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func scriptLedger(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "ledger TIME")
	w := worldOf(ts)
	w.set(ts, args[0])
	n, err := node.Open(context.Background(), node.Config{
		Memory: true, NoticeInterval: -1, Clock: func() time.Time { return time.Unix(0, w.clock.Load()) },
	})
	ts.Check(err)
	config := server.ConfigFor(n)
	config.PublicURL, config.Version = "http://ledger.test", "test"
	s, err := server.New(config)
	ts.Check(err)
	h := httptest.NewServer(s)
	ts.Defer(func() {
		h.Close()
		ts.Check(n.Close())
	})
	ts.Setenv("PERMLEDGER_SERVER", h.URL)
	ts.Setenv("PERMLEDGER_TOKEN", n.RootToken)
}

func scriptClock(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "clock TIME")
	worldOf(ts).set(ts, args[0])
}

func (w *world) set(ts *testscript.TestScript, s string) {
	at, err := parseTime("clock", s, time.Now())
	ts.Check(err)
	w.clock.Store(at.Time().UnixNano())
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve DIR [FLAG…]")
	}
	dir, log := ts.MkAbs(args[0]), ts.MkAbs("serve.log")
	f, err := os.Create(log)
	ts.Check(err)
	defer f.Close()
	w := worldOf(ts)
	w.serve = exec.Command("permledger", append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0"}, args[1:]...)...)
	w.serve.Stderr = f
	ts.Check(w.serve.Start())
	ts.Defer(func() {
		if w.serve != nil {
			scriptInterrupt(ts, false, nil)
		}
	})
	url := ""
	for deadline := time.Now().Add(time.Minute); url == ""; time.Sleep(10 * time.Millisecond) {
		said, err := os.ReadFile(log)
		ts.Check(err)
		if m := regexp.MustCompile(`(?m)answers at (http\S+)$`).FindSubmatch(said); m != nil {
			url = string(m[1])
		} else if time.Now().After(deadline) {
			ts.Fatalf("serve did not start:\n%s", said)
		}
	}
	ts.Setenv("PERMLEDGER_SERVER", url)
	ts.Setenv("PERMLEDGER_TOKEN", strings.TrimSpace(ts.ReadFile(filepath.Join(dir, "root.token"))))
}

func scriptInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 0, "interrupt")
	w := worldOf(ts)
	cmd := w.serve
	w.serve = nil
	ts.Check(cmd.Process.Signal(os.Interrupt))
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("serve ended with %v", err)
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N ARG…")
	}
	got := 0
	if err := ts.Exec("permledger", args[1:]...); err != nil {
		var failed *exec.ExitError
		if !errors.As(err, &failed) {
			ts.Fatalf("run permledger: %v", err)
		}
		got = failed.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s\n%s%s", got, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

func scriptKeep(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "keep NAME REGEXP")
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("standard output does not match %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func scriptTamper(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3, "tamper DIR OLD NEW")
	if len(args[1]) != len(args[2]) {
		ts.Fatalf("tamper: %q and %q are not of one length", args[1], args[2])
	}
	changed := 0
	ts.Check(filepath.Walk(ts.MkAbs(args[0]), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), args[1]) {
			return err
		}
		changed++
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(b), args[1], args[2])), info.Mode())
	}))
	if changed == 0 {
		ts.Fatalf("tamper: no file in %s holds %q", args[0], args[1])
	}
}

func wantArgs(ts *testscript.TestScript, neg bool, args []string, n int, usage string) {
	if neg || len(args) != n {
		ts.Fatalf("usage: %s", usage)
	}
}
