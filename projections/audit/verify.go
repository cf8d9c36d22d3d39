package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// Side is what a fault is of.
type Side string

const (
	SideLog        Side = "log"
	SideArchive    Side = "archive"
	SideTree       Side = "tree"
	SideCheckpoint Side = "checkpoint" // the ledger is sound in itself, and not the one a checkpoint speaks of
	SideFork       Side = "fork"       // log and archive are both sound in themselves, and differ
	// SideStore is what else is in the store of the log: the journal, the feed, the files as such. No walk over
	// commits finds it; who has the files does.
	SideStore Side = "store"
)

// Verification says what is held against what. The log or the views may be missing, not both.
type Verification struct {
	// Source is the log; nil when it cannot be opened.
	Source projections.Source
	// Lost tells an error of Source that says a commit is not there any more from one that says nothing about
	// it. Default: no error does.
	Lost func(error) bool
	// Views hold the archive and the tree, pinned by Inspect; nil when they cannot be opened.
	Views *projections.Views

	// From and To are the first and the last revision to verify. Default: the first and the last there is.
	From, To events.Revision
	// Known is what is known of the ledger from elsewhere.
	Known []Known
	// Trusted, if there are any, are the keys that may sign, besides those that the commits replace them with: see
	// checkpoint.Follower.
	Trusted checkpoint.Keys

	// Progress is told of the head after every few commits.
	Progress func(events.Head)
	// Each is given every sound commit in order. Its error ends the verification.
	Each func(events.Commit) error
}

// Known is what somebody kept of the ledger: a mark or a checkpoint.
type Known struct {
	Name string // for people
	events.Mark
	// Signed, if set, is the checkpoint that the mark is of. It counts only if a key signed it that is trusted there.
	Signed []byte
}

// Report is what a verification found. The ledger is whole if it has no faults.
type Report struct {
	From   events.Revision
	Head   events.Head // of the last commit that is sound, on one side at least
	Root   events.Hash // of the tree up to it; zero if that was not looked at
	Events uint64      // verified
	Faults []Fault     // the first of each side, by revision
	Stop   *Stop       // where neither side had a sound commit, and the verification ended; nil if it did not
	Last   struct {    // how far each side claims to reach
		Log, Archive events.Revision
	}
}

// Fault is the first fault of a side.
type Fault struct {
	Side     Side
	Revision events.Revision
	Why      string // a sentence
	Count    int    // how many revisions or hashes of that side are bad, as far as was looked
}

// Stop is a revision that neither side has. Nothing after it can be judged.
type Stop struct {
	Revision     events.Revision
	Log, Archive error // nil: that side ends before
	LogLost      bool  // there are no bytes in the log, rather than wrong ones
}

// Whole reports whether nothing is wrong.
func (r Report) Whole() bool { return len(r.Faults) == 0 }

// Bad reports whether there is a fault of a side.
func (r Report) Bad(s Side) bool {
	return slices.ContainsFunc(r.Faults, func(f Fault) bool { return f.Side == s })
}

// Err is nil for a ledger that is whole, or else its first fault.
func (r Report) Err() error {
	if r.Whole() {
		return nil
	}
	return fmt.Errorf("%w: %s", events.ErrBroken, r.Faults[0])
}

func (f Fault) String() string {
	if f.Revision == 0 {
		return fmt.Sprintf("%s: %s", f.Side, f.Why)
	}
	return fmt.Sprintf("revision %d, %s: %s", f.Revision, f.Side, f.Why)
}

