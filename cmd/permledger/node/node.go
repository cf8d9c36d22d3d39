package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/transparency-dev/formats/witness"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/cmd/permledger/personal"
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
	// ReplaceViews moves the views aside, to views.damaged-<n>, and begins new ones: when they do not open
	// (ReplaceDamaged), or in any case (ReplaceAll). For rebuild.
	ReplaceViews Replace

	// KeysDir has the private keys of the ledger; "" is keys in Dir. Nodes that write one log share it.
	KeysDir string

	// NATSURL is an external NATS; "" embeds a server. With it, other nodes may write the same log.
	NATSURL             string
	NATSCredentialsFile string
	NATSUser            string
	NATSPassword        string
	NATSReplicas        int // of each stream at NATSURL: 1 (default), 3 or 5
	// UnsafeNoSync loses acknowledged commits with the power; see jetstream.Config. For the test of that.
	UnsafeNoSync bool
	// NATSListen is the host:port at which the embedded server takes services that read the feed; "": none.
	NATSListen string

	// Administrator is the first administrator of a new ledger, whose token is root.token. Default client:root.
	Administrator events.Principal

	// Preflight looks at the embedded server's store before it is opened, when it was not closed cleanly: see
	// jetstream.Config. Default: nobody looks.
	Preflight func(ctx context.Context, dir string) error
	// CheckInterval is how often the log's streams are compared with what they must be. Default 5 s.
	CheckInterval time.Duration

	CacheBytes     int64         // of the views; default 128 MiB
	NoticeInterval time.Duration // how often starts and ends that have come are recorded; default 1 s, negative: never
	// Clock is the wall clock; default time.Now, held against the time that passes. One given here is believed
	// wherever it goes ahead.
	Clock func() time.Time
	// MaxClockGap is how much later than the directory was last used the clock may be at Open; default a year,
	// negative: any. A clock that is years ahead would end every grant there is.
	MaxClockGap time.Duration

	// DiskLow and DiskFull are the shares of the disk in use from which on only what takes away is recorded, and
	// nothing; default 0.90 and 0.97, negative: never. DiskHeadroom is how many bytes must be free for them not to
	// count; default 8 GiB, negative: they always count.
	DiskLow, DiskFull float64
	DiskHeadroom      int64
	Disk              func() (Disk, error) // how full it is; default the disk of Dir

	Logger   *slog.Logger     // default: nowhere
	Observer *ledger.Observer // default: nobody

	elapsed func() time.Duration // what Clock is held against; nil: nothing

	// A checkpoint is signed every CheckpointEvents events, default 1000, and at least every CheckpointInterval,
	// default 1 min, even if nothing happened.
	CheckpointEvents   int
	CheckpointInterval time.Duration
	// WitnessPolicy says which witnesses are asked to cosign checkpoints; default nobody.
	WitnessPolicy *witness.Group

	// ScrubInterval is how long the scrubber rests between strides; 0 is a minute, negative is never. A pass over
	// the whole ledger takes a day, or less. In Memory it rests for ever unless the interval is given.
	ScrubInterval time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.Clock == nil {
		c.Clock, c.elapsed = time.Now, elapsed
	}
	if c.MaxClockGap == 0 {
		c.MaxClockGap = 365 * 24 * time.Hour
	}
	c.DiskLow = cmp.Or(c.DiskLow, 0.90)
	c.DiskFull = cmp.Or(c.DiskFull, 0.97)
	c.DiskHeadroom = cmp.Or(c.DiskHeadroom, 8<<30)
	if c.Disk == nil && c.Dir != "" {
		c.Disk = diskOf(c.Dir)
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
	if c.CheckInterval <= 0 {
		c.CheckInterval = 5 * time.Second
	}
	if c.ScrubInterval == 0 && !c.Memory {
		c.ScrubInterval = time.Minute
	}
	switch {
	case c.Memory == (c.Dir != ""):
		return c, errors.New("a node needs a data directory, or memory, and not both")
	case c.NATSURL != "" && c.NATSListen != "":
		return c, errors.New("listening is for the embedded NATS server, not for an external one")
	}
	return c, c.checkDisk()
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
	Personal  *personal.Keys    // nil when Offline

	Checkpoints *Checkpoints

	Administrator  events.Principal
	RootToken      string // "" when Offline
	ReaderUser     string // how services log in to the embedded NATS; "" when it does not listen
	ReaderPassword string

	Replaced error  // why the views were begun anew, with ReplaceViews
	Aside    string // where the ones before were moved

	config Config
	store  *pebblekv.Store
	source *source
	keys   *keyring // nil when Offline

	erased   events.Position // erasures up to here are carried out; the opening's, then the agent's
	clock    *clock
	space    atomic.Int32 // a ledger.Space
	rotating sync.Mutex   // held while the key is replaced
	fork     *pendingFork // one that is being carried out
	scrub    scrubber

	marking sync.Mutex
	marked  mark // what mark.json holds

	mu        sync.Mutex
	following error // what keeps the views from following the log
	unchecked error // what keeps the log from being checked

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
			err = fmt.Errorf("open node: %w", n.advise(errors.Join(err, n.Close())))
		}
	}()
	steps := []func(context.Context) error{n.openDir, n.openViews, n.openLog, n.holdLog, n.catchUp, n.rescrub}
	if !cfg.Offline {
		steps = append(steps, n.openPersonal, n.openLedger, n.recordFork, n.openCheckpoints)
	}
	if !cfg.Offline && !cfg.Memory {
		steps = append(steps, n.openFeed, n.finishFork)
	}
	for _, step := range steps {
		if err = step(ctx); err != nil {
			return nil, err
		}
	}
	n.startAgents(ctx)
	return n, nil
}

