package pack_test

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/audit/pack"
)

// part unpacks one part with the standard library, as anybody would.
func part(t testing.TB, b []byte, name string) string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Every period and filter: the pack verifies, and its report is what the trail says.
func TestRoundTrip(t *testing.T) {
	w := history(t)
	for name, r := range map[string]pack.Request{
		"everything":            {},
		"everything of a day":   {From: at(t, "2026-03-02T00:00:00Z"), To: at(t, "2026-03-03T00:00:00Z")},
		"two days":              {From: at(t, "2026-03-03T00:00:00Z"), To: at(t, "2026-03-05T00:00:00Z")},
		"from a day on":         {From: at(t, "2026-03-04T00:00:00Z")},
		"until a day":           {To: at(t, "2026-03-03T00:00:00Z")},
		"a day without events":  {From: at(t, "2026-03-02T23:00:00Z"), To: at(t, "2026-03-02T23:30:00Z")},
		"before the ledger":     {To: at(t, "2026-01-01T00:00:00Z")},
		"after everything":      {From: at(t, "2026-05-01T00:00:00Z"), To: at(t, "2026-05-02T00:00:00Z")},
		"a tenant":              {Filters: pack.Filters{Tenant: "other"}},
		"a principal":           {From: at(t, "2026-03-02T00:00:00Z"), Filters: pack.Filters{Principal: events.User("alice")}},
		"an actor":              {Filters: pack.Filters{Actor: events.User("alice")}},
		"somebody acted for":    {Filters: pack.Filters{OnBehalfOf: events.User("=cmd|' /C calc'!A0")}},
		"a permission":          {Filters: pack.Filters{Permission: "read:*"}},
		"an API":                {Filters: pack.Filters{API: "files"}},
		"a type, and nobody's":  {Filters: pack.Filters{Type: "role.assigned", Actor: events.User("nobody")}},
		"all of it at once":     {From: at(t, "2026-03-01T10:00:00Z"), To: at(t, "2026-03-05T10:00:00Z"), Filters: pack.Filters{Tenant: "default", Type: "permission.granted", Permission: "read:*", API: "files"}},
		"a period not over yet": {From: at(t, "2026-03-05T00:00:00Z"), To: at(t, "2026-03-31T00:00:00Z")},
	} {
		for _, only := range []bool{false, true} {
			r.OnlyMatching = only
			t.Run(name+map[bool]string{true: ", only matching"}[only], func(t *testing.T) { roundTrip(t, w, r) })
		}
	}
}

func roundTrip(t *testing.T, w *world, r pack.Request) {
	b := w.export(r)
	if again := w.export(r); !bytes.Equal(b, again) {
		t.Error("the same request made two packs")
	}
	result, err := verify(b, w.trusted())
	if err != nil {
		t.Fatal(err)
	}
	var want []events.Recorded
	f := audit.Filter{
		Tenant: r.Filters.Tenant, Principal: r.Filters.Principal, Actor: r.Filters.Actor, OnBehalfOf: r.Filters.OnBehalfOf,
		Permission: events.Permission{Name: r.Filters.Permission}, API: r.Filters.API, Type: r.Filters.Type, Since: r.From, Until: r.To,
	}
	for e, err := range w.trail.Events(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, e)
	}
	var report struct {
		Parameters pack.Parameters
		Rows       []pack.Row
	}
	if err := json.Unmarshal([]byte(part(t, b, "report.json")), &report); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(part(t, b, "report.csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Rows) != len(want) || len(lines) != len(want)+1 || result.Counts.Matching != len(want) {
		t.Fatalf("%d rows, %d lines, %d counted, %d events", len(report.Rows), len(lines)-1, result.Counts.Matching, len(want))
	}
	for i, row := range report.Rows {
		if row.ID != want[i].ID || row.Position != want[i].Position || row.Event != events.Name(want[i].Event) || row.Reason != want[i].Reason {
			t.Errorf("row %d is %+v, the event is %+v", i, row, want[i])
		}
		if (row.Revision == 0) != r.OnlyMatching || !r.OnlyMatching && row.Revision != want[i].Revision {
			t.Errorf("row %d says revision %d", i, row.Revision)
		}
	}
	text := part(t, b, "README.txt")
	if incomplete := strings.Contains(text, "DOES NOT PROVE THAT THE REPORT IS COMPLETE"); incomplete != r.OnlyMatching {
		t.Errorf("the README says that it is not complete: %t", incomplete)
	}
	if open := strings.Contains(strings.Join(result.NotProved, "\n"), "that the report is complete"); open != r.OnlyMatching {
		t.Errorf("not proved: %q", result.NotProved)
	}
	if _, err := verify(b, checkpoint.Keys{checkpoint.NewKey(report.Parameters.Ledger, key(9).Public(), 0, 0)}); !errors.Is(err, checkpoint.ErrSignature) {
		t.Errorf("by another key: %v", err)
	}
}

