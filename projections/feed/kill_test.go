package feed_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/projections/feed"
)

// childDir names the store of the process that runs server and feed and is killed.
const childDir = "FEED_TEST_CHILD_DIR"

// killHistory is the same in every process: what the ledger would still know after the crash.
func killHistory() *consumertest.History {
	h := consumertest.NewHistory(ledgerID)
	all := consumertest.Traffic(8, 6_000)
	for i := 0; i < len(all); i += 10 {
		if _, err := h.Append(all[i : i+10]...); err != nil {
			panic(err)
		}
	}
	return h
}

func runChild(dir string) {
	server := consumertest.NewServer(consumertest.ServerConfig{Dir: dir, SyncAlways: true})
	fatal(server.Run())
	nc, err := server.Dial()
	fatal(err)
	js, err := jetstream.New(nc)
	fatal(err)
	h := killHistory()
	f, err := feed.Start(context.Background(), feed.Config{JetStream: js, Source: h})
	fatal(err)
	for f.Position() < h.Head().Position {
		fmt.Println(f.Position()) // the parent reads how far it got
		time.Sleep(time.Millisecond)
	}
	fatal(os.Stdout.Close()) // nothing is left to be killed in
	select {}
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Server and feed are killed together, as in one process they are, in the middle of publishing. What the
// store then holds is a prefix of the feed, though it persists asynchronously and may have lost messages
// it acknowledged; and the feed completes it.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	h := killHistory()
	for round := range 4 {
		acknowledged := killChildSoon(t, dir)

		server := consumertest.NewServer(consumertest.ServerConfig{Dir: dir, SyncAlways: true})
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
		js := connect(t, server)
		last := 0
		if _, err := js.Stream(testContext(t), "EVENTS"); err == nil {
			last = len(dump(t, js))
			checkStream(t, js, ledgerID, h.Events()[:last])
		}
		t.Logf("round %d: %d acknowledged, %d stored", round, acknowledged, last)
		js.Conn().Close()
		server.Stop()
	}
	server := consumertest.StartServer(t, consumertest.ServerConfig{Dir: dir})
	js := connect(t, server)
	wait(t, start(t, js, h), h)
	checkStream(t, js, ledgerID, h.Events())
}

// killChildSoon runs the child, kills it at a random moment, and says what it knew to be stored.
func killChildSoon(t *testing.T, dir string) (position int) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// A child that has published everything says nothing more; it is killed all the same.
	patience := time.AfterFunc(3*time.Second, func() { child.Process.Kill() })
	defer patience.Stop()
	lines := bufio.NewScanner(out)
	for n := rand.IntN(60); n >= 0 && lines.Scan(); n-- {
		fmt.Sscan(lines.Text(), &position)
	}
	if err := child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	for lines.Scan() {
		fmt.Sscan(lines.Text(), &position)
	}
	child.Wait() // says "killed"
	return position
}