// Verify walks the log against the archive against the tree, revision by revision: chain, hashes, signatures,
// positions, every stored hash of the tree, and what is known from elsewhere. It reads each event once and holds
// no more than a few commits, and it may run beside a ledger that serves.
//
// A side is bad where its bytes do not follow the sound commit before, or where the other side's do and a
// successor or somebody's knowledge vouches for them; the walk goes on along the sound one and counts. Where
// there is none it ends: Report.Stop.
//
// The error is not nil only when something could not be read now, when ctx ended, or when Each failed: it says
// nothing about the ledger.
func Verify(ctx context.Context, v Verification) (Report, error) {
	if v.Lost == nil {
		v.Lost = func(error) bool { return false }
	}
	w := &walk{Verification: v, report: Report{From: max(v.From, 1)}, first: map[Side]int{}, trusted: checkpoint.Follow(v.Trusted)}
	defer w.close()
	err := w.open(ctx)
	if err == nil {
		err = w.run(ctx)
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	slices.SortStableFunc(w.report.Faults, func(a, b Fault) int { return cmp.Compare(a.Revision, b.Revision) })
	return w.report, nil
}

// walk is one verification.
type walk struct {
	Verification
	report Report
	first  map[Side]int // where each side's fault is in the report

	last    events.Revision // to look at
	archive *archive        // nil when there is none
	tree    *tree           // nil when there is none, or its edge could not be read
	edge    edge            // of the tree of the sound commits
	rooted  bool            // edge is right
	head    events.Head     // of the last sound commit
	known   []Known         // still to come, by revision
	forked  bool            // the archive went another way than the log
	trusted *checkpoint.Follower
}

func (w *walk) fault(s Side, r events.Revision, format string, args ...any) {
	if i, ok := w.first[s]; ok {
		w.report.Faults[i].Count++
		return
	}
	w.first[s] = len(w.report.Faults)
	w.report.Faults = append(w.report.Faults, Fault{s, r, fmt.Sprintf(format, args...), 1})
}

// open finds how far the sides reach and where the walk begins.
func (w *walk) open(ctx context.Context) error {
	if w.Source == nil && w.Views == nil {
		return errors.New("there is neither a log nor an archive")
	}
	if w.Views != nil {
		w.report.Last.Archive = w.Views.Head.Revision
	}
	if w.Source != nil { // after the views were pinned: the log has what they have
		last, err := w.Source.Last(ctx)
		switch {
		case err == nil:
			w.report.Last.Log = last
		case !w.Lost(err):
			return err
		default:
			w.fault(SideLog, w.report.From, "the log as a whole is damaged: %v", err)
			w.Source = nil
		}
	}
	w.last = max(w.report.Last.Log, w.report.Last.Archive)
	if w.To > 0 {
		w.last = min(w.last, w.To)
	}
	w.known = slices.DeleteFunc(slices.Clone(w.Known), func(k Known) bool {
		return k.Revision < w.report.From || w.To > 0 && k.Revision > w.To
	})
	slices.SortStableFunc(w.known, func(a, b Known) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(len(b.Signed), len(a.Signed))) // who signed goes first
	})
	return w.begin(ctx)
}

// begin takes the commit before the first one, and the edge of the tree there, for what they are: a walk that
// started at revision 1 came past them.
func (w *walk) begin(ctx context.Context) error {
	before := w.report.From - 1
	if before > 0 {
		found, err := w.commitAt(ctx, before)
		if err != nil {
			return err
		}
		if found == nil {
			w.fault(SideLog, before, "neither side has the commit before the first one to verify")
			w.report.Stop = &Stop{Revision: before, Log: errSkipped, Archive: errSkipped}
			return nil
		}
		w.head = found.Head()
	}
	w.rooted = before == 0
	if w.Views == nil {
		return nil
	}
	rows := w.Views.Rows(Name)
	w.archive = newArchive(rows, w.head)
	w.tree = &tree{rows: rows}
	if before > 0 {
		var err error
		if w.edge, err = readEdge(rows, w.head.Position); err != nil {
			w.fault(SideTree, before, "the edge of the tree there cannot be read: %v", err)
			w.tree = nil
		}
		w.rooted = w.tree != nil
	}
	return nil
}

// commitAt reads one commit from the log, or else from the archive.
func (w *walk) commitAt(ctx context.Context, r events.Revision) (*events.Commit, error) {
	if w.Source != nil && r <= w.report.Last.Log {
		for stored, err := range w.Source.Read(ctx, r) {
			if err != nil && !w.Lost(err) {
				return nil, err
			}
			if err == nil {
				if c, err := decoded(stored.Bytes, r); err == nil {
					return &c, nil
				}
			}
			break
		}
	}
	if w.Views == nil {
		return nil, nil
	}
	a := newArchive(w.Views.Rows(Name), events.Head{})
	defer a.close()
	if b, _, err := a.commit(r); err == nil {
		if c, err := decoded(b, r); err == nil {
			return &c, nil
		}
	}
	return nil, nil
}

func (w *walk) close() {
	if w.archive != nil {
		w.archive.close()
	}
	if w.tree != nil {
		w.tree.close()
	}
}

