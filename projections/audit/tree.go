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

	views *projections.Views
}

// Tree pins the tree as it is now. Close it.
func (t *Trail) Tree(context.Context) (*Tree, error) {
	v, err := t.pin()
	if err != nil {
		return nil, err
	}
	tree := &Tree{Head: v.Head, Size: int64(v.Head.Position), State: v.State, Hashes: Hashes{v.rows}, views: v.Views}
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

func (t *Tree) Close() { t.views.Close() }
