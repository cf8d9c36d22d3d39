package main

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"":                          "",
		"2026-03-01":                "2026-03-01T00:00:00Z",
		"2026-03-01T09:30:00Z":      "2026-03-01T09:30:00Z",
		"2026-03-01T09:30:00+02:00": "2026-03-01T07:30:00Z",
		"-24h":                      "2026-05-01T12:00:00Z",
		"-90m":                      "2026-05-02T10:30:00Z",
	} {
		got, err := parseTime("--valid-at", in, now)
		if err != nil || got.String() != want {
			t.Errorf("parseTime(%q) = %s, %v, want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"yesterday", "24h", "+24h", "-", "-24", "2026-13-01", "2026-02-30", "2026-3-1", "12:00", "2026-03-01 09:30", "1234567890"} {
		if got, err := parseTime("--valid-at", bad, now); exitOf(err) != exitUsage {
			t.Errorf("parseTime(%q) = %s, %v, want a usage error", bad, got, err)
		}
	}
	if got, err := parseTimeOrForever("--valid-until", "forever", now); err != nil || got.String() != "forever" {
		t.Errorf("forever = %s, %v", got, err)
	}
}
