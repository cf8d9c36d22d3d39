package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
)

// ErrBeyondRepair: both sides together do not have the whole ledger. A kind of ledger.ErrCorrupt.
var ErrBeyondRepair = fmt.Errorf("beyond repair: %w", ledger.ErrCorrupt)

// Repair is what is to be made anew, and why. The zero Repair is nothing to do.
type Repair struct {
	Report audit.Report
	Head   events.Head // of the ledger, as the two sides have it together

	Log    string // why the log is made anew from what both sides have; "": it is not
	Views  string // why the views are
	Append bool   // the log is whole as far as it goes, and is only to be gone on with; with an external NATS only

	// Foreign are messages at the end of the log that are no commits of the ledger: the new log is without them.
	ForeignFrom, ForeignTo events.Revision

	JournalEntries, JournalLost uint64 // of the journal: how many there are, and how many of them cannot be read
}

// Nothing reports whether there is nothing to do.
func (r Repair) Nothing() bool { return r.Log == "" && r.Views == "" }

// PlanRepair finds out what is damaged and whether the two sides together have everything. ErrBeyondRepair says that they
// do not, ErrFork that both have a history of their own, and which one is right is not for a program to say.
func (e *Evidence) PlanRepair(ctx context.Context, progress func(events.Head)) (Repair, error) {
	v := e.Verification()
	v.Progress = progress
	if v.Source == nil && v.Views == nil {
		return Repair{}, fmt.Errorf("%w: there is neither a log (%w) nor an archive (%w)", ErrBeyondRepair, e.LogErr, e.ViewsErr)
	}
	report, err := audit.Verify(ctx, v)
	if err != nil {
		return Repair{}, err
	}
	r := Repair{Report: report, Head: report.Head}
	if err := e.judge(&r); err != nil {
		return r, err
	}
	if err := e.planJournal(ctx, &r); err != nil {
		return r, err
	}
	return r, e.planExternal(&r)
}

// judge decides which side is made anew.
func (e *Evidence) judge(r *Repair) error {
	report := r.Report
	for _, f := range report.Faults {
		switch f.Side {
		case audit.SideFork:
			return fmt.Errorf("%w: %s: \"permledger accept-fork\" goes on from what the log has", ErrFork, f)
		case audit.SideCheckpoint:
			return fmt.Errorf("%w: %s: restore a backup, or \"permledger accept-fork\" goes on from what the log has", ErrBeyondRepair, f)
		case audit.SideLog:
			r.Log = f.String()
		case audit.SideArchive, audit.SideTree:
			r.Views = f.String()
		}
	}
	if e.LogErr != nil {
		r.Log = e.LogErr.Error()
	}
	if e.ViewsErr != nil {
		r.Views = e.ViewsErr.Error()
	}
	if r.Head.Revision == 0 {
		return fmt.Errorf("%w: neither side has the first commit", ErrBeyondRepair)
	}
	return e.judgeTail(r)
}

// judgeTail tells a message that was published past the ledger from a commit that is lost. Such a message comes after
// everything the views and the mark remember; its bytes are there, so no disk has lost them (the stream has a
// checksum for each message and gives no damaged one); and they do not follow. The ledger halts at it and writes
// nothing after it. Anything else that neither side has is a commit that somebody was told is durable.
func (e *Evidence) judgeTail(r *Repair) error {
	s := r.Report.Stop
	if s == nil {
		return nil
	}
	known := max(e.Mark.Revision, e.Head().Revision)
	if s.LogLost || s.Archive != nil || known == 0 || r.Head.Revision < known {
		return fmt.Errorf("%w: neither side has revision %d: log: %w; archive: %w; restore a backup, "+
			"or \"permledger accept-fork\" goes on from a log that is put in place", ErrBeyondRepair, s.Revision, reason(s.Log), reason(s.Archive))
	}
	r.ForeignFrom, r.ForeignTo = s.Revision, r.Report.Last.Log
	return nil
}

func reason(err error) error {
	if err == nil {
		return errors.New("it ends before")
	}
	return err
}

// planJournal reads the journal. One that has lost entries, or does not belong to the log any more, is made anew with the log.
func (e *Evidence) planJournal(ctx context.Context, r *Repair) error {
	if err := e.eachNote(ctx, r, func([]byte) error { return nil }); err != nil {
		return err
	}
	if r.Log == "" && r.JournalLost > 0 {
		r.Log = fmt.Sprintf("the journal has lost %d of its %d entries", r.JournalLost, r.JournalEntries)
	}
	if r.Log != "" {
		return nil
	}
	if err := e.server.Check(ctx); errors.Is(err, ledger.ErrCorrupt) {
		r.Log = err.Error()
	} else if err != nil {
		return err
	}
	return nil
}

