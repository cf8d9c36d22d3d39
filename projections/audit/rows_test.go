package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// sample is the commit of the examples in rows.go: revision 7, one event at position 257.
func sample(t *testing.T) events.Commit {
	t.Helper()
	c, err := events.Seal(
		events.Head{Ledger: uuid.MustParse("0190a1b2-c3d4-7e5f-8a9b-000000000000"), Revision: 6, Position: 256, Writer: "w1", Epoch: 1},
		events.Header{RecordedAt: 63_907_920_000_000_000, Writer: "w1"},
		[]events.Recorded{{
			ID: uuid.MustParse("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"), Command: uuid.MustParse("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c"),
			Tenant: "default", Meta: events.Meta{Actor: events.User("root"), OnBehalfOf: events.User("carol")},
			Event: events.PermissionGranted{Principal: events.User("alice"), Permission: events.Permission{API: "operate", Name: "read:*"}},
		}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// leafHash is that of RFC 6962 §2.1.
func leafHash(leaf string) string {
	sum := sha256.Sum256([]byte("\x00" + leaf))
	return string(sum[:])
}

// written gives the rows of c, value by key.
func written(t *testing.T, c events.Commit) map[string]string {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	w := store.NewWrite()
	defer w.Discard()
	for _, r := range c.Events {
		if err := (Rows{}).Apply(w, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := (Rows{}).ApplyCommit(w, c); err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for row, err := range w.Scan(nil) {
		if err != nil {
			t.Fatal(err)
		}
		rows[string(row.Key)] = string(row.Value)
	}
	return rows
}

// The rows of one event, as rows.go describes them. A change here is a change of the format: every store
// must then be rebuilt.
func TestPinnedRows(t *testing.T) {
	const position, revision = "\x00\x00\x00\x00\x00\x00\x01\x01", "\x00\x00\x00\x00\x00\x00\x00\x07"
	id, _ := hex.DecodeString("0190a1b2c3d47e5f8a9b0c1d2e3f4a5b")
	command, _ := hex.DecodeString("0190a1b2c3d47e5f8a9b0c1d2e3f4a5c")
	c := sample(t)
	raw := string(c.Events[0].Raw)
	want := map[string]string{
		"i" + string(id) + position:         "",
		"i" + string(command) + position:    "",
		"auser/root/" + position:            "",
		"buser/carol/" + position:           "",
		"puser/alice/" + position:           "",
		"rread=3A=2A/operate/" + position:   "",
		"nread=3A=2A/" + position:           "",
		"soperate/" + position:              "",
		"tpermission=2Egranted/" + position: "",
		"wdefault/" + position:              "",
		"e" + position:                      revision + raw,
		"c" + revision: position + "\x00\x00\x00\x01" + "\x00\xe3\x0b\xea\x25\xef\x20\x00" + string(c.Hash[:]) + "\x00\x00\x00\xed" +
			`{"format":1,"ledger":"0190a1b2-c3d4-7e5f-8a9b-000000000000","revision":7,"previous":"` + strings.Repeat("0", 64) +
			`","recorded_at":"2026-03-01T00:00:00Z","writer":"w1","epoch":1,"position":257,"events":[` + "]}",
		"h\x00" + "\x00\x00\x00\x00\x00\x00\x01\x00": leafHash(raw),
	}
	got := written(t, c)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		value, ok := got[key]
		if !ok || value != want[key] {
			t.Errorf("row %q\nhas   %q %v\nwants %q", key, value, ok, want[key])
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("and rows %q", slices.Sorted(maps.Keys(got)))
	}
}

// Whichever of its parts is not what was stored, a commit is not archived.
func TestACommitMustFitItsHash(t *testing.T) {
	for name, harm := range map[string]func(*events.Commit){
		"an event's bytes": func(c *events.Commit) {
			c.Events[0].Raw = bytes.Replace(c.Events[0].Raw, []byte("alice"), []byte("mallo"), 1)
		},
		"no bytes":      func(c *events.Commit) { c.Events[0].Raw = nil },
		"the prefix":    func(c *events.Commit) { c.Bytes = bytes.Replace(c.Bytes, []byte(`"epoch":1`), []byte(`"epoch":2`), 1) },
		"no prefix":     func(c *events.Commit) { c.Bytes = nil },
		"the hash":      func(c *events.Commit) { c.Hash[0]++ },
		"an event less": func(c *events.Commit) { c.Events = nil },
		"an event more": func(c *events.Commit) { c.Events = append(c.Events, c.Events[0]) },
	} {
		store, err := pebblekv.Open("", pebblekv.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w := store.NewWrite()
		c := sample(t)
		harm(&c)
		if err := (Rows{}).ApplyCommit(w, c); !errors.Is(err, events.ErrBroken) {
			t.Errorf("%s changed: %v", name, err)
		}
		w.Discard()
		_ = store.Close()
	}
}

func TestCommitRow(t *testing.T) {
	row := commitRow{258, 3, 99, events.Hash{1, 2}, []byte("prefix"), []byte("suffix")}
	b := row.encode()
	got, err := decodeCommitRow(b)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(row) {
		t.Errorf("got %v %v, want %v", got, err, row)
	}
	for n := range commitRowFixed + len("prefix") {
		if _, err := decodeCommitRow(b[:n]); !errors.Is(err, pebblekv.ErrStore) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
