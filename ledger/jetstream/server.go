package jetstream

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/ledger"
)

const (
	anyPort = server.RANDOM_PORT

	// maxPending is what the embedded server holds for one connection that reads slower than it is sent
	// to. Several replays may run at once on ours; each has at most twice replayBytes under way.
	maxPending = 512 << 20

	// maxStore is no limit: by itself the server stops at three quarters of what was free when it started,
	// revokes and all. How full the disk may get, and for what, is the ledger's to say.
	maxStore = 1 << 60

	startPatience = 30 * time.Second
	drainPatience = 10 * time.Second
)

// Server is a connection to JetStream, with the embedded server behind it if there is one.
type Server struct {
	cfg      Config
	log      *Log
	journal  *Journal
	embedded *server.Server // nil with an external one
	failure  *failure       // of its store

	conn *nats.Conn // of the streams LEDGER and JOURNAL
	feed *nats.Conn // of the stream EVENTS; the same as conn with an external server
	js   natsjs.JetStream

	opened  bool           // Open succeeded: the store is whole, as far as anybody knows
	release func() error   // gives the directory back; nil while it is not ours
	undo    []func() error // what Close does, last first
}

// Open starts the embedded server, or connects to the external one, and opens the log: it creates the
// streams if there are none and Mark allows it, and compares them with what they must be.
//
//   - ledger.ErrCorrupt: the log is not what the views know, or (ErrConfig) not configured as it must be.
//   - ledger.ErrUnavailable: the server cannot be reached, or another process uses Dir.
func Open(ctx context.Context, cfg Config) (_ *Server, err error) {
	s := &Server{}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open jetstream: %w", errors.Join(err, s.Close()))
		}
	}()
	if s.cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	switch {
	case s.cfg.URL == "" && s.cfg.Salvage:
		if err = s.openRemains(); err != nil {
			return nil, err
		}
		return s, nil
	case s.cfg.URL == "":
		err = s.openStore(ctx)
	default:
		err = s.connect()
	}
	if err == nil {
		s.js, err = natsjs.New(s.feed)
	}
	if err == nil {
		err = s.openStreams(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.opened = true
	return s, nil
}

// onClose remembers what Close must undo.
func (s *Server) onClose(undo func() error) { s.undo = append(s.undo, undo) }

// openStore opens the embedded server's store, and has a look at it first. nats-server has no such look: it
// heals what it finds by cutting off or leaving out, and says nothing.
func (s *Server) openStore(ctx context.Context) error {
	if err := s.lock(); err != nil {
		return err
	}
	clean := isNew(s.cfg.Dir) || closedCleanly(s.cfg.Dir)
	if !clean {
		if err := dropTornFeed(ctx, s.cfg.Dir, s.cfg.Logger); err != nil {
			return err
		}
	}
	known := map[string]uint64{s.cfg.LedgerStream: uint64(s.cfg.Mark), s.cfg.JournalStream: s.cfg.JournalMark}
	if err := glance(s.cfg.Dir, clean, known); err != nil {
		return err
	}
	if !clean {
		if err := settle(s.cfg.Dir, s.cfg.Logger); err != nil {
			return err
		}
		if err := s.preflight(ctx); err != nil {
			return err
		}
	}
	if err := markOpen(s.cfg.Dir); err != nil {
		return err
	}
	s.onClose(s.markClosed) // after the server has shut down, before the lock is gone
	return s.embed()
}

// preflight lets another process look at the store, which needs the lock for it.
func (s *Server) preflight(ctx context.Context) error {
	if s.cfg.Preflight == nil {
		return nil
	}
	if err := s.unlock(); err != nil {
		return err
	}
	if err := s.cfg.Preflight(ctx, s.cfg.Dir); err != nil {
		return fmt.Errorf("the last stop was not clean, and the store was looked at first: %w", err)
	}
	return s.lock()
}

// lock takes the directory; unlock gives it back, and Close does.
func (s *Server) lock() error {
	release, err := lockDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	s.release = release
	s.onClose(s.unlock)
	return clearHalfMade(s.cfg.Dir)
}

// unlock gives the directory back, in which nothing may be open. Harmless a second time.
func (s *Server) unlock() error {
	release := s.release
	if s.release = nil; release == nil {
		return nil
	}
	return release()
}

// markClosed says so only of a store that opened and did not fail.
func (s *Server) markClosed() error {
	if !s.opened || s.failure.err() != nil {
		return nil
	}
	return markClosed(s.cfg.Dir)
}

// embed starts the server in this process and connects to it without a network.
func (s *Server) embed() error {
	ledgerLogin, feedLogin := newLogin(ledgerAccount), newLogin(feedAccount)
	opts, err := embeddedOptions(s.cfg, ledgerLogin, feedLogin)
	if err != nil {
		return err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("configure the embedded server: %w", err)
	}
	s.failure = newFailure()
	log := &natsLogger{log: s.cfg.Logger, heed: s.failure.heed}
	srv.SetLoggerV2(log, false, false, false)
	s.onClose(func() error {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil
	})
	srv.Start() // returns when what is stored has been recovered
	if log.why() != "" || !srv.ReadyForConnections(startPatience) || !srv.JetStreamEnabled() {
		return fmt.Errorf("%w: the embedded server did not start: %s", ledger.ErrUnavailable, log.why())
	}
	s.embedded = srv

	inProcess := nats.InProcessServer(srv)
	if s.conn, err = s.dial("", inProcess, nats.UserInfo(ledgerLogin.user, ledgerLogin.password)); err != nil {
		return err
	}
	s.feed, err = s.dial("", inProcess, nats.UserInfo(feedLogin.user, feedLogin.password))
	return err
}

func embeddedOptions(cfg Config, ledger, feed login) (*server.Options, error) {
	opts := &server.Options{}
	if err := opts.ProcessConfigString(accounts()); err != nil {
		return nil, fmt.Errorf("configure the accounts: %w", err)
	}
	addUsers(opts, cfg, ledger, feed)
	opts.ServerName = "permledger"
	opts.NoSigs = true // signals are the program's
	opts.DisableJetStreamBanner = true
	opts.JetStream = true
	opts.StoreDir = cfg.Dir
	opts.JetStreamMaxStore = maxStore
	opts.SyncAlways = !cfg.UnsafeNoSync // an acknowledged commit is on the disk
	opts.MaxPayload = int32(cfg.MaxPayload)
	opts.MaxPending = maxPending
	opts.DontListen = cfg.Listen == ""
	if cfg.Listen == "" {
		return opts, nil
	}
	var err error
	opts.Host, opts.Port, err = hostPort(cfg.Listen)
	return opts, err
}

// connect connects to the external server.
func (s *Server) connect() error {
	opts := slices.Clone(s.cfg.ConnectOptions)
	if s.cfg.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(s.cfg.CredentialsFile))
	}
	if s.cfg.User != "" {
		opts = append(opts, nats.UserInfo(s.cfg.User, s.cfg.Password))
	}
	if s.cfg.Token != "" {
		opts = append(opts, nats.Token(s.cfg.Token))
	}
	conn, err := s.dial(s.cfg.URL, opts...)
	s.conn, s.feed = conn, conn
	return err
}

