package jetstream

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/logtest"
)

// The store is looked at when it is not as it was closed, and only then.
func TestWhenAPreflightIsMade(t *testing.T) {
	looks := 0
	cfg := Config{Dir: t.TempDir(), Preflight: func(ctx context.Context, dir string) error {
		looks++
		return Examine(ctx, Config{Dir: dir}) // in this process: it takes the lock, so ours must be free
	}}
	want := func(what string, n int) {
		t.Helper()
		if looks != n {
			t.Errorf("%s: %d looks, want %d", what, looks, n)
		}
		looks = 0
	}
	s := mustOpen(t, cfg)
	want("a new store", 0)
	head := fill(t, s.Log(), events.Head{}, 3)
	mustClose(t, s)
	s = mustOpen(t, cfg)
	want("closed", 0)
	if _, err := os.Stat(filepath.Join(cfg.Dir, cleanName)); err == nil {
		t.Error("the store is open and said to be closed")
	}
	mustClose(t, s)

	msgs := filepath.Join(storeDir(cfg.Dir), ledgerAccount, "streams", "LEDGER", "msgs")
	for what, change := range map[string]func() error{
		"crashed":              func() error { return os.Remove(filepath.Join(cfg.Dir, cleanName)) },
		"the note is cut":      func() error { return os.Truncate(filepath.Join(cfg.Dir, cleanName), 10) },
		"the index is gone":    func() error { return os.Remove(filepath.Join(msgs, "index.db")) },
		"the index is another": func() error { return os.WriteFile(filepath.Join(msgs, "index.db"), []byte("x"), 0o600) },
		"a file is new":        func() error { return os.WriteFile(filepath.Join(msgs, "2.blk"), nil, 0o600) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, cfg)
		want(what, 1)
		if got, err := readAll(t.Context(), s.Log()); err != nil || got != head {
			t.Errorf("%s: the log ends at %+v, %v", what, got, err)
		}
		head = fill(t, s.Log(), head, 1)
		mustClose(t, s)
		mustClose(t, mustOpen(t, cfg))
		want(what+", and closed again", 0)
	}
}

func TestAPreflightThatFailsIsARefusal(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	mustClose(t, mustOpen(t, cfg))
	if err := os.Remove(filepath.Join(cfg.Dir, cleanName)); err != nil {
		t.Fatal(err)
	}
	cfg.Preflight = func(context.Context, string) error { return fmt.Errorf("%w: a hole", ledger.ErrCorrupt) }
	_, err := Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrCorrupt, "a hole", "not clean")
	cfg.Preflight = nil
	mustOpen(t, cfg) // the lock is free again
}

// A store that failed is not closed cleanly, takes nothing more, and is what it is after it opened again.
func TestAFailedStoreTakesNothing(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	head := fill(t, s.Log(), events.Head{}, 2)
	s.failure.heed("JetStream stream '%s > %s' critical write error: %v", "the disk says no")
	c, err := logtest.Commit(head, 1, "late")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Log().Append(t.Context(), head.Revision, c)
	wantError(t, err, ledger.ErrUnavailable, "the disk says no")
	wantError(t, err, ledger.ErrStoreFailed)
	wantError(t, s.Journal().Note(t.Context(), []byte("a note")), ledger.ErrStoreFailed)
	wantError(t, s.StoreFailed(), ledger.ErrStoreFailed)
	if got, err := readAll(t.Context(), s.Log()); err != nil || got != head { // reading goes on
		t.Errorf("the log ends at %+v, %v", got, err)
	}
	mustClose(t, s)
	if closedCleanly(cfg.Dir) {
		t.Error("closed cleanly")
	}
	s = mustOpen(t, cfg)
	fill(t, s.Log(), head, 1)
}

// A store that says nothing for longer than anybody waits failed, too: the outcome is unknown and stays so.
func TestAStoreThatDoesNotAnswerFailed(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	head := fill(t, s.Log(), events.Head{}, 2)
	s.Log().stream.patience = time.Nanosecond
	c, err := logtest.Commit(head, 1, "late")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Log().Append(t.Context(), head.Revision, c)
	wantError(t, err, ledger.ErrUnknownOutcome, "does not answer")
	wantError(t, err, ledger.ErrStoreFailed)
	s.Log().stream.patience = time.Minute
	wantError(t, s.Log().Append(t.Context(), head.Revision, c), ledger.ErrUnavailable)
	mustClose(t, s)
	if head, err = readAll(t.Context(), mustOpen(t, cfg).Log()); err != nil || head.Revision < 2 || head.Revision > 3 {
		t.Errorf("after opening again the log ends at %+v, %v", head, err)
	}
}

