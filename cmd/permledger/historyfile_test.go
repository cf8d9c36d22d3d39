package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// line builds an operation of a commit; n does not matter to the reader.
func opLine(n, commit string) string {
	return `{"n":` + n + `,"time":"2020-01-01T00:00:00Z","commit":"` + commit + `","actor":"ann","op":"group.create","group":"g` + n + `","reason":"r"}`
}

func readAll(t *testing.T, file string) []*historyCommit {
	t.Helper()
	r := newHistoryReader(strings.NewReader(file))
	var all []*historyCommit
	for {
		c, err := r.read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
}

func TestHistoryIsGroupedBySourceCommit(t *testing.T) {
	got := readAll(t, opLine("1", "a")+"\n"+opLine("2", "a")+"\n\n"+opLine("3", "b")+"\n"+opLine("4", "a"))
	if len(got) != 3 || got[0].id != "a" || len(got[0].ops) != 2 || got[1].id != "b" || got[2].id != "a" || got[2].lines[0].number != 5 {
		t.Fatalf("%+v", got)
	}
	for _, c := range got {
		if c.bad != nil || c.attempt != 1 {
			t.Errorf("commit %s: %v", c.id, c.bad)
		}
	}
}

// A bad line makes its source commit bad, all of it, and no other. A line too broken to tell which it
// belongs to makes both neighbours bad.
func TestBadLines(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		bad  string // ids of the bad commits
		why  string
	}{
		"half":              {opLine("3", "b")[:90], "b", "not an operation"},
		"half, no commit":   {`{"n":3,"time":"2020`, "a,b", "line 3: not an operation"},
		"unknown operation": {strings.Replace(opLine("3", "b"), "group.create", "group.rename", 1), "b", `unknown operation "group.rename"`},
		"unknown member":    {strings.Replace(opLine("3", "b"), `"actor"`, `"x":1,"actor"`, 1), "b", `unknown field "x"`},
		"missing argument":  {strings.Replace(opLine("3", "b"), `"group":"g3",`, ``, 1), "b", `"group" is missing`},
		"needless argument": {strings.Replace(opLine("3", "b"), `"group":"g3"`, `"group":"g3","role":"r"`, 1), "b", `takes no "role"`},
		"other time":        {strings.Replace(opLine("3", "b"), "2020", "2021", 1), "b", "another time or actor"},
		"bad time":          {strings.Replace(opLine("3", "b"), "2020-01-01T00:00:00Z", "1 March", 1), "b", "RFC 3339"},
		"not UTF-8":         {strings.Replace(opLine("3", "b"), "g3", "g\xff", 1), "b", "not valid UTF-8"},
		"too long":          {strings.Replace(opLine("3", "b"), `"reason":"r"`, `"reason":"`+strings.Repeat("x", maxHistoryLine)+`"`, 1), "b", "not an operation"},
		"two operations":    {opLine("3", "b") + opLine("3", "b"), "b", "more than one operation"},
		"no operation":      {`null`, "a,b", `"n" is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			got := readAll(t, opLine("1", "a")+"\n"+opLine("2", "a")+"\n"+c.line+"\n"+opLine("4", "b")+"\n"+opLine("5", "c")+"\n")
			var bad []string
			lines := 0
			for _, commit := range got {
				lines += len(commit.lines)
				if commit.bad != nil {
					bad = append(bad, commit.id)
					if !strings.Contains(commit.bad.Error(), c.why) {
						t.Errorf("commit %s: %v, want %q", commit.id, commit.bad, c.why)
					}
				}
			}
			if strings.Join(bad, ",") != c.bad {
				t.Errorf("bad: %v, want %s", bad, c.bad)
			}
			if lines != 5 {
				t.Errorf("%d lines came back, want 5", lines)
			}
		})
	}
}

func TestGrantsAndTheirResources(t *testing.T) {
	head := `{"n":1,"time":"2020-01-01T00:00:00Z","commit":"a","actor":"ann","op":"grant","reason":"",`
	for rest, want := range map[string]string{
		`"principal":{"type":"user","id":"u"},"role":"r","resource":null}`:                              `{"do":"assign","principal":"user:u","role":"r"}`,
		`"principal":{"type":"user","id":"u"},"role":"r","resource":{"type":"org","id":"o"}}`:           `{"do":"assign","principal":"user:u","resource":"org:o","role":"r"}`,
		`"principal":{"type":"group","id":"g"},"permission":"p","resource":null}`:                       `{"do":"grant","permission":"p","principal":"group:g","resource":"api:hub"}`,
		`"principal":{"type":"client","id":"c"},"permission":"p","resource":{"type":"org","any":true}}`: `{"do":"grant","permission":"p","principal":"client:c","resource":{"any":true,"type":"org"}}`,
		`"principal":{"type":"user","id":"u"},"role":"r"}`:                                              `"resource" is missing`,
		`"principal":{"type":"user","id":"u"},"resource":null}`:                                         `exactly one of "role" and "permission"`,
		`"principal":{"type":"user","id":"u"},"role":"r","permission":"p","resource":null}`:             `exactly one of "role" and "permission"`,
		`"principal":{"type":"robot","id":"u"},"role":"r","resource":null}`:                             `kind must be user`,
		`"principal":{"type":"user","id":"u"},"role":"r","resource":{"type":"org"}}`:                    `exactly one of "id"`,
		`"principal":{"type":"user","id":"u"},"role":"r","resource":{"type":"org","id":"*"}}`:           `is not a pattern`,
	} {
		op, _, err := readOp([]byte(head + rest))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			command, err := op.command("hub")
			if err != nil {
				t.Fatal(err)
			}
			b, err := encodeJSON(command, "")
			if err != nil {
				t.Fatal(err)
			}
			got = canonical(t, b)
		}
		if err == nil && got != want || err != nil && !strings.Contains(got, want) {
			t.Errorf("%s\n got %s\nwant %s", rest, got, want)
		}
	}
}

// A rejects file is a history file again: its marks are no operations, and count the attempts.
func TestRejectsFileReadsBack(t *testing.T) {
	path := t.TempDir() + "/rejects"
	r := &rejectsFile{path: path}
	broken := readAll(t, opLine("1", "a")+"\n"+opLine("2", "a")[:90]+"\n")[0]
	if err := r.add(broken, broken.bad); err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	again := readAll(t, readFile(t, path))
	if len(again) != 1 || again[0].attempt != 2 || len(again[0].lines) != 2 {
		t.Fatalf("%+v", again)
	}
	for i, l := range again[0].lines {
		if !bytes.Equal(l.raw, broken.lines[i].raw) {
			t.Errorf("line %d came back as %s", i, l.raw)
		}
	}
}

func FuzzHistoryReader(f *testing.F) {
	f.Add([]byte(opLine("1", "a") + "\n" + opLine("2", "b")[:50] + "\n"))
	f.Add([]byte(`{"rejected":{"attempt":3}}` + "\n" + opLine("1", "a")))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := newHistoryReader(bytes.NewReader(file))
		lines := 0
		for {
			c, err := r.read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(c.lines) == 0 || c.bad == nil && len(c.ops) != len(c.lines) {
				t.Fatalf("a commit of %d lines and %d operations: %v", len(c.lines), len(c.ops), c.bad)
			}
			lines += len(c.lines)
		}
		if most := bytes.Count(file, []byte("\n")) + 1; lines > most {
			t.Fatalf("%d lines out of %d", lines, most)
		}
	})
}
