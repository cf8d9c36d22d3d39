package api

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/permledger/permledger/events"
)

// Resource is what a right or a question is about. Exactly one of Audience and Type is set; with Type at
// most one of ID, Any and Property.
//
//	"api:operate-api"    {"audience":"operate-api"}            an API, and nothing in particular
//	"record:42"          {"type":"record","id":"42"}           one resource; the id may hold colons
//	                     {"type":"record","any":true}          every resource of the type
//	"record/assignee"    {"type":"record","property":"assignee"}
//	"record"             {"type":"record"}                     in questions only: the type, and no id
//
// "record:*" is refused: the star is an ordinary character here, and those who write it mean any.
type Resource struct {
	Audience string              `json:"audience,omitempty"`
	Type     events.ResourceType `json:"type,omitempty"`
	ID       string              `json:"id,omitempty"`
	Any      bool                `json:"any,omitempty"`
	Property string              `json:"property,omitempty"`
}

// audiencePrefix begins the written form of a resource that is an API. No resource type is called "api".
const audiencePrefix = "api:"

// ParseResource reads the written form; field names it in errors.
func ParseResource(field, s string) (Resource, error) {
	var r Resource
	if audience, ok := strings.CutPrefix(s, audiencePrefix); ok {
		r.Audience = audience
		return r, r.check(field, s)
	}
	i := strings.IndexAny(s, ":/")
	if i < 0 {
		r.Type = events.ResourceType(s)
		return r, r.check(field, s)
	}
	r.Type = events.ResourceType(s[:i])
	rest := s[i+1:]
	switch {
	case rest == "":
		return Resource{}, events.Invalid(field, s, "must name something behind the '"+s[i:i+1]+"'")
	case s[i] == ':':
		r.ID = rest
	default:
		r.Property = rest
	}
	return r, r.check(field, s)
}

func (r Resource) check(field, written string) error {
	forms := 0
	for _, set := range []bool{r.ID != "", r.Any, r.Property != ""} {
		if set {
			forms++
		}
	}
	switch {
	case (r.Audience == "") == (r.Type == ""):
		return events.Invalid(field, written, `must be api:AUDIENCE, TYPE:ID or {"type":…} with "id", "any" or "property"`)
	case r.Audience != "" && forms > 0:
		return events.Invalid(field, written, "an audience has no id")
	case forms > 1:
		return events.Invalid(field, written, `must have only one of "id", "any" and "property"`)
	case r.ID == "*":
		return events.Invalid(field, written, fmt.Sprintf(
			`the id "*" is not a pattern: say any instead, as in {"type":%q,"any":true}; in a question name the type alone`, r.Type))
	case r.Audience != "":
		return renamed(field, events.CheckID(field, r.Audience))
	}
	if err := r.Type.Check(); err != nil {
		return renamed(field, err)
	}
	for _, part := range []string{r.ID, r.Property} {
		if part == "" {
			continue
		}
		if err := events.CheckID(field, part); err != nil {
			return renamed(field, err)
		}
	}
	return nil
}

// Scope is the resource as the scope of a grant or an assignment. A type alone is refused, because it says
// neither any nor which.
func (r Resource) Scope(field string) (events.Scope, error) {
	if err := r.check(field, r.String()); err != nil {
		return events.Scope{}, err
	}
	switch {
	case r.Audience != "":
		return events.Scope{}, nil
	case r.Any:
		return events.AnyOf(r.Type), nil
	case r.Property != "":
		return events.WithProperty(r.Type, r.Property), nil
	case r.ID != "":
		return events.Exactly(r.Type, r.ID), nil
	}
	return events.Scope{}, events.Invalid(field, r.String(),
		fmt.Sprintf(`must say which: {"type":%q,"any":true}, or TYPE:ID`, r.Type))
}

func (r Resource) IsZero() bool { return r == Resource{} }

// String is the written form; any is written TYPE:*, as in lists of the effective set.
func (r Resource) String() string {
	switch {
	case r.Audience != "":
		return audiencePrefix + r.Audience
	case r.Any:
		return string(r.Type) + ":*"
	case r.ID != "":
		return string(r.Type) + ":" + r.ID
	case r.Property != "":
		return string(r.Type) + "/" + r.Property
	}
	return string(r.Type)
}

// MarshalJSON writes a string where there is one that ParseResource reads back, else the object.
func (r Resource) MarshalJSON() ([]byte, error) {
	if r.Any || r.Property != "" {
		type object Resource
		return json.Marshal(object(r))
	}
	return json.Marshal(r.String())
}

func (r *Resource) UnmarshalJSON(b []byte) (err error) {
	*r, err = decodeResource("resource", b)
	return err
}

func decodeResource(field string, raw json.RawMessage) (r Resource, err error) {
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		if err := decodeValue(field, raw, &s); err != nil {
			return Resource{}, err
		}
		return ParseResource(field, s)
	}
	members, err := decodeObject(field, raw)
	if err != nil {
		return Resource{}, events.Invalid(field, string(raw), "must be a string or an object")
	}
	for name, value := range members {
		switch name {
		case "audience":
			err = decodeValue(join(field, name), value, &r.Audience)
		case "type":
			err = decodeValue(join(field, name), value, &r.Type)
		case "id":
			err = decodeValue(join(field, name), value, &r.ID)
		case "any":
			err = decodeValue(join(field, name), value, &r.Any)
		case "property":
			err = decodeValue(join(field, name), value, &r.Property)
		default:
			err = unknownMember(field, name)
		}
		if err != nil {
			return Resource{}, err
		}
		if s := string(value); s == `""` {
			return Resource{}, events.Invalid(join(field, name), "", "must not be empty")
		}
	}
	return r, r.check(field, string(raw))
}
