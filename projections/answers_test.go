package projections_test

import (
	"encoding/json"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

func refused(w *world, key string) events.Answer {
	return events.Answer{
		Tenant: "default", Caller: events.User("alice"), Key: key, RequestHash: "00ff", Command: w.id(),
		AnsweredAt: w.now, Revision: 3, Refusal: &events.RefusalNote{Code: "cycle", Message: "would be below itself"},
		Request: json.RawMessage(`{"commands":[1]}`),
	}
}

func TestNotedAnswers(t *testing.T) {
	t.Parallel()
	w := seeded(40)
	fs := vfs.NewCrashableMem()
	p := openProjector(t, openStore(t, "db", pebblekv.Options{FS: fs}), &memory{}, nil)
	find := func(p *projections.Projector, tenant events.Tenant, caller events.Principal, key string) (events.Answer, bool) {
		t.Helper()
		a, ok, err := p.FindNoted(tenant, caller, key)
		must(t, err)
		return a, ok
	}

	first, second := refused(w, "k/1"), refused(w, "k/1")
	must(t, p.NoteAnswer(3, first))
	must(t, p.NoteAnswer(3, refused(w, "same sequence")))
	must(t, p.NoteAnswer(1, refused(w, "earlier")))
	must(t, p.NoteAnswer(4, second))
	nothing := events.Answer{Caller: events.User("alice"), Key: "k/1", Command: w.id(), Revision: 9} // no tenant, nothing to record
	must(t, p.NoteAnswer(5, nothing))
	must(t, p.NoteAnswer(6, refused(w, ""))) // without a key: only the sequence moves

	check := func(p *projections.Projector) {
		t.Helper()
		if got, ok := find(p, "default", events.User("alice"), "k/1"); !ok || !cmp.Equal(got, first) {
			t.Errorf("the first answer is not the only one: %s", cmp.Diff(first, got))
		}
		if got, ok := find(p, "", events.User("alice"), "k/1"); !ok || !cmp.Equal(got, nothing) {
			t.Errorf("in no tenant: %+v", got)
		}
		for _, none := range []events.Answer{
			{Tenant: "default", Caller: events.User("alice"), Key: "same sequence"},
			{Tenant: "default", Caller: events.User("alice"), Key: "earlier"},
			{Tenant: "default", Caller: events.User("alice"), Key: ""},
			{Tenant: "default", Caller: events.Client("alice"), Key: "k/1"},
			{Tenant: "other", Caller: events.User("alice"), Key: "k/1"},
			{Tenant: "default", Caller: events.User("alice/k"), Key: "1"},
		} {
			if got, ok := find(p, none.Tenant, none.Caller, none.Key); ok {
				t.Errorf("found %+v", got)
			}
		}
	}
	check(p)
	if p.Noted() != 6 {
		t.Errorf("noted %d", p.Noted())
	}
	q := openProjector(t, openStore(t, "db", pebblekv.Options{FS: fs.CrashClone(vfs.CrashCloneCfg{})}), &memory{}, nil)
	check(q)
	if q.Noted() != 5 && q.Noted() != 6 {
		t.Errorf("noted after a crash: %d", q.Noted())
	}
	must(t, q.NoteAnswer(6, refused(w, "k/1"))) // read again from the journal, or ignored
	check(q)
}

// Whoever holds a draft may note an answer, and whatever becomes of the draft, both hold.
func TestNoteWithAnOpenDraft(t *testing.T) {
	t.Parallel()
	w := seeded(41)
	_, log := history(t, w, 3)
	p := inMemory(t, log)
	for i, flush := range []bool{false, true} {
		d, err := p.Begin()
		must(t, err)
		header, evs := w.next()
		for _, r := range evs {
			must(t, d.Add(r))
		}
		key := string(rune('a' + i))
		must(t, p.NoteAnswer(uint64(i+1), refused(w, key)))
		if _, ok, err := p.FindNoted("default", events.User("alice"), key); !ok || err != nil {
			t.Errorf("draft open: found %v, %v", ok, err)
		}
		if flush {
			c := w.seal(t, header, evs)
			must(t, d.Seal(c))
			log.add(c)
			must(t, d.Flush())
		}
		d.Discard()
		if _, ok, err := p.FindNoted("default", events.User("alice"), key); !ok || err != nil || p.Noted() != uint64(i+1) {
			t.Errorf("flushed %v: found %v, %v", flush, ok, err)
		}
	}
	if _, err := p.Rebuild(t.Context(), nil); err != nil || p.Head().Revision != 4 {
		t.Errorf("rebuild: %v, head at %d", err, p.Head().Revision)
	}
}

func TestPinnedAnswerKey(t *testing.T) {
	t.Parallel()
	s := openStore(t, "", pebblekv.Options{})
	p := openProjector(t, s, &memory{}, nil)
	must(t, p.NoteAnswer(258, refused(seeded(42), "k 1")))
	snap := s.NewSnapshot()
	defer snap.Close()
	if _, ok, err := snap.Get([]byte("Jdefault/user/alice/k=201/")); !ok || err != nil {
		t.Errorf("no row where answers.go says: %v", err)
	}
	if v, _, err := snap.Get([]byte("Mn")); err != nil || string(v) != "\x00\x00\x00\x00\x00\x00\x01\x02" {
		t.Errorf("sequence %x %v", v, err)
	}
}
