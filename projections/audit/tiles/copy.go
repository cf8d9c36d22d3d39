package tiles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// Fetch gives a file of a tree by its name.
type Fetch func(ctx context.Context, name string) ([]byte, error)

// Copied says what a copy did.
type Copied struct {
	Size    int64 `json:"events"`
	Before  int64 `json:"events_before"` // of the checkpoint that was there
	Written int   `json:"files_written"`
}

// Copy brings a directory to a signed checkpoint. What is there stays, and is not asked for again; what comes is
// written only when it is proved to belong to the checkpoint's tree, so a source that lies leaves nothing behind. A
// checkpoint that is there already must be one of an earlier state of the same tree. Whether it is signed by the
// right key is the caller's to know.
//
// A crash leaves some tiles more than the checkpoint speaks of, which are right, and the next copy goes on from there.
func Copy(ctx context.Context, dir string, signed []byte, from Fetch) (Copied, error) {
	cp, err := checkpoint.Parse(signed)
	if err != nil {
		return Copied{}, err
	}
	c := &copying{ctx: ctx, dir: dir, from: from, out: Copied{Size: int64(cp.Size)}}
	tree := tlog.Tree{N: int64(cp.Size), Hash: tlog.Hash(cp.Root)}
	hashes := tlog.TileHashReader(tree, c)
	if err := c.follows(tree, cp, hashes); err != nil {
		return c.out, err
	}
	c.saving = true
	for t := range bundles(tree.N) {
		if err := c.bundle(t, hashes); err != nil {
			return c.out, err
		}
	}
	return c.out, c.write(Checkpoint, signed)
}

// copying is a Copy under way. It is the tlog.TileReader of the new tree.
type copying struct {
	ctx  context.Context
	dir  string
	from Fetch
	out  Copied

	// saving is false until the tree is known to have grown from the one that is there. Tiles of another past may
	// have the same names, and be proved all the same: by another checkpoint.
	saving bool
	err    error // of SaveTiles
}

// follows makes sure that the tree has grown from the one of the checkpoint that is there.
func (c *copying) follows(tree tlog.Tree, cp checkpoint.Checkpoint, hashes tlog.HashReader) error {
	b, err := os.ReadFile(c.file(Checkpoint))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := checkpoint.Parse(b)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrTampered, c.file(Checkpoint), err)
	}
	c.out.Before = int64(old.Size)
	if old.Ledger != cp.Ledger || old.Size > cp.Size {
		return fmt.Errorf("%w: %s is of %d events of ledger %s, which has %d of ledger %s", ErrTampered, c.file(Checkpoint),
			old.Size, old.Ledger, cp.Size, cp.Ledger)
	}
	proof, err := tlog.ProveTree(tree.N, int64(old.Size), hashes)
	if err == nil {
		err = tlog.CheckTree(proof, tree.N, tree.Hash, int64(old.Size), tlog.Hash(old.Root))
	}
	if err != nil {
		return c.tampered(fmt.Errorf("the tree of %d events has not grown from the one of %d that is there: %w", tree.N, old.Size, err))
	}
	return nil
}

// bundle copies a bundle of entries, with the tiles that prove it.
func (c *copying) bundle(t tlog.Tile, hashes tlog.HashReader) error {
	indexes := make([]int64, t.W)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, t.N<<height+int64(i))
	}
	if c.has(t) && c.has(tlog.Tile{H: height, L: 0, N: t.N, W: t.W}) {
		indexes = indexes[:1] // the tiles above it may be missing all the same
	}
	want, err := hashes.ReadHashes(indexes)
	if err = errors.Join(err, c.err); err != nil {
		return c.tampered(err)
	}
	if c.has(t) {
		return nil
	}
	b, err := c.from(c.ctx, Name(t))
	if err != nil {
		return err
	}
	all, err := entries(b, t.W)
	for i := 0; err == nil && i < len(all); i++ {
		if tlog.RecordHash(all[i]) != want[i] {
			err = fmt.Errorf("%w: entry %d is another one", ErrTampered, i)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", Name(t), err)
	}
	return c.write(Name(t), b)
}

// tampered tells a failing source or disk from one that gives something else.
func (c *copying) tampered(err error) error {
	var read *readError
	if errors.As(err, &read) || c.err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrTampered, err)
}

type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

func (c *copying) Height() int { return height }

func (c *copying) ReadTiles(all []tlog.Tile) ([][]byte, error) {
	contents := make([][]byte, len(all))
	for i, t := range all {
		b, err := os.ReadFile(c.file(Name(t)))
		if errors.Is(err, fs.ErrNotExist) {
			b, err = c.from(c.ctx, Name(t))
		}
		if err != nil {
			return nil, &readError{err}
		}
		contents[i] = b
	}
	return contents, nil
}

// SaveTiles writes tiles that are proved.
func (c *copying) SaveTiles(all []tlog.Tile, contents [][]byte) {
	for i, t := range all {
		if c.saving && c.err == nil && !c.has(t) {
			c.err = c.write(Name(t), contents[i])
		}
	}
}

func (c *copying) has(t tlog.Tile) bool {
	_, err := os.Stat(c.file(Name(t)))
	return err == nil
}

func (c *copying) file(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

// write writes a file as a whole.
func (c *copying) write(name string, content []byte) (err error) {
	file := c.file(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".tile-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	c.out.Written++
	return nil
}
