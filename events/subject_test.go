package events

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// The subjects are pinned: services filter on them.
func TestSubject(t *testing.T) {
	read := Permission{API: "operate", Name: "read:*"}
	for _, tt := range []struct {
		r    Recorded
		want string
	}{
		// An assignment is about its holder and names no API.
		{Recorded{Tenant: "default", Event: RoleAssigned{Principal: User("alice"), Role: "operator"}},
			"permledger.events.default.~.role.assigned.user.alice"},
		// A grant is about its holder and the permission's API.
		{Recorded{Tenant: "default", Event: PermissionGranted{Principal: Client("ci.bot"), Permission: read}},
			"permledger.events.default.operate.permission.granted.client.ci=2Ebot"},
		// What a role gains is about the role.
		{Recorded{Tenant: "default", Event: RolePermissionAdded{Role: "a b", Permission: read}},
			"permledger.events.default.operate.role.permission-added.role.a=20b"},
		// A definition is about its API and nobody.
		{Recorded{Tenant: "<default>", Event: ResourceTypeDefined{Type: "Process", Def: ResourceTypeDefinition{API: "*"}}},
			"permledger.events.=3Cdefault=3E.=2A.resource-type.defined.~.~"},
		// The ledger's own events are of no tenant.
		{Recorded{Event: LedgerCreated{}},
			"permledger.events.~.~.ledger.created.~.~"},
		// What came due is about what its fact is about.
		{Recorded{Tenant: "default", Event: ValidityExpired{Edge: Edge{Kind: EdgeGrant, From: User(">"), Permission: read}}},
			"permledger.events.default.operate.validity.expired.user.=3E"},
	} {
		if got := Subject(tt.r); got != tt.want {
			t.Errorf("Subject(%s) = %s, want %s", Name(tt.r.Event), got, tt.want)
		}
	}
}

func TestSubjectFilter(t *testing.T) {
	for _, tt := range []struct {
		f    SubjectFilter
		want string
	}{
		{SubjectFilter{}, "permledger.events.*.*.*.*.*.*"},
		{SubjectFilter{Tenant: "*"}, "permledger.events.=2A.*.*.*.*.*"},
		{SubjectFilter{API: "operate", Kind: "permission"}, "permledger.events.*.operate.permission.*.*.*"},
		{SubjectFilter{Kind: "role.assigned", PrincipalKind: KindUser}, "permledger.events.*.*.role.assigned.user.*"},
		{SubjectFilter{PrincipalKind: KindGroup, PrincipalID: "a.b"}, "permledger.events.*.*.*.*.group.a=2Eb"},
	} {
		if err := tt.f.Check(); err != nil {
			t.Errorf("%+v: %v", tt.f, err)
		}
		if got := tt.f.Subject(); got != tt.want {
			t.Errorf("%+v selects %s, want %s", tt.f, got, tt.want)
		}
	}
	for _, f := range []SubjectFilter{
		{Kind: "role.asigned"}, {Kind: "rol"}, {Kind: "role."}, {Kind: "*"}, {Kind: ".assigned"}, {Kind: "role.assigned.x"},
		{PrincipalKind: "people"}, {PrincipalID: "\x00"}, {Tenant: "\xff"}, {API: API(strings.Repeat("x", MaxIDBytes+1))},
	} {
		if _, invalid := errors.AsType[*InvalidError](f.Check()); !invalid {
			t.Errorf("%+v is taken: %v", f, f.Check())
		}
	}
}

// natsMatches is how a NATS server matches a subject with a filter.
func natsMatches(filter, subject string) bool {
	ff, ss := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, f := range ff {
		switch {
		case f == ">":
			return len(ss) > i
		case i >= len(ss) || f != "*" && f != ss[i]:
			return false
		}
	}
	return len(ff) == len(ss)
}

