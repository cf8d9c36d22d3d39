package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Name is the view's key space.
const Name = "audit"

// The tables. A number is 8 bytes, big endian; an id is its token and '/'; every index row ends in the
// position of an event and has an empty value. The examples, in hex or "text", are the rows of the event at
// position 257, the only one of revision 7, recorded on 2026-03-01T00:00:00Z: user:root grants user:alice, on
// behalf of user:carol, the permission read:* of operate in tenant default.
//
//	commit      c number(revision)                      63 0000000000000007
//	            = number(position of the first event)   0000000000000101
//	              count(4 bytes)                        00000001
//	              number(recorded_at, microseconds      00E30BEA25EF2000
//	                since the year 1)
//	              hash(32 bytes)                        SHA-256 of the whole commit as stored
//	              length of what comes next (4 bytes)   000000ED
//	              the bytes before the first event      "{"format":1, … ,"position":257,"events":["
//	              the bytes after the last event        "]}", or with a signature "],"signature":"…"}"
//	event       e number(position)                      65 0000000000000101
//	            = number(revision)                      0000000000000007
//	              the bytes of the event                "{"id":"0190a1b2-… }"
//	tree        h level(1 byte) number(place)           68 00 0000000000000100
//	            = hash(32 bytes)                        of a complete subtree of 2^level leaves, see tree.go
//	id          i uuid number(position)                 69 0190A1B2C3D47E5F8A9B0C1D2E3F4A5B 0000000000000101
//	              of the event itself, of its command, and of the fact that it ends, corrects or notices;
//	              a fact has the id of the event that created it
//	actor       a kind id number(position)              61 "user/root/" 0000000000000101
//	behalf      b kind id number(position)              62 "user/carol/" 0000000000000101
//	principal   p kind id number(position)              70 "user/alice/" 0000000000000101
//	              everybody in events.About: the holder, and the group, role or parent
//	permission  r name api number(position)             72 "read=3A=2A/operate/" 0000000000000101
//	name        n name number(position)                 6E "read=3A=2A/" 0000000000000101
//	api         s id number(position)                   73 "operate/" 0000000000000101
//	type        t name number(position)                 74 "permission=2Egranted/" 0000000000000101
//	tenant      w id number(position)                   77 "default/" 0000000000000101
//
// There is no index by time: recorded_at never goes back, so the commit rows are one. rows_test.go has these
// rows, pinned.
const (
	tableCommit     = 'c'
	tableEvent      = 'e'
	tableTree       = 'h'
	tableID         = 'i'
	tableActor      = 'a'
	tableBehalf     = 'b'
	tablePrincipal  = 'p'
	tablePermission = 'r'
	tableName       = 'n'
	tableAPI        = 's'
	tableType       = 't'
	tableTenant     = 'w'
)

func keyCommit(r events.Revision) pebblekv.Key { return pebblekv.NewKey(tableCommit).Number(uint64(r)) }
func keyEvent(p events.Position) pebblekv.Key  { return pebblekv.NewKey(tableEvent).Number(uint64(p)) }

// The beginnings of index rows; the position follows.
func indexID(id events.EventID) pebblekv.Key { return pebblekv.NewKey(tableID).Raw(id[:]) }

func indexWho(table byte, p events.Principal) pebblekv.Key {
	return pebblekv.NewKey(table).IDs(string(p.Kind), p.ID)
}

// indexPermission is by name and API, or by name alone when p has no API.
func indexPermission(p events.Permission) pebblekv.Key {
	if p.API == "" {
		return pebblekv.NewKey(tableName).IDs(string(p.Name))
	}
	return pebblekv.NewKey(tablePermission).IDs(string(p.Name), string(p.API))
}

func indexAPI(a events.API) pebblekv.Key       { return pebblekv.NewKey(tableAPI).IDs(string(a)) }
func indexType(name string) pebblekv.Key       { return pebblekv.NewKey(tableType).IDs(name) }
func indexTenant(t events.Tenant) pebblekv.Key { return pebblekv.NewKey(tableTenant).IDs(string(t)) }

// Rows writes the view. It implements projections.CommitView.
type Rows struct{}

func (Rows) Name() string { return Name }

// Apply writes the index rows of one event. Its bytes come with the commit: while a commit is being decided
// there are none yet.
func (Rows) Apply(rows pebblekv.Batch, r events.Recorded) error {
	for _, index := range indexes(r) {
		if err := rows.Set(index.Number(uint64(r.Position)), nil); err != nil {
			return err
		}
	}
	return nil
}

