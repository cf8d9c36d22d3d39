package projections_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

var (
	testDay    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	testLedger = events.LedgerID{0x01, 0x90, 0xA1, 0xB2, 0xC3, 0xD4, 0x7E, 0x5F, 0x8A, 1}
)

func TestTheWorldHasEveryKindOfEvent(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	commits, _ := history(t, seeded(1), 300)
	for _, c := range commits {
		for _, r := range c.Events {
			seen[events.Name(r.Event)] = true
		}
	}
	for _, name := range events.Names() {
		if !seen[name] {
			t.Errorf("no %s in 300 commits", name)
		}
	}
}

func TestCatchUp(t *testing.T) {
	t.Parallel()
	w := seeded(2)
	commits, log := history(t, w, 20)
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	if p.Head() != (events.Head{}) {
		t.Fatalf("opened at %+v", p.Head())
	}
	changed := p.Changed()
	must(t, p.CatchUp(t.Context()))
	if p.Head() != commits[19].Head() {
		t.Fatalf("head %+v, want %+v", p.Head(), commits[19].Head())
	}
	select {
	case <-changed:
	default:
		t.Error("the head moved and nobody was told")
	}
	must(t, p.Wait(t.Context(), 20))
	must(t, p.CatchUp(t.Context())) // nothing new
	before := digests(t, p)

	views, err := p.Views()
	must(t, err)
	defer views.Close()
	log.add(w.commit(t))
	must(t, p.CatchUp(t.Context()))
	if views.Head.Revision != 20 || p.Head().Revision != 21 {
		t.Errorf("pinned at %d with the head at %d", views.Head.Revision, p.Head().Revision)
	}
	if maps.Equal(before, digests(t, p)) {
		t.Error("a commit changed no digest")
	}
}

// Every fault that a reader of the log can meet stops everything, and for good.
func TestFaultsHalt(t *testing.T) {
	t.Parallel()
	broken := errors.New("view cannot")
	for name, c := range map[string]struct {
		harm func(t *testing.T, log *memory, other []events.Commit) // after 5 of 10 commits are applied
		want error
	}{
		"a gap": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored = slices.Delete(log.stored, 6, 7)
		}, events.ErrBroken},
		"a commit twice": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored = slices.Insert(log.stored, 6, log.stored[6])
		}, events.ErrBroken},
		"out of order": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored[6], log.stored[7] = log.stored[7], log.stored[6]
		}, events.ErrBroken},
		"a commit under another's number": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored[6].Bytes = log.stored[7].Bytes
		}, events.ErrBroken},
		"a commit of another history": {func(_ *testing.T, log *memory, other []events.Commit) {
			log.stored[6].Bytes = other[6].Bytes
		}, events.ErrBroken},
		"another ledger": {func(t *testing.T, log *memory, _ []events.Commit) {
			was, is := testLedger.String(), events.LedgerID{1, 2, 3}.String()
			log.stored[6].Bytes = bytes.Replace(log.stored[6].Bytes, []byte(was), []byte(is), 1)
		}, events.ErrBroken},
		"a reason that was changed": {func(t *testing.T, log *memory, _ []events.Commit) {
			at := slices.IndexFunc(log.stored[6:9], func(s events.Stored) bool { return bytes.Contains(s.Bytes, []byte("new hire")) })
			if at < 0 {
				t.Fatal("nobody was hired; take another seed")
			}
			s := &log.stored[6+at]
			s.Bytes = bytes.Replace(s.Bytes, []byte("new hire"), []byte("new liar"), 1)
		}, events.ErrBroken},
		"half a commit": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored[6].Bytes = log.stored[6].Bytes[:100]
		}, events.ErrMalformed},
		"an unknown event": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored[6].Bytes = bytes.Replace(log.stored[6].Bytes, []byte(`"version":1`), []byte(`"version":9`), 1)
		}, events.ErrUnknownEvent},
		"an older log": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored = log.stored[:3]
		}, events.ErrBroken},
		"an empty log": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored = nil
		}, events.ErrBroken},
		"a log that keeps its end to itself": {func(_ *testing.T, log *memory, _ []events.Commit) {
			log.stored, log.claims = log.stored[:8], 10
		}, events.ErrBroken},
		"a view that cannot": {nil, broken},
	} {
		t.Run(name, func(t *testing.T) {
			commits, log := history(t, seeded(3), 10)
			other, _ := history(t, seeded(4), 10)
			var damage error
			p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, func(events.Recorded) error { return damage })
			whole := log.stored
			log.stored = whole[:5:5]
			must(t, p.CatchUp(t.Context()))
			log.stored = slices.Clone(whole)
			if c.harm != nil {
				c.harm(t, log, other)
			} else {
				damage = broken
			}
			changed := p.Changed()

			err := p.CatchUp(t.Context())
			if !errors.Is(err, projections.ErrHalted) || !errors.Is(err, c.want) {
				t.Fatalf("catch up: %v, want halted and %v", err, c.want)
			}
			select {
			case <-changed:
			default:
				t.Error("nobody was told")
			}
			head, applied := p.Head(), 5
			if log.claims != 0 {
				applied = len(log.stored) // the fault comes after these
			}
			if head != commits[applied-1].Head() {
				t.Errorf("head at revision %d: part of a group with a fault was written", head.Revision)
			}

			*log, damage = memory{stored: whole}, nil // as if nothing had been
			_, viewsErr := p.Views()
			_, draftErr := p.Begin()
			_, digestErr := p.Digest(t.Context(), "tally")
			_, _, digestsErr := p.Digests(t.Context())
			for what, err := range map[string]error{
				"Halted": p.Halted(), "Views": viewsErr, "Begin": draftErr, "Wait": p.Wait(t.Context(), 1),
				"CatchUp": p.CatchUp(t.Context()), "Digest": digestErr, "Digests": digestsErr,
			} {
				if !errors.Is(err, projections.ErrHalted) || !errors.Is(err, c.want) {
					t.Errorf("%s after the halt: %v", what, err)
				}
			}
			if p.Head() != head {
				t.Errorf("applied up to revision %d after the halt", p.Head().Revision)
			}
		})
	}
}

func TestAFailingSourceMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	commits, log := history(t, seeded(5), 10)
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	failing := errors.New("no route")

	for _, at := range []events.Revision{0, 1, 5} {
		log.failing, log.failAt = failing, at
		if err := p.CatchUp(t.Context()); !errors.Is(err, failing) || errors.Is(err, projections.ErrHalted) {
			t.Fatalf("source fails at %d: %v", at, err)
		}
		if want := max(at, 1) - 1; p.Head().Revision != want {
			t.Fatalf("source fails at %d: head at %d, want %d", at, p.Head().Revision, want)
		}
	}
	log.failing = nil
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, log.mute = range []bool{false, true} {
		if err := p.CatchUp(cancelled); !errors.Is(err, context.Canceled) || p.Halted() != nil {
			t.Fatalf("cancelled: %v, halted %v", err, p.Halted())
		}
	}
	must(t, p.CatchUp(t.Context()))
	if p.Head() != commits[9].Head() {
		t.Fatalf("head %+v", p.Head())
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	w := seeded(6)
	_, log := history(t, w, 3)
	p := inMemory(t, log)
	ctx, cancel := context.WithCancelCause(t.Context())
	tired := errors.New("tired of waiting")
	cancel(tired)
	if err := p.Wait(ctx, 4); !errors.Is(err, projections.ErrBehind) || !errors.Is(err, tired) {
		t.Errorf("wait for what is not there: %v", err)
	}
	got := make(chan error)
	go func() { got <- p.Wait(t.Context(), 4) }()
	log.add(w.commit(t))
	must(t, p.CatchUp(t.Context()))
	must(t, <-got)
	go func() { got <- p.Wait(t.Context(), 99) }()
	if err := p.Halt(tired); !errors.Is(err, projections.ErrHalted) {
		t.Errorf("halt gives %v", err)
	}
	if err := <-got; !errors.Is(err, projections.ErrHalted) || !errors.Is(err, tired) {
		t.Errorf("wait when the projector halts: %v", err)
	}
	if err := p.Halt(errors.New("later")); !errors.Is(err, tired) {
		t.Errorf("the second reason took the place of the first: %v", err)
	}
}

// live commits what comes next the way a ledger does: events first, bytes later.
func live(t testing.TB, p *projections.Projector, w *world, log *memory) {
	t.Helper()
	d, err := p.Begin()
	must(t, err)
	defer d.Discard()
	header, evs := w.next()
	for _, r := range evs {
		must(t, d.Add(r))
	}
	c := w.seal(t, header, evs)
	must(t, d.Seal(c))
	log.add(c)
	must(t, d.Flush())
}