// selects is what a filter means, without subjects.
func selects(f SubjectFilter, r Recorded) bool {
	holder, _, api := About(r.Event)
	name := Name(r.Event)
	return (f.Tenant == "" || f.Tenant == r.Tenant) &&
		(f.API == "" || f.API == api) &&
		(f.Kind == "" || f.Kind == name || f.Kind == name[:strings.Index(name, ".")]) &&
		(f.PrincipalKind == "" || f.PrincipalKind == holder.Kind) &&
		(f.PrincipalID == "" || f.PrincipalID == holder.ID)
}

// The ids drawn are few and nasty, so that filters hit, and miss by a little.
func nastyID() *rapid.Generator[string] {
	long := strings.Repeat("ж.", 80)
	return rapid.SampledFrom([]string{
		"*", ">", "~", ".", "a", "a.b", "a.*", "=2A", "=", " ", "default", "user", "role", long, long[:len(long)-1] + "*",
	})
}

func anyRecorded() *rapid.Generator[Recorded] {
	return rapid.Custom(func(t *rapid.T) Recorded {
		id := nastyID()
		kind := rapid.SampledFrom([]Kind{KindUser, KindClient, KindGroup, KindRole, KindMappingRule})
		who := Principal{Kind: kind.Draw(t, "kind"), ID: id.Draw(t, "who")}
		permission := Permission{API: API(id.Draw(t, "api")), Name: "p"}
		other := id.Draw(t, "other")
		r := Recorded{Event: rapid.SampledFrom([]Event{
			LedgerCreated{}, AdministratorAdded{Principal: who}, TenantCreated{}, CatalogLoaded{Catalog: Catalog(other)},
			APIDefined{API: permission.API}, PermissionDefined{Permission: permission},
			ResourceTypeRetired{Before: ResourceTypeDefinition{API: permission.API}},
			RoleDeleted{Role: Role(other)}, RolePermissionAdded{Role: Role(other), Permission: permission},
			RoleIncluded{Role: Role(other), Included: "r"}, GroupCreated{Group: Group(other)},
			GroupMemberAdded{Group: Group(other), Member: who}, GroupParentUnset{Group: Group(other), Parent: "p"},
			RoleAssigned{Principal: who, Role: "r"}, RoleUnassigned{Principal: who, Role: "r"},
			PermissionGranted{Principal: who, Permission: permission}, PermissionRevoked{Principal: who, Permission: permission},
			PrincipalDeleted{Principal: who}, PrincipalDescribed{Principal: who}, PrincipalErased{Principal: who}, ValidityStarted{Edge: Edge{Kind: EdgeGrant, From: who, Permission: permission}},
		}).Draw(t, "event")}
		if rapid.Bool().Draw(t, "tenant") {
			r.Tenant = Tenant(id.Draw(t, "tenant id"))
		}
		return r
	})
}

func anyFilter() *rapid.Generator[SubjectFilter] {
	return rapid.Custom(func(t *rapid.T) SubjectFilter {
		id := rapid.OneOf(rapid.Just(""), nastyID())
		return SubjectFilter{
			Tenant:        Tenant(id.Draw(t, "tenant")),
			API:           API(id.Draw(t, "api")),
			Kind:          rapid.SampledFrom(append(Names(), "", "", "role", "permission", "group", "validity")).Draw(t, "kind"),
			PrincipalKind: rapid.SampledFrom([]Kind{"", "", KindUser, KindRole, KindGroup}).Draw(t, "principal kind"),
			PrincipalID:   id.Draw(t, "principal id"),
		}
	})
}

// A filter selects exactly the events it describes, by the matching rules of NATS and nothing else.
func TestSubjectFilterSelectsExactly(t *testing.T) {
	hits, misses := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r, f := anyRecorded().Draw(t, "event"), anyFilter().Draw(t, "filter")
		if rapid.Bool().Draw(t, "aim") { // at this very event, with some fields left out
			holder, _, api := About(r.Event)
			aimed := SubjectFilter{r.Tenant, api, Name(r.Event), holder.Kind, holder.ID}
			if rapid.Bool().Draw(t, "keep tenant") {
				f.Tenant = aimed.Tenant
			}
			f.API, f.Kind, f.PrincipalKind, f.PrincipalID = aimed.API, aimed.Kind, aimed.PrincipalKind, aimed.PrincipalID
		}
		want := selects(f, r)
		if got := natsMatches(f.Subject(), Subject(r)); got != want {
			t.Fatalf("%s selects %s: %v, want %v", f.Subject(), Subject(r), got, want)
		}
		if want {
			hits++
		} else {
			misses++
		}
	})
	if hits == 0 || misses == 0 {
		t.Errorf("%d hits and %d misses show nothing", hits, misses)
	}
}

