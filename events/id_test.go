package events

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// badIDs are refused as an identifier of any kind.
var badIDs = map[string]string{
	"empty":                    "",
	"257 bytes":                strings.Repeat("a", 257),
	"257 bytes in 128+ runes":  strings.Repeat("Ж", 128) + "a",
	"invalid UTF-8":            "a\xffb",
	"surrogate in UTF-8":       "a\xed\xa0\x80b",
	"overlong NUL":             "\xc0\x80",
	"NUL":                      "a\x00b",
	"newline":                  "a\nb",
	"tab":                      "a\tb",
	"escape":                   "a\x1bb",
	"delete":                   "a\x7fb",
	"C1 control":               "a\u0085b",
	"line separator":           "a\u2028b",
	"paragraph separator":      "a\u2029b",
	"right-to-left override":   "a\u202eb",
	"left-to-right isolate":    "a\u2066b",
	"pop directional isolate":  "a\u2069",
	"right-to-left mark":       "\u200fa",
	"arabic letter mark":       "\u061ca",
	"bidirectional at the end": "alice\u202c",
}

// goodIDs are taken as they are.
var goodIDs = []string{
	"a", "alice", "Алиса", "用户", "é", "e\u0301", // the last two look alike and are two ids
	"<default>", "read:*", "a:b:c", "*", ">", "a.b", "a/b", "~", "=3A", "-", " ", " padded ", "Access dashboard",
	"user@example.org", `quote"back\slash`, "👩‍🚀", "\u00a0", "\ufffd",
	strings.Repeat("a", 256), strings.Repeat("Ж", 128),
}

func TestIDs(t *testing.T) {
	kinds := map[string]func(string) error{
		"tenant":     func(s string) error { return Tenant(s).Check() },
		"role":       func(s string) error { return Role(s).Check() },
		"group":      func(s string) error { return Group(s).Check() },
		"api":        func(s string) error { return API(s).Check() },
		"catalog":    func(s string) error { return Catalog(s).Check() },
		"permission": func(s string) error { return PermissionName(s).Check() },
		"user":       func(s string) error { return User(s).Check() },
	}
	for field, check := range kinds {
		for why, id := range badIDs {
			var invalid *InvalidError
			if err := check(id); !errors.As(err, &invalid) || invalid.Field != field || invalid.Rule == "" {
				t.Errorf("%s, %s: got %v, want an InvalidError of that field", field, why, err)
			}
		}
		for _, id := range goodIDs {
			if err := check(id); err != nil {
				t.Errorf("%s %q: %v", field, id, err)
			}
		}
	}
}

