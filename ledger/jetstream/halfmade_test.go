package jetstream

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// halve leaves of a stream without messages what a crash between its two metadata files leaves.
func halve(t *testing.T, streams, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(streams, name, "meta.sum")); err != nil {
		t.Fatal(err)
	}
}

func streamsOf(cfg Config) string { return filepath.Join(cfg.Dir, "jetstream", "LEDGER", "streams") }

// A crash in the middle of the first start must not come back as a log that is lost later.
func TestAStreamThatWasNotCompletedIsBegunAnew(t *testing.T) {
	for _, name := range []string{"LEDGER", "JOURNAL"} {
		cfg := Config{Dir: t.TempDir()}
		mustClose(t, mustOpen(t, cfg))
		if name == "JOURNAL" { // it is made first: there is no log yet
			if err := os.RemoveAll(filepath.Join(streamsOf(cfg), "LEDGER")); err != nil {
				t.Fatal(err)
			}
		}
		halve(t, streamsOf(cfg), name)
		s := mustOpen(t, cfg)
		head := fill(t, s.Log(), events.Head{}, 3)
		mustClose(t, s)
		for range 2 {
			cfg.Mark = head.Revision
			s = mustOpen(t, cfg)
			if got, err := readAll(t.Context(), s.Log()); err != nil || got != head {
				t.Errorf("%s not completed: read %+v, %v", name, got, err)
			}
			mustClose(t, s)
		}
	}
}

// With messages in it, a stream without its checksum is damaged, and not begun anew.
func TestAStreamThatLostItsChecksumIsCorrupt(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	fill(t, s.Log(), events.Head{}, 3)
	mustClose(t, s)
	halve(t, streamsOf(cfg), "LEDGER")
	cfg.Mark = 3
	_, err := Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrCorrupt, "the log is not there")
	if blocks, _ := filepath.Glob(filepath.Join(streamsOf(cfg), "LEDGER", "msgs", "*.blk")); len(blocks) == 0 {
		t.Error("the messages are gone")
	}
}

// The control: what the server does by itself. When this fails, clearHalfMade is needed no more.
func TestTheServerForgetsAStreamThatWasNotCompleted(t *testing.T) {
	dir := t.TempDir()
	with := func(do func(js natsjs.JetStream)) {
		srv, err := server.NewServer(&server.Options{JetStream: true, StoreDir: dir, DontListen: true, SyncAlways: true, NoSigs: true})
		if err != nil {
			t.Fatal(err)
		}
		srv.Start()
		defer srv.WaitForShutdown()
		defer srv.Shutdown()
		conn, err := nats.Connect("", nats.InProcessServer(srv))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		js, err := natsjs.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		do(js)
	}
	create := func(js natsjs.JetStream) {
		if _, err := js.CreateStream(t.Context(), pinned("LEDGER", ledgerSubject, 1)); err != nil {
			t.Fatal(err)
		}
	}
	with(create)
	halve(t, filepath.Join(dir, "jetstream", "$G", "streams"), "LEDGER")
	with(func(js natsjs.JetStream) {
		create(js)
		if _, err := js.Publish(t.Context(), ledgerSubject, []byte("acknowledged")); err != nil {
			t.Fatal(err)
		}
	})
	with(func(js natsjs.JetStream) {
		if _, err := js.Stream(t.Context(), "LEDGER"); !errors.Is(err, natsjs.ErrStreamNotFound) {
			t.Errorf("the stream is there again: %v", err)
		}
	})
}
