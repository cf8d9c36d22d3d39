package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/permledger/permledger/events"
)

type thing struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	Tags  []string `json:"tags,omitempty"`
}

func things() answer {
	list := []thing{{"=cmd|' /C calc'!A0", 1, []string{"true", "2026-03-01"}}, {"plain -> text", 2, nil}}
	a := answer{value: map[string]any{"things": list}, header: []string{"name", "count"}}
	for _, t := range list {
		a.rows = append(a.rows, row{t, []string{t.Name, string(rune('0' + t.Count))}})
	}
	return a
}

func TestFormats(t *testing.T) {
	for f, want := range map[format]string{
		formatTable: "NAME                COUNT\n=cmd|' /C calc'!A0  1\nplain -> text       2\n",
		formatCSV:   "name,count\n'=cmd|' /C calc'!A0,1\nplain -> text,2\n",
		formatJSONL: `{"name":"=cmd|' /C calc'!A0","count":1,"tags":["true","2026-03-01"]}` + "\n" + `{"name":"plain -> text","count":2}` + "\n",
		formatYAML:  "things:\n  - name: =cmd|' /C calc'!A0\n    count: 1\n    tags:\n      - \"true\"\n      - \"2026-03-01\"\n  - name: plain -> text\n    count: 2\n",
	} {
		var out bytes.Buffer
		if err := (printer{w: &out, format: f}).print(things()); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", f, out.String(), want)
		}
	}
}

// What is printed as YAML reads back as the same data that is printed as JSON.
func TestYAMLIsTheSameDataAsJSON(t *testing.T) {
	tricky := map[string]any{"a": []string{"", "null", "~", "1e3", "0x10", "yes", "- x", "a: b", "#c", "two\nlines", "\u2028", "<&>", "é", "😀"}, "b": nil, "c": 1.5}
	var asJSON, asYAML bytes.Buffer
	for f, out := range map[format]*bytes.Buffer{formatJSON: &asJSON, formatYAML: &asYAML} {
		if err := (printer{w: out, format: f}).print(answer{value: tricky}); err != nil {
			t.Fatal(err)
		}
	}
	var fromYAML, fromJSON any
	if err := yaml.Unmarshal(asYAML.Bytes(), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(asJSON.Bytes(), &fromJSON); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(fromYAML)
	b, _ := json.Marshal(fromJSON)
	if !bytes.Equal(a, b) {
		t.Errorf("yaml\n%s\nreads as\n%s\nwant\n%s", asYAML.String(), a, b)
	}
}

// A listing streams the same in every format, and an empty one is still a listing.
func TestListings(t *testing.T) {
	for f, want := range map[format][2]string{
		formatTable: {"NAME\n", "NAME\nx\ny\n"},
		formatCSV:   {"name\n", "name\nx\ny\n"},
		formatJSON:  {"[]\n", "[\n{\"id\":\"x\"},\n{\"id\":\"y\"}\n]\n"},
		formatJSONL: {"", "{\"id\":\"x\"}\n{\"id\":\"y\"}\n"},
		formatYAML:  {"[]\n", "- id: x\n- id: \"y\"\n"},
	} {
		for i, names := range [][]string{nil, {"x", "y"}} {
			var out bytes.Buffer
			l := printer{w: &out, format: f}.listing([]string{"name"}, false)
			for _, n := range names {
				if err := l.add(map[string]string{"id": n}, n); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.close(); err != nil {
				t.Fatal(err)
			}
			if out.String() != want[i] {
				t.Errorf("%s of %d: %q, want %q", f, len(names), out.String(), want[i])
			}
		}
	}
}

// A live listing is written row by row.
func TestLiveTable(t *testing.T) {
	var out bytes.Buffer
	l := printer{w: &out, format: formatTable}.listing([]string{"a", "b"}, true)
	for _, want := range []string{"a  b\n1  2\n", "a  b\n1  2\n1  2\n"} {
		if err := l.add(nil, "1", "2"); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	}
}

// What somebody wrote stays on its line and does nothing to the terminal, in a table, in one that is written row by
// row, and in a complaint.
func TestNobodyElseWritesToTheTerminal(t *testing.T) {
	const written = "why\nrecorded\tat\x1b[2J\r\u009b1A\u202e\u2028end"
	const shown = "why recorded at\ufffd[2J\ufffd\ufffd1A\ufffd\ufffdend"
	for _, live := range []bool{false, true} {
		var out bytes.Buffer
		l := printer{w: &out, format: formatTable, noHeaders: true}.listing([]string{"a"}, live)
		if err := errors.Join(l.add(nil, written), l.close()); err != nil {
			t.Fatal(err)
		}
		if out.String() != shown+"\n" {
			t.Errorf("live %t: %q, want %q", live, out.String(), shown)
		}
	}
	var said, text bytes.Buffer
	(&cli{err: &said}).say("no: %v", errors.New(written))
	a := answer{text: func(w io.Writer) { fmt.Fprintf(w, "yes: %s\n", written) }}
	if err := (printer{w: &text, format: formatTable}).print(a); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{said.String(), text.String()} {
		if strings.ContainsAny(out, "\x1b\r\u009b\u202e\u2028") || !strings.HasSuffix(out, "end\n") {
			t.Errorf("said %q", out)
		}
	}
}

func TestNoHeaders(t *testing.T) {
	for _, f := range []format{formatTable, formatCSV} {
		var out bytes.Buffer
		if err := (printer{w: &out, format: f, noHeaders: true}).print(things()); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(out.String()), "count") {
			t.Errorf("%s has a header:\n%s", f, out.String())
		}
	}
}

func TestGuardCell(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "user:alice": "user:alice", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "a=b": "a=b",
	} {
		if got := guardCell(in); got != want {
			t.Errorf("guardCell(%q) = %q, want %q", in, got, want)
		}
	}
}

// One thing is one thing, and none are many.
func TestCounted(t *testing.T) {
	for want, got := range map[string]string{
		"0 events": counted(0, "event"), "1 event": counted(events.Position(1), "event"), "2 events": counted(int64(2), "event"),
		"1 entry": counted(1, "entry"), "0 entries": counted(0, "entry"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	s := importSummary{Operations: 1, Commits: 1, Recorded: 1, Replayed: 1, Defined: 1, RejectedCommits: 1, RejectedLines: 1, RejectsFile: "f"}
	want := "1 operation in 1 source commit: 1 event recorded, 1 commit imported before, 1 definition added; 1 commit with 1 line rejected, see f"
	if s.String() != want {
		t.Errorf("%q, want %q", s, want)
	}
}