func TestResourceType(t *testing.T) {
	for why, id := range badIDs {
		if ResourceType(id).Check() == nil {
			t.Errorf("%s: taken", why)
		}
	}
	// Scopes are written TYPE:ID and TYPE/PROPERTY, and api:AUDIENCE stands for no resource.
	for _, id := range []string{"a:b", "a/b", ":", "/", "api"} {
		if ResourceType(id).Check() == nil {
			t.Errorf("%q: taken", id)
		}
	}
	for _, id := range []string{"Process", "USER_TASK", "API", "apis", "тип", "*", "master data"} {
		if err := ResourceType(id).Check(); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestParsePrincipal(t *testing.T) {
	for s, want := range map[string]Principal{
		"user:alice":         {KindUser, "alice"},
		"client:ci":          {KindClient, "ci"},
		"group:<default>":    {KindGroup, "<default>"},
		"role:read:*":        {KindRole, "read:*"}, // only the first colon separates
		"mapping-rule::a:":   {KindMappingRule, ":a:"},
		"user:user:alice":    {KindUser, "user:alice"},
		"group:Разработчики": {KindGroup, "Разработчики"},
	} {
		got, err := ParsePrincipal(s)
		if err != nil || got != want {
			t.Errorf("ParsePrincipal(%q) = %v, %v, want %v", s, got, err, want)
		}
		if got.String() != s {
			t.Errorf("%q is written %q", s, got)
		}
	}
	for _, s := range []string{
		"", "alice", "user", "user:", ":alice", "User:alice", " user:alice", "users:alice", "api:operate",
		"mapping_rule:a", "user:a\u202eb", "user:" + strings.Repeat("a", 257),
	} {
		if p, err := ParsePrincipal(s); err == nil {
			t.Errorf("ParsePrincipal(%q) = %v, want an error", s, p)
		}
	}
}

func TestPrincipalJSON(t *testing.T) {
	for p, want := range map[Principal]string{
		User("alice"):          `"user:alice"`,
		Client(`a"b`):          `"client:a\"b"`,
		Role("a").Principal():  `"role:a"`,
		Group("Ж").Principal(): `"group:Ж"`,
		{KindMappingRule, "m"}: `"mapping-rule:m"`,
		{}:                     `""`, // nobody
	} {
		b, err := json.Marshal(p)
		if err != nil || string(b) != want {
			t.Errorf("Marshal(%v) = %s, %v, want %s", p, b, err, want)
		}
		back := User("left over")
		if err := json.Unmarshal(b, &back); err != nil || back != p {
			t.Errorf("Unmarshal(%s) = %v, %v", b, back, err)
		}
	}
	for _, bad := range []string{`"alice"`, `"user:"`, `"robot:r2"`, `7`, `{"kind":"user","id":"a"}`} {
		var p Principal
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("Unmarshal(%s) = %v, want an error", bad, p)
		}
	}
}

func TestActs(t *testing.T) {
	for p, want := range map[Principal]bool{
		User("a"): true, Client("a"): true,
		Group("a").Principal(): false, Role("a").Principal(): false, {KindMappingRule, "a"}: false, {}: false,
	} {
		if p.Acts() != want {
			t.Errorf("%v.Acts() = %v", p, !want)
		}
	}
}

func TestOrder(t *testing.T) {
	if User("a").Compare(Client("b")) <= 0 || User("a").Compare(User("a")) != 0 || User("a").Compare(User("b")) >= 0 {
		t.Error("principals are not ordered by kind:id")
	}
	// By name first: listings of a permission of several APIs stand together.
	if (Permission{"z", "a"}).Compare(Permission{"a", "b"}) >= 0 || (Permission{"a", "b"}).Compare(Permission{"z", "b"}) >= 0 {
		t.Error("permissions are not ordered by name, then API")
	}
}

func TestCheckText(t *testing.T) {
	for _, good := range []string{"", "new hire", "two\nlines\tand a tab", "причина", strings.Repeat("a", 10)} {
		if err := CheckText("reason", good, 32); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for why, bad := range map[string]string{
		"too long": strings.Repeat("a", 33), "invalid UTF-8": "\xff", "NUL": "a\x00", "carriage return": "a\rb",
		"escape sequence": "\x1b[2J", "bidirectional": "a\u202eb",
	} {
		var invalid *InvalidError
		if err := CheckText("reason", bad, 32); !errors.As(err, &invalid) || invalid.Field != "reason" {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// An error message must not carry a bad value to a terminal raw, nor at full length.
func TestInvalidErrorIsPrintable(t *testing.T) {
	for _, value := range []string{"a\x1b[2Jb", "a\u202eb", "\xff", strings.Repeat("Ж", 1000), strings.Repeat("\x00", 1000)} {
		text := Invalid("role", value, "must be good").Error()
		if len(text) > 400 || strings.ContainsAny(text, "\x00\x1b\u202e") || strings.ToValidUTF8(text, "") != text {
			t.Errorf("unprintable: %q", text)
		}
		if !strings.HasPrefix(text, "invalid role ") || !strings.HasSuffix(text, "must be good") {
			t.Errorf("field and rule are missing: %q", text)
		}
	}
}