// No id reaches a subject as a wildcard, a separator or white space, and none makes it too long.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"alice", "*", ">", "a.b", "~", " ", "\x00", "\xff", "=2A", strings.Repeat("ж", 200)} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, tenant, api, id string) {
		r := Recorded{Tenant: Tenant(tenant), Event: PermissionGranted{
			Principal: User(id), Permission: Permission{API: API(api), Name: "p"},
		}}
		filter := SubjectFilter{Tenant: Tenant(tenant), API: API(api), PrincipalKind: KindUser, PrincipalID: id}
		for _, s := range []string{Subject(r), filter.Subject()} {
			tokens := strings.Split(s, ".")
			if len(tokens) != 8 || len(s) > 1000 {
				t.Fatalf("%q has %d tokens and %d bytes", s, len(tokens), len(s))
			}
			for i, given := range map[int]string{2: tenant, 3: api, 7: id} {
				wild := tokens[i] == "*" && given == "" && s == filter.Subject()
				if !wild && (tokens[i] == "" || strings.ContainsAny(tokens[i], "*> \t\r\n\x00") || !utf8.ValidString(tokens[i])) {
					t.Fatalf("%q stands in a subject as %q", given, tokens[i])
				}
			}
		}
		if !natsMatches(filter.Subject(), Subject(r)) {
			t.Fatalf("%s misses %s", filter.Subject(), Subject(r))
		}
	})
}

// The bytes are pinned, so that a reader learns the format and a feed built anew is the same.
func TestMessage(t *testing.T) {
	ledger := uuid.MustParse("019a0000-0000-7000-8000-000000000009")
	m := Message(ledger, Recorded{Revision: 12, Position: 40, Raw: []byte(`{"id":"x"}`)})
	const want = `{"ledger":"019a0000-0000-7000-8000-000000000009","revision":12,"position":40,"event":{"id":"x"}}`
	if got := string(m.Bytes()); got != want {
		t.Errorf("message is\n%s, want\n%s", got, want)
	}
	back, err := ParseMessage([]byte(want))
	if err != nil || back.Ledger != ledger || back.Revision != 12 || back.Position != 40 || string(back.Event) != `{"id":"x"}` {
		t.Errorf("read as %+v, %v", back, err)
	}
	for _, other := range []string{
		"", "{}", want[:len(want)-2] + " ", want[1:], " " + want,
		strings.Replace(want, "12", "012", 1), strings.Replace(want, "12", "+12", 1), strings.Replace(want, "40", "4e1", 1),
		strings.Replace(want, "12", "18446744073709551616", 1), strings.Replace(want, "019a", "019A", 1),
		strings.Replace(want, ",", ", ", 1), strings.Replace(want, "019a0000-", "019a0000", 1),
	} {
		if m, err := ParseMessage([]byte(other)); !errors.Is(err, ErrNotAMessage) {
			t.Errorf("%s is read as %+v, %v", other, m, err)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	ledger := uuid.MustParse("019a0000-0000-7000-8000-000000000009")
	f.Add(Message(ledger, Recorded{Revision: 1, Position: 1, Raw: []byte("{}")}).Bytes())
	f.Add([]byte(`{"ledger":"","revision":,"position":,"event":}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseMessage(b); err == nil && !bytes.Equal(m.Bytes(), b) {
			t.Fatalf("%q is read as %q", b, m.Bytes())
		}
	})
}
