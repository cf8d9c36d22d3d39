package projections_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
	"github.com/permledger/permledger/projections/receipts"
)

// generations counts the rows of each generation in a store, with its cursor.
func generations(t testing.TB, s *pebblekv.Store) map[uint64]int {
	t.Helper()
	snap := s.NewSnapshot()
	defer snap.Close()
	rows := map[uint64]int{}
	for row, err := range snap.Scan([]byte{'G'}) {
		must(t, err)
		rows[pebblekv.Split(row.Key).Number()]++
	}
	for row, err := range snap.Scan([]byte("Mc")) {
		must(t, err)
		rows[pebblekv.Split(row.Key[1:]).Number()]++
	}
	return rows
}

func rowsOf(generation uint64, view string) pebblekv.Key {
	return pebblekv.NewKey('G').Number(generation).IDs(view)
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	w := seeded(20)
	_, log := history(t, w, 120)
	dir := t.TempDir()
	s, err := pebblekv.Open(dir, pebblekv.Options{})
	must(t, err)
	p := openProjector(t, s, log, nil)
	must(t, p.CatchUp(t.Context()))
	must(t, p.NoteAnswer(7, events.Answer{Caller: actors[0], Key: "k", Command: w.id()}))
	before, head := digests(t, p), p.Head()

	for generation := uint64(2); generation <= 4; generation++ {
		rebuilt, err := p.Rebuild(t.Context(), nil)
		must(t, err)
		if rebuilt.Revision != 120 || rebuilt.Generation != generation || rebuilt.Uncompared != nil || rebuilt.Events != head.Position {
			t.Errorf("rebuilt %+v", rebuilt)
		}
		for view, digest := range before {
			if d := rebuilt.Digests[view]; d.Live != digest || d.Rebuilt != digest {
				t.Errorf("view %s: %+v, was %s", view, d, digest)
			}
		}
		if got := digests(t, p); !maps.Equal(got, before) || p.Head() != head {
			t.Error("a rebuild changed the views")
		}
		rows := generations(t, s)
		if kept := slices.Sorted(maps.Keys(rows)); !slices.Equal(kept, []uint64{generation - 1, generation}) || rows[generation] != rows[generation-1] {
			t.Errorf("generation %d is in use, the store has rows %v", generation, rows)
		}
	}
	log.add(w.commit(t)) // and it goes on in the new one
	must(t, p.CatchUp(t.Context()))
	rebuilt, err := p.Rebuild(t.Context(), nil)
	must(t, err)
	if rebuilt.Revision != 121 || rebuilt.Uncompared != nil {
		t.Errorf("rebuilt %+v", rebuilt)
	}
	before, head = digests(t, p), p.Head()
	must(t, s.Close())

	p = openProjector(t, openStore(t, dir, pebblekv.Options{}), log, nil)
	if _, ok, err := p.FindNoted("", actors[0], "k"); p.Head() != head || !maps.Equal(digests(t, p), before) || p.Noted() != 7 || !ok || err != nil {
		t.Error("the new generation, or an answer, is not there after a restart")
	}
}

// The control: whatever row is not what the log says, a rebuild finds it.
func TestRebuildFindsADifference(t *testing.T) {
	t.Parallel()
	_, log := history(t, seeded(21), 40)
	s := openStore(t, "", pebblekv.Options{})
	p := openProjector(t, s, log, nil)
	must(t, p.CatchUp(t.Context()))
	before := generations(t, s)

	for _, view := range []string{"tally", audit.Name, receipts.Name} {
		snap := s.NewSnapshot()
		row, ok, err := snap.Last(rowsOf(1, view), nil)
		snap.Close()
		must(t, err)
		if !ok {
			t.Fatalf("view %s has no rows", view)
		}
		for how, tamper := range map[string]struct{ key, value []byte }{
			"a value changed": {row.Key, append(bytes.Clone(row.Value), 1)},
			"a row missing":   {row.Key, nil},
			"a row too many":  {append(bytes.Clone(row.Key), 1), []byte{}},
		} {
			was, _ := p.Digest(t.Context(), view)
			set(t, s, tamper.key, tamper.value)
			rebuilt, err := p.Rebuild(t.Context(), nil)
			if !errors.Is(err, projections.ErrDiffers) || rebuilt.Diverged != 0 ||
				!strings.Contains(err.Error(), view+" has ") || !strings.Contains(err.Error(), "changed after they had been written") {
				t.Fatalf("%s of %s: %v", how, view, err)
			}
			now, _ := p.Digest(t.Context(), view)
			for name, d := range rebuilt.Digests {
				if (d.Live != d.Rebuilt) != (name == view) || name == view && (d.Live != now || d.Rebuilt != was) || strings.Contains(err.Error(), name) != (name == view) {
					t.Errorf("%s of %s: %s has %+v: %v", how, view, name, d, err)
				}
			}
			if p.Halted() != nil || rebuilt.Generation != 1 {
				t.Errorf("%s of %s: generation %d in use, halted %v", how, view, rebuilt.Generation, p.Halted())
			}
			set(t, s, append(bytes.Clone(row.Key), 1), nil)
			set(t, s, row.Key, append([]byte{}, row.Value...))
			if got := generations(t, s); !maps.Equal(got, before) {
				t.Fatalf("the store has rows %v, had %v", got, before)
			}
		}
	}
	_, err := p.Rebuild(t.Context(), nil)
	must(t, err)
}

