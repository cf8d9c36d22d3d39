package tiles_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/audit/tiles"
	"github.com/permledger/permledger/projections/pebblekv"
)

func full() bool { return os.Getenv("PERMLEDGER_FULL") != "" }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// book is a ledger that grows to the size a test wants, with its audit view.
type book struct {
	commits []events.Stored
	head    events.Head
	p       *projections.Projector
	trail   *audit.Trail
}

var (
	ledgerID = uuid.MustParse("019ca86d-4a00-7000-8000-000000000000")
	key      = events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
)

func newBook(t testing.TB) *book {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{CacheBytes: 8 << 20})
	must(t, err)
	b := &book{}
	b.p, err = projections.Open(store, b, audit.Rows{})
	must(t, err)
	b.trail = audit.NewTrail(b.p)
	t.Cleanup(func() { must(t, store.Close()) })
	return b
}

func (b *book) Last(context.Context) (events.Revision, error) { return b.head.Revision, nil }

func (b *book) Read(_ context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	return func(yield func(events.Stored, error) bool) {
		for _, c := range b.commits[from-1:] {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// grow records events until there are so many.
func (b *book) grow(t testing.TB, size int) {
	t.Helper()
	for int(b.head.Position) < size {
		n := min(size-int(b.head.Position), 500)
		evs := make([]events.Recorded, n)
		for i := range evs {
			at := int(b.head.Position) + i
			evs[i] = events.Recorded{
				ID: events.EventID{1, byte(at >> 16), byte(at >> 8), byte(at)}, Command: events.CommandID{2}, Tenant: "default",
				Meta:  events.Meta{Actor: events.User("alice"), Reason: strings.Repeat("r", at%300)},
				Event: events.RoleCreated{Role: events.Role(fmt.Sprint("role-", at))},
			}
		}
		at := events.Instant(63_900_000_000_000_000) + events.Instant(b.head.Revision)
		c, err := events.Seal(b.head, events.Header{Ledger: ledgerID, Writer: "test", RecordedAt: at}, evs, nil)
		must(t, err)
		b.commits, b.head = append(b.commits, events.Stored{Revision: c.Revision, Bytes: c.Bytes}), c.Head()
	}
	must(t, b.p.CatchUp(t.Context()))
}

// signed is a checkpoint of the book as it is.
func (b *book) signed(t testing.TB) []byte {
	t.Helper()
	tree, err := b.trail.Tree(t.Context())
	must(t, err)
	defer tree.Close()
	signed, err := checkpoint.Sign(checkpoint.Checkpoint{
		Ledger: ledgerID, Size: events.Position(tree.Size), Root: events.Hash(tree.Root), Revision: tree.Head.Revision,
		Head: tree.Head.Hash, Schema: tree.State.Schema, State: tree.State.Digest, At: tree.Head.RecordedAt,
	}, key)
	must(t, err)
	return signed
}

func (b *book) fetch(ctx context.Context, name string) ([]byte, error) {
	tree, err := b.trail.Tree(ctx)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	return tree.Tile(name)
}

func (b *book) copy(t testing.TB, dir string) tiles.Copied {
	t.Helper()
	copied, err := tiles.Copy(t.Context(), dir, b.signed(t), b.fetch)
	must(t, err)
	return copied
}

func verifier(t testing.TB) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(checkpoint.VerifierKey(ledgerID, key.Public()))
	must(t, err)
	return v
}

// hashBundle gives the leaf hashes of a bundle, as Tessera reads it.
func hashBundle(bundle []byte) (hashes [][]byte, err error) {
	var entries api.EntryBundle
	if err := entries.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	for _, e := range entries.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return hashes, nil
}

// theyAccept has Tessera check the whole directory. A bundle that is empty makes it panic, which is no acceptance.
func theyAccept(t testing.TB, dir string) (err error) {
	t.Helper()
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v", fault)
		}
	}()
	f := fsck.New(checkpoint.Origin(ledgerID), verifier(t), client.FileFetcher{Root: dir}, hashBundle, fsck.Opts{N: 2})
	return f.Check(t.Context())
}

