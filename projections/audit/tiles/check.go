package tiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
)

// Check reads every file of a tree of so many events, and makes sure that each is what the entries make of it and that
// the entries make that root. It gives the events to each, in order, before it is known whether the whole is right; nil
// gives them to nobody.
func Check(ctx context.Context, tree fs.FS, size events.Position, root events.Hash, each func(events.Position, []byte) error) error {
	c := &checking{tree: tree, known: map[int64]tlog.Hash{}}
	for t := range bundles(int64(size)) {
		b, err := read(tree, Name(t), int64(t.W)*(2+events.MaxEventBytes))
		var all [][]byte
		if err == nil {
			all, err = entries(b, t.W)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", Name(t), err)
		}
		for i, entry := range all {
			leaf := t.N<<height + int64(i)
			if err := c.add(leaf, entry); err != nil {
				return err
			}
			if each == nil {
				continue
			}
			if err := each(events.Position(leaf+1), entry); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	for level := range c.levels {
		if err := c.compare(level); err != nil { // the last tile, which is not full
			return err
		}
	}
	got, err := tlog.TreeHash(int64(size), c.known)
	if err == nil && got != tlog.Hash(root) {
		err = fmt.Errorf("%w: the entries make the root %s, the checkpoint says %s", ErrTampered, events.Hash(got), root)
	}
	return err
}

// checking grows the tree anew.
type checking struct {
	tree   fs.FS
	known  hashes
	levels []level
}

// hashes are those of the tree by storage index, as far as it still grows upon them.
type hashes map[int64]tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		hash, ok := h[index]
		if !ok {
			return nil, fmt.Errorf("the hash at index %d is not known", index)
		}
		all[i] = hash
	}
	return all, nil
}

// level is the tile under way of one level.
type level struct {
	n        int64
	contents []byte
}

func (c *checking) add(leaf int64, entry []byte) error {
	ending, err := tlog.StoredHashesForRecordHash(leaf, tlog.RecordHash(entry), c.known)
	if err != nil {
		return err
	}
	for l, hash := range ending {
		place := leaf >> l
		c.known[tlog.StoredHashIndex(l, place)] = hash
		if l > 0 { // the two it was made of are not needed any more
			delete(c.known, tlog.StoredHashIndex(l-1, 2*place))
			delete(c.known, tlog.StoredHashIndex(l-1, 2*place+1))
		}
		if l%height > 0 {
			continue
		}
		if l/height == len(c.levels) {
			c.levels = append(c.levels, level{})
		}
		tile := &c.levels[l/height]
		if tile.contents = append(tile.contents, hash[:]...); len(tile.contents) < full*tlog.HashSize {
			continue
		}
		if err := c.compare(l / height); err != nil {
			return err
		}
		*tile = level{n: tile.n + 1}
	}
	return nil
}

// compare holds the file of the tile under way against what it must be.
func (c *checking) compare(l int) error {
	tile := c.levels[l]
	if len(tile.contents) == 0 {
		return nil
	}
	name := Name(tlog.Tile{H: height, L: l, N: tile.n, W: len(tile.contents) / tlog.HashSize})
	b, err := read(c.tree, name, int64(len(tile.contents)))
	if err == nil && !bytes.Equal(b, tile.contents) {
		err = fmt.Errorf("%w: it has other hashes than the entries", ErrTampered)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// read gives a file that is no longer than it can be: the directory is somebody else's.
func read(tree fs.FS, name string, atMost int64) ([]byte, error) {
	f, err := tree.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it is missing", ErrTampered)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, atMost+1))
	if err == nil && int64(len(b)) > atMost {
		err = fmt.Errorf("%w: it has more than %d bytes", ErrTampered, atMost)
	}
	return b, err
}
