// Package receipts is the view that remembers, for ever, what was recorded for a command and for an
// idempotency key, so that a request sent twice gets its first answer twice.
//
//	answer, known, err := receipts.Find(views.Rows(receipts.Name), tenant, caller, key)
//
// Answers without events are not in the log and so not here; they are in the journal, which
// projections.Projector.FindNoted reads.
//
// # Whose key it is
//
// A key belongs to a caller in a tenant, and the tenant is the one in the envelopes of the events. Events
// about the ledger itself have none, whatever tenant the request named. So Find looks in the tenant of the
// request and then in no tenant: the key of an administrator's command is bound in every tenant, and one
// caller cannot use it again in any.
//
// The obvious row, key to answer, would have to be written twice for a command whose events are in two tenants,
// and counted twice. So there is one row per command with the answer, and keys lead to the command.
package receipts

import (
	"encoding/binary"
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Name is the view's key space.
const Name = "receipts"

// The tables. A number is 8 bytes, big endian; an id is its token and '/'; a text is its length as a uvarint and
// its bytes. The examples are of command 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b, by user:root with the key
// "k 1" in tenant default: two events from position 258 on, in revision 7.
//
//	command  c uuid                                  63 0190a1b2c3d47e5f8a9b0c1d2e3f4a5b
//	         = number(revision)                      0000000000000007
//	           number(position of the first event)   0000000000000102
//	           number(answered_at)                   00E30BEA25EF2000   (2026-03-01T00:00:00Z)
//	           count(4 bytes)                        00000002
//	           text(tenant) text(caller) text(key) text(request hash)
//	                                                 07 "default" 09 "user:root" 03 "k 1" 00
//	key      k tenant kind id key                    6B "default/user/root/k=201/"
//	         = uuid of the command                   0190a1b2c3d47e5f8a9b0c1d2e3f4a5b
const (
	tableCommand = 'c'
	tableKey     = 'k'
)

func keyCommand(id events.CommandID) pebblekv.Key { return pebblekv.NewKey(tableCommand).Raw(id[:]) }

func keyKey(tenant events.Tenant, caller events.Principal, key string) pebblekv.Key {
	return pebblekv.NewKey(tableKey).IDs(string(tenant), string(caller.Kind), caller.ID, key)
}

// Rows writes the view. It implements projections.View.
type Rows struct{}

func (Rows) Name() string { return Name }

// Apply makes the row of a command with its first event and counts the others in it. The first command that
// has a key keeps it.
func (Rows) Apply(rows pebblekv.Batch, r events.Recorded) error {
	row := keyCommand(r.Command)
	value, known, err := rows.Get(row)
	if err != nil {
		return err
	}
	if known {
		if len(value) < fixed {
			return fmt.Errorf("%w: answer of %d bytes to command %s", pebblekv.ErrStore, len(value), r.Command)
		}
		binary.BigEndian.PutUint32(value[countAt:], binary.BigEndian.Uint32(value[countAt:])+1)
	} else {
		value = encode(r)
	}
	if err := rows.Set(row, value); err != nil || r.Key == "" {
		return err
	}
	key := keyKey(r.Tenant, r.Actor, r.Key)
	if _, bound, err := rows.Get(key); bound || err != nil {
		return err
	}
	return rows.Set(key, r.Command[:])
}

// Find gives the answer to an idempotency key of a caller, for a request in that tenant.
func Find(rows pebblekv.Reader, tenant events.Tenant, caller events.Principal, key string) (events.Answer, bool, error) {
	for _, t := range []events.Tenant{tenant, ""} {
		id, ok, err := rows.Get(keyKey(t, caller, key))
		if err != nil {
			return events.Answer{}, false, err
		}
		if ok {
			return bound(rows, id)
		}
	}
	return events.Answer{}, false, nil
}

func bound(rows pebblekv.Reader, id []byte) (events.Answer, bool, error) {
	var command events.CommandID
	if copy(command[:], id) != len(id) || len(id) != len(command) {
		return events.Answer{}, false, fmt.Errorf("%w: key bound to %x, which is no command", pebblekv.ErrStore, id)
	}
	a, ok, err := ByCommand(rows, command)
	if err == nil && !ok {
		err = fmt.Errorf("%w: key bound to command %s, which has no answer", pebblekv.ErrStore, command)
	}
	return a, ok, err
}

// ByCommand gives the answer to a command that recorded events.
func ByCommand(rows pebblekv.Reader, command events.CommandID) (events.Answer, bool, error) {
	value, ok, err := rows.Get(keyCommand(command))
	if err != nil || !ok {
		return events.Answer{}, false, err
	}
	a, err := decode(value)
	if err != nil {
		return events.Answer{}, false, fmt.Errorf("answer to command %s: %w", command, err)
	}
	a.Command = command
	return a, true, nil
}

const (
	countAt = 3 * 8
	fixed   = countAt + 4
)

func encode(r events.Recorded) []byte {
	b := make([]byte, 0, 256)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Revision))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Position))
	b = binary.BigEndian.AppendUint64(b, uint64(r.RecordedAt))
	b = binary.BigEndian.AppendUint32(b, 1)
	for _, t := range []string{string(r.Tenant), r.Actor.String(), r.Key, r.RequestHash} {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	return b
}

func decode(b []byte) (a events.Answer, err error) {
	if len(b) < fixed {
		return a, fmt.Errorf("%w: %d bytes", pebblekv.ErrStore, len(b))
	}
	a.Revision = events.Revision(binary.BigEndian.Uint64(b))
	a.Position = events.Position(binary.BigEndian.Uint64(b[8:]))
	a.AnsweredAt = events.Instant(binary.BigEndian.Uint64(b[16:]))
	a.Events = int(binary.BigEndian.Uint32(b[countAt:]))
	var texts [4]string
	rest := b[fixed:]
	for i := range texts {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return a, fmt.Errorf("%w: text ends early", pebblekv.ErrStore)
		}
		rest = rest[size:]
		texts[i], rest = string(rest[:n]), rest[n:]
	}
	if len(rest) > 0 {
		return a, fmt.Errorf("%w: %d bytes too many", pebblekv.ErrStore, len(rest))
	}
	a.Tenant, a.Key, a.RequestHash = events.Tenant(texts[0]), texts[2], texts[3]
	err = a.Caller.UnmarshalText([]byte(texts[1]))
	return a, err
}
