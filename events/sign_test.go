package events

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func testKey(n byte) PrivateKey {
	return PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

func announce(n byte) Event { return KeyAnnounced{testKey(n).Public()} }

// sign seals evs after head, with a key or, with nil, without one.
func sign(t *testing.T, head Head, signer Signer, evs ...Event) Commit {
	t.Helper()
	var recorded []Recorded
	for _, e := range evs {
		recorded = append(recorded, goldenEnvelope(e))
	}
	c, err := Seal(head, Header{Ledger: testID(9), Writer: "node-1", RecordedAt: mustInstant("2026-03-01T09:30:00.000001Z")}, recorded, signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = DecodeCommit(c.Bytes); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnnouncementNeedsASignature(t *testing.T) {
	c, err := Seal(Head{}, Header{Ledger: testID(9), Writer: "node-1"}, []Recorded{goldenEnvelope(announce(1))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeCommit(c.Bytes); !errors.Is(err, ErrMalformed) {
		t.Errorf("taken: %v", err)
	}
}

// A chain of keys: each commit is taken after exactly the heads whose key it is signed with.
func TestOnlyTheKeyOfTheLedgerSigns(t *testing.T) {
	plain := sign(t, Head{}, nil, LedgerCreated{testID(9)}).Head()
	first := sign(t, plain, testKey(1), announce(1)).Head()
	second := sign(t, first, testKey(1), announce(2)).Head()
	for _, tt := range []struct {
		name   string
		head   Head
		signer Signer
		event  Event
		ok     bool
	}{
		{"a ledger without a key goes on without one", plain, nil, TenantDeleted{}, true},
		{"a key announces itself", plain, testKey(1), announce(1), true},
		{"so it may in the first commit", Head{}, testKey(1), announce(1), true},
		{"a key that nobody announced", plain, testKey(1), TenantDeleted{}, false},
		{"a key that announces another", plain, testKey(1), announce(2), false},
		{"the key announced", first, testKey(1), TenantDeleted{}, true},
		{"no signature after a key was announced", first, nil, TenantDeleted{}, false},
		{"another key", first, testKey(2), TenantDeleted{}, false},
		{"another key, announcing itself", first, testKey(2), announce(2), false},
		{"the old key announces the new one", first, testKey(1), announce(2), true},
		{"the new key afterwards", second, testKey(2), TenantDeleted{}, true},
		{"the old key afterwards", second, testKey(1), TenantDeleted{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.head.Follows(sign(t, tt.head, tt.signer, tt.event))
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrBroken) {
				t.Errorf("follows: %v, want ok %v", err, tt.ok)
			}
		})
	}
}

// Every bit of a signed commit is under its signature or under the form of a commit: what somebody changes and
// hashes anew is refused at once, not only by the commit after it.
func TestSignedCommitRefusesEveryFlippedBit(t *testing.T) {
	c := sign(t, Head{}, testKey(1), announce(1))
	for i := range 8 * len(c.Bytes) {
		changed := bytes.Clone(c.Bytes)
		changed[i/8] ^= 1 << (i % 8)
		if got, err := DecodeCommit(changed); err == nil && (Head{}).Follows(got) == nil {
			t.Errorf("bit %d of byte %d (%q) may flip", i%8, i/8, c.Bytes[i/8])
		}
	}
	// The control: without a signature a lie in good form goes unseen until the next commit.
	plain := sign(t, Head{}, nil, PrincipalDeleted{User("alice")})
	lie := bytes.Replace(plain.Bytes, []byte("user:alice"), []byte("user:carol"), 1)
	if got, err := DecodeCommit(lie); err != nil || (Head{}).Follows(got) != nil {
		t.Errorf("the lie that signing is there for is refused without it, too: %v", err)
	}
}

func TestSignatureOfAnotherCommit(t *testing.T) {
	head := sign(t, Head{}, testKey(1), announce(1)).Head()
	a, b := sign(t, head, testKey(1), PrincipalDeleted{User("alice")}), sign(t, head, testKey(1), PrincipalDeleted{User("carol")})
	swapped := JoinCommit(a.Prefix(), raws(a), b.Suffix())
	if _, err := DecodeCommit(swapped); !errors.Is(err, ErrBroken) {
		t.Errorf("taken with the signature of another: %v", err)
	}
	var broken = errors.New("no device")
	if _, err := Seal(head, Header{Writer: "w"}, []Recorded{goldenEnvelope(TenantDeleted{})}, failingSigner{broken}); !errors.Is(err, broken) {
		t.Errorf("sealed by a signer that failed: %v", err)
	}
}

type failingSigner struct{ err error }

func (failingSigner) Public() PublicKey                { return testKey(1).Public() }
func (s failingSigner) Sign([]byte) (Signature, error) { return Signature{}, s.err }

func TestKeyText(t *testing.T) {
	key := testKey(1).Public()
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	var back PublicKey
	if err := json.Unmarshal(text, &back); err != nil || back != key {
		t.Errorf("%s is read as %s, %v", text, back, err)
	}
	for _, bad := range []string{
		"", "AAAA", strings.TrimRight(key.String(), "="), key.String() + "\n", strings.Repeat("A", 42) + "B=",
	} {
		if err := back.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}
