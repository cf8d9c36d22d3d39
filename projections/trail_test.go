package projections_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
)

// all collects a whole list.
func all(t testing.TB, list iter.Seq2[events.Recorded, error]) (rs []events.Recorded) {
	t.Helper()
	for r, err := range list {
		must(t, err)
		rs = append(rs, r)
	}
	return rs
}

func everyEvent(commits []events.Commit) (rs []events.Recorded) {
	for _, c := range commits {
		rs = append(rs, c.Events...)
	}
	return rs
}

func positions(rs []events.Recorded) (ps []events.Position) {
	for _, r := range rs {
		ps = append(ps, r.Position)
	}
	return ps
}

// naive is what a filter means, said another way: look at every event.
func naive(f audit.Filter, all []events.Recorded) (rs []events.Recorded) {
	for _, r := range all {
		holder, others, api := events.About(r.Event)
		about := append([]events.Principal{holder}, others...)
		permission := events.PermissionOf(r.Event)
		var fact events.FactID
		switch e := r.Event.(type) {
		case events.GroupMemberAdded, events.GroupParentSet, events.RoleAssigned, events.RoleIncluded, events.PermissionGranted, events.RolePermissionAdded:
			fact = r.ID
		case events.GroupMemberRemoved:
			fact = e.Ended.Fact
		case events.GroupParentUnset:
			fact = e.Ended.Fact
		case events.RoleUnassigned:
			fact = e.Ended.Fact
		case events.RoleExcluded:
			fact = e.Ended.Fact
		case events.RolePermissionRemoved:
			fact = e.Ended.Fact
		case events.PermissionRevoked:
			fact = e.Ended.Fact
		case events.ValidityCorrected:
			fact = e.Fact
		case events.ValidityStarted:
			fact = e.Fact
		case events.ValidityExpired:
			fact = e.Fact
		}
		switch {
		case f.Tenant != "" && r.Tenant != f.Tenant,
			!f.Actor.IsZero() && r.Actor != f.Actor,
			!f.OnBehalfOf.IsZero() && r.OnBehalfOf != f.OnBehalfOf,
			!f.Principal.IsZero() && !slices.Contains(about, f.Principal),
			f.Permission.Name != "" && permission.Name != f.Permission.Name,
			f.Permission.API != "" && permission.API != f.Permission.API,
			f.API != "" && api != f.API,
			f.Fact != events.FactID{} && fact != f.Fact,
			f.Command != events.CommandID{} && r.Command != f.Command,
			f.Type != "" && events.Name(r.Event) != f.Type,
			r.Position < f.From,
			f.To != 0 && r.Position > f.To,
			r.Revision < f.FromRevision,
			f.ToRevision != 0 && r.Revision > f.ToRevision,
			r.RecordedAt < f.Since,
			f.Until != 0 && r.RecordedAt >= f.Until:
			continue
		}
		rs = append(rs, r)
	}
	if f.Newest {
		slices.Reverse(rs)
	}
	if f.Limit > 0 && len(rs) > f.Limit {
		rs = rs[:f.Limit]
	}
	return rs
}

// anyFilter is about things that are there, mostly, and usually about one or two of them.
func anyFilter(w *world, evs []events.Recorded) (f audit.Filter) {
	some := func() events.Recorded { return pick(w, evs...) }
	rarely := func() bool { return w.draw(8) == 0 }
	if rarely() {
		f.Tenant = pick(w, append(tenants, "nobody")...)
	}
	if rarely() {
		f.Actor = pick(w, append(actors, events.User("nobody"))...)
	}
	if rarely() {
		f.OnBehalfOf = pick(w, users...)
	}
	if rarely() {
		f.Principal = pick(w, append(users, roles[0].Principal(), roles[1].Principal(), groups[0].Principal(), groups[2].Principal(), actors[2])...)
	}
	if rarely() {
		f.Permission = pick(w, events.Permission{Name: names[0]}, events.Permission{API: apis[1]}, w.permission(), w.permission(), events.Permission{API: "none", Name: "none"})
	}
	if rarely() {
		f.API = pick(w, append(apis, "none")...)
	}
	if rarely() {
		f.Fact = pick(w, some().ID, some().Command, events.FactID{9})
		if len(w.facts) > 0 && w.draw(2) == 0 {
			f.Fact = pick(w, w.facts...).ID
		}
	}
	if rarely() {
		f.Command = pick(w, some().Command, some().Command, some().ID)
	}
	if rarely() {
		f.Type = pick(w, append(events.Names(), "permission.granted", "no.such")...)
	}
	if rarely() {
		f.From = some().Position
	}
	if rarely() {
		f.To = some().Position + events.Position(w.draw(2))*1000
	}
	if rarely() {
		f.FromRevision = some().Revision + events.Revision(w.draw(2))*1000
	}
	if rarely() {
		f.ToRevision = some().Revision + events.Revision(w.draw(2))*1000
	}
	if rarely() {
		f.Since = some().RecordedAt + events.Instant(w.draw(3)-1)
	}
	if rarely() {
		f.Until = some().RecordedAt + events.Instant(w.draw(3)-1)
	}
	if rarely() {
		f.Limit = 1 + w.draw(4)
	}
	f.Newest = w.draw(2) == 0
	return f
}

