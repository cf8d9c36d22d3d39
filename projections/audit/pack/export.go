package pack

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// Checkpoints are the signed checkpoints of the ledger that makes a pack.
type Checkpoints interface {
	// Sign signs one of the ledger as it is now.
	Sign(context.Context) ([]byte, error)
	// Before gives the newest kept one that was signed at or before an instant.
	Before(context.Context, events.Instant) (signed []byte, ok bool, err error)
}

// Request is what a pack is wanted of.
type Request struct {
	From, To     events.Instant // recorded at or after From and before To; zero: open
	Filters      Filters
	OnlyMatching bool
	// Since is a signed checkpoint that the auditor kept, to begin with in place of one of the ledger's own. It
	// must be of an earlier time than From.
	Since []byte
}

// ErrOtherHistory: the checkpoint given is not one of this ledger's history. One of the two was changed.
var ErrOtherHistory = errors.New("the checkpoint is not of this ledger's history")

// Export is a pack ready to be written.
type Export struct {
	trail       *audit.Trail
	parameters  Parameters
	first, last *checkpoint.Checkpoint // first is nil before the first commit
	signedFirst []byte
	signedLast  []byte
}

// Prepare decides what goes into a pack. What can be wrong with the request is found here, before a byte is written.
func Prepare(ctx context.Context, trail *audit.Trail, checkpoints Checkpoints, r Request) (*Export, error) {
	switch {
	case !r.To.IsZero() && r.To <= r.From:
		return nil, events.Invalid("to", r.To.String(), "must be after from")
	case r.Since != nil && (r.From.IsZero() || r.OnlyMatching):
		return nil, events.Invalid("since_checkpoint", "", "needs from, and a pack of everything in the period")
	}
	e := &Export{trail: trail, parameters: Parameters{Format: format, From: r.From, To: r.To, Filters: r.Filters, OnlyMatching: r.OnlyMatching}}
	var err error
	if e.signedLast, err = checkpoints.Sign(ctx); err != nil {
		return nil, fmt.Errorf("sign a checkpoint: %w", err)
	}
	if e.last, err = parsed(e.signedLast); err != nil {
		return nil, err
	}
	e.parameters.Ledger, e.parameters.Last = e.last.Ledger, pointOf(*e.last)
	if r.OnlyMatching {
		return e, nil
	}
	if err := e.begin(ctx, checkpoints, r); err != nil {
		return nil, err
	}
	return e, e.end(ctx)
}

func parsed(signed []byte) (*checkpoint.Checkpoint, error) {
	c, err := checkpoint.Parse(signed)
	return &c, err
}

// begin finds the first checkpoint.
func (e *Export) begin(ctx context.Context, checkpoints Checkpoints, r Request) error {
	if r.Since != nil {
		return e.beginAt(ctx, r.Since)
	}
	// A commit recorded at the very instant From is of the period, so the checkpoint must be older.
	for at := r.From - 1; at > 0; {
		signed, ok, err := checkpoints.Before(ctx, at)
		if err != nil || !ok {
			return err
		}
		c, err := parsed(signed)
		if err != nil {
			return err
		}
		err = e.continues(ctx, *c)
		if err == nil {
			return e.from(signed, c)
		}
		// A kept checkpoint of commits that an accepted fork lost is none of this history any more.
		if !errors.Is(err, ErrOtherHistory) {
			return err
		}
		at = min(at, c.At) - 1
	}
	return nil
}

func (e *Export) beginAt(ctx context.Context, since []byte) error {
	c, err := parsed(since)
	if err != nil {
		return events.Invalid("since_checkpoint", "", err.Error())
	}
	if err := e.continues(ctx, *c); err != nil {
		return err
	}
	commit, err := e.commit(ctx, c.Revision)
	if err != nil {
		return err
	}
	if commit.RecordedAt >= e.parameters.From {
		return events.Invalid("since_checkpoint", "", "is of revision "+fmt.Sprint(c.Revision)+", which was recorded at "+commit.RecordedAt.String()+
			" and so in the period: it must be older")
	}
	return e.from(since, c)
}

func (e *Export) from(signed []byte, c *checkpoint.Checkpoint) error {
	e.signedFirst, e.first, e.parameters.First = signed, c, pointOf(*c)
	return nil
}