// take judges one revision. next is the one after it, nil at the end.
func (w *walk) take(at, next *pair) error {
	sound := w.judge(at, next)
	if sound == nil {
		w.stop(at)
		return nil
	}
	w.head = sound.commit.Head()
	w.report.Head = w.head
	w.report.Events += uint64(len(sound.commit.Events))
	if err := w.grow(sound); err != nil {
		return err
	}
	if v := w.Views; v != nil && v.Head.Revision == at.revision && v.Head != w.head && !w.forked && !w.report.Bad(SideArchive) {
		w.fault(SideArchive, at.revision, "the views say of their last commit that it has hash %s, it has %s", v.Head.Hash, w.head.Hash)
	}
	if key, trusted := w.trust(sound.commit); len(w.Trusted) > 0 && !trusted {
		w.fault(SideCheckpoint, w.head.Revision, "the ledger's key there, %s, is none of those that are trusted, and was announced by none of them", key)
	}
	if err := w.compareKnown(); err != nil {
		return err
	}
	if w.Each != nil {
		return w.Each(sound.commit)
	}
	return nil
}

// trust follows the keys over a commit. Both must be trusted: the one that signed it, which may do so for the last
// time and counts by the revision before then, and the one in force after it. If one is not, that is the key.
func (w *walk) trust(c events.Commit) (events.PublicKey, bool) {
	next, signed := c.Head().Key, c.Revision
	if next != c.Key {
		signed--
	}
	trusted := w.trusted.Has(c.Ledger, c.Key, signed)
	w.trusted.Take(c)
	if !trusted {
		return c.Key, false
	}
	return next, w.trusted.Has(c.Ledger, next, c.Revision)
}

// judge finds the side whose commit is sound, and notes what is wrong with the other; nil when there is none.
func (w *walk) judge(at, next *pair) *copied {
	log, archived := at.log.follows(w.head), at.archived.follows(w.head)
	switch {
	case log == nil && archived == nil && at.log.commit.Hash == at.archived.commit.Hash:
		return &at.log
	case log == nil && archived == nil:
		return w.choose(at, next)
	case log == nil:
		if at.archived.there {
			w.blame(SideArchive, at.revision, archived)
		}
		return &at.log
	case archived == nil:
		if w.Source != nil {
			w.blame(SideLog, at.revision, log)
		}
		return &at.archived
	}
	return nil
}

func (w *walk) blame(s Side, r events.Revision, why error) {
	other := map[Side]Side{SideLog: SideArchive, SideArchive: SideLog}[s]
	if s == SideArchive && w.forked {
		s = SideFork // it goes its own way, as was said already
	}
	w.fault(s, r, "the %s has the commit that follows, the %s does not: %v", other, s, why)
}

// choose decides between two commits that both follow. In a ledger that signs, nobody without the key can make
// the second one; in one that does not, an edited commit is told by its successor, which has the hash of the
// one that it followed. If nobody vouches for either, or each side goes on from its own, it is a fork: a part of
// the history was written twice. The walk goes on along the log then.
func (w *walk) choose(at, next *pair) *copied {
	log, archived := at.log.commit.Hash, at.archived.commit.Hash
	bad := func(s Side, format string, args ...any) *copied {
		w.fault(s, at.revision, "the two sides have different commits, and "+format, args...)
		if s == SideLog {
			return &at.archived
		}
		return &at.log
	}
	for _, k := range w.known {
		if k.Revision != at.revision {
			break
		}
		switch {
		case k.Hash == log && k.signed(w.trusted.After(at.log.commit)) == nil:
			return bad(SideArchive, "%s has the hash of the log's", k.Name)
		case k.Hash == archived && k.signed(w.trusted.After(at.archived.commit)) == nil:
			return bad(SideLog, "%s has the hash of the archive's", k.Name)
		}
	}
	var afterLog, afterArchived events.Hash // which one the next commit of each side says it follows
	logEnds := true
	if next != nil {
		afterLog, afterArchived, logEnds = next.log.commit.Previous, next.archived.commit.Previous, !next.log.there
	}
	switch {
	case afterLog == archived && afterArchived != log:
		return bad(SideLog, "the next one in the log follows the archive's")
	case afterArchived == log && afterLog != archived:
		return bad(SideArchive, "the next one in the archive follows the log's")
	case afterArchived == archived && logEnds:
		return bad(SideLog, "the archive's has a successor")
	case at.revision == w.Views.Head.Revision && w.Views.Head.Hash != archived:
		return bad(SideArchive, "the views' cursor does not have the hash of the archive's")
	}
	w.forked = true
	return bad(SideFork, "both follow revision %d: the log's has hash %s in ledger %s, the archive's %s in %s",
		w.head.Revision, log, at.log.commit.Ledger, archived, at.archived.commit.Ledger)
}

