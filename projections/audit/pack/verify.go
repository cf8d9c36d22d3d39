package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// Fault is what does not hold in a pack.
type Fault = bundle.Fault

// ErrKept: the checkpoint that the reader kept says nothing.
var ErrKept = errors.New("the checkpoint you kept")

var (
	errOtherwise = errors.New("it is not what the events say")
	errBeyond    = errors.New("it goes on where the events end")
)

// Result is what was found in a pack that verifies.
type Result struct {
	Parameters  Parameters
	First, Last *checkpoint.Checkpoint // First is nil before the first commit
	Counts      Counts
	Proved      []string // in words
	NotProved   []string
}

// maxSmall bounds the parts that are read as a whole.
const maxSmall = 1 << 20

// Verify checks a pack by the keys its reader trusts, and by those that the commits of the pack replace them with: see
// follow.go. With known, a signed checkpoint that the reader kept, the pack
// must begin or end with it. The error is a *Fault, ErrKept, or that of reading r.
func Verify(r io.ReaderAt, size int64, keys checkpoint.Keys, known []byte) (*Result, error) {
	v := &verifier{keys: keys, given: keys, known: known, counts: newCounts()}
	return v.verify(r, size)
}

type verifier struct {
	keys  checkpoint.Keys // given and followed
	given checkpoint.Keys
	known []byte
	loose bool // for tests, as their control: nothing is held against the checkpoints

	bundle      *bundle.Reader
	parameters  Parameters
	filter      audit.Filter
	first, last *checkpoint.Checkpoint
	proofs      consistency
	walk        *bundle.Walk
	followed    *checkpoint.Follower // along the walk
	closed      bool                 // a commit was recorded at or after the end of the period

	opened     []io.Closer
	reports    []compared
	inclusions *lines
	counts     Counts
}

// compared is a report that is written against the part of the pack that holds it.
type compared struct {
	part string
	out  report
	with *against
}

func (v *verifier) verify(r io.ReaderAt, size int64) (*Result, error) {
	var err error
	if v.bundle, err = bundle.Open(r, size); err != nil {
		return nil, &Fault{Err: err}
	}
	for _, step := range []func() error{v.readParameters, v.followKeys, v.readCheckpoints, v.holdKnown} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := v.rows(); err != nil {
		return nil, err
	}
	for name, want := range map[string][]byte{
		partReadme: readme(v.parameters, v.first, v.last), partCounts: v.counts.encode(),
	} {
		if err := v.same(name, want); err != nil {
			return nil, err
		}
	}
	return v.result(), nil
}

// small reads a part as a whole.
func (v *verifier) small(name string) ([]byte, error) {
	b, err := v.bundle.ReadAll(name, maxSmall)
	if err != nil {
		return nil, &Fault{Part: name, Err: err}
	}
	return b, nil
}

func (v *verifier) same(name string, want []byte) error {
	b, err := v.small(name)
	if err == nil && !bytes.Equal(b, want) {
		err = &Fault{Part: name, Err: errOtherwise}
	}
	return err
}

func (v *verifier) readParameters() error {
	b, err := v.small(partParameters)
	if err != nil {
		return err
	}
	if v.parameters, err = decodeParameters(b); err != nil {
		return &Fault{Part: partParameters, Err: err}
	}
	if have, want := v.bundle.Names(), v.parameters.parts(); !slices.Equal(have, want) {
		return &Fault{Err: fmt.Errorf("%w: its parts are %q, must be %q", bundle.ErrDamaged, have, want)}
	}
	v.filter = v.parameters.filter()
	return nil
}

func (v *verifier) readCheckpoints() (err error) {
	p := v.parameters
	if v.last, err = v.checkpoint(partLast, p.Last); err != nil {
		return err
	}
	if p.OnlyMatching {
		if p.First != (Point{}) || p.Range != (Point{}) || p.Closed {
			return &Fault{Part: partParameters, Err: errors.New("a pack of matching events only has no first checkpoint and no commits")}
		}
		return nil
	}
	b, err := v.small(partConsistency)
	if err != nil {
		return err
	}
	if err := decode(b, &v.proofs); err != nil {
		return &Fault{Part: partConsistency, Err: err}
	}
	if p.First == (Point{}) {
		return nil
	}
	if v.first, err = v.checkpoint(partFirst, p.First); err != nil {
		return err
	}
	err = tlog.CheckTree(v.proofs.FirstToLast, int64(v.last.Size), tlog.Hash(v.last.Root), int64(v.first.Size), tlog.Hash(v.first.Root))
	if err != nil && !v.loose {
		return &Fault{Part: partConsistency, Err: fmt.Errorf("the last checkpoint does not continue the first: %w", err)}
	}
	return nil
}

func (v *verifier) checkpoint(name string, want Point) (*checkpoint.Checkpoint, error) {
	signed, err := v.small(name)
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.Open(signed, v.keys)
	switch {
	case errors.Is(err, checkpoint.ErrSignature) && v.parameters.OnlyMatching:
		err = fmt.Errorf("%w (%s)", err, noWay)
	case err != nil:
	case c.Ledger != v.parameters.Ledger:
		err = fmt.Errorf("it is of ledger %s, the pack of %s", c.Ledger, v.parameters.Ledger)
	case pointOf(c) != want:
		err = fmt.Errorf("it is of revision %d, the pack says %d", c.Revision, want.Revision)
	default:
		return &c, nil
	}
	return nil, &Fault{Part: name, Err: err}
}

