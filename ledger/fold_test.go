package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// fold is a ledger.Projection: a world at head, cloned for each draft.
type fold struct {
	log   ledger.Log
	head  events.Head
	world *world
	notes map[askedBy]events.Answer
	noted uint64
	open  bool              // a draft is
	read  []events.Recorded // what CatchUp read

	// Faults to play.
	failRead   func() error
	failAdd    func(events.Recorded) error
	failCommit func() error
	failNote   func() error
	// follow is called where another goroutine may apply other writers' commits: around drafts.
	follow func()
}

func newFold(log ledger.Log) *fold {
	return &fold{log: log, world: newWorld(), notes: map[askedBy]events.Answer{}}
}

func (p *fold) Head() events.Head { return p.head }

func (p *fold) CatchUp(ctx context.Context) error {
	if p.open {
		return errors.New("catch up beside an open draft")
	}
	for s, err := range p.log.Read(ctx, p.head.Revision+1) {
		if err != nil {
			return err
		}
		c, err := events.DecodeCommit(s.Bytes)
		if err != nil {
			return err
		}
		if err := p.head.Follows(c); err != nil {
			return err
		}
		for _, r := range c.Events {
			if err := p.world.apply(r); err != nil {
				return err
			}
		}
		p.head = c.Head()
		p.read = append(p.read, c.Events...)
	}
	return nil
}

func (p *fold) NoteAnswer(sequence uint64, a events.Answer) error {
	if p.failNote != nil {
		if err := p.failNote(); err != nil {
			return err
		}
	}
	if sequence <= p.noted {
		return nil
	}
	p.noted = sequence
	k := askedBy{a.Tenant, a.Caller, a.Key}
	if _, ok := p.notes[k]; !ok && a.Key != "" {
		p.notes[k] = a
	}
	return nil
}

func (p *fold) Begin(at events.Instant) (ledger.Draft, error) {
	if p.open {
		return nil, errors.New("two drafts at once")
	}
	if p.follow != nil {
		p.follow()
	}
	if p.head.RecordedAt > at {
		return nil, errors.New("a commit recorded later was applied meanwhile")
	}
	p.open = true
	w := p.world.clone()
	w.now = at
	return &draft{world: w, p: p, next: p.head.Position + 1}, nil
}

type draft struct {
	*world
	p      *fold
	next   events.Position
	added  []events.Recorded
	done   bool
	broken error // the first Add that failed
}

func (d *draft) Err() error {
	if d.p.failRead != nil {
		return d.p.failRead()
	}
	return nil
}

func (d *draft) Answered(t events.Tenant, caller events.Principal, key string) (events.Answer, bool) {
	k := askedBy{t, caller, key}
	if a, ok := d.answers[k]; ok {
		return a, true
	}
	a, ok := d.p.notes[k]
	return a, ok
}

func (d *draft) Add(r events.Recorded) error {
	if d.p.failAdd != nil {
		if err := d.p.failAdd(r); err != nil {
			d.broken = err
		}
	}
	if d.broken != nil {
		return d.broken
	}
	if d.done || r.RecordedAt != d.now || r.ID == (events.EventID{}) || r.Command == (events.CommandID{}) {
		return fmt.Errorf("event %s is not complete, or the draft is closed", r.ID)
	}
	r.Revision, r.Position = d.p.head.Revision+1, d.next
	d.next++
	d.added = append(d.added, r)
	return d.apply(r)
}

func (d *draft) Commit(c events.Commit) error {
	if d.p.failCommit != nil {
		if err := d.p.failCommit(); err != nil {
			return err
		}
	}
	same := slices.EqualFunc(d.added, c.Events, func(a, b events.Recorded) bool { return a.ID == b.ID && a.Position == b.Position })
	if d.done || !same {
		return errors.New("the commit does not hold exactly the added events")
	}
	if err := d.p.head.Follows(c); err != nil {
		return err
	}
	d.p.world, d.p.head = d.world, c.Head()
	d.Discard()
	if d.p.follow != nil {
		d.p.follow()
	}
	return nil
}

func (d *draft) Discard() {
	if !d.done {
		d.done, d.p.open = true, false
	}
}
