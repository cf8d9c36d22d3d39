package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/pebblekv"
)

// The state of every revision is held against what the live views had and what checkpoints say. A row of the
// live ledger's states that is another, and a checkpoint that states another, are each named; the control is a
// ledger that nobody touched.
func TestReplayOfTheState(t *testing.T) {
	dir := t.TempDir()
	n, err := node.Open(t.Context(), node.Config{Dir: dir, NoticeInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []events.Role{"a", "b", "c", "d"} {
		if _, err := n.Ledger.Submit(t.Context(), ledger.Request{
			Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator}, Commands: []ledger.Command{ledger.CreateRole{Role: role}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Checkpoints.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	replay := func(dir string) (exit, string) {
		var said strings.Builder
		c := &cli{out: &strings.Builder{}, err: &said, getenv: func(string) string { return "" }}
		return exit(c.run(context.Background(), []string{"replay", "--data", dir, "--state"})), said.String()
	}

	for _, tt := range []struct {
		name   string
		change func(key, value []byte) []byte // nil leaves a row of the store outside the views as it is
		ends   exit
		says   string
	}{
		{"nobody touched it", func(_, _ []byte) []byte { return nil }, exitYes, "in the same state at every revision; "},
		{"another state at revision 3", func(key, value []byte) []byte {
			if key[0] == 'M' && key[1] == 's' && key[len(key)-1] == 3 {
				return append([]byte{value[0] ^ 1}, value[1:]...)
			}
			return nil
		}, exitIntegrity, "from revision 3 on the live views are in another state"},
		{"a checkpoint that states another", func(key, value []byte) []byte {
			text := string(value)
			if at := strings.Index(text, " state=2:"); key[0] == 'K' && at > 0 {
				digit := "0"
				if text[at+9] == '0' {
					digit = "1"
				}
				return []byte(text[:at+9] + digit + text[at+10:])
			}
			return nil
		}, exitIntegrity, "the checkpoint has state "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := filepath.Join(t.TempDir(), "data")
			copyDir(t, dir, changed)
			changeStore(t, filepath.Join(changed, "views"), tt.change)
			if got, said := replay(changed); got != tt.ends || !strings.Contains(said, tt.says) {
				t.Errorf("exit %d, want %d with %q:\n%s", got, tt.ends, tt.says, said)
			}
		})
	}
}

// changeStore gives rows outside the views other values.
func changeStore(t *testing.T, dir string, change func(key, value []byte) []byte) {
	t.Helper()
	store, err := pebblekv.Open(dir, pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := store.NewWrite()
	for _, table := range []string{"Ms", "K"} {
		for row, err := range w.Scan([]byte(table)) {
			if err != nil {
				t.Fatal(err)
			}
			if value := change(row.Key, row.Value); value != nil {
				if err := w.Set(append([]byte(nil), row.Key...), value); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := w.Commit(true); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