// holdKnown holds the pack against the checkpoint its reader kept.
func (v *verifier) holdKnown() error {
	if v.known == nil {
		return nil
	}
	kept, err := checkpoint.Open(v.known, v.keys)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	for _, c := range []*checkpoint.Checkpoint{v.first, v.last} {
		if c != nil && c.Ledger == kept.Ledger && c.Size == kept.Size {
			if c.Root == kept.Root && c.Head == kept.Head {
				return nil
			}
			return &Fault{Revision: kept.Revision, Err: fmt.Errorf("the checkpoint you kept has root %s, the pack has %s", kept.Root, c.Root)}
		}
	}
	return &Fault{Err: fmt.Errorf("the pack neither begins nor ends with the checkpoint you kept, of revision %d: ask for one that begins with it", kept.Revision)}
}

// rows makes the report again and compares it with the pack's.
func (v *verifier) rows() (err error) {
	defer func() {
		for _, part := range slices.Backward(v.opened) {
			_ = part.Close()
		}
	}()
	if err := v.openReports(); err != nil {
		return err
	}
	defer v.inclusions.stop()
	if v.parameters.OnlyMatching {
		err = v.matching()
	} else {
		err = v.commits()
	}
	if err != nil {
		return err
	}
	for _, r := range v.reports {
		err := r.out.close()
		if err == nil {
			err = r.with.end()
		}
		if err != nil {
			return &Fault{Part: r.part, Err: err}
		}
	}
	_, more, err := v.inclusions.next()
	if err == nil && more {
		err = errBeyond
	}
	if err != nil {
		return &Fault{Part: partInclusion, Err: err}
	}
	return nil
}

// open opens a part that is read as it goes.
func (v *verifier) open(name string) (io.Reader, error) {
	part, err := v.bundle.Open(name)
	if err != nil {
		return nil, &Fault{Part: name, Err: err}
	}
	v.opened = append(v.opened, part)
	return part, nil
}

func (v *verifier) openReports() error {
	for _, name := range []string{partReportJSON, partReportCSV} {
		part, err := v.open(name)
		if err != nil {
			return err
		}
		with := &against{part: part}
		var out report
		if name == partReportJSON {
			out, err = newJSONReport(with, v.parameters)
		} else {
			out, err = newCSVReport(with)
		}
		if err != nil {
			return &Fault{Part: name, Err: err}
		}
		v.reports = append(v.reports, compared{name, out, with})
	}
	part, err := v.open(partInclusion)
	if err != nil {
		return err
	}
	v.inclusions = newLines(part)
	return nil
}

// commits walks the range.
func (v *verifier) commits() error {
	part, err := v.open(partCommits)
	if err != nil {
		return err
	}
	v.followed = checkpoint.Follow(v.given)
	if v.first == nil {
		v.walk = bundle.Start()
	}
	for line, err := range bundle.Lines(part) {
		if err == nil {
			err = v.commit(line)
		}
		var fault *Fault
		if err != nil && !errors.As(err, &fault) {
			return &Fault{Part: partCommits, Revision: v.next(), Err: err}
		}
		if err != nil {
			return err
		}
	}
	if err := v.tied(); err != nil {
		return err
	}
	if err := v.followedSame(); err != nil {
		return err
	}
	return v.same(partKeys, keysText(v.walk.Keys()))
}

// next is the revision expected next.
func (v *verifier) next() events.Revision {
	if v.walk == nil {
		return v.first.Revision
	}
	return v.walk.Head().Revision + 1
}

func (v *verifier) commit(line []byte) (err error) {
	if v.walk == nil {
		if v.walk, err = bundle.Resume(*v.first, line, v.proofs.Before); err != nil {
			return err
		}
		if err := v.takeFirst(line); err != nil {
			return err
		}
		if at := v.walk.Head().RecordedAt; at >= v.parameters.From {
			return fmt.Errorf("it was recorded at %s and so in the period: events before it may be missing", at)
		}
		return nil
	}
	if v.closed {
		return errors.New("it is beyond the period")
	}
	c, err := v.walk.Next(line)
	if err != nil {
		return err
	}
	v.followed.Take(c)
	v.counts.Commits++
	v.counts.Events += len(c.Events)
	v.closed = !v.parameters.To.IsZero() && c.RecordedAt >= v.parameters.To
	for _, r := range c.Events {
		if !v.filter.Matches(r) {
			continue
		}
		if err := v.row(r); err != nil {
			return err
		}
	}
	return nil
}

