package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/logtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		appendUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// mustOpen opens a server that the test closes, and fails on an error.
func mustOpen(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, s) })
	return s
}

func mustClose(t testing.TB, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// fill appends n commits after head and returns the new head.
func fill(t testing.TB, log ledger.Log, head events.Head, n int) events.Head {
	t.Helper()
	for range n {
		c, err := logtest.Commit(head, 1, "filling")
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Append(t.Context(), head.Revision, c); err != nil {
			t.Fatal(err)
		}
		head = c.Head()
	}
	return head
}

// readAll follows the chain from revision 1 to its end.
func readAll(ctx context.Context, log ledger.Log) (head events.Head, err error) {
	for s, err := range log.Read(ctx, 1) {
		if err != nil {
			return head, err
		}
		c, err := events.DecodeCommit(s.Bytes)
		if err != nil {
			return head, err
		}
		if err := head.Follows(c); err != nil {
			return head, err
		}
		head = c.Head()
	}
	return head, nil
}

func wantError(t *testing.T, err, target error, words ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want %v", err, target)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestContractEmbedded(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		return embeddedSubject(t, Config{Dir: t.TempDir()})
	})
}

func embeddedSubject(t *testing.T, cfg Config) logtest.Subject {
	s := mustOpen(t, cfg)
	return logtest.Subject{
		Log: s.Log(), Journal: s.Journal(),
		Reopen: func() (logtest.Subject, error) {
			mustClose(t, s)
			return embeddedSubject(t, cfg), nil
		},
		Damage: func(r events.Revision) (logtest.Subject, error) {
			flipBit(t, cfg.Dir, r) // while it is open: it would not open again
			return logtest.Subject{Log: s.Log()}, nil
		},
	}
}

// external is a NATS server of somebody else's, with the defaults of NATS but for the listener and the disk.
func external(t testing.TB) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the external server does not start")
	}
	return srv
}

// blocks are the files that hold the messages of the stream LEDGER.
func blocks(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "LEDGER", "streams", "LEDGER", "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no blocks: %v", err)
	}
	return files
}

// flipBit flips one bit in the stored bytes of the commit at r.
func flipBit(t *testing.T, dir string, r events.Revision) {
	t.Helper()
	for _, file := range blocks(t, dir) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(b, fmt.Appendf(nil, `"revision":%d,`, r))
		if at < 0 {
			continue
		}
		b[at+3] ^= 1
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("revision %d is in no block", r)
}

func TestADamagedLastCommitIsCorruptNotAShortRead(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Timeout: time.Second}
	s := mustOpen(t, cfg)
	fill(t, s.Log(), events.Head{}, 20)
	mustClose(t, s)
	flipBit(t, cfg.Dir, 20)

	// The index still says 20, and a consumer is delivered 19 and then nothing, for ever.
	s = mustServe(t, cfg)
	head, err := readAll(t.Context(), s.Log())
	wantError(t, err, ledger.ErrCorrupt, "revision=20")
	if head.Revision != 19 {
		t.Errorf("read up to revision %d, want 19", head.Revision)
	}
	mustClose(t, s)

	// With the revision known the damage is met before the server does.
	cfg.Mark = 20
	_, err = Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrCorrupt, "know 20", "ends at 19")
}

// mustServe opens a log as an external server's is: nobody looks at the files.
func mustServe(t *testing.T, cfg Config) *Server {
	t.Helper()
	var err error
	s := &Server{}
	if s.cfg, err = cfg.withDefaults(); err == nil {
		err = s.embed()
	}
	var commits, entries *stream
	if err == nil {
		commits, entries, err = s.streams()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, s) })
	for _, st := range []*stream{commits, entries} {
		st.files = nil
		if there, err := st.attach(t.Context()); err != nil || !there {
			t.Fatalf("attach stream %s: %v, %v", st.name(), there, err)
		}
	}
	s.log, s.journal = newLog(commits), &Journal{entries}
	s.onClose(s.log.Close)
	return s
}

func TestACutTailIsCorruptNotAShorterLog(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	fill(t, s.Log(), events.Head{}, 50)
	mustClose(t, s)
	flipBit(t, cfg.Dir, 30)
	if err := os.Remove(filepath.Join(filepath.Dir(blocks(t, cfg.Dir)[0]), "index.db")); err != nil {
		t.Fatal(err)
	}

	// Without its index the server rebuilds the stream up to the damage and would give the sequences
	// after it to new commits.
	cfg.Mark = 50
	_, err := Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrCorrupt)
}

