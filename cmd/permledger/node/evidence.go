package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Evidence is what is in a data directory, opened as far as it can be and whatever is wrong with it, while nobody
// serves it: for verification, repair and accepting a fork. Nothing may be answered from it.
type Evidence struct {
	Log     *jetstream.Log     // nil with LogErr
	Journal *jetstream.Journal // nil when there is none
	LogErr  error              // why there is no log to read

	Projector *projections.Projector // nil with ViewsErr
	ViewsErr  error                  // why there are no views to read

	Mark events.Mark // of mark.json; zero when there is none

	config Config
	server *jetstream.Server
	views  *projections.Views
	close  []func() error
}

// OpenEvidence opens a data directory. Its error says that it could not look: somebody uses the directory, or an
// external NATS does not answer.
func OpenEvidence(ctx context.Context, cfg Config) (_ *Evidence, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	e := &Evidence{config: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	unlock, err := lockDir(cfg.Dir) // first: it tells a directory in use from a damaged one
	if err != nil {
		return nil, err
	}
	e.onClose(unlock)
	m, err := readMark(cfg.Dir)
	if err != nil {
		return nil, err
	}
	e.Mark = m.Mark
	if err := e.openLog(ctx); err != nil {
		return nil, err
	}
	return e, e.openViews()
}

func (e *Evidence) onClose(undo func() error) { e.close = append(e.close, undo) }

// Close closes what is open.
func (e *Evidence) Close() error {
	var errs []error
	for _, undo := range slices.Backward(e.close) {
		errs = append(errs, undo())
	}
	e.close = nil
	return errors.Join(errs...)
}

// logConfig is how the log is reached, in a directory when it is embedded.
func (c Config) logConfig(dir string) jetstream.Config {
	return jetstream.Config{
		Dir: dir, URL: c.NATSURL, CredentialsFile: c.NATSCredentialsFile, User: c.NATSUser, Password: c.NATSPassword,
		Replicas: c.NATSReplicas, Logger: c.Logger, Preflight: c.Preflight,
	}
}

func (e *Evidence) openLog(ctx context.Context) (err error) {
	if _, err := os.Stat(LogDir(e.config.Dir)); err != nil && e.config.NATSURL == "" {
		e.LogErr = fmt.Errorf("%w: the log is not there", ledger.ErrCorrupt)
		return nil
	}
	cfg := e.config.logConfig(LogDir(e.config.Dir))
	cfg.Salvage = true
	e.server, err = jetstream.Open(ctx, cfg)
	switch {
	case errors.Is(err, ledger.ErrCorrupt):
		e.LogErr = err
		return nil
	case err != nil:
		return err
	}
	e.onClose(e.server.Close)
	if e.Log, e.Journal = e.server.Log(), e.server.Journal(); e.Log == nil {
		e.LogErr = fmt.Errorf("%w: the log is not there", ledger.ErrCorrupt)
	}
	return nil
}

// ErrNoViews: there are no views, which is no damage: they are made from the log.
var ErrNoViews = errors.New("the views are not there")

// CheckStore looks at what else is in the store of the log: the journal and the feed.
func (e *Evidence) CheckStore(ctx context.Context) ([]audit.Fault, error) {
	if e.config.NATSURL != "" || e.Log == nil {
		return nil, nil
	}
	ends, err := jetstream.CheckFiles(ctx, LogDir(e.config.Dir))
	switch {
	case errors.Is(err, ledger.ErrCorrupt):
		return []audit.Fault{{Side: audit.SideStore, Why: err.Error(), Count: 1}}, nil
	case err != nil:
		return nil, err
	case e.Projector != nil && ends[journalStream] < e.Projector.Noted():
		why := fmt.Sprintf("the journal ends at %d, the views know %d", ends[journalStream], e.Projector.Noted())
		return []audit.Fault{{Side: audit.SideStore, Why: why, Count: 1}}, nil
	}
	return nil, nil
}

const journalStream = "JOURNAL"

func viewsDir(dir string) string { return filepath.Join(dir, "views") }

func (e *Evidence) openViews() error {
	dir := viewsDir(e.config.Dir)
	switch _, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		e.ViewsErr = ErrNoViews
		return nil
	case err != nil:
		e.ViewsErr = err
		return nil
	}
	store, err := pebblekv.Open(dir, pebblekv.Options{CacheBytes: e.config.CacheBytes, ReadOnly: true})
	if err != nil {
		if inUse := pebblekv.InUse(dir); inUse != nil {
			return fmt.Errorf("%w: the views: %w", ledger.ErrUnavailable, inUse)
		}
		e.ViewsErr = err
		return nil
	}
	e.onClose(store.Close)
	var log projections.Source = &source{} // which says that the log is not open
	if e.Log != nil {
		log = e.Log
	}
	if e.Projector, e.ViewsErr = projections.Open(store, log, Views()...); e.ViewsErr == nil {
		e.views, e.ViewsErr = e.Projector.Inspect()
	}
	if e.ViewsErr == nil && errors.Is(e.Projector.Halted(), projections.ErrSchema) {
		e.views.Close()
		e.views, e.ViewsErr = nil, e.Projector.Halted() // whole, perhaps, and not for this build to read
	}
	if e.ViewsErr != nil {
		e.Projector = nil
		return nil
	}
	e.onClose(func() error { e.views.Close(); return nil })
	return nil
}

