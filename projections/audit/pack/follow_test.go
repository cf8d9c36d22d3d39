package pack_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/audit/pack"
)

// An auditor who pinned the first key verifies a pack that spans its replacement, and is shown the new one. Each of
// the others is refused, and the same pack verifies by all keys: nothing but the key is in the way.
func TestReplacedKeyIsFollowed(t *testing.T) {
	w := history(t)
	trusted := w.trusted() // key 1 until its replacement, key 2 from there
	l := w.projector.Head().Ledger
	one := func(k events.PrivateKey, from, until events.Revision) checkpoint.Keys {
		return checkpoint.Keys{checkpoint.NewKey(l, k.Public(), from, until)}
	}
	at4, replaced := at(t, "2026-03-04T00:00:00Z"), trusted[1].From
	spans := w.export(pack.Request{From: at4})
	all := w.export(pack.Request{})
	early := w.export(pack.Request{To: at(t, "2026-03-03T00:00:00Z")}) // and its last checkpoint is signed by the new key
	only := w.export(pack.Request{From: at4, OnlyMatching: true})
	later := w.export(pack.Request{From: at(t, "2026-03-06T00:00:00Z")})
	// The old key signs what it may not sign any more.
	late := unpack(t, spans)
	late.parts["checkpoints/last"] = resigned(t, late.parts["checkpoints/last"], key(1))
	for name, tt := range map[string]struct {
		pack []byte
		keys checkpoint.Keys
		want string // "" verifies
	}{
		"the first key":                            {spans, one(key(1), 0, 0), ""},
		"the first key, from the beginning":        {all, one(key(1), 0, 0), ""},
		"the first key, as listed before":          {spans, one(key(1), 1, 0), ""},
		"the first key, as listed since":           {spans, one(key(1), 1, replaced), ""},
		"the second key, after the replacement":    {later, one(key(2), 0, 0), ""},
		"the first key, after the replacement":     {later, one(key(1), 0, 0), "checkpoints/last: not signed by the ledger's key: no known key signed it"},
		"the first key, before the replacement":    {early, one(key(1), 0, 0), "an audit pack that spans the replacement proves it"},
		"the first key, only matching":             {only, one(key(1), 0, 0), "the key may have been replaced: a pack of matching events only cannot show by which one"},
		"the first key, which ended before":        {spans, one(key(1), 1, replaced-1), "checkpoints/last: not signed by the ledger's key: no known key signed it"},
		"the first key, which was to last":         {spans, one(key(1), 1, replaced+1), "checkpoints/last: not signed by the ledger's key: no known key signed it"},
		"another that the list has next":           {spans, append(one(key(1), 1, replaced), one(key(3), replaced, 0)...), "checkpoints/last: not signed by the ledger's key: no known key signed it"},
		"a stranger's key":                         {spans, one(key(9), 0, 0), "no known key signed it"},
		"the first key, as of another ledger":      {spans, checkpoint.Keys{checkpoint.NewKey(uuid.UUID{9}, key(1).Public(), 0, 0)}, "a key that was given is of another, " + checkpoint.Origin(uuid.UUID{9})},
		"the first key, of a checkpoint it signed": {late.pack(t), one(key(1), 0, 0), "checkpoints/last: not signed by the ledger's key: the key that signed it is not valid at revision"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := verify(tt.pack, tt.keys)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				shown := strings.Contains(strings.Join(result.Proved, "\n"), trusted[1].String()+" is a key of the ledger")
				if shown != !tt.keys.Has(l, key(2).Public(), replaced) {
					t.Errorf("the new key is shown: %t; %q", shown, result.Proved)
				}
				return
			}
			var fault *pack.Fault
			if !errors.As(err, &fault) || !errors.Is(err, checkpoint.ErrSignature) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant %s", err, tt.want)
			}
		})
	}
	for name, b := range map[string][]byte{"spans": spans, "all": all, "early": early, "only": only, "later": later} {
		if _, err := verify(b, trusted); err != nil {
			t.Errorf("control, %s: %v", name, err)
		}
	}
	// A checkpoint that the auditor kept after the replacement, before it knew the new key.
	kept := w.kept[len(w.kept)-1]
	if _, err := pack.Verify(bytes.NewReader(spans), int64(len(spans)), one(key(1), 0, 0), kept); err != nil {
		t.Errorf("a kept checkpoint by the new key: %v", err)
	}
	stale := []byte(resigned(t, string(kept), key(1)))
	if _, err := pack.Verify(bytes.NewReader(spans), int64(len(spans)), one(key(1), 0, 0), stale); !errors.Is(err, pack.ErrKept) || !errors.Is(err, checkpoint.ErrSignature) {
		t.Errorf("a kept checkpoint by the replaced key: %v", err)
	}
}

