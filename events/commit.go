package events

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// MaxEventBytes is the longest an event may be as stored. Each is a leaf of the audit tree, and an entry of a
// tile bundle (c2sp.org/tlog-tiles) has a length of 16 bits.
const MaxEventBytes = 1<<16 - 1

// Revision is a commit's place in the log, from 1. Position is an event's ordinal over the whole
// ledger, from 1. Zero means "before the first".
type (
	Revision uint64
	Position uint64
)

// Hash is the SHA-256 of a commit's bytes exactly as stored. Nothing is ever encoded again to verify it.
type Hash [sha256.Size]byte

func (h Hash) String() string               { return hex.EncodeToString(h[:]) }
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 2*len(h) {
		return Invalid("hash", string(b), "must be 64 hex digits")
	}
	if _, err := hex.Decode(h[:], b); err != nil {
		return Invalid("hash", string(b), "must be 64 hex digits")
	}
	return nil
}

// Meta is what a command says of its circumstances; every one of its events carries it.
type Meta struct {
	Actor       Principal  `json:"actor"`                  // from the credential, never from the request body
	OnBehalfOf  Principal  `json:"on_behalf_of,omitzero"`  // whom the actor acted for
	AuthMethod  string     `json:"auth_method,omitempty"`  // how the actor proved itself
	Source      string     `json:"source,omitempty"`       // where the request came from
	RequestID   string     `json:"request_id,omitempty"`   // the caller's correlation id
	Reason      string     `json:"reason,omitempty"`       // why, in words
	Ticket      string     `json:"ticket,omitempty"`       // why, by reference
	Approvals   []Approval `json:"approvals,omitempty"`    // who agreed
	Origin      string     `json:"origin,omitempty"`       // "import" when history was brought in, "ledger" for notices
	Key         string     `json:"key,omitempty"`          // the idempotency key, if one was given
	RequestHash string     `json:"request_hash,omitempty"` // SHA-256 of the keyed request, hex
	Sealed      *Sealed    `json:"sealed,omitempty"`       // reason and ticket, in place of both
}

// The origins of commands that are not a caller's own.
const (
	OriginImport = "import"
	OriginLedger = "ledger"
)

// Approval says who agreed to a command, when, and where that is written down.
type Approval struct {
	By  Principal `json:"by"`
	At  Instant   `json:"at,omitzero"`
	Ref string    `json:"ref,omitempty"`
}

// Recorded is an event in its envelope.
type Recorded struct {
	ID         EventID
	Command    CommandID
	Tenant     Tenant // "" for events about the ledger itself
	RecordedAt Instant
	ValidFrom  Instant // zero: RecordedAt
	ValidUntil Instant // zero: for an event that ends something RecordedAt, for others Forever
	Meta
	Event Event

	Revision Revision // its commit's
	Position Position // its own
	Raw      []byte   // exactly as stored
}

// Validity is the interval of what the event begins.
func (r Recorded) Validity() Interval {
	v := Interval{r.ValidFrom, r.ValidUntil}
	if v.From.IsZero() {
		v.From = r.RecordedAt
	}
	if v.Until.IsZero() {
		v.Until = Forever
	}
	return v
}

// End is the instant at which what the event ends is over.
func (r Recorded) End() Instant {
	if r.ValidUntil.IsZero() {
		return r.RecordedAt
	}
	return r.ValidUntil
}

// envelope is Recorded as stored. Members are only ever added.
type envelope struct {
	ID         EventID   `json:"id"`
	Command    CommandID `json:"command"`
	Tenant     Tenant    `json:"tenant,omitempty"`
	Type       string    `json:"type"`
	Version    int       `json:"version"`
	RecordedAt Instant   `json:"recorded_at"`
	ValidFrom  Instant   `json:"valid_from,omitzero"`
	ValidUntil Instant   `json:"valid_until,omitzero"`
	Meta
	Data json.RawMessage `json:"data"`
}

// MarshalEvent gives the stored form of r: JSON, newest version of its type.
func MarshalEvent(r Recorded) ([]byte, error) {
	name := Name(r.Event)
	if name == "" { // nil, or a pointer to an event: what nobody could read back
		return nil, fmt.Errorf("encode %T: %w", r.Event, ErrUnknownEvent)
	}
	data, err := json.Marshal(r.Event)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	return json.Marshal(envelope{
		ID: r.ID, Command: r.Command, Tenant: r.Tenant,
		Type: name, Version: len(byName[name].versions),
		RecordedAt: r.RecordedAt, ValidFrom: r.ValidFrom, ValidUntil: r.ValidUntil,
		Meta: r.Meta, Data: data,
	})
}

