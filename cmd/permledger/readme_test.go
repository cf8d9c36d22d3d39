package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestReadmeQuickStart types what the README tells a newcomer to type, and holds what is printed against
// what the README shows. In what it shows, "…" stands for anything.
func TestReadmeQuickStart(t *testing.T) {
	page := readFile(t, repository+"/README.md")
	_, quick, _ := strings.Cut(page, "## Quick start\n")
	quick, _, _ = strings.Cut(quick, "\n## ")
	steps := consoleSteps(quick)
	if len(steps) < 8 || !strings.HasPrefix(steps[0].command, "permledger serve ") {
		t.Fatalf("the quick start has %d steps and begins with %q", len(steps), steps[0].command)
	}
	dir := t.TempDir()
	url := startServe(t, dir, strings.Fields(steps[0].command)[1:])

	// One shell types everything else, because a variable set in one step is used in the next.
	var script bytes.Buffer
	for i, s := range steps[1:] {
		fmt.Fprintf(&script, "%s\necho \"=== %d ends with $?\"\n", s.command, i+1)
	}
	shell := exec.Command("bash", "-s")
	shell.Dir, shell.Stdin, shell.Env = dir, &script, append(os.Environ(), "PERMLEDGER_SERVER="+url)
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	printed := regexp.MustCompile(`(?m)^=== \d+ ends with (\d+)\n`).Split(string(out), -1)
	for i, s := range steps[1:] {
		if !s.matches(printed[i]) {
			t.Errorf("$ %s\nprinted\n%s\nthe README shows\n%s", s.command, printed[i], s.output)
		}
	}
}

// consoleStep is a line "$ command" of a console block and what stands below it.
type consoleStep struct{ command, output string }

func consoleSteps(page string) []consoleStep {
	var steps []consoleStep
	inside := false
	for line := range strings.Lines(page) {
		switch command, isCommand := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = strings.HasPrefix(line, "```console")
		case inside && isCommand:
			steps = append(steps, consoleStep{command: strings.TrimSpace(command)})
		case inside && len(steps) > 0:
			steps[len(steps)-1].output += line
		}
	}
	return steps
}

func (s consoleStep) matches(printed string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(s.output), "…", "(?s:.*)")
	return regexp.MustCompile("^" + pattern + "$").MatchString(printed)
}

// startServe runs the binary's serve on a free port until the test ends and gives its URL. It ends as it
// should: by an interrupt, with exit code 0.
func startServe(t *testing.T, dir string, args []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, "permledger", append(args, "--listen", "127.0.0.1:0")...)
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	url, begun := "", ""
	for url == "" && lines.Scan() {
		begun += lines.Text() + "\n"
		_, url, _ = strings.Cut(lines.Text(), " answers at ")
	}
	rest := make(chan string, 1)
	go func() {
		var b strings.Builder
		for lines.Scan() {
			b.WriteString(lines.Text() + "\n")
		}
		rest <- b.String()
	}()
	t.Cleanup(func() {
		defer cancel()
		_ = cmd.Process.Signal(os.Interrupt) // if it has ended already, Wait says how
		said := <-rest
		if err := cmd.Wait(); err != nil {
			t.Errorf("serve ended with %v\n%s", err, said)
		}
	})
	if url == "" {
		t.Fatalf("serve did not say where it answers, but\n%s", begun)
	}
	return url
}
