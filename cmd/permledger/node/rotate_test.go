package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

var somebody = events.Meta{Actor: events.Client("root")}

// rotating is a node in memory with its keys on disk.
func rotating(t *testing.T) (*Node, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	n, err := Open(t.Context(), Config{Memory: true, KeysDir: dir, NoticeInterval: -1, CheckpointInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, dir
}

func keyFiles(t *testing.T, dir string) int {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func writes(t *testing.T, n *Node, role events.Role) error {
	t.Helper()
	_, err := n.Ledger.Submit(t.Context(), ledger.Request{
		Tenant: events.DefaultTenant, Meta: somebody, Commands: []ledger.Command{ledger.CreateRole{Role: role}},
	})
	return err
}

// From the revision of the rotation on, the new key signs checkpoints, and the old one counts for those before.
func TestRotateKey(t *testing.T) {
	n, dir := rotating(t)
	before := n.Checkpoints.Latest()
	receipt, err := n.RotateKey(t.Context(), somebody)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := Keys(t.Context(), n.Audit)
	if err != nil || len(keys) != 2 || keys[0].Until != receipt.Revision || keys[1].From != receipt.Revision || keys[1].Until != 0 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	for _, tt := range []struct {
		name   string
		signed []byte
		by     checkpoint.Keys
		ok     bool
	}{
		{"before, by all keys", before, keys, true},
		{"after, by all keys", n.Checkpoints.Latest(), keys, true},
		{"before, by the new key", before, keys[1:], false},
		{"after, by the old key", n.Checkpoints.Latest(), keys[:1], false},
	} {
		if _, err := checkpoint.Open(tt.signed, tt.by); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if got := keyFiles(t, dir); got != 1 {
		t.Errorf("%d key files are left", got)
	}
	if err := writes(t, n, "after"); err != nil {
		t.Error(err)
	}
	if _, err := n.RotateKey(t.Context(), events.Meta{Actor: somebody.Actor, Key: "k"}); err == nil {
		t.Error("a rotation has an idempotency key")
	}
}

// Whatever becomes of the commit, the private half of the key that must sign the next one is there.
func TestRotateKeyWhateverHappens(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome memlog.Outcome
		files   int
	}{
		{"refused", memlog.Refused, 1},
		{"failed and lost", memlog.Lost, 1},
		{"failed and kept", memlog.Kept, 1},
		{"lost again and again", memlog.Lost, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, dir := rotating(t)
			old := n.Projector.Head().Key
			failing := true
			n.Log.(*memlog.Log).SetHooks(memlog.Hooks{Append: func(events.Revision, events.Commit) memlog.Outcome {
				if failing {
					failing = tt.files == 2
					return tt.outcome
				}
				return memlog.Done
			}})
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := n.RotateKey(ctx, somebody)
			if unknown := errors.Is(err, ledger.ErrUnknownOutcome); unknown != (tt.files == 2) {
				t.Errorf("rotated with %v", err)
			}
			if got := keyFiles(t, dir); got != tt.files {
				t.Errorf("%d key files after %v, want %d", got, err, tt.files)
			}
			if tt.files == 2 {
				return // it is still looking
			}
			if err := writes(t, n, "after"); err != nil {
				t.Errorf("after %v: %v", err, err)
			}
			if rotated := n.Projector.Head().Key != old; rotated != (err == nil) {
				t.Errorf("%v, and the key was replaced: %t", err, rotated)
			}
		})
	}
}

// What a crash leaves behind is settled at the next start. A directory of one's own keeps the key in use and no
// other; a shared one keeps what somebody else may be about to announce.
func TestKeysAfterACrash(t *testing.T) {
	for _, shared := range []bool{false, true} {
		dir := t.TempDir()
		cfg := Config{Dir: dir, NoticeInterval: -1}
		if shared {
			cfg.KeysDir = filepath.Join(t.TempDir(), "keys")
		}
		keysDir := cfg.KeysDir
		if !shared {
			keysDir = KeysDir(dir)
		}
		n, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		old, err := os.ReadDir(keysDir)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(keysDir, old[0].Name())
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.RotateKey(t.Context(), somebody); err != nil {
			t.Fatal(err)
		}
		if _, err := n.keys.Make(); err != nil { // announced by nobody
			t.Fatal(err)
		}
		if err := errors.Join(n.Close(), os.WriteFile(file, content, 0o600)); err != nil { // not forgotten yet
			t.Fatal(err)
		}
		if n, err = Open(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		want := 1
		if shared {
			want = 2
		}
		if got := keyFiles(t, keysDir); got != want {
			t.Errorf("shared %t: %d key files, want %d", shared, got, want)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("shared %t: the replaced key is still there", shared)
		}
		if err := errors.Join(writes(t, n, "after"), n.Close()); err != nil {
			t.Error(err)
		}
	}
}
