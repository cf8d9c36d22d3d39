package projections_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/pebblekv"
)

// full reports whether the tests run with the full counts rather than a sample.
func full() bool { return os.Getenv("PERMLEDGER_FULL") != "" }

var errLost = errors.New("lost")

// kept is a ledger as an operator has it: a log, and views in a store whose rows can be written.
type kept struct {
	log       *memory
	store     *pebblekv.Store
	projector *projections.Projector
}

func keep(t testing.TB, commits []events.Commit) kept {
	t.Helper()
	k := kept{log: &memory{}, store: openStore(t, "", pebblekv.Options{})}
	k.log.add(commits...)
	k.projector = openProjector(t, k.store, k.log, nil)
	must(t, k.projector.CatchUp(t.Context()))
	return k
}

func (k kept) verification(t testing.TB) audit.Verification {
	t.Helper()
	v, err := k.projector.Inspect()
	must(t, err)
	t.Cleanup(v.Close)
	return audit.Verification{Source: k.log, Views: v, Lost: func(err error) bool { return errors.Is(err, errLost) }}
}

func verify(t testing.TB, v audit.Verification) audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), v)
	must(t, err)
	return report
}

// signedWorld is a world whose ledger signs from its first commit on.
func signedWorld(t testing.TB, seed uint64) (*world, events.Commit) {
	t.Helper()
	w := seeded(seed)
	header, evs := w.next()
	evs[0].Event = events.KeyAnnounced{Key: signers[0].Public()}
	return w, w.seal(t, header, evs)
}

func signedHistory(t testing.TB, seed uint64, n int) []events.Commit {
	t.Helper()
	w, first := signedWorld(t, seed)
	commits := []events.Commit{first}
	for len(commits) < n {
		commits = append(commits, w.commit(t))
	}
	return commits
}

// marked is what somebody kept elsewhere of a ledger at a revision: a signed checkpoint, opened again.
func marked(t testing.TB, k kept, r events.Revision) audit.Known {
	t.Helper()
	trail := audit.NewTrail(k.projector)
	tree, err := trail.Tree(t.Context())
	must(t, err)
	defer tree.Close()
	stored, err := trail.Commit(t.Context(), r)
	must(t, err)
	c, err := events.DecodeCommit(stored.Bytes)
	must(t, err)
	head := c.Head()
	root, err := tree.RootAt(head.Position)
	must(t, err)
	var key events.PrivateKey
	for _, s := range signers {
		if s.Public() == head.Key {
			key = s
		}
	}
	signed, err := checkpoint.Sign(checkpoint.Checkpoint{
		Ledger: head.Ledger, Size: head.Position, Root: root, Revision: r, Head: head.Hash, Schema: projections.Schema, At: head.RecordedAt,
	}, key)
	must(t, err)
	opened, err := checkpoint.Open(signed, checkpoint.Keys{checkpoint.NewKey(head.Ledger, key.Public(), 0, 0)})
	must(t, err)
	return audit.Known{Name: "the checkpoint", Mark: events.Mark{
		Ledger: opened.Ledger, Revision: opened.Revision, Hash: opened.Head, Position: opened.Size, Root: opened.Root,
	}}
}

func TestVerifyFindsNothingInAWholeLedger(t *testing.T) {
	t.Parallel()
	for name, commits := range map[string][]events.Commit{
		"signed":   signedHistory(t, 80, 300), // more than one batch
		"unsigned": unsignedHistory(t, 81, 100),
		"one":      signedHistory(t, 82, 1),
	} {
		k := keep(t, commits)
		v, last := k.verification(t), commits[len(commits)-1].Head()
		report := verify(t, v)
		if !report.Whole() || report.Head != last || report.Events != uint64(last.Position) || report.Stop != nil {
			t.Errorf("%s: %+v", name, report)
		}
		trail, err := audit.NewTrail(k.projector).Tree(t.Context())
		must(t, err)
		if report.Root != events.Hash(trail.Root) {
			t.Errorf("%s: root %s, the tree has %s", name, report.Root, events.Hash(trail.Root))
		}
		trail.Close()
		// In strides, as the scrubber goes.
		events := uint64(0)
		for v.From = 1; v.From <= last.Revision; v.From += 70 {
			v.To = min(v.From+69, last.Revision)
			stride := verify(t, v)
			events += stride.Events
			if !stride.Whole() || stride.Head.Revision != v.To {
				t.Fatalf("%s: from %d to %d: %+v", name, v.From, v.To, stride)
			}
		}
		if events != report.Events {
			t.Errorf("%s: strides have %d events of %d", name, events, report.Events)
		}
		v.From, v.To = 0, 0
		onlyLog, onlyArchive := v, v
		onlyLog.Views, onlyArchive.Source = nil, nil
		for _, v := range []audit.Verification{onlyLog, onlyArchive} {
			if one := verify(t, v); !one.Whole() || one.Head != last || one.Root != report.Root {
				t.Errorf("%s: one side alone: %+v", name, one)
			}
		}
	}
}