// UnmarshalEvent reads one stored event of any version. Revision and Position are the caller's to set.
func UnmarshalEvent(raw []byte) (Recorded, error) {
	var w envelope
	if err := unmarshalStrict(raw, &w); err != nil {
		return Recorded{}, fmt.Errorf("decode event: %w", err)
	}
	e, err := decodeEvent(w.Type, w.Version, w.Data)
	if err != nil {
		return Recorded{}, err
	}
	return Recorded{
		ID: w.ID, Command: w.Command, Tenant: w.Tenant, RecordedAt: w.RecordedAt,
		ValidFrom: w.ValidFrom, ValidUntil: w.ValidUntil, Meta: w.Meta, Event: e, Raw: raw,
	}, nil
}

// Header is a commit without its events.
type Header struct {
	Format     int       `json:"format"` // 1, or 2 for a signed commit
	Ledger     LedgerID  `json:"ledger"`
	Revision   Revision  `json:"revision"`
	Previous   Hash      `json:"previous"` // hash of the commit before; zeroes at revision 1
	RecordedAt Instant   `json:"recorded_at"`
	Writer     string    `json:"writer"`       // the process that wrote it
	Epoch      uint64    `json:"epoch"`        // grows by one whenever the writer changes
	Position   Position  `json:"position"`     // of the first event
	Key        PublicKey `json:"key,omitzero"` // which signed it; none in format 1
}

// The formats of a commit. A ledger whose key is announced takes signed ones only.
const (
	formatPlain  = 1
	formatSigned = 2
)

// Commit is the atomic unit of the ledger.
type Commit struct {
	Header
	Events    []Recorded // at least one
	Signature Signature  // over the stored bytes before it; zero in format 1
	Bytes     []byte     // exactly as stored
	Hash      Hash       // of Bytes
}

// Stored is a commit as the log gives it back: a sequence and bytes, nothing believed yet.
type Stored struct {
	Revision Revision
	Bytes    []byte
}

// Head is how far a reader of the log got. The zero Head is before the first commit.
type Head struct {
	Ledger     LedgerID `json:"ledger"`
	Revision   Revision `json:"revision"`
	Hash       Hash     `json:"hash"`
	Position   Position `json:"position"` // of the last event
	RecordedAt Instant  `json:"recorded_at"`
	Writer     string   `json:"writer"`
	Epoch      uint64   `json:"epoch"`
	// Key must sign every commit after this one; none until one is announced.
	Key PublicKey `json:"key,omitzero"`
}

// Faults of a chain. Whoever meets one stops and answers nothing more from that log.
var (
	ErrMalformed = errors.New("malformed commit")
	ErrBroken    = errors.New("broken chain")
)

// Seal makes the commit after head out of evs, whose envelopes it completes with time and place, signed by
// signer if there is one. Header.Ledger must be set at revision 1 and is taken from head later.
func Seal(head Head, h Header, evs []Recorded, signer Signer) (Commit, error) {
	if head.Revision > 0 {
		h.Ledger = head.Ledger
	}
	h.Format, h.Revision, h.Previous, h.Position = formatPlain, head.Revision+1, head.Hash, head.Position+1
	if signer != nil {
		h.Format, h.Key = formatSigned, signer.Public()
	}
	h.Epoch = head.Epoch
	if h.Writer != head.Writer {
		h.Epoch++
	}
	if len(evs) == 0 {
		return Commit{}, fmt.Errorf("%w: revision=%d has no events", ErrMalformed, h.Revision)
	}
	prefix, err := h.prefix()
	if err != nil {
		return Commit{}, err
	}
	c := Commit{Header: h, Events: evs, Bytes: prefix}
	for i := range evs {
		r := &evs[i]
		r.RecordedAt, r.Revision, r.Position = h.RecordedAt, h.Revision, h.Position+Position(i)
		if r.Raw, err = MarshalEvent(*r); err != nil {
			return Commit{}, err
		}
		if i > 0 {
			c.Bytes = append(c.Bytes, ',')
		}
		c.Bytes = append(c.Bytes, r.Raw...)
	}
	c.Bytes = append(c.Bytes, ']')
	if signer != nil {
		if c.Signature, err = signer.Sign(signedMessage(c.Bytes)); err != nil {
			return Commit{}, fmt.Errorf("sign commit revision=%d: %w", h.Revision, err)
		}
	}
	c.Bytes = append(c.Bytes, c.suffix()[1:]...)
	c.Hash = sha256.Sum256(c.Bytes)
	return c, nil
}