// weAccept has our own check do the same.
func weAccept(t testing.TB, dir string) error {
	t.Helper()
	signed, err := os.ReadFile(filepath.Join(dir, tiles.Checkpoint))
	must(t, err)
	cp, err := checkpoint.Open(signed, checkpoint.Keys{checkpoint.NewKey(ledgerID, key.Public(), 1, 0)})
	if err != nil {
		return err
	}
	return tiles.Check(t.Context(), os.DirFS(dir), cp.Size, cp.Root, nil)
}

// Of trees of several sizes, copied anew and one upon the other: Tessera's fsck accepts the tiles, its client makes proofs of
// them that transparency-dev/merkle verifies, between every pair of sizes, and so do we.
func TestThirdPartiesAcceptOurTiles(t *testing.T) {
	sizes := []int{1, 2, 255, 256, 257, 1000}
	if full() {
		sizes = append(sizes, 65_535, 65_536, 65_537, 70_000)
	}
	b, grown := newBook(t), t.TempDir()
	roots := map[uint64][]byte{}
	for _, size := range sizes {
		b.grow(t, size)
		fresh := t.TempDir()
		b.copy(t, fresh)
		copied := b.copy(t, grown)
		if int(copied.Size) != size {
			t.Errorf("copied %+v", copied)
		}
		for what, dir := range map[string]string{"copied anew": fresh, "added to": grown} {
			if err := theyAccept(t, dir); err != nil {
				t.Errorf("%d %s: they say %v", size, what, err)
			}
			if err := weAccept(t, dir); err != nil {
				t.Errorf("%d %s: we say %v", size, what, err)
			}
		}
		theirProofs(t, fresh, roots)
	}
	if again := b.copy(t, grown); again.Written != 1 {
		t.Errorf("copied again: %+v, want the checkpoint alone", again)
	}
}

// theirProofs has Tessera's client make proofs of the tiles, and transparency-dev/merkle verify them.
func theirProofs(t *testing.T, dir string, roots map[uint64][]byte) {
	t.Helper()
	ctx, from, hasher := t.Context(), client.FileFetcher{Root: dir}, rfc6962.DefaultHasher
	cp, _, _, err := client.FetchCheckpoint(ctx, from.ReadCheckpoint, verifier(t), checkpoint.Origin(ledgerID))
	must(t, err)
	proofs, err := client.NewProofBuilder(ctx, cp.Size, from.ReadTile)
	must(t, err)
	for _, index := range []uint64{0, 1, cp.Size / 3, cp.Size / 2, cp.Size - 1} {
		if index >= cp.Size {
			continue
		}
		bundle, err := client.GetEntryBundle(ctx, from.ReadEntryBundle, index/256, cp.Size)
		must(t, err)
		path, err := proofs.InclusionProof(ctx, index)
		must(t, err)
		leaf := hasher.HashLeaf(bundle.Entries[index%256])
		must(t, proof.VerifyInclusion(hasher, index, cp.Size, leaf, path, cp.Hash))
		leaf[0] ^= 1 // the control
		if proof.VerifyInclusion(hasher, index, cp.Size, leaf, path, cp.Hash) == nil {
			t.Errorf("%d of %d: another leaf is accepted", index, cp.Size)
		}
	}
	for smaller, root := range roots {
		path, err := proofs.ConsistencyProof(ctx, smaller, cp.Size)
		must(t, err)
		must(t, proof.VerifyConsistency(hasher, smaller, cp.Size, path, root, cp.Hash))
		other := bytes.Clone(root)
		other[0] ^= 1
		if proof.VerifyConsistency(hasher, smaller, cp.Size, path, other, cp.Hash) == nil {
			t.Errorf("%d to %d: another root is accepted", smaller, cp.Size)
		}
	}
	roots[cp.Size] = cp.Hash
}

