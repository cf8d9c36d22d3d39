package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// CheckpointSubject is where signed checkpoints are published, as they are made, in core NATS: who listens hears of
// every later one, and asks over HTTP for the ones before.
const CheckpointSubject = "permledger.checkpoint"

// CheckpointFile is where the newest signed checkpoint lies under a data directory.
func CheckpointFile(dir string) string { return filepath.Join(dir, "checkpoint") }

// Checkpoints signs how far the ledger has got: after so many events, and at least every so often, even when
// nothing happens, so that a ledger which stands still and one that is held back can be told apart.
//
// What is signed can be held against the ledger for ever, by anybody. So nothing is signed that contradicts what was
// signed before, and nothing is shown before it is durable: after a crash the next one builds on it. All methods may
// be called from several goroutines, and those that only read work while the projector is halted.
type Checkpoints struct {
	projector *projections.Projector
	trail     *audit.Trail
	keys      *keyring
	clock     func() time.Time
	logger    *slog.Logger
	file      string             // "" when there is no data directory
	publish   func([]byte) error // nil without NATS
	every     events.Position
	interval  time.Duration

	witnesses *witnesses // nil without a policy

	signing       sync.Mutex
	kept          checkpoint.Checkpoint // the newest one kept; its zero value is before the first event
	witnessed     []byte                // the newest one with the cosignatures the policy asks for
	witnessedSize events.Position

	mu      sync.Mutex
	latest  []byte
	changed chan struct{} // closed and replaced when there is a new latest
	err     error
}

// openCheckpoints holds what was signed before against the ledger, and signs how it is now.
func (n *Node) openCheckpoints(ctx context.Context) error {
	c := &Checkpoints{
		projector: n.Projector, trail: n.Audit, keys: n.keys, clock: n.clock.now, logger: n.config.Logger,
		every: events.Position(n.config.CheckpointEvents), interval: n.config.CheckpointInterval, changed: make(chan struct{}),
	}
	if n.config.WitnessPolicy != nil {
		c.witnesses = newWitnesses(c, *n.config.WitnessPolicy)
	}
	if !n.config.Memory {
		c.file = CheckpointFile(n.config.Dir)
		c.publish = func(signed []byte) error { return n.Server.Conn().Publish(CheckpointSubject, signed) }
	}
	if err := c.resume(ctx); err != nil {
		return err
	}
	n.Checkpoints = c
	if _, err := c.Sign(ctx); n.Projector.Halted() != nil {
		return err
	} else if err != nil { // a full disk, say: the ledger answers all the same, and signs when it can
		c.logger.Error("no checkpoint was signed", "error", err)
	}
	return nil
}

// resume takes up what was kept: in the store and, in case the views were made anew, in the file.
func (c *Checkpoints) resume(ctx context.Context) error {
	kept, ok, err := c.projector.LastCheckpoint()
	if err != nil {
		return err
	}
	if ok {
		cp, taken, err := c.takeUp(ctx, kept)
		if err != nil {
			return fmt.Errorf("the newest checkpoint kept: %w", err)
		}
		if taken {
			c.kept = cp
		}
		if taken && c.witnesses != nil && c.witnesses.policy.Satisfied(kept) {
			c.witnessed, c.witnessedSize = kept, cp.Size
		}
	}
	filed, err := c.readFile()
	if filed == nil || err != nil {
		return err
	}
	cp, taken, err := c.takeUp(ctx, filed)
	if err != nil {
		return fmt.Errorf("the checkpoint in %s: %w", c.file, err)
	}
	if taken && cp.At > c.kept.At {
		c.kept = cp
		err = c.projector.KeepCheckpoint(cp.Size, cp.At, filed)
	}
	return err
}

// takeUp verifies a checkpoint that was kept. One of a past that was given up is not taken: the ledger says so itself.
func (c *Checkpoints) takeUp(ctx context.Context, signed []byte) (cp checkpoint.Checkpoint, taken bool, err error) {
	tree, err := c.trail.Tree(ctx)
	if err != nil {
		return cp, false, err
	}
	defer tree.Close()
	keys, err := Keys(ctx, c.trail)
	if err != nil {
		return cp, false, err
	}
	if cp, err = c.verify(ctx, tree, keys, signed); err == nil {
		return cp, true, nil
	}
	fork, given, searched := c.givenUp(ctx, signed)
	if !given || searched != nil {
		return cp, false, errors.Join(err, searched)
	}
	beyond := fork.Kept.Position
	if fork.Lost.Ledger != fork.Kept.Ledger {
		beyond = 0
	}
	c.logger.Warn("a checkpoint of a past that was given up is let go", "checkpoint", string(signed))
	return cp, false, c.projector.DropCheckpoints(beyond)
}

