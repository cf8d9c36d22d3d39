package checkpoint

import (
	"slices"

	"github.com/permledger/permledger/events"
)

// Follower adds to the keys that somebody was given those that a ledger replaced them with. A key is announced in a
// commit that the key before it signs, so whoever trusts the one may trust the other, and need ask nobody.
//
// What was given goes before what is announced: the holder of a key that was replaced can write a history of his own
// in which another one follows, and a list that says which key is in force at a revision must not give way to it.
type Follower struct{ given, keys Keys }

// Follow begins with the keys that were given.
func Follow(given Keys) *Follower { return &Follower{given, slices.Clone(given)} }

// Keys are those given, bounded where they were replaced, and those that were announced.
func (f *Follower) Keys() Keys { return slices.Clone(f.keys) }

// Announced are those of Keys that were not given.
func (f *Follower) Announced() Keys {
	return slices.DeleteFunc(f.Keys(), func(k Key) bool { return f.given.knows(k.Verifier) })
}

// Has is Keys.Has of the keys so far.
func (f *Follower) Has(l events.LedgerID, key events.PublicKey, r events.Revision) bool {
	return f.keys.Has(l, key, r)
}

// Open is Open by the keys so far.
func (f *Follower) Open(signed []byte) (Checkpoint, error) { return Open(signed, f.keys) }

// Take looks at the next commit, whose signature was verified by the key that it names, as events.DecodeCommit does.
// If that is a key that signs after the revision before, and the commit announces another, that one signs from this
// revision on and the announcer until before it. Any other commit changes nothing.
func (f *Follower) Take(c events.Commit) {
	next := c.Head().Key
	if c.Key.IsZero() || next == c.Key || !f.keys.Has(c.Ledger, c.Key, c.Revision-1) {
		return
	}
	announcer, announced := VerifierKey(c.Ledger, c.Key), NewKey(c.Ledger, next, c.Revision, 0)
	agreed := slices.ContainsFunc(f.keys, func(k Key) bool {
		return k.Verifier == announcer && k.valid(c.Revision-1) && f.ends(k, c.Revision)
	})
	for i := range f.keys {
		if k := &f.keys[i]; k.Verifier == announcer && k.valid(c.Revision) {
			k.Until = c.Revision
		}
	}
	switch {
	case f.given.knows(announced.Verifier): // with its bounds; after it was replaced it may come again
		for _, k := range f.given {
			if k.Verifier == announced.Verifier && (k.Until == 0 || c.Revision < k.Until) {
				k.From = max(k.From, c.Revision)
				f.keys = append(f.keys, k)
			}
		}
	case agreed:
		announced.Until = f.given.next(Origin(c.Ledger), c.Revision)
		f.keys = append(f.keys, announced)
	}
}

// After is a follower that took one more commit; f itself did not.
func (f *Follower) After(c events.Commit) *Follower {
	after := &Follower{f.given, f.Keys()}
	after.Take(c)
	return after
}

// ends reports whether a key may be replaced at a revision by one that was not given: the list must not say that the
// key is in force later, or that another one followed it.
func (f *Follower) ends(k Key, at events.Revision) bool {
	next := f.given.next(k.verifier.Name(), k.From)
	return (k.Until == 0 || k.Until == at) && (next == 0 || at < next)
}

// next is the first revision after another at which a key of that origin comes into force, 0 if the list has none.
func (keys Keys) next(origin string, after events.Revision) (first events.Revision) {
	for _, k := range keys {
		if k.verifier.Name() == origin && k.From > after && (first == 0 || k.From < first) {
			first = k.From
		}
	}
	return first
}

func (keys Keys) knows(verifier string) bool {
	return slices.ContainsFunc(keys, func(k Key) bool { return k.Verifier == verifier })
}