// eventsMember ends the header and begins the events of an encoded commit; signatureMember ends the events.
const (
	eventsMember    = `,"events":[`
	signatureMember = `,"signature":"`
)

// prefix is what stands before the first event of a commit with this header.
func (h Header) prefix() ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode commit revision=%d: %w", h.Revision, err)
	}
	return append(b[:len(b)-1], eventsMember...), nil
}

// DecodeCommit reads a stored commit and verifies its signature by the key it names; whether that key is the
// ledger's is for Head.Follows to say. It refuses a header and a frame around the events that are not in
// exactly the form Seal writes, so that a commit can be kept as prefix and events and be put together again
// to the same bytes. The events themselves are taken as stored: an older version cannot be written again,
// and a later encoder may write the same event in other bytes.
func DecodeCommit(b []byte) (Commit, error) {
	var w struct {
		Header
		Events    []json.RawMessage `json:"events"`
		Signature Signature         `json:"signature,omitzero"`
	}
	if err := unmarshalStrict(b, &w); err != nil {
		return Commit{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case w.Format != formatPlain && w.Format != formatSigned:
		return Commit{}, fmt.Errorf("%w: format %d, this build reads %d and %d", ErrMalformed, w.Format, formatPlain, formatSigned)
	case w.Key.IsZero() == (w.Format == formatSigned):
		return Commit{}, fmt.Errorf("%w: revision=%d has format %d and %s", ErrMalformed, w.Revision, w.Format, signedBy(w.Key))
	case len(w.Events) == 0:
		return Commit{}, fmt.Errorf("%w: revision=%d has no events", ErrMalformed, w.Revision)
	case w.Position == 0 || w.Revision == 0:
		return Commit{}, fmt.Errorf("%w: revision and position start at 1", ErrMalformed)
	}
	c := Commit{
		Header: w.Header, Events: make([]Recorded, len(w.Events)), Signature: w.Signature,
		Bytes: b, Hash: sha256.Sum256(b),
	}
	for i, raw := range w.Events {
		r, err := UnmarshalEvent(raw)
		if err != nil {
			return Commit{}, fmt.Errorf("revision=%d event=%d: %w", c.Revision, i, err)
		}
		if r.RecordedAt != c.RecordedAt {
			return Commit{}, fmt.Errorf("%w: revision=%d event=%d recorded at another time than its commit", ErrMalformed, c.Revision, i)
		}
		r.Revision, r.Position = c.Revision, c.Position+Position(i)
		c.Events[i] = r
	}
	if announces, _ := c.announces(c.Key); announces && c.Format == formatPlain {
		return Commit{}, fmt.Errorf("%w: revision=%d announces a key and is not signed", ErrMalformed, c.Revision)
	}
	prefix, err := c.Header.prefix()
	if err != nil {
		return Commit{}, err
	}
	suffix := c.suffix()
	if !bytes.Equal(JoinCommit(prefix, w.Events, suffix), b) {
		return Commit{}, fmt.Errorf("%w: revision=%d is not in the form this ledger writes", ErrMalformed, c.Revision)
	}
	if unsigned := b[:len(b)-len(suffix)+1]; c.Format == formatSigned && !c.Key.verifies(unsigned, c.Signature) {
		return Commit{}, fmt.Errorf("%w: revision=%d: the signature is not that of key %s", ErrBroken, c.Revision, c.Key)
	}
	return c, nil
}

func signedBy(k PublicKey) string {
	if k.IsZero() {
		return "no key"
	}
	return "key " + k.String()
}

// Prefix is what stands before the first event in the stored bytes.
func (c Commit) Prefix() []byte {
	i := bytes.Index(c.Bytes, []byte(eventsMember))
	if i < 0 {
		return nil
	}
	return c.Bytes[:i+len(eventsMember)]
}

// Suffix is what stands after the last event in the stored bytes.
func (c Commit) Suffix() []byte {
	n := len(c.suffix())
	if n > len(c.Bytes) {
		return nil
	}
	return c.Bytes[len(c.Bytes)-n:]
}

// suffix is what stands after the last event of a commit with this signature.
func (c Commit) suffix() []byte {
	if c.Format != formatSigned {
		return []byte("]}")
	}
	return append(append([]byte{']'}, signatureMember...), c.Signature.String()+`"}`...)
}

// JoinCommit puts stored bytes together again from what stands before, between and after the events.
func JoinCommit(prefix []byte, raw []json.RawMessage, suffix []byte) []byte {
	b := bytes.Clone(prefix)
	for i, r := range raw {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	return append(b, suffix...)
}

// Head is the head after c.
func (c Commit) Head() Head {
	h := Head{
		Ledger: c.Ledger, Revision: c.Revision, Hash: c.Hash,
		Position: c.Position + Position(len(c.Events)) - 1, RecordedAt: c.RecordedAt,
		Writer: c.Writer, Epoch: c.Epoch, Key: c.Key,
	}
	for _, r := range c.Events {
		if e, ok := r.Event.(KeyAnnounced); ok {
			h.Key = e.Key
		}
	}
	return h
}

// announces reports whether c announces a key, and this one.
func (c Commit) announces(key PublicKey) (any, this bool) {
	for _, r := range c.Events {
		if e, ok := r.Event.(KeyAnnounced); ok {
			any, this = true, this || e.Key == key
		}
	}
	return any, this
}

// followsKey reports whether c is signed as it must be after h. The first signed commit of a ledger announces
// its own key.
func (h Head) followsKey(c Commit) error {
	_, itself := c.announces(c.Key)
	switch {
	case c.Key != h.Key && !h.Key.IsZero():
		return fmt.Errorf("%w: revision %d is signed by %s, must be by key %s", ErrBroken, c.Revision, signedBy(c.Key), h.Key)
	case !c.Key.IsZero() && h.Key.IsZero() && !itself:
		return fmt.Errorf("%w: revision %d is signed by key %s, which nobody announced", ErrBroken, c.Revision, c.Key)
	}
	return nil
}

// Follows reports whether c is the very next commit after h, in the same ledger, chained to it and signed by
// its key.
func (h Head) Follows(c Commit) error {
	switch {
	case c.Revision != h.Revision+1:
		return fmt.Errorf("%w: after revision %d comes %d", ErrBroken, h.Revision, c.Revision)
	case h.Revision > 0 && c.Ledger != h.Ledger:
		return fmt.Errorf("%w: revision %d is of ledger %s, not %s", ErrBroken, c.Revision, c.Ledger, h.Ledger)
	case c.Previous != h.Hash:
		return fmt.Errorf("%w: revision %d follows a commit with hash %s, not %s", ErrBroken, c.Revision, c.Previous, h.Hash)
	case c.Position != h.Position+1:
		return fmt.Errorf("%w: revision %d starts at position %d after %d", ErrBroken, c.Revision, c.Position, h.Position)
	case c.RecordedAt < h.RecordedAt:
		return fmt.Errorf("%w: revision %d was recorded at %s, before %s", ErrBroken, c.Revision, c.RecordedAt, h.RecordedAt)
	case c.Epoch < h.Epoch || c.Epoch == h.Epoch && c.Writer != h.Writer:
		return fmt.Errorf("%w: revision %d has writer %s epoch %d after %s epoch %d", ErrBroken, c.Revision, c.Writer, c.Epoch, h.Writer, h.Epoch)
	}
	return h.followsKey(c)
}

// Mark is how far a ledger had got, as it is kept outside the log. The zero Mark is before the first commit.
type Mark struct {
	Ledger   LedgerID `json:"ledger"`
	Revision Revision `json:"revision"`
	Hash     Hash     `json:"hash"`
	Position Position `json:"position,omitempty"` // of the last event; the size of the audit tree
	Root     Hash     `json:"root,omitzero"`      // of the audit tree at that size
}

// Mark is h as a mark, without a root.
func (h Head) Mark() Mark {
	return Mark{Ledger: h.Ledger, Revision: h.Revision, Hash: h.Hash, Position: h.Position}
}