// stop ends the walk where neither side goes on.
func (w *walk) stop(at *pair) {
	s := &Stop{Revision: at.revision, LogLost: at.log.lost}
	if at.archived.there {
		s.Archive = at.archived.follows(w.head)
		if !w.forked {
			w.fault(SideArchive, at.revision, "neither side has a commit that follows; the archive's: %v", s.Archive)
		}
	}
	if w.Source != nil {
		s.Log = at.log.follows(w.head)
		w.fault(SideLog, at.revision, "neither side has a commit that follows; the log's: %v", s.Log)
	}
	w.report.Stop = s
}

// grow adds the leaves of a sound commit, and holds every hash that they complete against the tree.
func (w *walk) grow(sound *copied) error {
	if !w.rooted {
		return nil
	}
	kept := w.tree != nil && !w.forked && sound.commit.Revision <= w.report.Last.Archive
	for i, leaf := range sound.leaves {
		place := int64(sound.commit.Position) - 1 + int64(i)
		hashes, err := w.edge.grow(place, leaf)
		if err != nil {
			return err
		}
		if !kept {
			continue
		}
		for level, hash := range hashes {
			if err := w.tree.holds(level, place>>level, hash); err != nil {
				w.fault(SideTree, sound.commit.Revision, "at the event at position %d: %v", place+1, err)
			}
		}
	}
	return nil
}

// signed reports whether what is known may be believed, by the keys that are trusted there.
func (k Known) signed(trusted *checkpoint.Follower) error {
	if k.Signed == nil {
		return nil
	}
	_, err := trusted.Open(k.Signed)
	return err
}

// compareKnown holds the sound commit at head against what is known of it from elsewhere.
func (w *walk) compareKnown() error {
	for len(w.known) > 0 && w.known[0].Revision <= w.head.Revision {
		k := w.known[0]
		w.known = w.known[1:]
		if err := k.signed(w.trusted); err != nil {
			w.fault(SideCheckpoint, k.Revision, "%s: %v", k.Name, err)
			continue
		}
		if w.head.Ledger != k.Ledger {
			w.fault(SideCheckpoint, k.Revision, "%s is of ledger %s, this is %s", k.Name, k.Ledger, w.head.Ledger)
			continue
		}
		if w.head.Hash != k.Hash {
			w.fault(SideCheckpoint, k.Revision, "%s has another commit there, with hash %s; here it has %s: something at or before it was changed", k.Name, k.Hash, w.head.Hash)
			continue
		}
		if k.Position != 0 && w.head.Position != k.Position {
			w.fault(SideCheckpoint, k.Revision, "%s has %d events up to there, here there are %d", k.Name, k.Position, w.head.Position)
			continue
		}
		if k.Root == (events.Hash{}) || !w.rooted {
			continue
		}
		root, err := w.edge.root(w.head.Position)
		if err != nil {
			return err
		}
		if root != k.Root {
			w.fault(SideCheckpoint, k.Revision, "%s has the root %s of %d events, here they have %s: one of them was changed", k.Name, k.Root, k.Position, root)
		}
	}
	return nil
}

// finish looks at what can only be said at the end.
func (w *walk) finish() (err error) {
	for _, k := range w.known {
		if w.report.Stop != nil {
			break
		}
		if err := k.signed(w.trusted); err != nil {
			w.fault(SideCheckpoint, k.Revision, "%s: %v", k.Name, err)
		} else {
			w.fault(SideCheckpoint, k.Revision, "%s knows revision %d of ledger %s; this one, %s, ends at %d: what came after was cut off, or this is an older copy",
				k.Name, k.Revision, k.Ledger, w.head.Ledger, w.head.Revision)
		}
	}
	if w.archive != nil && !w.forked && w.report.Stop == nil && w.head.Revision >= w.report.Last.Archive && w.To == 0 {
		if err := errors.Join(w.archive.commits.ends(uint64(w.report.Last.Archive)+1), w.archive.events.ends(uint64(w.Views.Head.Position)+1)); err != nil {
			w.fault(SideArchive, w.report.Last.Archive, "behind the last commit: %v", err)
		}
		if w.tree != nil {
			if err := w.tree.ends(w.Views.Head.Position); err != nil {
				w.fault(SideTree, w.report.Last.Archive, "behind the last event: %v", err)
			}
		}
	}
	if w.rooted {
		w.report.Root, err = w.edge.root(w.head.Position)
	}
	return err
}
