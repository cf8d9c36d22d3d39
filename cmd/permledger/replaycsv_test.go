package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/consumers/api"
)

// parseCSV reads RFC 4180, section 2. encoding/csv does not give a CR before a LF in a cell back.
func parseCSV(s string) (records [][]string, _ error) {
	var record []string
	for s != "" {
		var cell string
		if rest, quoted := strings.CutPrefix(s, `"`); quoted {
			var b strings.Builder
			for {
				before, after, found := strings.Cut(rest, `"`)
				if !found {
					return nil, errors.New("a quote is not closed")
				}
				b.WriteString(before)
				if rest, quoted = strings.CutPrefix(after, `"`); !quoted {
					s = after
					break
				}
				b.WriteByte('"')
			}
			cell = b.String()
		} else {
			end := strings.IndexAny(s, ",\r\n\"")
			if end < 0 {
				return nil, errors.New("a record is not ended")
			}
			cell, s = s[:end], s[end:]
		}
		record = append(record, cell)
		switch {
		case strings.HasPrefix(s, ","):
			s = s[1:]
		case strings.HasPrefix(s, "\n"):
			s, records, record = s[1:], append(records, record), nil
		default:
			return nil, errors.New("neither a comma nor an end of line behind a cell")
		}
	}
	if record != nil {
		return nil, errors.New("the last record is not ended")
	}
	return records, nil
}

// A CSV file gives back what was written, whatever it was, and nothing in it is a formula.
func TestCSVRoundTrip(t *testing.T) {
	list := append(goldenEvents(t), everyRecorded(replayCommits(t))...)
	records, err := parseCSV(printed(t, formatCSV, list))
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != len(list)+1 || !slices.Equal(records[0], recordHeader) {
		t.Fatalf("%d records, want %d behind the header %q", len(records), len(list), records[0])
	}
	reasons := map[string]bool{}
	for i, r := range list {
		got := records[i+1]
		for j, cell := range got {
			if strings.HasPrefix(cell, "'") && guardCell(cell[1:]) == cell {
				got[j] = cell[1:]
			} else if guardCell(cell) != cell {
				t.Errorf("a formula in a cell: %q", cell)
			}
		}
		if diff := cmp.Diff(recordCells(api.Event{Recorded: r}), got); diff != "" {
			t.Errorf("position %d (-written +read):\n%s", r.Position, diff)
		}
		reasons[got[slices.Index(recordHeader, "reason")]] = true
	}
	for _, text := range hostileTexts {
		if !reasons[text] {
			t.Errorf("%q was never a reason", text)
		}
	}
}

// TestParseCSV is the control of the reader.
func TestParseCSV(t *testing.T) {
	got, err := parseCSV("a,\"b\r\n\"\"c\"\"\",\n,,d\n")
	if diff := cmp.Diff([][]string{{"a", "b\r\n\"c\"", ""}, {"", "", "d"}}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, torn := range []string{"a,b", "a,\"b\n", "a\"b\n", "\"a\"b\n", "a\rb\n", "a,"} {
		if got, err := parseCSV(torn); err == nil {
			t.Errorf("%q is read as %q", torn, got)
		}
	}
}

// A guard is taken away without knowing what was written: no two cells are guarded to the same.
func TestGuardsAreUndone(t *testing.T) {
	seen := map[string]string{}
	for _, text := range append(hostileTexts, "", "=", "'=", "''=", "'+", "a", "'a") {
		guarded := guardCell(text)
		if other, twice := seen[guarded]; twice && other != text {
			t.Errorf("%q and %q are both written as %q", text, other, guarded)
		}
		seen[guarded] = text
	}
}

func TestApprovalsText(t *testing.T) {
	list := goldenEvents(t)
	cells := recordCells(api.Event{Recorded: list[0]})
	if got := cells[slices.Index(recordHeader, "approvals")]; got != "user:bob 2026-02-28T12:00:00Z OPS-1#2" {
		t.Errorf("approvals: %q", got)
	}
	if len(cells) != len(recordHeader) {
		t.Errorf("%d cells under %d columns", len(cells), len(recordHeader))
	}
}