func (s *Server) dial(url string, opts ...nats.Option) (*nats.Conn, error) {
	conn, err := nats.Connect(url, append(opts,
		nats.Name("permledger"),
		nats.CustomInboxPrefix(inboxPrefix),
		nats.MaxReconnects(-1),
		// While disconnected a publish fails at once. Kept for later, it would be stored long after its
		// writer was told that nobody knows.
		nats.ReconnectBufSize(-1),
		nats.Timeout(s.cfg.Timeout),
	)...)
	if err != nil {
		return nil, fmt.Errorf("%w: connect to nats: %w", ledger.ErrUnavailable, err)
	}
	s.onClose(func() error { return drain(conn) })
	return conn, nil
}

// drain lets conn finish what it has begun and closes it.
func drain(conn *nats.Conn) error {
	closed := make(chan struct{})
	conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
	if err := conn.Drain(); err != nil { // disconnected or closed: nothing can be finished
		conn.Close()
		return nil
	}
	select {
	case <-closed:
		return nil
	case <-time.After(drainPatience):
		conn.Close()
		return errors.New("drain the nats connection: timed out")
	}
}

// streams are the two streams of a ledger, not yet looked for.
func (s *Server) streams() (commits, entries *stream, err error) {
	js, err := natsjs.New(s.conn)
	if err != nil {
		return nil, nil, err
	}
	one := func(name, subject string) *stream {
		st := &stream{
			conn: s.conn, js: js, pinned: pinned(name, subject, s.cfg.Replicas),
			timeout: s.cfg.Timeout, patience: s.cfg.Timeout, maxPayload: s.cfg.MaxPayload, salvaged: s.cfg.Salvage,
		}
		if s.embedded != nil {
			st.patience, st.failure = max(s.cfg.Patience, s.cfg.Timeout), s.failure
			st.files = filesOf(s.cfg.Dir, ledgerAccount, name)
			st.blocks.dir = filepath.Join(st.files.dir, "msgs")
		}
		return st
	}
	return one(s.cfg.LedgerStream, ledgerSubject), one(s.cfg.JournalStream, journalSubject), nil
}

