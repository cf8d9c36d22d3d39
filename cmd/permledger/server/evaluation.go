package server

import (
	"encoding/json"
	"strconv"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/access"
)

// members are those of a JSON object, names compared byte for byte. encoding/json would fold their case, and
// AuthZEN wants members it does not know ignored.
type members map[string]json.RawMessage

// object reads an object; null is none.
func object(field string, raw json.RawMessage) (members, error) {
	var m members
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return nil, events.Invalid(field, string(raw), "must be an object")
	}
	for name, value := range m {
		if string(value) == "null" {
			delete(m, name)
		}
	}
	return m, nil
}

// text reads an optional string.
func text[S ~string](field string, raw json.RawMessage, into *S) error {
	if raw == nil {
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return events.Invalid(field, string(raw), "must be a string")
	}
	*into = S(s)
	return nil
}

// word reads a string that must be there.
func word(field string, raw json.RawMessage) (s string, err error) {
	if err := text(field, raw, &s); err != nil {
		return "", err
	}
	if s == "" {
		return "", events.Invalid(field, "", "must be a string that is not empty")
	}
	return s, nil
}

// flag reads an optional true or false.
func flag(field string, raw json.RawMessage) (on bool, err error) {
	if raw != nil && json.Unmarshal(raw, &on) != nil {
		return false, events.Invalid(field, string(raw), "must be true or false")
	}
	return on, nil
}

// evaluation is what was asked.
type evaluation struct {
	question access.Question
	moment   moment
	explain  bool
	detail   bool
}

func readEvaluation(m members) (e evaluation, err error) {
	subject, err := object("subject", m["subject"])
	if err != nil {
		return e, err
	}
	if e.question.Principal, err = readSubject(subject); err != nil {
		return e, err
	}
	action, err := object("action", m["action"])
	if err != nil {
		return e, err
	}
	name, err := word("action.name", action["name"])
	if err != nil {
		return e, err
	}
	e.question.Permission = events.PermissionName(name)
	resource, err := object("resource", m["resource"])
	if err != nil {
		return e, err
	}
	if e.question.Resource, err = readResource(resource); err != nil {
		return e, err
	}
	return e, e.readContext(m["context"])
}

// readSubject takes any type and id that are strings: who does not exist may do nothing.
func readSubject(m members) (p events.Principal, err error) {
	kind, err := word("subject.type", m["type"])
	if err != nil {
		return p, err
	}
	id, err := word("subject.id", m["id"])
	return events.Principal{Kind: events.Kind(kind), ID: id}, err
}

// readResource reads {"type":"api","id":AUDIENCE} as nothing in particular of an API. Any other type may go
// without an id, which asks about the type and no id.
func readResource(m members) (r access.Resource, err error) {
	kind, err := word("resource.type", m["type"])
	if err != nil {
		return r, err
	}
	if kind == "api" {
		r.Audience, err = word("resource.id", m["id"])
		return r, err
	}
	r.Type = events.ResourceType(kind)
	if _, given := m["id"]; given {
		r.ID, err = word("resource.id", m["id"])
	}
	return r, err
}

// readContext reads the members of the context that are ours.
func (e *evaluation) readContext(raw json.RawMessage) error {
	if raw == nil {
		e.moment.tenant = events.DefaultTenant
		return nil
	}
	m, err := object("context", raw)
	if err != nil {
		return err
	}
	if e.explain, err = flag("context.explain", m["explain"]); err != nil {
		return err
	}
	if e.detail, err = flag("context.detail", m["detail"]); err != nil {
		return err
	}
	var client string
	if err := text("context.client", m["client"], &client); err != nil {
		return err
	}
	if client != "" {
		e.question.Client = events.Client(client)
	}
	if m["properties"] != nil && json.Unmarshal(m["properties"], &e.question.Resource.Properties) != nil {
		return events.Invalid("context.properties", string(m["properties"]), "must be a list of strings")
	}
	return e.readTimes(m)
}

// readTimes reads when the question is about.
func (e *evaluation) readTimes(m members) error {
	given := map[string]string{}
	for _, name := range []string{"tenant", "valid_at", "as_of", "known_at", "at_least"} {
		raw := m[name]
		if raw == nil {
			continue
		}
		var s string
		var revision uint64
		switch {
		case json.Unmarshal(raw, &s) == nil && s != "":
			given[name] = s
		case (name == "known_at" || name == "at_least") && json.Unmarshal(raw, &revision) == nil:
			given[name] = strconv.FormatUint(revision, 10)
		default:
			return events.Invalid("context."+name, string(raw), "must be a string; known_at and at_least may be a number")
		}
	}
	w, err := api.ParseWhen(func(name string) string { return given[name] })
	if err != nil {
		return inContext(err)
	}
	e.moment.tenant, e.moment.when = viewWhen(w)
	return nil
}

// inContext says where the field of an error stands.
func inContext(err error) error {
	if invalid, ok := err.(*events.InvalidError); ok {
		return renamed("context."+invalid.Field, err)
	}
	return err
}