// While a rebuild runs, drafts are committed, faster than it can follow, and questions answered.
func TestRebuildWhileOthersWrite(t *testing.T) {
	t.Parallel()
	const n = 120
	w := seeded(22)
	_, log := history(t, w, n)
	p := inMemory(t, log)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			live(t, p, w, log)
		}
	}()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false // once more with nobody in the way
		default:
		}
		rebuilt, err := p.Rebuild(t.Context(), func(events.Head) {
			views, err := p.Views()
			if err == nil {
				views.Close()
			}
			must(t, err)
		})
		must(t, err)
		must(t, rebuilt.Uncompared)
	}
	if p.Head() != w.head || p.Head().Revision != 2*n {
		t.Errorf("head at %d of %d", p.Head().Revision, w.head.Revision)
	}
	if got := digests(t, p); !maps.Equal(got, digests(t, inMemory(t, log))) {
		t.Errorf("after rebuilds between writes: %v", got)
	}
}

func TestOneRebuildAtATime(t *testing.T) {
	t.Parallel()
	_, log := history(t, seeded(23), 5)
	p := inMemory(t, log)
	var second error
	_, err := p.Rebuild(t.Context(), func(events.Head) { _, second = p.Rebuild(t.Context(), nil) })
	must(t, err)
	if !errors.Is(second, projections.ErrRebuilding) {
		t.Errorf("a rebuild within a rebuild: %v", second)
	}
}

// A halted projector is healed by a rebuild if the log is sound.
func TestRebuildWhenHalted(t *testing.T) {
	t.Parallel()
	w := seeded(24)
	commits, log := history(t, w, 30)
	whole := log.stored
	log.stored = whole[:20:20]
	var damage error
	p := openProjector(t, openStore(t, "", pebblekv.Options{}), log, func(events.Recorded) error { return damage })
	must(t, p.CatchUp(t.Context()))
	log.stored, damage = whole, errors.New("a row this view relies on is damaged")
	halted := p.CatchUp(t.Context())
	if !errors.Is(halted, projections.ErrHalted) {
		t.Fatal(halted)
	}
	if _, err := p.Rebuild(t.Context(), nil); !errors.Is(err, damage) || p.Halted() == nil {
		t.Errorf("rebuilt with a view that cannot: %v, halted %v", err, p.Halted())
	}
	damage = nil
	rebuilt, err := p.Rebuild(t.Context(), nil)
	must(t, err)
	if !errors.Is(rebuilt.Uncompared, projections.ErrHalted) || rebuilt.Revision != 30 || rebuilt.Digests["tally"].Live != "" {
		t.Errorf("rebuilt %+v", rebuilt)
	}
	if p.Halted() != nil || p.Head() != commits[29].Head() {
		t.Errorf("halted %v, head at %d", p.Halted(), p.Head().Revision)
	}
	must(t, p.Wait(t.Context(), 30))
	live(t, p, w, log)
	if got := digests(t, p); !maps.Equal(got, digests(t, inMemory(t, log))) {
		t.Errorf("healed to %v", got)
	}
}

