package pack_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections/audit/pack"
)

var update = flag.Bool("update", false, "write testdata/pack.golden anew; only for a new format")

// What stands in the parts of a pack that people and spreadsheets read, pinned: a pack made today must verify for
// ever, and is compared with what the code of that day writes. A difference here is a new format.
func TestPinnedPack(t *testing.T) {
	id := func(n int) uuid.UUID { return uuid.MustParse(fmt.Sprintf("019ca86d-4a00-7000-8000-%012d", n)) }
	alice, ops := events.User("alice"), events.Group("ops")
	read := events.Permission{API: "files", Name: "read:*"}
	edge := events.Edge{Kind: events.EdgeGrant, From: alice, Permission: read}
	day := func(n int) events.Instant { return at(t, fmt.Sprintf("2026-03-%02dT09:00:00Z", n)) }
	happened := []events.Event{
		events.LedgerCreated{Ledger: id(0)}, events.KeyAnnounced{Key: key(1).Public()}, events.AdministratorAdded{Principal: events.Client("root")},
		events.TenantCreated{Name: "Default"}, events.APIDefined{API: "files", Def: events.APIDefinition{Name: "Files", Audience: "files-api"}},
		events.PermissionDefined{Permission: read}, events.ResourceTypeDefined{Type: "doc", Def: events.ResourceTypeDefinition{API: "files"}},
		events.RoleCreated{Role: "operator"}, events.RolePermissionAdded{Role: "operator", Permission: read, Scope: events.AnyOf("doc")},
		events.GroupCreated{Group: "ops"}, events.GroupMemberAdded{Group: "ops", Member: alice},
		events.RoleAssigned{Principal: ops.Principal(), Role: "operator", Scope: events.Exactly("doc", "a/b")},
		events.PermissionGranted{Principal: alice, Permission: read},
		events.ValidityCorrected{Fact: id(13), Edge: edge, Before: events.Interval{From: day(1), Until: events.Forever}},
		events.PermissionRevoked{Principal: alice, Permission: read, Ended: events.Ended{Fact: id(13)}},
		events.RoleDeleted{Role: "operator"}, events.PrincipalDeleted{Principal: alice}, events.AdministratorAdded{Principal: events.User("=bob")},
		events.AdministratorRemoved{Principal: events.User("=bob")},
		events.ForkAccepted{Lost: events.Mark{Ledger: id(0), Revision: 30}, Kept: events.Mark{Ledger: id(0), Revision: 19}},
	}
	log := memlog.Open(memlog.Config{})
	var head events.Head
	for i, e := range happened {
		n := i + 1
		r := events.Recorded{ID: id(n), Command: id(100 + n), Tenant: "default", Event: e, Meta: events.Meta{Actor: events.Client("root")}}
		switch e.(type) {
		case events.LedgerCreated, events.KeyAnnounced, events.AdministratorAdded, events.AdministratorRemoved, events.ForkAccepted:
			r.Tenant = ""
		case events.PermissionGranted:
			r.ValidFrom, r.ValidUntil = day(1), day(30)
			r.Meta = events.Meta{Actor: alice, OnBehalfOf: ops.Principal(), Reason: "=1+1, \"of course\"\nand more", Ticket: "OPS-1",
				Approvals: []events.Approval{{By: events.User("carol"), At: day(2), Ref: "call"}, {By: events.User("dave")}}}
		}
		var evs []events.Recorded
		if evs = append(evs, r); n == 1 { // the key is announced in the first commit
			k := events.Recorded{ID: id(2), Command: id(102), Event: happened[1], Meta: r.Meta}
			evs = append(evs, k)
		}
		if n == 2 {
			continue
		}
		c, err := events.Seal(head, events.Header{Ledger: id(0), RecordedAt: day(n), Writer: "w"}, evs, key(1))
		if err == nil {
			err = log.Append(t.Context(), head.Revision, c)
		}
		if err != nil {
			t.Fatal(err)
		}
		head = c.Head()
	}
	w := newWorld(t, log)
	w.now = at(t, "2026-03-21T00:00:00Z").Time()
	var got strings.Builder
	for _, r := range []pack.Request{
		{To: at(t, "2026-03-20T00:00:00Z")},
		{From: at(t, "2026-03-13T00:00:00Z"), OnlyMatching: true, Filters: pack.Filters{
			Tenant: "default", Principal: alice, Actor: alice, OnBehalfOf: ops.Principal(), Permission: "read:*", API: "files", Type: "permission.granted"}},
	} {
		b := w.export(r)
		if _, err := verify(b, w.trusted()); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"README.txt", "parameters.json", "keys.txt", "report.json", "report.csv", "counts.json"} {
			if r.OnlyMatching && name == "keys.txt" {
				continue
			}
			fmt.Fprintf(&got, "-- %s --\n%s", name, part(t, b, name))
		}
	}
	file := filepath.Join("testdata", "pack.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("packs are not what they were:\n%s", got.String())
	}
}
