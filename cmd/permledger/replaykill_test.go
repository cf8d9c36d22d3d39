package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// TestReplayKilled kills a replay without warning, again and again, and the parts together are what one replay
// prints that nobody kills: the very bytes in a file of its own, and on standard output the very events once those
// that came twice are dropped by their position.
func TestReplayKilled(t *testing.T) {
	inProcesses(t)
	commits, kills := 60, 2
	if full() {
		commits, kills = 1500, 40
	}
	k := newKilling(t)
	stop := k.serve()
	for i := range commits {
		k.write(t.Context(), fmt.Sprintf("0/0/%d", i), 3*i)
	}
	stop()
	want := replayOnce(t, k.dir)
	if n := strings.Count(want, "\n"); n < commits {
		t.Fatalf("%d events for %d commits", n, commits)
	}

	dir := t.TempDir()
	file, stdout := filepath.Join(dir, "file"), filepath.Join(dir, "stdout")
	toFile := []string{"--cursor", filepath.Join(dir, "file.cursor"), "--out", file}
	toStdout := []string{"--cursor", filepath.Join(dir, "stdout.cursor")}
	killed := 0
	for i := range kills {
		goal := int64(len(want) * (i + 1) / (kills + 1))
		killed += replayKilled(t, k.dir, stdout, toStdout, func() bool { return sizeOf(stdout) >= goal })
		killed += replayKilled(t, k.dir, os.DevNull, toFile, func() bool { return sizeOf(file) >= goal })
	}
	never := func() bool { return false }
	replayKilled(t, k.dir, stdout, toStdout, never)
	replayKilled(t, k.dir, os.DevNull, toFile, never)

	if got := readFile(t, file); got != want {
		t.Errorf("the file has %d bytes, want %d, or others", len(got), len(want))
	}
	once, twice := withoutRepeats(t, readFile(t, stdout))
	if once != want {
		t.Errorf("standard output has %d bytes without repeats, want %d, or others", len(once), len(want))
	}
	if killed == 0 {
		t.Error("no replay was killed on its way")
	}
	t.Logf("%d of %d replays were killed on their way; on standard output %d events came twice", killed, 2*kills, twice)
}

func replayOnce(t *testing.T, data string) string {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.Command("permledger", "replay", "--data", data, "-o", "jsonl")
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	return out.String()
}

func sizeOf(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// replayKilled runs a replay, whose standard output is appended to a file, and kills it once it got far enough. It
// reports 1 if the replay was on its way then, and 0 if it had ended.
func replayKilled(t *testing.T, data, stdout string, flags []string, enough func() bool) (killed int) {
	t.Helper()
	out, err := os.OpenFile(stdout, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var said bytes.Buffer
	cmd := exec.Command("permledger", append([]string{"replay", "--data", data, "-o", "jsonl"}, flags...)...)
	cmd.Stdout, cmd.Stderr = out, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v: %s", err, &said)
			}
			return 0
		case <-time.After(100 * time.Microsecond):
		}
		if enough() {
			_ = cmd.Process.Kill()
			if err := <-ended; err == nil {
				return 0
			}
			return 1
		}
	}
}

// withoutRepeats drops every line whose position is not beyond those before it.
func withoutRepeats(t *testing.T, content string) (once string, repeats int) {
	t.Helper()
	var b strings.Builder
	var last events.Position
	for line := range strings.Lines(content) {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.Position <= last {
			repeats++
			continue
		}
		last = e.Position
		b.WriteString(line)
	}
	return b.String(), repeats
}
