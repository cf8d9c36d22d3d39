package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/permledger/permledger/events"
)

// writer is the one goroutine that decides and stores. What it does in a cycle, and what a crash leaves:
//
//  1. takes all that waits and decides it, one request after the other, in a draft: nothing is durable;
//  2. seals the events into one commit and appends it. From here a crash may leave the commit stored and
//     nobody answered: the next start applies it, and a caller who asks again with a key gets its receipt;
//  3. commits the draft: the views are at the commit. A crash before is the same as above;
//  4. notes refusals, and keyed answers without events, in the journal. A crash before leaves the key
//     unused: nobody was told anything;
//  5. answers.
//
// All fields are the writer's own, except status.
type writer struct {
	cfg     *Config
	log     Log
	journal Journal
	views   Projection
	queue   *queue
	status  status

	waiting []*job          // taken from the queue and not yet answered
	most    int             // how many of them fit one commit, after a cycle found that not all do; 0: all
	noted   uint64          // the last journal entry that is indexed
	behind  bool            // the journal has entries that are not indexed
	unnoted []events.Answer // keyed answers that the journal must take before another key is judged
	failed  bool            // the last append was not taken
	halt    error           // why nothing is answered any more
}

// start brings the views to the log's end and begins a ledger where there is none.
func (w *writer) start(ctx context.Context) error {
	if err := w.catchUp(ctx); err != nil {
		return err
	}
	if err := w.readJournal(ctx); err != nil {
		return err
	}
	for w.views.Head().Revision == 0 {
		err := w.begin(ctx)
		if errors.Is(err, ErrConflict) { // somebody else began it
			err = w.catchUp(ctx)
		}
		if err != nil {
			return fmt.Errorf("begin the ledger: %w", err)
		}
	}
	// Without room or a sound clock the key waits for another start; questions do not.
	if err := w.announce(ctx); err != nil && !errors.Is(err, ErrNoSpace) && !errors.Is(err, ErrClock) {
		return fmt.Errorf("announce the ledger's key: %w", err)
	}
	if _, err := w.cfg.signer(w.views.Head()); err != nil {
		return err
	}
	w.status.ready(w.views.Head())
	return nil
}

// begin stores the first commit: the ledger, its default tenant, its first administrator and, with a keyring,
// its key.
func (w *writer) begin(ctx context.Context) error {
	id := w.cfg.NewID()
	evs := []events.Event{
		events.LedgerCreated{Ledger: id},
		events.TenantCreated{},
		events.AdministratorAdded{Principal: w.cfg.Administrator},
	}
	announced, signer, err := w.cfg.announcement(events.Head{})
	if err != nil {
		return err
	}
	if announced != nil {
		evs = append(evs, announced)
	}
	return w.record(ctx, id, signer, evs...)
}

// record stores events that nobody asked for as one commit.
func (w *writer) record(ctx context.Context, id events.LedgerID, signer events.Signer, evs ...events.Event) error {
	g, err := newGroup(w.cfg, w.views)
	if err != nil {
		return err
	}
	defer g.discard()
	if err := g.admit([]Command{AddAdministrator{}}); err != nil { // it adds something
		return err
	}
	command := w.cfg.NewID()
	for _, e := range evs {
		r := events.Recorded{
			ID: w.cfg.NewID(), Command: command, RecordedAt: g.at, Event: e,
			Meta: events.Meta{Actor: w.cfg.Administrator, Origin: events.OriginLedger},
		}
		if _, ok := e.(events.TenantCreated); ok {
			r.Tenant = events.DefaultTenant
		}
		if err := g.add(r); err != nil {
			return err
		}
	}
	c, err := events.Seal(g.head, events.Header{Ledger: id, RecordedAt: g.at, Writer: w.cfg.Writer}, g.events, signer)
	if err != nil {
		return err
	}
	return w.store(ctx, g, c)
}

// seal makes the commit of what g decided.
func (w *writer) seal(g *group) (events.Commit, error) {
	signer, err := w.cfg.signer(g.head)
	if err != nil {
		return events.Commit{}, err
	}
	return events.Seal(g.head, events.Header{RecordedAt: g.at, Writer: w.cfg.Writer}, g.events, signer)
}

// catchUp brings the views to the log's end.
func (w *writer) catchUp(ctx context.Context) error {
	if err := w.views.CatchUp(ctx); err != nil {
		return faultOf("catch up with the log", err)
	}
	head := w.views.Head().Revision // before the look at the log, which may grow meanwhile
	last, err := w.log.Last(ctx)
	if err != nil {
		return faultOf("look for the end of the log", err)
	}
	return notShorter(last, head)
}

// notShorter refuses a log that ends before the views do: it has lost commits.
func notShorter(last, head events.Revision) error {
	if last < head {
		return fmt.Errorf("%w: the log ends at revision %d, the views are at %d", ErrCorrupt, last, head)
	}
	return nil
}

// faultOf sorts a fault of the log or the views: broken for good, or unavailable.
func faultOf(doing string, err error) error {
	kind := ErrUnavailable
	for _, broken := range []error{ErrCorrupt, events.ErrBroken, events.ErrMalformed, events.ErrUnknownEvent} {
		if errors.Is(err, broken) {
			kind = ErrCorrupt
		}
	}
	return fmt.Errorf("%w: %s: %w", kind, doing, err)
}

