package node

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/pebblekv"
)

// rig is a signing ledger whose rows the test can reach.
type rig struct {
	*testing.T
	store  *pebblekv.Store
	ledger *ledger.Ledger
	signs  *Checkpoints
	roles  int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{CacheBytes: 8 << 20})
	r := &rig{T: t, store: store}
	r.ok(err)
	log, keys := memlog.Open(memlog.Config{}), &keyring{}
	p, err := projections.Open(store, log, Views()...)
	r.ok(err)
	r.ledger, err = ledger.Open(t.Context(), log, log, Projection(p), ledger.Config{Keys: keys, NoticeInterval: -1})
	r.ok(err)
	t.Cleanup(func() {
		r.ok(r.ledger.Close())
		r.ok(store.Close())
	})
	r.signs = &Checkpoints{
		projector: p, trail: audit.NewTrail(p), keys: keys, clock: time.Now, logger: slog.New(slog.DiscardHandler),
		every: 1000, interval: time.Hour, changed: make(chan struct{}),
	}
	return r
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// grow records so many events.
func (r *rig) grow(n int) {
	r.Helper()
	for range n {
		r.roles++
		_, err := r.ledger.Submit(r.Context(), ledger.Request{
			Tenant: events.DefaultTenant, Meta: events.Meta{Actor: events.Client("root")},
			Commands: []ledger.Command{ledger.CreateRole{Role: events.Role(fmt.Sprint("role-", r.roles))}},
		})
		r.ok(err)
	}
}

// edit changes a byte of a row of the audit view.
func (r *rig) edit(key pebblekv.Key, at int) {
	r.Helper()
	w := r.store.NewWrite()
	defer w.Discard()
	rows := w.Window(pebblekv.NewKey('G').Number(1).IDs(audit.Name))
	value, ok, err := rows.Get(key)
	r.ok(err)
	if !ok {
		r.Fatalf("there is no row %x", []byte(key))
	}
	value[at] ^= 1
	r.ok(rows.Set(key, value))
	r.ok(w.Commit(false))
}

func treeRow(level byte, place uint64) pebblekv.Key {
	return pebblekv.Key{'h', level}.Number(place)
}

// Whatever row of the tree or of an event is changed under the ledger: a checkpoint that is signed afterwards has
// the root that the events have as they were recorded, or none is signed and the projector halts.
func TestWhatChangedUnderItIsNotSigned(t *testing.T) {
	for name, tt := range map[string]struct {
		key  pebblekv.Key
		at   int
		more int // events recorded after the change
	}{
		"a hash the signed root is made of":       {treeRow(2, 0), 0, 0},
		"the same, with events after it":          {treeRow(2, 0), 0, 5},
		"a hash that comes to matter later":       {treeRow(0, 6), 0, 5},
		"a hash since the last checkpoint":        {treeRow(1, 4), 0, 0},
		"an event since the last checkpoint":      {pebblekv.NewKey('e').Number(9), 40, 0},
		"a hash since then, then grown upon":      {treeRow(3, 0), 0, 6},
		"the last event, with some recorded then": {pebblekv.NewKey('e').Number(10), 60, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.grow(7 - int(r.signs.projector.Head().Position))
			_, err := r.signs.Sign(t.Context())
			r.ok(err)
			r.grow(3)
			r.edit(tt.key, tt.at)
			r.grow(tt.more)
			before := r.signs.Latest()
			signed, err := r.signs.Sign(t.Context())
			if !errors.Is(err, ledger.ErrCorrupt) || signed != nil {
				t.Fatalf("signed %q, %v", signed, err)
			}
			if r.signs.projector.Halted() == nil || string(r.signs.Latest()) != string(before) {
				t.Error("it goes on as if nothing was wrong")
			}
			if _, err := r.signs.Sign(t.Context()); !errors.Is(err, projections.ErrHalted) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// Whoever changes an event since the last checkpoint and every hash above it has a tree that is right in itself. It is not
// the one of the commits, so it is not signed; the control is the same tree with the event as it was.
func TestTreeGrownAnewIsNotSigned(t *testing.T) {
	for name, edited := range map[string]bool{"edited": true, "control": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.grow(7 - int(r.signs.projector.Head().Position))
			_, err := r.signs.Sign(t.Context())
			r.ok(err)
			r.grow(3)
			if edited {
				r.edit(pebblekv.NewKey('e').Number(9), 40)
			}
			r.growTree(8, 10)
			signed, err := r.signs.Sign(t.Context())
			if corrupt := errors.Is(err, ledger.ErrCorrupt) && signed == nil; corrupt != edited {
				t.Fatalf("signed %q, %v", signed, err)
			}
			if halted := r.signs.projector.Halted() != nil; halted != edited {
				t.Errorf("halted %t", halted)
			}
		})
	}
}

// growTree writes the hashes of the events of positions first to last anew, as the rows have them.
func (r *rig) growTree(first, last int64) {
	r.Helper()
	w := r.store.NewWrite()
	defer w.Discard()
	rows := w.Window(pebblekv.NewKey('G').Number(1).IDs(audit.Name))
	kept := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, err error) {
		for _, i := range indexes {
			level, place := tlog.SplitStoredHashIndex(i)
			b, _, err := rows.Get(treeRow(byte(level), uint64(place)))
			if err != nil {
				return nil, err
			}
			hashes = append(hashes, tlog.Hash(b))
		}
		return hashes, nil
	})
	for position := first; position <= last; position++ {
		event, _, err := rows.Get(pebblekv.NewKey('e').Number(uint64(position)))
		r.ok(err)
		hashes, err := tlog.StoredHashesForRecordHash(position-1, tlog.RecordHash(event[8:]), kept)
		r.ok(err)
		for level, hash := range hashes {
			r.ok(rows.Set(treeRow(byte(level), uint64((position-1)>>level)), hash[:]))
		}
	}
	r.ok(w.Commit(false))
}

