package checkpoint_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

func key(n byte) events.PrivateKey {
	return events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

var ledger = uuid.MustParse("019ca86d-4a00-7000-8000-000000000000")

func example(t testing.TB) checkpoint.Checkpoint {
	t.Helper()
	at, err := events.ParseInstant("at", "2026-03-01T09:00:03.25Z")
	if err != nil {
		t.Fatal(err)
	}
	return checkpoint.Checkpoint{
		Ledger: ledger, Size: 6, Root: events.Hash{1}, Revision: 3, Head: events.Hash{2},
		Schema: 2, State: events.Hash{3}, At: at,
	}
}

func sign(t testing.TB, c checkpoint.Checkpoint, k events.Signer) []byte {
	t.Helper()
	signed, err := checkpoint.Sign(c, k)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestRoundTrip(t *testing.T) {
	want := example(t)
	signed := sign(t, want, key(1))
	got, err := checkpoint.Open(signed, checkpoint.Keys{checkpoint.NewKey(ledger, key(1).Public(), 0, 0)})
	if err != nil || got != want {
		t.Errorf("opened as %+v, %v", got, err)
	}
	if got, err := checkpoint.Parse(signed); err != nil || got != want {
		t.Errorf("parsed as %+v, %v", got, err)
	}
	// Another implementation of the same specification reads the first three lines.
	verifier, err := note.NewVerifier(checkpoint.VerifierKey(ledger, key(1).Public()))
	if err != nil {
		t.Fatal(err)
	}
	theirs, rest, _, err := log.ParseCheckpoint(signed, checkpoint.Origin(ledger), verifier)
	if err != nil || theirs.Size != 6 || !bytes.Equal(theirs.Hash, want.Root[:]) || !bytes.HasPrefix(rest, []byte("permledger revision=3 ")) {
		t.Errorf("read as %+v %q, %v", theirs, rest, err)
	}
}

// Which key counts at which revision.
func TestKeysAreValidByRevision(t *testing.T) {
	old, next, foreign := key(1), key(2), key(3)
	keys := checkpoint.Keys{
		checkpoint.NewKey(ledger, old.Public(), 1, 3),
		checkpoint.NewKey(ledger, next.Public(), 3, 0),
		checkpoint.NewKey(uuid.UUID{9}, foreign.Public(), 0, 0),
	}
	for _, tt := range []struct {
		name     string
		revision events.Revision
		ledger   events.LedgerID
		by       events.Signer
		ok       bool
	}{
		{"the old key, of its last revision", 2, ledger, old, true},
		{"the old key, of a later revision", 3, ledger, old, false},
		{"the new key, of its first revision", 3, ledger, next, true},
		{"the new key, of an earlier revision", 2, ledger, next, false},
		{"a key nobody knows", 3, ledger, key(4), false},
		{"another ledger's key", 3, ledger, foreign, false},
		{"another ledger with its own key", 3, uuid.UUID{9}, foreign, true},
		{"another ledger with our key", 3, uuid.UUID{9}, next, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := example(t)
			c.Revision, c.Ledger = tt.revision, tt.ledger
			_, err := checkpoint.Open(sign(t, c, tt.by), keys)
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, checkpoint.ErrSignature) {
				t.Errorf("opened: %v", err)
			}
		})
	}
	if _, err := checkpoint.Open(sign(t, example(t), next), nil); !errors.Is(err, checkpoint.ErrSignature) {
		t.Errorf("opened without a key: %v", err)
	}
}

func TestEveryChangedByteIsRefused(t *testing.T) {
	signed := sign(t, example(t), key(1))
	keys := checkpoint.Keys{checkpoint.NewKey(ledger, key(1).Public(), 0, 0)}
	body := bytes.Index(signed, []byte("\n\n")) + 1
	for i := range body {
		for bit := range 8 {
			changed := bytes.Clone(signed)
			changed[i] ^= 1 << bit
			if c, err := checkpoint.Open(changed, keys); err == nil {
				t.Fatalf("byte %d bit %d may flip: %+v", i, bit, c)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	good := string(sign(t, example(t), key(1)))
	text, signatures, _ := strings.Cut(good, "\n\n")
	lines := strings.Split(text, "\n")
	for name, changed := range map[string][]string{
		"no extension line":      lines[:3],
		"two extension lines":    append(append([]string(nil), lines...), lines[3]),
		"another origin":         {"example.com/log", lines[1], lines[2], lines[3]},
		"a size with a sign":     {lines[0], "+6", lines[2], lines[3]},
		"a size beyond proofs":   {lines[0], "4611686018427387904", lines[2], lines[3]},
		"a size with a zero":     {lines[0], "06", lines[2], lines[3]},
		"half a root":            {lines[0], lines[1], lines[2][:20], lines[3]},
		"another extension":      {lines[0], lines[1], lines[2], "revision 3"},
		"a revision with a zero": {lines[0], lines[1], lines[2], strings.Replace(lines[3], "=3", "=03", 1)},
		"words after it":         {lines[0], lines[1], lines[2], lines[3] + " more"},
	} {
		if c, err := checkpoint.Parse([]byte(strings.Join(changed, "\n") + "\n\n" + signatures)); err == nil {
			t.Errorf("%s: parsed as %+v", name, c)
		}
	}
	for _, bad := range []string{"", "\n\n", text} {
		if _, err := checkpoint.Parse([]byte(bad)); err == nil {
			t.Errorf("%q: parsed", bad)
		}
	}
}

func TestParseKeys(t *testing.T) {
	vkey := checkpoint.VerifierKey(ledger, key(1).Public())
	keys, err := checkpoint.ParseKeys("# ours\n\n" + vkey + " 1 41\n" + checkpoint.VerifierKey(ledger, key(2).Public()) + " 42 -\n" + vkey + "\n")
	if err != nil || len(keys) != 3 || keys[0].From != 1 || keys[0].Until != 42 || keys[1].From != 42 || keys[1].Until != 0 || keys[2].From != 0 {
		t.Errorf("%+v, %v", keys, err)
	}
	for _, k := range keys {
		if again, err := checkpoint.ParseKeys(k.String()); err != nil || again[0].String() != k.String() {
			t.Errorf("%s is read as %v, %v", k, again, err)
		}
	}
	var invalid *events.InvalidError
	for _, bad := range []string{"", "# nothing", "key", vkey + " 1", vkey + " 1 2 3", vkey + " 2 1", vkey + " 0 1", vkey + " x -", vkey[:len(vkey)-4]} {
		if _, err := checkpoint.ParseKeys(bad); !errors.As(err, &invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	signed := sign(f, example(f), key(1))
	f.Add(signed)
	keys := checkpoint.Keys{checkpoint.NewKey(ledger, key(1).Public(), 0, 0)}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := checkpoint.Parse(b); err == nil {
			if text, _, _ := strings.Cut(string(b), "\n\n"); c.Text() != text+"\n" {
				t.Errorf("%q is read as %q", b, c.Text())
			}
		}
		if c, err := checkpoint.Open(b, keys); err == nil && c != example(t) {
			t.Errorf("a checkpoint nobody signed: %+v", c)
		}
	})
}
