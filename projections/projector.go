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
	state      events.Hash // of the views at head, see State
	halted     error
	changed    chan struct{} // closed and replaced whenever head moves or the projector halts
	noted      uint64        // last journal sequence indexed
}

// The store's keys, outside the views' rows:
//
//	M g                    the generation in use, 8 bytes
//	M v                    the schema of the rows, 8 bytes
//	M c <generation>       its cursor: events.Head and the state as JSON
//	M s <generation> <revision>  the state after a revision, 32 bytes
//	M n                    the last journal sequence indexed, 8 bytes
//	J …                    answers from the journal (see answers.go), in no generation: the log does not hold them
//	G <generation> <view>/ the rows of a view
var (
	keyGeneration = pebblekv.Key("Mg")
	keySchema     = pebblekv.Key("Mv")
	keyNoted      = pebblekv.Key("Mn")
)

func keyCursor(generation uint64) pebblekv.Key { return pebblekv.Key("Mc").Number(generation) }

func prefixGeneration(generation uint64) pebblekv.Key { return pebblekv.NewKey('G').Number(generation) }

func prefixView(generation uint64, view string) pebblekv.Key {
	return prefixGeneration(generation).IDs(view)
}

// cursor is how far a generation got, and with what.
type cursor struct {
	events.Head
	State events.Hash `json:"state"`
}

// Open reads the cursor of the generation in use. It applies nothing; CatchUp does. With a cursor that
// cannot be read, or rows of another schema (ErrSchema), the projector is halted from the start, and only
// Rebuild can help it.
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
	at, err := readCursor(snap, p.generation)
	p.head, p.state = at.Head, at.State
	if err == nil {
		err = p.checkSchema(snap)
	}
	if err != nil {
		p.Halt(err)
	}
	return p, nil
}

// checkSchema makes sure that what is in the store was written as this build would write it. An empty store
// gets the schema of this build.
func (p *Projector) checkSchema(snap pebblekv.Reader) error {
	if p.head.Revision == 0 {
		w := p.store.NewWrite()
		defer w.Discard()
		if err := w.Set(keySchema, schemaValue()); err != nil {
			return err
		}
		return w.Commit(false)
	}
	schema, err := getNumber(snap, keySchema, 1) // the first one did not say
	if err == nil && schema != Schema {
		err = fmt.Errorf("%w: they have schema %d, this build %d", ErrSchema, schema, Schema)
	}
	return err
}

func schemaValue() []byte { return binary.BigEndian.AppendUint64(nil, Schema) }

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
	State      State
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
	at, err := readCursor(snap, generation)
	if err != nil {
		snap.Close()
		return nil, err
	}
	return &Views{at.Head, State{Schema, at.State}, snap, generation}, nil
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
	changes    *changes         // of the commit in the making
	head       events.Head      // after the last Seal
	state      events.Hash      // the same
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
	return p.draft(p.generation, p.cursor(), p.writing.Unlock), nil
}

func (p *Projector) cursor() cursor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cursor{p.head, p.state}
}

func (p *Projector) draft(generation uint64, at cursor, done func()) *Draft {
	d := &Draft{
		p: p, write: p.store.NewWrite(), generation: generation, changes: newChanges(),
		head: at.Head, state: at.State, done: done,
	}
	for _, v := range p.views {
		rows := d.write.Window(prefixView(generation, v.Name()))
		d.windows = append(d.windows, recorded{rows, []byte(v.Name()), d.changes})
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
	d.head, d.state, d.pending = c.Head(), d.changes.after(d.state), 0
	return d.write.Set(keyState(d.generation, c.Revision), d.state[:])
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
	at := cursor{d.head, d.state}
	value, err := json.Marshal(at)
	if err != nil {
		return err
	}
	if err := d.write.Set(keyCursor(d.generation), value); err != nil {
		return err
	}
	if err := d.write.Commit(false); err != nil {
		return err
	}
	d.p.moved(d.generation, at)
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

func (p *Projector) moved(generation uint64, to cursor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if generation != p.generation {
		return // a rebuild on its way; nobody reads it yet
	}
	p.head, p.state = to.Head, to.State
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
	_, err = p.run(ctx, p.generation, p.cursor(), last, nil)
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

// run replays into a generation from a cursor up to the revision to, and gives the cursor it reached, which is
// there unless it gives an error too. That the source has nothing more to give is not the end of it: a log
// that lost its tail looks the same.
func (p *Projector) run(ctx context.Context, generation uint64, at cursor, to events.Revision, progress func(events.Head)) (cursor, error) {
	var d *Draft
	flush := func() error {
		if d == nil {
			return nil
		}
		if err := d.Flush(); err != nil {
			return err
		}
		at, d = cursor{d.head, d.state}, nil
		if progress != nil {
			progress(at.Head)
		}
		return nil
	}
	defer func() {
		if d != nil {
			d.Discard()
		}
	}()
	if at.Revision > to {
		return at, fmt.Errorf("%w: the log ends at revision %d, the views are at %d", events.ErrBroken, to, at.Revision)
	}
	if at.Revision == to {
		return at, nil
	}
	reached := at.Revision
	for stored, err := range p.source.Read(ctx, at.Revision+1) {
		if err != nil {
			if flushed := flush(); flushed != nil {
				return at, flushed
			}
			return at, &sourceError{fmt.Errorf("read revision=%d: %w", reached+1, err)}
		}
		if d == nil {
			d = p.draft(generation, at, func() {})
		}
		if err := d.replay(stored); err != nil {
			return at, err
		}
		if reached = d.head.Revision; reached == to {
			break
		}
		if d.write.Size() > p.group {
			if err := flush(); err != nil {
				return at, err
			}
		}
	}
	if err := flush(); err != nil {
		return at, err
	}
	switch {
	case reached == to:
		return at, nil
	case ctx.Err() != nil: // a source may end without a word when it is told to
		return at, &sourceError{context.Cause(ctx)}
	default:
		return at, fmt.Errorf("%w: the log has %d revisions and gives no more than %d", events.ErrBroken, to, reached)
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

func readCursor(r pebblekv.Reader, generation uint64) (at cursor, err error) {
	b, ok, err := r.Get(keyCursor(generation))
	if err != nil || !ok {
		return at, err
	}
	if err := json.Unmarshal(b, &at); err != nil {
		return cursor{}, fmt.Errorf("cursor of generation %d: %w", generation, err)
	}
	return at, nil
}

func getNumber(r pebblekv.Reader, key pebblekv.Key, otherwise uint64) (uint64, error) {
	b, ok, err := r.Get(key)
	if err != nil || !ok {
		return otherwise, err
	}
	return binary.BigEndian.Uint64(b), nil
}