// The control: with nothing changed it signs, and the root is that of the events. A change below a complete
// subtree that is signed already changes no root, so what is signed after it is right.
func TestWhatDidNotMatterIsSigned(t *testing.T) {
	r := newRig(t)
	r.grow(7 - int(r.signs.projector.Head().Position))
	_, err := r.signs.Sign(t.Context())
	r.ok(err)
	r.edit(treeRow(0, 1), 0) // below level 2, place 0
	r.grow(1200)             // more than are held at once
	signed, err := r.signs.Sign(t.Context())
	r.ok(err)
	cp, err := checkpoint.Parse(signed)
	r.ok(err)
	if want := rootOf(r); cp.Size != r.signs.projector.Head().Position || cp.Root != want {
		t.Errorf("signed %d %s, want %s", cp.Size, cp.Root, want)
	}
}

// rootOf is the root over all events, by the definition of RFC 6962.
func rootOf(r *rig) events.Hash {
	r.Helper()
	var leaves []tlog.Hash
	for e, err := range r.signs.trail.Events(r.Context(), audit.Filter{}) {
		r.ok(err)
		leaves = append(leaves, tlog.RecordHash(e.Raw))
	}
	var root func([]tlog.Hash) tlog.Hash
	root = func(of []tlog.Hash) tlog.Hash {
		if len(of) == 1 {
			return of[0]
		}
		k := 1
		for 2*k < len(of) {
			k *= 2
		}
		return tlog.NodeHash(root(of[:k]), root(of[k:]))
	}
	return events.Hash(root(leaves))
}

// Of many checkpoints, those that say something are kept, and found by when they were signed.
func TestKeptCheckpoints(t *testing.T) {
	r := newRig(t)
	now := time.Now().UTC().Truncate(time.Second)
	r.signs.clock = func() time.Time { return now }
	if _, ok, err := r.signs.Before(t.Context(), events.At(now)); ok || err != nil {
		t.Fatalf("one before the first: %v", err)
	}
	type signed struct {
		at   events.Instant
		note string
	}
	var all, kept []signed
	for i := range 40 {
		if i%8 == 0 {
			r.grow(1 + i%3)
		}
		now = now.Add(time.Minute)
		note, err := r.signs.Sign(t.Context())
		r.ok(err)
		one := signed{events.At(now), string(note)}
		all = append(all, one)
		switch {
		case i%8 == 0:
			kept = append(kept, one) // the first of its size
		case i%8 == 7:
			kept = append(kept, one) // the latest
		}
	}
	var got []string
	for note, err := range r.signs.All(t.Context()) {
		r.ok(err)
		got = append(got, string(note))
	}
	if len(got) != len(kept) {
		t.Fatalf("%d are kept of %d, want %d", len(got), len(all), len(kept))
	}
	for i, k := range kept {
		if got[i] != k.note {
			t.Errorf("the %d. one kept is\n%s, want\n%s", i+1, got[i], k.note)
		}
		for _, late := range []events.Instant{0, 1, events.Instant(time.Minute.Microseconds()) - 1} {
			note, ok, err := r.signs.Before(t.Context(), k.at+late)
			if !ok || err != nil || string(note) != k.note {
				t.Errorf("the newest at %s is %q, %v", k.at+late, note, err)
			}
		}
		want := ""
		if i > 0 {
			want = kept[i-1].note
		}
		if note, ok, err := r.signs.Before(t.Context(), k.at-1); ok != (i > 0) || err != nil || string(note) != want {
			t.Errorf("the newest before %s is %q, %v", k.at, note, err)
		}
	}

	third, err := checkpoint.Parse([]byte(kept[4].note))
	r.ok(err)
	r.ok(r.signs.projector.DropCheckpoints(third.Size - 1))
	if last, ok, err := r.signs.projector.LastCheckpoint(); !ok || err != nil || string(last) != kept[3].note {
		t.Errorf("after the later ones are dropped the last is %q, %v", last, err)
	}
}

