package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testChain is three commits of one ledger: two by node-1, then one by node-2.
func testChain(t testing.TB) []Commit {
	t.Helper()
	grant := func(n int, user string) Recorded {
		return Recorded{
			ID: testID(100 + n), Command: testID(200 + n), Tenant: DefaultTenant, Meta: Meta{Actor: User("root")},
			Event: PermissionGranted{User(user), Permission{"operate", "read:*"}, AnyOf("Process")},
		}
	}
	var head Head
	var chain []Commit
	for _, step := range []struct {
		writer, at string
		events     []Recorded
	}{
		{"node-1", "2026-03-01T00:00:00Z", []Recorded{grant(1, "alice"), grant(2, "bob")}},
		{"node-1", "2026-03-02T00:00:00Z", []Recorded{grant(3, "carol"), grant(4, "dave"), grant(5, "erin")}},
		{"node-2", "2026-03-02T00:00:00Z", []Recorded{grant(6, "frank")}},
	} {
		c, err := Seal(head, Header{Ledger: testID(9), Writer: step.writer, RecordedAt: mustInstant(step.at)}, step.events, nil)
		if err != nil {
			t.Fatal(err)
		}
		chain, head = append(chain, c), c.Head()
	}
	return chain
}

func TestChain(t *testing.T) {
	var head Head
	for i, sealed := range testChain(t) {
		c, err := DecodeCommit(sealed.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sealed, c); diff != "" {
			t.Errorf("decoded otherwise than sealed (-sealed +decoded):\n%s", diff)
		}
		if err := head.Follows(c); err != nil {
			t.Errorf("commit %d: %v", i+1, err)
		}
		if err := c.Head().Follows(c); !errors.Is(err, ErrBroken) {
			t.Errorf("commit %d follows itself: %v", i+1, err)
		}
		head = c.Head()
	}
	want := Head{
		Ledger: testID(9), Revision: 3, Hash: head.Hash, Position: 6,
		RecordedAt: mustInstant("2026-03-02T00:00:00Z"), Writer: "node-2", Epoch: 2,
	}
	if head != want {
		t.Errorf("head %+v, want %+v", head, want)
	}
}

// Where a changed commit is refused.
const (
	atDecode = "DecodeCommit"
	atFollow = "Follows of the head before"
	atNext   = "Follows of the commit after" // only the hash tells
	nowhere  = "nowhere"
)

// refusedAt says where stored, put in the place of chain[1], is refused, and with what.
func refusedAt(chain []Commit, stored []byte) (string, error) {
	c, err := DecodeCommit(stored)
	if err != nil {
		return atDecode, err
	}
	if err := chain[0].Head().Follows(c); err != nil {
		return atFollow, err
	}
	if err := c.Head().Follows(chain[2]); err != nil {
		return atNext, err
	}
	return nowhere, nil
}

