package ledger

import (
	"errors"
	"fmt"

	"github.com/permledger/permledger/events"
)

// group is the next commit in the making: requests decided one after the other, each on the state that
// those before it leave.
type group struct {
	cfg   *Config
	views Projection
	at    events.Instant
	limits
	draft Draft
	head  events.Head // what the group is decided on; once it is committed, the commit

	jobs   []*job
	events []events.Recorded
	size   int                // about how large the events will be when encoded
	first  map[answerKey]*job // keys used in this group

	again int // how many events were added once more, after a request was taken back
}

// verdict is what was decided on a job.
type verdict struct {
	command  events.CommandID
	from, to int            // its events in the group
	refused  error          // a Refusal, or why it could not be decided
	again    *job           // the job of this group that the same key was given before
	answered *events.Answer // the answer the key was given earlier
}

// newGroup opens a draft. Nobody else moves the views' head while it is open, but until then another writer's
// commit may still be applied to them.
func newGroup(cfg *Config, views Projection) (*group, error) {
	for {
		before := views.Head()
		at := max(events.At(cfg.Clock()), before.RecordedAt)
		draft, err := views.Begin(at)
		head := views.Head()
		switch {
		case err == nil && head.RecordedAt <= at:
			return &group{cfg: cfg, views: views, at: at, limits: cfg.limits(), draft: draft, head: head, first: map[answerKey]*job{}}, nil
		case err == nil:
			draft.Discard()
		case head == before:
			return nil, fmt.Errorf("begin a commit: %w", err)
		}
	}
}

// discard closes the draft. Harmless a second time, and after the draft was committed.
func (g *group) discard() {
	if g.draft != nil {
		g.draft.Discard()
		g.draft = nil
	}
}

// judge decides one job. An error means that the group is lost: the views cannot be trusted.
func (g *group) judge(j *job) error {
	j.verdict = verdict{command: g.cfg.NewID(), from: len(g.events), to: len(g.events)}
	g.jobs = append(g.jobs, j)
	if j.notice {
		j.req.Commands = dueCommands(g.draft.Due(noticeBatch))
	}
	if settled, err := g.known(j); settled || err != nil {
		return err
	}
	if j.refused = j.tooLarge; j.refused != nil {
		return nil
	}
	if j.refused = g.admit(j.req.Commands); j.refused != nil {
		return nil
	}
	if j.refused = g.carryOut(j); j.refused == nil {
		j.to = len(g.events)
		return nil
	}
	if len(g.events) == j.from && asRefusal(j.refused) != nil {
		return nil // refused before anything was added: the draft is as it was
	}
	return g.rollback(j.from)
}

// known looks the idempotency key up. A settled job needs no decision: it has its answer.
func (g *group) known(j *job) (settled bool, _ error) {
	if j.req.Key == "" {
		return false, nil
	}
	if first := g.first[j.req.answerKey()]; first != nil {
		if j.again = first; first.req.RequestHash != j.req.RequestHash {
			j.again, j.refused = nil, keyConflict(&j.req)
		}
		return true, nil
	}
	a, ok := g.draft.Answered(j.req.Tenant, j.req.Actor, j.req.Key)
	if err := g.draft.Err(); err != nil {
		return false, fmt.Errorf("look up the idempotency key: %w", err)
	}
	if !ok {
		g.first[j.req.answerKey()] = j
		return false, nil
	}
	if j.answered = &a; a.RequestHash != j.req.RequestHash {
		j.answered, j.refused = nil, keyConflict(&j.req)
	}
	return true, nil
}

func keyConflict(r *Request) error {
	return refuse(CodeKeyConflict, "idempotency key %q of %s was used for another request", r.Key, r.Actor)
}

