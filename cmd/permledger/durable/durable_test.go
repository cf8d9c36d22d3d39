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