func TestFiltersAgainstLookingAtEveryEvent(t *testing.T) {
	t.Parallel()
	commits, log := history(t, seeded(50), 60) // enough for lists longer than the first count
	evs, trail := everyEvent(commits), audit.NewTrail(inMemory(t, log))
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawn(t)
		for range 4 {
			f := anyFilter(w, evs)
			want := naive(f, evs)
			matching := f
			matching.Newest, matching.Limit = false, 0
			matched := positions(naive(matching, evs))
			for _, r := range evs { // one by one, without an index, as a reader of the log does
				if f.Matches(r) != slices.Contains(matched, r.Position) {
					t.Fatalf("%+v matches position %d: %t", f, r.Position, f.Matches(r))
				}
			}
			var got []events.Recorded
			for r, err := range trail.Events(context.Background(), f) {
				if err != nil {
					t.Fatalf("%+v: %v", f, err)
				}
				got = append(got, r)
			}
			if !slices.Equal(positions(got), positions(want)) {
				t.Fatalf("%+v\ngot  %v\nwant %v", f, positions(got), positions(want))
			}
			for i, r := range got {
				if !bytes.Equal(r.Raw, want[i].Raw) || r.Revision != want[i].Revision || r.ID != want[i].ID {
					t.Fatalf("%+v: position %d is another event", f, r.Position)
				}
			}
			found += len(got)
		}
	})
	if found == 0 {
		t.Error("no filter found anything")
	}
}

// Each condition alone, over everything it can be asked about, so that no index is left to chance.
func TestEachCondition(t *testing.T) {
	t.Parallel()
	commits, log := history(t, seeded(51), 50)
	evs, trail := everyEvent(commits), audit.NewTrail(inMemory(t, log))
	var filters []audit.Filter
	for _, r := range evs {
		holder, others, api := events.About(r.Event)
		filters = append(filters,
			audit.Filter{Command: r.Command}, audit.Filter{Fact: r.ID}, audit.Filter{Actor: r.Actor}, audit.Filter{OnBehalfOf: r.OnBehalfOf},
			audit.Filter{Principal: holder}, audit.Filter{Permission: events.PermissionOf(r.Event)},
			audit.Filter{Permission: events.Permission{Name: events.PermissionOf(r.Event).Name}},
			audit.Filter{API: api}, audit.Filter{Type: events.Name(r.Event)}, audit.Filter{Tenant: r.Tenant},
			audit.Filter{FromRevision: r.Revision, ToRevision: r.Revision}, audit.Filter{Since: r.RecordedAt, Until: r.RecordedAt + 1})
		for _, p := range others {
			filters = append(filters, audit.Filter{Principal: p})
		}
	}
	asked := map[audit.Filter]bool{}
	for _, f := range filters {
		if asked[f] {
			continue
		}
		asked[f] = true
		want := positions(naive(f, evs))
		if got := positions(all(t, trail.Events(t.Context(), f))); !slices.Equal(got, want) {
			t.Fatalf("%+v\ngot  %v\nwant %v", f, got, want)
		}
		f.Newest = true
		slices.Reverse(want)
		if got := positions(all(t, trail.Events(t.Context(), f))); !slices.Equal(got, want) {
			t.Fatalf("%+v\ngot  %v\nwant %v", f, got, want)
		}
	}
}