// run works until the queue is closed and everything in it is answered.
func (w *writer) run(ctx context.Context) {
	tick, stop := w.ticks()
	defer stop()
	for {
		if len(w.waiting) == 0 {
			select {
			case <-w.queue.wake:
			case <-w.queue.closing:
			case <-tick:
				w.waiting = append(w.waiting, newNotice())
			}
		}
		jobs, last := w.queue.takeAll()
		w.waiting = append(w.waiting, jobs...)
		if last && len(w.waiting) == 0 {
			w.status.notReady("the ledger is closed")
			return
		}
		w.cycle(ctx)
	}
}

func (w *writer) ticks() (<-chan time.Time, func()) {
	if w.cfg.NoticeInterval < 0 {
		return nil, func() {}
	}
	t := time.NewTicker(w.cfg.NoticeInterval)
	return t.C, t.Stop
}

// cycle makes at most one commit out of what waits, and answers it.
func (w *writer) cycle(ctx context.Context) {
	start := time.Now()
	jobs := w.take()
	if w.halt != nil {
		answerAll(jobs, w.halt)
		return
	}
	jobs = w.refuseKeysWhileBehind(ctx, w.dryRuns(jobs))
	if len(jobs) == 0 {
		return
	}
	g, rest, err := w.decide(jobs)
	if err != nil {
		answerAll(jobs, w.fault("decide", err))
		return
	}
	w.waiting = append(rest, w.waiting...)
	done := len(g.events) == 0 || w.commit(ctx, g, start)
	g.discard()
	if done {
		w.healthy(ctx, len(g.events) > 0)
		w.settle(ctx, g)
	}
}

// healthy makes the ledger ready after a cycle that went well. After an append that was not taken it takes
// another one, or at least a log that answers; and always the key with which the next commit is signed, which
// somebody else may have replaced.
func (w *writer) healthy(ctx context.Context, appended bool) {
	if _, err := w.cfg.signer(w.views.Head()); err != nil {
		w.status.notReady(err.Error())
		return
	}
	if w.failed && !appended {
		if _, err := w.log.Last(ctx); err != nil {
			return
		}
	}
	w.failed = false
	w.status.ready(w.views.Head())
}

// take takes from what waits the jobs of this cycle whose callers still do.
func (w *writer) take() []*job {
	n := len(w.waiting)
	if w.most > 0 {
		n = min(n, w.most)
	}
	var jobs []*job
	for _, j := range w.waiting[:n] {
		if j.take() {
			jobs = append(jobs, j)
		}
	}
	w.waiting, w.most = w.waiting[n:], 0
	return jobs
}

// putBack lets jobs wait for another cycle, before all others.
func (w *writer) putBack(jobs []*job) {
	for _, j := range jobs {
		j.release()
	}
	w.waiting = append(jobs, w.waiting...)
}

// mostAgain bounds what taking requests back may cost a group, in events added again.
const mostAgain = 10_000

// decide judges jobs until the commit is large enough; the rest waits for the next. So it does when requests were
// taken back too often: each costs as much as the group holds.
func (w *writer) decide(jobs []*job) (g *group, rest []*job, err error) {
	if g, err = newGroup(w.cfg, w.views); err != nil {
		return nil, nil, err
	}
	for i, j := range jobs {
		if g.size >= w.cfg.GroupBytes || g.again > mostAgain {
			for _, j := range jobs[i:] {
				j.release()
			}
			return g, jobs[i:], nil
		}
		if err := g.judge(j); err != nil {
			g.discard()
			return nil, nil, err
		}
	}
	return g, nil, nil
}

// commit stores the events of g. When it reports false, every job of g was answered or waits again.
func (w *writer) commit(ctx context.Context, g *group, start time.Time) bool {
	c, err := w.seal(g)
	if err != nil {
		answerAll(g.jobs, w.fault("encode", err))
		return false
	}
	if len(c.Bytes) > w.log.MaxBytes() || overlong(c) > 0 {
		w.shrink(g, c)
		return false
	}
	switch err := w.store(ctx, g, c); {
	case err == nil:
		w.cfg.Observer.committed(c, time.Since(start))
		return true
	case errors.Is(err, ErrConflict):
		w.lostRace(ctx, g)
	case errors.Is(err, ErrStoreFailed):
		halt := w.storeFailed(err)
		if !errors.Is(err, ErrUnknownOutcome) {
			err = halt
		}
		w.giveUp(g, err, halt)
	case errors.Is(err, ErrUnknownOutcome):
		w.giveUp(g, err, errClosed)
	default:
		w.failed = true
		answerAll(g.jobs, w.fault("store", err))
	}
	return false
}

// giveUp ends the writer's work with a commit that failed with err, of whose outcome nothing more will be known:
// nothing may be decided after it. Everybody else hears halt from now on.
func (w *writer) giveUp(g *group, err, halt error) {
	w.halt = halt
	for _, j := range g.jobs {
		if j.to > j.from || j.again != nil {
			j.answer(Receipt{}, err)
		} else { // judged beside events that may never be, and no event itself
			j.answer(Receipt{}, halt)
		}
	}
}

