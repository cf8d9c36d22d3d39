package events

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
)

// Each commit of a ledger with a key is signed by whoever wrote it, so that a message which reached the log
// past the ledger, even with the ledger's own credentials, is no commit. The key is announced by an event in
// a commit that it signs itself, and replaced by one in a commit that the old key signs: the log alone says
// which key is valid at which revision, and holding the first one from elsewhere is enough to trust all.

// PublicKey is an Ed25519 public key (RFC 8032), written in base64. The zero key is none.
type PublicKey [ed25519.PublicKeySize]byte

func (k PublicKey) IsZero() bool                 { return k == PublicKey{} }
func (k PublicKey) String() string               { return base64.StdEncoding.EncodeToString(k[:]) }
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (k *PublicKey) UnmarshalText(b []byte) error { return unmarshalBase64("key", k[:], b) }

// Signature is an Ed25519 signature of a commit, written in base64.
type Signature [ed25519.SignatureSize]byte

func (s Signature) IsZero() bool                 { return s == Signature{} }
func (s Signature) String() string               { return base64.StdEncoding.EncodeToString(s[:]) }
func (s Signature) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s *Signature) UnmarshalText(b []byte) error { return unmarshalBase64("signature", s[:], b) }

// unmarshalBase64 fills into, and takes one written form only.
func unmarshalBase64(field string, into, text []byte) error {
	b, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(b) != len(into) || base64.StdEncoding.EncodeToString(b) != string(text) { // line breaks are passed over
		return Invalid(field, string(text), "must be base64 of the right length")
	}
	copy(into, b)
	return nil
}

// Signer holds the private half of a key.
type Signer interface {
	Public() PublicKey
	Sign(message []byte) (Signature, error)
}

// PrivateKey is a Signer with its key in memory.
type PrivateKey ed25519.PrivateKey

func (k PrivateKey) Public() (p PublicKey) {
	copy(p[:], ed25519.PrivateKey(k).Public().(ed25519.PublicKey))
	return p
}

func (k PrivateKey) Sign(message []byte) (s Signature, err error) {
	copy(s[:], ed25519.Sign(ed25519.PrivateKey(k), message))
	return s, nil
}

// signedMessage is what the signature of a commit covers: a name that keeps it apart from everything else
// the key may sign, and the SHA-256 of the stored bytes before the signature.
func signedMessage(unsigned []byte) []byte {
	sum := sha256.Sum256(unsigned)
	return append([]byte("permledger commit\n"), sum[:]...)
}

func (k PublicKey) verifies(unsigned []byte, s Signature) bool {
	return ed25519.Verify(k[:], signedMessage(unsigned), s[:])
}
