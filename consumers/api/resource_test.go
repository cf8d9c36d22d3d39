package api

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
)

func TestParseResource(t *testing.T) {
	for written, want := range map[string]Resource{
		"api:operate-api": {Audience: "operate-api"},
		"api:urn:x:y":     {Audience: "urn:x:y"},
		"record:42":       {Type: "record", ID: "42"},
		"record:a:b/c":    {Type: "record", ID: "a:b/c"},
		"record/assignee": {Type: "record", Property: "assignee"},
		"record/a:b":      {Type: "record", Property: "a:b"},
		"record":          {Type: "record"},
	} {
		got, err := ParseResource("resource", written)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", written, got, err, want)
		}
		if got.String() != written {
			t.Errorf("%q is written %q", written, got)
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back Resource
		if err := json.Unmarshal(b, &back); err != nil || back != want {
			t.Errorf("%q as %s reads back %+v, %v", written, b, back, err)
		}
	}
	for _, written := range []string{"", "api", "api:", ":", "record:", "record/", "record:*", ":42", "/a", "a\x00b", "record:" + strings.Repeat("x", 257)} {
		_, err := ParseResource("resource", written)
		var invalid *events.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != "resource" {
			t.Errorf("%q: %v, want an invalid resource", written, err)
		}
	}
}

func TestStarIsNoPattern(t *testing.T) {
	_, err := ParseResource("resource", "record:*")
	if err == nil || !strings.Contains(err.Error(), `{"type":"record","any":true}`) {
		t.Errorf("%v does not say how to say any", err)
	}
}

func TestScopeOfAResource(t *testing.T) {
	for written, want := range map[string]events.Scope{
		`"api:a"`:                         {},
		`{"audience":"a"}`:                {},
		`"record:42"`:                     events.Exactly("record", "42"),
		`{"type":"record","id":"42"}`:     events.Exactly("record", "42"),
		`{"type":"record","any":true}`:    events.AnyOf("record"),
		`{"type":"t","property":"owner"}`: events.WithProperty("t", "owner"),
	} {
		var r Resource
		if err := json.Unmarshal([]byte(written), &r); err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		got, err := r.Scope("resource")
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", written, got, err, want)
		}
	}
	if _, err := (Resource{Type: "record"}).Scope("resource"); err == nil {
		t.Error("a type alone is the scope of a grant")
	}
}
