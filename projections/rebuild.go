package projections

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

var (
	// ErrDiffers: the views made again from the log are not the ones in use.
	ErrDiffers = errors.New("rebuilt views differ")
	// ErrRebuilding: a rebuild is running already.
	ErrRebuilding = errors.New("a rebuild is running")
)

// Rebuilt says what a rebuild found.
type Rebuilt struct {
	Revision   events.Revision   // at which the digests were taken
	Generation uint64            // in use afterwards
	Digests    map[string]Digest // by view
	Uncompared error             // why there was nothing to compare with; nil: Digests has both sides
	Diverged   events.Revision   // the first one after which the states differ; 0: they are the same throughout
	Events     events.Position   // how many were replayed for the digests
	Took       time.Duration
}

// Digest is the digest of one view in the generation that was in use and in the one made again.
type Digest struct {
	Live    string // "" when it was not compared
	Rebuilt string
}

// Rebuild makes every view again from the first commit, compares the result with the views in use and, if
// it is the same, uses it from then on. The generation used before is kept, older ones are deleted. Reads
// and writes go on meanwhile; writers wait twice for as long as it takes to apply a few commits.
//
// When the views differ the ones in use stay in use and the error is ErrDiffers; the new ones are deleted.
// When the projector is halted or its rows cannot be read there is nothing to compare with: Rebuilt.Uncompared
// says so, the new generation is used, and the projector starts again. It still must come from the same log:
// at the revision of the last commit applied before, the hash must be the same. A projector that halts while
// a rebuild is running stays halted.
//
// A crash leaves the old generation in use, and a part of the new one, which the next rebuild deletes.
func (p *Projector) Rebuild(ctx context.Context, progress func(done events.Head)) (_ Rebuilt, err error) {
	if !p.rebuilding.TryLock() {
		return Rebuilt{}, ErrRebuilding
	}
	defer p.rebuilding.Unlock()
	started := time.Now()

	live, halted := p.inUse()
	r := &rebuild{p: p, generation: live + 1, halted: halted, progress: progress}
	if err := p.drop(r.generation); err != nil {
		return Rebuilt{}, err
	}
	adopted := false
	defer func() {
		if adopted {
			return
		}
		if dropped := p.drop(r.generation); dropped != nil {
			err = errors.Join(err, dropped)
		}
	}()

	if err := r.approach(ctx); err != nil {
		return Rebuilt{}, fmt.Errorf("rebuild: %w", err)
	}
	out, err := r.compare(ctx)
	if err != nil {
		return out, err
	}
	if err := r.adopt(ctx); err != nil {
		return out, fmt.Errorf("rebuild: %w", err)
	}
	adopted = true
	out.Generation, out.Took = r.generation, time.Since(started)
	return out, nil
}

// rebuild is a generation in the making.
type rebuild struct {
	p          *Projector
	generation uint64
	halted     error  // why the generation in use was halted when the rebuild began, or nil
	at         cursor // how far the generation got
	progress   func(events.Head)
}

// While a rebuild is behind by more revisions than this, writers do not wait for it.
const closeBy = 100

// approach replays until the generation in use is close, or gets no closer because others write faster than
// this reads: then they have to wait.
func (r *rebuild) approach(ctx context.Context) error {
	for behind := events.Revision(math.MaxUint64); ; {
		to, err := r.goal(ctx)
		if err != nil {
			return err
		}
		if to-r.at.Revision <= closeBy || to-r.at.Revision >= behind {
			return nil
		}
		behind = to - r.at.Revision
		if err := r.run(ctx, to); err != nil {
			return err
		}
	}
}

// meet replays to the goal. The caller holds p.writing, so the generation in use stays where it is.
func (r *rebuild) meet(ctx context.Context) error {
	if _, halted := r.p.inUse(); halted != r.halted {
		return halted
	}
	to, err := r.goal(ctx)
	if err != nil {
		return err
	}
	return r.run(ctx, to)
}

// goal is how far to replay: as far as the views in use are or, when they are halted, as far as the log goes.
func (r *rebuild) goal(ctx context.Context) (events.Revision, error) {
	live := r.p.Head().Revision
	if r.halted == nil {
		return live, nil
	}
	last, err := r.p.last(ctx)
	if err == nil && last < live {
		err = fmt.Errorf("%w: the log ends at revision %d, the views are at %d", events.ErrBroken, last, live)
	}
	return last, err
}

// run replays up to the revision to. On the way it passes the head of the generation in use, where the log
// must have the same commit as then.
func (r *rebuild) run(ctx context.Context, to events.Revision) (err error) {
	if live := r.p.Head(); r.at.Revision <= live.Revision && live.Revision <= to {
		if r.at, err = r.p.run(ctx, r.generation, r.at, live.Revision, r.progress); err != nil {
			return err
		}
		if r.at.Hash != live.Hash {
			return fmt.Errorf("%w: the log has hash %s at revision %d, the views were made with %s", events.ErrBroken, r.at.Hash, live.Revision, live.Hash)
		}
	}
	r.at, err = r.p.run(ctx, r.generation, r.at, to, r.progress)
	return err
}