// tied holds the end of the range against the last checkpoint.
func (v *verifier) tied() error {
	fault := func(err error) error { return &Fault{Part: partCommits, Err: err} }
	if v.walk == nil {
		return fault(errors.New("the commit of the first checkpoint is missing"))
	}
	p, head := v.parameters, v.walk.Head()
	if (Point{head.Revision, head.Position}) != p.Range || v.closed != p.Closed || head.Ledger != p.Ledger {
		return fault(fmt.Errorf("it ends at revision %d of ledger %s; the pack says that it ends at %d, and whether the period is over: %t",
			head.Revision, head.Ledger, p.Range.Revision, p.Closed))
	}
	if v.loose {
		return nil
	}
	if p.Range == p.Last {
		if err := v.walk.Reached(*v.last); err != nil {
			return fault(err)
		}
	} else if !v.closed {
		return fault(fmt.Errorf("it ends at revision %d: neither at the last checkpoint nor after the period", head.Revision))
	}
	root, err := v.walk.Root()
	if err == nil {
		err = tlog.CheckTree(v.proofs.RangeToLast, int64(v.last.Size), tlog.Hash(v.last.Root), int64(head.Position), tlog.Hash(root))
	}
	if err != nil {
		return fault(fmt.Errorf("the last checkpoint does not continue these commits: something was changed, left out or added: %w", err))
	}
	return nil
}

// matching goes over the events of a pack that holds no others.
func (v *verifier) matching() error {
	part, err := v.open(partEvents)
	if err != nil {
		return err
	}
	before := events.Position(0)
	for line, err := range bundle.Lines(part) {
		if err != nil {
			return &Fault{Part: partEvents, Err: err}
		}
		r, err := events.UnmarshalEvent(line)
		if err != nil {
			return &Fault{Part: partEvents, Err: fmt.Errorf("after position %d: %w", before, err)}
		}
		// Which position it has is what its proof says, and proves.
		r.Position, err = v.inclusions.position()
		if err == nil && r.Position <= before {
			err = fmt.Errorf("after position %d comes %d", before, r.Position)
		}
		if err != nil {
			return &Fault{Part: partInclusion, Err: err}
		}
		before = r.Position
		if !v.filter.Matches(r) {
			return &Fault{Part: partEvents, Err: fmt.Errorf("position %d does not meet the filters", r.Position)}
		}
		if err := v.row(r); err != nil {
			return err
		}
	}
	return nil
}

// row compares the row of an event, and checks its proof.
func (v *verifier) row(r events.Recorded) error {
	row := v.parameters.row(r)
	v.counts.add(row)
	for _, report := range v.reports {
		if err := report.out.add(row); err != nil {
			return &Fault{Part: report.part, Revision: r.Revision, Err: fmt.Errorf("the row of position %d: %w", r.Position, err)}
		}
	}
	fault := func(err error) error {
		return &Fault{Part: partInclusion, Revision: r.Revision, Err: fmt.Errorf("position %d: %w", r.Position, err)}
	}
	line, more, err := v.inclusions.next()
	switch {
	case err != nil:
		return fault(err)
	case !more || line.Position != r.Position:
		return fault(errors.New("its proof is missing"))
	case v.loose:
		return nil
	}
	leaf := tlog.RecordHash(r.Raw)
	if err := tlog.CheckRecord(line.Proof, int64(v.last.Size), tlog.Hash(v.last.Root), int64(r.Position)-1, leaf); err != nil {
		return fault(fmt.Errorf("the event is not in the tree of the last checkpoint: %w", err))
	}
	return nil
}

// against is a writer that fails where a part of the pack holds something else.
type against struct {
	part   io.Reader
	buffer []byte
}

func (a *against) Write(b []byte) (int, error) {
	a.buffer = append(a.buffer[:0], b...)
	_, err := io.ReadFull(a.part, a.buffer)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err == nil && !bytes.Equal(a.buffer, b):
		return 0, errOtherwise
	case err != nil:
		return 0, err
	}
	return len(b), nil
}

func (a *against) end() error {
	n, err := io.CopyN(io.Discard, a.part, 1)
	switch {
	case n > 0:
		return errBeyond
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// lines are the proofs of proofs/inclusion.jsonl, one at a time.
type lines struct {
	pull   func() ([]byte, error, bool)
	stop   func()
	peeked *inclusion
}

func newLines(r io.Reader) *lines {
	l := &lines{}
	l.pull, l.stop = iter.Pull2(bundle.Lines(r))
	return l
}

func (l *lines) next() (i inclusion, more bool, err error) {
	if l.peeked != nil {
		i, l.peeked = *l.peeked, nil
		return i, true, nil
	}
	line, err, more := l.pull()
	if !more || err != nil {
		return i, false, err
	}
	if err := json.Unmarshal(line, &i); err != nil {
		return i, false, fmt.Errorf("%w: %w", bundle.ErrDamaged, err)
	}
	if again, err := json.Marshal(i); err != nil || !bytes.Equal(again, line) {
		return i, false, fmt.Errorf("%w: a proof is not in the form this program writes", bundle.ErrDamaged)
	}
	return i, true, nil
}

// position is that of the next proof, which next still gives.
func (l *lines) position() (events.Position, error) {
	i, more, err := l.next()
	if err == nil && !more {
		err = errors.New("a proof is missing")
	}
	if err != nil {
		return 0, err
	}
	l.peeked = &i
	return i.Position, nil
}
