package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWatchFollows sees an event that is recorded while it watches, and ends well when it is interrupted.
func TestWatchFollows(t *testing.T) {
	dir := t.TempDir()
	env := append(os.Environ(), "PERMLEDGER_SERVER="+startServe(t, dir, []string{"serve", "--data", "data"}))
	env = append(env, "PERMLEDGER_TOKEN="+strings.TrimSpace(readFile(t, filepath.Join(dir, "data", "root.token"))))
	watch := exec.Command("permledger", "watch", "--from", "first", "--kind", "group.created")
	watch.Env = env
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, group := range []string{"one", "two"} {
		create := exec.Command("permledger", "group", "create", group)
		create.Env = env
		if said, err := create.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		for seen := false; !seen; seen = strings.Contains(lines.Text(), "group.created  group:"+group) {
			if !lines.Scan() {
				t.Fatalf("watch ended before group %s: %v", group, watch.Wait())
			}
		}
	}
	if err := watch.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("watch ended with %v", err)
	}
}
