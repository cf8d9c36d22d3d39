package projections_test

import (
	"context"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
)

// The tree over a history, held against another implementation of RFC 6962 at every size: its root, an inclusion
// proof of each event and a consistency proof from each size to the last.
func TestTreeAgainstAnotherImplementation(t *testing.T) {
	t.Parallel()
	commits, log := history(t, seeded(51), 60)
	p := inMemory(t, log)
	tree, err := audit.NewTrail(p).Tree(context.Background())
	must(t, err)
	defer tree.Close()

	hasher := rfc6962.DefaultHasher
	grown := (&compact.RangeFactory{Hash: hasher.HashChildren}).NewEmptyRange(0)
	roots := [][]byte{hasher.EmptyRoot()}
	var leaves [][]byte
	for _, c := range commits {
		for _, r := range c.Events {
			leaves = append(leaves, hasher.HashLeaf(r.Raw))
			must(t, grown.Append(leaves[len(leaves)-1], nil))
			root, err := grown.GetRootHash(nil)
			must(t, err)
			roots = append(roots, root)
		}
	}
	if tree.Size != int64(len(leaves)) || string(tree.Root[:]) != string(roots[tree.Size]) {
		t.Fatalf("size %d root %x, want %d %x", tree.Size, tree.Root, len(leaves), roots[len(leaves)])
	}
	for size := int64(1); size <= tree.Size; size++ {
		root, err := tree.RootAt(events.Position(size))
		must(t, err)
		if string(root[:]) != string(roots[size]) {
			t.Fatalf("root of %d is %s, want %x", size, root, roots[size])
		}
		inclusion, err := tlog.ProveRecord(tree.Size, size-1, tree.Hashes)
		must(t, err)
		must(t, proof.VerifyInclusion(hasher, uint64(size-1), uint64(tree.Size), leaves[size-1], bytesOf(inclusion), roots[tree.Size]))
		consistency, err := tlog.ProveTree(tree.Size, size, tree.Hashes)
		must(t, err)
		must(t, proof.VerifyConsistency(hasher, uint64(size), uint64(tree.Size), bytesOf(consistency), roots[size], roots[tree.Size]))
	}
	// The control: a proof of one event is none of another.
	inclusion, err := tlog.ProveRecord(tree.Size, 3, tree.Hashes)
	must(t, err)
	if proof.VerifyInclusion(hasher, 3, uint64(tree.Size), leaves[4], bytesOf(inclusion), roots[tree.Size]) == nil {
		t.Error("another event is proved")
	}
}

func bytesOf[P tlog.RecordProof | tlog.TreeProof](p P) [][]byte {
	var b [][]byte
	for _, h := range p {
		b = append(b, h[:])
	}
	return b
}