// A history in which a stranger's key announces the next one: it is whole, and nobody who pinned the ledger's key
// takes it. The control: the same history with the pinned key in the stranger's place is followed.
func TestStrangersAnnouncementAddsNothing(t *testing.T) {
	w := history(t)
	pinned := checkpoint.Keys{checkpoint.NewKey(w.projector.Head().Ledger, key(1).Public(), 0, 0)}
	for name, tt := range map[string]struct {
		first events.PrivateKey
		ok    bool
	}{
		"control: the pinned key": {key(1), true},
		"a stranger":              {key(9), false},
	} {
		t.Run(name, func(t *testing.T) {
			f := begun(t, w, tt.first)
			b := f.export(pack.Request{})
			if _, err := verify(b, f.trusted()); err != nil {
				t.Fatalf("it is not whole by its own keys: %v", err)
			}
			// The stranger puts the genuine announcement in front, too: signed by the pinned key, and not of this chain.
			u := unpack(t, b)
			for _, line := range unpack(t, w.export(pack.Request{})).lines("commits.jsonl") {
				if strings.Contains(line, `"key.announced"`) && !tt.ok {
					u.parts["commits.jsonl"] += line
				}
			}
			for what, b := range map[string][]byte{"as it is": b, "with the genuine announcement": u.pack(t)} {
				_, err := verify(b, pinned)
				if (err == nil) != tt.ok {
					t.Errorf("%s: %v", what, err)
				}
				if what == "as it is" && !tt.ok && !errors.Is(err, checkpoint.ErrSignature) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// begun is the history of w, with another key to begin with.
func begun(t testing.TB, w *world, first events.PrivateKey) *world {
	t.Helper()
	log := memlog.Open(memlog.Config{})
	var head events.Head
	for i, b := range w.commits() {
		c, err := events.DecodeCommit(b)
		if err != nil {
			t.Fatal(err)
		}
		for j, r := range c.Events {
			if _, ok := r.Event.(events.KeyAnnounced); ok && i == 0 {
				c.Events[j].Event = events.KeyAnnounced{Key: first.Public()}
			}
		}
		signer := events.Signer(first)
		if c.Key != key(1).Public() {
			signer = key(2)
		}
		sealed, err := events.Seal(head, events.Header{Ledger: c.Ledger, RecordedAt: c.RecordedAt, Writer: c.Writer}, c.Events, signer)
		if err == nil {
			err = log.Append(t.Context(), head.Revision, sealed)
		}
		if err != nil {
			t.Fatal(err)
		}
		head = sealed.Head()
	}
	f := newWorld(t, log)
	f.now = w.now
	return f
}

// An announcement in other letters than a ledger writes, by somebody who has the keys: it is not found where the keys
// are looked for, but where the commits are walked, and the replaced key gets no checkpoint past it. The control: the
// same in a ledger's own letters is refused for what the checkpoint is.
func TestDisguisedAnnouncement(t *testing.T) {
	w := history(t)
	l := w.projector.Head().Ledger
	both := checkpoint.Keys{checkpoint.NewKey(l, key(1).Public(), 0, 0), checkpoint.NewKey(l, key(2).Public(), 0, 0)}
	for letters, want := range map[string]string{
		`"key.announced"`:      "checkpoints/last: not signed by the ledger's key: the key that signed it is not valid",
		`"key\u002eannounced"`: "commits.jsonl: a key is announced otherwise than a ledger announces it",
	} {
		log, head := memlog.Open(memlog.Config{}), events.Head{}
		for _, b := range w.commits() {
			c, err := events.DecodeCommit(b)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := keys.Signer(c.Key)
			if err != nil {
				t.Fatal(err)
			}
			c, err = events.Seal(head, events.Header{Ledger: c.Ledger, RecordedAt: c.RecordedAt, Writer: c.Writer}, c.Events, signer)
			if err == nil && c.Revision > 1 {
				c, err = events.DecodeCommit(lettered(t, c, letters, signer))
			}
			if err == nil {
				err = log.Append(t.Context(), head.Revision, c)
			}
			if err != nil {
				t.Fatal(err)
			}
			head = c.Head()
		}
		f := newWorld(t, log)
		f.now = w.now
		u := unpack(t, f.export(pack.Request{}))
		if !strings.Contains(u.parts["commits.jsonl"], letters) {
			t.Fatalf("no commit has %s", letters)
		}
		u.parts["checkpoints/last"] = resigned(t, u.parts["checkpoints/last"], key(1))
		if _, err := verify(u.pack(t), both); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", letters, err)
		}
	}
}

// lettered is a commit with the name of an announcement in other letters, signed again.
func lettered(t testing.TB, c events.Commit, letters string, signer events.Signer) []byte {
	t.Helper()
	unsigned := bytes.ReplaceAll(c.Bytes[:bytes.LastIndex(c.Bytes, []byte(`,"signature":`))], []byte(`"key.announced"`), []byte(letters))
	sum := sha256.Sum256(unsigned)
	signature, err := signer.Sign(append([]byte("permledger commit\n"), sum[:]...))
	if err != nil {
		t.Fatal(err)
	}
	return append(unsigned, `,"signature":"`+signature.String()+`"}`...)
}