// openStreams opens the journal and then the log, which it also creates in that order: a log without a
// journal has lost it, whatever the moment of the crash.
func (s *Server) openStreams(ctx context.Context) error {
	commits, entries, err := s.streams()
	if err != nil {
		return err
	}
	logExists, err := commits.attach(ctx)
	if err != nil {
		return err
	}
	journalExists, err := entries.attach(ctx)
	if err != nil {
		return err
	}
	if s.cfg.Salvage {
		return s.salvage(commits, entries, logExists, journalExists)
	}
	switch mark := s.cfg.Mark; {
	case !logExists && mark > 0:
		return fmt.Errorf("%w: the views know revision %d, the log is not there", ledger.ErrCorrupt, mark)
	case logExists && !journalExists:
		return fmt.Errorf("%w: the log is there, its journal is not", ledger.ErrCorrupt)
	}
	if err := entries.open(ctx, s.cfg.JournalMark); err != nil {
		return err
	}
	if noted, err := entries.last(ctx); err != nil {
		return err
	} else if !logExists && noted > 0 {
		return fmt.Errorf("%w: the journal has %d entries, the log they belong to is not there", ledger.ErrCorrupt, noted)
	}
	if err := commits.open(ctx, uint64(s.cfg.Mark)); err != nil {
		return err
	}
	if s.embedded != nil { // what was just made has names, too
		if err := syncTree(s.cfg.Dir); err != nil {
			return err
		}
	}
	s.log, s.journal = newLog(commits), &Journal{entries}
	s.onClose(s.log.Close)
	return nil
}

// salvage takes the streams for what they are.
func (s *Server) salvage(commits, entries *stream, logExists, journalExists bool) error {
	if logExists {
		s.log = newLog(commits)
		s.onClose(s.log.Close)
	}
	if journalExists {
		s.journal = &Journal{entries}
	}
	return nil
}

// Log is the log of commits; nil when it was to be salvaged and is not there.
func (s *Server) Log() *Log { return s.log }

// Journal is the journal of answers; nil when it was to be salvaged and is not there.
func (s *Server) Journal() *Journal { return s.journal }

// Conn is a connection for the feed of events. On the embedded server it is in an account of its own, from
// which the log cannot be reached.
func (s *Server) Conn() *nats.Conn { return s.feed }

// JetStream is JetStream on Conn.
func (s *Server) JetStream() natsjs.JetStream { return s.js }

// ClientURL is where clients connect: the external server, or the listener of the embedded one, "" if it
// has none.
func (s *Server) ClientURL() string {
	switch {
	case s.embedded == nil:
		return s.conn.ConnectedUrlRedacted()
	case s.cfg.Listen == "":
		return ""
	}
	return s.embedded.ClientURL()
}

// Check compares both streams with what they must be, as Open does and every Last and Read of the log does
// too. Worth a timer: on an external server anybody with the rights can change them under us.
func (s *Server) Check(ctx context.Context) error {
	if s.log == nil || s.journal == nil {
		return fmt.Errorf("%w: the log or its journal is not there", ledger.ErrCorrupt)
	}
	if s.cfg.Salvage && s.cfg.URL == "" {
		return s.checkRemains(ctx)
	}
	if _, err := s.log.stream.state(ctx, false); err != nil {
		return err
	}
	_, err := s.journal.stream.state(ctx, false)
	return err
}

// StoreFailed is nil, or why the embedded server's store takes nothing any more until it is opened again.
func (s *Server) StoreFailed() error { return s.failure.err() }

// CheckFiles looks at every block of every stream of the embedded server, the feed's too, without the server:
// each message must be whole and follow the one before it, up to the last one that was acknowledged. Nothing is changed. What is written meanwhile may
// be seen or not. With an external server it does nothing.
//
//   - ledger.ErrCorrupt: a message is damaged or missing, and it says where.
//   - ledger.ErrUnavailable: a file cannot be read, or is gone because the feed is being made anew.
func (s *Server) CheckFiles(ctx context.Context) error {
	if s.embedded == nil {
		return nil
	}
	known := []*stream{s.log.stream, s.journal.stream}
	least := []uint64{known[0].seen.Load(), known[1].seen.Load()} // before the look: what is stored meanwhile may be in it or not
	ends, err := checkAll(ctx, s.cfg.Dir)
	for i, one := range known {
		if last := ends[one.name()]; err == nil && last < least[i] {
			err = tooShort(one.name(), least[i], last)
		}
	}
	return err
}

// Close ends in the reverse order of Open: it waits for appends under way, drains the connections, shuts
// the embedded server down and gives Dir back. Nothing acknowledged is lost, with Close or without.
func (s *Server) Close() error {
	var errs []error
	for _, undo := range slices.Backward(s.undo) {
		errs = append(errs, undo())
	}
	s.undo = nil
	return errors.Join(errs...)
}