// However the commits come in, the rows are the same.
func TestTwoRoutesOneAnswer(t *testing.T) {
	t.Parallel()
	const n = 60
	commits, log := history(t, seeded(7), n)
	atOnce := digests(t, inMemory(t, log))

	growing := &memory{}
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), growing, nil)
	for _, c := range commits {
		growing.add(c)
		must(t, p.CatchUp(t.Context()))
	}
	if got := digests(t, p); !maps.Equal(got, atOnce) {
		t.Errorf("one by one %v\nat once    %v", got, atOnce)
	}

	drafts := &memory{}
	q, w := openProjector(t, openStore(t, "", pebblekv.Options{}), drafts, nil), seeded(7)
	for range n {
		live(t, q, w, drafts)
	}
	if got := digests(t, q); !maps.Equal(got, atOnce) {
		t.Errorf("as drafts %v\nat once   %v", got, atOnce)
	}
	if q.Head() != commits[n-1].Head() {
		t.Errorf("the two worlds are not the same")
	}

	dir := t.TempDir() // and in parts, over restarts
	parts := &memory{}
	var head events.Head
	for i := 0; i < n; i += 17 {
		s, err := pebblekv.Open(dir, pebblekv.Options{})
		must(t, err)
		r := openProjector(t, s, parts, nil)
		if r.Head() != head {
			t.Fatalf("restarted at %+v, stopped at %+v", r.Head(), head)
		}
		parts.add(commits[i:min(i+17, n)]...)
		must(t, r.CatchUp(t.Context()))
		if head = r.Head(); head.Revision == n {
			if got := digests(t, r); !maps.Equal(got, atOnce) {
				t.Errorf("with restarts %v\nat once       %v", got, atOnce)
			}
		}
		must(t, s.Close())
	}
}

// More than one batch, and of the last one only a part.
func TestGroupsOfCommits(t *testing.T) {
	t.Parallel()
	_, log := history(t, seeded(8), 60)
	p := inMemory(t, log)
	want := digests(t, p)
	p.SetGroup(20_000)
	var flushed []events.Revision
	rebuilt, err := p.Rebuild(t.Context(), func(done events.Head) { flushed = append(flushed, done.Revision) })
	must(t, err)
	if len(flushed) < 3 || len(flushed) > 30 || !slices.IsSorted(flushed) || flushed[len(flushed)-1] != 60 {
		t.Errorf("flushed at %v", flushed)
	}
	if got := digests(t, p); !maps.Equal(got, want) || rebuilt.Uncompared != nil {
		t.Errorf("in groups %v, at once %v", got, want)
	}
	log.stored = slices.Delete(log.stored, 50, 51) // a fault after some whole groups leaves those
	q := openProjector(t, openStore(t, "", pebblekv.Options{}), log, nil)
	q.SetGroup(20_000)
	if err := q.CatchUp(t.Context()); !errors.Is(err, events.ErrBroken) || !slices.Contains(flushed, q.Head().Revision) {
		t.Errorf("with a gap after 50: head at %d, %v", q.Head().Revision, err)
	}
}

func TestDraft(t *testing.T) {
	t.Parallel()
	w := seeded(9)
	_, log := history(t, w, 5)
	p := inMemory(t, log)
	before, head := digests(t, p), p.Head()
	_, evs := w.next()

	d, err := p.Begin()
	must(t, err)
	for _, r := range evs {
		must(t, d.Add(r))
	}
	name := pebblekv.NewKey('n').IDs(events.Name(evs[0].Event))
	own, _, err := d.Rows("tally").Get(name)
	must(t, err)
	views, err := p.Views()
	must(t, err)
	others, _, err := views.Rows("tally").Get(name)
	must(t, err)
	views.Close()
	if bytes.Equal(own, others) {
		t.Error("a draft does not see its own rows, or others do")
	}

	began := make(chan *projections.Draft)
	go func() {
		d, err := p.Begin()
		if err != nil {
			t.Error(err)
		}
		began <- d
	}()
	select {
	case <-began:
		t.Fatal("two drafts at a time")
	default:
	}
	d.Discard()
	d.Discard() // harmless, and does not let a third one in:
	second := <-began
	if got := digests(t, p); !maps.Equal(got, before) || p.Head() != head {
		t.Error("a discarded draft left something")
	}
	second.Discard()
	if err := second.Flush(); err == nil {
		t.Error("a closed draft was flushed")
	}
}

