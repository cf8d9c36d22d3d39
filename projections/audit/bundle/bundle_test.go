package bundle_test

import (
	"archive/zip"
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

func key(n byte) events.PrivateKey {
	return events.PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

// chain is a ledger of so many commits, each with as many events as its revision, signed by key 1 and, after the
// middle, by key 2; with the checkpoint after each, and the hashes of its tree.
type chain struct {
	commits     [][]byte
	checkpoints []checkpoint.Checkpoint
	hashes      []tlog.Hash
}

func (c *chain) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = c.hashes[index]
	}
	return out, nil
}

func newChain(t testing.TB, n int) *chain {
	t.Helper()
	c := &chain{}
	var head events.Head
	ledger := uuid.MustParse("019ca86d-4a00-7000-8000-000000000000")
	for i := range n {
		var evs []events.Recorded
		add := func(e events.Event) {
			evs = append(evs, events.Recorded{ID: uuid.Must(uuid.NewV7()), Command: uuid.Must(uuid.NewV7()), Meta: events.Meta{Actor: events.User("a")}, Event: e})
		}
		signer := key(1)
		switch {
		case i == 0:
			add(events.KeyAnnounced{Key: key(1).Public()})
		case i == n/2:
			add(events.KeyAnnounced{Key: key(2).Public()})
		case i > n/2:
			signer = key(2)
		}
		for j := range i {
			add(events.RoleCreated{Role: events.Role(fmt.Sprintf("r%d-%d", i, j))})
		}
		sealed, err := events.Seal(head, events.Header{Ledger: ledger, RecordedAt: events.Instant(1000 + i), Writer: "w"}, evs, signer)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range sealed.Events {
			hashes, err := tlog.StoredHashesForRecordHash(int64(r.Position)-1, tlog.RecordHash(r.Raw), c)
			if err != nil {
				t.Fatal(err)
			}
			c.hashes = append(c.hashes, hashes...)
		}
		head = sealed.Head()
		root, err := tlog.TreeHash(int64(head.Position), c)
		if err != nil {
			t.Fatal(err)
		}
		c.commits = append(c.commits, sealed.Bytes)
		c.checkpoints = append(c.checkpoints, checkpoint.Checkpoint{
			Ledger: ledger, Size: head.Position, Root: events.Hash(root), Revision: head.Revision, Head: head.Hash, At: head.RecordedAt,
		})
	}
	return c
}

