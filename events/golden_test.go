package events

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// A golden file holds one stored event, or one stored commit, as the log holds it: one line of JSON. It is
// proof that what was written once is still read the same. A golden file is never edited; a change that needs
// to is a new version of the event.
//
// -update writes the files that are missing, of newest versions only: an older version can no longer be
// written, and its file was made when it was the newest.
var update = flag.Bool("update", false, "write golden files that are missing; never touches one that exists")

const goldenDir = "testdata/golden"

// testID gives the n-th fixed UUIDv7.
func testID(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("019a0000-0000-7000-8000-%012x", n))
}

func mustInstant(s string) Instant {
	i, err := ParseInstant("time", s)
	if err != nil {
		panic(err)
	}
	return i
}

func ptr[T any](v T) *T { return &v }

// goldenEnvelope has every member of an envelope filled in.
func goldenEnvelope(e Event) Recorded {
	return Recorded{
		ID:         testID(1),
		Command:    testID(2),
		Tenant:     "default",
		RecordedAt: mustInstant("2026-03-01T09:30:00.000001Z"),
		ValidFrom:  mustInstant("2026-02-01T00:00:00Z"),
		ValidUntil: mustInstant("2026-12-31T00:00:00Z"),
		Meta: Meta{
			Actor:       User("root"),
			OnBehalfOf:  User("Мария"),
			AuthMethod:  "token",
			Source:      "192.0.2.1",
			RequestID:   "req-7",
			Reason:      "new hire <ops>",
			Ticket:      "OPS-1",
			Approvals:   []Approval{{By: User("bob"), At: mustInstant("2026-02-28T12:00:00Z"), Ref: "OPS-1#2"}},
			Origin:      OriginImport,
			Key:         "key-1",
			RequestHash: strings.Repeat("0a", 32),
		},
		Event: e,
	}
}

// goldenSealed is an envelope whose reason and ticket are sealed: a member that came later, so that the files
// made before have none.
func goldenSealed(e Event) Recorded {
	r := goldenEnvelope(e)
	r.Reason, r.Ticket = "", ""
	r.Sealed = &Sealed{For: Client("ci"), Key: testID(4), Box: []byte("reason and ticket")}
	return r
}

// goldenRecorded is what the golden file of an event holds.
func goldenRecorded(e Event) Recorded {
	switch e.(type) {
	case PrincipalDescribed, PrincipalErased:
		return goldenSealed(e)
	}
	return goldenEnvelope(e)
}

var (
	goldenGrant = Edge{
		Kind: EdgeGrant, From: User("alice"),
		Permission: Permission{"operate", "read:*"}, Scope: Exactly("Process", "order:1"),
	}
	goldenAssignment = Edge{
		Kind: EdgeAssignment, From: Group("ops").Principal(),
		To: Role("operator").Principal(), Scope: AnyOf("Process"),
	}
	goldenEnded = Ended{Fact: testID(3), WasUntil: mustInstant("2027-01-01T00:00:00Z")}

	goldenInfo     = CatalogInfo{"Operate", "8.8", "permissions.txt", strings.Repeat("0b", 32), []string{"permission -> role"}}
	goldenAPI      = APIDefinition{"Operate API", "operate-api", "Operate", true}
	goldenNeeds    = [][]Permission{{{"operate", "read:*"}, {"operate", "read"}}, {{"identity", "read"}}}
	goldenRightDef = PermissionDefinition{
		ID: "write-all", Category: "write", Description: "Write & delete.",
		RequiresAnyOf: goldenNeeds, RequiresBasis: "stated",
		Effects: []Effect{{"api", "read", "all", ptr(false)}, {Surface: "ui", Access: "write"}},
		Since:   "8.7", Until: "8.9", InDocument: true,
	}
	goldenTypeDef = ResourceTypeDefinition{
		API: "operate", Label: "Process", Permissions: []PermissionName{"read:*", "write:*"},
		Scopes: []string{"any", "id", "property"}, Properties: []string{"assignee"},
		PermissionScopes: map[PermissionName][]string{"read:*": {"any", "id"}, "write:*": {"any"}},
		Since:            "8.8", InDocument: true,
	}
	goldenAttr    = Attributes{"Operators", "People who run things."}
	goldenProfile = Profile{"Алиса", "alice@example.com", "+1 555 0100", "On call."}
	goldenBox     = Sealed{For: User("alice"), Key: testID(5), Box: []byte{0x00, 0xff, 0x10}}
	goldenKey     = PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
)