func TestTampering(t *testing.T) {
	chain := testChain(t)
	stored := string(chain[1].Bytes)
	if where, err := refusedAt(chain, []byte(stored)); where != nowhere {
		t.Fatalf("the chain itself is refused at %s: %v", where, err)
	}
	previous := chain[1].Previous.String()
	for _, tt := range []struct {
		name     string
		old, new string // the first old becomes new; "" old: new is the whole commit
		where    string
		err      error // nil: any
	}{
		// The header says another place.
		{"a gap", `"revision":2`, `"revision":3`, atFollow, ErrBroken},
		{"a revision again", `"revision":2`, `"revision":1`, atFollow, ErrBroken},
		{"revision 0", `"revision":2`, `"revision":0`, atDecode, ErrMalformed},
		{"a negative revision", `"revision":2`, `"revision":-2`, atDecode, ErrMalformed},
		{"another commit before", `"previous":"` + previous[:1], `"previous":"` + flipHex(previous[:1]), atFollow, ErrBroken},
		{"nothing before", previous, strings.Repeat("0", 64), atFollow, ErrBroken},
		{"half a hash", previous, previous[:62], atDecode, ErrMalformed},
		{"a position skipped", `"position":3`, `"position":4`, atFollow, ErrBroken},
		{"a position again", `"position":3`, `"position":2`, atFollow, ErrBroken},
		{"position 0", `"position":3`, `"position":0`, atDecode, ErrMalformed},
		{"another ledger", testID(9).String(), testID(8).String(), atFollow, ErrBroken},
		{"an older epoch", `"epoch":1`, `"epoch":0`, atFollow, ErrBroken},
		{"another writer in the same epoch", `"writer":"node-1"`, `"writer":"node-2"`, atFollow, ErrBroken},
		{"an epoch without another writer", `"epoch":1`, `"epoch":2`, atNext, ErrBroken},
		{"header at another time than its events", `"recorded_at":"2026-03-02`, `"recorded_at":"2026-03-03`, atDecode, ErrMalformed},
		{"a format to come", `"format":1`, `"format":3`, atDecode, ErrMalformed},
		{"signed, without a key", `"format":1`, `"format":2`, atDecode, ErrMalformed},

		// The same header in other bytes.
		{"white space first", `{"format"`, ` {"format"`, atDecode, ErrMalformed},
		{"white space in the header", `"format":1`, `"format": 1`, atDecode, ErrMalformed},
		{"white space before the events", `,"events"`, `, "events"`, atDecode, ErrMalformed},
		{"white space between events", `}},{"id"`, `}}, {"id"`, atDecode, ErrMalformed},
		{"a newline last", stored, stored + "\n", atDecode, ErrMalformed},
		{"members in another order", `"format":1,"ledger":"` + testID(9).String() + `"`, `"ledger":"` + testID(9).String() + `","format":1`, atDecode, ErrMalformed},
		{"a member twice", `"format":1`, `"format":1,"format":1`, atDecode, ErrMalformed},
		{"a member in capitals", `"format":1`, `"Format":1`, atDecode, ErrMalformed},
		{"another digit case", previous, strings.ToUpper(previous), atDecode, ErrMalformed},
		{"a number with an exponent", `"epoch":1`, `"epoch":1e0`, atDecode, ErrMalformed},
		{"a time with another zone", `"recorded_at":"2026-03-02T00:00:00Z"`, `"recorded_at":"2026-03-02T00:00:00+00:00"`, atDecode, ErrMalformed},
		{"an escape", `"writer":"node-1"`, `"writer":"n\u006fde-1"`, atDecode, ErrMalformed},
		{"an unknown member", `"format":1`, `"format":1,"flags":0`, atDecode, ErrMalformed},
		{"a member missing", `"writer":"node-1",`, ``, atDecode, ErrMalformed},
		{"no events member", `,"events":[`, `,"event":[`, atDecode, ErrMalformed},

		// What is no commit at all.
		{"nothing", "", "", atDecode, ErrMalformed},
		{"null", "", "null", atDecode, ErrMalformed},
		{"an empty object", "", "{}", atDecode, ErrMalformed},
		{"a list", "", "[]", atDecode, ErrMalformed},
		{"half of it", "", stored[:len(stored)/2], atDecode, ErrMalformed},
		{"it twice", "", stored + stored, atDecode, ErrMalformed},
		{"without events", stored[strings.Index(stored, `[{"id"`):], `[]}`, atDecode, ErrMalformed},

		// An event that this build does not know in every detail.
		{"an unknown event", `"type":"permission.granted"`, `"type":"permission.lent"`, atDecode, ErrUnknownEvent},
		{"an unnamed event", `"type":"permission.granted"`, `"type":""`, atDecode, ErrUnknownEvent},
		{"a name in another case", `"type":"permission.granted"`, `"type":"Permission.granted"`, atDecode, ErrUnknownEvent},
		{"a version to come", `"version":1`, `"version":2`, atDecode, ErrUnknownEvent},
		{"version 0", `"version":1`, `"version":0`, atDecode, ErrUnknownEvent},
		{"a negative version", `"version":1`, `"version":-1`, atDecode, ErrUnknownEvent},
		{"an unknown member of the envelope", `"tenant":"default"`, `"tenant":"default","cell":"1"`, atDecode, nil},
		{"an unknown member of the event", `"data":{`, `"data":{"until_revoked":true,`, atDecode, nil},
		{"an unknown member of its permission", `"api":"operate"`, `"api":"operate","region":"eu"`, atDecode, nil},
		{"an unknown member of its scope", `"any":true`, `"any":true,"except":"x"`, atDecode, nil},
		{"a scope of any and one id", `"any":true`, `"any":true,"id":"x"`, atDecode, nil},
		{"the id *", `"any":true`, `"id":"*"`, atDecode, nil},
		{"a principal without a kind", `"principal":"user:carol"`, `"principal":"carol"`, atDecode, nil},
		{"an event id that is none", testID(103).String(), "103", atDecode, nil},
		{"an event of another shape", `"data":{`, `"data":[{`, atDecode, nil},
		{"an event at another time than its commit", `"version":1,"recorded_at":"2026-03-02`, `"version":1,"recorded_at":"2026-03-01`, atDecode, ErrMalformed},

		// Well-formed lies: only the hash in the commit after, or in the reader's own mark, tells.
		{"another principal", `"principal":"user:carol"`, `"principal":"user:mallory"`, atNext, ErrBroken},
		{"another tenant", `"tenant":"default"`, `"tenant":"other"`, atNext, ErrBroken},
		{"another actor", `"actor":"user:root"`, `"actor":"user:carol"`, atNext, ErrBroken},
		{"another event", `"type":"permission.granted","version":1`, `"type":"role.created","version":1`, atDecode, nil},
		{"white space in an event", `"data":{`, `"data": {`, atNext, ErrBroken},
		{"members of an event in another order", `"type":"permission.granted","version":1`, `"version":1,"type":"permission.granted"`, atNext, ErrBroken},
		{"an event less", string(chain[1].Events[0].Raw) + ",", "", atNext, ErrBroken},
		{"an event twice", string(chain[1].Events[0].Raw), string(chain[1].Events[0].Raw) + "," + string(chain[1].Events[0].Raw), atNext, ErrBroken},
		{"events swapped",
			string(chain[1].Events[0].Raw) + "," + string(chain[1].Events[1].Raw),
			string(chain[1].Events[1].Raw) + "," + string(chain[1].Events[0].Raw), atNext, ErrBroken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := tt.new
			if tt.old != "" {
				changed = strings.Replace(stored, tt.old, tt.new, 1)
				if changed == stored {
					t.Fatalf("%q does not occur in %s", tt.old, stored)
				}
			}
			where, err := refusedAt(chain, []byte(changed))
			if where != tt.where {
				t.Errorf("refused at %s (%v), want %s", where, err, tt.where)
			}
			if tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("refused with %v, want %v", err, tt.err)
			}
		})
	}

	t.Run("time going back", func(t *testing.T) {
		back := strings.ReplaceAll(stored, "2026-03-02T00:00:00Z", "2026-02-28T00:00:00Z")
		if where, err := refusedAt(chain, []byte(back)); where != atFollow || !errors.Is(err, ErrBroken) {
			t.Errorf("refused at %s: %v", where, err)
		}
	})
	t.Run("data null or missing", func(t *testing.T) {
		c := chain[2]
		data, err := json.Marshal(c.Events[0].Event)
		if err != nil {
			t.Fatal(err)
		}
		for _, replacement := range []string{`,"data":null`, ``, `,"data":7`} {
			changed := strings.Replace(string(c.Bytes), `,"data":`+string(data), replacement, 1)
			if got, err := DecodeCommit([]byte(changed)); err == nil {
				t.Errorf("with %q decoded as %+v", replacement, got.Events[0].Event)
			}
		}
	})
}

