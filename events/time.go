package events

import (
	"fmt"
	"math"
	"time"
)

// Instant is a moment in microseconds since the year 1, UTC. The zero value is the beginning of time
// and serves as "not given" where a time is optional; Forever is after every other instant.
type Instant int64

const (
	Beginning Instant = 0
	Forever   Instant = math.MaxInt64

	unixEpoch = 62_135_596_800 * 1_000_000 // 1970-01-01 as an Instant
)

// At converts t, dropping what is below a microsecond. What is before the year 1, UTC, is Beginning, and what
// is after the year 9999 is Forever: RFC 3339 cannot write either.
func At(t time.Time) Instant {
	switch year := t.UTC().Year(); {
	case year < 1:
		return Beginning
	case year > 9999:
		return Forever
	}
	return Instant(t.UnixMicro() + unixEpoch)
}

// ParseInstant reads RFC 3339. Digits below a microsecond are dropped. It never gives Beginning or Forever:
// whoever asks about the year 1 must not be answered as if no time had been given.
func ParseInstant(field, s string) (Instant, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, Invalid(field, s, "must be a time as in 2026-03-01T00:00:00Z (RFC 3339)")
	}
	i := At(t)
	if i == Beginning || i == Forever {
		return 0, Invalid(field, s, "must be after 0001-01-01T00:00:00Z and before the year 10000")
	}
	return i, nil
}

// Time converts back to UTC. Forever has no time.
func (i Instant) Time() time.Time { return time.UnixMicro(int64(i) - unixEpoch).UTC() }

func (i Instant) IsZero() bool { return i == Beginning }

// String is RFC 3339 in UTC with the digits that are needed; "" for the beginning, "forever" for Forever.
func (i Instant) String() string {
	switch i {
	case Beginning:
		return ""
	case Forever:
		return "forever"
	}
	return i.Time().Format("2006-01-02T15:04:05.999999Z07:00")
}

// MarshalJSON writes RFC 3339, and null for Beginning and Forever.
func (i Instant) MarshalJSON() ([]byte, error) {
	if i == Beginning || i == Forever {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%q", i.String()), nil
}

// UnmarshalJSON reads RFC 3339; null leaves the value as it was.
func (i *Instant) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if len(b) < 2 || b[0] != '"' {
		return Invalid("time", string(b), "must be a string")
	}
	parsed, err := ParseInstant("time", string(b[1:len(b)-1]))
	if err == nil {
		*i = parsed
	}
	return err
}

// Interval is [From, Until): From is in it, Until is not.
type Interval struct {
	From  Instant
	Until Instant
}

// Always is the interval of what has no beginning and no end.
var Always = Interval{Beginning, Forever}

func (v Interval) Holds(t Instant) bool { return v.From <= t && t < v.Until }
func (v Interval) Empty() bool          { return v.From >= v.Until }

// Intersect gives what is in both; it may be empty.
func (v Interval) Intersect(w Interval) Interval {
	return Interval{max(v.From, w.From), min(v.Until, w.Until)}
}

func (v Interval) String() string {
	from := v.From.String()
	if v.From == Beginning {
		from = "beginning"
	}
	return "[" + from + ", " + v.Until.String() + ")"
}

type intervalJSON struct {
	From  Instant `json:"valid_from"`
	Until Instant `json:"valid_until"`
}

// MarshalJSON writes {"valid_from":…,"valid_until":…}, null meaning without a beginning or end.
func (v Interval) MarshalJSON() ([]byte, error) {
	from, _ := v.From.MarshalJSON()
	until, _ := v.Until.MarshalJSON()
	return fmt.Appendf(nil, `{"valid_from":%s,"valid_until":%s}`, from, until), nil
}

func (v *Interval) UnmarshalJSON(b []byte) error {
	j := intervalJSON{Beginning, Forever}
	if err := unmarshalStrict(b, &j); err != nil {
		return err
	}
	*v = Interval(j)
	return nil
}