// The name of a file is part of what is stored: when the directory cannot be synced, what can be read back may be gone
// with the power, and no second look settles it.
func TestAStoreWhoseNamesAreNotSyncedFailed(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	head := fill(t, s.Log(), events.Head{}, 2) // the control: with its directory there, it stores
	s.Log().stream.blocks.dir = filepath.Join(cfg.Dir, "gone")
	c, err := logtest.Commit(head, 1, "nameless")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Log().Append(t.Context(), head.Revision, c)
	wantError(t, err, ledger.ErrUnknownOutcome, "name of a file")
	wantError(t, err, ledger.ErrStoreFailed)
	wantError(t, s.StoreFailed(), ledger.ErrStoreFailed)
	wantError(t, s.Journal().Note(t.Context(), []byte("a note")), ledger.ErrStoreFailed)
	mustClose(t, s)
	if closedCleanly(cfg.Dir) {
		t.Error("closed cleanly")
	}
	s = mustOpen(t, cfg)
	head, err = readAll(t.Context(), s.Log())
	if err != nil || head != c.Head() {
		t.Errorf("after opening again the log ends at %+v, %v", head, err)
	}
	fill(t, s.Log(), head, 1)
}

// A journal that lost its end would let keys be answered a second time.
func TestAShorterJournalIsCorrupt(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	fill(t, s.Log(), events.Head{}, 1)
	for range 3 {
		if err := s.Journal().Note(t.Context(), []byte("a note")); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	cfg.Mark, cfg.JournalMark = 1, 3
	mustClose(t, mustOpen(t, cfg))
	cfg.JournalMark = 4
	_, err := Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrCorrupt, "JOURNAL ends at 3")
}

// A record of which the disk has only a part was never acknowledged: the log goes on without it.
func TestATornRecordIsHarmless(t *testing.T) {
	template := Config{Dir: t.TempDir()}
	s := mustOpen(t, template)
	head := fill(t, s.Log(), events.Head{}, 4)
	mustClose(t, s)
	whole, err := os.ReadFile(blocks(t, template.Dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	torn := func(tail []byte) Config {
		cfg := Config{Dir: t.TempDir(), Mark: head.Revision}
		cfg.Preflight = func(ctx context.Context, dir string) error { return Examine(ctx, Config{Dir: dir}) }
		if err := os.CopyFS(cfg.Dir, os.DirFS(template.Dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(blocks(t, cfg.Dir)[0], append(bytes.Clone(whole), tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	last := whole[len(whole)/4*3:]
	for _, tail := range [][]byte{last[:1], last[:30], last[:len(last)-9], make([]byte, 500)} {
		cfg := torn(tail)
		var said bytes.Buffer
		cfg.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
		s := mustOpen(t, cfg)
		if !strings.Contains(said.String(), fmt.Sprintf("stream=LEDGER bytes=%d ", len(tail))) {
			t.Errorf("%d bytes are cut off, and it says %q", len(tail), said.String())
		}
		cfg.Logger = nil
		if got, err := readAll(t.Context(), s.Log()); err != nil || got != head {
			t.Errorf("%d bytes of a record more: the log ends at %+v, %v", len(tail), got, err)
		}
		after := fill(t, s.Log(), head, 2)
		mustClose(t, s)
		cfg.Mark = after.Revision
		s = mustOpen(t, cfg)
		if got, err := readAll(t.Context(), s.Log()); err != nil || got != after {
			t.Errorf("%d bytes of a record more, and two commits: the log ends at %+v, %v", len(tail), got, err)
		}
		mustClose(t, s)
		kept, err := os.ReadFile(filepath.Join(cfg.Dir, fmt.Sprintf("torn-LEDGER-1-%d", len(whole))))
		if err != nil || !bytes.Equal(kept, tail) {
			t.Errorf("%d bytes were cut off, %d are kept, %v", len(tail), len(kept), err)
		}
	}
	cfg := torn(last[:30])
	cfg.Mark++
	_, err = Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrCorrupt, "no message")

	// Of a store that was closed it is no write that was cut off, but damage.
	cfg = torn(last[:30])
	if err := markClosed(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), cfg)
	wantError(t, err, ledger.ErrCorrupt, "no message")
}
