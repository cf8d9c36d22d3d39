package api

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// Each verb in its full form, read and written again.
func TestCommands(t *testing.T) {
	const fact = "0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c"
	april := events.At(instant(t, "2026-04-01T00:00:00Z").Time())
	for wire, want := range map[string]Command{
		`{"do":"grant","principal":"user:alice","permission":"read:*","resource":"api:operate-api"}`:                         {Do: "grant", Principal: events.User("alice"), Permission: "read:*", Resource: Resource{Audience: "operate-api"}},
		`{"do":"revoke","principal":"group:ops","permission":"read","resource":"record:a:b"}`:                                {Do: "revoke", Principal: events.Principal{Kind: events.KindGroup, ID: "ops"}, Permission: "read", Resource: Resource{Type: "record", ID: "a:b"}},
		`{"do":"assign","principal":"user:alice","resource":{"type":"record","any":true},"role":"operate"}`:                  {Do: "assign", Principal: events.User("alice"), Role: "operate", Resource: Resource{Type: "record", Any: true}},
		`{"do":"unassign","principal":"user:alice","role":"operate"}`:                                                        {Do: "unassign", Principal: events.User("alice"), Role: "operate"},
		`{"do":"role.create","role":"operate","name":"Operate","description":"Runs it"}`:                                     {Do: "role.create", Role: "operate", Name: "Operate", Description: "Runs it"},
		`{"do":"role.change","role":"operate","name":"Operator"}`:                                                            {Do: "role.change", Role: "operate", Name: "Operator"},
		`{"do":"role.delete","role":"operate"}`:                                                                              {Do: "role.delete", Role: "operate"},
		`{"do":"role.add-permission","permission":"read","resource":{"type":"task","property":"assignee"},"role":"operate"}`: {Do: "role.add-permission", Role: "operate", Permission: "read", Resource: Resource{Type: "task", Property: "assignee"}},
		`{"do":"role.remove-permission","permission":"read","resource":"record:1","role":"operate"}`:                         {Do: "role.remove-permission", Role: "operate", Permission: "read", Resource: Resource{Type: "record", ID: "1"}},
		`{"do":"role.include","role":"a","included":"b"}`:                                                                    {Do: "role.include", Role: "a", Included: "b"},
		`{"do":"role.exclude","role":"a","included":"b"}`:                                                                    {Do: "role.exclude", Role: "a", Included: "b"},
		`{"do":"group.create","group":"g"}`:                                                                                  {Do: "group.create", Group: "g"},
		`{"do":"group.delete","group":"g"}`:                                                                                  {Do: "group.delete", Group: "g"},
		`{"do":"group.add-member","group":"g","member":"client:c"}`:                                                          {Do: "group.add-member", Group: "g", Member: events.Client("c")},
		`{"do":"group.remove-member","group":"g","member":"client:c"}`:                                                       {Do: "group.remove-member", Group: "g", Member: events.Client("c")},
		`{"do":"group.set-parent","group":"g","parent":"h"}`:                                                                 {Do: "group.set-parent", Group: "g", Parent: "h"},
		`{"do":"group.unset-parent","group":"g","parent":"h"}`:                                                               {Do: "group.unset-parent", Group: "g", Parent: "h"},
		`{"do":"principal.delete","principal":"user:alice"}`:                                                                 {Do: "principal.delete", Principal: events.User("alice")},
		`{"do":"correct","fact":"` + fact + `","valid_from":"2026-04-01T00:00:00Z","valid_until":"forever"}`:                 {Do: "correct", Fact: uuid.MustParse(fact), ValidFrom: Time(april), ValidUntil: Time(events.Forever)},
		`{"do":"tenant.create","name":"Acme"}`:                                                                               {Do: "tenant.create", Name: "Acme"},
		`{"do":"tenant.delete"}`:                                                                                             {Do: "tenant.delete"},
		`{"do":"administrator.add","principal":"user:alice"}`:                                                                {Do: "administrator.add", Principal: events.User("alice")},
		`{"do":"administrator.remove","principal":"user:alice"}`:                                                             {Do: "administrator.remove", Principal: events.User("alice")},
		`{"do":"api.define","api":"k8s","definition":{"name":"Kubernetes","audience":"k8s"}}`:                                DefineAPI("k8s", events.APIDefinition{Name: "Kubernetes", Audience: "k8s"}),
		`{"do":"permission.define","permission":"read","api":"k8s","definition":{"id":"r"}}`:                                 DefinePermission(events.Permission{API: "k8s", Name: "read"}, events.PermissionDefinition{ID: "r"}),
		`{"do":"type.define","type":"repo","definition":{"api":"k8s"}}`:                                                      DefineType("repo", events.ResourceTypeDefinition{API: "k8s"}),
		`{"do":"catalog.load","catalog":"camunda-8"}`:                                                                        {Do: "catalog.load", Catalog: "camunda-8"},
		`{"do":"catalog.load","file":"{ \"catalog_format\": 1 }"}`:                                                           LoadFile([]byte(`{ "catalog_format": 1 }`)),
	} {
		r, err := DecodeRequest([]byte(`{"commands":[` + wire + `]}`))
		if err != nil {
			t.Errorf("%s: %v", wire, err)
			continue
		}
		if diff := cmp.Diff(want, r.Commands[0]); diff != "" {
			t.Errorf("%s: %s", wire, diff)
		}
		again, err := json.Marshal(r.Commands[0])
		if err != nil {
			t.Errorf("%s: %v", wire, err)
		}
		if diff := cmp.Diff(members(t, wire), members(t, string(again))); diff != "" {
			t.Errorf("%s written again: %s", wire, diff)
		}
	}
}

