package audit

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

// The audit tree is the Merkle tree of RFC 6962 over the events: leaf k is the stored bytes of the event at
// position k+1, so a proof shows one event and no stranger's. Only complete subtrees are kept, each hash once,
// under its level and its place in the level; the hashes of one tile therefore lie side by side, and a tile is
// one short scan. Every algorithm over them is golang.org/x/mod/sumdb/tlog's: there is no proof code here.
//
// The obvious way is one row a tile (8 KiB when full). A commit then rewrites the half-full last tile, 4 KiB on
// average for one event of 32 bytes; with a row a hash it writes two rows an event and reads one.

func keyTree(level int, n int64) pebblekv.Key {
	return pebblekv.Key{tableTree, byte(level)}.Number(uint64(n))
}

// Hashes are the kept hashes of a tree. They implement tlog.HashReader.
type Hashes struct{ rows pebblekv.Reader }

// ReadHashes gives the hashes at tlog's storage indexes. One that is missing is damage.
func (h Hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		b, ok, err := h.rows.Get(keyTree(level, n))
		switch {
		case err != nil:
			return nil, err
		case !ok || len(b) != tlog.HashSize:
			return nil, fmt.Errorf("%w: the tree has no hash at level %d, place %d", pebblekv.ErrStore, level, n)
		}
		copy(hashes[i][:], b)
	}
	return hashes, nil
}

// grow adds the leaves of a commit, the first of them at a position.
func grow(rows pebblekv.Batch, first events.Position, evs []events.Recorded) error {
	for i, r := range evs {
		if len(r.Raw) > events.MaxEventBytes {
			return fmt.Errorf("%w: position=%d has %d bytes, an event has at most %d", events.ErrMalformed, r.Position, len(r.Raw), events.MaxEventBytes)
		}
		leaf := int64(first) - 1 + int64(i)
		hashes, err := tlog.StoredHashesForRecordHash(leaf, tlog.RecordHash(r.Raw), Hashes{rows})
		if err != nil {
			return fmt.Errorf("tree at position=%d: %w", leaf+1, err)
		}
		for level, hash := range hashes { // of the complete subtrees that end in this leaf, smallest first
			if err := rows.Set(keyTree(level, leaf>>level), hash[:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Tree is the audit tree as it was after one commit, together with what else a checkpoint says of that moment.
type Tree struct {
	Head  events.Head
	Size  int64 // leaves: the position of the last event
	Root  tlog.Hash
	State projections.State // of the views, see projections.State
	Hashes

	view view
}

// Tree pins the tree as it is now. Close it.
func (t *Trail) Tree(context.Context) (*Tree, error) {
	v, err := t.pin()
	if err != nil {
		return nil, err
	}
	tree := &Tree{Head: v.Head, Size: int64(v.Head.Position), State: v.State, Hashes: Hashes{v.rows}, view: v}
	if tree.Root, err = tlog.TreeHash(tree.Size, tree.Hashes); err != nil {
		v.Close()
		return nil, fmt.Errorf("root of the tree of %d: %w", tree.Size, err)
	}
	return tree, nil
}

// Mark is the tree's moment as it is kept outside the log.
func (t *Tree) Mark() events.Mark {
	m := t.Head.Mark()
	m.Root = events.Hash(t.Root)
	return m
}

// RootAt is the root of the tree as it was with so many leaves.
func (t *Tree) RootAt(size events.Position) (events.Hash, error) {
	if int64(size) > t.Size {
		return events.Hash{}, fmt.Errorf("%w: root of the tree of %d, have %d", projections.ErrBehind, size, t.Size)
	}
	root, err := tlog.TreeHash(int64(size), t.Hashes)
	if err != nil {
		return events.Hash{}, fmt.Errorf("root of the tree of %d: %w", size, err)
	}
	return events.Hash(root), nil
}

// Event gives an event of the tree.
func (t *Tree) Event(position events.Position) (events.Recorded, error) {
	if position == 0 || int64(position) > t.Size {
		return events.Recorded{}, fmt.Errorf("event position=%d: %w", position, ErrNotFound)
	}
	return t.view.event(position)
}

// Recompute gives the root of the whole tree from a smaller one, whose last commit from names, and from the commits after
// it. Of the kept hashes it reads those that the root of the smaller tree is made of and no other, so a row of the tree
// that changed since leads to another root than Root. The obvious way is to take the events as the rows have them; then
// whoever changes an event and the hashes above it gets a root of their own. So the commits are put together again:
// each must have the hash that the next one follows, and the last one that of the head. The error is events.ErrBroken
// when they do not.
func (t *Tree) Recompute(ctx context.Context, from events.Mark) (events.Hash, error) {
	grown, err := readEdge(t.view.rows, from.Position)
	at := from
	for err == nil && at.Revision < t.Head.Revision {
		if at, err = t.grown(&grown, at); err == nil {
			err = context.Cause(ctx)
		}
	}
	if err == nil && (at.Hash != t.Head.Hash || at.Position != t.Head.Position) {
		err = fmt.Errorf("%w: the commits end at position %d with hash %s, the head is at %d with %s", events.ErrBroken, at.Position, at.Hash, t.Head.Position, t.Head.Hash)
	}
	var root events.Hash
	if err == nil {
		root, err = grown.root(at.Position)
	}
	if err != nil {
		return events.Hash{}, fmt.Errorf("root of the tree of %d anew: %w", t.Size, err)
	}
	return root, nil
}

// grown adds the events of the commit after at, and says where that is.
func (t *Tree) grown(e *edge, at events.Mark) (events.Mark, error) {
	row, raws, err := t.view.stored(at.Revision + 1)
	if err != nil {
		return at, err
	}
	follows, err := row.previous()
	if err == nil && (follows != at.Hash || row.first != at.Position+1) {
		err = fmt.Errorf("%w: archived revision=%d follows %s and begins at position %d, not %s and %d", events.ErrBroken,
			at.Revision+1, follows, row.first, at.Hash, at.Position+1)
	}
	for _, raw := range raws {
		if err == nil {
			_, err = e.grow(int64(at.Position), tlog.RecordHash(raw))
			at.Position++
		}
	}
	at.Revision, at.Hash = at.Revision+1, row.hash
	return at, err
}

func (t *Tree) Close() { t.view.Close() }