func unsignedHistory(t testing.TB, seed uint64, n int) (commits []events.Commit) {
	w := seeded(seed)
	for len(commits) < n {
		header, evs := w.next()
		for i := range evs {
			if _, ok := evs[i].Event.(events.KeyAnnounced); ok {
				evs[i].Event = events.TenantDeleted{}
			}
		}
		commits = append(commits, w.seal(t, header, evs))
	}
	return commits
}

// One byte is changed somewhere, in the log or in a row: the side and the revision are named.
func TestVerifyNamesTheSideAndTheRevision(t *testing.T) {
	t.Parallel()
	rounds := 12
	if full() {
		rounds = 300
	}
	for name, commits := range map[string][]events.Commit{"signed": signedHistory(t, 83, 60), "unsigned": unsignedHistory(t, 84, 60)} {
		random := rand.New(rand.NewPCG(1, 2))
		for round := range rounds {
			k := keep(t, commits)
			// In a ledger that does not sign nobody vouches for its last commit: see TestVerifyFork.
			c := commits[random.IntN(len(commits)-1)]
			side, want := k.damage(t, random, c, round%4)
			report := verify(t, k.verification(t))
			if len(report.Faults) != 1 || report.Faults[0].Side != side || report.Faults[0].Revision != want || report.Stop != nil {
				t.Fatalf("%s: round %d: %s revision %d was damaged, found %+v", name, round, side, want, report)
			}
			if last := commits[len(commits)-1].Head(); report.Head != last {
				t.Fatalf("%s: round %d: the walk ended at %+v", name, round, report.Head)
			}
		}
	}
}

// damage flips one bit of a commit in the log, in its row, in the row of one of its events, or in a hash of the
// tree that it completed.
func (k kept) damage(t testing.TB, random *rand.Rand, c events.Commit, what int) (audit.Side, events.Revision) {
	t.Helper()
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		return b
	}
	at := c.Position + events.Position(random.IntN(len(c.Events)))
	var key pebblekv.Key
	switch what {
	case 0:
		k.log.replace(c.Revision, flip(c.Bytes))
		return audit.SideLog, c.Revision
	case 1:
		key = pebblekv.NewKey('c').Number(uint64(c.Revision))
	case 2:
		key = pebblekv.NewKey('e').Number(uint64(at))
	default:
		k.rewrite(t, pebblekv.Key{'h', 0}.Number(uint64(at)-1), flip)
		return audit.SideTree, c.Revision
	}
	k.rewrite(t, key, flip)
	return audit.SideArchive, c.Revision
}

// rewrite changes a row of the audit view past the projector.
func (k kept) rewrite(t testing.TB, key pebblekv.Key, change func([]byte) []byte) {
	t.Helper()
	w := k.store.NewWrite()
	rows := w.Window(pebblekv.NewKey('G').Number(1).IDs(audit.Name))
	value, ok, err := rows.Get(key)
	must(t, err)
	if !ok {
		t.Fatalf("there is no row %x", []byte(key))
	}
	if changed := change(value); changed == nil {
		must(t, rows.Delete(key))
	} else {
		must(t, rows.Set(key, changed))
	}
	must(t, w.Commit(false))
}

func (m *memory) replace(r events.Revision, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stored[r-1].Bytes = b
}

func nothing([]byte) []byte { return nil }

