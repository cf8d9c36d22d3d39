package bundle

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// Walk goes over commits in order, one after the other, and believes none of them.
type Walk struct {
	head events.Head
	tree *compact.Range // over the events up to head
	keys checkpoint.Keys
}

var trees = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// Start is before the first commit of a ledger.
func Start() *Walk { return &Walk{tree: trees.NewEmptyRange(0)} }

// Resume is behind the commit that c is about. The commit's own bytes say what the next one must follow; before
// are the hashes of the complete subtrees that make up the tree of c, as Before gives them. Neither needs to be
// trusted: c has the hash of the one and the root of the others.
func Resume(c checkpoint.Checkpoint, commit []byte, before []tlog.Hash) (*Walk, error) {
	if sum := sha256.Sum256(commit); sum != c.Head {
		return nil, fmt.Errorf("%w: the commit of revision %d has hash %s, the checkpoint has %s", events.ErrBroken, c.Revision, events.Hash(sum), c.Head)
	}
	last, err := events.DecodeCommit(commit)
	if err != nil {
		return nil, err
	}
	w := &Walk{head: last.Head()}
	if w.head.Ledger != c.Ledger || w.head.Revision != c.Revision || w.head.Position != c.Size {
		return nil, fmt.Errorf("%w: the checkpoint is of revision %d and %d events, its commit is revision %d and ends at position %d",
			events.ErrBroken, c.Revision, c.Size, w.head.Revision, w.head.Position)
	}
	hashes := make([][]byte, len(before))
	for i, h := range before {
		hashes[i] = h[:]
	}
	if w.tree, err = trees.NewRange(0, uint64(c.Size), hashes); err != nil {
		return nil, fmt.Errorf("%w: the tree before revision %d: %w", events.ErrBroken, c.Revision+1, err)
	}
	if root, err := w.Root(); err != nil || root != c.Root {
		return nil, fmt.Errorf("%w: the tree of %d events has root %s, the checkpoint has %s", events.ErrBroken, c.Size, root, c.Root)
	}
	if !w.head.Key.IsZero() {
		w.keys = checkpoint.Keys{checkpoint.NewKey(c.Ledger, w.head.Key, 0, 0)}
	}
	return w, nil
}

// Before gives the hashes of the complete subtrees that make up the tree of that size, left to right.
func Before(size events.Position, tree tlog.HashReader) ([]tlog.Hash, error) {
	var indexes []int64
	for _, n := range compact.RangeNodes(0, uint64(size), nil) {
		indexes = append(indexes, tlog.StoredHashIndex(int(n.Level), int64(n.Index)))
	}
	return tree.ReadHashes(indexes)
}

// Next takes the next commit as stored. After an error the walk is over.
func (w *Walk) Next(stored []byte) (events.Commit, error) {
	c, err := events.DecodeCommit(stored)
	if err != nil {
		return c, err
	}
	if err := w.head.Follows(c); err != nil {
		return c, err
	}
	for _, r := range c.Events {
		leaf := tlog.RecordHash(r.Raw)
		if err := w.tree.Append(leaf[:], nil); err != nil {
			return c, err
		}
	}
	before := w.head.Key
	w.head = c.Head()
	if w.head.Key != before {
		if n := len(w.keys); n > 0 {
			w.keys[n-1].Until = c.Revision
		}
		w.keys = append(w.keys, checkpoint.NewKey(c.Ledger, w.head.Key, c.Revision, 0))
	}
	return c, nil
}

// Head is the last commit taken.
func (w *Walk) Head() events.Head { return w.head }

// Root is that of the tree of all events up to the last commit taken.
func (w *Walk) Root() (root events.Hash, err error) {
	if w.head.Position == 0 {
		return sha256.Sum256(nil), nil
	}
	b, err := w.tree.GetRootHash(nil)
	copy(root[:], b)
	return root, err
}

// Keys are the keys in force where the walk went, and at which revisions. Of a walk that was resumed the first
// one has no beginning.
func (w *Walk) Keys() checkpoint.Keys { return slices.Clone(w.keys) }

// Reached reports whether the walk is exactly where c was signed: same commit, same tree.
func (w *Walk) Reached(c checkpoint.Checkpoint) error {
	root, err := w.Root()
	switch {
	case err != nil:
		return err
	case w.head.Ledger != c.Ledger:
		return fmt.Errorf("%w: the commits are of ledger %s, the checkpoint is of %s", events.ErrBroken, w.head.Ledger, c.Ledger)
	case w.head.Revision != c.Revision || w.head.Position != c.Size:
		return fmt.Errorf("%w: the commits end at revision %d and position %d, the checkpoint is of revision %d and position %d",
			events.ErrBroken, w.head.Revision, w.head.Position, c.Revision, c.Size)
	case w.head.Hash != c.Head:
		return fmt.Errorf("%w: revision %d has hash %s, the checkpoint has %s", events.ErrBroken, c.Revision, w.head.Hash, c.Head)
	case root != c.Root:
		return fmt.Errorf("%w: the tree of %d events has root %s, the checkpoint has %s", events.ErrBroken, c.Size, root, c.Root)
	}
	return nil
}
