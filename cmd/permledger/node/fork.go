package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/projections/audit"
)

var (
	// ErrFork: the log is sound, and is not the one that this directory had. A kind of ledger.ErrCorrupt.
	ErrFork = fmt.Errorf("the log has another history: %w", ledger.ErrCorrupt)
	// ErrNoFork: the log has everything this directory had.
	ErrNoFork = errors.New("there is no fork: the log has every revision that this directory had")
)

// holdLog makes sure that the log has what the views and the mark remember. An older backup, another ledger's, or
// a log whose tail was cut has not, and nothing may be written to it: its next revision was given away before.
func (n *Node) holdLog(ctx context.Context) error {
	if n.config.Memory {
		return nil
	}
	head := n.Projector.Head().Mark()
	for _, k := range []audit.Known{{Name: "the views", Mark: head}, {Name: "mark.json", Mark: n.marked.Mark}} {
		if k.Revision == 0 {
			continue
		}
		last, err := n.Log.Last(ctx)
		if err != nil {
			return err
		}
		if last < k.Revision {
			return fmt.Errorf("%w: %s knows revision %d of ledger %s, the log ends at revision %d of ledger %s; %s",
				ErrFork, k.Name, k.Revision, k.Ledger, last, ledgerOf(ctx, n.Log), waysOut)
		}
		if n.config.Offline {
			continue // the projector halts by itself, and may be looked at
		}
		switch hash, err := hashAt(ctx, n.Log, k.Revision); {
		case err != nil:
			return err
		case hash != k.Hash:
			return fmt.Errorf("%w: %s knows revision %d of ledger %s with hash %s, the log has it with hash %s in ledger %s and ends at revision %d; %s",
				ErrFork, k.Name, k.Revision, k.Ledger, k.Hash, hash, ledgerOf(ctx, n.Log), last, waysOut)
		}
	}
	return nil
}

// tooShort says what a log is that did not open because it is not what the directory knows; a whole one that
// ends early may be another's.
func tooShort(ctx context.Context, cfg jetstream.Config, known events.Mark, err error) error {
	err = fmt.Errorf("this directory knows revision %d of ledger %s: %w; %s", known.Revision, known.Ledger, err, waysOut)
	if !errors.Is(err, jetstream.ErrTooShort) || cfg.URL != "" {
		return err
	}
	cfg.Salvage = true
	s, opened := jetstream.Open(ctx, cfg)
	if opened != nil {
		return err
	}
	defer s.Close()
	if s.Log() == nil {
		return err
	}
	last, looked := s.Log().Last(ctx)
	if looked != nil || last >= known.Revision { // then it is the journal that ends early, and no other history
		return err
	}
	return fmt.Errorf("%w: the log ends at revision %d of ledger %s: %w", ErrFork, last, ledgerOf(ctx, s.Log()), err)
}

const waysOut = `"permledger verify" says which side is damaged, if one is, and "permledger repair" mends it; ` +
	`"permledger accept-fork" goes on from what the log has`

func hashAt(ctx context.Context, log ledger.Log, r events.Revision) (events.Hash, error) {
	for stored, err := range log.Read(ctx, r) {
		return sha256.Sum256(stored.Bytes), err
	}
	return events.Hash{}, fmt.Errorf("%w: the log gives no revision %d", ledger.ErrCorrupt, r)
}

// ledgerOf is for people: which ledger a log says it is of.
func ledgerOf(ctx context.Context, log ledger.Log) string {
	for stored, err := range log.Read(ctx, 1) {
		if err != nil {
			break
		}
		if c, err := events.DecodeCommit(stored.Bytes); err == nil {
			return c.Ledger.String()
		}
		break
	}
	return "unknown"
}

// Fork is a log that goes on otherwise than the ledger had, and what is given up by going on from it.
type Fork struct {
	Lost   events.Mark // how far the ledger had got
	Kept   events.Mark // how far the log reaches that it would go on from
	Common events.Revision
	// The revisions after Common that only the views have: how many events, recorded from when until when. Zero
	// when they cannot be read any more.
	LostEvents  events.Position
	Since, Till events.Instant

	key events.PublicKey // signs what comes after Kept
}

// pendingFork is fork.json: a fork that was accepted and not yet carried out.
type pendingFork struct {
	ID     uuid.UUID   `json:"id"` // the event is recorded under it once, however often this is tried
	Lost   events.Mark `json:"lost"`
	Kept   events.Mark `json:"kept"`
	Reason string      `json:"reason"`
	Aside  []exchange  `json:"aside"` // the views, the mark and the checkpoint of what was lost
}

// PendingFork reports whether a fork was accepted and is not carried out yet.
func PendingFork(dir string) (bool, error) { return readPending(dir, forkName, &pendingFork{}) }

// FindFork looks for what is lost by going on from the log. Every commit of the log is verified first: a damaged
// log is not to be gone on from.
func (e *Evidence) FindFork(ctx context.Context, progress func(events.Head)) (Fork, error) {
	if e.LogErr != nil {
		return Fork{}, fmt.Errorf("there is no log to go on from: %w", e.LogErr)
	}
	report, err := audit.Verify(ctx, audit.Verification{Source: e.Log, Lost: lost, Progress: progress})
	if err == nil {
		err = report.Err()
	}
	if err == nil && report.Head.Revision == 0 {
		err = fmt.Errorf("%w: the log is empty", ledger.ErrCorrupt)
	}
	if err != nil {
		return Fork{}, fmt.Errorf("the log is not one to go on from: %w", err)
	}
	f := Fork{Kept: report.Head.Mark(), key: report.Head.Key}
	f.Kept.Root = report.Root
	for _, known := range []events.Mark{e.Mark, e.Head().Mark()} { // which may be of different histories
		has, err := e.has(ctx, known, f.Kept.Revision)
		if err != nil {
			return Fork{}, err
		}
		if !has && known.Revision >= f.Lost.Revision {
			f.Lost = known
		}
	}
	if f.Lost.Revision == 0 {
		return Fork{}, ErrNoFork
	}
	return f, e.measure(ctx, &f)
}

