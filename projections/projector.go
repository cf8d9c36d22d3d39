package projections

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

var (
	// ErrHalted: the projector met a commit it must not apply, and answers nothing any more.
	ErrHalted = errors.New("projector halted")
	// ErrBehind: the revision asked for is not applied yet.
	ErrBehind = errors.New("view is behind")
)

// Projector keeps the views of one store in step with one log. Create it with Open.
type Projector struct {
	store  *pebblekv.Store
	source Source
	views  []View
	group  int // bytes: the size of a group of commits that are written in one batch while catching up

	writing    sync.Mutex // held by whoever has a draft or catches up: one writer at a time
	noting     sync.Mutex // held while an answer is noted; not writing, see NoteAnswer
	rebuilding sync.Mutex // held by the one rebuild

	mu         sync.Mutex
	generation uint64
	head       events.Head
	halted     error
	changed    chan struct{} // closed and replaced whenever head moves or the projector halts
	noted      uint64        // last journal sequence indexed
}

// The store's keys, outside the views' rows:
//
//	M g                    the generation in use, 8 bytes
//	M c <generation>       its cursor: events.Head as JSON
//	M n                    the last journal sequence indexed, 8 bytes
//	J …                    answers from the journal (see answers.go), in no generation: the log does not hold them
//	G <generation> <view>/ the rows of a view
var (
	keyGeneration = pebblekv.Key("Mg")
	keyNoted      = pebblekv.Key("Mn")
)

func keyCursor(generation uint64) pebblekv.Key { return pebblekv.Key("Mc").Number(generation) }

func prefixGeneration(generation uint64) pebblekv.Key { return pebblekv.NewKey('G').Number(generation) }

func prefixView(generation uint64, view string) pebblekv.Key {
	return prefixGeneration(generation).IDs(view)
}

// Open reads the cursor of the generation in use. It applies nothing; CatchUp does. With a cursor that
// cannot be read the projector is halted from the start, and only Rebuild can help it.
func Open(store *pebblekv.Store, source Source, views ...View) (*Projector, error) {
	p := &Projector{store: store, source: source, views: views, group: groupBytes, generation: 1, changed: make(chan struct{})}
	snap := store.NewSnapshot()
	defer snap.Close()
	var err error
	if p.generation, err = getNumber(snap, keyGeneration, 1); err != nil {
		return nil, err
	}
	if p.noted, err = getNumber(snap, keyNoted, 0); err != nil {
		return nil, err
	}
	if p.head, err = readHead(snap, p.generation); err != nil {
		p.Halt(err)
	}
	return p, nil
}

// Head is the last commit applied, and the last one written to the store.
func (p *Projector) Head() events.Head {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.head
}

// Halted is nil, or why the projector stopped. Nothing but a Rebuild that succeeds starts it again.
func (p *Projector) Halted() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.halted
}

// Changed is closed when the head moves or the projector halts.
func (p *Projector) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Wait returns when revision is applied, with ErrHalted, or with ErrBehind when ctx ends first.
func (p *Projector) Wait(ctx context.Context, revision events.Revision) error {
	for {
		p.mu.Lock()
		head, halted, changed := p.head, p.halted, p.changed
		p.mu.Unlock()
		switch {
		case halted != nil:
			return halted
		case head.Revision >= revision:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: wait for revision=%d, have %d: %w", ErrBehind, revision, head.Revision, context.Cause(ctx))
		}
	}
}

// Views are pinned at one head: rows and head are of the same moment. Close it.
type Views struct {
	Head       events.Head
	snap       *pebblekv.Snapshot
	generation uint64
}

// Views pins the present. A halted projector gives ErrHalted: an answer that may miss a revoke is no answer.
func (p *Projector) Views() (*Views, error) {
	p.mu.Lock()
	halted, generation := p.halted, p.generation
	var snap *pebblekv.Snapshot
	if halted == nil {
		snap = p.store.NewSnapshot()
	}
	p.mu.Unlock()
	if halted != nil {
		return nil, halted
	}
	head, err := readHead(snap, generation)
	if err != nil {
		snap.Close()
		return nil, err
	}
	return &Views{head, snap, generation}, nil
}

// Rows are the rows of one view.
func (v *Views) Rows(view string) pebblekv.Reader {
	return v.snap.Window(prefixView(v.generation, view))
}

func (v *Views) Close() { v.snap.Close() }

