package projections_test

import (
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// A whole other history, signed by a key of its own from the first commit on, is found by whoever knows the key.
func TestVerifyTrustsGivenKeysOnly(t *testing.T) {
	t.Parallel()
	v := keep(t, signedHistory(t, 90, 20)).verification(t)
	var keys checkpoint.Keys
	for _, s := range signers {
		keys = append(keys, checkpoint.NewKey(testLedger, s.Public(), 0, 0))
	}
	v.Trusted = keys
	if report := verify(t, v); !report.Whole() {
		t.Errorf("%+v", report)
	}
	v.Trusted = checkpoint.Keys{checkpoint.NewKey(testLedger, signer(66).Public(), 0, 0)}
	if report := verify(t, v); len(report.Faults) != 1 || report.Faults[0].Side != audit.SideCheckpoint || report.Faults[0].Revision != 1 {
		t.Errorf("%+v", report)
	}
}

// rotated is a history in which the first of the keys announces the second at revision 8, and a stranger's key is
// in the first one's place if that is what the test says.
func rotated(t testing.TB, first events.PrivateKey) []events.Commit {
	t.Helper()
	keys, announced := []events.PrivateKey{first, signer(2)}, events.Event(events.KeyAnnounced{Key: signer(2).Public()})
	return rewritten(t, signedHistory(t, 92, 20), keys, func(f *forgery) {
		for i := range f.commits {
			evs := f.commits[i].Events
			for j, r := range evs {
				if _, ok := r.Event.(events.KeyAnnounced); ok { // the random ones
					evs[j].Event = events.TenantCreated{Name: "T"}
				}
			}
			switch i {
			case 0:
				evs[0].Event = events.KeyAnnounced{Key: first.Public()}
			case 7:
				evs[0].Event = announced
			}
		}
	})
}

// Whoever was given the first key of a ledger follows it to the next; what a stranger announces is not believed.
func TestVerifyFollowsAReplacedKey(t *testing.T) {
	t.Parallel()
	given := func(n byte, from, until events.Revision) checkpoint.Key {
		return checkpoint.NewKey(testLedger, signer(n).Public(), from, until)
	}
	genuine, strange := keep(t, rotated(t, signer(1))), keep(t, rotated(t, signer(66)))
	// A stranger signs one commit, which announces his key and then the one that is trusted.
	borrowed := keep(t, rewritten(t, signedHistory(t, 92, 20)[:1], []events.PrivateKey{signer(66)}, func(f *forgery) {
		evs := f.commits[0].Events
		first, last := evs[0], evs[0]
		first.Event, last.Event = events.KeyAnnounced{Key: signer(66).Public()}, events.KeyAnnounced{Key: signer(1).Public()}
		f.commits[0].Events = append(append([]events.Recorded{first}, evs[1:]...), last)
	}))
	for name, tt := range map[string]struct {
		of    kept
		keys  checkpoint.Keys
		fault events.Revision // the first; 0: whole
		count int
	}{
		"control: both keys":                     {genuine, checkpoint.Keys{given(1, 0, 0), given(2, 0, 0)}, 0, 0},
		"control: the stranger and the next":     {strange, checkpoint.Keys{given(66, 0, 0), given(2, 0, 0)}, 0, 0},
		"the first key":                          {genuine, checkpoint.Keys{given(1, 0, 0)}, 0, 0},
		"the first key, as listed before":        {genuine, checkpoint.Keys{given(1, 1, 0)}, 0, 0},
		"the first key, as listed since":         {genuine, checkpoint.Keys{given(1, 1, 8)}, 0, 0},
		"the first key, which ended before":      {genuine, checkpoint.Keys{given(1, 1, 5)}, 5, 16},
		"the first key, which was to last":       {genuine, checkpoint.Keys{given(1, 1, 12)}, 8, 13},
		"another that the list has next":         {genuine, checkpoint.Keys{given(1, 1, 8), given(3, 8, 0)}, 8, 13},
		"the next key only":                      {genuine, checkpoint.Keys{given(2, 0, 0)}, 1, 8},
		"a stranger in the first key's place":    {strange, checkpoint.Keys{given(1, 0, 0)}, 1, 20},
		"a stranger announces the first key":     {borrowed, checkpoint.Keys{given(1, 0, 0)}, 1, 1},
		"control: the stranger who announced":    {borrowed, checkpoint.Keys{given(66, 0, 0), given(1, 0, 0)}, 0, 0},
		"the first key, as of another ledger":    {genuine, checkpoint.Keys{checkpoint.NewKey(events.LedgerID{9}, signer(1).Public(), 0, 0)}, 1, 20},
		"the first key, in force longer by list": {genuine, checkpoint.Keys{given(1, 1, 9), given(2, 9, 0)}, 8, 1},
	} {
		v := tt.of.verification(t)
		v.Trusted = tt.keys
		report := verify(t, v)
		if tt.fault == 0 {
			if !report.Whole() {
				t.Errorf("%s: %+v", name, report.Faults)
			}
			continue
		}
		if len(report.Faults) != 1 || report.Faults[0].Side != audit.SideCheckpoint || report.Faults[0].Revision != tt.fault || report.Faults[0].Count != tt.count {
			t.Errorf("%s: %+v, want revision %d and %d of them", name, report.Faults, tt.fault, tt.count)
		}
	}
}

// A checkpoint that was kept counts by the keys that are trusted at its revision, given or followed.
func TestVerifyOpensKeptCheckpoints(t *testing.T) {
	t.Parallel()
	k := keep(t, rotated(t, signer(1)))
	for name, tt := range map[string]struct {
		at   events.Revision
		by   events.PrivateKey
		edit func(*checkpoint.Checkpoint)
		want string // "" is whole
	}{
		"by the first key":              {5, signer(1), nil, ""},
		"by the next key":               {15, signer(2), nil, ""},
		"where it was announced":        {8, signer(2), nil, ""},
		"by the key that was replaced":  {15, signer(1), nil, "is not valid at revision 15"},
		"by the next key, too early":    {5, signer(2), nil, "no known key signed it"},
		"by a stranger":                 {15, signer(66), nil, "no known key signed it"},
		"by a stranger, beyond the end": {15, signer(66), func(c *checkpoint.Checkpoint) { c.Revision = 99 }, "no known key signed it"},
		"beyond the end":                {15, signer(2), func(c *checkpoint.Checkpoint) { c.Revision = 99 }, "what came after was cut off"},
		"of another history":            {15, signer(2), func(c *checkpoint.Checkpoint) { c.Head[0] ^= 1 }, "has another commit there"},
	} {
		m := marked(t, k, tt.at)
		c := checkpoint.Checkpoint{Ledger: m.Ledger, Size: m.Position, Root: m.Root, Revision: m.Revision, Head: m.Hash, Schema: projections.Schema, At: k.projector.Head().RecordedAt}
		if tt.edit != nil {
			tt.edit(&c)
		}
		signed, err := checkpoint.Sign(c, tt.by)
		must(t, err)
		v := k.verification(t)
		v.Trusted = checkpoint.Keys{checkpoint.NewKey(testLedger, signer(1).Public(), 0, 0)}
		v.Known = []audit.Known{{Name: "kept", Mark: c.Mark(), Signed: signed}}
		report := verify(t, v)
		if tt.want == "" && !report.Whole() || tt.want != "" && (len(report.Faults) != 1 || !strings.Contains(report.Faults[0].Why, tt.want)) {
			t.Errorf("%s: %+v, want %q", name, report.Faults, tt.want)
		}
	}
}

// Where log and archive differ, a kept checkpoint decides which of them is right, if a trusted key signed it. The
// revision is the one at which the key is replaced: each side announces the key that signs its checkpoint.
func TestVerifyDecidesForksByTrustedCheckpoints(t *testing.T) {
	t.Parallel()
	commits := rotated(t, signer(1))
	other := rewritten(t, commits, signers, func(f *forgery) { f.commits[7].Events[0].Reason = "another" })
	k := keep(t, other)
	k.log.stored = nil
	k.log.add(commits...)
	head := other[7].Head()
	for name, tt := range map[string]struct {
		by   events.PrivateKey
		side audit.Side
	}{
		"control: by the key that was announced": {signer(2), audit.SideLog},
		"by a stranger":                          {signer(66), audit.SideFork},
		"by the key that was replaced":           {signer(1), audit.SideFork},
	} {
		c := checkpoint.Checkpoint{Ledger: head.Ledger, Size: head.Position, Revision: head.Revision, Head: head.Hash, Schema: projections.Schema, At: head.RecordedAt}
		signed, err := checkpoint.Sign(c, tt.by)
		must(t, err)
		v := k.verification(t)
		v.Trusted = checkpoint.Keys{checkpoint.NewKey(testLedger, signer(1).Public(), 0, 0)}
		v.Known = []audit.Known{{Name: "kept", Mark: events.Mark{Ledger: c.Ledger, Revision: c.Revision, Hash: c.Head}, Signed: signed}}
		report := verify(t, v)
		if !report.Bad(tt.side) || report.Bad(audit.SideFork) != (tt.side == audit.SideFork) || report.Bad(audit.SideCheckpoint) != (tt.side == audit.SideFork) {
			t.Errorf("%s: %+v", name, report.Faults)
		}
	}
}