func goldenMark(n byte) Mark {
	return Mark{Ledger: testID(9), Revision: Revision(n), Hash: Hash{n}, Position: Position(2 * n), Root: Hash{n, n}}
}

// golden lists, for each wire name, the present form of what the golden file of each version holds.
var golden = map[string][]Event{
	"ledger.created":        {LedgerCreated{Ledger: testID(9)}},
	"key.announced":         {KeyAnnounced{Key: goldenKey.Public()}},
	"fork.accepted":         {ForkAccepted{Lost: goldenMark(9), Kept: goldenMark(4)}},
	"administrator.added":   {AdministratorAdded{Principal: User("root")}},
	"administrator.removed": {AdministratorRemoved{Principal: Client("ci")}},
	"tenant.created":        {TenantCreated{Name: "Acme"}},
	"tenant.deleted":        {TenantDeleted{}},
	"catalog.loaded":        {CatalogLoaded{"operate", goldenInfo, ptr(CatalogInfo{Version: "8.7", Digest: strings.Repeat("0c", 32)})}},
	"api.defined":           {APIDefined{"operate", "camunda", goldenAPI, ptr(APIDefinition{Name: "Operate", Audience: "operate"})}},
	"api.retired":           {APIRetired{"operate", goldenAPI}},
	"permission.defined": {
		// Version 1 had one flat list of prerequisites, all of them needed: an AND of groups of one.
		PermissionDefined{
			Permission: Permission{"operate", "write:*"}, Catalog: "camunda",
			Def: PermissionDefinition{
				ID: "write-all", Category: "write", Description: "Write.",
				RequiresAnyOf: [][]Permission{{{"operate", "read:*"}}, {{"identity", "read"}}},
			},
			Before: &PermissionDefinition{ID: "write", RequiresAnyOf: [][]Permission{{{"operate", "read:*"}}}},
		},
		PermissionDefined{
			Permission: Permission{"operate", "write:*"}, Catalog: "camunda",
			Def: goldenRightDef, Before: ptr(PermissionDefinition{ID: "write"}),
		},
	},
	"permission.retired":      {PermissionRetired{Permission{"operate", "write:*"}, goldenRightDef}},
	"resource-type.defined":   {ResourceTypeDefined{"Process", "camunda", goldenTypeDef, ptr(ResourceTypeDefinition{API: "operate"})}},
	"resource-type.retired":   {ResourceTypeRetired{"Process", goldenTypeDef}},
	"role.created":            {RoleCreated{"operator", "camunda", goldenAttr}},
	"role.changed":            {RoleChanged{"operator", goldenAttr, Attributes{Name: "Ops"}}},
	"role.deleted":            {RoleDeleted{"operator"}},
	"role.permission-added":   {RolePermissionAdded{"operator", Permission{"operate", "read:*"}, WithProperty("Task", "assignee")}},
	"role.permission-removed": {RolePermissionRemoved{"operator", Permission{"operate", "read:*"}, AnyOf("Process"), goldenEnded}},
	"role.included":           {RoleIncluded{"operator", "viewer"}},
	"role.excluded":           {RoleExcluded{"operator", "viewer", goldenEnded}},
	"group.created":           {GroupCreated{"ops", goldenAttr}},
	"group.deleted":           {GroupDeleted{"ops"}},
	"group.member-added":      {GroupMemberAdded{"ops", Client("ci")}},
	"group.member-removed":    {GroupMemberRemoved{"ops", Principal{KindMappingRule, "sso:ops"}, goldenEnded}},
	"group.parent-set":        {GroupParentSet{"ops", "staff"}},
	"group.parent-unset":      {GroupParentUnset{"ops", "staff", goldenEnded}},
	"role.assigned":           {RoleAssigned{Group("ops").Principal(), "operator", AnyOf("Process")}},
	"role.unassigned":         {RoleUnassigned{Group("ops").Principal(), "operator", AnyOf("Process"), goldenEnded}},
	"permission.granted":      {PermissionGranted{User("alice"), Permission{"operate", "read:*"}, Exactly("Process", "order:1")}},
	"permission.revoked":      {PermissionRevoked{User("alice"), Permission{"operate", "read:*"}, Exactly("Process", "order:1"), goldenEnded}},
	"principal.deleted":       {PrincipalDeleted{User("alice")}},
	// The ledger records one of profile and sealed; the file holds both, to pin both.
	"principal.described": {PrincipalDescribed{User("alice"), goldenProfile, &goldenBox}},
	"principal.erased":    {PrincipalErased{User("alice"), []PersonalKey{testID(4), testID(5)}}},
	"validity.corrected":  {ValidityCorrected{testID(3), goldenGrant, Interval{mustInstant("2026-01-01T00:00:00Z"), Forever}}},
	"validity.started":    {ValidityStarted{testID(3), goldenAssignment}},
	"validity.expired":    {ValidityExpired{testID(3), goldenAssignment}},
}