// What the log stored comes back byte for byte, by whichever way it came in.
func TestTheArchiveGivesTheStoredBytes(t *testing.T) {
	t.Parallel()
	w, log := seeded(52), &memory{}
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	for range 60 {
		live(t, p, w, log)
	}
	for _, p := range []*projections.Projector{p, inMemory(t, log)} {
		trail := audit.NewTrail(p)
		next := events.Position(1)
		for _, want := range log.stored {
			got, err := trail.Commit(t.Context(), want.Revision)
			must(t, err)
			if got.Revision != want.Revision || !bytes.Equal(got.Bytes, want.Bytes) {
				t.Fatalf("revision %d\ngot  %s\nwant %s", want.Revision, got.Bytes, want.Bytes)
			}
			c, err := events.DecodeCommit(want.Bytes)
			must(t, err)
			for _, r := range c.Events {
				at, err := trail.Event(t.Context(), next)
				must(t, err)
				byID, err := trail.ByID(t.Context(), r.ID)
				must(t, err)
				for _, got := range []events.Recorded{at, byID} {
					if got.ID != r.ID || got.Position != next || got.Revision != c.Revision || !bytes.Equal(got.Raw, r.Raw) {
						t.Fatalf("position %d: got %+v, want %+v", next, got, r)
					}
				}
				next++
			}
		}
		if trail.Head() != w.head {
			t.Errorf("head %+v", trail.Head())
		}
	}
}

func TestWhatIsNotInTheTrail(t *testing.T) {
	t.Parallel()
	w := seeded(53)
	commits, log := history(t, w, 5)
	trail := audit.NewTrail(inMemory(t, log))
	ctx, head := t.Context(), trail.Head()
	for _, position := range []events.Position{0, head.Position + 1, 1 << 63} {
		if _, err := trail.Event(ctx, position); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("event %d: %v", position, err)
		}
	}
	for _, revision := range []events.Revision{0, 6, 1 << 63} {
		if _, err := trail.Commit(ctx, revision); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("commit %d: %v", revision, err)
		}
	}
	for _, id := range []events.EventID{{}, w.id(), commits[0].Events[0].Command} {
		if _, err := trail.ByID(ctx, id); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("event %s: %v", id, err)
		}
	}
	if _, err := trail.PositionOf(ctx, 7); !errors.Is(err, projections.ErrBehind) {
		t.Errorf("position of revision 7: %v", err)
	}
	empty := audit.NewTrail(inMemory(t, &memory{}))
	if got := all(t, empty.Events(ctx, audit.Filter{})); len(got) != 0 {
		t.Errorf("an empty trail has %d events", len(got))
	}
	if p, err := empty.PositionAt(ctx, w.now); p != 1 || err != nil {
		t.Errorf("an empty trail starts at %d, %v", p, err)
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	commits, log := history(t, seeded(54), 60)
	trail := audit.NewTrail(inMemory(t, log))
	evs, ctx := everyEvent(commits), t.Context()
	for _, c := range commits {
		if got, err := trail.PositionOf(ctx, c.Revision); got != c.Position || err != nil {
			t.Errorf("revision %d starts at %d, got %d, %v", c.Revision, c.Position, got, err)
		}
		for _, at := range []events.Instant{c.RecordedAt - 1, c.RecordedAt, c.RecordedAt + 1} {
			want := trail.Head().Position + 1
			if i := slices.IndexFunc(evs, func(r events.Recorded) bool { return r.RecordedAt >= at }); i >= 0 {
				want = evs[i].Position
			}
			if got, err := trail.PositionAt(ctx, at); got != want || err != nil {
				t.Errorf("at %s: got %d, %v, want %d", at, got, err, want)
			}
		}
	}
	for revision, want := range map[events.Revision]events.Position{0: 1, 61: trail.Head().Position + 1} {
		if got, err := trail.PositionOf(ctx, revision); got != want || err != nil {
			t.Errorf("revision %d: got %d, %v, want %d", revision, got, err, want)
		}
	}
	if got, err := trail.PositionAt(ctx, events.Forever); got != trail.Head().Position+1 || err != nil {
		t.Errorf("at the end of time: %d, %v", got, err)
	}
}

