package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/transparency-dev/formats/proof"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// forest is a tree of events in memory.
type forest struct {
	raws   [][]byte
	hashes []tlog.Hash
}

func (f *forest) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = f.hashes[index]
	}
	return out, nil
}

func grown(t testing.TB, n int) *forest {
	t.Helper()
	f := &forest{}
	for i := range n {
		reason := fmt.Sprint("for reason ", i)
		if i == 1 {
			reason = strings.Repeat("x", 60_000) // about as long as an event may be
		}
		raw, err := events.MarshalEvent(events.Recorded{
			ID: events.EventID{1, byte(i)}, Command: events.CommandID{2, byte(i)}, Tenant: "default", RecordedAt: example(t).At,
			Meta:  events.Meta{Actor: events.User("alice"), Reason: reason},
			Event: events.RoleCreated{Role: events.Role(fmt.Sprint("r", i))},
		})
		if err != nil {
			t.Fatal(err)
		}
		hashes, err := tlog.StoredHashes(int64(i), raw, f)
		if err != nil {
			t.Fatal(err)
		}
		f.raws, f.hashes = append(f.raws, raw), append(f.hashes, hashes...)
	}
	return f
}

// signed is a checkpoint of the forest.
func (f *forest) signed(t testing.TB) []byte {
	t.Helper()
	c := example(t)
	root, err := tlog.TreeHash(int64(len(f.raws)), f)
	if err != nil {
		t.Fatal(err)
	}
	c.Size, c.Root = events.Position(len(f.raws)), events.Hash(root)
	return sign(t, c, key(1))
}

func (f *forest) prove(t testing.TB, position events.Position) checkpoint.Proof {
	t.Helper()
	p, err := checkpoint.Prove(f.raws[position-1], position, f.signed(t), f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ours() checkpoint.Keys {
	return checkpoint.Keys{checkpoint.NewKey(ledger, key(1).Public(), 1, 0)}
}

func TestProofs(t *testing.T) {
	for _, size := range []int{1, 2, 3, 7, 8, 9, 30} {
		f := grown(t, size)
		for i, raw := range f.raws {
			position := events.Position(i + 1)
			file := f.prove(t, position).Marshal()
			p, err := checkpoint.ParseProof(file)
			if err != nil {
				t.Fatalf("%d of %d: %v", position, size, err)
			}
			got, err := p.Verify(ours())
			if err != nil || got.Event.Position != position || !bytes.Equal(got.Event.Raw, raw) || got.Checkpoint.Size != events.Position(size) {
				t.Errorf("%d of %d: %+v, %v", position, size, got, err)
			}
			// Another implementation reads the file and checks the path. It reads no lines as long as the longest.
			var theirs proof.TLogProof
			if err := theirs.Unmarshal(file); err != nil {
				if i != 1 {
					t.Errorf("%d of %d: they read %v", position, size, err)
				}
				continue
			}
			path := make([][]byte, len(theirs.Hashes))
			for i, h := range theirs.Hashes {
				path[i] = h[:]
			}
			hasher, root := rfc6962.DefaultHasher, got.Checkpoint.Root
			if err := merkle.VerifyInclusion(hasher, theirs.Index, uint64(size), hasher.HashLeaf(theirs.ExtraData), path, root[:]); err != nil {
				t.Errorf("%d of %d: they say %v", position, size, err)
			}
		}
	}
}

// A ledger whose rows do not agree gives no proof.
func TestNoProofOfWhatIsNotThere(t *testing.T) {
	f := grown(t, 8)
	for name, prove := range map[string]func() (checkpoint.Proof, error){
		"another event": func() (checkpoint.Proof, error) { return checkpoint.Prove(f.raws[2], 4, f.signed(t), f) },
		"another hash": func() (checkpoint.Proof, error) {
			signed := f.signed(t)
			f.hashes[3][0] ^= 1
			defer func() { f.hashes[3][0] ^= 1 }()
			return checkpoint.Prove(f.raws[3], 4, signed, f)
		},
	} {
		if _, err := prove(); !errors.Is(err, checkpoint.ErrUnproved) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := checkpoint.Prove(f.raws[0], 9, f.signed(t), f); err == nil {
		t.Error("a place beyond the tree")
	}
	if _, err := f.prove(t, 3).Verify(checkpoint.Keys{checkpoint.NewKey(ledger, key(2).Public(), 1, 0)}); !errors.Is(err, checkpoint.ErrSignature) {
		t.Errorf("by another key: %v", err)
	}
	if _, err := f.prove(t, 3).Verify(checkpoint.Keys{checkpoint.NewKey(ledger, key(1).Public(), 9, 0)}); !errors.Is(err, checkpoint.ErrSignature) {
		t.Errorf("by a key of later revisions: %v", err)
	}
}

// No byte of a proof may be another one, but for the last letter of a signature, some of whose bits say nothing in
// base64.
func TestEveryChangedByteOfAProofIsFound(t *testing.T) {
	good := grown(t, 9).prove(t, 4).Marshal()
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 1 << (i % 8)
		p, err := checkpoint.ParseProof(changed)
		if err == nil {
			_, err = p.Verify(ours())
		}
		if err == nil && i != len(good)-len("?=\n") {
			t.Fatalf("byte %d may be another one: %q", i, changed)
		}
		if none := i < len("c2sp.org/tlog-proof@v1\n"); errors.Is(err, checkpoint.ErrNoProof) != none {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for n := range good {
		if p, err := checkpoint.ParseProof(good[:n]); err == nil {
			if _, err := p.Verify(ours()); err == nil {
				t.Fatalf("the first %d bytes are proof enough", n)
			}
		}
	}
}

func FuzzProof(f *testing.F) {
	tree := grown(f, 5)
	for i := range tree.raws {
		if i != 1 {
			f.Add(tree.prove(f, events.Position(i+1)).Marshal())
		}
	}
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra \nindex 18446744073709551615\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := checkpoint.ParseProof(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Errorf("%q is read as %q", b, p.Marshal())
		}
		if got, err := p.Verify(ours()); err == nil && !bytes.Equal(got.Event.Raw, tree.raws[got.Event.Position-1]) {
			t.Errorf("an event that is not there: %+v", got)
		}
	})
}
