package consumers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/consumertest"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/feed"
)

// A subscriber process is this test binary, told by these what to do.
const (
	envURL      = "CONSUMERS_TEST_URL"
	envInterest = "CONSUMERS_TEST_INTEREST"
	envFile     = "CONSUMERS_TEST_FILE"
	envCareless = "CONSUMERS_TEST_CARELESS"
)

// lines is an effect in a file: one line an event, the event's cursor, written at once. The last whole line
// says how far it got. It kills its own process now and then, in the middle of writing too.
type lines struct{ file *os.File }

func (l lines) Cursor(context.Context) (c consumers.Cursor, ok bool, err error) {
	all, err := readLines(l.file.Name())
	if err != nil || len(all) == 0 {
		return c, false, err
	}
	return all[len(all)-1], true, nil
}

func (l lines) Begin(context.Context, consumers.Cursor) error { return nil } // it starts at the first event

func (l lines) Apply(_ context.Context, ev consumers.Event) error {
	die()
	line, err := json.Marshal(ev.Cursor())
	if err != nil {
		return err
	}
	if rand.IntN(100) == 0 {
		l.file.Write(line[:rand.IntN(len(line))])
		kill()
	}
	_, err = l.file.Write(append(line, '\n'))
	die()
	return err
}

// carelessly keeps the cursor in another file, which it writes first.
func carelessly(l lines) consumers.Effect {
	return careless{consumers.Func(nil, cursorOf(l.file.Name())), l}
}

func cursorOf(file string) consumers.FileCursor { return consumers.FileCursor(file + ".cursor") }

type careless struct {
	consumers.Effect
	lines lines
}

func (c careless) Apply(ctx context.Context, ev consumers.Event) error {
	save := c.Effect.Begin // is to store a cursor
	if err := save(ctx, ev.Cursor()); err != nil {
		return err
	}
	return c.lines.Apply(ctx, ev)
}

func die() {
	if rand.IntN(200) == 0 {
		kill()
	}
}

func kill() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until it arrives
}

func readLines(name string) ([]consumers.Cursor, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []consumers.Cursor
	for line := range bytes.Lines(b) {
		var c consumers.Cursor
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // torn
		}
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// openLines opens the file for appending, without the line a crash has torn.
func openLines(name string) (lines, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return lines{}, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return lines{}, err
	}
	return lines{file}, file.Truncate(int64(bytes.LastIndexByte(b, '\n') + 1))
}

// TestSubscriberProcess is no test but the process that TestKilledProcesses kills.
func TestSubscriberProcess(t *testing.T) {
	url := os.Getenv(envURL)
	if url == "" {
		t.Skip("only as a process of TestKilledProcesses")
	}
	l, err := openLines(os.Getenv(envFile))
	if err != nil {
		t.Fatal(err)
	}
	interest, err := strconv.Atoi(os.Getenv(envInterest))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := consumers.Connect(url, nats.RetryOnFailedConnect(true), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	effect := consumers.Effect(l)
	if os.Getenv(envCareless) != "" {
		effect = carelessly(l)
	}
	t.Fatal(consumers.Subscribe(context.Background(), js, consumers.Options{
		Filters: interests[interest], Patience: time.Minute,
	}, effect))
}

// Processes that die by SIGKILL, at crash points of their own and at any other moment.
func TestKilledProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	server := consumertest.StartServer(t, consumertest.ServerConfig{Listen: true})
	js, err := jetstream.New(server.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	history := consumertest.NewHistory(uuid.New())
	f, err := feed.Start(ctx, feed.Config{JetStream: js, Source: history})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	traffic := consumertest.Traffic(rand.Uint64(), 800)

	var running sync.WaitGroup
	running.Go(func() {
		for i, r := range traffic {
			if _, err := history.Append(r); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
			if i%300 == 200 {
				server.Stop()
				if err := server.Run(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	dir := t.TempDir()
	processes := []struct {
		interest int
		careless bool
	}{{0, false}, {2, false}, {7, false}, {0, true}}
	for i, p := range processes {
		running.Go(func() {
			file := filepath.Join(dir, strconv.Itoa(i))
			var want []events.Position
			for i, r := range traffic {
				if selects(interests[p.interest], r) {
					want = append(want, events.Position(i+1))
				}
			}
			last := want[len(want)-1]
			done := func() bool {
				all, _ := readLines(file)
				return len(all) > 0 && all[len(all)-1].Position >= last
			}
			env := []string{envURL + "=" + server.URL(), envFile + "=" + file, fmt.Sprintf("%s=%d", envInterest, p.interest)}
			if p.careless {
				env = append(env, envCareless+"=1")
				done = func() bool {
					c, _, _ := cursorOf(file).Load(ctx)
					return c.Position >= last
				}
			}
			lives := killRepeatedly(ctx, t, env, done)
			all, err := readLines(file)
			if err != nil {
				t.Error(err)
			}
			var got []events.Position
			for _, c := range all {
				got = append(got, c.Position)
			}
			t.Logf("process %d: %d events of %d in %d lives", i, len(got), len(want), lives)
			if right := slices.Equal(got, want); right == p.careless {
				t.Errorf("process %d (careless: %v) got %v,\nwant %v", i, p.careless, got, want)
			}
		})
	}
	running.Wait()
}

// killRepeatedly runs the subscriber and kills it until it is done.
func killRepeatedly(ctx context.Context, t *testing.T, env []string, done func() bool) (lives int) {
	for ; !done(); lives++ {
		if ctx.Err() != nil {
			t.Error("not done in time")
			return lives
		}
		var out bytes.Buffer
		process := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSubscriberProcess$")
		process.Env, process.Stdout, process.Stderr = append(os.Environ(), env...), &out, &out
		if err := process.Start(); err != nil {
			t.Error(err)
			return lives
		}
		go func() { // by chance, or because nothing is left to be killed in
			life := time.After(time.Duration(200+rand.IntN(1000)) * time.Millisecond)
			for !done() {
				select {
				case <-life:
					process.Process.Kill()
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
			process.Process.Kill()
		}()
		process.Wait()
		if status := process.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
			t.Errorf("a subscriber ended by itself: %s", out.String())
			return lives
		}
	}
	return lives
}
