package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"flag"
	"fmt"
	"iter"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/pebblekv"
)

var update = flag.Bool("update", false, "write the generated parts of docs/formats.md anew")

// TestFormatsPage holds the bytes in docs/formats.md against the bytes the code writes, between the marks
//
//	<!-- generated: NAME -->
//	<!-- end -->
func TestFormatsPage(t *testing.T) {
	const path = repository + "/docs/formats.md"
	page := readFile(t, path)
	want := page
	for name, text := range formatExamples(t) {
		block := regexp.MustCompile(`(?s)(<!-- generated: ` + name + ` -->\n).*?(<!-- end -->)`)
		if !block.MatchString(want) {
			t.Errorf("the page has no block %q", name)
		}
		want = block.ReplaceAllStringFunc(want, func(old string) string {
			m := block.FindStringSubmatch(old)
			return m[1] + "```\n" + text + "```\n" + m[2]
		})
	}
	switch {
	case page == want:
	case *update:
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("the examples are not what the code writes; run this test with -update and read the difference")
	}
}

// formatExamples makes a ledger of three commits, always the same one, and shows the last of them.
func formatExamples(t *testing.T) map[string]string {
	t.Helper()
	commits := exampleCommits(t)
	last := commits[len(commits)-1]
	grant := last.Events[0]
	before, after := exampleRows(t, commits[:len(commits)-1]), exampleRows(t, commits)
	var access, audit strings.Builder
	for _, r := range after {
		if old, ok := find(before, r.key); ok && old == r.value {
			continue
		}
		into := &audit
		if strings.Contains(r.key, "access/") {
			into = &access
		}
		fmt.Fprintf(into, "%s\n    = %s\n", r.key, r.value)
	}
	return map[string]string{
		"commit":  string(last.Bytes) + "\n",
		"chain":   fmt.Sprintf("SHA-256 of the commit: %s\nhash before:           %s\n", last.Hash, last.Previous),
		"event":   string(grant.Raw) + "\n",
		"subject": events.Subject(grant) + "\n",
		"message": string(events.Message(last.Ledger, grant).Bytes()) + "\n",
		"access":  access.String(),
		"audit":   audit.String(),
		"tokens":  tokenExamples(),

		"checkpoint": exampleCheckpoint(t, commits),
		"keys":       checkpoint.NewKey(last.Ledger, exampleKey.Public(), 1, 0).String() + "\n",
	}
}

// exampleCheckpoint is signed a second after the last commit.
func exampleCheckpoint(t *testing.T, commits []events.Commit) string {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p, err := projections.Open(store, commitList(commits), node.Views()...)
	if err == nil {
		err = p.CatchUp(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	tree, err := audit.NewTrail(p).Tree(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	signed, err := checkpoint.Sign(checkpoint.Checkpoint{
		Ledger: tree.Head.Ledger, Size: tree.Head.Position, Root: events.Hash(tree.Root), Revision: tree.Head.Revision,
		Head: tree.Head.Hash, Schema: tree.State.Schema, State: tree.State.Digest, At: tree.Head.RecordedAt + 1_000_000,
	}, exampleKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

var exampleKey = events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)))

func tokenExamples() string {
	var b strings.Builder
	for _, id := range []string{"alice", "read:*", "kubernetes/sig-release", "a=2F", "ü", "~"} {
		fmt.Fprintf(&b, "%-24s %s\n", id, events.Token(id))
	}
	return b.String()
}

func exampleCommits(t *testing.T) []events.Commit {
	t.Helper()
	ledger := exampleID(0)
	root, alice := events.User("root"), events.User("alice")
	read := events.Permission{API: "operate", Name: "read:*"}
	var head events.Head
	var commits []events.Commit
	for i, list := range [][]events.Event{
		{events.LedgerCreated{Ledger: ledger}, events.TenantCreated{}, events.AdministratorAdded{Principal: root}, events.KeyAnnounced{Key: exampleKey.Public()}},
		{
			events.APIDefined{API: "operate", Def: events.APIDefinition{Name: "Operate", Audience: "operate-api"}},
			events.PermissionDefined{Permission: read, Def: events.PermissionDefinition{Description: "Read everything."}},
		},
		{events.PermissionGranted{Principal: alice, Permission: read}},
	} {
		at, err := events.ParseInstant("at", fmt.Sprintf("2026-03-01T09:00:0%d.5Z", i))
		if err != nil {
			t.Fatal(err)
		}
		var recorded []events.Recorded
		for j, e := range list {
			r := events.Recorded{
				ID: exampleID(byte(16*(i+1) + j + 1)), Command: exampleID(byte(16 * (i + 1))), Tenant: events.DefaultTenant, Event: e,
				Meta: events.Meta{Actor: root, AuthMethod: "token", Source: "127.0.0.1", RequestID: "7f", Reason: "on call", Ticket: "OPS-7"},
			}
			if i == 0 {
				r.Meta = events.Meta{Actor: root, Origin: events.OriginLedger}
			}
			recorded = append(recorded, r)
		}
		c, err := events.Seal(head, events.Header{Ledger: ledger, RecordedAt: at, Writer: "ledger-1"}, recorded, exampleKey)
		if err != nil {
			t.Fatal(err)
		}
		commits, head = append(commits, c), c.Head()
	}
	return commits
}

func exampleID(n byte) uuid.UUID {
	return uuid.UUID{0x01, 0x9c, 0xa8, 0x6d, 0x4a, 0x00, 0x70, 0x00, 0x80, 0, 0, 0, 0, 0, 0, n}
}

type exampleRow struct{ key, value string }

func find(rows []exampleRow, key string) (string, bool) {
	for _, r := range rows {
		if r.key == key {
			return r.value, true
		}
	}
	return "", false
}

// exampleRows are the rows of every view after these commits, written for people.
func exampleRows(t *testing.T, commits []events.Commit) []exampleRow {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p, err := projections.Open(store, commitList(commits), node.Views()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	snap := store.NewSnapshot()
	defer snap.Close()
	var rows []exampleRow
	for r, err := range snap.Window(nil).Scan([]byte("G")) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, exampleRow{printable(r.Key), printable(r.Value)})
	}
	return rows
}

// printable writes text as it is and every other byte as \xNN.
func printable(b []byte) string {
	if len(b) == 0 {
		return "(empty)"
	}
	var s strings.Builder
	for _, c := range b {
		if c < ' ' || c > '~' {
			fmt.Fprintf(&s, `\x%02x`, c)
		} else {
			s.WriteByte(c)
		}
	}
	return s.String()
}

// commitList is a log that is read and never written.
type commitList []events.Commit

func (l commitList) Last(context.Context) (events.Revision, error) {
	return events.Revision(len(l)), nil
}

func (l commitList) Read(_ context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	return func(yield func(events.Stored, error) bool) {
		for _, c := range l[min(int(from)-1, len(l)):] {
			if !yield(events.Stored{Revision: c.Revision, Bytes: bytes.Clone(c.Bytes)}, nil) {
				return
			}
		}
	}
}
