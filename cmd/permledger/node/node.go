package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/feed"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Config says where a node keeps things. Dir or Memory is needed.
type Config struct {
	Dir string // the data directory, made if it is not there

	// Memory keeps everything in memory: no files, no NATS and so no feed. For tests.
	Memory bool
	// Offline opens the log and the views and nothing that writes to the log: no ledger, no feed. A log or
	// views that are broken are no failure of Open; the projector's Halted tells. For replay and rebuild.
	Offline bool

	// KeysDir has the private keys of the ledger; "" is keys in Dir. Nodes that write one log share it.
	KeysDir string

	// NATSURL is an external NATS; "" embeds a server. With it, other nodes may write the same log.
	NATSURL             string
	NATSCredentialsFile string
	NATSUser            string
	NATSPassword        string
	NATSReplicas        int // of each stream at NATSURL: 1 (default), 3 or 5
	// NATSListen is the host:port at which the embedded server takes services that read the feed; "": none.
	NATSListen string

	// Administrator is the first administrator of a new ledger, whose token is root.token. Default client:root.
	Administrator events.Principal

	CacheBytes int64 // of the views; default 128 MiB
	// A checkpoint is signed every CheckpointEvents events, default 1000, and at least every CheckpointInterval,
	// default 1 min, even if nothing happened.
	CheckpointEvents   int
	CheckpointInterval time.Duration

	NoticeInterval time.Duration    // how often starts and ends that have come are recorded; default 1 s, negative: never
	Clock          func() time.Time // default time.Now
	Logger         *slog.Logger     // default: nowhere
	Observer       *ledger.Observer // default: nobody
}

func (c Config) withDefaults() (Config, error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CheckpointEvents <= 0 {
		c.CheckpointEvents = 1000
	}
	if c.CheckpointInterval <= 0 {
		c.CheckpointInterval = time.Minute
	}
	if c.Administrator.IsZero() {
		c.Administrator = events.Client("root")
	}
	switch {
	case c.Memory == (c.Dir != ""):
		return c, errors.New("a node needs a data directory, or memory, and not both")
	case c.NATSURL != "" && c.NATSListen != "":
		return c, errors.New("listening is for the embedded NATS server, not for an external one")
	}
	return c, nil
}

// Node is everything, open. Its fields are for reading; Ledger, Checkpoints and Feed are nil when Offline, and Feed
// and Server in Memory.
type Node struct {
	Ledger    *ledger.Ledger
	Log       ledger.Log
	Projector *projections.Projector
	Access    *access.View
	Audit     *audit.Trail
	Feed      *feed.Feed
	Server    *jetstream.Server // the NATS side

	Checkpoints *Checkpoints

	Administrator  events.Principal
	RootToken      string // "" when Offline
	ReaderUser     string // how services log in to the embedded NATS; "" when it does not listen
	ReaderPassword string

	config Config
	source *source
	keys   *keyring // nil when Offline

	marking sync.Mutex
	marked  mark // what mark.json holds

	mu        sync.Mutex
	following error // what keeps the views from following the log

	close []func() error // what Close does, last first
}

// Open opens a node. ctx bounds the opening, which may replay the log; the node outlives it.
//
// Errors are those of the rooms: ledger.ErrCorrupt when the log is not what it was, ledger.ErrUnavailable
// when NATS cannot be reached or another process uses the directory.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	n := &Node{config: cfg, source: &source{}, Administrator: cfg.Administrator}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open node: %w", errors.Join(err, n.Close()))
		}
	}()
	if err = n.openViews(); err == nil {
		err = n.openLog(ctx, max(n.marked.Revision, n.Projector.Head().Revision))
	}
	if err == nil {
		err = n.catchUp(ctx)
	}
	if err == nil && !cfg.Offline {
		err = n.openLedger(ctx)
	}
	if err == nil && !cfg.Offline {
		err = n.openCheckpoints(ctx)
	}
	if err == nil && !cfg.Offline && !cfg.Memory {
		err = n.openFeed(ctx)
	}
	if err != nil {
		return nil, err
	}
	n.startAgents(ctx)
	return n, nil
}

// onClose remembers what Close must undo.
func (n *Node) onClose(undo func() error) { n.close = append(n.close, undo) }

// openViews opens the store, and reads the mark beside it.
func (n *Node) openViews() error {
	dir := ""
	if !n.config.Memory {
		err := os.MkdirAll(n.config.Dir, 0o700)
		if err == nil {
			n.marked, err = readMark(n.config.Dir)
		}
		if err != nil {
			return err
		}
		dir = filepath.Join(n.config.Dir, "views")
	}
	store, err := pebblekv.Open(dir, pebblekv.Options{CacheBytes: n.config.CacheBytes})
	if err != nil {
		return fmt.Errorf("views in %s, which one process at a time can use: %w", dir, err)
	}
	n.onClose(store.Close)
	if n.Projector, err = projections.Open(store, n.source, Views()...); err != nil {
		return err
	}
	n.Audit = audit.NewTrail(n.Projector)
	n.Access = access.NewView(n.Projector, n.Audit, n.config.Clock)
	return nil
}

