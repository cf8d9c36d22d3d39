package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/events"
)

func TestWhenSurvivesTheWire(t *testing.T) {
	for _, want := range []When{
		{},
		{Tenant: "acme", ValidAt: instant(t, "2026-03-20T00:00:00Z"), KnownAt: Known{Revision: 7}, AtLeast: 9},
		{KnownAt: Known{Time: instant(t, "2026-03-20T00:00:00.25Z")}},
		{AsOf: instant(t, "2026-03-20T00:00:00+02:00")},
	} {
		got, err := ParseWhen(want.Values().Get)
		if err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
}

func TestRefusedWhen(t *testing.T) {
	for name, values := range map[string]map[string]string{
		"valid_at": {"valid_at": "2026-03-20"},
		"as_of":    {"as_of": "2026-03-20T00:00:00Z", "valid_at": "2026-03-20T00:00:00Z"},
		"known_at": {"known_at": "0"},
		"at_least": {"at_least": "-1"},
		"tenant":   {"tenant": "a\x01"},
	} {
		_, err := ParseWhen(func(name string) string { return values[name] })
		invalid, ok := err.(*events.InvalidError)
		if !ok || invalid.Field != name {
			t.Errorf("%v: %v, want invalid %s", values, err, name)
		}
	}
}

func TestStart(t *testing.T) {
	for written, want := range map[string]Start{
		"first": {}, "now": {Now: true}, "17": {Position: 17}, "rev:4": {Revision: 4},
		"2026-03-20T00:00:00Z": {Time: instant(t, "2026-03-20T00:00:00Z")},
	} {
		got, err := ParseStart("from", written)
		if err != nil || got != want || got.String() != written {
			t.Errorf("%q: %+v (%s), %v", written, got, got, err)
		}
	}
	for _, written := range []string{"0", "-1", "rev:0", "rev:x", "yesterday"} {
		if got, err := ParseStart("from", written); err == nil {
			t.Errorf("%q became %+v", written, got)
		}
	}
}

// An event goes over the wire as stored: the bytes a proof covers survive.
func TestEventOnTheWire(t *testing.T) {
	recorded := events.Recorded{
		Tenant: "default", Meta: events.Meta{Actor: events.User("root"), Reason: `a < b & "c"`},
		Event: events.RoleCreated{Role: "operate", Attr: events.Attributes{Name: "Öperate"}},
	}
	c, err := events.Seal(events.Head{}, events.Header{Writer: "w", RecordedAt: instant(t, "2026-03-01T00:00:00Z")}, []events.Recorded{recorded}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Event{Recorded: c.Events[0]}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(b), `{"revision":1,"position":1,"id":`) {
		t.Errorf("place comes not first: %s", b)
	}
	for _, wire := range [][]byte{b, indented(t, b)} {
		var got Event
		if err := json.Unmarshal(wire, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, wire := range []string{`{"position":1,"revision":1}`, `{"revision":1,"position":1,"id":7}`, `[]`,
		strings.Replace(string(b), "role.created", "role.enchanted", 1)} {
		if err := json.Unmarshal([]byte(wire), new(Event)); err == nil {
			t.Errorf("%s was read", wire)
		}
	}
	if _, err := json.Marshal(Event{}); err == nil {
		t.Error("an event without a stored form was written")
	}
}

func indented(t *testing.T, b []byte) []byte {
	t.Helper()
	var v json.RawMessage = b
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return out
}
