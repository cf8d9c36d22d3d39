package events

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseInstant(t *testing.T) {
	for s, want := range map[string]string{
		"2026-03-01T00:00:00Z":                "2026-03-01T00:00:00Z",
		"2026-03-01T02:00:00+02:00":           "2026-03-01T00:00:00Z",
		"2026-02-28T23:30:00-00:30":           "2026-03-01T00:00:00Z",
		"2026-03-01T00:00:00.5Z":              "2026-03-01T00:00:00.5Z",
		"2026-03-01T00:00:00.000001Z":         "2026-03-01T00:00:00.000001Z",
		"2026-03-01T00:00:00.0000019Z":        "2026-03-01T00:00:00.000001Z", // below a microsecond: dropped
		"2026-03-01T00:00:00.000000999Z":      "2026-03-01T00:00:00Z",        // not rounded
		"1969-12-31T23:59:59.9999999Z":        "1969-12-31T23:59:59.999999Z", // downwards before 1970 as well
		"1970-01-01T00:00:00Z":                "1970-01-01T00:00:00Z",
		"2024-02-29T12:00:00Z":                "2024-02-29T12:00:00Z",
		"0001-01-01T00:00:00.000001Z":         "0001-01-01T00:00:00.000001Z", // the first instant there is
		"9999-12-31T23:59:59.999999999Z":      "9999-12-31T23:59:59.999999Z", // and the last
		"9999-12-31T23:59:59.999999999+14:00": "9999-12-31T09:59:59.999999Z",
	} {
		got, err := ParseInstant("valid_at", s)
		if err != nil || got.String() != want {
			t.Errorf("ParseInstant(%q) = %q, %v, want %q", s, got, err, want)
		}
	}
}

func TestParseInstantRefuses(t *testing.T) {
	for _, s := range []string{
		"", "now", "forever", "2026-03-01", "2026-03-01 00:00:00Z", "2026-03-01T00:00:00", "1772323200",
		"2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01T00:00:60Z",
		"2026-03-01T00:00:00Zjunk", " 2026-03-01T00:00:00Z", "12026-03-01T00:00:00Z", "-001-03-01T00:00:00Z",
		// What has no RFC 3339 in UTC, or would read as "not given":
		"0000-05-05T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.0000009Z",
		"0001-01-01T00:00:00+01:00", // the year 0 in UTC
		"9999-12-31T23:59:59-01:00", // the year 10000 in UTC
	} {
		got, err := ParseInstant("valid_at", s)
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Field != "valid_at" {
			t.Errorf("ParseInstant(%q) = %q, %v, want an InvalidError of the field", s, got, err)
		}
	}
}

func TestAtClamps(t *testing.T) {
	for _, tt := range []struct {
		t    time.Time
		want Instant
	}{
		{time.Time{}, Beginning},
		{time.Date(0, 12, 31, 23, 59, 59, 0, time.UTC), Beginning},
		{time.Date(-300_000, 1, 1, 0, 0, 0, 0, time.UTC), Beginning},
		{time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), Forever},
		{time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC), Forever}, // beyond what microseconds can count
		{time.Unix(math.MaxInt32, 0), Instant(62_135_596_800+math.MaxInt32) * 1_000_000},
		{time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), 1},
	} {
		if got := At(tt.t); got != tt.want {
			t.Errorf("At(%v) = %d, want %d", tt.t, got, tt.want)
		}
	}
}

// anyInstant draws from the whole range that can be written.
func anyInstant() *rapid.Generator[Instant] {
	return rapid.Map(rapid.Int64Range(1, int64(mustInstant("9999-12-31T23:59:59.999999Z"))), func(i int64) Instant { return Instant(i) })
}

func TestInstantRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i, j := anyInstant().Draw(t, "i"), anyInstant().Draw(t, "j")
		if back, err := ParseInstant("time", i.String()); err != nil || back != i {
			t.Fatalf("%d is written %q and read as %d, %v", i, i, back, err)
		}
		if At(i.Time()) != i || i.Time().Location() != time.UTC {
			t.Fatalf("At(%v) = %d, want %d", i.Time(), At(i.Time()), i)
		}
		if (i < j) != i.Time().Before(j.Time()) {
			t.Fatalf("%v and %v are in another order than their numbers", i, j)
		}
		b, err := json.Marshal(i)
		var back Instant
		if err != nil || json.Unmarshal(b, &back) != nil || back != i {
			t.Fatalf("%d is %s in JSON, %v, and read as %d", i, b, err, back)
		}
	})
}

func TestInstantOrder(t *testing.T) {
	sorted := []Instant{
		Beginning, mustInstant("0001-01-01T00:00:00.000001Z"), mustInstant("1969-12-31T23:59:59Z"),
		mustInstant("2026-03-01T00:00:00Z"), mustInstant("2026-03-01T00:00:00.000001Z"), mustInstant("9999-12-31T23:59:59Z"), Forever,
	}
	if !slices.IsSorted(sorted) {
		t.Errorf("not in order: %v", sorted)
	}
	if !Beginning.IsZero() || Forever.IsZero() || Beginning.String() != "" || Forever.String() != "forever" {
		t.Errorf("the ends are written %q and %q", Beginning, Forever)
	}
}

