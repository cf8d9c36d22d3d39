package consumers_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/events"
)

func TestFileCursor(t *testing.T) {
	ctx := context.Background()
	file := consumers.FileCursor(filepath.Join(t.TempDir(), "cursor"))
	if c, ok, err := file.Load(ctx); ok || err != nil {
		t.Errorf("before the first: %+v, %v, %v", c, ok, err)
	}
	saved := consumers.Cursor{Ledger: uuid.New(), Revision: 3, Position: 7, Event: uuid.New()}
	for _, c := range []consumers.Cursor{{}, saved} {
		if err := file.Save(ctx, c); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := file.Load(ctx); got != c || !ok || err != nil {
			t.Errorf("saved %+v, loaded %+v, %v, %v", c, got, ok, err)
		}
	}
	// What a crash before the rename leaves behind does not count.
	if err := os.WriteFile(string(file)+".new", []byte(`{"ledg`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _, err := file.Load(ctx); got != saved || err != nil {
		t.Errorf("with a torn new file: %+v, %v", got, err)
	}
	if err := file.Save(ctx, saved); err != nil {
		t.Errorf("over a torn new file: %v", err)
	}
	// What is no cursor is not taken for "from the start".
	for _, content := range []string{"", "{", "null x", `{"position":7}`, `{"ledger":"x"}`} {
		if err := os.WriteFile(string(file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, ok, err := file.Load(ctx); err == nil || ok {
			t.Errorf("%q is read as %+v", content, c)
		}
	}
	if err := consumers.FileCursor(filepath.Join(t.TempDir(), "none", "cursor")).Save(ctx, saved); err == nil {
		t.Error("saved into a directory that is not there")
	}
}

// steps is a cursor store that writes down what happens.
type steps struct {
	log  []string
	fail error
}

func (s *steps) Load(context.Context) (consumers.Cursor, bool, error) {
	return consumers.Cursor{}, false, nil
}

func (s *steps) Save(_ context.Context, c consumers.Cursor) error {
	s.log = append(s.log, "save")
	return s.fail
}

func TestFunc(t *testing.T) {
	ctx := context.Background()
	s := &steps{}
	refuse := errors.New("refused")
	var answer error
	effect := consumers.Func(func(context.Context, consumers.Event) error {
		s.log = append(s.log, "handle")
		return answer
	}, s)
	if err := effect.Apply(ctx, consumers.Event{}); err != nil || len(s.log) != 2 || s.log[0] != "handle" {
		t.Errorf("%v, %v", s.log, err)
	}
	answer, s.log = refuse, nil
	if err := effect.Apply(ctx, consumers.Event{}); !errors.Is(err, refuse) || len(s.log) != 1 {
		t.Errorf("a refused event moves the cursor: %v, %v", s.log, err)
	}
	answer, s.fail = nil, errors.New("disk full")
	if err := effect.Apply(ctx, consumers.Event{}); !errors.Is(err, s.fail) {
		t.Errorf("a cursor that cannot be saved: %v", err)
	}
	if err := effect.Begin(ctx, consumers.Cursor{}); !errors.Is(err, s.fail) {
		t.Errorf("a beginning that cannot be saved: %v", err)
	}
	none := consumers.Func(func(context.Context, consumers.Event) error { return nil }, nil)
	if _, ok, err := none.Cursor(ctx); ok || err != nil || none.Apply(ctx, consumers.Event{Recorded: events.Recorded{Position: 3}}) != nil {
		t.Error("a nil store keeps a cursor")
	}
	if _, ok, _ := none.Cursor(ctx); ok {
		t.Error("a nil store keeps a cursor")
	}
}