// lostNote takes the place of an entry of the journal that cannot be read, or that is no answer: somebody published it. The views remember how many entries they
// have indexed, so the others must keep their numbers. It is an answer without a key, which indexes nothing.
var lostNote = []byte("{}")

// eachNote yields every entry of the journal and lostNote in the place of those that cannot be read.
func (e *Evidence) eachNote(ctx context.Context, r *Repair, each func([]byte) error) error {
	r.JournalEntries, r.JournalLost = 0, 0
	last := uint64(0)
	if e.Journal != nil {
		there, err := e.Journal.Last(ctx)
		if err != nil && !lost(err) {
			return err
		}
		last = there
	}
	if e.Projector != nil {
		last = max(last, e.Projector.Noted())
	}
	for next := uint64(1); next <= last; {
		err := error(nil)
		if e.Journal != nil {
			for note, failed := range e.Journal.Notes(ctx, next) {
				if err = failed; err != nil {
					break
				}
				entry := note.Bytes
				if json.Unmarshal(entry, &events.Answer{}) != nil {
					entry = lostNote
					r.JournalLost++
				}
				if failed := each(entry); failed != nil {
					return failed
				}
				next++
			}
		}
		if err != nil && !lost(err) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if next <= last {
			if err := each(lostNote); err != nil {
				return err
			}
			r.JournalLost++
			next++
		}
	}
	r.JournalEntries = last
	return nil
}

// planExternal refuses to touch a stream that is there: it is not ours to rename or to delete. One that is whole as
// far as it goes can be gone on with, which is also how a repair that was broken off is finished.
func (e *Evidence) planExternal(r *Repair) error {
	if e.config.NATSURL == "" || r.Log == "" || e.LogErr != nil {
		return nil
	}
	for _, f := range r.Report.Faults {
		if f.Side == audit.SideLog && f.Revision == r.Report.Last.Log+1 && r.Report.Stop == nil && r.JournalLost == 0 && e.Journal != nil {
			r.Append = true
			return nil
		}
	}
	return fmt.Errorf("%w: stream LEDGER at %s is damaged (%s); copy it, delete it and its JOURNAL as their operator, and repair again",
		ErrBeyondRepair, e.config.NATSURL, r.Log)
}

// Where the new ones are made.
const (
	newLog   = "jetstream.new"
	newViews = "views.new"
)

// pendingRepair is repair.json: what was made anew is whole, and is put in place.
type pendingRepair struct {
	Exchanges []exchange `json:"exchanges"`
}

