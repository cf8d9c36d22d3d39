package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// goldenEvents are the stored events that package events keeps one of for every name and version, at places of a
// ledger.
func goldenEvents(t *testing.T) (list []events.Recorded) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "events/testdata/golden/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	missing := events.Names()
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "commit.") {
			continue
		}
		r, err := events.UnmarshalEvent(bytes.TrimSpace([]byte(readFile(t, file))))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		r.Revision, r.Position = 7, events.Position(len(list)+1)
		list = append(list, r)
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == events.Name(r.Event) })
	}
	if len(missing) > 0 {
		t.Fatalf("no golden event of %v", missing)
	}
	return list
}

// hostileTexts are reasons that some format or reader takes for something else. The ledger refuses a few of them
// today; what reads a log must not depend on it.
var hostileTexts = []string{
	"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "\r=1", "＝1+1", "'=1", "''-1", "'", "'quoted'",
	`she said "yes, no"`, `"`, `""`, ",", "a,b", ";", "a\nb", "a\r\nb", "a\rb", "ends\n", "tab\there", " leading", "trailing ",
	"bidi \u202e evil", "line\u2028separator", "paragraph\u2029separator", "\ufeffmark", "null", "\\", `\n`, "<script>&", "\x00", "é 😀", "{}", "[",
}

// replayCommits is a ledger with every golden event and every hostile text in it, always the same one. Commits hold
// one to four events.
func replayCommits(t *testing.T) []events.Commit {
	t.Helper()
	ledger := exampleID(0)
	golden := goldenEvents(t)
	var head events.Head
	var commits []events.Commit
	n := 0
	seal := func(list []events.Event) {
		at, err := events.ParseInstant("at", "2026-03-01T09:00:00.5Z")
		if err != nil {
			t.Fatal(err)
		}
		var recorded []events.Recorded
		for _, e := range list {
			n++
			r := golden[n%len(golden)]
			r.ID[15], r.ID[14] = byte(n), byte(n>>8)
			r.Tenant = []events.Tenant{events.DefaultTenant, "acme"}[n%2]
			r.Actor = []events.Principal{events.User("root"), events.Client("ci"), events.User("boss")}[n%3]
			r.Reason, r.Sealed, r.Event = hostileTexts[n%len(hostileTexts)], nil, e // a sealed reason would stand for it
			recorded = append(recorded, r)
		}
		h := events.Header{Ledger: ledger, RecordedAt: at + events.Instant(len(commits))*3_600_000_000, Writer: "ledger-1"}
		c, err := events.Seal(head, h, recorded, goldenKey)
		if err != nil {
			t.Fatal(err)
		}
		commits, head = append(commits, c), c.Head()
	}
	seal([]events.Event{events.LedgerCreated{Ledger: ledger}, events.TenantCreated{}, events.KeyAnnounced{Key: goldenKey.Public()}})
	for i := 0; n < 2*max(len(golden), len(hostileTexts)); i++ {
		var list []events.Event
		for j := range 1 + i%4 {
			list = append(list, golden[(n+j)%len(golden)].Event)
		}
		seal(list)
	}
	return commits
}

func everyRecorded(commits []events.Commit) (list []events.Recorded) {
	for _, c := range commits {
		list = append(list, c.Events...)
	}
	return list
}

// printed is a list of events in a format, as replay prints it.
func printed(t *testing.T, f format, list []events.Recorded) string {
	t.Helper()
	var out bytes.Buffer
	l := printer{w: &out, format: f}.records(exampleID(0))
	for _, r := range list {
		if err := l.add(api.Event{Recorded: r}); err != nil {
			t.Fatalf("%s of %s: %v", f, events.Name(r.Event), err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Where a format has a line for each event, every event is one line, whatever somebody wrote into it, and no
// reader finds another end of line in it.
func TestEveryEventIsOneLine(t *testing.T) {
	list := append(goldenEvents(t), everyRecorded(replayCommits(t))...)
	for _, f := range []format{formatJSONL, formatCloudEvents, formatOCSF} {
		lines := strings.SplitAfter(printed(t, f, list), "\n")
		if lines = lines[:len(lines)-1]; len(lines) != len(list) {
			t.Errorf("%s: %d lines for %d events", f, len(lines), len(list))
		}
		for _, line := range lines {
			if err := oneObject(line); err != nil {
				t.Errorf("%s: %v: %s", f, err, line)
			}
		}
	}
	for _, bad := range []string{"{}", "{}{}\n", "{\"a\":\"\u2028\"}\n", "{\r}\n", "{\n", "[]\n", "{\"a\":1,\"a\":2}\n"} {
		if oneObject(bad) == nil {
			t.Errorf("control: %q passes for one line", bad)
		}
	}
}

// oneObject reports whether a line is one JSON object that says each thing once.
func oneObject(line string) error {
	body, ended := strings.CutSuffix(line, "\n")
	if !ended || strings.ContainsAny(body, "\r\n\u2028\u2029\u0085") {
		return errors.New("not one line")
	}
	if !json.Valid([]byte(body)) || body[0] != '{' {
		return errors.New("not one JSON object")
	}
	return membersOnce(json.NewDecoder(strings.NewReader(body)))
}

// membersOnce reads one value and refuses an object with the same member twice, which encoding/json takes.
func membersOnce(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	opened, isDelim := token.(json.Delim)
	if !isDelim {
		return nil
	}
	seen := map[any]bool{}
	for d.More() {
		if opened == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("%v is there twice", name)
			}
			seen[name] = true
		}
		if err := membersOnce(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// The verbs that print events take the formats for events, and the others do not.
func TestFormatsOfEvents(t *testing.T) {
	for _, verb := range []string{"replay", "history", "watch"} {
		cmd, _, err := (&cli{getenv: os.Getenv}).root().Find([]string{verb})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(formatsOf(cmd)); got != "[table json jsonl csv yaml cloudevents ocsf]" {
			t.Errorf("%s takes %s", verb, got)
		}
	}
	cmd, _, err := (&cli{getenv: os.Getenv}).root().Find([]string{"check"})
	if err != nil || len(formatsOf(cmd)) != len(formats) {
		t.Errorf("check takes %v (%v)", formatsOf(cmd), err)
	}
}

// goldenKey is the key that the golden key.announced announces: from seed 7, as in the tests of events.
var goldenKey = events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