func TestInstantJSON(t *testing.T) {
	for i, want := range map[Instant]string{
		Beginning: `null`, Forever: `null`,
		mustInstant("2026-03-01T00:00:00.25Z"): `"2026-03-01T00:00:00.25Z"`,
	} {
		if b, err := json.Marshal(i); err != nil || string(b) != want {
			t.Errorf("Marshal(%d) = %s, %v, want %s", i, b, err, want)
		}
	}
	kept := Forever
	if err := json.Unmarshal([]byte("null"), &kept); err != nil || kept != Forever {
		t.Errorf("null changed the value to %v, %v", kept, err)
	}
	for _, bad := range []string{`7`, `""`, `"forever"`, `"2026-03-01"`, `{}`, `true`, `["2026-03-01T00:00:00Z"]`} {
		var i Instant
		if err := json.Unmarshal([]byte(bad), &i); err == nil {
			t.Errorf("Unmarshal(%s) = %v, want an error", bad, i)
		}
	}
}

func TestInterval(t *testing.T) {
	march, april, may := mustInstant("2026-03-01T00:00:00Z"), mustInstant("2026-04-01T00:00:00Z"), mustInstant("2026-05-01T00:00:00Z")
	v := Interval{march, april}
	for at, want := range map[Instant]bool{march - 1: false, march: true, april - 1: true, april: false, Beginning: false, Forever: false} {
		if v.Holds(at) != want {
			t.Errorf("%v holds %v: %v", v, at, !want)
		}
	}
	if !Always.Holds(Beginning) || !Always.Holds(Forever-1) || Always.Empty() {
		t.Error("Always is not always")
	}
	for _, empty := range []Interval{{}, {march, march}, {april, march}} {
		if !empty.Empty() || empty.Holds(march) {
			t.Errorf("%v is not empty", empty)
		}
	}
	for _, tt := range []struct {
		a, b, want Interval
	}{
		{Interval{march, may}, Interval{april, Forever}, Interval{april, may}},
		{Interval{march, april}, Always, Interval{march, april}},
		{Interval{march, april}, Interval{april, may}, Interval{april, april}}, // touching: nothing in both
	} {
		if got := tt.a.Intersect(tt.b); got != tt.want || tt.b.Intersect(tt.a) != got {
			t.Errorf("%v and %v have %v in common, want %v", tt.a, tt.b, got, tt.want)
		}
	}
	if s := Always.String(); s != "[beginning, forever)" {
		t.Errorf("Always is written %q", s)
	}
}

func TestIntervalHoldsWhatBothHold(t *testing.T) {
	instant := rapid.OneOf(rapid.Map(rapid.Int64Range(0, 6), func(i int64) Instant { return Instant(i) }), rapid.Just(Forever))
	interval := rapid.Custom(func(t *rapid.T) Interval { return Interval{instant.Draw(t, "from"), instant.Draw(t, "until")} })
	rapid.Check(t, func(t *rapid.T) {
		v, w, at := interval.Draw(t, "v"), interval.Draw(t, "w"), instant.Draw(t, "at")
		both := v.Intersect(w)
		if both.Holds(at) != (v.Holds(at) && w.Holds(at)) {
			t.Fatalf("%v and %v have %v in common, which is wrong at %d", v, w, both, at)
		}
		if v.Empty() && v.Holds(at) {
			t.Fatalf("%v is empty and holds %d", v, at)
		}
	})
}

func TestIntervalJSON(t *testing.T) {
	march := mustInstant("2026-03-01T00:00:00Z")
	for v, want := range map[Interval]string{
		Always:             `{"valid_from":null,"valid_until":null}`,
		{march, Forever}:   `{"valid_from":"2026-03-01T00:00:00Z","valid_until":null}`,
		{Beginning, march}: `{"valid_from":null,"valid_until":"2026-03-01T00:00:00Z"}`,
	} {
		b, err := json.Marshal(v)
		if err != nil || string(b) != want {
			t.Errorf("Marshal(%v) = %s, %v, want %s", v, b, err, want)
		}
		var back Interval
		if err := json.Unmarshal(b, &back); err != nil || back != v {
			t.Errorf("Unmarshal(%s) = %v, %v", b, back, err)
		}
	}
	var v Interval
	if err := json.Unmarshal([]byte(`{}`), &v); err != nil || v != Always {
		t.Errorf("{} is %v, %v, want always", v, err)
	}
	for _, bad := range []string{`{"from":null}`, `{"valid_from":"soon"}`, `[]`, `null`} {
		if err := v.UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("Unmarshal(%s) = %v, want an error", bad, v)
		}
	}
}

// Years of five digits and more do not exist: what is stored can always be read again.
func FuzzInstant(f *testing.F) {
	f.Add("2026-03-01T00:00:00.5+02:00")
	f.Add("9999-12-31T23:59:59-23:59")
	f.Add("0001-01-01T00:00:00+23:59")
	f.Fuzz(func(t *testing.T, s string) {
		i, err := ParseInstant("time", s)
		if err != nil {
			return
		}
		if i <= Beginning || i >= Forever || strings.Contains(i.String(), "forever") {
			t.Fatalf("ParseInstant(%q) = %d", s, i)
		}
		if back, err := ParseInstant("time", i.String()); err != nil || back != i {
			t.Fatalf("%q is written %q and read as %d, %v", s, i, back, err)
		}
	})
}
