package events

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// MaxIDBytes is the longest identifier the ledger takes, in bytes of UTF-8.
const MaxIDBytes = 256

// The identifiers of the ledger. Each is a type of its own, so that a role cannot be passed where a
// permission belongs; all of them are 1 to 256 bytes of valid UTF-8 without control, bidirectional or
// surrogate code points, compared byte for byte and never folded.
type (
	Tenant         string
	Role           string
	Group          string
	API            string
	Catalog        string
	ResourceType   string // additionally without ':' and '/', and not the word "api"
	PermissionName string
)

// DefaultTenant is the tenant meant when none is named. It exists from the first commit on.
const DefaultTenant Tenant = "default"

// EventID names one event for ever. FactID is the id of the event that created the fact.
type (
	EventID   = uuid.UUID
	FactID    = uuid.UUID
	CommandID = uuid.UUID
	LedgerID  = uuid.UUID
)

// InvalidError says which field of an input breaks which rule.
type InvalidError struct {
	Field string // the field as the caller knows it: "role", "valid_from"
	Value string // the offending value, shortened
	Rule  string // the rule it breaks, in words
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("invalid %s %q: %s", e.Field, e.Value, e.Rule)
}

// Invalid builds an InvalidError with the value shortened to something printable.
func Invalid(field, value, rule string) error {
	if len(value) > 64 {
		value = strings.ToValidUTF8(value[:64], "") + "…"
	}
	return &InvalidError{Field: field, Value: value, Rule: rule}
}

// CheckID reports whether s is an identifier; field names it in the error.
func CheckID(field, s string) error {
	switch {
	case s == "":
		return Invalid(field, s, "must not be empty")
	case len(s) > MaxIDBytes:
		return Invalid(field, s, fmt.Sprintf("must be at most %d bytes, is %d", MaxIDBytes, len(s)))
	case !utf8.ValidString(s):
		return Invalid(field, s, "must be valid UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return Invalid(field, s, "must not hold control, line-separating or bidirectional code points")
		}
	}
	return nil
}

// CheckText reports whether s may stand as free text (a reason, a description): at most max bytes of
// valid UTF-8 without control or bidirectional code points. The empty text is fine.
func CheckText(field, s string, max int) error {
	switch {
	case s == "":
		return nil
	case len(s) > max:
		return Invalid(field, s, fmt.Sprintf("must be at most %d bytes, is %d", max, len(s)))
	case !utf8.ValidString(s):
		return Invalid(field, s, "must be valid UTF-8")
	}
	for _, r := range s {
		if (unicode.IsControl(r) && r != '\n' && r != '\t') || unicode.Is(unicode.Bidi_Control, r) {
			return Invalid(field, s, "must not hold control or bidirectional code points")
		}
	}
	return nil
}

func (t Tenant) Check() error         { return CheckID("tenant", string(t)) }
func (r Role) Check() error           { return CheckID("role", string(r)) }
func (g Group) Check() error          { return CheckID("group", string(g)) }
func (a API) Check() error            { return CheckID("api", string(a)) }
func (c Catalog) Check() error        { return CheckID("catalog", string(c)) }
func (n PermissionName) Check() error { return CheckID("permission", string(n)) }

func (t ResourceType) Check() error {
	if err := CheckID("resource type", string(t)); err != nil {
		return err
	}
	if strings.ContainsAny(string(t), ":/") || t == "api" {
		return Invalid("resource type", string(t), "must not hold ':' or '/', nor be the word \"api\"")
	}
	return nil
}

// Principal returns the role as a holder of permissions.
func (r Role) Principal() Principal { return Principal{KindRole, string(r)} }

// Principal returns the group as a holder of permissions and a member of other groups.
func (g Group) Principal() Principal { return Principal{KindGroup, string(g)} }

// Kind is the kind of a principal.
type Kind string

// The kinds of principals. The set is closed.
const (
	KindUser        Kind = "user"
	KindClient      Kind = "client" // a machine application
	KindGroup       Kind = "group"
	KindRole        Kind = "role"
	KindMappingRule Kind = "mapping-rule"
)

// Principal is who may hold something: written kind:id, as in user:alice.
type Principal struct {
	Kind Kind
	ID   string
}

// User and Client are the principals that act.
func User(id string) Principal   { return Principal{KindUser, id} }
func Client(id string) Principal { return Principal{KindClient, id} }

// ParsePrincipal reads kind:id. The id may hold further colons.
func ParsePrincipal(s string) (Principal, error) {
	kind, id, found := strings.Cut(s, ":")
	if !found {
		return Principal{}, Invalid("principal", s, "must be kind:id, as in user:alice")
	}
	p := Principal{Kind(kind), id}
	return p, p.Check()
}

// Check reports whether p has a known kind and a valid id.
func (p Principal) Check() error {
	switch p.Kind {
	case KindUser, KindClient, KindGroup, KindRole, KindMappingRule:
		return CheckID(string(p.Kind), p.ID)
	}
	return Invalid("principal", p.String(), "kind must be user, client, group, role or mapping-rule")
}

// Acts reports whether p is somebody who can do things, rather than a way of holding permissions.
func (p Principal) Acts() bool { return p.Kind == KindUser || p.Kind == KindClient }

func (p Principal) IsZero() bool { return p == Principal{} }

func (p Principal) String() string {
	if p.IsZero() {
		return ""
	}
	return string(p.Kind) + ":" + p.ID
}

// Compare orders principals by their written form.
func (p Principal) Compare(q Principal) int { return strings.Compare(p.String(), q.String()) }

func (p Principal) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p *Principal) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*p = Principal{}
		return nil
	}
	*p, err = ParsePrincipal(string(b))
	return err
}

// Permission is a named right of one API.
type Permission struct {
	API  API            `json:"api"`
	Name PermissionName `json:"name"`
}

func (p Permission) Check() error {
	if err := p.API.Check(); err != nil {
		return err
	}
	return p.Name.Check()
}

func (p Permission) IsZero() bool { return p == Permission{} }

// String is for people and logs: "read:* of operate".
func (p Permission) String() string { return string(p.Name) + " of " + string(p.API) }

// Compare orders permissions by name, then by API.
func (p Permission) Compare(q Permission) int {
	if c := strings.Compare(string(p.Name), string(q.Name)); c != 0 {
		return c
	}
	return strings.Compare(string(p.API), string(q.API))
}