// A clock that goes back does not take the time of a checkpoint with it.
func TestCheckpointsDoNotGoBackInTime(t *testing.T) {
	r := newRig(t)
	_, err := r.signs.Sign(t.Context())
	r.ok(err)
	before := r.signs.kept
	r.signs.clock = func() time.Time { return time.Now().Add(-time.Hour) }
	r.grow(1)
	_, err = r.signs.Sign(t.Context())
	r.ok(err)
	if r.signs.kept.At < before.At || r.signs.kept.Size != before.Size+1 {
		t.Errorf("after %+v comes %+v", before, r.signs.kept)
	}
}

// An event or a hash that was changed after it was signed changes no root, and gives no proof. The control: those
// that were not changed do, before.
func TestWhatChangedIsNotProved(t *testing.T) {
	for name, edit := range map[string]func(*rig){
		"the event":            func(r *rig) { r.edit(pebblekv.NewKey('e').Number(6), len(`........"reason":"`)) },
		"a hash on its way":    func(r *rig) { r.edit(treeRow(0, 4), 0) },
		"a hash further above": func(r *rig) { r.edit(treeRow(1, 3), 31) },
	} {
		r := newRig(t)
		r.grow(12 - int(r.signs.projector.Head().Position))
		proofs, err := r.signs.Prove(t.Context(), 1, 6, 12)
		r.ok(err)
		if len(proofs) != 3 || proofs[1].Position != 6 {
			t.Errorf("%+v", proofs)
		}
		edit(r)
		if _, err := r.signs.Prove(t.Context(), 6); err == nil {
			t.Errorf("%s: proved", name)
		} else if errors.Is(err, ledger.ErrCorrupt) != (r.signs.projector.Halted() != nil) {
			t.Errorf("%s: %v, halted %v", name, err, r.signs.projector.Halted())
		}
	}
}

// A checkpoint of a past that was given up stops the ledger, until the ledger itself says that it was.
func TestCheckpointOfAForkThatWasAccepted(t *testing.T) {
	lost, r := newRig(t), newRig(t)
	lost.grow(20)
	signed, err := lost.signs.Sign(t.Context())
	r.ok(err)
	cp := lost.signs.kept
	r.ok(r.signs.projector.KeepCheckpoint(cp.Size, cp.At, signed))
	r.signs.file = CheckpointFile(t.TempDir())
	r.ok(durable.WriteFile(r.signs.file, signed))
	if err := r.signs.resume(t.Context()); !errors.Is(err, ledger.ErrCorrupt) {
		t.Fatalf("taken up with %v", err)
	}
	_, err = r.ledger.Submit(t.Context(), ledger.Request{
		Tenant: events.DefaultTenant, Meta: events.Meta{Actor: events.Client("root")},
		Commands: []ledger.Command{ledger.AcceptFork{Lost: lost.ledger.Status().Head.Mark(), Kept: r.ledger.Status().Head.Mark()}},
	})
	r.ok(err)
	r.ok(r.signs.resume(t.Context()))
	if _, ok, err := r.signs.projector.LastCheckpoint(); ok || err != nil {
		t.Errorf("it is still kept, %v", err)
	}
	own, err := r.signs.Sign(t.Context())
	r.ok(err)
	r.ok(r.signs.resume(t.Context()))
	if last, _, err := r.signs.projector.LastCheckpoint(); err != nil || string(last) != string(own) {
		t.Errorf("kept %q, %v", last, err)
	}
}
