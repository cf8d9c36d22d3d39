package ledger

import (
	"bytes"
	"slices"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

func (c DescribePrincipal) decide(s State, in situation) ([]decision, error) {
	e := events.PrincipalDescribed(c)
	if before, ok := s.Described(in.tenant, c.Principal); ok && same(before, e) { // a text sealed twice is the same box
		return in.already(c.Principal.String() + " is described so")
	}
	return in.defines(s, "the description of "+c.Principal.String(), e)
}

// An erasure names every key: those the ledger knows to be used, and those that lie in the caller's directory, with
// which something may be sealed that was refused, or is not recorded yet.
func (c ErasePrincipal) decide(s State, in situation) ([]decision, error) {
	if in.end != s.Now() {
		return nil, refuse(CodeInvalid, "an erasure takes no validity: the key is destroyed once it is recorded")
	}
	keys := slices.Concat(s.PersonalKeys(in.tenant, c.Principal), c.Keys)
	slices.SortFunc(keys, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	keys = slices.Compact(keys)
	if len(keys) == 0 {
		return in.absent("nothing about " + c.Principal.String() + " is sealed")
	}
	return []decision{{event: events.PrincipalErased{Principal: c.Principal, Keys: keys}}}, nil
}
