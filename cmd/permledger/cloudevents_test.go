package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
)

// checkCloudEvent holds a line against CloudEvents 1.0.2: spec.md, "Context Attributes" and "Type System", and
// json-format.md, "Envelope".
func checkCloudEvent(line []byte) error {
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(line, &attributes); err != nil {
		return err
	}
	if data := attributes["data"]; len(data) == 0 || data[0] != '{' {
		return fmt.Errorf("data is %s", data)
	}
	delete(attributes, "data")
	value := map[string]string{}
	for name, raw := range attributes {
		var s string
		if !regexp.MustCompile(`^[a-z0-9]{1,20}$`).MatchString(name) {
			return fmt.Errorf("%q is no name of an attribute", name)
		}
		if err := json.Unmarshal(raw, &s); err != nil || s == "" {
			return fmt.Errorf("%s is %s, not a text with something in it", name, raw)
		}
		for _, c := range s {
			if c < ' ' || c >= 0x7F && c <= 0x9F || c >= 0xFDD0 && c <= 0xFDEF || c&0xFFFE == 0xFFFE {
				return fmt.Errorf("%s is %q, which no String may be", name, s)
			}
		}
		value[name] = s
	}
	for _, name := range []string{"specversion", "id", "source", "type", "time", "datacontenttype", "revision", "position"} {
		if value[name] == "" {
			return fmt.Errorf("%s is missing", name)
		}
	}
	if _, err := url.Parse(value["source"]); err != nil {
		return err
	}
	if _, err := time.Parse(time.RFC3339, value["time"]); err != nil {
		return err
	}
	if value["specversion"] != "1.0" || value["datacontenttype"] != "application/json" {
		return fmt.Errorf("specversion %s, datacontenttype %s", value["specversion"], value["datacontenttype"])
	}
	if !regexp.MustCompile(`^dev\.permledger\.[a-z-]+\.[a-z-]+\.v[1-9]$`).MatchString(value["type"]) {
		return fmt.Errorf("type %s", value["type"])
	}
	return nil
}

func TestCloudEvents(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range append(goldenEvents(t), everyRecorded(replayCommits(t))...) {
		line, err := cloudEventLine(exampleID(0), r)
		if err == nil {
			err = checkCloudEvent(line)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", events.Name(r.Event), err, line)
			continue
		}
		if !strings.HasSuffix(string(line), `,"data":`+string(r.Raw)+"}\n") {
			t.Errorf("%s: data is not the event as stored:\n%s", events.Name(r.Event), line)
		}
		if id := fmt.Sprintf(`"id":"%s","source":"/ledgers/%s"`, r.ID, exampleID(0)); !strings.Contains(string(line), id) {
			t.Errorf("%s is not named by its id and its ledger:\n%s", events.Name(r.Event), line)
		}
		seen[events.Name(r.Event)] = true
	}
	if len(seen) != len(events.Names()) {
		t.Errorf("%d kinds of events, want %d", len(seen), len(events.Names()))
	}
}

// One of them in full, to be read.
func TestCloudEventInFull(t *testing.T) {
	for _, r := range goldenEvents(t) {
		if events.Name(r.Event) != "permission.defined" && events.Name(r.Event) != "role.assigned" {
			continue
		}
		line, err := cloudEventLine(exampleID(0), r)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(line), `,"data":`)
		want := map[string]string{
			"permission.defined.v1": `{"specversion":"1.0","id":"019a0000-0000-7000-8000-000000000001","source":"/ledgers/019ca86d-4a00-7000-8000-000000000000","type":"dev.permledger.permission.defined.v1","time":"2026-03-01T09:30:00.000001Z","datacontenttype":"application/json","tenant":"default","revision":"7","position":"%d"`,
			"permission.defined.v2": `{"specversion":"1.0","id":"019a0000-0000-7000-8000-000000000001","source":"/ledgers/019ca86d-4a00-7000-8000-000000000000","type":"dev.permledger.permission.defined.v2","time":"2026-03-01T09:30:00.000001Z","datacontenttype":"application/json","tenant":"default","revision":"7","position":"%d"`,
			"role.assigned.v1":      `{"specversion":"1.0","id":"019a0000-0000-7000-8000-000000000001","source":"/ledgers/019ca86d-4a00-7000-8000-000000000000","type":"dev.permledger.role.assigned.v1","subject":"group:ops","time":"2026-03-01T09:30:00.000001Z","datacontenttype":"application/json","tenant":"default","revision":"7","position":"%d"`,
		}
		stored, err := storedEvent(r)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(want[fmt.Sprintf("%s.v%d", stored.Type, stored.Version)], r.Position); head != want {
			t.Errorf("%s\nwant\n%s", head, want)
		}
	}
}

// What an id may be and an attribute may not is left out; a stored event in a form that breaks lines loses the
// breaks and nothing else.
func TestCloudEventsOfOddEvents(t *testing.T) {
	r := goldenEvents(t)[0]
	r.Event, r.Tenant = events.GroupCreated{Group: "ops\ufffe"}, "a\U0001ffffb"
	spaced := strings.Replace(string(r.Raw), `,"version"`, ",\n \"version\"", 1)
	if spaced == string(r.Raw) {
		t.Fatal("no line break was put in")
	}
	compact := string(r.Raw)
	r.Raw = []byte(spaced)
	line, err := cloudEventLine(exampleID(0), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkCloudEvent(line); err != nil {
		t.Error(err)
	}
	if strings.Contains(string(line), `"subject"`) || strings.Contains(string(line), `"source":"/ledgers/`+exampleID(0).String()+`","tenant"`) {
		t.Errorf("an attribute that is no String: %s", line)
	}
	if !strings.HasSuffix(string(line), `,"data":`+compact+"}\n") || oneObject(string(line)) != nil {
		t.Errorf("not on one line: %s", line)
	}
}

// TestCheckCloudEvent is the control of the check.
func TestCheckCloudEvent(t *testing.T) {
	good := `{"specversion":"1.0","id":"1","source":"/ledgers/x","type":"dev.permledger.role.assigned.v1","time":"2026-03-01T09:30:00Z","datacontenttype":"application/json","revision":"7","position":"1","data":{}}`
	if err := checkCloudEvent([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"1.0"`, `"1.1"`}, {`"id":"1",`, ``}, {`"id":"1"`, `"id":""`}, {`"revision":"7"`, `"revision":7`}, {`"revision"`, `"log_revision"`},
		{`/ledgers/x`, `:`}, {`09:30:00Z`, `09:30`}, {`"data":{}`, `"data":"{}"`}, {`assigned.v1`, `assigned`}, {`"7"`, `"\u0007"`}, {`"7"`, `"\ufffe"`},
	} {
		if bad := strings.Replace(good, change[0], change[1], 1); checkCloudEvent([]byte(bad)) == nil {
			t.Errorf("passes: %s", bad)
		}
	}
}