// Draft is the next commits in the making: rows written but not yet seen by anybody else.
type Draft struct {
	p          *Projector
	write      *pebblekv.Write
	generation uint64
	windows    []pebblekv.Batch // one per view
	head       events.Head      // after the last Seal
	pending    events.Position  // events added since
	broken     error            // the first Add or Seal that failed: rows may be half written
	done       func()           // nil when the draft is closed
}

// Begin opens a draft of the commit after Head, and keeps every other writer waiting until the draft is
// committed or discarded.
func (p *Projector) Begin() (*Draft, error) {
	p.writing.Lock()
	if err := p.Halted(); err != nil {
		p.writing.Unlock()
		return nil, err
	}
	return p.draft(p.generation, p.Head(), p.writing.Unlock), nil
}

func (p *Projector) draft(generation uint64, head events.Head, done func()) *Draft {
	d := &Draft{p: p, write: p.store.NewWrite(), generation: generation, head: head, done: done}
	for _, v := range p.views {
		d.windows = append(d.windows, d.write.Window(prefixView(generation, v.Name())))
	}
	return d
}

// Rows are the rows of one view, with what was added to the draft.
func (d *Draft) Rows(view string) pebblekv.Reader {
	return d.write.Window(prefixView(d.generation, view))
}

// Add applies one event to every view. It gives the event its revision and position. After an error the
// draft can only be discarded.
func (d *Draft) Add(r events.Recorded) error {
	if d.broken != nil {
		return d.broken
	}
	d.pending++
	r.Revision, r.Position = d.head.Revision+1, d.head.Position+d.pending
	for i, v := range d.p.views {
		if err := v.Apply(d.windows[i], r); err != nil {
			d.broken = fmt.Errorf("view %s: apply position=%d: %w", v.Name(), r.Position, err)
			return d.broken
		}
	}
	return nil
}

// Seal ends a commit of the draft: c must hold exactly the events added since the last one and follow it.
// After an error the draft can only be discarded.
func (d *Draft) Seal(c events.Commit) error {
	if d.broken == nil {
		d.broken = d.seal(c)
	}
	return d.broken
}

func (d *Draft) seal(c events.Commit) error {
	if err := d.head.Follows(c); err != nil {
		return err
	}
	if int(d.pending) != len(c.Events) {
		return fmt.Errorf("%w: revision=%d has %d events, %d were applied", events.ErrBroken, c.Revision, len(c.Events), d.pending)
	}
	for i, v := range d.p.views {
		if cv, ok := v.(CommitView); ok {
			if err := cv.ApplyCommit(d.windows[i], c); err != nil {
				return fmt.Errorf("view %s: apply revision=%d: %w", v.Name(), c.Revision, err)
			}
		}
	}
	d.head, d.pending = c.Head(), 0
	return nil
}

// Flush writes rows and cursor in one batch and closes the draft. The batch is not synced: the log is the
// write-ahead log, and a batch forgotten in a crash is applied again from it. A draft that is broken or has
// events outside a commit is not written.
func (d *Draft) Flush() error {
	defer d.Discard()
	switch {
	case d.done == nil:
		return errors.New("flush of a closed draft")
	case d.broken != nil:
		return d.broken
	case d.pending > 0:
		return fmt.Errorf("%w: flush with %d events outside a commit after revision=%d", events.ErrBroken, d.pending, d.head.Revision)
	}
	cursor, err := json.Marshal(d.head)
	if err != nil {
		return err
	}
	if err := d.write.Set(keyCursor(d.generation), cursor); err != nil {
		return err
	}
	if err := d.write.Commit(false); err != nil {
		return err
	}
	d.p.moved(d.generation, d.head)
	return nil
}

// Discard forgets the draft. Harmless after Flush.
func (d *Draft) Discard() {
	if d.done == nil {
		return
	}
	d.write.Discard()
	d.done()
	d.done = nil
}

func (p *Projector) moved(generation uint64, head events.Head) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if generation != p.generation {
		return // a rebuild on its way; nobody reads it yet
	}
	p.head = head
	close(p.changed)
	p.changed = make(chan struct{})
}

// Halt stops the projector for good: it applies nothing more and every reader gets err.
func (p *Projector) Halt(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.halted == nil {
		p.halted = fmt.Errorf("%w: %w", ErrHalted, err)
		close(p.changed)
		p.changed = make(chan struct{})
	}
	return p.halted
}

const groupBytes = 4 << 20

