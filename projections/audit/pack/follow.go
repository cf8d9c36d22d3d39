package pack

import (
	"bytes"
	"errors"
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// A pack that spans the replacement of a key holds the commit that announces the new one, signed by the old one, so an
// auditor who pinned the old one needs nothing else. But the last checkpoint is signed by the new key, and is held
// against the events while they are walked. So the announcements are looked for first, among the commits as they
// stand: each is signed by itself, and that is all that is asked of it here. That these commits are the ledger's is
// what the walk shows; it follows the keys again, and must come to the same.

// noWay is why nothing can be followed in a pack without commits.
const noWay = "the key may have been replaced: a pack of matching events only cannot show by which one; " +
	"a pack of the whole period that the replacement lies in can, and permledger key list of the ledger prints it"

// announcement is in every commit that announces a key.
var announcement = []byte(`"` + events.Name(events.KeyAnnounced{}) + `"`)

// followKeys adds the keys that are announced in the commits of the pack to those that were given. A commit that is
// none is passed over, for the walk comes by and says so.
func (v *verifier) followKeys() error {
	if v.parameters.OnlyMatching {
		return nil
	}
	part, err := v.bundle.Open(partCommits)
	if err != nil {
		return &Fault{Part: partCommits, Err: err}
	}
	defer part.Close()
	follower := checkpoint.Follow(v.given)
	at := max(v.parameters.First.Revision, 1) - 1
	for line, err := range bundle.Lines(part) {
		at++
		if err != nil {
			return &Fault{Part: partCommits, Revision: at, Err: err}
		}
		if !bytes.Contains(line, announcement) {
			continue
		}
		if c, err := events.DecodeCommit(line); err == nil {
			follower.Take(c)
		}
	}
	v.keys = follower.Keys()
	return nil
}

// takeFirst follows the commit of the first checkpoint, which is in the pack only as what the others follow.
func (v *verifier) takeFirst(line []byte) error {
	c, err := events.DecodeCommit(line)
	if err == nil {
		v.followed.Take(c)
	}
	return err
}

// followedSame holds the keys by which the checkpoints were judged against those of the commits that were walked.
func (v *verifier) followedSame() error {
	same := slices.EqualFunc(v.keys, v.followed.Keys(), func(a, b checkpoint.Key) bool { return a.String() == b.String() })
	if !same {
		return &Fault{Part: partCommits, Err: errors.New("a key is announced otherwise than a ledger announces it")}
	}
	return nil
}

// announced are the keys that were not given.
func (v *verifier) announced() checkpoint.Keys {
	if v.followed == nil {
		return nil
	}
	return v.followed.Announced()
}
