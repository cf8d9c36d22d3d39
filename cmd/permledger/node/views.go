package node

import (
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/receipts"
)

// Views are all views of the ledger, in the order in which they are applied.
func Views() []projections.View {
	return []projections.View{access.Rows{}, audit.Rows{}, receipts.Rows{}}
}

// Projection lets a ledger decide on a projector's rows; the two packages do not know each other.
func Projection(p *projections.Projector) ledger.Projection { return projection{p} }

type projection struct{ *projections.Projector }

// Begin opens a draft recorded at that instant. Between the ledger's look at the head and now, commits of
// another writer may have been applied; one recorded later than at would make the draft's commit go back in
// time, so there is no draft then, and the request may be sent again.
func (p projection) Begin(at events.Instant) (ledger.Draft, error) {
	d, err := p.Projector.Begin()
	if err != nil {
		return nil, err
	}
	if head := p.Head(); head.RecordedAt > at {
		d.Discard()
		return nil, fmt.Errorf("%w: revision %d was recorded meanwhile, at %s", ledger.ErrUnavailable, head.Revision, head.RecordedAt)
	}
	return &draft{
		State: access.NewState(d.Rows(access.Name), at),
		draft: d, projector: p.Projector,
	}, nil
}

// draft is a projector's draft that can be read as the ledger's state.
type draft struct {
	*access.State
	draft     *projections.Draft
	projector *projections.Projector
	err       error // of Answered
}

func (d *draft) Add(r events.Recorded) error { return d.draft.Add(r) }
func (d *draft) Discard()                    { d.draft.Discard() }

// Commit seals the added events as c and writes them. After a failure the log has the commit and the views do
// not: the next CatchUp applies it, or halts.
func (d *draft) Commit(c events.Commit) error {
	if err := d.draft.Seal(c); err != nil {
		d.Discard()
		return err
	}
	return d.draft.Flush()
}

func (d *draft) Err() error {
	if d.err != nil {
		return d.err
	}
	return d.State.Err()
}

// Answered looks where answers with events are, then where the others are.
func (d *draft) Answered(t events.Tenant, caller events.Principal, key string) (events.Answer, bool) {
	a, ok, err := receipts.Find(d.draft.Rows(receipts.Name), t, caller, key)
	if err == nil && !ok {
		a, ok, err = d.projector.FindNoted(t, caller, key)
	}
	if err != nil && d.err == nil {
		d.err = err
	}
	return a, ok && err == nil
}