func (e *Evidence) has(ctx context.Context, m events.Mark, last events.Revision) (bool, error) {
	if m.Revision == 0 || m.Revision > last {
		return m.Revision == 0, nil
	}
	hash, err := hashAt(ctx, e.Log, m.Revision)
	return hash == m.Hash, err
}

// measure finds the last commit that both sides have, and what comes after it in the archive. An archive that
// cannot be read says nothing of it.
func (e *Evidence) measure(ctx context.Context, f *Fork) error {
	if e.views == nil || e.views.Head.Hash != f.Lost.Hash || e.Projector.Halted() != nil {
		return nil
	}
	trail := audit.NewTrail(e.Projector)
	tree, err := trail.Tree(ctx)
	if err != nil {
		return nil
	}
	f.Lost = tree.Mark()
	tree.Close()
	low, high := events.Revision(0), min(f.Kept.Revision, f.Lost.Revision) // the one looked for is in [low, high]
	for low < high {
		middle := low + (high-low+1)/2
		archived, err := trail.Commit(ctx, middle)
		if err != nil {
			return nil
		}
		hash, err := hashAt(ctx, e.Log, middle)
		switch {
		case err != nil:
			return err
		case hash == sha256.Sum256(archived.Bytes):
			low = middle
		default:
			high = middle - 1
		}
	}
	f.Common = low
	first, err := trail.Commit(ctx, low+1)
	if err != nil {
		return nil
	}
	c, err := events.DecodeCommit(first.Bytes)
	if err != nil {
		return nil
	}
	f.LostEvents, f.Since, f.Till = f.Lost.Position-c.Position+1, c.RecordedAt, e.views.Head.RecordedAt
	return nil
}

// Accept writes down that the ledger goes on from the log. Nothing is moved yet: that, and the event, is what
// opening a node does next, and again until it succeeded.
//
// Before fork.json is on the disk nothing happened; once it is, the next start carries it out, whoever asks for it.
func (e *Evidence) Accept(f Fork, reason string) error {
	keys, err := openKeyring(e.keysDir())
	if err == nil && !f.key.IsZero() {
		_, err = keys.Signer(f.key)
	}
	if err != nil {
		return fmt.Errorf("go on from the log: %w", err)
	}
	dir := e.config.Dir
	return writePending(dir, forkName, pendingFork{
		ID: uuid.New(), Lost: f.Lost, Kept: f.Kept, Reason: reason,
		Aside: []exchange{{Name: "views", Kept: unused(dir, "views", "fork")}, {Name: "mark.json", Kept: unused(dir, "mark.json", "fork")},
			{Name: "checkpoint", Kept: unused(dir, "checkpoint", "fork")}},
	})
}

func (e *Evidence) keysDir() string {
	if e.config.KeysDir != "" {
		return e.config.KeysDir
	}
	return KeysDir(e.config.Dir)
}

// beginFork moves the views, the mark and the checkpoint of what was lost aside, if a fork was accepted. They are kept: nothing
// else has those revisions.
//
// Crash points: each move is either done or not, and done only if its target is not there. After both, the node
// opens on the log alone, as with views that were thrown away; the mark and the views it makes are those of the
// fork, and the moves, tried again, see that theirs are done.
func (n *Node) beginFork() error {
	var f pendingFork
	pending, err := readPending(n.config.Dir, forkName, &f)
	if err != nil || !pending {
		return err
	}
	for _, x := range f.Aside {
		if err := x.finish(n.config.Dir); err != nil {
			return fmt.Errorf("move %s aside: %w", x.Name, err)
		}
	}
	n.fork = &f
	return nil
}

// recordFork records the event. The key makes it one event, also after a crash between its commit and the removal
// of fork.json.
func (n *Node) recordFork(ctx context.Context) error {
	if n.fork == nil {
		return nil
	}
	f := n.fork
	_, err := n.Ledger.Submit(ctx, ledger.Request{
		Tenant: events.DefaultTenant,
		Meta:   events.Meta{Actor: n.Administrator, Reason: f.Reason, Key: "accept-fork " + f.ID.String()},
		Commands: []ledger.Command{
			ledger.AcceptFork{Lost: f.Lost, Kept: f.Kept},
		},
	})
	if err != nil {
		return fmt.Errorf("record the fork: %w", err)
	}
	return nil
}

// finishFork makes the feed anew, whose tail may be of what was lost: a subscriber whose cursor is there finds
// another event in its place, and stops. Only then is the fork carried out.
func (n *Node) finishFork(ctx context.Context) error {
	if n.fork == nil {
		return nil
	}
	if err := n.Feed.Rebuild(ctx); err != nil {
		return fmt.Errorf("after a fork: %w", err)
	}
	n.config.Logger.Warn("the ledger goes on from a fork", "lost", n.fork.Lost.Revision, "kept", n.fork.Kept.Revision)
	n.fork = nil
	return removePending(n.config.Dir, forkName)
}
