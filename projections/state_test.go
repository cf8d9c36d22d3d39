package projections_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
)

// The state after each revision is a function of the commits alone: caught up at once or commit by commit,
// decided live or replayed, rebuilt or not.
func TestStateIsOfTheCommits(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := seeded(41)
	commits, log := history(t, w, 40)
	whole := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	must(t, whole.CatchUp(ctx))

	single := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	for _, c := range commits { // as the ledger does: events first, then the commit
		d, err := single.Begin()
		must(t, err)
		for _, r := range c.Events {
			r.Raw = nil
			must(t, d.Add(r))
		}
		must(t, d.Seal(c))
		must(t, d.Flush())
	}
	_, err := single.Rebuild(ctx, nil)
	must(t, err)

	seen := map[events.Hash]bool{}
	for r := range events.Revision(len(commits) + 1) {
		a, err := whole.StateAt(ctx, r)
		must(t, err)
		b, err := single.StateAt(ctx, r)
		must(t, err)
		if a != b || a.Schema != projections.Schema {
			t.Errorf("revision %d: %v and %v", r, a, b)
		}
		if seen[a.Digest] {
			t.Errorf("revision %d has the state of an earlier one", r)
		}
		seen[a.Digest] = true
	}
	if _, err := whole.StateAt(ctx, events.Revision(len(commits)+1)); !errors.Is(err, projections.ErrBehind) {
		t.Errorf("a state to come: %v", err)
	}
	views, err := whole.Views()
	must(t, err)
	defer views.Close()
	if last, _ := whole.StateAt(ctx, views.Head.Revision); views.State != last {
		t.Errorf("pinned with state %v, it is %v", views.State, last)
	}
}

// A view that computes one row otherwise, for one event, has another state from that revision on, and the same
// before: the first divergence has a name.
func TestStateNamesTheFirstDivergence(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	commits, log := history(t, seeded(42), 30)
	const from = 17
	right := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	must(t, right.CatchUp(ctx))
	wrong, err := projections.Open(openStore(t, "", pebblekv.Options{}), log, tally{}, audit.Rows{}, strange{from})
	must(t, err)
	control, err := projections.Open(openStore(t, "", pebblekv.Options{}), log, tally{}, audit.Rows{}, strange{1000})
	must(t, err)
	must(t, wrong.CatchUp(ctx))
	must(t, control.CatchUp(ctx))
	for r := events.Revision(1); int(r) <= len(commits); r++ {
		a, err := control.StateAt(ctx, r)
		must(t, err)
		b, err := wrong.StateAt(ctx, r)
		must(t, err)
		if same := a == b; same != (r < from) {
			t.Errorf("revision %d: same %v", r, same)
		}
	}
}

// strange writes nothing until a revision and then one row.
type strange struct{ from events.Revision }

func (strange) Name() string { return "strange" }
func (s strange) Apply(rows pebblekv.Batch, r events.Recorded) error {
	if r.Revision != s.from {
		return nil
	}
	return rows.Set([]byte("x"), nil)
}

// The digest, taken apart by hand for one commit of one view.
func TestStatePinned(t *testing.T) {
	t.Parallel()
	w := seeded(43)
	_, log := history(t, w, 1)
	p, err := projections.Open(openStore(t, "", pebblekv.Options{}), log, strange{1})
	must(t, err)
	must(t, p.CatchUp(context.Background()))
	got, err := p.StateAt(context.Background(), 1)
	must(t, err)
	var changes bytes.Buffer
	for range w.head.Position { // the view writes its row for each event of revision 1
		changes.WriteString("=" + "\x00\x00\x00\x00\x00\x00\x00\x07strange" + "\x00\x00\x00\x00\x00\x00\x00\x01x" + "\x00\x00\x00\x00\x00\x00\x00\x00")
	}
	inner := sha256.Sum256(changes.Bytes())
	want := events.Hash(sha256.Sum256(append(make([]byte, 32), inner[:]...)))
	if want != got.Digest {
		t.Errorf("state %s, want %s", got.Digest, want)
	}
}

// Views of another schema answer nothing until they are made anew, and then have the state that views made by
// this build have.
func TestAnotherSchema(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, log := history(t, seeded(44), 20)
	dir := t.TempDir()
	store := openStore(t, dir, pebblekv.Options{})
	p := openProjector(t, store, log, nil)
	must(t, p.CatchUp(ctx))
	want := p.Head()
	state, err := p.StateAt(ctx, want.Revision)
	must(t, err)

	w := store.NewWrite()
	must(t, w.Set([]byte("Mv"), []byte{0, 0, 0, 0, 0, 0, 0, 1}))
	must(t, w.Commit(true))
	p = openProjector(t, store, log, nil)
	if _, err := p.Views(); !errors.Is(err, projections.ErrSchema) || !errors.Is(p.CatchUp(ctx), projections.ErrSchema) {
		t.Errorf("answered from another schema: %v", err)
	}
	_, err = p.Rebuild(ctx, nil)
	must(t, err)
	p = openProjector(t, store, log, nil)
	must(t, p.CatchUp(ctx))
	again, err := p.StateAt(ctx, want.Revision)
	must(t, err)
	if p.Head() != want || again != state {
		t.Errorf("head %+v state %v, want %+v %v", p.Head(), again, want, state)
	}
}