// Whatever file is changed, cut or taken away: they refuse it and so do we. Put back, it is accepted again.
func TestTamperedTilesAreRefused(t *testing.T) {
	b, dir := newBook(t), t.TempDir()
	b.grow(t, 70_000/100)
	b.copy(t, dir)
	var files []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	if len(files) != 1+3+3+1 { // checkpoint, bundles, level 0, level 1
		t.Fatalf("%d files: %v", len(files), files)
	}
	for _, file := range files {
		good, err := os.ReadFile(file)
		must(t, err)
		flipped := bytes.Clone(good)
		flipped[len(flipped)/2] ^= 4
		first := bytes.Clone(good)
		first[1] ^= 1
		for what, bad := range map[string][]byte{"a byte": flipped, "the beginning": first, "cut off": good[:len(good)-1], "empty": {}, "longer": append(bytes.Clone(good), 0, 0), "gone": nil} {
			name := strings.TrimPrefix(file, dir) + ": " + what
			isCheckpoint := filepath.Base(file) == tiles.Checkpoint
			if isCheckpoint && (what == "gone" || what == "cut off") {
				continue // nothing to check; and a note without its last newline is package note's to judge
			}
			if bad == nil {
				must(t, os.Remove(file))
			} else {
				must(t, os.WriteFile(file, bad, 0o644))
			}
			if theyAccept(t, dir) == nil && what != "longer" {
				t.Errorf("%s: they accept it", name)
			}
			err := weAccept(t, dir)
			if err == nil || !isCheckpoint && !errors.Is(err, tiles.ErrTampered) {
				t.Errorf("%s: we say %v", name, err)
			}
			must(t, os.WriteFile(file, good, 0o644))
		}
	}
	must(t, theyAccept(t, dir))
	must(t, weAccept(t, dir))
}

// What a directory or a checkpoint claims to hold takes no memory: neither a tree of any size nor a file without an end.
func TestClaimsAreNotBelieved(t *testing.T) {
	b, dir := newBook(t), t.TempDir()
	b.grow(t, 300)
	b.copy(t, dir)
	cp, err := checkpoint.Parse(b.signed(t))
	must(t, err)
	if err := tiles.Check(t.Context(), os.DirFS(dir), 1<<62-1, cp.Root, nil); !errors.Is(err, tiles.ErrTampered) {
		t.Errorf("a tree of every size: %v", err)
	}
	cp.Size = 1<<62 - 1
	huge, err := checkpoint.Sign(cp, key)
	must(t, err)
	if _, err := tiles.Copy(t.Context(), t.TempDir(), huge, b.fetch); err == nil {
		t.Error("a copy of every size is made")
	}
	must(t, weAccept(t, dir))
	for _, name := range []string{"tile/entries/000", "tile/0/000"} {
		file := filepath.Join(dir, name)
		good, err := os.ReadFile(file)
		must(t, err)
		must(t, os.Truncate(file, 1<<40)) // a hole, which a disk holds and a memory does not
		if err := weAccept(t, dir); !errors.Is(err, tiles.ErrTampered) {
			t.Errorf("%s without an end: %v", name, err)
		}
		must(t, os.WriteFile(file, good, 0o644))
	}
	must(t, weAccept(t, dir))
}

// A source that lies leaves nothing that is not proved, and no checkpoint.
func TestCopyFromALiar(t *testing.T) {
	b := newBook(t)
	b.grow(t, 600)
	signed := b.signed(t)
	for _, lie := range []string{"tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/88"} {
		for what, change := range map[string]func([]byte) []byte{
			"another byte": func(c []byte) []byte { c[len(c)/2] ^= 1; return c },
			"cut off":      func(c []byte) []byte { return c[:len(c)-1] },
			"longer":       func(c []byte) []byte { return append(c, 0) },
			"nothing":      func([]byte) []byte { return nil },
		} {
			dir, told := t.TempDir(), false
			_, err := tiles.Copy(t.Context(), dir, signed, func(ctx context.Context, name string) ([]byte, error) {
				content, err := b.fetch(ctx, name)
				if name == lie {
					content, told = change(content), true
				}
				return content, err
			})
			if !told || !errors.Is(err, tiles.ErrTampered) {
				t.Errorf("%s %s: %v, told %t", lie, what, err, told)
			}
			if _, err := os.Stat(filepath.Join(dir, tiles.Checkpoint)); err == nil {
				t.Errorf("%s %s: there is a checkpoint", lie, what)
			}
			b.copy(t, dir) // from one that does not, it is mended
			if err := errors.Join(theyAccept(t, dir), weAccept(t, dir)); err != nil {
				t.Errorf("%s %s: afterwards %v", lie, what, err)
			}
		}
	}
	failed := errors.New("the network is down")
	if _, err := tiles.Copy(t.Context(), t.TempDir(), signed, func(context.Context, string) ([]byte, error) { return nil, failed }); !errors.Is(err, failed) || errors.Is(err, tiles.ErrTampered) {
		t.Errorf("a source that fails is no liar: %v", err)
	}
}