// openLog opens the log, which must reach the revision known.
func (n *Node) openLog(ctx context.Context, known events.Revision) error {
	if n.config.Memory {
		n.Log = memlog.Open(memlog.Config{})
		n.onClose(n.Log.Close)
		n.source.set(n.Log)
		return nil
	}
	cfg, err := n.jetstream(known)
	if err != nil {
		return err
	}
	if n.Server, err = jetstream.Open(ctx, cfg); err != nil {
		return err
	}
	n.onClose(n.Server.Close)
	n.Log = n.Server.Log()
	n.source.set(n.Log)
	return nil
}

func (n *Node) jetstream(known events.Revision) (jetstream.Config, error) {
	cfg := jetstream.Config{
		Dir: LogDir(n.config.Dir), URL: n.config.NATSURL, Mark: known, Logger: n.config.Logger,
		CredentialsFile: n.config.NATSCredentialsFile, User: n.config.NATSUser, Password: n.config.NATSPassword,
		Replicas: n.config.NATSReplicas, Listen: n.config.NATSListen,
	}
	if n.config.Offline {
		cfg.Mark = max(cfg.Mark, 1) // a log to replay has a first commit; none is to be made
	}
	if cfg.Listen == "" {
		return cfg, nil
	}
	password, err := token(readerTokenFile(n.config.Dir))
	n.ReaderUser, n.ReaderPassword = "reader", password
	cfg.ReaderUser, cfg.ReaderPassword = n.ReaderUser, n.ReaderPassword
	return cfg, err
}

// LogDir is where the embedded server keeps the log under a data directory.
func LogDir(dir string) string { return filepath.Join(dir, "jetstream") }

// catchUp brings the views to the log's end, from the beginning if another version made them, and holds the log
// against the mark.
func (n *Node) catchUp(ctx context.Context) error {
	err := n.Projector.CatchUp(ctx)
	if errors.Is(err, projections.ErrSchema) {
		n.config.Logger.Info("making the views anew", "because", err)
		_, err = n.Projector.Rebuild(ctx, nil)
	}
	if err == nil {
		err = n.checkMark(ctx, n.marked)
	}
	if err != nil && n.config.Offline && n.Projector.Halted() != nil {
		n.config.Logger.Warn("the views are halted", "error", err)
		return nil
	}
	return err
}

func (n *Node) openLedger(ctx context.Context) (err error) {
	if n.RootToken = newToken(); !n.config.Memory {
		if n.RootToken, err = token(RootTokenFile(n.config.Dir)); err != nil {
			return err
		}
		n.onClose(n.writeMark) // after the ledger has written its last commit
	}
	n.onClose(n.closeCheckpoints) // the same
	if n.keys, err = n.openKeys(); err != nil {
		return err
	}
	n.Ledger, err = ledger.Open(ctx, n.Log, n.journal(), Projection(n.Projector), ledger.Config{
		Keys: n.keys, Clock: n.config.Clock, Administrator: n.config.Administrator,
		NoticeInterval: n.config.NoticeInterval, Observer: n.config.Observer,
	})
	if err != nil {
		return err
	}
	n.onClose(n.Ledger.Close)
	return n.keys.Keep(n.Projector.Head().Key)
}

func (n *Node) openKeys() (*keyring, error) {
	dir := n.config.KeysDir
	if dir == "" && !n.config.Memory {
		dir = KeysDir(n.config.Dir)
	}
	return openKeyring(dir)
}

func (n *Node) journal() ledger.Journal {
	if n.Server != nil {
		return n.Server.Journal()
	}
	return n.Log.(*memlog.Log)
}

func (n *Node) closeCheckpoints() error {
	if n.Checkpoints == nil {
		return nil
	}
	return n.Checkpoints.close()
}

func (n *Node) openFeed(ctx context.Context) (err error) {
	n.Feed, err = feed.Start(ctx, feed.Config{
		JetStream: n.Server.JetStream(), Source: n.Audit, Replicas: n.config.NATSReplicas,
	})
	if err != nil {
		return err
	}
	n.onClose(func() error { n.Feed.Close(); return nil })
	return nil
}

// startAgents starts the node's own goroutines. They are the first to end.
func (n *Node) startAgents(ctx context.Context) {
	if n.config.Offline {
		return
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var agents sync.WaitGroup
	n.onClose(func() error { stop(); agents.Wait(); return nil })
	agents.Go(func() { n.Checkpoints.run(running) })
	if n.config.Memory {
		return
	}
	agents.Go(func() { n.keepMark(running) })
	if n.config.NATSURL != "" {
		agents.Go(func() { n.follow(running) })
	}
}

// Conn is a connection to NATS for whoever reads the feed; nil in Memory.
func (n *Node) Conn() *nats.Conn {
	if n.Server == nil {
		return nil
	}
	return n.Server.Conn()
}

// Ready is nil when questions are answered, requests are taken and the feed is published, or says what is
// not so.
func (n *Node) Ready() error {
	if err := n.Projector.Halted(); err != nil {
		return err
	}
	n.mu.Lock()
	following := n.following
	n.mu.Unlock()
	if following != nil {
		return fmt.Errorf("follow the log: %w", following)
	}
	if n.Ledger != nil {
		if s := n.Ledger.Status(); !s.Ready {
			return fmt.Errorf("ledger: %s", s.Reason)
		}
	}
	if n.Feed != nil {
		if err := n.Feed.Err(); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
	}
	return nil
}

// Close ends everything in the reverse order of Open. It may be called again.
func (n *Node) Close() error {
	var errs []error
	for _, undo := range slices.Backward(n.close) {
		errs = append(errs, undo())
	}
	n.close = nil
	return errors.Join(errs...)
}