// Follow misses nothing and repeats nothing, and ends when it is told to.
func TestFollow(t *testing.T) {
	t.Parallel()
	w := seeded(55)
	_, log := history(t, w, 100) // more than one chunk
	p := inMemory(t, log)
	trail := audit.NewTrail(p)
	go func() {
		for range 100 {
			live(t, p, w, log)
		}
	}()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough, from := errors.New("enough"), events.Position(7)
	next, ended := from, error(nil)
	for r, err := range trail.Follow(ctx, from) {
		if ended = err; err != nil {
			continue
		}
		if r.Position != next {
			t.Fatalf("position %d after %d", r.Position, next-1)
		}
		if next++; r.Revision == 200 {
			cancel(enough)
		}
	}
	if !errors.Is(ended, enough) {
		t.Errorf("ended with %v", ended)
	}

	for r, err := range trail.Follow(t.Context(), 0) {
		must(t, err)
		if r.Position != 1 {
			t.Errorf("from 0 starts at %d", r.Position)
		}
		break
	}

	waiting, halted := make(chan error), errors.New("halted on the way")
	go func() {
		for _, err := range trail.Follow(t.Context(), p.Head().Position+1) {
			waiting <- err
		}
		close(waiting)
	}()
	p.Halt(halted)
	if err := <-waiting; !errors.Is(err, projections.ErrHalted) || !errors.Is(err, halted) {
		t.Errorf("ended with %v", err)
	}
	if _, more := <-waiting; more {
		t.Error("went on after the end")
	}
}

// A list is whole or an error: never short, never from a projector that halted.
func TestListsAreWholeOrAnError(t *testing.T) {
	t.Parallel()
	_, log := history(t, seeded(56), 20)
	s := openStore(t, "", pebblekv.Options{})
	p := openProjector(t, s, log, nil)
	must(t, p.CatchUp(t.Context()))
	trail := audit.NewTrail(p)
	failure := func(ctx context.Context, f audit.Filter) (n int, failed error) {
		for _, err := range trail.Events(ctx, f) {
			if failed = err; err == nil {
				n++
			}
		}
		return n, failed
	}

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := failure(cancelled, audit.Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}

	event := rowsOf(1, audit.Name).Raw([]byte{'e'}).Number(5)
	snap := s.NewSnapshot()
	whole, ok, err := snap.Get(event)
	snap.Close()
	if !ok || err != nil {
		t.Fatal("no event where rows.go says")
	}
	for how, value := range map[string][]byte{"missing": nil, "cut short": whole[:5], "half": whole[:20]} {
		set(t, s, event, value)
		if n, err := failure(t.Context(), audit.Filter{}); n != 4 || err == nil {
			t.Errorf("event 5 is %s: %d events and %v", how, n, err)
		}
		if _, err := trail.Event(t.Context(), 5); err == nil || errors.Is(err, audit.ErrNotFound) {
			t.Errorf("event 5 is %s: %v", how, err)
		}
		if _, err := trail.Commit(t.Context(), 2); err == nil {
			if _, err = trail.Commit(t.Context(), 1); err == nil {
				t.Errorf("event 5 is %s, and the commits with it are fine", how)
			}
		}
	}
	changed := bytes.Replace(whole, []byte(`"version":1`), []byte(`"version":2`), 1)
	set(t, s, event, changed)
	revision := events.Revision(changed[7])
	if _, err := trail.Commit(t.Context(), revision); !errors.Is(err, events.ErrBroken) {
		t.Errorf("a commit with an event that was changed: %v", err)
	}

	p.Halt(errors.New("alarm"))
	if n, err := failure(t.Context(), audit.Filter{}); n != 0 || !errors.Is(err, projections.ErrHalted) {
		t.Errorf("halted: %d events and %v", n, err)
	}
	_, eventErr := trail.Event(t.Context(), 1)
	_, idErr := trail.ByID(t.Context(), events.EventID{})
	_, commitErr := trail.Commit(t.Context(), 1)
	_, ofErr := trail.PositionOf(t.Context(), 1)
	_, atErr := trail.PositionAt(t.Context(), 1)
	for _, err := range []error{eventErr, idErr, commitErr, ofErr, atErr} {
		if !errors.Is(err, projections.ErrHalted) {
			t.Errorf("halted: %v", err)
		}
	}
}
