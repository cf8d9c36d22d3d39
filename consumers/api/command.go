package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// Command is a wish on the wire. Do says which, and which other members it takes (see Verbs); a member the
// verb does not take is refused.
type Command struct {
	Do string `json:"do"`

	Principal  events.Principal      `json:"principal,omitzero"`
	Permission events.PermissionName `json:"permission,omitempty"` // exact name, or the permission's slug
	Resource   Resource              `json:"resource,omitzero"`
	Role       events.Role           `json:"role,omitempty"`
	Included   events.Role           `json:"included,omitempty"`
	Group      events.Group          `json:"group,omitempty"`
	Member     events.Principal      `json:"member,omitzero"`
	Parent     events.Group          `json:"parent,omitempty"`

	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`

	Profile *events.Profile `json:"profile,omitempty"`
	Plain   bool            `json:"plain,omitempty"` // the profile is recorded in clear, and stays so for ever

	Fact       events.FactID `json:"fact,omitzero"`
	ValidFrom  Time          `json:"valid_from,omitzero"`  // zero: as it was
	ValidUntil Time          `json:"valid_until,omitzero"` // "forever" takes an end away

	API        events.API          `json:"api,omitempty"`
	Type       events.ResourceType `json:"type,omitempty"`
	Definition json.RawMessage     `json:"definition,omitempty"` // of an API, a permission or a resource type
	Catalog    events.Catalog      `json:"catalog,omitempty"`    // the name of a catalog the server has
	File       json.RawMessage     `json:"file,omitempty"`       // or a whole catalog: as an object, or its exact text in a string
}

// Time is an instant on the wire: RFC 3339, or "forever".
type Time events.Instant

func (t Time) IsZero() bool { return t == 0 }

func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(events.Instant(t).String())
}

func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return events.Invalid("time", string(b), "must be a string")
	}
	if s == events.Forever.String() {
		*t = Time(events.Forever)
		return nil
	}
	i, err := events.ParseInstant("time", s)
	*t = Time(i)
	return err
}

// Verb is what a Command may do.
type Verb struct {
	Do       string
	Needs    []string // members it must have
	Takes    []string // members it may have besides
	Sentence string
}

// Verbs is the closed set of what a Command may do.
var Verbs = []Verb{
	{"grant", []string{"principal", "permission", "resource"}, nil, "Give a permission to a principal; to a role it means role.add-permission."},
	{"revoke", []string{"principal", "permission", "resource"}, nil, "Take a permission from a principal."},
	{"assign", []string{"principal", "role"}, []string{"resource"}, "Give a role to a principal, on a resource if one is named."},
	{"unassign", []string{"principal", "role"}, []string{"resource"}, "Take a role from a principal."},
	{"role.create", []string{"role"}, []string{"name", "description"}, "Create a role."},
	{"role.change", []string{"role"}, []string{"name", "description"}, "Set the name and description of a role."},
	{"role.delete", []string{"role"}, nil, "Delete a role and everything it holds or is held by."},
	{"role.add-permission", []string{"role", "permission", "resource"}, nil, "Give a permission to a role."},
	{"role.remove-permission", []string{"role", "permission", "resource"}, nil, "Take a permission from a role."},
	{"role.include", []string{"role", "included"}, nil, "Let whoever holds the role hold the included one, too."},
	{"role.exclude", []string{"role", "included"}, nil, "End an inclusion."},
	{"group.create", []string{"group"}, []string{"name", "description"}, "Create a group."},
	{"group.delete", []string{"group"}, nil, "Delete a group and everything it holds."},
	{"group.add-member", []string{"group", "member"}, nil, "Put a user, client, mapping rule or group into a group."},
	{"group.remove-member", []string{"group", "member"}, nil, "Take a member out of a group."},
	{"group.set-parent", []string{"group", "parent"}, nil, "Put a group below another: its members have what the parent has."},
	{"group.unset-parent", []string{"group", "parent"}, nil, "Take a group out from below another."},
	{"principal.delete", []string{"principal"}, nil, "End everything a principal holds; its id may be used again and inherits nothing."},
	{"principal.describe", []string{"principal", "profile"}, []string{"plain"}, "Say who is behind an id, sealed with its personal key unless plain is true."},
	{"principal.erase", []string{"principal"}, nil, "Destroy the personal key of a principal: what was sealed with it is never read again, and nothing else changes."},
	{"correct", []string{"fact"}, []string{"valid_from", "valid_until"}, "Replace the validity of a fact by what really was."},
	{"tenant.create", nil, []string{"name"}, "Create the tenant of the request."},
	{"tenant.delete", nil, nil, "Delete the tenant of the request and everything in it."},
	{"administrator.add", []string{"principal"}, nil, "Let a principal administer the ledger."},
	{"administrator.remove", []string{"principal"}, nil, "End that a principal administers the ledger."},
	{"api.define", []string{"api", "definition"}, nil, "Define an API or change it."},
	{"permission.define", []string{"api", "permission"}, []string{"definition"}, "Define a permission of an API or change it."},
	{"type.define", []string{"type", "definition"}, nil, "Define a resource type or change it."},
	{"catalog.load", nil, []string{"catalog", "file"}, "Bring the tenant to this version of a catalog: one the server has by name, or a whole file."},
}

// LookupVerb finds a verb by its word.
func LookupVerb(do string) (_ Verb, ok bool) {
	for _, v := range Verbs {
		if v.Do == do {
			return v, true
		}
	}
	return Verb{}, false
}

// DefineAPI, DefinePermission and DefineType build the commands that carry a definition.
func DefineAPI(api events.API, def events.APIDefinition) Command {
	return Command{Do: "api.define", API: api, Definition: definition(def)}
}

func DefinePermission(p events.Permission, def events.PermissionDefinition) Command {
	return Command{Do: "permission.define", API: p.API, Permission: p.Name, Definition: definition(def)}
}

func DefineType(t events.ResourceType, def events.ResourceTypeDefinition) Command {
	return Command{Do: "type.define", Type: t, Definition: definition(def)}
}

// LoadFile builds the command that loads a catalog file. Its text is sent as it is, so that the digest the
// ledger records is that of the file.
func LoadFile(text []byte) Command {
	return Command{Do: "catalog.load", File: definition(string(text))}
}

// FileText gives the text of the catalog in c.File.
func (c Command) FileText() []byte {
	var text string
	if json.Unmarshal(c.File, &text) == nil {
		return []byte(text)
	}
	return c.File
}

func definition(def any) json.RawMessage {
	b, err := json.Marshal(def)
	if err != nil {
		panic(fmt.Sprintf("a definition that is no JSON: %v", err)) // plain structs of strings
	}
	return b
}

// DecodeDefinition reads the definition of a command into the type its verb wants.
func (c Command) DecodeDefinition(field string, into any) error {
	if c.Definition == nil {
		return nil
	}
	return decodeValue(join(field, "definition"), c.Definition, into)
}

// decodeCommand reads a command whose place in the request is field: "commands[3]".
func decodeCommand(field string, raw json.RawMessage) (c Command, err error) {
	members, err := decodeObject(field, raw)
	if err != nil {
		return c, err
	}
	for name, value := range members {
		if string(value) == "null" { // an absent member, as many encoders write it
			delete(members, name)
		}
	}
	if err := decodeValue(join(field, "do"), orEmpty(members["do"]), &c.Do); err != nil {
		return c, err
	}
	verb, ok := LookupVerb(c.Do)
	if !ok {
		return c, events.Invalid(join(field, "do"), c.Do, "is not something the ledger can do: "+allVerbs())
	}
	for _, name := range verb.Needs {
		if _, ok := members[name]; !ok {
			return c, events.Invalid(join(field, name), "", c.Do+" needs it")
		}
	}
	for _, name := range sorted(members) {
		if name != "do" && !slices.Contains(verb.Needs, name) && !slices.Contains(verb.Takes, name) {
			return c, events.Invalid(join(field, name), "", c.Do+" does not take it")
		}
		if err := c.decodeMember(join(field, name), name, members[name]); err != nil {
			return c, err
		}
	}
	return c, c.checkForms(field)
}

func (c *Command) decodeMember(field, name string, raw json.RawMessage) (err error) {
	switch name {
	case "do":
		return nil
	case "principal":
		return decodeValue(field, raw, &c.Principal)
	case "permission":
		return decodeValue(field, raw, &c.Permission)
	case "resource":
		c.Resource, err = decodeResource(field, raw)
		return err
	case "role":
		return decodeValue(field, raw, &c.Role)
	case "included":
		return decodeValue(field, raw, &c.Included)
	case "group":
		return decodeValue(field, raw, &c.Group)
	case "member":
		return decodeValue(field, raw, &c.Member)
	case "parent":
		return decodeValue(field, raw, &c.Parent)
	case "name":
		return decodeValue(field, raw, &c.Name)
	case "description":
		return decodeValue(field, raw, &c.Description)
	case "profile":
		c.Profile, err = decodeProfile(field, raw)
		return err
	case "plain":
		return decodeValue(field, raw, &c.Plain)
	case "fact":
		c.Fact, err = decodeUUID(field, raw)
		return err
	case "valid_from":
		return decodeValue(field, raw, &c.ValidFrom)
	case "valid_until":
		return decodeValue(field, raw, &c.ValidUntil)
	case "api":
		return decodeValue(field, raw, &c.API)
	case "type":
		return decodeValue(field, raw, &c.Type)
	case "definition":
		c.Definition = raw
		return nil
	case "catalog":
		return decodeValue(field, raw, &c.Catalog)
	case "file":
		c.File = raw
		return nil
	}
	return unknownMember(field, name)
}

// checkForms refuses what no table of members can express.
func (c Command) checkForms(field string) error {
	switch {
	case c.Do == "catalog.load" && (c.Catalog == "") == (c.File == nil):
		return events.Invalid(join(field, "catalog"), string(c.Catalog), `needs either "catalog" or "file"`)
	case c.Do == "correct" && c.ValidFrom == 0 && c.ValidUntil == 0:
		return events.Invalid(join(field, "valid_until"), "", `needs "valid_from" or "valid_until"`)
	case c.ValidFrom == Time(events.Forever):
		return events.Invalid(join(field, "valid_from"), "forever", "nothing starts at the end of time")
	}
	return nil
}

func decodeUUID(field string, raw json.RawMessage) (uuid.UUID, error) {
	var s string
	if err := decodeValue(field, raw, &s); err != nil {
		return uuid.UUID{}, err
	}
	id, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return uuid.UUID{}, events.Invalid(field, s, "must be an id as in 0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c")
	}
	return id, nil
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage(`""`)
	}
	return raw
}

func allVerbs() string {
	words := make([]string, len(Verbs))
	for i, v := range Verbs {
		words[i] = v.Do
	}
	return strings.Join(words, ", ")
}