// onClose remembers what Close must undo.
func (n *Node) onClose(undo func() error) { n.close = append(n.close, undo) }

// openDir makes the directory this process's own, sees to what was broken off in it, and reads the mark.
func (n *Node) openDir(context.Context) error {
	if n.config.Memory {
		return nil
	}
	if err := durable.Mkdir(n.config.Dir); err != nil {
		return err
	}
	unlock, err := lockDir(n.config.Dir)
	if err != nil {
		return err
	}
	n.onClose(unlock)
	if err := notRestoring(n.config.Dir); err != nil {
		return err
	}
	n.lookAtDisk()
	if err = n.checkPending(); err == nil {
		err = n.beginFork()
	}
	if err == nil {
		n.marked, err = readMark(n.config.Dir)
	}
	return err
}

// openViews opens the store.
func (n *Node) openViews(context.Context) error {
	dir := ""
	if !n.config.Memory {
		dir = viewsDir(n.config.Dir)
	}
	if err := n.openStore(dir); err != nil {
		return err
	}
	n.Audit = audit.NewTrail(n.Projector)
	n.clock = newClock(n.config.Clock, n.config.elapsed, n.config.MaxClockGap, n.marked.At)
	n.Access = access.NewView(n.Projector, n.Audit, n.clock.now)
	return nil
}

// openLog opens the log, which must be there if anything is known of it.
func (n *Node) openLog(ctx context.Context) error {
	if n.config.Memory {
		n.Log = memlog.Open(memlog.Config{})
		n.onClose(n.Log.Close)
		n.source.set(n.Log)
		return nil
	}
	known := n.Projector.Head().Mark()
	if n.marked.Revision > known.Revision {
		known = n.marked.Mark
	}
	cfg, err := n.jetstream(known.Revision)
	if err != nil {
		return err
	}
	if n.Server, err = jetstream.Open(ctx, cfg); err != nil {
		if errors.Is(err, ledger.ErrCorrupt) && known.Revision > 0 {
			err = tooShort(ctx, cfg, known, err)
		}
		return err
	}
	n.onClose(n.Server.Close)
	n.Log = n.Server.Log()
	n.source.set(n.Log)
	return n.checkPending() // again, with the lock of the log: a repair may have ended just before
}

func (n *Node) jetstream(known events.Revision) (jetstream.Config, error) {
	cfg := jetstream.Config{
		Dir: LogDir(n.config.Dir), URL: n.config.NATSURL, Logger: n.config.Logger,
		Mark: known, JournalMark: n.Projector.Noted(), Preflight: n.config.Preflight,
		CredentialsFile: n.config.NATSCredentialsFile, User: n.config.NATSUser, Password: n.config.NATSPassword,
		Replicas: n.config.NATSReplicas, Listen: n.config.NATSListen, UnsafeNoSync: n.config.UnsafeNoSync,
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

// openLedger opens the ledger, if it is not far too late for that.
func (n *Node) openLedger(ctx context.Context) (err error) {
	n.clock.raise(n.Projector.Head().RecordedAt)
	if err := n.clock.checkGap(); err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrClock, err)
	}
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
		Keys: n.keys, Clock: n.clock.now, ClockSound: n.clock.sound, Space: n.Space, Administrator: n.config.Administrator,
		NoticeInterval: n.config.NoticeInterval, Observer: n.config.Observer,
	})
	if err != nil {
		return err
	}
	n.onClose(n.Ledger.Close)
	return n.settleKeys(ctx)
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
	if n.config.ScrubInterval > 0 {
		agents.Go(func() { n.keepScrubbing(running) })
	}
	agents.Go(func() { n.Checkpoints.run(running) })
	if w := n.Checkpoints.witnesses; w != nil {
		agents.Go(func() { w.run(running) })
	}
	if n.config.Memory {
		return
	}
	agents.Go(func() { n.keepMark(running) })
	agents.Go(func() { n.erase(running) })
	agents.Go(func() { n.keepChecking(running) })
	agents.Go(func() { n.keepLooking(running) })
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
	if err := n.store.Err(); err != nil {
		return n.advise(err)
	}
	n.mu.Lock()
	following, unchecked := n.following, n.unchecked
	n.mu.Unlock()
	if following != nil {
		return fmt.Errorf("follow the log: %w", following)
	}
	if unchecked != nil {
		return fmt.Errorf("check the log: %w", unchecked)
	}
	if err := n.limited(); err != nil {
		return err
	}
	if n.Ledger != nil {
		if s := n.Ledger.Status(); !s.Ready {
			return fmt.Errorf("ledger: %s", s.Reason)
		}
	}
	if n.Server != nil {
		if err := n.Server.StoreFailed(); err != nil {
			return fmt.Errorf("nothing is stored until the server is restarted: %w", err)
		}
	}
	if n.Feed != nil {
		if err := n.Feed.Err(); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
	}
	return nil
}

// limited says why nothing is recorded at the moment, although nothing is broken. A disk that is low only is
// no reason: what takes away is still taken.
func (n *Node) limited() error {
	if err := n.clock.sound(); err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrClock, err)
	}
	if n.Space() == ledger.SpaceFull {
		return fmt.Errorf("%w: the disk is full; questions are answered", ledger.ErrNoSpace)
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