// compare takes the digests of both generations at one revision. They are computed after writers may go
// on: the snapshot stands still.
func (r *rebuild) compare(ctx context.Context) (Rebuilt, error) {
	p := r.p
	live := r.generation - 1
	p.writing.Lock()
	err := r.meet(ctx)
	snap := p.store.NewSnapshot()
	p.writing.Unlock()
	defer snap.Close()
	out := Rebuilt{Generation: live, Revision: r.at.Revision, Events: r.at.Position, Uncompared: r.halted}
	if err != nil {
		return out, fmt.Errorf("rebuild: %w", err)
	}

	rebuilt, err := p.digests(ctx, snap, r.generation)
	if err != nil {
		return out, fmt.Errorf("rebuild: %w", err)
	}
	var before map[string]string
	if r.halted == nil {
		before, out.Uncompared = p.digests(ctx, snap, live)
	}
	if err := ctx.Err(); err != nil {
		return out, fmt.Errorf("rebuild: %w", context.Cause(ctx))
	}
	out.Digests = map[string]Digest{}
	var differ []string
	for _, view := range slices.Sorted(maps.Keys(rebuilt)) {
		d := Digest{Live: before[view], Rebuilt: rebuilt[view]}
		out.Digests[view] = d
		if out.Uncompared == nil && d.Live != d.Rebuilt {
			differ = append(differ, fmt.Sprintf("%s has %s, rebuilt %s", view, d.Live, d.Rebuilt))
		}
	}
	if out.Uncompared == nil {
		if out.Diverged, err = diverged(snap.Window(prefixState(live)), snap.Window(prefixState(r.generation))); err != nil {
			return out, fmt.Errorf("rebuild: compare states: %w", err)
		}
	}
	return out, out.differs(differ)
}

// differs is ErrDiffers with all that is known of the difference, or nil. Equal rows that were arrived at in
// another way are a difference, too: the live ledger answered otherwise for a while. Rows that differ though
// the states do not were changed after they had been written.
func (r Rebuilt) differs(views []string) error {
	var how []string
	if r.Diverged > 0 {
		how = append(how, fmt.Sprintf("the states differ from revision=%d on", r.Diverged))
	}
	if len(views) > 0 {
		how = append(how, fmt.Sprintf("at revision=%d %s", r.Revision, strings.Join(views, "; ")))
	}
	if len(views) > 0 && r.Diverged == 0 {
		how = append(how, "the rows were changed after they had been written")
	}
	if how == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDiffers, strings.Join(how, "; "))
}

// adopt applies what came since the comparison and moves the pointer. Pointer and deletions are one synced
// batch, and what was written before a synced batch is durable with it: after a crash either generation is
// in use and whole.
func (r *rebuild) adopt(ctx context.Context) error {
	p := r.p
	if err := r.approach(ctx); err != nil {
		return err
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := r.meet(ctx); err != nil {
		return err
	}
	w := p.store.NewBulkWrite()
	defer w.Discard()
	if err := w.Set(keyGeneration, binary.BigEndian.AppendUint64(nil, r.generation)); err != nil {
		return err
	}
	if err := w.Set(keySchema, schemaValue()); err != nil {
		return err
	}
	if kept := r.generation - 1; kept > 1 {
		if err := deleteGeneration(w, kept-1); err != nil {
			return err
		}
	}
	if err := w.Commit(true); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generation, p.head, p.state = r.generation, r.at.Head, r.at.State
	if p.halted == r.halted {
		p.halted = nil
	}
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

func (p *Projector) inUse() (generation uint64, halted error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.generation, p.halted
}

// drop deletes a generation that is not in use.
func (p *Projector) drop(generation uint64) error {
	w := p.store.NewBulkWrite()
	defer w.Discard()
	if err := deleteGeneration(w, generation); err != nil {
		return err
	}
	return w.Commit(false)
}

func deleteGeneration(w *pebblekv.Write, generation uint64) error {
	if err := w.Delete(keyCursor(generation)); err != nil {
		return err
	}
	if err := w.DeletePrefix(prefixState(generation)); err != nil {
		return err
	}
	return w.DeletePrefix(prefixGeneration(generation))
}

// Digest is the digest of one view now: SHA-256, in hex, over every row in order of key, as length and
// bytes of the key and length and bytes of the value, lengths as 8 bytes, big endian. Equal rows have equal
// digests in any store and generation.
func (p *Projector) Digest(ctx context.Context, view string) (string, error) {
	views, err := p.Views()
	if err != nil {
		return "", err
	}
	defer views.Close()
	return digest(ctx, views.Rows(view))
}

// Digests has the digest of every view at one revision.
func (p *Projector) Digests(ctx context.Context) (events.Revision, map[string]string, error) {
	views, err := p.Views()
	if err != nil {
		return 0, nil, err
	}
	defer views.Close()
	all, err := p.digests(ctx, views.snap, views.generation)
	return views.Head.Revision, all, err
}

func (p *Projector) digests(ctx context.Context, snap *pebblekv.Snapshot, generation uint64) (map[string]string, error) {
	all := map[string]string{}
	for _, v := range p.views {
		d, err := digest(ctx, snap.Window(prefixView(generation, v.Name())))
		if err != nil {
			return nil, fmt.Errorf("digest of view %s: %w", v.Name(), err)
		}
		all[v.Name()] = d
	}
	return all, nil
}

func digest(ctx context.Context, rows pebblekv.Reader) (string, error) {
	hash := sha256.New()
	var buffer []byte
	for row, err := range rows.Scan(nil) {
		if err != nil {
			return "", err
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		buffer = binary.BigEndian.AppendUint64(buffer[:0], uint64(len(row.Key)))
		buffer = append(buffer, row.Key...)
		buffer = binary.BigEndian.AppendUint64(buffer, uint64(len(row.Value)))
		buffer = append(buffer, row.Value...)
		hash.Write(buffer)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