// continues reports whether the ledger as it is continues c.
func (e *Export) continues(ctx context.Context, c checkpoint.Checkpoint) error {
	switch {
	case c.Ledger != e.last.Ledger:
		return fmt.Errorf("%w: it is of ledger %s, this is %s", ErrOtherHistory, c.Ledger, e.last.Ledger)
	case c.Revision > e.last.Revision || c.Size > e.last.Size || c.Revision == 0:
		return fmt.Errorf("%w: it is of revision %d, the ledger has %d", ErrOtherHistory, c.Revision, e.last.Revision)
	}
	stored, err := e.trail.Commit(ctx, c.Revision)
	if err != nil {
		return err
	}
	tree, err := e.trail.Tree(ctx)
	if err != nil {
		return err
	}
	defer tree.Close()
	root, err := tree.RootAt(c.Size)
	if err == nil && (root != c.Root || sha256.Sum256(stored.Bytes) != c.Head) {
		err = fmt.Errorf("%w: the ledger has another revision %d", ErrOtherHistory, c.Revision)
	}
	return err
}

// end finds where the range ends: with the first commit recorded after the period, which shows that the period is
// over, or with the last checkpoint.
func (e *Export) end(ctx context.Context) error {
	p := &e.parameters
	p.Range = p.Last
	if p.To.IsZero() {
		return nil
	}
	position, err := e.trail.PositionAt(ctx, p.To)
	if err != nil || position > p.Last.Position {
		return err
	}
	r, err := e.trail.Event(ctx, position)
	if err != nil {
		return err
	}
	next, err := e.trail.PositionOf(ctx, r.Revision+1)
	p.Range, p.Closed = Point{r.Revision, next - 1}, true
	return err
}

func (e *Export) commit(ctx context.Context, r events.Revision) (events.Commit, error) {
	stored, err := e.trail.Commit(ctx, r)
	if err != nil {
		return events.Commit{}, err
	}
	return events.DecodeCommit(stored.Bytes)
}

// Parameters say what the pack is about.
func (e *Export) Parameters() Parameters { return e.parameters }

