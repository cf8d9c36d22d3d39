// Package checkpoint is the signed statement of how far a ledger had got: what an auditor keeps elsewhere, and
// holds the ledger against later without trusting it.
//
//	signed, err := checkpoint.Sign(c, signer)           // by the ledger
//	keys, err := checkpoint.ParseKeys(pinned)           // by whoever pinned its keys
//	c, err := checkpoint.Open(signed, keys)             // nil only if one of them signed it, while it was valid
//
// A checkpoint is a C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint), a signed note
// (https://c2sp.org/signed-note) with one extension line. Third parties read the first three lines, which is
// all that proofs need; the fourth binds the tree to the commits and to the state of the views:
//
//	permledger.dev/ledger/019ca86d-4a00-7000-8000-000000000000
//	6
//	yh6hBkpD9…=
//	permledger revision=3 head=1e0701… state=2:5d41… at=2026-03-01T09:00:03Z
//
//	— permledger.dev/ledger/019ca86d-4a00-7000-8000-000000000000 Xk3…=
//
// The package depends on no store and no network: what checks a proof needs nothing else.
package checkpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/permledger/permledger/events"
)

// ErrSignature: no key that was valid at the checkpoint's revision signed it.
var ErrSignature = errors.New("not signed by the ledger's key")

// Checkpoint says how far a ledger had got.
type Checkpoint struct {
	Ledger   events.LedgerID
	Size     events.Position // events, the leaves of the tree
	Root     events.Hash     // of the tree (RFC 6962)
	Revision events.Revision // the last commit
	Head     events.Hash     // of that commit's stored bytes
	Schema   int             // of the views whose State it is
	State    events.Hash     // of the views, projections.State
	At       events.Instant  // when it was signed: a new one of the same size says that nothing came since
}

// Origin names the log of a ledger; it is the first line of its checkpoints and the name of its keys.
func Origin(l events.LedgerID) string { return originPrefix + l.String() }

const (
	originPrefix = "permledger.dev/ledger/"
	extension    = "permledger revision=%d head=%s state=%d:%s at=%s"
)

// maxSizeBits bounds the size of a tree: above 2^62 package tlog looks for a power of two for ever.
const maxSizeBits = 62

// Text is the body of the signed note.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n"+extension+"\n", Origin(c.Ledger), c.Size, base64.StdEncoding.EncodeToString(c.Root[:]),
		c.Revision, c.Head, c.Schema, c.State, c.At)
}

// Mark is c as a mark: what it says of the log and the tree.
func (c Checkpoint) Mark() events.Mark {
	return events.Mark{Ledger: c.Ledger, Revision: c.Revision, Hash: c.Head, Position: c.Size, Root: c.Root}
}

// parse reads what Text writes and nothing else.
func parse(text string) (c Checkpoint, err error) {
	malformed := func(what string) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("malformed checkpoint: %s", what)
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[4] != "" {
		return malformed("it must have four lines")
	}
	id, ok := strings.CutPrefix(lines[0], originPrefix)
	if err := c.Ledger.UnmarshalText([]byte(id)); !ok || err != nil {
		return malformed("the origin is no ledger's")
	}
	size, err := strconv.ParseUint(lines[1], 10, maxSizeBits)
	if err != nil {
		return malformed("the size is no number")
	}
	c.Size = events.Position(size)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) {
		return malformed("the root is no hash")
	}
	copy(c.Root[:], root)
	var head, state, at string
	if _, err := fmt.Sscanf(lines[3], extension, &c.Revision, &head, &c.Schema, &state, &at); err != nil {
		return malformed("the extension line is not permledger's")
	}
	if c.Head.UnmarshalText([]byte(head)) != nil || c.State.UnmarshalText([]byte(state)) != nil {
		return malformed("a hash of the extension line is none")
	}
	if c.At, err = events.ParseInstant("at", at); err != nil {
		return malformed("the time is none")
	}
	if c.Text() != text {
		return malformed("it is written otherwise than a ledger writes it")
	}
	return c, nil
}

// Sign gives the signed note of c.
func Sign(c Checkpoint, signer events.Signer) ([]byte, error) {
	s, err := newSigner(c.Ledger, signer)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: c.Text()}, s)
}

// signer signs notes with the ledger's key. A note of a checkpoint begins with its origin and the signed
// message of a commit with other words, so neither can be taken for the other.
type signer struct {
	note.Verifier
	key events.Signer
}

func newSigner(l events.LedgerID, key events.Signer) (signer, error) {
	v, err := note.NewVerifier(VerifierKey(l, key.Public()))
	return signer{v, key}, err
}

func (s signer) Sign(msg []byte) ([]byte, error) {
	signature, err := s.key.Sign(msg)
	return signature[:], err
}

// VerifierKey is a key of a ledger as signed notes write it: name, hash and key
// (https://c2sp.org/signed-note#verifier-keys).
func VerifierKey(l events.LedgerID, key events.PublicKey) string {
	text, err := note.NewEd25519VerifierKey(Origin(l), key[:])
	if err != nil { // only for a key of another length
		panic(err)
	}
	return text
}

// Open reads a signed checkpoint. It must be signed by the one of keys that was valid at its revision; other
// signatures, such as those of witnesses, are passed over. The error is ErrSignature when it is signed by none
// of them, or by one outside its time.
func Open(signed []byte, keys Keys) (Checkpoint, error) {
	opened, err := openNote(signed, keys)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := parse(opened.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	return c, keys.signed(c, opened.Sigs)
}

// Parse reads a signed checkpoint and believes nothing of it: no signature is looked at.
func Parse(signed []byte) (Checkpoint, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return Checkpoint{}, errors.New("malformed checkpoint: it has no signatures")
	}
	return parse(text + "\n")
}