// A draft that is not exactly a commit is never written.
func TestDraftsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := seeded(10)
	_, log := history(t, w, 5)
	cannot := errors.New("cannot")
	var damage error
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, func(events.Recorded) error { return damage })
	must(t, p.CatchUp(t.Context()))
	before, head := digests(t, p), p.Head()
	header, evs := w.next()
	for len(evs) < 2 {
		header, evs = w.next()
	}
	c, err := events.Seal(head, header, evs, nil)
	must(t, err)
	early := header
	early.RecordedAt = head.RecordedAt - 1
	backwards, err := events.Seal(head, early, slices.Clone(evs), nil)
	must(t, err)

	add := func(d *projections.Draft, evs []events.Recorded) error {
		for _, r := range evs {
			if err := d.Add(r); err != nil {
				return err
			}
		}
		return nil
	}
	for name, use := range map[string]func(*projections.Draft) error{
		"events outside a commit": func(d *projections.Draft) error { return add(d, evs) },
		"an event too few":        func(d *projections.Draft) error { return errors.Join(add(d, evs[1:]), d.Seal(c)) },
		"an event too many":       func(d *projections.Draft) error { return errors.Join(add(d, append(evs, evs[0])), d.Seal(c)) },
		"not the next commit":     func(d *projections.Draft) error { return errors.Join(add(d, evs), d.Seal(backwards)) },
		"sealed after an error": func(d *projections.Draft) error {
			damage = cannot
			first := d.Add(evs[0])
			damage = nil
			if err := add(d, evs[1:]); !errors.Is(err, cannot) {
				t.Errorf("a draft goes on after an error: %v", err)
			}
			return errors.Join(first, d.Seal(c))
		},
	} {
		d, err := p.Begin()
		must(t, err)
		used := use(d)
		flushed := d.Flush()
		if flushed == nil || !errors.Is(errors.Join(used, flushed), events.ErrBroken) && !errors.Is(used, cannot) {
			t.Errorf("%s: used %v, flushed %v", name, used, flushed)
		}
		if p.Head() != head || !maps.Equal(digests(t, p), before) {
			t.Fatalf("%s: something was written", name)
		}
	}
	must(t, p.CatchUp(t.Context()))
}

// After a crash that forgets what was not synced, or part of it, catching up gives what it would have been.
func TestCrash(t *testing.T) {
	t.Parallel()
	commits, log := history(t, seeded(11), 60)
	want := digests(t, inMemory(t, log))
	whole := log.stored
	rng := rand.New(rand.NewPCG(12, 0))
	for _, percent := range []int{0, 0, 30, 70, 95, 100} {
		fs := vfs.NewCrashableMem()
		before := &memory{}
		p := openProjector(t, openStore(t, "db", pebblekv.Options{FS: fs}), before, nil)
		var synced events.Revision
		crash := 5 + rng.IntN(50)
		for i, c := range commits[:crash] {
			before.add(c)
			must(t, p.CatchUp(t.Context()))
			if rng.IntN(8) == 0 { // the one synced batch there is besides a rebuild
				must(t, p.NoteAnswer(uint64(i+1), events.Answer{Caller: actors[0], Key: "k"}))
				synced = c.Revision
			}
		}
		after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
		q := openProjector(t, openStore(t, "db", pebblekv.Options{FS: after}), log, nil)
		if at := q.Head().Revision; at < synced || at > p.Head().Revision {
			t.Fatalf("%d%%: crashed at %d, synced at %d, restarted at %d", percent, p.Head().Revision, synced, at)
		}
		log.stored = whole
		must(t, q.CatchUp(t.Context()))
		if got := digests(t, q); !maps.Equal(got, want) {
			t.Errorf("%d%%: %v, without the crash %v", percent, got, want)
		}
	}
}

func TestACursorThatCannotBeReadHalts(t *testing.T) {
	t.Parallel()
	_, log := history(t, seeded(13), 5)
	s := openStore(t, "", pebblekv.Options{})
	must(t, openProjector(t, s, log, nil).CatchUp(t.Context()))
	set(t, s, pebblekv.Key("Mc").Number(1), []byte("{"))
	p := openProjector(t, s, log, nil)
	if _, err := p.Views(); !errors.Is(err, projections.ErrHalted) {
		t.Fatalf("views: %v", err)
	}
	if err := p.CatchUp(t.Context()); !errors.Is(err, projections.ErrHalted) {
		t.Fatalf("catch up: %v", err)
	}
}

// set writes a row behind the projector's back.
func set(t testing.TB, s *pebblekv.Store, key, value []byte) {
	t.Helper()
	w := s.NewWrite()
	defer w.Discard()
	if value == nil {
		must(t, w.Delete(key))
	} else {
		must(t, w.Set(key, value))
	}
	must(t, w.Commit(true))
}