// A period is half open: what was recorded at its first instant is in it, what was recorded at its last is not, and
// a checkpoint of the very instant does not hide the first.
func TestPeriodEdges(t *testing.T) {
	w := begin(t)
	edge := w.now
	first := w.do("default", events.Meta{}, role("at-the-start"))
	w.keep() // signed at the very instant
	w.now = w.now.Add(1)
	w.now = edge.Add(1000) // a microsecond later
	last := w.do("default", events.Meta{}, role("a-microsecond-later"))
	w.now = edge.Add(day)
	w.keep()
	w.do("default", events.Meta{}, role("a-day-later"))
	from, to := events.At(edge), events.At(edge)+1
	for name, c := range map[string]struct {
		from, to events.Instant
		want     []events.Revision
		closed   bool
	}{
		"one microsecond":    {from, to, []events.Revision{1, first.Revision}, true}, // revision 1 is the ledger's own
		"the next":           {to, to + 1, []events.Revision{last.Revision}, true},
		"both":               {from, to + 1, []events.Revision{1, first.Revision, last.Revision}, true},
		"from the next on":   {to, 0, []events.Revision{last.Revision, last.Revision + 1}, false},
		"between the events": {to + 1, to + 2, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.export(pack.Request{From: c.from, To: c.to})
			result, err := verify(b, w.trusted())
			if err != nil {
				t.Fatal(err)
			}
			var report struct{ Rows []pack.Row }
			if err := json.Unmarshal([]byte(part(t, b, "report.json")), &report); err != nil {
				t.Fatal(err)
			}
			var got []events.Revision
			for _, row := range report.Rows {
				if n := len(got); n == 0 || got[n-1] != row.Revision {
					got = append(got, row.Revision)
				}
			}
			if len(got) != len(c.want) || result.Parameters.Closed != c.closed {
				t.Fatalf("revisions %v, want %v; over: %t", got, c.want, result.Parameters.Closed)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("revisions %v, want %v", got, c.want)
				}
			}
		})
	}
}

// The range is no larger than the proof needs: from the newest checkpoint before the period to the first commit
// after it.
func TestRangeIsTight(t *testing.T) {
	w := history(t)
	b := w.export(pack.Request{From: at(t, "2026-03-03T00:00:00Z"), To: at(t, "2026-03-04T00:00:00Z")})
	result, err := verify(b, w.trusted())
	if err != nil {
		t.Fatal(err)
	}
	head := w.projector.Head()
	p := result.Parameters
	if p.First.Revision == 0 || p.Range.Revision >= head.Revision || p.Last.Revision != head.Revision || result.Counts.Commits != int(p.Range.Revision-p.First.Revision) {
		t.Errorf("%+v of %d revisions, %d commits", p, head.Revision, result.Counts.Commits)
	}
	if lines := strings.Count(part(t, b, "commits.jsonl"), "\n"); lines != result.Counts.Commits+1 {
		t.Errorf("%d lines", lines)
	}
}

// An auditor that kept a checkpoint has the pack begin with it; one of another history is refused by the ledger, and
// a pack that has nothing to do with it by the auditor.
func TestKeptCheckpoint(t *testing.T) {
	w := history(t)
	kept := w.kept[1] // of 2026-03-02
	r := pack.Request{From: at(t, "2026-03-04T00:00:00Z"), Since: kept}
	b := w.export(r)
	if part(t, b, "checkpoints/first") != string(kept) {
		t.Error("the pack begins with another checkpoint")
	}
	open := func(b, kept []byte) error {
		_, err := pack.Verify(bytes.NewReader(b), int64(len(b)), w.trusted(), kept)
		return err
	}
	if err := open(b, kept); err != nil {
		t.Error(err)
	}
	if err := open(b, w.kept[0]); err == nil || !strings.Contains(err.Error(), "neither begins nor ends with the checkpoint you kept") {
		t.Errorf("another kept checkpoint: %v", err)
	}
	// The auditor's checkpoint says another tree: the ledger cannot make such a pack, and one that passes it over is
	// found by whoever kept it.
	c, err := checkpoint.Parse(kept)
	if err != nil {
		t.Fatal(err)
	}
	c.Root[0] ^= 1
	other, err := checkpoint.Sign(c, key(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pack.Prepare(t.Context(), w.trail, w, pack.Request{From: r.From, Since: other}); !errors.Is(err, pack.ErrOtherHistory) {
		t.Errorf("a checkpoint of another history: %v", err)
	}
	if err := open(b, other); err == nil || !strings.Contains(err.Error(), "the checkpoint you kept has root") {
		t.Errorf("a checkpoint of another history: %v", err)
	}
	for name, r := range map[string]pack.Request{
		"a checkpoint of the period itself":  {From: at(t, "2026-03-02T00:00:00Z"), Since: kept},
		"no period":                          {Since: kept},
		"only matching":                      {From: r.From, Since: kept, OnlyMatching: true},
		"no checkpoint":                      {From: r.From, Since: []byte("hello")},
		"a period that ends before it began": {From: at(t, "2026-03-02T00:00:00Z"), To: at(t, "2026-03-02T00:00:00Z")},
	} {
		var invalid *events.InvalidError
		if _, err := pack.Prepare(t.Context(), w.trail, w, r); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A kept checkpoint that is not of this history any more, as after a fork that was accepted, is passed over.
func TestLostForkIsPassedOver(t *testing.T) {
	w := history(t)
	c, err := checkpoint.Parse(w.kept[2])
	if err != nil {
		t.Fatal(err)
	}
	c.Root[0] ^= 1
	if w.kept[2], err = checkpoint.Sign(c, key(1)); err != nil {
		t.Fatal(err)
	}
	b := w.export(pack.Request{From: at(t, "2026-03-04T00:00:00Z")})
	if part(t, b, "checkpoints/first") != string(w.kept[1]) {
		t.Error("the pack does not begin with the newest checkpoint of this history")
	}
	if _, err := verify(b, w.trusted()); err != nil {
		t.Error(err)
	}
}

// What a spreadsheet takes for a formula is guarded; the JSON has it as it is.
func TestReportIsNoProgram(t *testing.T) {
	w := history(t)
	b := w.export(pack.Request{})
	if text := part(t, b, "report.csv"); strings.Contains(text, ",=cmd") || strings.Contains(text, ",\"=cmd") || !strings.Contains(text, "user:=cmd") {
		t.Errorf("%s", text)
	}
}