// verifyHead holds the source's commit at our head against the head itself. A log of the same length with
// another commit there is another log.
func (p *Projector) verifyHead(ctx context.Context) error {
	head := p.Head()
	if head.Revision == 0 {
		return nil
	}
	for stored, err := range p.source.Read(ctx, head.Revision) {
		if err != nil {
			return fmt.Errorf("read revision=%d: %w", head.Revision, err)
		}
		if stored.Revision != head.Revision || sha256.Sum256(stored.Bytes) != head.Hash {
			return p.Halt(fmt.Errorf("%w: the log has another commit at revision %d than the views", events.ErrBroken, head.Revision))
		}
		break
	}
	return nil
}

// CatchUp applies what the source has after Head. A fault of the chain, a log that ends before Head, an
// unknown event or a view that cannot apply one halts the projector; only a failing source or a cancelled
// ctx may be tried again.
func (p *Projector) CatchUp(ctx context.Context) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.Halted(); err != nil {
		return err
	}
	last, err := p.last(ctx)
	if err != nil {
		return err
	}
	if err := p.verifyHead(ctx); err != nil {
		return err
	}
	_, err = p.run(ctx, p.generation, p.Head(), last, nil)
	var failed *sourceError
	if err == nil || errors.As(err, &failed) {
		return err
	}
	return p.Halt(err)
}

// sourceError is a failure to read the source, which says nothing about what stands there.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

func (p *Projector) last(ctx context.Context) (events.Revision, error) {
	last, err := p.source.Last(ctx)
	if err != nil {
		return 0, &sourceError{fmt.Errorf("read last revision: %w", err)}
	}
	return last, nil
}

// run replays into a generation from head up to the revision to, and gives the head it reached, which is
// there unless it gives an error too. That the source has nothing more to give is not the end of it: a log
// that lost its tail looks the same.
func (p *Projector) run(ctx context.Context, generation uint64, head events.Head, to events.Revision, progress func(events.Head)) (events.Head, error) {
	var d *Draft
	flush := func() error {
		if d == nil {
			return nil
		}
		if err := d.Flush(); err != nil {
			return err
		}
		head, d = d.head, nil
		if progress != nil {
			progress(head)
		}
		return nil
	}
	defer func() {
		if d != nil {
			d.Discard()
		}
	}()
	if head.Revision > to {
		return head, fmt.Errorf("%w: the log ends at revision %d, the views are at %d", events.ErrBroken, to, head.Revision)
	}
	if head.Revision == to {
		return head, nil
	}
	reached := head.Revision
	for stored, err := range p.source.Read(ctx, head.Revision+1) {
		if err != nil {
			if flushed := flush(); flushed != nil {
				return head, flushed
			}
			return head, &sourceError{fmt.Errorf("read revision=%d: %w", reached+1, err)}
		}
		if d == nil {
			d = p.draft(generation, head, func() {})
		}
		if err := d.replay(stored); err != nil {
			return head, err
		}
		if reached = d.head.Revision; reached == to {
			break
		}
		if d.write.Size() > p.group {
			if err := flush(); err != nil {
				return head, err
			}
		}
	}
	if err := flush(); err != nil {
		return head, err
	}
	switch {
	case reached == to:
		return head, nil
	case ctx.Err() != nil: // a source may end without a word when it is told to
		return head, &sourceError{context.Cause(ctx)}
	default:
		return head, fmt.Errorf("%w: the log has %d revisions and gives no more than %d", events.ErrBroken, to, reached)
	}
}

func (d *Draft) replay(stored events.Stored) error {
	if stored.Revision != d.head.Revision+1 {
		return fmt.Errorf("%w: the log gave revision %d after %d", events.ErrBroken, stored.Revision, d.head.Revision)
	}
	c, err := events.DecodeCommit(stored.Bytes)
	if err != nil {
		return err
	}
	if err := d.head.Follows(c); err != nil {
		return err
	}
	for _, r := range c.Events {
		if err := d.Add(r); err != nil {
			return err
		}
	}
	return d.Seal(c)
}

func readHead(r pebblekv.Reader, generation uint64) (h events.Head, err error) {
	b, ok, err := r.Get(keyCursor(generation))
	if err != nil || !ok {
		return h, err
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("cursor of generation %d: %w", generation, err)
	}
	return h, nil
}

func getNumber(r pebblekv.Reader, key pebblekv.Key, otherwise uint64) (uint64, error) {
	b, ok, err := r.Get(key)
	if err != nil || !ok {
		return otherwise, err
	}
	return binary.BigEndian.Uint64(b), nil
}
