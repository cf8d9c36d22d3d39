package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// Of several proofs none is written when one has no place, and all when each has.
func TestProofsAllOrNone(t *testing.T) {
	dir := t.TempDir()
	r := api.Receipt{Proofs: []string{"first", "second"}}
	for i := range r.Proofs {
		r.Events = append(r.Events, api.Event{Recorded: events.Recorded{Position: events.Position(7 + i)}})
	}
	taken := filepath.Join(dir, "8.tlog-proof")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	c := &cli{err: &said}
	count := func(want int) {
		t.Helper()
		if files, err := os.ReadDir(dir); err != nil || len(files) != want {
			t.Errorf("%v, %v; want %d files", files, err, want)
		}
	}
	if err := c.writeProofs(dir, r); exitOf(err) != exitUsage || !strings.Contains(err.Error(), "8.tlog-proof is there already") {
		t.Error(err)
	}
	if said.Len() > 0 {
		t.Errorf("nothing was written, and it said %q", said.String())
	}
	count(1)
	if err := os.Remove(taken); err != nil {
		t.Fatal(err)
	}
	if err := c.writeProofs(dir, r); err != nil {
		t.Error(err)
	}
	count(2)
	if want := "wrote 2 proofs to " + dir + ", from 7.tlog-proof to 8.tlog-proof\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
}
