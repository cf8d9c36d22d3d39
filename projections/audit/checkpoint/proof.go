package checkpoint

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
)

var (
	// ErrNoProof: these bytes are no proof, and do not say that they are one.
	ErrNoProof = errors.New("this is no proof")
	// ErrUnproved: these bytes say that they are a proof, and do not prove anything.
	ErrUnproved = errors.New("the proof does not hold")
)

// Proof shows that an event is in a ledger: the event as stored, its place, the way from it to the root of the tree,
// and the checkpoint in which the ledger signed the root. It is written as a C2SP tlog-proof
// (https://c2sp.org/tlog-proof) whose extra data is the event, so the file stands alone:
//
//	c2sp.org/tlog-proof@v1
//	extra eyJpZCI6IjAxOWNh…
//	index 4
//	qJx0t0…=
//	1nTkVs…=
//
//	permledger.dev/ledger/019ca86d-4a00-7000-8000-000000000000
//	6
//	…
type Proof struct {
	Event      []byte // as stored
	Position   events.Position
	Path       tlog.RecordProof
	Checkpoint []byte // signed
}

const proofHeader = "c2sp.org/tlog-proof@v1\n"

// Prove makes the proof of the event at a position in the tree of a signed checkpoint. It is checked before it is
// given away: a ledger whose rows were changed gives none, but ErrUnproved.
func Prove(event []byte, position events.Position, signed []byte, hashes tlog.HashReader) (Proof, error) {
	c, err := Parse(signed)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Event: event, Position: position, Checkpoint: signed}
	if p.Path, err = tlog.ProveRecord(int64(c.Size), int64(position)-1, hashes); err != nil {
		return Proof{}, err
	}
	return p, p.included(c)
}

func (p Proof) included(c Checkpoint) error {
	err := tlog.CheckRecord(p.Path, int64(c.Size), tlog.Hash(c.Root), int64(p.Position)-1, tlog.RecordHash(p.Event))
	if err != nil {
		return fmt.Errorf("%w: this event is not the one at position %d of the %d with root %s", ErrUnproved, p.Position, c.Size, c.Root)
	}
	return nil
}

// Marshal writes p as a file.
func (p Proof) Marshal() []byte {
	w := proof.TLogProof{Index: uint64(p.Position) - 1, Checkpoint: p.Checkpoint, ExtraData: p.Event}
	for _, h := range p.Path {
		w.Hashes = append(w.Hashes, h)
	}
	return w.Marshal()
}

// ParseProof reads what Marshal writes and nothing else, and believes nothing of it.
func ParseProof(b []byte) (Proof, error) {
	rest, ok := bytes.CutPrefix(b, []byte(proofHeader))
	if !ok {
		return Proof{}, fmt.Errorf("%w: it does not begin with %q", ErrNoProof, proofHeader[:len(proofHeader)-1])
	}
	// The line with the event is longer than the library reads.
	line, rest, _ := bytes.Cut(rest, []byte("\n"))
	extra, ok := bytes.CutPrefix(line, []byte("extra "))
	if !ok {
		return Proof{}, fmt.Errorf("%w: the event is not in it", ErrUnproved)
	}
	event, err := base64.StdEncoding.DecodeString(string(extra))
	var r proof.TLogProof
	if err == nil {
		err = r.Unmarshal(append([]byte(proofHeader), rest...))
	}
	if err != nil {
		return Proof{}, fmt.Errorf("%w: malformed: %w", ErrUnproved, err)
	}
	p := Proof{Event: event, Position: events.Position(r.Index) + 1, Checkpoint: r.Checkpoint}
	for _, h := range r.Hashes {
		p.Path = append(p.Path, h)
	}
	if !bytes.Equal(p.Marshal(), b) {
		return Proof{}, fmt.Errorf("%w: it is written otherwise than a ledger writes it", ErrUnproved)
	}
	return p, nil
}

// Proved is what a proof shows.
type Proved struct {
	// Event has its position. Its revision is not proved, and zero: it is at most that of the checkpoint.
	Event      events.Recorded
	Checkpoint Checkpoint
}

// Verify says what p shows to whoever trusts keys. The error is ErrSignature when the checkpoint is not signed by
// one of them that was valid then, and ErrUnproved when the event is not in its tree.
func (p Proof) Verify(keys Keys) (Proved, error) {
	c, err := Open(p.Checkpoint, keys)
	if err != nil && !errors.Is(err, ErrSignature) {
		err = fmt.Errorf("%w: %w", ErrUnproved, err)
	}
	if err == nil {
		err = p.included(c)
	}
	if err != nil {
		return Proved{}, err
	}
	r, err := events.UnmarshalEvent(p.Event)
	if err != nil { // it is there all the same: of a later version, perhaps
		return Proved{}, fmt.Errorf("the event at position %d is in the ledger, and cannot be read: %w", p.Position, err)
	}
	r.Position = p.Position
	return Proved{r, c}, nil
}