// What is there must be an earlier state of what comes.
func TestCopyUponAnotherTree(t *testing.T) {
	b, dir := newBook(t), t.TempDir()
	b.grow(t, 300)
	older := b.signed(t)
	b.grow(t, 400)
	b.copy(t, dir)
	if _, err := tiles.Copy(t.Context(), dir, older, b.fetch); !errors.Is(err, tiles.ErrTampered) {
		t.Errorf("an older checkpoint upon a newer one: %v", err)
	}
	must(t, weAccept(t, dir))

	// A ledger with the same name and another past.
	forked := newBook(t)
	forked.grow(t, 399)
	forked.head.RecordedAt++
	forked.grow(t, 450)
	if _, err := tiles.Copy(t.Context(), dir, forked.signed(t), forked.fetch); !errors.Is(err, tiles.ErrTampered) {
		t.Errorf("another past: %v", err)
	}
	must(t, weAccept(t, dir))
	b.grow(t, 450)
	b.copy(t, dir)
	must(t, weAccept(t, dir))
}

func TestNames(t *testing.T) {
	b := newBook(t)
	b.grow(t, 300)
	for name, ok := range map[string]bool{
		"tile/0/000": true, "tile/0/001.p/44": true, "tile/0/001.p/3": true, "tile/1/000.p/1": true,
		"tile/entries/000": true, "tile/entries/001.p/44": true, "tile/0/000.p/255": true,
		"tile/0/001": false, "tile/0/001.p/45": false, "tile/1/000": false, "tile/2/000": false, "tile/entries/001.p/45": false,
		"tile/8/0/000": false, "tile/data/000": false, "tile/0/0": false, "tile/0/000.p/0": false, "tile/0/000.p/256": false,
		"tile/-1/000": false, "tile/entries/x000/000": false, "tile/63/000": false, "tile/0/x999/x999/x999/x999/x999/x999/999": false,
		"checkpoint": false, "": false, "tile/": false, "tile/entries/": false, "/tile/0/000": false, "tile/0/../0/000": false,
	} {
		if content, err := b.fetch(t.Context(), name); (err == nil) != ok || ok == (len(content) == 0) {
			t.Errorf("%q: %d bytes, %v", name, len(content), err)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("tile/0/x001/234.p/5")
	f.Add("tile/entries/x001/x002/003")
	f.Add("tile/7/999")
	f.Fuzz(func(t *testing.T, name string) {
		tile, err := tiles.Parse(name)
		if err == nil && tiles.Name(tile) != name {
			t.Errorf("%q is read as %q", name, tiles.Name(tile))
		}
		if err == nil && tiles.In(tile, 1<<40) && (tile.N<<8+int64(tile.W))<<(8*max(tile.L, 0)) > 1<<40 {
			t.Errorf("%q is in a tree of 2^40", name)
		}
	})
}

// BenchmarkCopy copies a tree of 50,000 events to a directory, and checks it.
func BenchmarkCopy(b *testing.B) {
	from := newBook(b)
	from.grow(b, 50_000)
	for what, do := range map[string]func(dir string){
		"copy":  func(dir string) { from.copy(b, dir) },
		"check": func(dir string) { must(b, weAccept(b, dir)) },
	} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir()
				if what == "check" {
					from.copy(b, dir)
				}
				b.StartTimer()
				do(dir)
			}
			b.ReportMetric(50_000*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
