package receipts

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// The rows of the example in rows.go. A change here is a change of the format: every store must then be
// rebuilt.
func TestPinnedRows(t *testing.T) {
	store, err := pebblekv.Open("", pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	w := store.NewWrite()
	defer w.Discard()
	r := events.Recorded{
		ID: uuid.New(), Command: uuid.MustParse("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"), Tenant: "default",
		RecordedAt: 63_907_920_000_000_000, Revision: 7, Position: 258,
		Meta:  events.Meta{Actor: events.User("root"), Key: "k 1"},
		Event: events.RoleCreated{Role: "operate"},
	}
	for range 2 {
		if err := (Rows{}).Apply(w, r); err != nil {
			t.Fatal(err)
		}
		r.ID, r.Position = uuid.New(), r.Position+1
	}
	id, _ := hex.DecodeString("0190a1b2c3d47e5f8a9b0c1d2e3f4a5b")
	want := []string{
		"c" + string(id),
		"\x00\x00\x00\x00\x00\x00\x00\x07" + // revision
			"\x00\x00\x00\x00\x00\x00\x01\x02" + // position of the first event
			"\x00\xe3\x0b\xea\x25\xef\x20\x00" + // 2026-03-01T00:00:00Z, in microseconds since the year 1
			"\x00\x00\x00\x02" + // two events
			"\x07default" + "\x09user:root" + "\x03k 1" + "\x00",
		"kdefault/user/root/k=201/",
		string(id),
	}
	var got []string
	for row, err := range w.Scan(nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(row.Key), string(row.Value))
	}
	if !cmp.Equal(got, want) {
		t.Errorf("rows %s", cmp.Diff(want, got))
	}
}

// Rows that are not what Apply writes are an error, never an answer and never "not known".
func TestDamagedRows(t *testing.T) {
	store, err := pebblekv.Open("", pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	root, command := events.User("root"), uuid.New()
	r := events.Recorded{Command: command, Meta: events.Meta{Actor: root, Key: "k"}, Event: events.TenantDeleted{}}
	whole := encode(r)
	for name, rows := range map[string]struct{ command, key []byte }{
		"a key bound to nothing":              {nil, command[:]},
		"a key bound to less than a command":  {whole, command[:15]},
		"a key bound to more than a command":  {whole, append(command[:], 1)},
		"an answer cut short":                 {whole[:len(whole)-1], command[:]},
		"an answer without its texts":         {whole[:fixed], command[:]},
		"an answer that is too short for one": {whole[:fixed-1], command[:]},
		"an answer with something behind":     {append(bytes.Clone(whole), 0), command[:]},
		"an answer to nobody there can be":    {bytes.Replace(whole, []byte("user:root"), []byte("nobody!!!"), 1), command[:]},
	} {
		w := store.NewWrite()
		if rows.command != nil {
			_ = w.Set(keyCommand(command), rows.command)
		}
		_ = w.Set(keyKey("", root, "k"), rows.key)
		if a, ok, err := Find(w, "default", root, "k"); ok && err == nil || err == nil {
			t.Errorf("%s: found %+v, %v, %v", name, a, ok, err)
		}
		w.Discard()
	}
	w := store.NewWrite()
	defer w.Discard()
	_ = w.Set(keyCommand(command), whole[:fixed-1])
	if err := (Rows{}).Apply(w, r); !errors.Is(err, pebblekv.ErrStore) {
		t.Errorf("counted in a row that is too short: %v", err)
	}
}

func TestLongTexts(t *testing.T) {
	long := strings.Repeat("ü", 100_000)
	r := events.Recorded{Tenant: "t", Meta: events.Meta{Actor: events.Client("c"), Key: long, RequestHash: "aa"}, Event: events.TenantDeleted{}}
	a, err := decode(encode(r))
	if want := (events.Answer{Tenant: "t", Caller: r.Actor, Key: long, RequestHash: "aa", Events: 1}); err != nil || !cmp.Equal(a, want) {
		t.Errorf("a key of %d bytes came back as one of %d: %v", len(long), len(a.Key), err)
	}
}

// What can be read is exactly what would be written.
func FuzzDecode(f *testing.F) {
	f.Add(encode(events.Recorded{Tenant: "t", Meta: events.Meta{Actor: events.User("u"), Key: "k"}}))
	f.Add(make([]byte, fixed+4))
	f.Add(append(make([]byte, fixed), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decode(b)
		if err != nil {
			return
		}
		again := encode(events.Recorded{
			Tenant: a.Tenant, RecordedAt: a.AnsweredAt, Revision: a.Revision, Position: a.Position,
			Meta: events.Meta{Actor: a.Caller, Key: a.Key, RequestHash: a.RequestHash},
		})
		c, err := decode(again)
		if c.Events = a.Events; err != nil || !cmp.Equal(a, c) {
			t.Fatalf("%x reads as %+v, written again as %+v, %v", b, a, c, err)
		}
	})
}