func indexes(r events.Recorded) []pebblekv.Key {
	keys := make([]pebblekv.Key, 0, 12)
	keys = append(keys, indexID(r.ID), indexID(r.Command), indexWho(tableActor, r.Actor), indexType(events.Name(r.Event)))
	if fact, ok := factOf(r); ok && fact != r.ID {
		keys = append(keys, indexID(fact))
	}
	if !r.OnBehalfOf.IsZero() {
		keys = append(keys, indexWho(tableBehalf, r.OnBehalfOf))
	}
	if r.Tenant != "" {
		keys = append(keys, indexTenant(r.Tenant))
	}
	holder, others, api := events.About(r.Event)
	if !holder.IsZero() {
		keys = append(keys, indexWho(tablePrincipal, holder))
	}
	for _, p := range others {
		keys = append(keys, indexWho(tablePrincipal, p))
	}
	if api != "" {
		keys = append(keys, indexAPI(api))
	}
	if p := events.PermissionOf(r.Event); !p.IsZero() {
		keys = append(keys, indexPermission(p), indexPermission(events.Permission{Name: p.Name}))
	}
	return keys
}

// factOf gives the one fact that an event creates, ends, corrects or notices. Events that end all facts of a
// principal, role, group or tenant name none of them.
func factOf(r events.Recorded) (_ events.FactID, ok bool) {
	if _, ok := events.Begins(r.Event); ok {
		return r.ID, true
	}
	if _, ended, ok := events.Ends(r.Event); ok {
		return ended.Fact, true
	}
	switch e := r.Event.(type) {
	case events.ValidityCorrected:
		return e.Fact, true
	case events.ValidityStarted:
		return e.Fact, true
	case events.ValidityExpired:
		return e.Fact, true
	default:
		return events.FactID{}, false
	}
}

// ApplyCommit writes the bytes of a commit and of its events, and the leaves of the tree.
func (Rows) ApplyCommit(rows pebblekv.Batch, c events.Commit) error {
	raws := make([]json.RawMessage, len(c.Events))
	for i, r := range c.Events {
		raws[i] = r.Raw
		value := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(r.Raw)), uint64(c.Revision))
		if err := rows.Set(keyEvent(c.Position+events.Position(i)), append(value, r.Raw...)); err != nil {
			return err
		}
	}
	prefix, suffix := c.Prefix(), c.Suffix()
	if sum := sha256.Sum256(events.JoinCommit(prefix, raws, suffix)); sum != c.Hash {
		return fmt.Errorf("%w: revision=%d taken apart and put together has hash %s, not %s", events.ErrBroken, c.Revision, events.Hash(sum), c.Hash)
	}
	if err := grow(rows, c.Position, c.Events); err != nil {
		return err
	}
	row := commitRow{c.Position, uint32(len(c.Events)), c.RecordedAt, c.Hash, prefix, suffix}
	return rows.Set(keyCommit(c.Revision), row.encode())
}

// commitRow is the value in table commit.
type commitRow struct {
	first      events.Position
	count      uint32
	recordedAt events.Instant
	hash       events.Hash
	prefix     []byte // the stored bytes before the first event
	suffix     []byte // and after the last
}

const commitRowFixed = 8 + 4 + 8 + 32 + 4

func (c commitRow) encode() []byte {
	b := make([]byte, 0, commitRowFixed+len(c.prefix)+len(c.suffix))
	b = binary.BigEndian.AppendUint64(b, uint64(c.first))
	b = binary.BigEndian.AppendUint32(b, c.count)
	b = binary.BigEndian.AppendUint64(b, uint64(c.recordedAt))
	b = append(b, c.hash[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.prefix)))
	b = append(b, c.prefix...)
	return append(b, c.suffix...)
}

func decodeCommitRow(b []byte) (c commitRow, err error) {
	if len(b) < commitRowFixed || uint64(len(b)) < commitRowFixed+uint64(binary.BigEndian.Uint32(b[commitRowFixed-4:])) {
		return c, fmt.Errorf("%w: commit row of %d bytes", pebblekv.ErrStore, len(b))
	}
	c.first = events.Position(binary.BigEndian.Uint64(b))
	c.count = binary.BigEndian.Uint32(b[8:])
	c.recordedAt = events.Instant(binary.BigEndian.Uint64(b[12:]))
	copy(c.hash[:], b[20:])
	n := binary.BigEndian.Uint32(b[commitRowFixed-4:])
	c.prefix, c.suffix = b[commitRowFixed:][:n], b[commitRowFixed:][n:]
	return c, nil
}

// previous is the hash of the commit that this one follows, as its own bytes have it.
func (c commitRow) previous() (events.Hash, error) {
	var header struct {
		Previous events.Hash `json:"previous"`
	}
	if err := json.Unmarshal(append(bytes.Clone(c.prefix), "]}"...), &header); err != nil {
		return events.Hash{}, fmt.Errorf("%w: the beginning of a commit: %w", pebblekv.ErrStore, err)
	}
	return header.Previous, nil
}
