package consumers

import (
	"errors"
	"slices"
	"testing"

	"github.com/permledger/permledger/events"
)

func TestSubjects(t *testing.T) {
	const prefix = "permledger.events."
	for _, tt := range []struct {
		name    string
		filters []Filter
		want    []string // nil: everything
	}{
		{"no filter", nil, nil},
		{"a filter that selects everything", []Filter{{Kind: "role"}, {}}, nil},
		{"one", []Filter{{Kind: "role"}}, []string{prefix + "*.*.role.*.*.*"}},
		{"the same twice", []Filter{{Kind: "role"}, {Kind: "role"}}, []string{prefix + "*.*.role.*.*.*"}},
		{"one covers the other", []Filter{{Tenant: "a", Kind: "role.assigned"}, {Kind: "role"}, {Kind: "role.assigned"}}, []string{prefix + "*.*.role.*.*.*"}},
		{"two that only overlap", []Filter{{Tenant: "a"}, {Kind: "role"}}, []string{prefix + "*.*.role.*.*.*", prefix + "a.*.*.*.*.*"}},
		{"a star that is an id covers nothing", []Filter{{Tenant: "*"}, {Tenant: "a"}}, []string{prefix + "=2A.*.*.*.*.*", prefix + "a.*.*.*.*.*"}},
	} {
		got, err := subjects(tt.filters)
		if err != nil || !slices.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	if _, err := subjects([]Filter{{Kind: "rolle"}}); err == nil {
		t.Error("a misspelt kind is taken")
	} else if _, ok := errors.AsType[*events.InvalidError](err); !ok {
		t.Errorf("a misspelt kind gives %v", err)
	}
}
