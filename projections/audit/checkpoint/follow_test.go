package checkpoint_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// announced are commits of a ledger, one for each revision, in which some keys announce others; signed by whoever the
// test says, which is more than a ledger would take.
type announced struct {
	at       events.Revision
	by, next byte
	of       events.LedgerID
}

func (a announced) commit(t testing.TB) events.Commit {
	t.Helper()
	if a.of == (events.LedgerID{}) {
		a.of = ledger
	}
	// Before revision a.at there is whatever there is: a follower asks a commit for its signature only.
	before := events.Head{Ledger: a.of, Revision: a.at - 1, Position: 1, Writer: "w", Epoch: 1}
	evs := []events.Recorded{{Event: events.KeyAnnounced{Key: key(a.next).Public()}, Meta: events.Meta{Actor: events.Client("root")}}}
	sealed, err := events.Seal(before, events.Header{Ledger: a.of, Writer: "w"}, evs, key(a.by))
	if err != nil {
		t.Fatal(err)
	}
	c, err := events.DecodeCommit(sealed.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFollow(t *testing.T) {
	other := uuid.UUID{9}
	given := func(n byte, from, until events.Revision) checkpoint.Key {
		return checkpoint.NewKey(ledger, key(n).Public(), from, until)
	}
	type signs struct {
		key byte
		at  events.Revision
	}
	for _, tt := range []struct {
		name      string
		given     checkpoint.Keys
		announced []announced
		yes, no   []signs
	}{
		{"control: nothing is announced", checkpoint.Keys{given(1, 0, 0)}, nil, []signs{{1, 1}, {1, 9}}, []signs{{2, 9}}},
		{"replaced", checkpoint.Keys{given(1, 0, 0)}, []announced{{at: 4, by: 1, next: 2}},
			[]signs{{1, 1}, {1, 3}, {2, 4}, {2, 99}}, []signs{{1, 4}, {1, 99}, {2, 3}, {3, 4}}},
		{"as it was listed before it was replaced", checkpoint.Keys{given(1, 1, 0)}, []announced{{at: 4, by: 1, next: 2}},
			[]signs{{1, 3}, {2, 4}}, []signs{{1, 4}, {2, 3}}},
		{"as it was listed after it was replaced", checkpoint.Keys{given(1, 1, 4)}, []announced{{at: 4, by: 1, next: 2}},
			[]signs{{1, 3}, {2, 4}}, []signs{{1, 4}, {2, 3}}},
		{"replaced twice", checkpoint.Keys{given(1, 0, 0)}, []announced{{at: 4, by: 1, next: 2}, {at: 6, by: 2, next: 3}},
			[]signs{{1, 3}, {2, 4}, {2, 5}, {3, 6}}, []signs{{2, 6}, {3, 5}}},
		{"and back", checkpoint.Keys{given(1, 0, 0)}, []announced{{at: 4, by: 1, next: 2}, {at: 6, by: 2, next: 1}},
			[]signs{{1, 3}, {2, 5}, {1, 6}}, []signs{{1, 4}, {1, 5}, {2, 6}}},
		{"and back, by a stranger", checkpoint.Keys{given(1, 0, 0)}, []announced{{at: 4, by: 1, next: 2}, {at: 6, by: 3, next: 1}},
			[]signs{{1, 3}, {2, 6}}, []signs{{1, 4}, {1, 6}, {3, 6}}},
		{"by a stranger", checkpoint.Keys{given(1, 0, 0)}, []announced{{at: 4, by: 3, next: 2}}, []signs{{1, 3}, {1, 4}}, []signs{{2, 4}, {3, 4}}},
		{"by whom a stranger announced", checkpoint.Keys{given(1, 0, 0)}, []announced{{at: 4, by: 3, next: 2}, {at: 5, by: 2, next: 4}},
			[]signs{{1, 5}}, []signs{{2, 4}, {4, 5}}},
		{"by a key that was replaced", checkpoint.Keys{given(1, 0, 0)}, []announced{{at: 4, by: 1, next: 2}, {at: 6, by: 1, next: 3}},
			[]signs{{2, 4}, {2, 6}}, []signs{{3, 6}, {1, 6}}},
		{"by a key after its last revision", checkpoint.Keys{given(1, 1, 4)}, []announced{{at: 5, by: 1, next: 2}}, []signs{{1, 3}}, []signs{{2, 5}, {1, 4}}},
		{"by a key before its last revision", checkpoint.Keys{given(1, 1, 9)}, []announced{{at: 5, by: 1, next: 2}}, []signs{{1, 4}}, []signs{{2, 5}, {1, 5}}},
		{"another than the list has next", checkpoint.Keys{given(1, 1, 4), given(2, 4, 0)}, []announced{{at: 4, by: 1, next: 3}},
			[]signs{{1, 3}, {2, 4}}, []signs{{3, 4}, {1, 4}}},
		{"another than the list has next, of unbounded keys", checkpoint.Keys{given(1, 0, 0), given(2, 4, 0)}, []announced{{at: 6, by: 1, next: 3}},
			[]signs{{2, 6}}, []signs{{3, 6}}},
		{"one between those of the list", checkpoint.Keys{given(1, 0, 0), given(2, 6, 0)}, []announced{{at: 4, by: 1, next: 3}},
			[]signs{{1, 3}, {3, 4}, {3, 5}, {2, 6}}, []signs{{3, 6}, {1, 4}}},
		{"after all of the list", checkpoint.Keys{given(1, 1, 4), given(2, 4, 0)}, []announced{{at: 4, by: 1, next: 2}, {at: 6, by: 2, next: 3}},
			[]signs{{1, 3}, {2, 5}, {3, 6}}, []signs{{2, 6}, {3, 5}}},
		{"one whose end was given", checkpoint.Keys{given(1, 1, 4), given(2, 4, 8)}, []announced{{at: 4, by: 1, next: 2}},
			[]signs{{2, 7}}, []signs{{2, 8}}},
		{"in another ledger", checkpoint.Keys{given(1, 0, 0)}, []announced{{at: 4, by: 1, next: 2, of: other}}, []signs{{1, 4}}, []signs{{2, 4}}},
		{"by another ledger's key", checkpoint.Keys{checkpoint.NewKey(other, key(1).Public(), 0, 0)}, []announced{{at: 4, by: 1, next: 2}}, nil, []signs{{1, 3}, {2, 4}}},
		{"by nobody's", nil, []announced{{at: 4, by: 1, next: 2}}, nil, []signs{{1, 3}, {2, 4}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			was := slices.Clone(tt.given)
			f := checkpoint.Follow(tt.given)
			for _, a := range tt.announced {
				f.Take(a.commit(t))
			}
			opens := func(s signs) bool {
				c := example(t)
				c.Revision = s.at
				_, err := f.Open(sign(t, c, key(s.key)))
				if err != nil && !errors.Is(err, checkpoint.ErrSignature) {
					t.Errorf("%v", err)
				}
				if has := f.Has(ledger, key(s.key).Public(), s.at); has != (err == nil) {
					t.Errorf("key %d at %d: has %t, opened %v", s.key, s.at, has, err)
				}
				return err == nil
			}
			for _, s := range tt.yes {
				if !opens(s) {
					t.Errorf("key %d is refused at %d; %v", s.key, s.at, f.Keys())
				}
			}
			for _, s := range tt.no {
				if opens(s) {
					t.Errorf("key %d is taken at %d; %v", s.key, s.at, f.Keys())
				}
			}
			for i, k := range was {
				if tt.given[i].String() != k.String() {
					t.Error("what was given was changed")
				}
			}
		})
	}
}

// A note that no key signed is named, and what may be the matter: another ledger's key, or one that was replaced.
func TestUnknownKeyIsExplained(t *testing.T) {
	other := uuid.UUID{9}
	const replaced = "if the key was replaced, permledger key list"
	text, err := checkpoint.SignNote(ledger, "a text of ours\n", key(2))
	if err != nil {
		t.Fatal(err)
	}
	signed := sign(t, example(t), key(2))
	for name, tt := range map[string]struct {
		signed      []byte
		keys        checkpoint.Keys
		words, none []string
	}{
		"replaced": {signed, checkpoint.Keys{checkpoint.NewKey(ledger, key(1).Public(), 0, 0)},
			[]string{"says that it is of " + checkpoint.Origin(ledger), replaced}, []string{checkpoint.Origin(other)}},
		"another ledger's": {signed, checkpoint.Keys{checkpoint.NewKey(other, key(1).Public(), 0, 0)},
			[]string{"says that it is of " + checkpoint.Origin(ledger), "given is of another, " + checkpoint.Origin(other)}, []string{replaced}},
		"both": {signed, checkpoint.Keys{checkpoint.NewKey(other, key(1).Public(), 0, 0), checkpoint.NewKey(ledger, key(1).Public(), 0, 0)},
			[]string{"given is of another, " + checkpoint.Origin(other), replaced}, nil},
		"a text": {text, checkpoint.Keys{checkpoint.NewKey(ledger, key(1).Public(), 0, 0)},
			[]string{"says that it is of " + checkpoint.Origin(ledger), replaced}, nil},
		"no ledger's": {[]byte("hello\n\n— example.com " + strings.Repeat("A", 96) + "\n"), checkpoint.Keys{checkpoint.NewKey(ledger, key(1).Public(), 0, 0)},
			[]string{"does not say that it is a ledger's"}, []string{replaced}},
	} {
		_, err := checkpoint.Open(tt.signed, tt.keys)
		if !errors.Is(err, checkpoint.ErrSignature) || !strings.Contains(err.Error(), "no known key signed it") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, word := range tt.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v\nwant %q", name, err, word)
			}
		}
		for _, word := range tt.none {
			if strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v\nmust not have %q", name, err, word)
			}
		}
	}
}
