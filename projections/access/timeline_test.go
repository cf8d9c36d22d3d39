package access

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/permledger/permledger/events"
)

// instants are the members of a timeline among the first hundred.
func instants(t timeline) map[events.Instant]bool {
	in := map[events.Instant]bool{}
	for i := range events.Instant(100) {
		if t.holds(i) {
			in[i] = true
		}
	}
	return in
}

func drawTimeline(t *rapid.T, label string) timeline {
	var all timeline
	for range rapid.IntRange(0, 6).Draw(t, label) {
		from := events.Instant(rapid.IntRange(0, 99).Draw(t, "from"))
		all = all.add(events.Interval{From: from, Until: from + events.Instant(rapid.IntRange(0, 20).Draw(t, "length"))})
	}
	return all
}

// A timeline behaves as the set of its instants, and is always sorted without overlaps or touching ends.
func TestTimelineIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTimeline(t, "a"), drawTimeline(t, "b")
		inA, inB := instants(a), instants(b)
		union, both := a.union(b), a.intersect(b)
		inUnion, inBoth := instants(union), instants(both)
		for i := range events.Instant(100) {
			if inUnion[i] != (inA[i] || inB[i]) || inBoth[i] != (inA[i] && inB[i]) {
				t.Fatalf("%v and %v at %d: union %v, intersection %v", a, b, i, union, both)
			}
		}
		for _, all := range []timeline{a, union, both} {
			for i, v := range all {
				if v.Empty() || i > 0 && all[i-1].Until >= v.From {
					t.Fatalf("%v is not in order", all)
				}
			}
		}
	})
}

// An edge is read back from the key it was written to, in both directions, whatever its ids.
func TestEdgeKeys(t *testing.T) {
	id := rapid.StringMatching(`[a-z/.:*>=ü \x00]{1,6}`)
	rapid.Check(t, func(t *rapid.T) {
		e := events.Edge{
			Kind: rapid.SampledFrom([]events.EdgeKind{events.EdgeMember, events.EdgeAssignment, events.EdgeGrant}).Draw(t, "kind"),
			From: events.User(id.Draw(t, "from")),
		}
		if e.Kind == events.EdgeGrant {
			e.Permission = events.Permission{API: events.API(id.Draw(t, "api")), Name: events.PermissionName(id.Draw(t, "name"))}
		} else {
			e.To = events.Principal{Kind: events.KindGroup, ID: id.Draw(t, "to")}
		}
		typ, value := events.ResourceType(id.Draw(t, "type")), id.Draw(t, "value")
		e.Scope = rapid.SampledFrom([]events.Scope{
			{}, events.AnyOf(typ), events.Exactly(typ, value), events.WithProperty(typ, value),
		}).Draw(t, "scope")
		fact := events.FactID{1, 2, 3}
		for _, key := range [][]byte{
			forwardKey(tableLive, "t/1", e).Raw(fact[:]), reverseKey(tableLiveReverse, "t/1", e).Raw(fact[:]),
			forwardKey(tableHistory, "t/1", e).Raw(fact[:]).Newest(7), reverseKey(tableHistoryReverse, "t/1", e).Raw(fact[:]).Newest(7),
		} {
			got, gotFact, parts, err := edgeOf(key)
			if err != nil || got != e || gotFact != fact {
				t.Fatalf("%q: %+v, %v, want %+v", key, got, err, e)
			}
			if key[0] == tableHistory || key[0] == tableHistoryReverse {
				if revision := parts.Newest(); revision != 7 {
					t.Fatalf("%q: revision %d", key, revision)
				}
			}
		}
	})
}

func TestKnowledgeRoundTrip(t *testing.T) {
	for _, k := range []knowledge{
		{}, {events.Interval{From: 1, Until: events.Forever}, 0, 0, 1}, {events.Interval{From: 5, Until: 5}, 300, 1 << 40, 1 << 60},
	} {
		got, err := decodeKnowledge(k.encode())
		if err != nil || got != k {
			t.Errorf("%+v: %+v, %v", k, got, err)
		}
	}
	whole := knowledge{}.encode()
	for n := range whole {
		if _, err := decodeKnowledge(whole[:n]); err == nil {
			t.Errorf("a row cut to %d of %d bytes was read", n, len(whole))
		}
	}
}

// A resource in a listing reads back as the question it answers.
func TestParseResource(t *testing.T) {
	for text, want := range map[string]Resource{
		"api:operate-api":    {Audience: "operate-api"},
		"api:a:b":            {Audience: "a:b"},
		"repo:kubernetes/x":  {Type: "repo", ID: "kubernetes/x"},
		"repo:*":             {Type: "repo"},
		"USER_TASK/assignee": {Type: "USER_TASK", Properties: []string{"assignee"}},
		"repo:a/b:c":         {Type: "repo", ID: "a/b:c"},
	} {
		got := parseResource(text)
		if got.Audience != want.Audience || got.Type != want.Type || got.ID != want.ID || !slices.Equal(got.Properties, want.Properties) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}
