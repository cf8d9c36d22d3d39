package node_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// guard is a witness as c2sp.org/tlog-witness describes it, for one ledger, that forgets nothing but with the test.
type guard struct {
	t      *testing.T
	name   string
	vkey   string
	signer note.Signer
	http   *httptest.Server

	mu    sync.Mutex
	keys  checkpoint.Keys // of the ledger
	size  int64
	root  tlog.Hash
	asked int
	hang  chan struct{} // while it is not nil it does not answer
	lies  bool          // it answers with another's signature
}

func newGuard(t *testing.T, name string) *guard {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{t: t, name: name}
	if g.signer, err = fnote.NewSignerForCosignatureV1(skey); err != nil {
		t.Fatal(err)
	}
	if g.vkey, err = fnote.VKeyToCosignatureV1(vkey); err != nil {
		t.Fatal(err)
	}
	g.http = httptest.NewServer(http.HandlerFunc(g.addCheckpoint))
	t.Cleanup(g.http.Close)
	return g
}

func (g *guard) change(f func(*guard)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g)
}

func (g *guard) addCheckpoint(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	if hang := g.hang; hang != nil {
		g.mu.Unlock()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		g.mu.Lock()
	}
	body, _ := io.ReadAll(r.Body)
	head, signed, ok := bytes.Cut(body, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	var old int64
	if _, err := fmt.Sscanf(lines[0], "old %d", &old); err != nil || !ok || r.URL.Path != "/add-checkpoint" {
		http.Error(w, "malformed", http.StatusBadRequest)
		return
	}
	cp, err := checkpoint.Open(signed, g.keys)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	if old != g.size {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintln(w, g.size)
		return
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		b, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(b) != tlog.HashSize {
			http.Error(w, "malformed proof", http.StatusBadRequest)
			return
		}
		proof = append(proof, tlog.Hash(b))
	}
	grown := old == 0 || tlog.CheckTree(proof, int64(cp.Size), tlog.Hash(cp.Root), old, g.root) == nil
	if old == int64(cp.Size) && old > 0 {
		grown = len(proof) == 0 && tlog.Hash(cp.Root) == g.root
	}
	if !grown {
		http.Error(w, "it has not grown from what I saw", http.StatusUnprocessableEntity)
		return
	}
	g.size, g.root = int64(cp.Size), tlog.Hash(cp.Root)
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	if g.lies {
		text = bytes.Replace(text, []byte(" at="), []byte(" at=1"), 1)
	}
	cosigned, err := note.Sign(&note.Note{Text: string(text) + "\n"}, g.signer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(cosigned[len(text)+2:])
}

// policyOf asks for so many of the witnesses.
func policyOf(t *testing.T, n int, guards ...*guard) *witness.Group {
	t.Helper()
	text, names := "", ""
	for i, g := range guards {
		text += fmt.Sprintf("witness w%d %s %s\n", i, g.vkey, g.http.URL)
		names += fmt.Sprintf(" w%d", i)
	}
	group, err := witness.ParsePolicy(fmt.Appendf(nil, "%sgroup all-of-them %d%s\nquorum all-of-them\n", text, n, names))
	if err != nil {
		t.Fatal(err)
	}
	return &group
}

func TestWitnessesCosign(t *testing.T) {
	one, two, down := newGuard(t, "one.example"), newGuard(t, "two.example"), newGuard(t, "down.example")
	down.http.Close()
	policy, all := policyOf(t, 2, one, two, down), policyOf(t, 3, one, two, down)
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir, CheckpointInterval: time.Hour, WitnessPolicy: policy})
	keys, err := node.Keys(t.Context(), n.Audit)
	if err != nil {
		t.Fatal(err)
	}
	// They do not know the ledger's key yet; when they do, they cosign the next one.
	until(t, "they refuse", func() bool { return n.Checkpoints.Witnesses()[one.name] != nil && timesAsked(one) > 0 })
	if policy.Satisfied(n.Checkpoints.Latest()) {
		t.Error("cosigned by nobody, and the policy is met")
	}
	for _, g := range []*guard{one, two} {
		g.change(func(g *guard) { g.keys = keys })
	}
	for i := range 3 {
		createRole(t, n, events.Role(fmt.Sprint(i)))
		signed, err := n.Checkpoints.Sign(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		until(t, "two have cosigned", func() bool { return policy.Satisfied(n.Checkpoints.Latest()) })
		latest := n.Checkpoints.Latest()
		if !bytes.HasPrefix(latest, signed) || all.Satisfied(latest) {
			t.Errorf("cosigned %q, signed %q", latest, signed)
		}
		until(t, "the file has it", func() bool { return bytes.Equal(read(t, node.CheckpointFile(dir)), n.Checkpoints.Latest()) })
		verified(t, n, latest)
		kept, ok, err := n.Projector.LastCheckpoint()
		if err != nil || !ok || !policy.Satisfied(kept) {
			t.Errorf("kept %q, %v", kept, err)
		}
	}
	until(t, "it is told who cosigns", func() bool {
		said := n.Checkpoints.Witnesses()
		return len(said) == 3 && said[one.name] == nil && said[two.name] == nil && said[down.name] != nil
	})

	// Proofs are made under the newest one that all needed have cosigned, as long as it covers the event.
	cosigned := n.Checkpoints.Latest()
	two.change(func(g *guard) { g.hang = make(chan struct{}) })
	createRole(t, n, "later")
	if _, err := n.Checkpoints.Sign(t.Context()); err != nil { // a witness that does not answer delays nothing
		t.Fatal(err)
	}
	proofs, err := n.Checkpoints.Prove(t.Context(), 2)
	if err != nil || !bytes.Equal(proofs[0].Checkpoint, cosigned) {
		t.Errorf("an early event is proved under %q, %v", proofs[0].Checkpoint, err)
	}
	late, err := n.Checkpoints.Prove(t.Context(), n.Projector.Head().Position)
	if err != nil || policy.Satisfied(late[0].Checkpoint) {
		t.Errorf("a late one under %q, %v", late[0].Checkpoint, err)
	}
	two.change(func(g *guard) { close(g.hang); g.hang = nil })
	until(t, "it has cosigned, too", func() bool { return policy.Satisfied(n.Checkpoints.Latest()) })
	closed(t, n)

	// After a restart the sizes they have seen are learned from them.
	n = open(t, node.Config{Dir: dir, CheckpointInterval: time.Hour, WitnessPolicy: policy})
	until(t, "they cosign after a restart", func() bool { return policy.Satisfied(n.Checkpoints.Latest()) })
}

func timesAsked(g *guard) (n int) {
	g.change(func(g *guard) { n = g.asked })
	return n
}

// A witness that has seen another history, or more of it, does not cosign, and neither counts who signs something
// else. The control is the test above.
func TestWitnessesThatDoNotCosign(t *testing.T) {
	for name, spoil := range map[string]func(*guard){
		"it has seen another history": func(g *guard) { g.root[0] ^= 1 },
		"it has seen more of it":      func(g *guard) { g.size += 100 },
		"it signs something else":     func(g *guard) { g.lies = true },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuard(t, "one.example")
			policy := policyOf(t, 1, g)
			n := open(t, node.Config{Memory: true, CheckpointInterval: time.Hour, WitnessPolicy: policy})
			keys, err := node.Keys(t.Context(), n.Audit)
			if err != nil {
				t.Fatal(err)
			}
			until(t, "it is asked", func() bool { return timesAsked(g) > 0 })
			g.change(func(g *guard) { g.keys = keys })
			createRole(t, n, "first")
			if _, err := n.Checkpoints.Sign(t.Context()); err != nil {
				t.Fatal(err)
			}
			until(t, "it cosigns", func() bool { return n.Checkpoints.Witnesses()[g.name] == nil })
			g.change(spoil)
			createRole(t, n, "second")
			signed, err := n.Checkpoints.Sign(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			until(t, "it does not", func() bool { return n.Checkpoints.Witnesses()[g.name] != nil })
			if latest := n.Checkpoints.Latest(); !bytes.Equal(latest, signed) || policy.Satisfied(latest) {
				t.Errorf("shown %q", latest)
			}
			t.Log(n.Checkpoints.Witnesses()[g.name])
			if err := n.Ready(); err != nil {
				t.Errorf("the ledger is not ready: %v", err)
			}
			// When the witness is itself again, so is all.
			good := verified(t, n, signed)
			g.change(func(g *guard) { g.size, g.root, g.lies = int64(good.Size), tlog.Hash(good.Root), false })
			if _, err := n.Checkpoints.Sign(t.Context()); err != nil {
				t.Fatal(err)
			}
			until(t, "it cosigns again", func() bool { return policy.Satisfied(n.Checkpoints.Latest()) })
		})
	}
}