// carryOut decides the commands of a job in order and adds their events, each command seeing those before.
func (g *group) carryOut(j *job) error {
	in, err := j.req.situation(g.draft)
	if err := g.trust(err); err != nil {
		return err
	}
	if err := g.expect(&j.req); err != nil {
		return err
	}
	for _, c := range j.req.Commands {
		if err := knownTenant(g.draft, j.req.Tenant, c); err != nil {
			return g.trust(err)
		}
		decisions, err := c.decide(g.draft, in)
		if err := g.trust(err); err != nil {
			return err
		}
		for _, d := range decisions {
			if err := g.add(g.envelope(j, c, d)); err != nil {
				return err
			}
		}
	}
	return g.trust(nil)
}

// trust gives err unless reading the state failed: then nothing decided from it means anything.
func (g *group) trust(err error) error {
	if fault := g.draft.Err(); fault != nil {
		return fmt.Errorf("%w: read the state: %w", ErrUnavailable, fault)
	}
	return err
}

func (g *group) expect(r *Request) error {
	for _, e := range r.Expect {
		if v := g.draft.Version(r.Tenant, e.Principal); v > e.Version {
			return g.trust(refuse(CodePreconditionFailed, "%s changed at revision %d, after revision %d", e.Principal, v, e.Version))
		}
	}
	return nil
}

func (g *group) envelope(j *job, c Command, d decision) events.Recorded {
	return events.Recorded{
		ID: g.cfg.NewID(), Command: j.command, Tenant: tenantOf(c, j.req.Tenant), RecordedAt: g.at,
		ValidFrom: d.from, ValidUntil: d.until, Meta: j.req.Meta, Event: d.event,
	}
}

func tenantOf(c Command, of events.Tenant) events.Tenant {
	if due, ok := c.(recordDue); ok {
		return due.due.Tenant
	}
	if aboutLedger(c) {
		return ""
	}
	return of
}

func (g *group) add(r events.Recorded) error {
	if err := g.draft.Add(r); err != nil {
		return fmt.Errorf("%w: apply %s: %w", ErrUnavailable, events.Name(r.Event), err)
	}
	g.events = append(g.events, r)
	g.size += roughSize(r)
	return nil
}

// rollback takes the events from mark on out of the draft, by making it anew with those before: for a
// request refused after some of its commands were carried out, or one that the views failed on.
func (g *group) rollback(mark int) error {
	kept := g.events[:mark]
	g.discard()
	draft, err := g.views.Begin(g.at)
	if err != nil {
		return fmt.Errorf("begin a commit again: %w", err)
	}
	g.draft, g.events, g.size = draft, nil, 0
	g.again += len(kept)
	for _, r := range kept {
		if err := g.add(r); err != nil {
			return err
		}
	}
	return nil
}

// asRefusal gives the refusal in err, or nil when err is a fault.
func asRefusal(err error) *Refusal {
	var r *Refusal
	var invalid *events.InvalidError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &invalid):
		return &Refusal{Code: CodeInvalid, Message: invalid.Error()}
	}
	return nil
}

// roughSize is about how many bytes r takes in a commit, without encoding it a second time: exact where
// an event may be large, a sum of its parts where it is one of many.
func roughSize(r events.Recorded) int {
	const envelope = 300 // names of members, ids, times
	size := envelope + len(r.Tenant) + len(r.Actor.ID) + len(r.OnBehalfOf.ID) + len(r.AuthMethod) + len(r.Source) +
		len(r.RequestID) + len(r.Reason) + len(r.Ticket) + len(r.Key) + len(r.RequestHash) + 128*len(r.Approvals)
	if r.Sealed != nil {
		size += 100 + len(r.Sealed.For.ID) + len(r.Sealed.Box)*4/3
	}
	edge, ok := events.Begins(r.Event)
	if !ok {
		edge, _, ok = events.Ends(r.Event)
	}
	if ok {
		return size + 150 + len(edge.From.ID) + len(edge.To.ID) + len(edge.Permission.API) + len(edge.Permission.Name) +
			len(edge.Scope.Type) + len(edge.Scope.Value)
	}
	b, err := events.MarshalEvent(r)
	if err != nil {
		return size
	}
	return len(b)
}