// storeFailed stops all writing, and gives what to answer from now on. Questions go on: they are answered from
// the views, which hold nothing that was not acknowledged by the disk.
func (w *writer) storeFailed(err error) error {
	// Not wrapped: the outcome is unknown of one commit, and what comes after it is not stored for certain.
	halt := fmt.Errorf("%w: nothing is stored until the server is restarted: %v", ErrUnavailable, err)
	w.status.notReady(halt.Error())
	w.cfg.Observer.halted(err)
	return halt
}

// store appends c and makes it the views' head. When the append succeeded and the views cannot take the
// commit, it is durable and nobody can be told what is so now: that halts the ledger, and the next start
// applies it.
func (w *writer) store(ctx context.Context, g *group, c events.Commit) error {
	if err := w.append(ctx, c); err != nil {
		return err
	}
	if err := g.draft.Commit(c); err != nil {
		return fmt.Errorf("%w: revision %d is stored, and the views cannot take it: %w", ErrCorrupt, c.Revision, err)
	}
	g.head = c.Head()
	return nil
}

// lostRace takes over what somebody else committed; the jobs are decided again on it.
func (w *writer) lostRace(ctx context.Context, g *group) {
	w.cfg.Observer.conflict()
	g.discard()
	w.behind = true // the other writer may have noted answers too
	err := w.catchUp(ctx)
	if before := g.head.Revision; err == nil && w.views.Head().Revision == before {
		err = fmt.Errorf("%w: the log has another last revision than %d, and nothing after it", ErrUnavailable, before)
	}
	if err != nil {
		answerAll(g.jobs, w.fault("catch up", err))
		return
	}
	w.putBack(g.jobs)
}

// overlong is the size of the first event of c that is longer than any may be; 0 when there is none.
func overlong(c events.Commit) int {
	for _, r := range c.Events {
		if len(r.Raw) > events.MaxEventBytes {
			return len(r.Raw)
		}
	}
	return 0
}

func eventTooLarge(size int) error {
	return refuse(CodeTooLarge, "the request needs an event of %d bytes; the limit is %d", size, events.MaxEventBytes)
}

// shrink deals with a commit that is larger than the log takes, or has an event that is: a request that would
// not fit alone is refused, and the others are decided again, fewer of them.
func (w *writer) shrink(g *group, c events.Commit) {
	frame, limit := len(c.Prefix())+len(c.Suffix()), w.log.MaxBytes()
	total := frame
	for i, j := range g.jobs {
		size := j.to - j.from // the commas
		for _, r := range g.events[j.from:j.to] {
			size += len(r.Raw)
			if len(r.Raw) > events.MaxEventBytes {
				j.tooLarge = eventTooLarge(len(r.Raw))
			}
		}
		if frame+size > limit {
			j.tooLarge = refuse(CodeTooLarge, "the request needs a commit of %d bytes; the limit is %d", frame+size, limit)
		}
		if total += size; total > limit && w.most == 0 {
			w.most = max(i, 1)
		}
	}
	w.putBack(g.jobs)
}

// fault gives what to answer after a fault, and halts the ledger when it is one for good.
func (w *writer) fault(doing string, err error) error {
	err = faultOf(doing, err)
	if errors.Is(err, ErrCorrupt) {
		w.halt = fmt.Errorf("the ledger halted: %w", err)
		w.status.notReady(w.halt.Error())
		w.cfg.Observer.halted(err)
		return w.halt
	}
	w.status.notReady(err.Error())
	return err
}

func answerAll(jobs []*job, err error) {
	for _, j := range jobs {
		j.answer(Receipt{}, err)
	}
}

// dryRuns answers the jobs that only want to know, each on its own draft, and gives the others.
func (w *writer) dryRuns(jobs []*job) []*job {
	var others []*job
	for _, j := range jobs {
		if !j.dry {
			others = append(others, j)
			continue
		}
		j.answer(w.dryRun(j))
	}
	return others
}

func (w *writer) dryRun(j *job) (Receipt, error) {
	g, err := newGroup(w.cfg, w.views)
	if err == nil {
		defer g.discard()
		err = g.judge(j)
	}
	if err != nil {
		return Receipt{}, w.fault("decide", err)
	}
	if j.refused != nil || j.answered != nil || len(g.events) == 0 {
		return outcome(j, g.head.Revision)
	}
	would := append([]events.Recorded(nil), g.events...)
	c, err := w.seal(g)
	if err != nil {
		return Receipt{}, fmt.Errorf("encode: %w", err)
	}
	if size := overlong(c); size > 0 {
		return Receipt{}, eventTooLarge(size)
	}
	if limit := w.log.MaxBytes(); len(c.Bytes) > limit {
		return Receipt{}, refuse(CodeTooLarge, "the request needs a commit of %d bytes; the limit is %d", len(c.Bytes), limit)
	}
	return Receipt{Command: j.command, Revision: g.head.Revision, Events: len(would), Recorded: would}, nil
}
