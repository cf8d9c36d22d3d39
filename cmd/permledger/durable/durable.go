// Package durable writes files and directories so that after a crash they are there whole or not at all, and
// are there when the call has returned.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces or makes a file of mode 0600, as Create does.
func WriteFile(file string, content []byte) error {
	return Create(file, 0o600, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// Create replaces or makes a file of that mode, whose content write writes. What is visible under its name is the old
// content or the new, whole, at every moment; after it has returned a power loss does not bring the old one back. Until
// then the new content is in a file beside it whose name begins with a dot, which a crash may leave behind. When write
// fails, nothing was done.
func Create(file string, mode fs.FileMode, write func(*os.File) error) error {
	return create(file, mode, write, os.Rename)
}

// ErrThere is that a file is there which was to be new.
var ErrThere = errors.New("is there already")

// CreateNew is Create for a file that must be new: it never replaces one, whoever made it and when, except one made at
// the very moment where the file system has no links. It looks before write begins, so that nobody waits for what
// cannot be kept, and the name is given only if it is still free.
func CreateNew(file string, mode fs.FileMode, write func(*os.File) error) error {
	if err := Free(file); err != nil {
		return err
	}
	return create(file, mode, write, linkNew)
}

// Free reports ErrThere if there is anything of that name.
func Free(file string) error {
	_, err := os.Lstat(file)
	switch {
	case err == nil:
		return fmt.Errorf("%s %w", file, ErrThere)
	case errors.Is(err, fs.ErrNotExist):
		return nil // the directory may be missing, too, which whoever writes says better
	}
	return err
}

// linkNew gives a file its name if nothing has it. A crash between its two steps leaves the file under both names.
// Where the file system has no links, somebody who takes the name at the very moment loses it.
func linkNew(temp, file string) error {
	err := os.Link(temp, file)
	switch {
	case err == nil:
		_ = os.Remove(temp) // the file is whole under its own name, whatever becomes of this one
		return nil
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s %w", file, ErrThere)
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrPermission):
		if err := Free(file); err != nil {
			return err
		}
		return os.Rename(temp, file)
	}
	return err
}

func create(file string, mode fs.FileMode, write func(*os.File) error, name func(temp, file string) error) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	err = write(temp)
	if err = errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err = name(temp.Name(), file); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(file))
}

// Mkdir makes a directory of mode 0700, and those above it, that last. One that is there is fine.
func Mkdir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	err := Mkdir(above)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(above)
}

// SyncDir makes durable which files a directory has.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