// lost tells that a commit is gone from a log that cannot be read just now.
func lost(err error) bool { return errors.Is(err, ledger.ErrCorrupt) }

// Verification holds everything that is there against each other and against the mark.
func (e *Evidence) Verification() audit.Verification {
	v := audit.Verification{Lost: lost, Views: e.views, Known: knownMark(e.Mark)}
	if e.Projector != nil {
		v.Known = append(v.Known, knownCheckpoints(e.Projector)...)
	} else {
		v.Known = append(v.Known, filedCheckpoint(e.config.Dir)...)
	}
	if e.Log != nil {
		v.Source = e.Log
	}
	return v
}

// knownCheckpoints are the checkpoints that the ledger itself kept, as far as they can be read. Nobody's word is
// taken for them: a history that was edited together with them needs one from elsewhere.
func knownCheckpoints(p *projections.Projector) (known []audit.Known) {
	for signed, err := range p.Checkpoints(context.Background()) {
		if err != nil {
			break
		}
		if c, err := checkpoint.Parse(signed); err == nil {
			known = append(known, audit.Known{Name: fmt.Sprintf("the checkpoint of revision %d", c.Revision), Mark: c.Mark()})
		}
	}
	return known
}

// filedCheckpoint is the newest checkpoint, as it is beside the views that kept it.
func filedCheckpoint(dir string) []audit.Known {
	signed, err := os.ReadFile(CheckpointFile(dir))
	if err != nil {
		return nil
	}
	c, err := checkpoint.Parse(signed)
	if err != nil {
		return nil
	}
	return []audit.Known{{Name: "the file checkpoint", Mark: c.Mark()}}
}

func knownMark(m events.Mark) []audit.Known {
	if m.Revision == 0 {
		return nil
	}
	return []audit.Known{{Name: "mark.json", Mark: m}}
}

// Head is the head of the views; zero when they cannot be read.
func (e *Evidence) Head() events.Head {
	if e.views == nil {
		return events.Head{}
	}
	return e.views.Head
}

// Verify holds the log against the archive against the tree, beside everything else that the node does, and
// against the mark and what else is known.
func (n *Node) Verify(ctx context.Context, v audit.Verification) (audit.Report, error) {
	n.marking.Lock()
	v.Known = append(knownMark(n.marked.Mark), v.Known...)
	n.marking.Unlock()
	v.Known = append(v.Known, knownCheckpoints(n.Projector)...)
	views, err := n.Projector.Inspect() // after the mark, so that they have what it has
	if err != nil {
		return audit.Report{}, err
	}
	defer views.Close()
	v.Source, v.Lost, v.Views = n.Log, lost, views
	return audit.Verify(ctx, v)
}