// FinishRepair puts in place what a repair that was broken off had made anew, while nobody else uses the directory.
// done is false when there was none.
func FinishRepair(dir string) (done bool, err error) {
	if !exists(filepath.Join(dir, repairName)) {
		return false, nil
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	var p pendingRepair
	pending, err := readPending(dir, repairName, &p)
	if err != nil || !pending {
		return false, err
	}
	for _, x := range p.Exchanges {
		if err := x.finish(dir); err != nil {
			return false, fmt.Errorf("put %s in place: %w", x.Name, err)
		}
	}
	if err := forgetScrub(dir); err != nil {
		return false, err
	}
	return true, removePending(dir, repairName)
}

// Carry carries a plan out and closes the evidence. It gives the names under which what was damaged is kept.
//
// Crash points: until repair.json is on the disk nothing that is in use was touched, and what was made anew is thrown
// away by the next repair. Once it is, everything it names is whole and was read back, and putting it in place is
// two renames each, which FinishRepair goes through again. Meanwhile nothing serves the directory: see
// checkPending.
func (e *Evidence) Carry(ctx context.Context, r *Repair, progress func(what string, done events.Head)) (kept []string, err error) {
	dir := e.config.Dir
	for _, leftover := range []string{newLog, newViews} {
		if err := os.RemoveAll(filepath.Join(dir, leftover)); err != nil {
			return nil, err
		}
	}
	var p pendingRepair
	var log ledger.Log = e.Log
	if r.Log != "" {
		made, err := e.makeLog(ctx, r, progress)
		if err != nil {
			return nil, fmt.Errorf("make the log anew: %w", err)
		}
		e.onClose(made.Close)
		log = made.Log()
		if e.config.NATSURL == "" {
			p.add(dir, "jetstream", newLog)
		}
	}
	if r.Views != "" {
		if err := e.makeViews(ctx, r, log, progress); err != nil {
			return nil, fmt.Errorf("make the views anew: %w", err)
		}
		p.add(dir, "views", newViews)
	}
	for _, x := range p.Exchanges {
		if exists(filepath.Join(dir, x.Name)) {
			kept = append(kept, x.Kept)
		}
	}
	// Written while the locks are held: who gets them next, sees it.
	if err := errors.Join(writePending(dir, repairName, p), e.Close()); err != nil {
		return nil, err
	}
	_, err = FinishRepair(dir)
	return kept, err
}

func (p *pendingRepair) add(dir, name, made string) {
	p.Exchanges = append(p.Exchanges, exchange{Name: name, New: made, Kept: unused(dir, name, "damaged")})
}

// makeLog writes the log and the journal into a new store, or into an external NATS, and reads them back: what is
// put in place was verified whole. The stream EVENTS is left out; the feed makes it again.
func (e *Evidence) makeLog(ctx context.Context, r *Repair, progress func(string, events.Head)) (_ *jetstream.Server, err error) {
	s, err := e.openNewLog(ctx, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(e.fillLog(ctx, r, s, progress), s.Close()); err != nil {
		return nil, err
	}
	if s, err = e.openNewLog(ctx, r.Head.Revision); err != nil {
		return nil, err
	}
	report, err := audit.Verify(ctx, audit.Verification{Source: s.Log(), Lost: lost, Progress: func(h events.Head) { progress("reading the log back", h) }})
	if err == nil {
		err = report.Err()
	}
	if err == nil && report.Head != r.Head {
		err = fmt.Errorf("%w: what was written ends at revision %d with hash %s, must be %d and %s",
			ledger.ErrCorrupt, report.Head.Revision, report.Head.Hash, r.Head.Revision, r.Head.Hash)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (e *Evidence) openNewLog(ctx context.Context, mark events.Revision) (*jetstream.Server, error) {
	cfg := e.config.logConfig(filepath.Join(e.config.Dir, newLog))
	cfg.Mark = mark
	return jetstream.Open(ctx, cfg)
}

func (e *Evidence) fillLog(ctx context.Context, r *Repair, s *jetstream.Server, progress func(string, events.Head)) error {
	there, err := s.Log().Last(ctx)
	if err != nil {
		return err
	}
	if there == 0 { // before the log: one that is there has its journal
		note := func(b []byte) error { return s.Journal().Note(ctx, b) }
		if err := e.eachNote(ctx, r, note); err != nil {
			return fmt.Errorf("copy the journal: %w", err)
		}
	}
	v := e.Verification()
	v.To = r.Head.Revision // what is foreign comes after it
	v.Progress = func(h events.Head) { progress("writing the log", h) }
	v.Each = func(c events.Commit) error {
		if c.Revision <= there {
			return nil
		}
		return s.Log().Append(ctx, c.Revision-1, c)
	}
	report, err := audit.Verify(ctx, v)
	if err == nil && report.Head != r.Head {
		err = fmt.Errorf("%w: the second reading ended at revision %d, the first at %d", ledger.ErrUnavailable, report.Head.Revision, r.Head.Revision)
	}
	return err
}

// makeViews makes the views from a log that is whole, in a new place, and verifies them.
func (e *Evidence) makeViews(ctx context.Context, r *Repair, log ledger.Log, progress func(string, events.Head)) (err error) {
	store, err := pebblekv.Open(filepath.Join(e.config.Dir, newViews), pebblekv.Options{CacheBytes: e.config.CacheBytes})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p, err := projections.Open(store, log, Views()...)
	if err != nil {
		return err
	}
	if err := p.CatchUp(ctx); err != nil {
		return err
	}
	if e.Projector != nil {
		if left, err := p.CarryOver(e.Projector); err != nil {
			return err
		} else if left != nil {
			e.config.Logger.Warn("not everything that only the views had can be read", "error", left)
		}
	}
	views, err := p.Inspect()
	if err != nil {
		return err
	}
	defer views.Close()
	report, err := audit.Verify(ctx, audit.Verification{Source: log, Lost: lost, Views: views, Known: knownMark(e.Mark),
		Progress: func(h events.Head) { progress("reading the views back", h) }})
	if err == nil {
		err = report.Err()
	}
	if err == nil && report.Head != r.Head {
		err = fmt.Errorf("%w: the views end at revision %d, must be %d", ledger.ErrCorrupt, report.Head.Revision, r.Head.Revision)
	}
	return err
}
