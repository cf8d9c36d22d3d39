package events

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The bytes are pinned: they stand in subjects that services filter on and in keys on disk.
var tokenTable = []struct {
	id, token string
}{
	{"", ""},                       // nothing; SubjectToken makes it NoToken
	{"alice", "alice"},             // letters stand for themselves
	{"Node-7_b", "Node-7_b"},       // and so do digits, '-' and '_'
	{"read:*", "read=3A=2A"},       // ':' is 3A, '*' is 2A: a subject may not hold the star
	{"a.b", "a=2Eb"},               // a dot would be two tokens
	{">", "=3E"},                   // the other wildcard
	{"a b", "a=20b"},               // white space ends a subject
	{"a/b", "a=2Fb"},               // keys and URLs
	{"<default>", "=3Cdefault=3E"}, // a tenant id of Camunda
	{"=3A", "=3D3A"},               // the escape is escaped, so no two ids share a token
	{"~", "=7E"},                   // NoToken and hashed tokens begin with '~' and no id does
	{"Ж", "=D0=96"},                // every byte of UTF-8 for itself
	{"\x00\xff", "=00=FF"},         // any bytes at all
	{"Access dashboard", "Access=20dashboard"}, // a Flowable permission
}

func TestToken(t *testing.T) {
	for _, tt := range tokenTable {
		if got := Token(tt.id); got != tt.token {
			t.Errorf("Token(%q) = %q, want %q", tt.id, got, tt.token)
		}
		if got, err := ParseToken(tt.token); err != nil || got != tt.id {
			t.Errorf("ParseToken(%q) = %q, %v, want %q", tt.token, got, err, tt.id)
		}
	}
}

func TestParseTokenRefuses(t *testing.T) {
	for _, token := range []string{
		"=3a",     // lower-case hex
		"=41",     // 'A' stands for itself
		"=2D",     // so does '-'
		"=", "=3", // cut short
		"a=2",                                            //
		"=G0",                                            // no hex digit
		"=-1",                                            //
		"a.b", "a b", "*", ">", "a/b", "~", "ж", "a\x00", // bytes that are never written raw
		"=3A.",  // after a good escape
		"=3A=3", // cut short after a good escape
	} {
		if id, err := ParseToken(token); err == nil {
			t.Errorf("ParseToken(%q) = %q, want an error", token, id)
		}
	}
}

// subjectSafe reports whether s may be one token of a NATS subject and a part of a key or path.
func subjectSafe(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(".*>/", r)
	}) < 0
}

func TestTokenProperties(t *testing.T) {
	anyBytes := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) })
	id := rapid.OneOf(rapid.StringN(0, 40, -1), anyBytes, rapid.StringMatching(`[a=~.3A]{0,6}`))
	rapid.Check(t, func(t *rapid.T) {
		a, b := id.Draw(t, "a"), id.Draw(t, "b")
		if back, err := ParseToken(Token(a)); err != nil || back != a {
			t.Fatalf("ParseToken(Token(%q)) = %q, %v", a, back, err)
		}
		if (Token(a) == Token(b)) != (a == b) {
			t.Fatalf("%q and %q have tokens %q and %q", a, b, Token(a), Token(b))
		}
		if (SubjectToken(a) == SubjectToken(b)) != (a == b) {
			t.Fatalf("%q and %q have subject tokens %q and %q", a, b, SubjectToken(a), SubjectToken(b))
		}
		if !subjectSafe(Token(a)) || !subjectSafe(SubjectToken(a)) {
			t.Fatalf("token %q of %q is not safe in a subject", Token(a), a)
		}
	})
}

func TestSubjectToken(t *testing.T) {
	plain := strings.Repeat("a", 200)
	long := []string{
		plain + "a",
		plain + "b",
		strings.Repeat(".", 67), // 201 bytes once escaped
		strings.Repeat(".", 68),
		strings.Repeat("a", MaxIDBytes),
		strings.Repeat("Ж", MaxIDBytes/2),
	}
	for id, want := range map[string]string{
		"":                      NoToken,
		"read:*":                "read=3A=2A",
		plain:                   plain,
		strings.Repeat("é", 33): strings.Repeat("=C3=A9", 33), // 198 bytes: still readable
	} {
		if got := SubjectToken(id); got != want {
			t.Errorf("SubjectToken(%q) = %q, want %q", id, got, want)
		}
	}
	seen := map[string]string{}
	for _, id := range long {
		token := SubjectToken(id)
		if !strings.HasPrefix(token, "~") || len(token) != 65 || !subjectSafe(token) {
			t.Errorf("SubjectToken of %d bytes is %q, want ~ and 64 hex digits", len(id), token)
		}
		if other, dup := seen[token]; dup {
			t.Errorf("%q and %q share the token %q", id, other, token)
		}
		seen[token] = id
		if _, err := ParseToken(token); err == nil {
			t.Errorf("ParseToken takes the hash %q for an id", token)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, tt := range tokenTable {
		f.Add(tt.id)
		f.Add(tt.token)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if back, err := ParseToken(Token(s)); err != nil || back != s {
			t.Fatalf("ParseToken(Token(%q)) = %q, %v", s, back, err)
		}
		if len(SubjectToken(s)) > maxSubjectToken || !subjectSafe(SubjectToken(s)) || !subjectSafe(Token(s)) {
			t.Fatalf("%q has tokens %q and %q", s, Token(s), SubjectToken(s))
		}
		// s as a token: whatever parses is the only token of its id.
		if id, err := ParseToken(s); err == nil && Token(id) != s {
			t.Fatalf("ParseToken(%q) = %q, whose token is %q", s, id, Token(id))
		}
	})
}
