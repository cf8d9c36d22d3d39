package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Short names for the tables: two types, two ids, two properties.
var (
	none           = Scope{}
	anyT, anyU     = AnyOf("T"), AnyOf("U")
	idTa, idTb     = Exactly("T", "a"), Exactly("T", "b")
	idUa           = Exactly("U", "a")
	propTp, propTq = WithProperty("T", "p"), WithProperty("T", "q")
	propUp         = WithProperty("U", "p")
	scopes         = []Scope{none, anyT, anyU, idTa, idTb, idUa, propTp, propTq, propUp}
)

func TestScopeCovers(t *testing.T) {
	covers := map[[2]Scope]bool{
		{anyT, idTa}: true, {anyT, idTb}: true, {anyT, propTp}: true, {anyT, propTq}: true,
		{anyU, idUa}: true, {anyU, propUp}: true,
		// None reaches no resource, and no resource reaches none; an id is not a property of the same name.
	}
	for _, s := range scopes {
		for _, u := range scopes {
			if got, want := s.Covers(u), s == u || covers[[2]Scope{s, u}]; got != want {
				t.Errorf("%q covers %q: %v", s, u, got)
			}
		}
	}
	if idTp := Exactly("T", "p"); idTp.Covers(propTp) || propTp.Covers(idTp) {
		t.Error("an id and a property of the same name cover each other")
	}
}

func TestScopeNarrow(t *testing.T) {
	for _, tt := range []struct {
		held, outer, want Scope
		ok                bool
	}{
		{none, none, none, true},
		{idTa, none, idTa, true}, // assigned on nothing in particular: the role as it is
		{none, idTa, idTa, true}, // a permission without a resource, assigned on one
		{anyT, idTa, idTa, true}, // the smaller of the two, either way round
		{idTa, anyT, idTa, true},
		{anyT, propTp, propTp, true},
		{propTp, anyT, propTp, true},
		{propTp, propTp, propTp, true},
		{anyT, anyT, anyT, true},
		{idTa, idTb, none, false}, // nothing in common
		{anyT, anyU, none, false},
		{anyT, idUa, none, false},
		{propTp, propUp, none, false},
		{propTp, idTa, none, false}, // a property of one id: no scope says that, so it is not held
		{propTp, propTq, none, false},
	} {
		got, ok := tt.held.Narrow(tt.outer)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%q held on %q gives %q, %v; want %q, %v", tt.held, tt.outer, got, ok, tt.want, tt.ok)
		}
	}
}

// question is what a scope can match: a type, and one id of it with the properties that hold for whoever
// asks, or no id. The model of a scope is the set of questions it matches.
type question struct {
	Type  ResourceType
	ID    string // "": any of the type is asked about
	Holds string // the properties, one letter each
}

// world is every question about two types, two ids and two properties, and about an id and properties that
// no scope in the tests names.
func world() []question {
	var all []question
	for _, t := range []ResourceType{"T", "U"} {
		all = append(all, question{Type: t})
		for _, id := range []string{"a", "b", "else"} {
			for _, holds := range []string{"", "p", "q", "pq"} {
				all = append(all, question{t, id, holds})
			}
		}
	}
	return all
}

func (s Scope) models(q question) bool {
	switch s.Kind {
	case ScopeAny:
		return q.Type == s.Type
	case ScopeID:
		return q.Type == s.Type && q.ID == s.Value
	case ScopeProperty:
		return q.Type == s.Type && q.ID != "" && strings.Contains(q.Holds, s.Value)
	default:
		return false
	}
}

// Narrow is intersection where one scope can express it, with none as what does not restrict; Covers is the
// superset relation.
func TestScopeAgainstSets(t *testing.T) {
	all := world()
	onResource := rapid.SampledFrom(scopes[1:])
	rapid.Check(t, func(t *rapid.T) {
		s, u := onResource.Draw(t, "s"), onResource.Draw(t, "u")
		got, ok := s.Narrow(u)
		if back, okBack := u.Narrow(s); back != got || okBack != ok {
			t.Fatalf("%q narrowed to %q is %q, %v; the other way round %q, %v", s, u, got, ok, back, okBack)
		}
		common, superset := 0, true
		for _, q := range all {
			both := s.models(q) && u.models(q)
			if both {
				common++
			}
			if u.models(q) && !s.models(q) {
				superset = false
			}
			if ok && got.models(q) != both {
				t.Fatalf("%q narrowed to %q is %q, which is wrong for %+v", s, u, got, q)
			}
		}
		if s.Covers(u) != superset {
			t.Fatalf("%q covers %q: %v", s, u, s.Covers(u))
		}
		// Refused only when there is nothing in common, or when it needs two conditions at once.
		if !ok && common > 0 && s.Kind != ScopeProperty && u.Kind != ScopeProperty {
			t.Fatalf("%q and %q have %d questions in common and no scope", s, u, common)
		}
		for _, x := range []Scope{s, none} {
			if got, ok := x.Narrow(s); !ok || got != s {
				t.Fatalf("%q narrowed to %q is %q, %v", x, s, got, ok)
			}
		}
	})
}

