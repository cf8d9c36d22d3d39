package personal

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// The bytes of a box, pinned: a box that was sealed once must open for ever. The key file has the secret 00 01 … 1f,
// the key's id is 019a0000-0000-7000-8000-000000000001, the principal is user:alice of tenant default.
func TestPinnedBox(t *testing.T) {
	const pinned = "6efd1189ac3f2c663a5643b8c9363506aeb8f0886b6f549baf5380668f04f5186144217001c4fcd719949151d5793358cfb49e4e53320d56ad82dee1ade2a36c3ab77ed39f1d3ee38a7655f0046c11dfafc5a838a7c584afc0648e2e"
	var s secret
	for i := range s {
		s[i] = byte(i)
	}
	bound := boundTo(events.DefaultTenant, events.User("alice"), uuid.MustParse("019a0000-0000-7000-8000-000000000001"))
	box, err := s.seal([]byte(`{"reason":"on call"}`), bound)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(box); got != pinned {
		t.Errorf("sealed otherwise than before:\n got %s\nwant %s", got, pinned)
	}
	stored, err := hex.DecodeString(pinned)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := s.open(stored, bound); err != nil || string(text) != `{"reason":"on call"}` {
		t.Errorf("opened %q, %v", text, err)
	}
}

// A box with another nonce than the text asks for is not one we sealed, even if its tag is right.
func TestForeignNonce(t *testing.T) {
	s, bound := secret{1}, []byte("bound")
	aead, err := s.aead()
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, nonceBytes)
	box := aead.Seal(bytes.Clone(nonce), nonce, pad([]byte("text")), bound)
	if _, err := aead.Open(nil, nonce, box[nonceBytes:], bound); err != nil {
		t.Fatalf("the box is none: %v", err)
	}
	if text, err := s.open(box, bound); err == nil {
		t.Errorf("opened %q", text)
	}
}