func TestMark(t *testing.T) {
	t.Run("no log", func(t *testing.T) {
		_, err := Open(t.Context(), Config{Dir: t.TempDir(), Mark: 7})
		wantError(t, err, ledger.ErrCorrupt, "the views know revision 7, the log is not there")
	})
	t.Run("a shorter log", func(t *testing.T) {
		cfg := Config{Dir: t.TempDir()}
		s := mustOpen(t, cfg)
		fill(t, s.Log(), events.Head{}, 3)
		mustClose(t, s)
		cfg.Mark = 3
		s = mustOpen(t, cfg)
		mustClose(t, s)
		cfg.Mark = 4
		_, err := Open(t.Context(), cfg)
		wantError(t, err, ledger.ErrCorrupt, "the views know revision 4", "ends at 3")
	})
	t.Run("lost metadata", func(t *testing.T) {
		cfg := Config{Dir: t.TempDir()}
		s := mustOpen(t, cfg)
		fill(t, s.Log(), events.Head{}, 3)
		mustClose(t, s)
		meta := filepath.Join(cfg.Dir, "jetstream", "LEDGER", "streams", "LEDGER", "meta.inf")
		b, err := os.ReadFile(meta)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(meta, b, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.Mark = 3
		_, err = Open(t.Context(), cfg)
		wantError(t, err, ledger.ErrCorrupt, "the log is not there")
	})
	t.Run("a log without its journal", func(t *testing.T) {
		cfg := Config{Dir: t.TempDir()}
		s := mustOpen(t, cfg)
		mustClose(t, s)
		if err := os.RemoveAll(filepath.Join(cfg.Dir, "jetstream", "LEDGER", "streams", "JOURNAL")); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), cfg)
		wantError(t, err, ledger.ErrCorrupt, "journal")
	})
}

func TestAStreamThatShrinksUnderUsIsCorrupt(t *testing.T) {
	srv := external(t)
	s := mustOpen(t, Config{URL: srv.ClientURL()})
	head := fill(t, s.Log(), events.Head{}, 3)

	js := s.JetStream()
	if err := js.DeleteStream(t.Context(), "LEDGER"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Log().Last(t.Context())
	wantError(t, err, ledger.ErrCorrupt, "gone")
	wantError(t, s.Log().Wait(t.Context(), 3), ledger.ErrCorrupt)

	if _, err := js.CreateStream(t.Context(), pinned("LEDGER", ledgerSubject, 1)); err != nil {
		t.Fatal(err)
	}
	_, err = s.Log().Last(t.Context())
	wantError(t, err, ledger.ErrCorrupt, "ends at 0, 3 was seen")
	wantError(t, s.Check(t.Context()), ledger.ErrCorrupt)
	next, err := logtest.Commit(head, 1, "next")
	if err != nil {
		t.Fatal(err)
	}
	// The head is our own mark, so a stream that starts over cannot take revision 4 as its first.
	wantError(t, s.Log().Append(t.Context(), 3, next), ledger.ErrConflict)
}

func TestStoppingWithoutClosingLosesNothing(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Timeout: time.Second}
	s := mustOpen(t, cfg)
	head := fill(t, s.Log(), events.Head{}, 25)
	for i := range 5 {
		if err := s.Journal().Note(t.Context(), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	s.embedded.Shutdown() // under the feet of everything
	s.embedded.WaitForShutdown()
	next, err := logtest.Commit(head, 1, "into the void")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Log().Append(t.Context(), head.Revision, next); !errors.Is(err, ledger.ErrUnavailable) && !errors.Is(err, ledger.ErrUnknownOutcome) {
		t.Errorf("append without a server: %v", err)
	}
	mustClose(t, s)

	cfg.Mark = head.Revision
	s = mustOpen(t, cfg)
	got, err := readAll(t.Context(), s.Log())
	if err != nil || got != head {
		t.Errorf("after the stop the log ends at %+v, %v; want %+v", got, err, head)
	}
	notes := 0
	for e, err := range s.Journal().Notes(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if notes++; e.Sequence != uint64(notes) {
			t.Errorf("note %d has sequence %d", notes, e.Sequence)
		}
	}
	if notes != 5 {
		t.Errorf("%d notes, want 5", notes)
	}
}

func TestOnlyOneProcessUsesADirectory(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	_, err := Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrUnavailable, cfg.Dir, "in use by another process")
	head := fill(t, s.Log(), events.Head{}, 1) // and the first is none the worse for it
	mustClose(t, s)
	s = mustOpen(t, cfg)
	if last, err := s.Log().Last(t.Context()); err != nil || last != head.Revision {
		t.Errorf("last is %d, %v; want %d", last, err, head.Revision)
	}
}

func TestHalfAConfigurationDoesNotStart(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no reader":        {Listen: "127.0.0.1:0"},
		"no password":      {Listen: "127.0.0.1:0", ReaderUser: "reader"},
		"no port":          {Listen: "127.0.0.1", ReaderUser: "reader", ReaderPassword: "secret"},
		"odd port":         {Listen: "127.0.0.1:70000", ReaderUser: "reader", ReaderPassword: "secret"},
		"two servers":      {URL: "nats://127.0.0.1:1", Listen: "127.0.0.1:0"},
		"one stream twice": {LedgerStream: "ONE", JournalStream: "ONE"},
		"no room":          {MaxPayload: 100},
	} {
		cfg.Dir = t.TempDir()
		if s, err := Open(t.Context(), cfg); err == nil {
			mustClose(t, s)
			t.Errorf("%s: it started", name)
		}
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	cfg := Config{Dir: t.TempDir(), Listen: taken.Addr().String(), ReaderUser: "reader", ReaderPassword: "secret"}
	_, err = Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrUnavailable, "address already in use")
	cfg.Listen = "127.0.0.1:0" // and the directory is free again
	mustOpen(t, cfg)
}