func flipHex(digit string) string {
	if digit == "0" {
		return "1"
	}
	return "0"
}

// A single flipped bit does not go unseen: by the time the next commit is read, the chain is refused.
func TestFlippedBitsAreRefused(t *testing.T) {
	chain := testChain(t)
	for i := 0; i < 8*len(chain[1].Bytes); i += 3 { // two or three bits of every byte, each of the eight in turn
		changed := bytes.Clone(chain[1].Bytes)
		changed[i/8] ^= 1 << (i % 8)
		if where, _ := refusedAt(chain, changed); where == nowhere {
			t.Errorf("bit %d of byte %d (%q) may flip", i%8, i/8, chain[1].Bytes[i/8])
		}
	}
}

func TestSeal(t *testing.T) {
	chain := testChain(t)
	for i, want := range []struct {
		epoch    uint64
		position Position
	}{{1, 1}, {1, 3}, {2, 6}} {
		c := chain[i]
		if c.Format != 1 || c.Revision != Revision(i+1) || c.Epoch != want.epoch || c.Position != want.position {
			t.Errorf("commit %d has header %+v", i+1, c.Header)
		}
		for j, r := range c.Events {
			if r.Revision != c.Revision || r.Position != c.Position+Position(j) || r.RecordedAt != c.RecordedAt || r.Raw == nil {
				t.Errorf("commit %d event %d is not completed: %+v", i+1, j, r)
			}
		}
	}
	// The ledger, revision and position are the head's, whatever the header says.
	c, err := Seal(chain[0].Head(), Header{
		Ledger: testID(1), Revision: 77, Position: 77, Epoch: 77, Format: 77, Previous: Hash{1},
		Writer: "node-1", RecordedAt: chain[0].RecordedAt,
	}, []Recorded{goldenEnvelope(TenantDeleted{})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := chain[0].Head().Follows(c); err != nil {
		t.Error(err)
	}
}

// What could not be read back is not sealed.
func TestSealRefuses(t *testing.T) {
	h := Header{Ledger: testID(9), Writer: "node-1", RecordedAt: mustInstant("2026-03-01T00:00:00Z")}
	if _, err := Seal(Head{}, h, nil, nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("no events: %v", err)
	}
	for _, e := range []Event{nil, &TenantDeleted{}, (*RoleDeleted)(nil)} {
		if c, err := Seal(Head{}, h, []Recorded{{Event: e}}, nil); !errors.Is(err, ErrUnknownEvent) {
			t.Errorf("%T sealed as %s, %v", e, c.Bytes, err)
		}
	}
}

func TestRecordedTimes(t *testing.T) {
	recorded, from, until := mustInstant("2026-03-01T00:00:00Z"), mustInstant("2026-02-01T00:00:00Z"), mustInstant("2026-06-01T00:00:00Z")
	for _, tt := range []struct {
		from, until Instant
		validity    Interval
		end         Instant
	}{
		{0, 0, Interval{recorded, Forever}, recorded},
		{from, 0, Interval{from, Forever}, recorded},
		{0, until, Interval{recorded, until}, until},
		{from, until, Interval{from, until}, until},
	} {
		r := Recorded{RecordedAt: recorded, ValidFrom: tt.from, ValidUntil: tt.until}
		if r.Validity() != tt.validity || r.End() != tt.end {
			t.Errorf("from %v until %v: valid %v, ends %v", tt.from, tt.until, r.Validity(), r.End())
		}
	}
}

func TestHashText(t *testing.T) {
	h := testChain(t)[0].Hash
	var back Hash
	if err := back.UnmarshalText([]byte(h.String())); err != nil || back != h {
		t.Errorf("%s is read as %s, %v", h, back, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("0", 63), strings.Repeat("0", 65), strings.Repeat("g", 64)} {
		if err := back.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}

// FuzzDecodeCommit: no bytes make it panic, and what it takes is put together again to the same bytes.
func FuzzDecodeCommit(f *testing.F) {
	for _, c := range testChain(f) {
		f.Add(c.Bytes)
	}
	f.Add(goldenFile(f, "commit.v1.json", nil))
	f.Add(goldenFile(f, "commit.v2.json", nil))
	for _, k := range registry { // every event of every version, in a commit of its own
		for i := range k.versions {
			event := goldenFile(f, fmt.Sprintf("%s.v%d.json", k.name, i+1), nil)
			_, h, _ := goldenCommit()
			h.Format, h.Revision, h.Position = formatPlain, 1, 1
			prefix, err := h.prefix()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(JoinCommit(prefix, []json.RawMessage{event}, []byte("]}")))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommit(b)
		if err != nil {
			return
		}
		if joined := JoinCommit(c.Prefix(), raws(c), c.Suffix()); !bytes.Equal(joined, b) {
			t.Fatalf("joined to\n%s, was\n%s", joined, b)
		}
		before := Head{Ledger: c.Ledger, Revision: c.Revision - 1, Hash: c.Previous, Position: c.Position - 1, Epoch: c.Epoch, Writer: c.Writer}
		if err := before.Follows(c); err != nil {
			t.Fatal(err)
		}
		if c.Head().Follows(c) == nil {
			t.Fatal("it follows itself")
		}
	})
}

// FuzzUnmarshalEvent: no bytes make it panic; what it takes is kept as it was, and written in its present
// form it is the same event.
func FuzzUnmarshalEvent(f *testing.F) {
	for _, k := range registry {
		for i := range k.versions {
			f.Add(goldenFile(f, fmt.Sprintf("%s.v%d.json", k.name, i+1), nil))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := UnmarshalEvent(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Raw, raw) {
			t.Fatalf("kept as %s, was %s", r.Raw, raw)
		}
		present, err := MarshalEvent(r)
		if err != nil {
			t.Fatalf("%s cannot be written: %v", raw, err)
		}
		again, err := UnmarshalEvent(present)
		if err != nil {
			t.Fatalf("%s is written %s, which cannot be read: %v", raw, present, err)
		}
		if twice, err := MarshalEvent(again); err != nil || !bytes.Equal(present, twice) {
			t.Fatalf("%s is written %s and then %s, %v", raw, present, twice, err)
		}
		About(r.Event)
		PermissionOf(r.Event)
	})
}

func benchmarkEvents(n int) []Recorded {
	evs := make([]Recorded, n)
	for i := range evs {
		evs[i] = Recorded{
			ID: testID(i), Command: testID(1), Tenant: DefaultTenant,
			Meta:  Meta{Actor: User("root"), Reason: "new hire", Ticket: "OPS-1"},
			Event: PermissionGranted{User(fmt.Sprint("user-", i)), Permission{"operate", "read:*"}, Exactly("Process", fmt.Sprint("order-", i))},
		}
	}
	return evs
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, evs := Header{Ledger: testID(9), Writer: "node-1", RecordedAt: mustInstant("2026-03-01T00:00:00Z")}, benchmarkEvents(n)
			b.ReportAllocs()
			for b.Loop() {
				c, err := Seal(Head{}, h, evs, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(c.Bytes)))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

func BenchmarkDecodeCommit(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, err := Seal(Head{}, Header{Ledger: testID(9), Writer: "node-1", RecordedAt: mustInstant("2026-03-01T00:00:00Z")}, benchmarkEvents(n), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(c.Bytes)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeCommit(c.Bytes); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}
