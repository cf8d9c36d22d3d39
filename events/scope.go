package events

import (
	"encoding/json"
	"strings"
)

// ScopeKind says how a scope matches resources.
type ScopeKind uint8

// A scope matches no resource, every resource of a type, one id of it, or those of which a property
// holds for the asking principal. The matcher is stored, never inferred from a string such as "*".
const (
	ScopeNone ScopeKind = iota
	ScopeAny
	ScopeID
	ScopeProperty
)

// Scope is on what a permission is held. The zero value is ScopeNone: the permission is not about a
// resource.
type Scope struct {
	Kind  ScopeKind
	Type  ResourceType // "" with ScopeNone
	Value string       // the exact id or the property name; "" otherwise
}

func AnyOf(t ResourceType) Scope                  { return Scope{ScopeAny, t, ""} }
func Exactly(t ResourceType, id string) Scope     { return Scope{ScopeID, t, id} }
func WithProperty(t ResourceType, p string) Scope { return Scope{ScopeProperty, t, p} }

// Check reports whether s is well formed. The id "*" is refused, because products that give it a
// meaning mean ScopeAny.
func (s Scope) Check() error {
	if s.Kind == ScopeNone {
		if s != (Scope{}) {
			return Invalid("scope", s.String(), "a scope of kind none has no type and no value")
		}
		return nil
	}
	if err := s.Type.Check(); err != nil {
		return err
	}
	switch s.Kind {
	case ScopeAny:
		if s.Value != "" {
			return Invalid("scope", s.String(), "a scope of kind any has no id")
		}
		return nil
	case ScopeID:
		if s.Value == "*" {
			return Invalid("resource id", "*", `the id "*" is not a pattern: say any of the type instead`)
		}
		return CheckID("resource id", s.Value)
	case ScopeProperty:
		return CheckID("property", s.Value)
	}
	return Invalid("scope", s.String(), "unknown kind")
}

// Covers reports whether whatever t matches, s matches too.
func (s Scope) Covers(t Scope) bool {
	return s == t || s.Kind == ScopeAny && t.Kind != ScopeNone && s.Type == t.Type
}

// Narrow gives the scope on which something held on s is held by one who holds it on outer: a role that
// has a permission on s, assigned on outer. None does not restrict. ok is false when they have nothing
// in common, or nothing that one scope can express (a property of one id).
func (s Scope) Narrow(outer Scope) (_ Scope, ok bool) {
	switch {
	case outer.Kind == ScopeNone || outer.Covers(s):
		return s, true
	case s.Kind == ScopeNone || s.Covers(outer):
		return outer, true
	}
	return Scope{}, false
}

// String is TYPE:ID, TYPE:* for any, TYPE/PROPERTY for a property, and "" for none.
func (s Scope) String() string {
	switch s.Kind {
	case ScopeAny:
		return string(s.Type) + ":*"
	case ScopeID:
		return string(s.Type) + ":" + s.Value
	case ScopeProperty:
		return string(s.Type) + "/" + s.Value
	default:
		return ""
	}
}

// Compare orders scopes by their written form, which is different for different scopes.
func (s Scope) Compare(t Scope) int { return strings.Compare(s.String(), t.String()) }

func (s Scope) IsZero() bool { return s == Scope{} }

// scopeJSON is {"type":T,"id":I}, {"type":T,"any":true}, {"type":T,"property":P}, or null for none.
type scopeJSON struct {
	Type     ResourceType `json:"type"`
	ID       string       `json:"id,omitempty"`
	Any      bool         `json:"any,omitempty"`
	Property string       `json:"property,omitempty"`
}

func (s Scope) MarshalJSON() ([]byte, error) {
	j := scopeJSON{Type: s.Type}
	switch s.Kind {
	case ScopeAny:
		j.Any = true
	case ScopeID:
		j.ID = s.Value
	case ScopeProperty:
		j.Property = s.Value
	default:
		return []byte("null"), nil
	}
	return json.Marshal(j)
}

func (s *Scope) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*s = Scope{}
		return nil
	}
	var j scopeJSON
	if err := unmarshalStrict(b, &j); err != nil {
		return err
	}
	forms := 0
	if j.Any {
		*s, forms = AnyOf(j.Type), forms+1
	}
	if j.ID != "" {
		*s, forms = Exactly(j.Type, j.ID), forms+1
	}
	if j.Property != "" {
		*s, forms = WithProperty(j.Type, j.Property), forms+1
	}
	if forms != 1 {
		return Invalid("scope", string(b), `must have exactly one of "id", "any" and "property"`)
	}
	return s.Check()
}