// Write writes the pack. It holds no more than a commit at a time. What it wrote before an error is no pack.
func (e *Export) Write(ctx context.Context, to io.Writer) error {
	w := &packWriter{Export: e, ctx: ctx, bundle: bundle.NewWriter(to), counts: newCounts()}
	for _, name := range e.parameters.parts() {
		part, err := w.bundle.Create(name)
		if err == nil {
			err = w.write(name, part)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return w.bundle.Close()
}

// packWriter writes one pack. Later parts need what earlier ones found.
type packWriter struct {
	*Export
	ctx    context.Context // of Write, for the time of its call
	bundle *bundle.Writer
	counts Counts
	keys   checkpoint.Keys
}

func (w *packWriter) write(name string, part io.Writer) error {
	switch name {
	case partReadme:
		return whole(part, readme(w.parameters, w.first, w.last))
	case partParameters:
		return whole(part, w.parameters.encode())
	case partFirst:
		return whole(part, w.signedFirst)
	case partLast:
		return whole(part, w.signedLast)
	case partCommits:
		return w.commits(part)
	case partEvents:
		return w.each(func(r events.Recorded) error { return bundle.WriteLine(part, r.Raw) })
	case partKeys:
		return whole(part, keysText(w.keys))
	case partReportJSON:
		out, err := newJSONReport(part, w.parameters)
		return w.report(out, err)
	case partReportCSV:
		out, err := newCSVReport(part)
		return w.report(counting{out, &w.counts}, err)
	case partCounts:
		return whole(part, w.counts.encode())
	case partConsistency:
		return w.consistency(part)
	case partInclusion:
		return w.inclusion(part)
	}
	return fmt.Errorf("a pack has no such part")
}

func whole(part io.Writer, content []byte) error {
	_, err := part.Write(content)
	return err
}

// counting counts the rows of a report.
type counting struct {
	report
	counts *Counts
}

func (c counting) add(row Row) error {
	c.counts.add(row)
	return c.report.add(row)
}

// commits walks what it writes: a pack that would not verify is not made.
func (w *packWriter) commits(part io.Writer) error {
	walk, err := w.start(part)
	if err != nil {
		return err
	}
	for r := w.parameters.First.Revision + 1; r <= w.parameters.Range.Revision; r++ {
		if err := w.ctx.Err(); err != nil {
			return context.Cause(w.ctx)
		}
		stored, err := w.trail.Commit(w.ctx, r)
		if err != nil {
			return err
		}
		c, err := walk.Next(stored.Bytes)
		if err == nil {
			err = bundle.WriteLine(part, stored.Bytes)
		}
		if err != nil {
			return fmt.Errorf("revision %d: %w", r, err)
		}
		w.counts.Commits++
		w.counts.Events += len(c.Events)
	}
	w.keys = walk.Keys()
	if w.parameters.Range == w.parameters.Last {
		return walk.Reached(*w.last)
	}
	return nil
}

// start writes the commit of the first checkpoint, if there is one.
func (w *packWriter) start(part io.Writer) (*bundle.Walk, error) {
	if w.first == nil {
		return bundle.Start(), nil
	}
	stored, err := w.trail.Commit(w.ctx, w.first.Revision)
	if err != nil {
		return nil, err
	}
	tree, err := w.trail.Tree(w.ctx)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	before, err := bundle.Before(w.first.Size, tree.Hashes)
	if err != nil {
		return nil, err
	}
	if err := bundle.WriteLine(part, stored.Bytes); err != nil {
		return nil, err
	}
	return bundle.Resume(*w.first, stored.Bytes, before)
}

// each calls do with every event that the report is about.
func (w *packWriter) each(do func(events.Recorded) error) error {
	f := w.parameters.filter()
	f.From, f.To = w.parameters.First.Position+1, w.parameters.Last.Position
	if !w.parameters.OnlyMatching {
		f.To = w.parameters.Range.Position
	}
	for r, err := range w.trail.Events(w.ctx, f) {
		if err != nil {
			return err
		}
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}

func (w *packWriter) report(out report, err error) error {
	if err != nil {
		return err
	}
	if err := w.each(func(r events.Recorded) error { return out.add(w.parameters.row(r)) }); err != nil {
		return err
	}
	return out.close()
}

// row is the row of an event in this report.
func (p Parameters) row(r events.Recorded) Row {
	row := rowOf(r)
	if p.OnlyMatching {
		row.Revision = 0 // a leaf of the tree does not say which commit it came in
	}
	return row
}

func keysText(keys checkpoint.Keys) []byte {
	text := "# The ledger's keys as these commits announce them. Trust none because it is here.\n"
	for _, k := range keys {
		text += k.String() + "\n"
	}
	return []byte(text)
}

func (w *packWriter) consistency(part io.Writer) error {
	tree, err := w.trail.Tree(w.ctx)
	if err != nil {
		return err
	}
	defer tree.Close()
	c := consistency{Before: []tlog.Hash{}, FirstToLast: tlog.TreeProof{}}
	last := int64(w.last.Size)
	if c.RangeToLast, err = tlog.ProveTree(last, int64(w.parameters.Range.Position), tree.Hashes); err != nil {
		return err
	}
	if w.first != nil {
		if c.Before, err = bundle.Before(w.first.Size, tree.Hashes); err != nil {
			return err
		}
		if c.FirstToLast, err = tlog.ProveTree(last, int64(w.first.Size), tree.Hashes); err != nil {
			return err
		}
	}
	return whole(part, encode(c))
}

func (w *packWriter) inclusion(part io.Writer) error {
	tree, err := w.trail.Tree(w.ctx)
	if err != nil {
		return err
	}
	defer tree.Close()
	hashes := remembered{tree.Hashes, map[int64]tlog.Hash{}}
	return w.each(func(r events.Recorded) error {
		proof, err := tlog.ProveRecord(int64(w.last.Size), int64(r.Position)-1, hashes)
		if err != nil {
			return err
		}
		line, err := json.Marshal(inclusion{r.Position, proof})
		if err != nil {
			return err
		}
		return bundle.WriteLine(part, line)
	})
}

// remembered are hashes of a tree that are read once: the proofs of events close to each other have most in common.
type remembered struct {
	from  tlog.HashReader
	known map[int64]tlog.Hash
}

// How many hashes are remembered before they are all forgotten.
const rememberAtMost = 1 << 14

func (r remembered) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	if len(r.known) > rememberAtMost {
		clear(r.known)
	}
	var unknown []int64
	for _, i := range indexes {
		if _, ok := r.known[i]; !ok {
			unknown = append(unknown, i)
		}
	}
	read, err := r.from.ReadHashes(unknown)
	if err != nil {
		return nil, err
	}
	for i, index := range unknown {
		r.known[index] = read[i]
	}
	all := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		all[i] = r.known[index]
	}
	return all, nil
}
