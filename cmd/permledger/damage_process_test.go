package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/ledger/logtest"
)

// The processes that TestDamagedStores starts: a damaged store is opened where its memory can be measured, and
// where it may die.

// opened is what came of a store.
type opened struct {
	Outcome    string // refused, detected, harmless; skipped; died
	Text       string // why
	Commits    int    // that were read
	Digest     string // of them
	Appended   int    // the revision the next commit got
	ResidentKB int    // of this process, at most
	ChildKB    int    // of the one that looked first
}

func (o opened) print() {
	o.ResidentKB, o.ChildKB = residentKB(), childKB()
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		panic(err)
	}
}

// residentKB is the high-water mark of this process's resident memory.
func residentKB() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // no Linux: not measured
	}
	for line := range bytes.Lines(status) {
		if rest, ok := strings.CutPrefix(string(line), "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				panic(err)
			}
			return kb
		}
	}
	return 0
}

func childKB() int {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		panic(err)
	}
	return int(usage.Maxrss)
}

// digest is over commits, each with its length.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(b []byte) {
	fmt.Fprintf(d, "%d\n", len(b))
	_, _ = d.Write(b)
}

func (d digest) String() string { return hex.EncodeToString(d.Sum(nil)) }

func caseArguments() (dir string, commits, notes uint64) {
	commits, err := strconv.ParseUint(os.Args[2], 10, 64)
	if err == nil {
		notes, err = strconv.ParseUint(os.Args[3], 10, 64)
	}
	if err != nil {
		panic(err)
	}
	return os.Args[1], commits, notes
}

// openDamaged opens, reads and appends as a node does.
func openDamaged() {
	dir, commits, notes := caseArguments()
	ctx := context.Background()
	s, err := jetstream.Open(ctx, jetstream.Config{
		Dir: dir, Mark: events.Revision(commits), JournalMark: notes, Preflight: preflight,
	})
	if err != nil {
		opened{Outcome: outcomeOf("refused", err), Text: err.Error()}.print()
		return
	}
	got := opened{Outcome: "harmless"}
	digest := newDigest()
	var head events.Head
	for stored, err := range s.Log().Read(ctx, 1) {
		if err != nil {
			opened{Outcome: outcomeOf("detected", err), Text: err.Error(), Commits: got.Commits}.print()
			return
		}
		c, err := events.DecodeCommit(stored.Bytes)
		if err == nil {
			err = head.Follows(c)
		}
		if err != nil { // found by the hashes, where the store said nothing
			opened{Outcome: "detected", Text: "corrupt stream: " + err.Error(), Commits: got.Commits}.print()
			return
		}
		head = c.Head()
		digest.add(stored.Bytes)
		got.Commits++
	}
	for _, err := range s.Journal().Notes(ctx, 1) {
		if err != nil {
			opened{Outcome: outcomeOf("detected", err), Text: err.Error(), Commits: got.Commits}.print()
			return
		}
	}
	got.Digest = digest.String()
	c, err := logtest.Commit(head, 1, "next")
	if err == nil {
		err = s.Log().Append(ctx, head.Revision, c)
	}
	if err == nil {
		got.Appended = int(c.Revision)
	} else {
		got.Text = err.Error()
	}
	if err := s.Close(); err != nil {
		got.Outcome, got.Text = "closed with an error", err.Error()
	}
	got.print()
}

func outcomeOf(when string, err error) string {
	if errors.Is(err, ledger.ErrCorrupt) {
		return when
	}
	return "failed" // neither found nor harmless
}

// bareConsumer is NATS alone: its server on the store, bounded as the look at it is, and its ordered consumer.
func bareConsumer() {
	dir, commits, _ := caseArguments()
	if err := boundMemory(preflightMemory); err != nil {
		panic(err)
	}
	s, conn := bareServer(dir, true)
	js, err := natsjs.New(conn)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	consumer, err := js.OrderedConsumer(ctx, "LEDGER", natsjs.OrderedConsumerConfig{})
	if err != nil {
		opened{Outcome: "detected", Text: err.Error()}.print()
		return
	}
	messages, err := consumer.Messages()
	if err != nil {
		opened{Outcome: "detected", Text: err.Error()}.print()
		return
	}
	got := opened{Outcome: "harmless"}
	for got.Commits < int(commits) {
		msg, err := messages.Next(natsjs.NextMaxWait(time.Second))
		if errors.Is(err, nats.ErrTimeout) { // nothing more comes, and nobody says that something is missing
			got.Outcome = "skipped"
			break
		}
		if err != nil {
			got.Outcome, got.Text = "detected", err.Error()
			break
		}
		if _, err := events.DecodeCommit(msg.Data()); err != nil {
			got.Outcome, got.Text = "changed", err.Error()
			break
		}
		got.Commits++
	}
	messages.Stop()
	conn.Close()
	s.Shutdown()
	s.WaitForShutdown()
	got.print()
}

// bareServer is a NATS server on a store, and a connection to the account of the log.
func bareServer(dir string, sync bool) (*server.Server, *nats.Conn) {
	opts := &server.Options{DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: sync, NoSigs: true, MaxPayload: 8 << 20}
	err := opts.ProcessConfigString(`accounts { LEDGER { jetstream: enabled, users: [{user: u, password: p}] } }`)
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		panic(err)
	}
	s.Start()
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.UserInfo("u", "p"))
	if err != nil {
		panic(err)
	}
	return s, conn
}

// maxRSS is the resident memory in kB that a process which ended had at most.
func maxRSS(cmd *exec.Cmd) int { return int(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) }