// The commits are larger together than what a replay may have under way.
func TestReplayOfTheLargestCommits(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir()})
	var head events.Head
	for range 6 {
		c, err := logtest.CommitOf(head, s.Log().MaxBytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Log().Append(t.Context(), head.Revision, c); err != nil {
			t.Fatal(err)
		}
		head = c.Head()
	}
	if got, err := readAll(t.Context(), s.Log()); err != nil || got != head {
		t.Errorf("the log ends at %+v, %v; want %+v", got, err, head)
	}
	// A delivery that leaves out what the stream has is a fault that may pass.
	wantError(t, s.Log().stream.missing(t.Context(), 3), ledger.ErrUnavailable)
	wantError(t, s.Log().stream.missing(t.Context(), 7), ledger.ErrCorrupt)
}

func TestTheServerStartsWithoutAWarning(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := mustOpen(t, Config{
		Dir: t.TempDir(), Logger: log, Listen: "127.0.0.1:0", ReaderUser: "reader", ReaderPassword: "secret",
	})
	mustClose(t, s)
	if said.Len() > 0 {
		t.Errorf("it says: %s", &said)
	}
}

func TestWhatCannotBeReachedIsUnavailable(t *testing.T) {
	srv := external(t)
	url := srv.ClientURL()
	s := mustOpen(t, Config{URL: url, Timeout: 500 * time.Millisecond})
	head := fill(t, s.Log(), events.Head{}, 2)
	srv.Shutdown()
	srv.WaitForShutdown()
	for s.conn.IsConnected() {
		time.Sleep(time.Millisecond)
	}
	next, err := logtest.Commit(head, 1, "next")
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Log().Append(t.Context(), 2, next), ledger.ErrUnavailable)
	_, err = s.Log().Last(t.Context())
	wantError(t, err, ledger.ErrUnavailable)
	_, err = readAll(t.Context(), s.Log())
	wantError(t, err, ledger.ErrUnavailable)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wantError(t, s.Log().Wait(short, 2), context.DeadlineExceeded) // what may pass is waited out

	_, err = Open(t.Context(), Config{URL: url, Timeout: time.Second})
	wantError(t, err, ledger.ErrUnavailable)
}

func TestTwoProcessesOnOneExternalServer(t *testing.T) {
	srv := external(t)
	a, b := mustOpen(t, Config{URL: srv.ClientURL()}), mustOpen(t, Config{URL: srv.ClientURL()})
	woken := make(chan error, 1)
	go func() { woken <- b.Log().Wait(t.Context(), 0) }()
	head := fill(t, a.Log(), events.Head{}, 1)
	if err := <-woken; err != nil { // b appended nothing, so it found this by looking
		t.Fatal(err)
	}
	late, err := logtest.Commit(events.Head{}, 1, "late")
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, b.Log().Append(t.Context(), 0, late), ledger.ErrConflict)
	fill(t, b.Log(), head, 1)
}

func TestTheLimitOfAnExternalServerCounts(t *testing.T) {
	s := mustOpen(t, Config{URL: external(t).ClientURL()})
	if got, want := s.Log().MaxBytes(), 1<<20-headerRoom; got != want { // 1 MiB is what NATS takes by default
		t.Errorf("max bytes is %d, want %d", got, want)
	}
	if s.ClientURL() == "" {
		t.Error("an external server has a URL")
	}
}

func TestServerOfTheEmbedded(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir()})
	if got, want := s.Log().MaxBytes(), 8<<20-headerRoom; got != want {
		t.Errorf("max bytes is %d, want %d", got, want)
	}
	if url := s.ClientURL(); url != "" {
		t.Errorf("it listens at %s, unasked", url)
	}
	if s.embedded.Addr() != nil || s.embedded.MonitorAddr() != nil || s.embedded.ClusterAddr() != nil {
		t.Error("it has a listener, unasked")
	}
	if _, err := s.JetStream().AccountInfo(t.Context()); err != nil {
		t.Errorf("jetstream of the feed: %v", err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	wantError(t, s.conn.Publish("other", make([]byte, 8<<20+1)), nats.ErrMaxPayload)
}