// Who halts while a rebuild runs, stays halted: the rebuild cannot know that its replay answers the reason.
func TestHaltWhileRebuilding(t *testing.T) {
	t.Parallel()
	_, log := history(t, seeded(25), 5)
	s := openStore(t, "", pebblekv.Options{})
	p := openProjector(t, s, log, nil)
	must(t, p.CatchUp(t.Context()))
	alarm := errors.New("the stream's configuration changed")
	if _, err := p.Rebuild(t.Context(), func(events.Head) { p.Halt(alarm) }); !errors.Is(err, alarm) {
		t.Errorf("rebuild: %v", err)
	}
	if !errors.Is(p.Halted(), alarm) {
		t.Errorf("halted: %v", p.Halted())
	}
	if got := generations(t, s); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

// Views are never exchanged for those of another or a shorter log, even when they cannot be read.
func TestRebuildFromAnotherLog(t *testing.T) {
	t.Parallel()
	for _, halt := range []bool{false, true} {
		for name, harm := range map[string]func(log *memory){
			"shorter": func(log *memory) { log.stored = log.stored[:10] },
			"empty":   func(log *memory) { log.stored = nil },
			"with another history": func(log *memory) {
				_, other := history(t, seeded(27), 40)
				log.stored = other.stored
			},
			"with a gap": func(log *memory) { log.stored = slices.Delete(log.stored, 3, 4) },
		} {
			_, log := history(t, seeded(26), 30)
			s := openStore(t, "", pebblekv.Options{})
			p := openProjector(t, s, log, nil)
			must(t, p.CatchUp(t.Context()))
			head := p.Head()
			if halt {
				p.Halt(errors.New("rows cannot be read"))
			}
			harm(log)
			if _, err := p.Rebuild(t.Context(), nil); !errors.Is(err, events.ErrBroken) {
				t.Errorf("a log %s, halted %v: %v", name, halt, err)
			}
			if got := generations(t, s); len(got) != 1 || p.Head() != head || (p.Halted() != nil) != halt {
				t.Errorf("a log %s, halted %v: rows %v, head at %d, halted %v", name, halt, got, p.Head().Revision, p.Halted())
			}
		}
	}
}

// One damaged file of the store: the views cannot be read, and are made again.
func TestRebuildOfADamagedStore(t *testing.T) {
	t.Parallel()
	commits, log := history(t, seeded(28), 120)
	fs := vfs.NewMem()
	s, err := pebblekv.Open("db", pebblekv.Options{FS: fs})
	must(t, err)
	must(t, openProjector(t, s, log, nil).CatchUp(t.Context()))
	must(t, s.Close())
	s, err = pebblekv.Open("db", pebblekv.Options{FS: fs}) // writes what it finds in its log into a table file
	must(t, err)
	want := digests(t, openProjector(t, s, log, nil))
	must(t, s.Close())
	damaged := damageTables(t, fs)

	p := openProjector(t, openStore(t, "db", pebblekv.Options{FS: fs}), log, nil)
	if p.Halted() == nil { // the block of the cursor may be whole
		if _, _, err := p.Digests(t.Context()); !errors.Is(err, pebblekv.ErrStore) {
			t.Fatalf("%d damaged files, digests give %v", damaged, err)
		}
	}
	rebuilt, err := p.Rebuild(t.Context(), nil)
	must(t, err)
	if rebuilt.Uncompared == nil || rebuilt.Revision != 120 || p.Head() != commits[119].Head() {
		t.Errorf("rebuilt %+v", rebuilt)
	}
	if got := digests(t, p); !maps.Equal(got, want) {
		t.Errorf("made again %v, was %v", got, want)
	}
}

// damageTables flips a bit in the middle of every table file.
func damageTables(t testing.TB, fs *vfs.MemFS) (damaged int) {
	t.Helper()
	files, err := fs.List("db")
	must(t, err)
	for _, name := range files {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := fs.PathJoin("db", name)
		f, err := fs.Open(path)
		must(t, err)
		b, err := io.ReadAll(f)
		must(t, err)
		must(t, f.Close())
		b[len(b)/2] ^= 4
		f, err = fs.Create(path, vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = f.Write(b)
		must(t, err)
		must(t, f.Close())
		damaged++
	}
	if damaged == 0 {
		t.Fatal("no table file to damage")
	}
	return damaged
}

// A crash in the middle of a rebuild leaves the old generation in use, and the next rebuild finds nothing in
// its way; a crash right after one leaves the new generation, whole.
func TestCrashesOfARebuild(t *testing.T) {
	t.Parallel()
	w := seeded(29)
	_, log := history(t, w, 50)
	fs := vfs.NewCrashableMem()
	p := openProjector(t, openStore(t, "db", pebblekv.Options{FS: fs}), log, nil)
	p.SetGroup(20_000)
	must(t, p.CatchUp(t.Context()))
	want := digests(t, p)

	var middle []*vfs.MemFS
	_, err := p.Rebuild(t.Context(), func(done events.Head) {
		if len(middle) == 0 {
			middle = append(middle, fs.CrashClone(vfs.CrashCloneCfg{}))
			must(t, p.NoteAnswer(1, refused(w, "sync what is written so far")))
			middle = append(middle, fs.CrashClone(vfs.CrashCloneCfg{}))
		}
	})
	must(t, err)
	after := fs.CrashClone(vfs.CrashCloneCfg{})

	for i, crashed := range middle {
		s := openStore(t, "db", pebblekv.Options{FS: crashed})
		if i == 1 && len(generations(t, s)) != 2 {
			t.Fatal("no part of a generation to be in the way")
		}
		q := openProjector(t, s, log, nil)
		must(t, q.CatchUp(t.Context()))
		if got := digests(t, q); !maps.Equal(got, want) {
			t.Errorf("crashed in the middle %d: %v", i, got)
		}
		// A row that a shorter replay would not overwrite must not survive into the new generation.
		if i == 1 {
			set(t, s, rowsOf(2, "tally").Raw([]byte("zzz")), []byte("left behind"))
		}
		rebuilt, err := q.Rebuild(t.Context(), nil)
		must(t, err)
		if rebuilt.Generation != 2 || rebuilt.Uncompared != nil {
			t.Errorf("rebuilt after the crash: %+v", rebuilt)
		}
	}
	s := openStore(t, "db", pebblekv.Options{FS: after})
	snap := s.NewSnapshot()
	inUse, _, err := snap.Get([]byte("Mg"))
	snap.Close()
	must(t, err)
	q := openProjector(t, s, log, nil)
	if got := digests(t, q); !maps.Equal(got, want) || string(inUse) != "\x00\x00\x00\x00\x00\x00\x00\x02" {
		t.Errorf("crashed right after: generation %x, %v", inUse, got)
	}
}

func TestARebuildThatIsCancelled(t *testing.T) {
	t.Parallel()
	_, log := history(t, seeded(30), 20)
	s := openStore(t, "", pebblekv.Options{})
	p := openProjector(t, s, log, nil)
	must(t, p.CatchUp(t.Context()))
	before := digests(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := p.Rebuild(ctx, func(events.Head) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := generations(t, s); len(got) != 1 || p.Halted() != nil || !maps.Equal(digests(t, p), before) {
		t.Errorf("left behind: %v, halted %v", got, p.Halted())
	}
	log.failing, log.failAt = errors.New("no route"), 5
	if _, err := p.Rebuild(t.Context(), nil); !errors.Is(err, log.failing) || p.Halted() != nil {
		t.Errorf("with a failing source: %v, halted %v", err, p.Halted())
	}
	log.failing = nil
	_, err = p.Rebuild(t.Context(), nil)
	must(t, err)
}

// Two different sets of rows whose bytes in a row are the same have different digests.
func TestDigestTellsRowsApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, rows := range [][][2]string{
		{}, {{"a", ""}}, {{"", "a"}}, {{"ab", ""}}, {{"a", "b"}}, {{"a", ""}, {"b", ""}}, {{"a", "b"}, {"c", ""}}, {{"a", "bc"}}, {{"a", ""}, {"bc", ""}},
		{{"a", "\x00\x00\x00\x00\x00\x00\x00\x01b"}}, // the value looks like the length and key of a next row
	} {
		s := openStore(t, "", pebblekv.Options{})
		for _, row := range rows {
			set(t, s, rowsOf(1, "tally").Raw([]byte(row[0])), []byte(row[1]))
		}
		d, err := openProjector(t, s, &memory{}, nil).Digest(t.Context(), "tally")
		must(t, err)
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %s have one digest", rows, other)
		}
		seen[d] = fmt.Sprintf("%q", rows)
	}
}

// Views that were once computed otherwise are named by the first revision at which they were, also when their
// rows came to be the same again.
func TestRebuildNamesTheFirstDivergence(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, log := history(t, seeded(61), 30)
	for name, tt := range map[string]struct {
		live, now projections.View
		want      events.Revision
		rows      bool // of the view differ, too
	}{
		"a row too many":         {strange{17}, strange{1000}, 17, true},
		"a row written late":     {strange{17}, strange{12}, 12, false},
		"control: no difference": {strange{17}, strange{17}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			store := openStore(t, "", pebblekv.Options{})
			live, err := projections.Open(store, log, audit.Rows{}, tt.live)
			must(t, err)
			must(t, live.CatchUp(ctx))
			p, err := projections.Open(store, log, audit.Rows{}, tt.now)
			must(t, err)
			r, err := p.Rebuild(ctx, nil)
			if r.Diverged != tt.want || (err == nil) != (tt.want == 0) {
				t.Errorf("diverged at %d, %v; want %d", r.Diverged, err, tt.want)
			}
			if d := r.Digests["strange"]; (d.Live != d.Rebuilt) != tt.rows {
				t.Errorf("rows %+v", d)
			}
			if tt.want > 0 && !strings.Contains(err.Error(), fmt.Sprintf("from revision=%d on", tt.want)) {
				t.Errorf("the error does not say so: %v", err)
			}
		})
	}
}