func TestScopeJSON(t *testing.T) {
	for s, want := range map[Scope]string{
		none:                        `null`,
		anyT:                        `{"type":"T","any":true}`,
		idTa:                        `{"type":"T","id":"a"}`,
		propTp:                      `{"type":"T","property":"p"}`,
		Exactly("T", "a:b/c"):       `{"type":"T","id":"a:b/c"}`,
		Exactly("тип", "заказ:*"):   `{"type":"тип","id":"заказ:*"}`,
		WithProperty("T", "any"):    `{"type":"T","property":"any"}`,
		Exactly("T", "<default>"):   `{"type":"T","id":"\u003cdefault\u003e"}`,
		Exactly("master data", "1"): `{"type":"master data","id":"1"}`,
	} {
		b, err := json.Marshal(s)
		if err != nil || string(b) != want {
			t.Errorf("Marshal(%q) = %s, %v, want %s", s, b, err, want)
		}
		back := Exactly("left", "over")
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Errorf("Unmarshal(%s) = %q, %v", b, back, err)
		}
	}
	for _, bad := range []string{
		`{"type":"T","id":"*"}`, // products that write so mean any of the type
		`{}`, `{"type":"T"}`, `{"any":true}`, `{"id":"a"}`,
		`{"type":"T","any":false}`, `{"type":"T","id":""}`,
		`{"type":"T","any":true,"id":"a"}`, `{"type":"T","id":"a","property":"p"}`,
		`{"type":"a:b","any":true}`, `{"type":"api","any":true}`, `{"type":"T","id":"a\u202eb"}`,
		`{"type":"T","any":true,"also":1}`, `{"type":"T","any":"true"}`, `"T:a"`, `[]`, `7`,
	} {
		var s Scope
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("Unmarshal(%s) = %q, want an error", bad, s)
		}
	}
}

func TestScopeCheck(t *testing.T) {
	for _, s := range scopes {
		if err := s.Check(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []Scope{
		{Type: "T"}, {Value: "a"}, // none is of nothing
		{ScopeAny, "T", "a"}, {ScopeAny, "", ""}, {ScopeAny, "api", ""},
		{ScopeID, "T", ""}, {ScopeID, "T", "*"}, {ScopeID, "a/b", "x"}, {ScopeID, "T", "a\x00"},
		{ScopeProperty, "T", ""}, {ScopeProperty, "T", strings.Repeat("p", 257)},
		{ScopeProperty + 1, "T", "a"},
	} {
		if s.Check() == nil {
			t.Errorf("%+v: taken", s)
		}
	}
}

// Scopes are sorted and shown by their written form, so different scopes must be written differently.
func TestScopeStringIsInjective(t *testing.T) {
	for s, want := range map[Scope]string{none: "", anyT: "T:*", idTa: "T:a", propTp: "T/p"} {
		if s.String() != want {
			t.Errorf("%+v is written %q, want %q", s, s, want)
		}
	}
	word := rapid.StringMatching(`[a*:/]{1,4}`)
	valid := rapid.Custom(func(t *rapid.T) Scope {
		kind := ScopeKind(rapid.IntRange(0, 3).Draw(t, "kind"))
		return Scope{kind, ResourceType(word.Draw(t, "type")), rapid.OneOf(word, rapid.Just("")).Draw(t, "value")}
	}).Filter(func(s Scope) bool { return s.Check() == nil })
	rapid.Check(t, func(t *rapid.T) {
		s, u := rapid.OneOf(valid, rapid.Just(none)).Draw(t, "s"), valid.Draw(t, "u")
		if (s.Compare(u) == 0) != (s == u) || (s.String() == u.String()) != (s == u) {
			t.Fatalf("%s and %s are both written %q", fmt.Sprintf("%#v", s), fmt.Sprintf("%#v", u), s)
		}
	})
}