// goldenFile reads a golden file without its closing newline; write makes a missing one under -update.
func goldenFile(t testing.TB, name string, write func() []byte) []byte {
	t.Helper()
	path := filepath.Join(goldenDir, name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && *update && write != nil {
		b = append(write(), '\n')
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatalf("%v (every version needs a golden file; -update makes those of newest versions)", err)
	}
	line, newline := bytes.CutSuffix(b, []byte("\n"))
	if !newline || bytes.ContainsAny(line, "\r\n") {
		t.Fatalf("%s must be one line", path)
	}
	return line
}

func TestGoldenEvents(t *testing.T) {
	for _, k := range registry {
		want := golden[k.name]
		if len(want) != len(k.versions) {
			t.Errorf("%s has %d versions and %d expectations in this test", k.name, len(k.versions), len(want))
			continue
		}
		for i := range k.versions {
			version, newest := i+1, i+1 == len(k.versions)
			t.Run(fmt.Sprintf("%s.v%d", k.name, version), func(t *testing.T) {
				expected := goldenRecorded(want[i])
				encoded, err := MarshalEvent(expected)
				if err != nil {
					t.Fatal(err)
				}
				write := func() []byte { return encoded }
				if !newest {
					write = nil
				}
				stored := goldenFile(t, fmt.Sprintf("%s.v%d.json", k.name, version), write)

				got, err := UnmarshalEvent(stored)
				if err != nil {
					t.Fatal(err)
				}
				expected.Raw = stored
				if diff := cmp.Diff(expected, got); diff != "" {
					t.Errorf("decoded otherwise than when it was written (-want +got):\n%s", diff)
				}
				if name := Name(got.Event); name != k.name {
					t.Errorf("Name(%T) = %q", got.Event, name)
				}
				if newest && !bytes.Equal(encoded, stored) {
					t.Errorf("encoded otherwise than when it was written:\n got %s\nwant %s", encoded, stored)
				}
			})
		}
	}
}

// A golden value with an empty field would not notice that the field lost its name.
func TestGoldenFillsEveryField(t *testing.T) {
	for name, versions := range golden {
		v := reflect.ValueOf(versions[len(versions)-1])
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: field %s is empty in the golden value", name, v.Type().Field(i).Name)
			}
		}
	}
	meta := goldenEnvelope(TenantDeleted{}).Meta
	meta.Sealed = goldenSealed(TenantDeleted{}).Sealed // with which there is no reason and no ticket
	for _, v := range []any{
		meta, goldenProfile, goldenBox, goldenInfo, goldenAPI, goldenRightDef, goldenRightDef.Effects[0],
		goldenTypeDef, goldenAttr, goldenEnded, goldenEnvelope(TenantDeleted{}).Approvals[0],
	} {
		for i := range reflect.TypeOf(v).NumField() {
			if reflect.ValueOf(v).Field(i).IsZero() {
				t.Errorf("%T: field %s is empty in the golden value", v, reflect.TypeOf(v).Field(i).Name)
			}
		}
	}
}

// The sealed set, the registry and the golden files are the same set. The set itself is read from the source:
// every type with the method event.
func TestSealedSetIsRegistered(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var sealed []string
	for _, decl := range source.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "event" && f.Recv != nil {
			sealed = append(sealed, f.Recv.List[0].Type.(*ast.Ident).Name)
		}
	}
	var registered []string
	for _, name := range Names() {
		for _, e := range golden[name] {
			registered = append(registered, reflect.TypeOf(e).Name())
		}
	}
	slices.Sort(sealed)
	slices.Sort(registered)
	registered = slices.Compact(registered)
	if diff := cmp.Diff(sealed, registered); diff != "" {
		t.Errorf("types with the method event (-) and types the registry decodes to (+):\n%s", diff)
	}
	if len(sealed) != len(Names()) {
		t.Errorf("%d event types and %d wire names", len(sealed), len(Names()))
	}
}

