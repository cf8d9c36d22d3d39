package pack_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/audit/pack"
	"github.com/permledger/permledger/projections/pebblekv"
)

func key(n byte) events.PrivateKey {
	return events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

// ring is a keyring; the first key is the one to begin with.
type ring []events.PrivateKey

func (r ring) First() (events.Signer, error) { return r[0], nil }

func (r ring) Signer(want events.PublicKey) (events.Signer, error) {
	for _, k := range r {
		if k.Public() == want {
			return k, nil
		}
	}
	return nil, ledger.ErrNoKey
}

var keys = ring{key(1), key(2)}

func at(t testing.TB, s string) events.Instant {
	t.Helper()
	i, err := events.ParseInstant("at", s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// world is a ledger in memory, with a clock of the test's own, that keeps the checkpoints it is told to.
type world struct {
	testing.TB
	now       time.Time
	log       *memlog.Log
	projector *projections.Projector
	trail     *audit.Trail
	ledger    *ledger.Ledger
	kept      [][]byte
	published []byte // signed in place of what is
}

// newWorld makes the views of what is in a log.
func newWorld(t testing.TB, log *memlog.Log) *world {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := projections.Open(store, log, node.Views()...)
	if err == nil {
		err = p.CatchUp(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return &world{TB: t, now: at(t, "2026-03-01T09:00:00Z").Time(), log: log, projector: p, trail: audit.NewTrail(p)}
}

// begin opens the ledger, too.
func begin(t testing.TB) *world {
	w := newWorld(t, memlog.Open(memlog.Config{}))
	var err error
	w.ledger, err = ledger.Open(t.Context(), w.log, w.log, node.Projection(w.projector), ledger.Config{
		Keys: keys, Clock: func() time.Time { return w.now }, NoticeInterval: -1, Administrator: events.Client("root"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.ledger.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) do(tenant events.Tenant, meta events.Meta, commands ...ledger.Command) ledger.Receipt {
	w.Helper()
	if meta.Actor.IsZero() {
		meta.Actor = events.Client("root")
	}
	r, err := w.ledger.Submit(context.Background(), ledger.Request{Tenant: tenant, Meta: meta, Commands: commands})
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// Sign implements pack.Checkpoints.
func (w *world) Sign(ctx context.Context) ([]byte, error) {
	if w.published != nil {
		return w.published, nil
	}
	tree, err := w.trail.Tree(ctx)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	signer, err := keys.Signer(tree.Head.Key)
	if err != nil {
		return nil, err
	}
	return checkpoint.Sign(checkpoint.Checkpoint{
		Ledger: tree.Head.Ledger, Size: tree.Head.Position, Root: events.Hash(tree.Root), Revision: tree.Head.Revision,
		Head: tree.Head.Hash, Schema: tree.State.Schema, State: tree.State.Digest, At: events.At(w.now),
	}, signer)
}

// keep signs a checkpoint and keeps it.
func (w *world) keep() []byte {
	w.Helper()
	signed, err := w.Sign(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	w.kept = append(w.kept, signed)
	return signed
}

// Before implements pack.Checkpoints.
func (w *world) Before(_ context.Context, at events.Instant) ([]byte, bool, error) {
	for _, signed := range slices.Backward(w.kept) {
		c, err := checkpoint.Parse(signed)
		if err != nil {
			return nil, false, err
		}
		if c.At <= at {
			return signed, true, nil
		}
	}
	return nil, false, nil
}

// trusted are the keys of the ledger, with their times, as its log announces them.
func (w *world) trusted() checkpoint.Keys {
	w.Helper()
	walk := bundle.Start()
	for _, b := range w.commits() {
		if _, err := walk.Next(b); err != nil {
			w.Fatal(err)
		}
	}
	return walk.Keys()
}

func (w *world) commits() (all [][]byte) {
	w.Helper()
	for stored, err := range w.log.Read(w.Context(), 1) {
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, stored.Bytes)
	}
	return all
}

func (w *world) export(r pack.Request) []byte {
	w.Helper()
	e, err := pack.Prepare(w.Context(), w.trail, w, r)
	if err != nil {
		w.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Write(w.Context(), &b); err != nil {
		w.Fatal(err)
	}
	return b.Bytes()
}

func verify(b []byte, keys checkpoint.Keys) (*pack.Result, error) {
	return pack.Verify(bytes.NewReader(b), int64(len(b)), keys, nil)
}

const day = 24 * time.Hour

// history is a ledger with something of everything: two tenants, roles, groups, scopes, corrections, deletions, a key
// that was replaced, and ids that are awkward in a report. Checkpoints are kept at the end of each of its days.
func history(t testing.TB) *world {
	w := begin(t)
	right := func(name events.PermissionName) ledger.Right { return ledger.Right{Audience: "files-api", Name: name} }
	alice, bot, evil := events.User("alice"), events.Client("bot"), events.User("=cmd|' /C calc'!A0")
	w.do("default", events.Meta{}, ledger.DefineAPI{API: "files", Def: events.APIDefinition{Name: "Files", Audience: "files-api"}},
		ledger.DefinePermission{Permission: events.Permission{API: "files", Name: "read:*"}},
		ledger.DefinePermission{Permission: events.Permission{API: "files", Name: "purge"}},
		ledger.DefineResourceType{Type: "doc", Def: events.ResourceTypeDefinition{API: "files"}})
	w.keep()
	w.now = w.now.Add(day) // 2026-03-02
	grant := w.do("default", events.Meta{Actor: alice, Reason: "starts\non Monday, says \"bob\"", Ticket: "OPS-1",
		Approvals: []events.Approval{{By: bot, At: events.At(w.now), Ref: "call"}}}, ledger.Grant{Principal: alice, Right: right("read:*")})
	w.do("default", events.Meta{}, ledger.CreateRole{Role: "operator"}, ledger.AddRolePermission{Role: "operator", Right: right("purge")},
		ledger.CreateGroup{Group: "ops"}, ledger.AddMember{Group: "ops", Member: bot},
		ledger.AssignRole{Principal: events.Group("ops").Principal(), Role: "operator", Scope: events.Exactly("doc", "a/b")})
	w.keep()
	w.now = w.now.Add(day) // 2026-03-03
	w.do("other", events.Meta{}, ledger.CreateTenant{Name: "Other"}, ledger.CreateRole{Role: "secret-project"})
	w.do("default", events.Meta{OnBehalfOf: evil}, ledger.Grant{Principal: evil, Right: right("read:*")})
	w.do("", events.Meta{}, ledger.AddAdministrator{Principal: alice})
	w.keep()
	w.now = w.now.Add(day) // 2026-03-04
	w.do("", events.Meta{}, ledger.RotateKey{Key: key(2).Public()})
	w.do("default", events.Meta{Reason: "wrong start"}, ledger.CorrectValidity{
		Fact: grant.Recorded[0].ID, From: events.At(w.now.Add(-day)), Until: events.Forever})
	w.keep()
	w.now = w.now.Add(day) // 2026-03-05
	w.do("default", events.Meta{}, ledger.Revoke{Principal: alice, Right: right("read:*")}, ledger.DeletePrincipal{Principal: evil})
	w.do("default", events.Meta{}, ledger.DeleteRole{Role: "operator"})
	w.do("", events.Meta{}, ledger.RemoveAdministrator{Principal: alice})
	w.keep()
	w.now = w.now.Add(day) // 2026-03-06
	w.do("default", events.Meta{}, ledger.CreateRole{Role: "later"})
	w.keep()
	return w
}

func role(name events.Role) ledger.Command { return ledger.CreateRole{Role: name} }