// From wherever a walk begins, it arrives at the checkpoint of every later commit, and at no other.
func TestWalk(t *testing.T) {
	c := newChain(t, 9)
	for from := 0; from <= len(c.commits); from++ {
		walk := bundle.Start()
		if from > 0 {
			cp := c.checkpoints[from-1]
			before, err := bundle.Before(cp.Size, c)
			if err == nil {
				walk, err = bundle.Resume(cp, c.commits[from-1], before)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := from; i < len(c.commits); i++ {
			if _, err := walk.Next(c.commits[i]); err != nil {
				t.Fatalf("from %d, commit %d: %v", from, i+1, err)
			}
			for j, cp := range c.checkpoints {
				if err := walk.Reached(cp); (err == nil) != (i == j) {
					t.Errorf("from %d at revision %d, checkpoint %d: %v", from, i+1, j+1, err)
				}
			}
		}
		keys := walk.Keys()
		if want := map[bool]int{true: 2, false: 1}[from <= len(c.commits)/2]; len(keys) != want {
			t.Errorf("from %d: keys %v", from, keys)
		}
		if last := keys[len(keys)-1]; !strings.HasPrefix(last.String(), checkpoint.VerifierKey(c.checkpoints[0].Ledger, key(2).Public())) || last.Until != 0 {
			t.Errorf("from %d: the last key is %s", from, last)
		}
	}
}

// A walk cannot be made to begin where the checkpoint is not.
func TestResumeRefuses(t *testing.T) {
	c := newChain(t, 6)
	cp, commit := c.checkpoints[3], c.commits[3]
	before, err := bundle.Before(cp.Size, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Resume(cp, commit, before); err != nil {
		t.Fatalf("control: %v", err)
	}
	other := append([]tlog.Hash{}, before...)
	other[0][0] ^= 1
	size, root, revision := cp, cp, cp
	size.Size++
	root.Root[0] ^= 1
	revision.Revision++
	for name, f := range map[string]func() (*bundle.Walk, error){
		"another commit":       func() (*bundle.Walk, error) { return bundle.Resume(cp, c.commits[2], before) },
		"another tree":         func() (*bundle.Walk, error) { return bundle.Resume(cp, commit, other) },
		"a hash too few":       func() (*bundle.Walk, error) { return bundle.Resume(cp, commit, before[1:]) },
		"a checkpoint's size":  func() (*bundle.Walk, error) { return bundle.Resume(size, commit, before) },
		"a checkpoint's root":  func() (*bundle.Walk, error) { return bundle.Resume(root, commit, before) },
		"a checkpoint's place": func() (*bundle.Walk, error) { return bundle.Resume(revision, commit, before) },
		"a commit beyond itself": func() (*bundle.Walk, error) {
			w, _ := bundle.Resume(cp, commit, before)
			_, err := w.Next(c.commits[5])
			return w, err
		},
	} {
		if _, err := f(); !errors.Is(err, events.ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	long := strings.Repeat("x", 200<<10)
	want := []string{`{"a":1}`, long, "2"}
	for _, line := range want {
		if err := bundle.WriteLine(&b, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for line, err := range bundle.Lines(bytes.NewReader(b.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(line))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %d lines", len(got))
	}
	for _, bad := range []string{"", "a\nb"} {
		if err := bundle.WriteLine(io.Discard, []byte(bad)); err == nil {
			t.Errorf("%q was written as a line", bad)
		}
	}
	for _, bad := range []string{"\n", "a\n\nb\n", "a\nb"} {
		var last error
		for _, err := range bundle.Lines(strings.NewReader(bad)) {
			last = err
		}
		if !errors.Is(last, bundle.ErrDamaged) {
			t.Errorf("%q: %v", bad, last)
		}
	}
}

// The names that are written are the names that are read; no other is.
func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"README.txt": true, "checkpoints/first": true, "private-keys.jsonl": true,
		"": false, "..": false, "../x": false, "/x": false, "a/b/c": false, "a//b": false, "a/": false, `a\b`: false, "a b": false, ".x": false, "x.": false, "ä": false,
	} {
		var b bytes.Buffer
		w := bundle.NewWriter(&b)
		err := w.Add(name, []byte("content"))
		if (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
		if err != nil {
			continue
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := bundle.Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if content, err := r.ReadAll(name, 7); err != nil || string(content) != "content" {
			t.Errorf("%q holds %q, %v", name, content, err)
		}
		if _, err := r.ReadAll(name, 6); !errors.Is(err, bundle.ErrDamaged) {
			t.Errorf("%q is longer than it may be: %v", name, err)
		}
	}
}

// Bytes that are packed behind the end of a part unpack to nothing, so nothing else would find them. The control is the same
// bundle, packed by the same hand, without them.
func TestHiddenBytes(t *testing.T) {
	var good bytes.Buffer
	w := bundle.NewWriter(&good)
	if err := errors.Join(w.Add("README.txt", []byte("content")), w.Close()); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"", "hidden"} {
		b := packedAgain(t, good.Bytes(), hidden)
		if hidden == "" && !bytes.Equal(b, good.Bytes()) {
			t.Fatal("it is packed otherwise")
		}
		r, err := bundle.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err) // nothing is unpacked yet
		}
		content, err := r.ReadAll("README.txt", 100)
		if hidden == "" && (err != nil || string(content) != "content") || hidden != "" && !errors.Is(err, bundle.ErrDamaged) {
			t.Errorf("hidden %q: %q, %v", hidden, content, err)
		}
	}
}

// packedAgain packs the packed parts of a bundle again, each with something behind it.
func packedAgain(t *testing.T, b []byte, hidden string) []byte {
	t.Helper()
	opened, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	w := zip.NewWriter(&again)
	for _, f := range opened.File {
		packed, err := f.OpenRaw()
		if err != nil {
			t.Fatal(err)
		}
		h := f.FileHeader
		h.CompressedSize64 += uint64(len(hidden))
		part, err := w.CreateRaw(&h)
		if err == nil {
			_, err = io.Copy(part, io.MultiReader(packed, strings.NewReader(hidden)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return again.Bytes()
}

// More than 4 GiB are written in another form, which is one of ours, too.
func TestLarge(t *testing.T) {
	if os.Getenv("PERMLEDGER_FULL") == "" {
		t.Skip("packs 4 GiB; with PERMLEDGER_FULL=1")
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := bundle.NewWriter(file)
	for _, name := range []string{"first", "second"} {
		part, err := w.Create(name)
		if err == nil {
			_, err = io.CopyN(part, zeros{}, 1<<32+1)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Open(file, info.Size()); err != nil {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
