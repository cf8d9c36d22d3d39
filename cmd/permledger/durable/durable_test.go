package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/durable"
)

// What could not be written whole leaves the old content, and nothing beside it; what could has its mode.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	broken := errors.New("broken off")
	for _, step := range []struct {
		content string
		mode    fs.FileMode
		fails   error
		want    string
	}{
		{"half", 0o600, broken, ""},
		{"first", 0o644, nil, "first"},
		{"half", 0o600, broken, "first"},
		{"second", 0o600, nil, "second"},
	} {
		err := durable.Create(file, step.mode, func(f *os.File) error {
			_, err := f.WriteString(step.content)
			return errors.Join(err, step.fails)
		})
		if !errors.Is(err, step.fails) {
			t.Errorf("%+v: %v", step, err)
		}
		content, err := os.ReadFile(file)
		if string(content) != step.want || (step.want == "") != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: the file has %q, %v", step, content, err)
		}
		if info, err := os.Stat(file); step.fails == nil && (err != nil || info.Mode() != step.mode) {
			t.Errorf("%+v: mode %v, %v", step, info.Mode(), err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("beside it: %v, %v", files, err)
	}
}

// What must be new never takes the place of what is there, also of what came while it was written; Create does.
func TestCreateNew(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write := func(content string, meanwhile func()) func(*os.File) error {
		return func(f *os.File) error {
			meanwhile()
			_, err := f.WriteString(content)
			return err
		}
	}
	holds := func(want string) {
		t.Helper()
		if content, err := os.ReadFile(file); err != nil || string(content) != want {
			t.Errorf("the file has %q, %v; want %q", content, err, want)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("beside it: %v, %v", files, err)
		}
	}
	other := func() {
		if err := os.WriteFile(file, []byte("another's"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.CreateNew(file, 0o644, write("late", other)); !errors.Is(err, durable.ErrThere) {
		t.Errorf("made over one that came meanwhile: %v", err)
	}
	holds("another's")
	begun := false
	if err := durable.CreateNew(file, 0o644, write("late", func() { begun = true })); !errors.Is(err, durable.ErrThere) || begun {
		t.Errorf("made over one that was there: %v, begun: %v", err, begun)
	}
	holds("another's")
	if err := durable.Create(file, 0o600, write("replaced", other)); err != nil {
		t.Error(err)
	}
	holds("replaced")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := durable.CreateNew(file, 0o644, write("new", func() {})); err != nil {
		t.Error(err)
	}
	holds("new")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", file); err != nil {
		t.Fatal(err)
	}
	if err := durable.CreateNew(file, 0o644, write("new", func() {})); !errors.Is(err, durable.ErrThere) {
		t.Errorf("made over a link: %v", err)
	}
}