// A file without a version in the registry is a version that somebody took away.
func TestGoldenFilesAreAllRead(t *testing.T) {
	files, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"commit.v1.json": true, "commit.v2.json": true}
	for _, k := range registry {
		for i := range k.versions {
			known[fmt.Sprintf("%s.v%d.json", k.name, i+1)] = true
		}
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("%s: no such name and version in the registry", f.Name())
		}
		delete(known, f.Name())
	}
	for name := range known {
		t.Errorf("%s is missing", name)
	}
}

// goldenCommit is the first commit of a ledger: an empty envelope beside a full one, and two commands.
func goldenCommit() (Head, Header, []Recorded) {
	h := Header{Ledger: testID(9), RecordedAt: mustInstant("2026-03-01T09:30:00.000001Z"), Writer: "node-1"}
	by := Meta{Actor: User("root")}
	return Head{}, h, []Recorded{
		{ID: testID(10), Command: testID(20), Meta: Meta{Actor: User("root"), Origin: OriginLedger}, Event: LedgerCreated{testID(9)}},
		{ID: testID(11), Command: testID(20), Tenant: DefaultTenant, Meta: by, Event: TenantCreated{}},
		goldenEnvelope(PermissionGranted{User("alice"), Permission{"operate", "read:*"}, Scope{}}),
	}
}

func TestGoldenCommit(t *testing.T) {
	for _, g := range []struct {
		file   string
		signer Signer
		hash   string // SHA-256 of the bytes of the file without the closing newline
	}{
		{"commit.v1.json", nil, "e4fa563c82dd0579375a29d7c9d33ad60dc919083bca8964cfc4382aba9ac665"},
		{"commit.v2.json", goldenKey, "e9a26c4f781298ce8cf5f3762d73b1fd8c15f561b5d51ea815dab08a73d6d8a6"},
	} {
		t.Run(g.file, func(t *testing.T) {
			head, header, evs := goldenCommit()
			var key PublicKey
			if g.signer != nil {
				key = g.signer.Public()
				evs = append(evs, Recorded{ID: testID(12), Command: testID(20), Meta: Meta{Actor: User("root")}, Event: KeyAnnounced{key}})
			}
			sealed, err := Seal(head, header, evs, g.signer)
			if err != nil {
				t.Fatal(err)
			}
			stored := goldenFile(t, g.file, func() []byte { return sealed.Bytes })
			if !bytes.Equal(stored, sealed.Bytes) {
				t.Errorf("sealed otherwise than when it was written:\n got %s\nwant %s", sealed.Bytes, stored)
			}
			got, err := DecodeCommit(stored)
			if err != nil {
				t.Fatal(err)
			}
			if got.Hash.String() != g.hash {
				t.Errorf("hash %s, want %s", got.Hash, g.hash)
			}
			if diff := cmp.Diff(sealed, got); diff != "" {
				t.Errorf("decoded otherwise than sealed (-sealed +decoded):\n%s", diff)
			}
			for i, r := range got.Events {
				if r.Revision != 1 || r.Position != Position(i)+1 {
					t.Errorf("event %d is at revision %d position %d", i, r.Revision, r.Position)
				}
			}
			if joined := JoinCommit(got.Prefix(), raws(got), got.Suffix()); !bytes.Equal(joined, stored) {
				t.Errorf("prefix, events and suffix do not join to the stored bytes:\n%s", joined)
			}
			want := Head{testID(9), 1, got.Hash, Position(len(evs)), mustInstant("2026-03-01T09:30:00.000001Z"), "node-1", 1, key}
			if got.Head() != want {
				t.Errorf("head %+v, want %+v", got.Head(), want)
			}
			if err := (Head{}).Follows(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func raws(c Commit) []json.RawMessage {
	raw := make([]json.RawMessage, len(c.Events))
	for i, r := range c.Events {
		raw[i] = r.Raw
	}
	return raw
}