// givenUp finds the accepted fork by which what a checkpoint speaks of was lost.
func (c *Checkpoints) givenUp(ctx context.Context, signed []byte) (fork events.ForkAccepted, given bool, err error) {
	cp, err := checkpoint.Parse(signed)
	if err != nil {
		return fork, false, nil // it speaks of nothing
	}
	for r, err := range c.trail.Events(ctx, audit.Filter{Type: events.Name(fork)}) {
		if err != nil {
			return fork, false, err
		}
		fork, is := r.Event.(events.ForkAccepted)
		other := fork.Lost.Ledger != fork.Kept.Ledger
		if is && cp.Ledger == fork.Lost.Ledger && cp.At <= r.RecordedAt && (other || cp.Revision > fork.Kept.Revision) {
			return fork, true, nil
		}
	}
	return fork, false, nil
}

func (c *Checkpoints) readFile() ([]byte, error) {
	if c.file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// verify makes sure that a checkpoint was signed by this ledger, and is true of it.
func (c *Checkpoints) verify(ctx context.Context, tree *audit.Tree, keys checkpoint.Keys, signed []byte) (checkpoint.Checkpoint, error) {
	cp, err := checkpoint.Open(signed, keys)
	if err != nil {
		return cp, fmt.Errorf("%w: %w", ledger.ErrCorrupt, err)
	}
	if err := c.consistent(tree, cp); err != nil {
		return cp, err
	}
	stored, err := c.trail.Commit(ctx, cp.Revision)
	if err != nil {
		return cp, err
	}
	if hash := events.Hash(sha256.Sum256(stored.Bytes)); hash != cp.Head {
		return cp, fmt.Errorf("%w: revision %d has hash %s, the checkpoint says %s", ledger.ErrCorrupt, cp.Revision, hash, cp.Head)
	}
	return cp, nil
}

// consistent makes sure that the tree has grown from the one of a checkpoint.
func (c *Checkpoints) consistent(tree *audit.Tree, cp checkpoint.Checkpoint) error {
	switch {
	case cp.Ledger != tree.Head.Ledger:
		return fmt.Errorf("%w: the checkpoint is of ledger %s, this is %s", ledger.ErrCorrupt, cp.Ledger, tree.Head.Ledger)
	case cp.Revision > tree.Head.Revision || int64(cp.Size) > tree.Size:
		return fmt.Errorf("%w: the ledger has %d events in %d revisions, the checkpoint says %d in %d", ledger.ErrCorrupt,
			tree.Size, tree.Head.Revision, cp.Size, cp.Revision)
	}
	root, err := tree.RootAt(cp.Size)
	if err == nil && root != cp.Root {
		err = fmt.Errorf("%w: the tree of %d events has root %s, the checkpoint says %s", ledger.ErrCorrupt, cp.Size, root, cp.Root)
	}
	return err
}

// Latest is the newest signed checkpoint.
func (c *Checkpoints) Latest() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// Err is nil, or why the last attempt to sign or to show a checkpoint failed.
func (c *Checkpoints) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Before is the newest checkpoint kept that was signed at or before an instant; ok is false when there is none. Of
// those with the same number of events, the first and the latest are kept.
func (c *Checkpoints) Before(_ context.Context, at events.Instant) (signed []byte, ok bool, err error) {
	return c.projector.CheckpointBefore(at)
}

// All yields every checkpoint kept, oldest first.
func (c *Checkpoints) All(ctx context.Context) iter.Seq2[[]byte, error] {
	return c.projector.Checkpoints(ctx)
}

// Sign signs the ledger as it is now. When what is to be signed contradicts what was signed before, nothing is
// signed, the projector is halted and the error is ledger.ErrCorrupt: somebody changed the rows under it.
func (c *Checkpoints) Sign(ctx context.Context) ([]byte, error) {
	c.signing.Lock()
	defer c.signing.Unlock()
	return c.sign(ctx)
}

func (c *Checkpoints) sign(ctx context.Context) ([]byte, error) {
	cp, signed, err := c.make(ctx)
	if errors.Is(err, ledger.ErrCorrupt) {
		err = c.projector.Halt(err)
	}
	if err == nil {
		err = c.keep(cp, signed)
	}
	if err != nil {
		err = fmt.Errorf("sign a checkpoint: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err = err; err != nil {
		return nil, err
	}
	return signed, nil
}

// Covering gives a checkpoint that covers an event: the newest one with all cosignatures, else the newest one, else
// one signed now. Callers that come together share one.
func (c *Checkpoints) Covering(ctx context.Context, position events.Position) ([]byte, error) {
	c.signing.Lock()
	defer c.signing.Unlock()
	if c.witnessedSize >= position && c.witnessed != nil {
		return c.witnessed, nil
	}
	if latest := c.Latest(); latest != nil && c.kept.Size >= position {
		return latest, nil
	}
	return c.sign(ctx)
}

// Prove proves that events are in the ledger, under the newest checkpoint or, if one is not covered by it, a new
// one. When a proof would not hold, somebody changed the rows: the projector is halted and the error is
// ledger.ErrCorrupt.
func (c *Checkpoints) Prove(ctx context.Context, positions ...events.Position) ([]checkpoint.Proof, error) {
	last := slices.Max(append(positions, 0))
	if last > c.trail.Head().Position {
		return nil, fmt.Errorf("prove position=%d: %w", last, audit.ErrNotFound)
	}
	signed, err := c.Covering(ctx, last)
	if err != nil {
		return nil, err
	}
	tree, err := c.trail.Tree(ctx)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	proofs := make([]checkpoint.Proof, len(positions))
	for i, position := range positions {
		r, err := tree.Event(position)
		if err == nil {
			proofs[i], err = checkpoint.Prove(r.Raw, position, signed, tree.Hashes)
		}
		if errors.Is(err, checkpoint.ErrUnproved) {
			err = c.projector.Halt(fmt.Errorf("%w: %w", ledger.ErrCorrupt, err))
		}
		if err != nil {
			return nil, fmt.Errorf("prove position=%d: %w", position, err)
		}
	}
	return proofs, nil
}

// make signs and keeps nothing. A key that was replaced since the tree was pinned may be gone; then there is a
// newer tree to sign.
func (c *Checkpoints) make(ctx context.Context) (checkpoint.Checkpoint, []byte, error) {
	for {
		cp, key, err := c.present(ctx)
		if err != nil {
			return cp, nil, err
		}
		signer, err := c.keys.Signer(key)
		if err == nil {
			signed, err := checkpoint.Sign(cp, signer)
			return cp, signed, err
		}
		if c.projector.Head().Key == key {
			return cp, nil, err
		}
	}
}

// present is the checkpoint of the ledger as it is, held against the last one, and the key that must sign it.
func (c *Checkpoints) present(ctx context.Context) (checkpoint.Checkpoint, events.PublicKey, error) {
	tree, err := c.trail.Tree(ctx)
	if err != nil {
		return checkpoint.Checkpoint{}, events.PublicKey{}, err
	}
	defer tree.Close()
	if c.kept.Revision > 0 {
		if err := c.consistent(tree, c.kept); err != nil {
			return checkpoint.Checkpoint{}, events.PublicKey{}, err
		}
	}
	root, err := tree.Recompute(ctx, c.kept.Mark())
	switch {
	case errors.Is(err, events.ErrBroken):
		err = fmt.Errorf("%w: since checkpoint %d: %w", ledger.ErrCorrupt, c.kept.Size, err)
	case err == nil && root != events.Hash(tree.Root):
		err = fmt.Errorf("%w: the tree of %d events has root %s, the events since checkpoint %d make it %s", ledger.ErrCorrupt,
			tree.Size, events.Hash(tree.Root), c.kept.Size, root)
	}
	return checkpoint.Checkpoint{
		Ledger: tree.Head.Ledger, Size: tree.Head.Position, Root: root, Revision: tree.Head.Revision, Head: tree.Head.Hash,
		Schema: tree.State.Schema, State: tree.State.Digest, At: max(events.At(c.clock()), tree.Head.RecordedAt, c.kept.At),
	}, tree.Head.Key, err
}

// keep makes a checkpoint durable and then shows it.
//
// A crash before the store has it: nobody saw it, and the next one need not agree with it. After that and before the
// file is renamed: the file has an older one, which is true as well, and the next start writes a newer one. After
// the file: who listens on NATS has missed one and hears of the next.
func (c *Checkpoints) keep(cp checkpoint.Checkpoint, signed []byte) error {
	if err := c.projector.KeepCheckpoint(cp.Size, cp.At, signed); err != nil {
		return err
	}
	c.kept = cp
	c.show(signed)
	if c.publish != nil {
		if err := c.publish(signed); err != nil { // there is a later one to come
			c.logger.Warn("the checkpoint was not published", "error", err)
		}
	}
	if c.file == "" {
		return nil
	}
	return durable.WriteFile(c.file, signed)
}

func (c *Checkpoints) show(signed []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = signed
	close(c.changed)
	c.changed = make(chan struct{})
}

// Changed is closed when there is another Latest.
func (c *Checkpoints) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// run signs until ctx ends or the projector halts.
func (c *Checkpoints) run(ctx context.Context) {
	for c.wait(ctx) {
		if _, err := c.Sign(ctx); err != nil && ctx.Err() == nil {
			c.logger.Error("no checkpoint was signed", "error", err)
		}
	}
}

// After a failure the next attempt is made after this time, or after the interval if that is less.
const checkpointPace = time.Second

// wait returns when the next checkpoint is due, or false when there will be none.
func (c *Checkpoints) wait(ctx context.Context) bool {
	failed := c.Err() != nil
	due := time.NewTimer(c.interval)
	if failed {
		due.Reset(min(checkpointPace, c.interval))
	}
	defer due.Stop()
	for {
		changed := c.projector.Changed() // asked for before looking: what comes after wakes us
		switch {
		case c.projector.Halted() != nil:
			return false
		case !failed && c.projector.Head().Position >= c.size()+c.every:
			return true
		}
		select {
		case <-changed:
		case <-due.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

func (c *Checkpoints) size() events.Position {
	c.signing.Lock()
	defer c.signing.Unlock()
	return c.kept.Size
}

// close signs what came since the last one, after the last commit.
func (c *Checkpoints) close() error {
	if c.projector.Halted() != nil || c.projector.Head().Position == c.size() {
		return nil
	}
	_, err := c.Sign(context.Background())
	return err
}