func members(t *testing.T, wire string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(wire), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func instant(t *testing.T, s string) events.Instant {
	t.Helper()
	i, err := events.ParseInstant("time", s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// What a request must not be, and the field that is told.
func TestRefusedRequests(t *testing.T) {
	const grant = `{"do":"grant","principal":"user:a","permission":"p","resource":"api:x"}`
	one := func(command string) string { return `{"commands":[` + command + `]}` }
	for wire, field := range map[string]string{
		`{}`:                                    "commands",
		`{"commands":[]}`:                       "commands",
		`{"commands":{}}`:                       "commands",
		`[]`:                                    "body",
		`null`:                                  "body",
		one(`7`):                                "commands[0]",
		one(`{}`):                               "commands[0].do",
		one(`{"do":"fly"}`):                     "commands[0].do",
		one(`{"do":7}`):                         "commands[0].do",
		one(`{"Do":"tenant.delete"}`):           "commands[0].do",
		one(`{"do":"role.create"}`):             "commands[0].role",
		one(`{"do":"role.create","role":null}`): "commands[0].role",
		one(`{"do":"role.create","role":"r","group":"g"}`):                                                         "commands[0].group",
		one(`{"do":"role.create","role":"r","Name":"R"}`):                                                          "commands[0].Name",
		one(`{"do":"role.create","role":"r","extra":1}`):                                                           "commands[0].extra",
		one(`{"do":"role.create","role":["r"]}`):                                                                   "commands[0].role",
		one(`{"do":"administrator.add","principal":"alice"}`):                                                      "commands[0].principal",
		one(`{"do":"administrator.add","principal":"robot:r2"}`):                                                   "commands[0].principal",
		one(grant + `,{"do":"grant","principal":"user:a","permission":"p","resource":"record:*"}`):                 "commands[1].resource",
		one(grant + `,{"do":"grant","principal":"user:a","permission":"p","resource":{"type":"record","id":"*"}}`): "commands[1].resource",
		one(`{"do":"grant","principal":"user:a","permission":"p","resource":{"type":"t","any":true,"id":"1"}}`):    "commands[0].resource",
		one(`{"do":"grant","principal":"user:a","permission":"p","resource":{"audience":"a","type":"t"}}`):         "commands[0].resource",
		one(`{"do":"grant","principal":"user:a","permission":"p","resource":{"type":"t","id":""}}`):                "commands[0].resource.id",
		one(`{"do":"grant","principal":"user:a","permission":"p","resource":{"type":"t","ID":"1"}}`):               "commands[0].resource.ID",
		one(`{"do":"grant","principal":"user:a","permission":"p","resource":7}`):                                   "commands[0].resource",
		one(`{"do":"correct","fact":"0190f3c2"}`):                                                                  "commands[0].fact",
		one(`{"do":"correct","fact":"0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c"}`):                                      "commands[0].valid_until",
		one(`{"do":"correct","fact":"0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c","valid_from":"forever"}`):               "commands[0].valid_from",
		one(`{"do":"correct","fact":"0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c","valid_until":"tomorrow"}`):             "commands[0].valid_until",
		one(`{"do":"catalog.load"}`):                                                                               "commands[0].catalog",
		one(`{"do":"catalog.load","catalog":"a","file":{}}`):                                                       "commands[0].catalog",
		`{"commands":[` + grant + `],"actor":"user:root"}`:                                                         "actor",
		`{"commands":[` + grant + `],"origin":"ledger"}`:                                                           "origin",
		`{"commands":[` + grant + `],"valid_from":"yesterday"}`:                                                    "valid_from",
		`{"commands":[` + grant + `],"valid_until":7}`:                                                             "valid_until",
		`{"commands":[` + grant + `],"strict":"yes"}`:                                                              "strict",
		`{"commands":[` + grant + `],"on_behalf_of":"x"}`:                                                          "on_behalf_of",
		`{"commands":[` + grant + `],"expect":[{"principal":"role:r","v":1}]}`:                                     "expect",
		`{"commands":[` + grant + `],"expect":[{"principal":"role:r","version":-1}]}`:                              "expect.version",
	} {
		_, err := DecodeRequest([]byte(wire))
		var invalid *events.InvalidError
		if !errors.As(err, &invalid) {
			t.Errorf("%s: %v, want an invalid field", wire, err)
			continue
		}
		if invalid.Field != field {
			t.Errorf("%s: field %q, want %q (%v)", wire, invalid.Field, field, err)
		}
	}
}

func TestBadJSON(t *testing.T) {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for _, wire := range []string{
		``, `{`, `{"commands":[`, `{"commands":[]}{}`, `{"commands":[]} x`, "{\"reason\":\"\xff\"}",
		`{"reason":"a","reason":"b"}`, `{"commands":[{"do":"grant","do":"revoke"}]}`, deep,
	} {
		if _, err := DecodeRequest([]byte(wire)); !errors.Is(err, ErrJSON) {
			t.Errorf("%q: %v, want ErrJSON", wire, err)
		}
	}
}

func TestRequestSurvivesTheWire(t *testing.T) {
	want := Request{
		Tenant:    "acme",
		Commands:  []Command{{Do: "assign", Principal: events.User("alice"), Role: "operate"}},
		ValidFrom: instant(t, "2026-03-01T00:00:00Z"), ValidUntil: instant(t, "2026-04-01T00:00:00.5Z"),
		Reason: "peak season", Ticket: "CHG-1", OnBehalfOf: events.User("bob"),
		Approvals: []events.Approval{{By: events.User("carol"), At: instant(t, "2026-02-28T00:00:00Z"), Ref: "mail"}},
		Origin:    "import", Strict: true, DryRun: true, RequestID: "r-1",
		Expect: []Expectation{{Principal: events.Role("operate").Principal(), Version: 7}},
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCatalogLoad(t *testing.T) {
	r, err := DecodeCatalogLoad([]byte(`{"tenant":"acme","catalog":"camunda-8","reason":"first","dry_run":true}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Request{Tenant: "acme", Reason: "first", DryRun: true, Commands: []Command{{Do: "catalog.load", Catalog: "camunda-8"}}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	for wire, field := range map[string]string{`{}`: "catalog", `{"catalog":"a","file":{}}`: "catalog", `[]`: ""} {
		_, err := DecodeCatalogLoad([]byte(wire))
		var invalid *events.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%s: %v, want invalid %q", wire, err, field)
		}
	}
}