// Damage of both sides at once is counted on each, and the walk goes on as long as one of them does.
func TestVerifyCountsBothSides(t *testing.T) {
	t.Parallel()
	commits := signedHistory(t, 85, 50)
	k := keep(t, commits)
	for _, r := range []events.Revision{10, 20, 21} {
		k.log.replace(r, []byte("{}"))
	}
	k.rewrite(t, pebblekv.NewKey('c').Number(7), nothing)
	k.rewrite(t, pebblekv.NewKey('e').Number(uint64(commits[30].Position)), nothing)
	k.rewrite(t, pebblekv.Key{'h', 1}.Number(3), nothing)
	want := []audit.Fault{
		{Side: audit.SideTree, Revision: revisionOf(commits, 8), Count: 1},
		{Side: audit.SideArchive, Revision: 7, Count: 2},
		{Side: audit.SideLog, Revision: 10, Count: 3},
	}
	slices.SortFunc(want, func(a, b audit.Fault) int { return int(a.Revision) - int(b.Revision) })
	report := verify(t, k.verification(t))
	for i := range report.Faults {
		t.Log(report.Faults[i])
		report.Faults[i].Why = ""
	}
	if !slices.Equal(report.Faults, want) || report.Head.Revision != 50 {
		t.Errorf("%+v, want %+v", report, want)
	}
	// Where both are damaged in one place, nothing after it can be judged.
	k.log.replace(7, []byte("{}"))
	report = verify(t, k.verification(t))
	if report.Stop == nil || report.Stop.Revision != 7 || report.Head.Revision != 6 || !report.Bad(audit.SideLog) || !report.Bad(audit.SideArchive) {
		t.Errorf("%+v", report)
	}
}

func revisionOf(commits []events.Commit, p events.Position) events.Revision {
	for _, c := range commits {
		if c.Head().Position >= p {
			return c.Revision
		}
	}
	return 0
}

