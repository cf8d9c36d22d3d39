package ledger

import (
	"cmp"

	"github.com/permledger/permledger/events"
)

// A fact of a deleted owner may be corrected like any other: history is open to correction, not to erasure.
func (c CorrectValidity) decide(s State, in situation) ([]decision, error) {
	fact, _, ok := s.Fact(in.tenant, c.Fact)
	if !ok {
		return nil, refuse(CodeUnknownFact, "no fact %s", c.Fact)
	}
	now := events.Interval{From: cmp.Or(c.From, fact.Interval.From), Until: cmp.Or(c.Until, fact.Interval.Until)}
	switch {
	case now.From > now.Until: // equal means that it never held
		return nil, refuse(CodeEmptyInterval, "fact %s would end at %s, before it starts, at %s", c.Fact, now.Until, now.From)
	case now == fact.Interval:
		return in.already("fact " + c.Fact.String() + " is valid " + now.String())
	}
	if k := fact.Kind; (k == events.EdgeParent || k == events.EdgeInclusion) && now.Until > s.Now() {
		if err := cycle(s, in.tenant, k, fact.From, fact.To); err != nil {
			return nil, err
		}
	}
	if err := cmp.Or(in.sinceFirstDay(s, c.From), in.sinceFirstDay(s, c.Until)); err != nil {
		return nil, err
	}
	d := decision{
		event: events.ValidityCorrected{Fact: fact.ID, Edge: fact.Edge, Before: fact.Interval},
		from:  now.From, // always said: zero would be the moment of the correction
		until: now.Until,
	}
	if d.until == events.Forever {
		d.until = 0
	}
	return []decision{d}, nil
}

func (c recordDue) decide(State, situation) ([]decision, error) {
	if c.due.Starts {
		return []decision{{event: events.ValidityStarted{Fact: c.due.Fact.ID, Edge: c.due.Fact.Edge}, from: c.due.At}}, nil
	}
	return []decision{{event: events.ValidityExpired{Fact: c.due.Fact.ID, Edge: c.due.Fact.Edge}, until: c.due.At}}, nil
}
