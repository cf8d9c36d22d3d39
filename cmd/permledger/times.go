package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/permledger/permledger/events"
)

// parseTime reads the times people type: RFC 3339 (2026-03-01T09:30:00Z), a date, meaning its first
// instant in UTC (2026-03-01), and a span back from now (-24h, -15m). "" is not given.
func parseTime(field, s string, now time.Time) (events.Instant, error) {
	switch {
	case s == "":
		return events.Beginning, nil
	case strings.HasPrefix(s, "-"):
		back, err := time.ParseDuration(s)
		if err != nil {
			return 0, badTime(field, s)
		}
		return events.At(now.Add(back)), nil
	case len(s) == len(time.DateOnly):
		t, err := time.Parse(time.DateOnly, s)
		if err != nil {
			return 0, badTime(field, s)
		}
		return events.At(t), nil
	}
	t, err := events.ParseInstant(field, s)
	if err != nil {
		return 0, badTime(field, s)
	}
	return t, nil
}

func badTime(field, s string) error {
	return events.Invalid(field, s, "must be a time (2026-03-01T09:30:00Z), a date (2026-03-01) or a span back from now (-24h)")
}

// parseRevision reports whether s is a revision, which is all digits.
func parseRevision(s string) (events.Revision, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return events.Revision(n), err == nil
}

// parseTimeOrForever also takes the word that takes an end away.
func parseTimeOrForever(field, s string, now time.Time) (events.Instant, error) {
	if s == events.Forever.String() {
		return events.Forever, nil
	}
	return parseTime(field, s, now)
}