// Rows that nobody made, a log that ends early, and a log that cannot be read in places.
func TestVerifyFindsWhatIsTooMuchAndTooLittle(t *testing.T) {
	t.Parallel()
	commits := signedHistory(t, 86, 40)
	last := commits[39].Head()
	add := func(t *testing.T, k kept, key pebblekv.Key) {
		w := k.store.NewWrite()
		must(t, w.Window(pebblekv.NewKey('G').Number(1).IDs(audit.Name)).Set(key, make([]byte, 32)))
		must(t, w.Commit(false))
	}
	for name, tt := range map[string]struct {
		damage   func(*testing.T, kept)
		side     audit.Side
		revision events.Revision
		count    int
	}{
		"a commit behind the last":  {func(t *testing.T, k kept) { add(t, k, pebblekv.NewKey('c').Number(41)) }, audit.SideArchive, 40, 1},
		"an event behind the last":  {func(t *testing.T, k kept) { add(t, k, pebblekv.NewKey('e').Number(uint64(last.Position)+9)) }, audit.SideArchive, 40, 1},
		"a commit with an odd key":  {func(t *testing.T, k kept) { add(t, k, append(pebblekv.NewKey('c').Number(5), 1)) }, audit.SideArchive, 6, 1},
		"an odd key at the end":     {func(t *testing.T, k kept) { add(t, k, append(pebblekv.NewKey('c').Number(40), 1)) }, audit.SideArchive, 40, 1},
		"a hash behind the last":    {func(t *testing.T, k kept) { add(t, k, pebblekv.Key{'h', 0}.Number(uint64(last.Position))) }, audit.SideTree, 40, 1},
		"a hash on a level too far": {func(t *testing.T, k kept) { add(t, k, pebblekv.Key{'h', 40}.Number(0)) }, audit.SideTree, 40, 1},
		"the log's tail is cut":     {func(_ *testing.T, k kept) { k.log.stored = k.log.stored[:30] }, audit.SideLog, 31, 10},
		"the log says it has more":  {func(_ *testing.T, k kept) { k.log.stored, k.log.claims = k.log.stored[:30], 40 }, audit.SideLog, 31, 10},
		"the log is not there":      {func(_ *testing.T, k kept) { k.log.stored = nil }, audit.SideLog, 1, 40},
		"the log cannot be read":    {func(_ *testing.T, k kept) { k.log.failing, k.log.failAt = errLost, 12 }, audit.SideLog, 12, 29},
		"the log is damaged":        {func(_ *testing.T, k kept) { k.log.failing = errLost }, audit.SideLog, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, commits)
			tt.damage(t, k)
			report := verify(t, k.verification(t))
			if len(report.Faults) != 1 {
				t.Fatalf("%+v", report)
			}
			f := report.Faults[0]
			t.Log(f)
			if f.Side != tt.side || f.Revision != tt.revision || f.Count != tt.count || report.Head != last {
				t.Errorf("%+v, head %d", f, report.Head.Revision)
			}
		})
	}
	// What says nothing about the log is no fault of it.
	k := keep(t, commits)
	k.log.failing, k.log.failAt = errors.New("unreachable"), 12
	if report, err := audit.Verify(t.Context(), k.verification(t)); err == nil {
		t.Errorf("a log that could not be reached: %+v", report)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k.log.failing = nil
	if report, err := audit.Verify(ctx, k.verification(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %+v, %v", report, err)
	}
}

// Two histories from one point on, both written by the ledger: nobody can say which is right, unless somebody
// kept something.
func TestVerifyFork(t *testing.T) {
	t.Parallel()
	commits := signedHistory(t, 87, 30)
	other := rewritten(t, commits, signers, func(h *forgery) { h.commits[19].Events[0].Reason = "another" })
	k := keep(t, other)
	known := marked(t, k, 25)
	k.log.stored = nil
	k.log.add(commits...)
	report := verify(t, k.verification(t))
	if len(report.Faults) != 1 || report.Faults[0].Side != audit.SideFork || report.Faults[0].Revision != 20 || report.Faults[0].Count != 11 || report.Head != commits[29].Head() {
		t.Errorf("%+v", report)
	}
	v := k.verification(t)
	known.Revision, known.Hash, known.Position, known.Root = 20, other[19].Hash, other[19].Head().Position, events.Hash{}
	v.Known = []audit.Known{known}
	report = verify(t, v)
	if len(report.Faults) != 1 || report.Faults[0].Side != audit.SideLog || report.Faults[0].Revision != 20 || report.Head != other[29].Head() {
		t.Errorf("with a mark: %+v", report)
	}
	// Another ledger.
	k.log.stored = nil
	k.log.add(rewritten(t, signedHistory(t, 88, 30), signers, func(h *forgery) { h.ledger = events.LedgerID{7} })...)
	report = verify(t, k.verification(t))
	if f := report.Faults[0]; f.Side != audit.SideFork || f.Revision != 1 || !strings.Contains(f.Why, "07000000") || !strings.Contains(f.Why, testLedger.String()) {
		t.Errorf("another ledger: %+v", report)
	}
}

// forgery is a history that somebody edits and writes anew, with every hash and position computed again.
type forgery struct {
	ledger  events.LedgerID
	commits []events.Commit
}

// rewritten edits a history and seals it anew with the keys, as far as each is announced.
func rewritten(t testing.TB, commits []events.Commit, keys []events.PrivateKey, edit func(*forgery)) []events.Commit {
	t.Helper()
	f := forgery{ledger: commits[0].Ledger}
	var times []events.Instant
	for _, c := range commits {
		c.Events = slices.Clone(c.Events)
		f.commits, times = append(f.commits, c), append(times, c.RecordedAt)
	}
	edit(&f)
	var head events.Head
	out := make([]events.Commit, 0, len(f.commits))
	for i, c := range f.commits {
		h := events.Header{Ledger: f.ledger, RecordedAt: times[min(i, len(times)-1)], Writer: c.Writer}
		sealed, err := events.Seal(head, h, c.Events, signerOf(head, c.Events, keys))
		must(t, err)
		out, head = append(out, sealed), sealed.Head()
	}
	return out
}

func signerOf(head events.Head, evs []events.Recorded, keys []events.PrivateKey) events.Signer {
	want := head.Key
	for _, r := range evs {
		if e, ok := r.Event.(events.KeyAnnounced); ok && want.IsZero() {
			want = e.Key
		}
	}
	for _, k := range keys {
		if k.Public() == want {
			return k
		}
	}
	return keys[0]
}

// The edits that somebody may make to a history.
var edits = map[string]func(*rand.Rand, *forgery){
	"change": func(r *rand.Rand, f *forgery) {
		c := f.commits[1+r.IntN(len(f.commits)-1)]
		c.Events[r.IntN(len(c.Events))].Reason += "!"
	},
	"delete": func(r *rand.Rand, f *forgery) {
		i := 1 + r.IntN(len(f.commits)-1)
		if c := &f.commits[i]; len(c.Events) > 1 && r.IntN(2) == 0 {
			at := r.IntN(len(c.Events))
			c.Events = slices.Delete(c.Events, at, at+1)
			return
		}
		f.commits = slices.Delete(f.commits, i, i+1)
	},
	"insert": func(r *rand.Rand, f *forgery) {
		i := 1 + r.IntN(len(f.commits)-1)
		extra := f.commits[i].Events[0]
		extra.ID[15] ^= 0x55
		extra.Event = events.AdministratorAdded{Principal: events.User("mallory")}
		if c := &f.commits[i]; r.IntN(2) == 0 {
			c.Events = slices.Insert(c.Events, r.IntN(len(c.Events)), extra)
			return
		}
		added := f.commits[i]
		added.Events = []events.Recorded{extra}
		f.commits = slices.Insert(f.commits, i, added)
	},
	"swap": func(r *rand.Rand, f *forgery) {
		n := len(f.commits) - 1
		i := 1 + r.IntN(n)
		j := 1 + (i+r.IntN(n-1))%n
		f.commits[i], f.commits[j] = f.commits[j], f.commits[i]
	},
	"cut": func(r *rand.Rand, f *forgery) { f.commits = f.commits[:1+r.IntN(len(f.commits)-1)] },
}

// TestEditsByTheOperator edits a history as somebody with the disk and the key can: everything is computed and
// signed again, and the views are made anew. A checkpoint held outside finds each. The control: the ledger by
// itself is whole, so nothing else could. Without the key, nothing from outside is needed.
func TestEditsByTheOperator(t *testing.T) {
	t.Parallel()
	rounds := 5
	if full() {
		rounds = 200 // of each of the five
	}
	commits := signedHistory(t, 89, 24)
	outside := marked(t, keep(t, commits), 24)
	if v := keep(t, commits).verification(t); true {
		v.Known = []audit.Known{outside}
		if report := verify(t, v); !report.Whole() {
			t.Fatalf("unedited: %+v", report)
		}
	}
	mallory := []events.PrivateKey{signer(66)}
	for name, edit := range edits {
		random := rand.New(rand.NewPCG(7, uint64(len(name))))
		for round := range rounds {
			seed := random.Uint64()
			edited := func(keys []events.PrivateKey) []events.Commit {
				return rewritten(t, commits, keys, func(f *forgery) { edit(rand.New(rand.NewPCG(seed, 1)), f) })
			}
			k := keep(t, edited(signers))
			v := k.verification(t)
			if report := verify(t, v); !report.Whole() {
				t.Fatalf("%s %d: found without anything from outside, so this test shows nothing: %+v", name, round, report)
			}
			v.Known = []audit.Known{outside}
			report := verify(t, v)
			if len(report.Faults) != 1 || report.Faults[0].Side != audit.SideCheckpoint {
				t.Fatalf("%s %d: not found: %+v", name, round, report)
			}
			forged, signed := withoutTheKey(t, commits, edited(mallory))
			if signed == 0 {
				continue // the end is cut off, and what is left is as the ledger wrote it: only what is known from elsewhere tells
			}
			k.log.stored = nil
			k.log.add(forged...)
			v = k.verification(t)
			v.Views = nil // he has the views as well
			if report := verify(t, v); !report.Bad(audit.SideLog) {
				t.Fatalf("%s %d: found nothing, and he has no key: %+v", name, round, report)
			}
		}
	}
}

// withoutTheKey keeps the commits before the edit as they were, with their signatures, and says how many of the
// others had to be signed.
func withoutTheKey(t testing.TB, was, edited []events.Commit) (out []events.Commit, signed int) {
	t.Helper()
	i := 0
	for i < min(len(was), len(edited)) && sameEvents(was[i], edited[i]) {
		i++
	}
	out = slices.Clone(was[:i])
	head := out[i-1].Head()
	for _, c := range edited[i:] {
		sealed, err := events.Seal(head, c.Header, c.Events, signer(66))
		must(t, err)
		out, head = append(out, sealed), sealed.Head()
	}
	return out, len(edited) - i
}

func sameEvents(a, b events.Commit) bool {
	return slices.EqualFunc(a.Events, b.Events, func(x, y events.Recorded) bool { return bytes.Equal(x.Raw, y.Raw) })
}

// BenchmarkVerify verifies a signed ledger on disk, in commits of so many events.
func BenchmarkVerify(b *testing.B) {
	total := events.Position(100_000)
	if os.Getenv("PERMLEDGER_FULL") != "" {
		total = 1_000_000
	}
	for _, size := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w, first := signedWorld(b, 91)
			log := &memory{}
			log.add(first)
			for w.head.Position < total {
				header, evs := w.next()
				for len(evs) < size {
					_, more := w.next()
					evs = append(evs, more...)
				}
				log.add(w.seal(b, header, evs[:size]))
			}
			s := openStore(b, b.TempDir(), pebblekv.Options{})
			p, err := projections.Open(s, log, audit.Rows{})
			must(b, err)
			must(b, p.CatchUp(b.Context()))
			for b.Loop() {
				v, err := p.Inspect()
				must(b, err)
				report := verify(b, audit.Verification{Source: log, Views: v})
				v.Close()
				if !report.Whole() {
					b.Fatalf("%+v", report)
				}
			}
			perEvent(b, p)
		})
	}
}
