package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
)

// settle answers every job of g. What was recorded is answered at once; an answer without events is noted in
// the journal before it is given, because it is the first answer to its key for ever.
func (w *writer) settle(ctx context.Context, g *group) {
	var others, noted []*job
	for _, j := range g.jobs {
		switch {
		case j.to > j.from:
			j.answer(recorded(g, j), nil)
		default:
			others = append(others, j)
			if g.space != SpaceFull && w.journaled(j) { // what a full disk still refuses by a rule has no key to keep
				noted = append(noted, j)
			}
		}
	}
	failed := w.note(ctx, g, noted)
	for _, j := range others {
		switch {
		case failed[j] != nil:
			j.answer(Receipt{}, failed[j])
		case j.again != nil:
			j.answer(replay(j.again))
		default:
			j.answer(outcome(j, g.head.Revision))
		}
		if r := asRefusal(j.err); r != nil {
			w.cfg.Observer.refused(r.Code)
		}
	}
}

// journaled reports whether the answer to a job without events is kept: every refusal, and with a key that
// nothing was to be done. Replays are kept already, and faults are no answers.
func (w *writer) journaled(j *job) bool {
	switch {
	case j.again != nil || j.answered != nil:
		return false
	case j.refused != nil:
		return asRefusal(j.refused) != nil
	}
	return j.req.Key != ""
}

func recorded(g *group, j *job) Receipt {
	evs := slices.Clip(g.events[j.from:j.to])
	return Receipt{
		Command: j.command, Revision: g.head.Revision, Hash: g.head.Hash,
		Position: evs[0].Position, Events: len(evs), Recorded: evs,
	}
}

// outcome is the answer to a job that recorded nothing, judged at a revision.
func outcome(j *job, at events.Revision) (Receipt, error) {
	switch {
	case j.refused != nil:
		return Receipt{}, j.refused
	case j.answered == nil:
		return Receipt{Command: j.command, Revision: at, Nothing: true}, nil
	}
	a := j.answered
	if a.Refusal != nil {
		return Receipt{}, &Refusal{Code: Code(a.Refusal.Code), Message: a.Refusal.Message}
	}
	return Receipt{
		Command: a.Command, Revision: a.Revision, Position: a.Position, Events: a.Events,
		Nothing: a.Events == 0, Replayed: true,
	}, nil
}

// replay gives the answer of a job of the same group to one with the same key.
func replay(first *job) (Receipt, error) {
	r := first.receipt
	r.Hash, r.Recorded, r.Replayed = events.Hash{}, nil, true
	if first.err != nil {
		return Receipt{}, first.err
	}
	return r, nil
}

// note keeps the answers to jobs and says which callers must not be given theirs: those whose key the journal
// may not have. A refusal without a key is given all the same.
func (w *writer) note(ctx context.Context, g *group, jobs []*job) map[*job]error {
	failed := map[*job]error{}
	for _, j := range jobs {
		a := answerOf(j, g.at, g.head.Revision)
		err := w.noteOne(ctx, a)
		if err == nil {
			w.behind = true // until the next cycle reads it back, with the sequence it got
			continue
		}
		w.cfg.Observer.unnoted(err)
		if a.Key != "" {
			w.unnoted = append(w.unnoted, a)
			failed[j] = fmt.Errorf("%w: nothing was recorded, and the answer could not be kept: %w", ErrUnavailable, err)
		}
	}
	return failed
}

// noteOne notes one answer. A store that failed ends all writing, of commits too: it is one disk.
func (w *writer) noteOne(ctx context.Context, a events.Answer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	before := w.status.get()
	done := w.status.whileSlow("the journal takes long to store an answer")
	err = w.journal.Note(ctx, b)
	if done() {
		w.status.set(before)
	}
	if errors.Is(err, ErrStoreFailed) && w.halt == nil {
		w.halt = w.storeFailed(err)
	}
	return err
}

// maxNotedRequest is how large a request may be, as JSON, to be kept with its refusal.
const maxNotedRequest = 16 << 10

// answerOf is what the journal keeps. A key conflict is kept without the key, which has its answer.
func answerOf(j *job, now events.Instant, at events.Revision) events.Answer {
	a := events.Answer{
		Tenant: j.req.Tenant, Caller: j.req.Actor, Key: j.req.Key, RequestHash: j.req.RequestHash,
		Command: j.command, AnsweredAt: now, Revision: at, Request: j.description,
	}
	if r := asRefusal(j.refused); r != nil {
		a.Refusal = &events.RefusalNote{Code: string(r.Code), Message: r.Message}
		if r.Code == CodeKeyConflict {
			a.Key, a.RequestHash = "", ""
		}
	}
	if a.Request == nil {
		a.Request, _ = j.req.describe()
	}
	if len(a.Request) > maxNotedRequest {
		a.Request = fmt.Appendf(nil, `{"bytes":%d,"commands":%d,"first":%q}`, len(a.Request), len(j.req.Commands), kindOf(j.req.Commands[0]))
	}
	return a
}

// readJournal indexes the entries that are not indexed yet.
func (w *writer) readJournal(ctx context.Context) error {
	for e, err := range w.journal.Notes(ctx, w.noted+1) {
		if err != nil {
			return faultOf("read the journal", err)
		}
		var a events.Answer
		if err := json.Unmarshal(e.Bytes, &a); err != nil {
			return fmt.Errorf("%w: journal entry %d: %w", ErrCorrupt, e.Sequence, err)
		}
		if err := w.views.NoteAnswer(e.Sequence, a); err != nil {
			return faultOf(fmt.Sprintf("index journal entry %d", e.Sequence), err)
		}
		w.noted = e.Sequence
	}
	w.behind = false
	return nil
}

// refuseKeysWhileBehind makes sure that the journal has every answer that was decided, and the index every
// answer in the journal. While that fails no key can be judged: the answer it had might be missed. Requests
// without a key go on.
func (w *writer) refuseKeysWhileBehind(ctx context.Context, jobs []*job) []*job {
	err := w.complete(ctx)
	if err == nil {
		return jobs
	}
	w.cfg.Observer.unnoted(err)
	err = fmt.Errorf("%w: idempotency keys cannot be judged: %w", ErrUnavailable, err)
	var others []*job
	for _, j := range jobs {
		if j.req.Key == "" {
			others = append(others, j)
		} else {
			j.answer(Receipt{}, err)
		}
	}
	return others
}

func (w *writer) complete(ctx context.Context) error {
	for len(w.unnoted) > 0 {
		if err := w.noteOne(ctx, w.unnoted[0]); err != nil {
			return err
		}
		w.unnoted, w.behind = w.unnoted[1:], true
	}
	if !w.behind {
		return nil
	}
	return w.readJournal(ctx)
}
