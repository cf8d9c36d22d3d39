package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/jetstream"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// TestEditsThroughTheCommandLine is projections.TestEditsByTheOperator with real directories and the program
// itself: the operator writes the whole log anew, signed with the ledger's key, and throws away what remembers the
// old one. A checkpoint that somebody kept finds it; without one the ledger is whole, and verify says what that
// does not show.
func TestEditsThroughTheCommandLine(t *testing.T) {
	dir, kept := t.TempDir(), t.TempDir()
	n := openNode(t, dir)
	for i := range 6 {
		if _, err := n.Ledger.Submit(t.Context(), ledger.Request{
			Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator, Reason: fmt.Sprint("reason ", i)},
			Commands: []ledger.Command{ledger.CreateRole{Role: events.Role(fmt.Sprint("role-", i))}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	key := privateKey(t, node.KeysDir(dir))
	keep(t, n, key, filepath.Join(kept, "checkpoint"), filepath.Join(kept, "key"))
	commits := allCommits(t, n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	outside := []string{"--checkpoint", filepath.Join(kept, "checkpoint"), "--key", filepath.Join(kept, "key")}
	if code, said := runVerify(t, dir, outside...); code != exitYes || !strings.Contains(said, "1 checkpoints kept elsewhere agree") {
		t.Fatalf("unedited: %d\n%s", code, said)
	}
	for name, edit := range map[string]func([]events.Commit) []events.Commit{
		"change": func(cs []events.Commit) []events.Commit { cs[3].Events[0].Reason = "another"; return cs },
		"delete": func(cs []events.Commit) []events.Commit { return slices.Delete(cs, 2, 3) },
		"insert": func(cs []events.Commit) []events.Commit { return slices.Insert(cs, 4, cs[2]) },
		"swap":   func(cs []events.Commit) []events.Commit { cs[2], cs[3] = cs[3], cs[2]; return cs },
		"cut":    func(cs []events.Commit) []events.Commit { return cs[:len(cs)-1] },
	} {
		t.Run(name, func(t *testing.T) {
			edited := make([]events.Commit, len(commits))
			for i, c := range commits {
				c.Events = slices.Clone(c.Events)
				edited[i] = c
			}
			forged := t.TempDir()
			writeLog(t, forged, key, edit(edited))
			if err := os.CopyFS(node.KeysDir(forged), os.DirFS(node.KeysDir(dir))); err != nil {
				t.Fatal(err)
			}
			makeViews(t, forged)
			if code, said := runVerify(t, forged); code != exitYes || !strings.Contains(said, "this does not show") {
				t.Errorf("the control: %d\n%s", code, said)
			}
			code, said := runVerify(t, forged, outside...)
			if code != exitIntegrity || !strings.Contains(said, ", checkpoint: ") {
				t.Errorf("with a checkpoint: %d\n%s", code, said)
			}
		})
	}
	// Somebody else's key, and a checkpoint that is not signed by a key that is trusted.
	other := checkpoint.VerifierKey(commits[0].Ledger, events.PrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32))).Public())
	if code, said := runVerify(t, dir, "--key", other); code != exitIntegrity || !strings.Contains(said, "none of those that are trusted") {
		t.Errorf("another key: %d\n%s", code, said)
	}
	if code, _ := runVerify(t, dir, "--key", other, "--checkpoint", filepath.Join(kept, "checkpoint")); code != exitIntegrity {
		t.Errorf("a checkpoint by an unknown key: %d", code)
	}
}

func openNode(t *testing.T, dir string) *node.Node {
	t.Helper()
	n, err := node.Open(t.Context(), node.Config{Dir: dir, NoticeInterval: -1, ScrubInterval: -1, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// makeViews applies a log, without a server and without adding to it.
func makeViews(t *testing.T, dir string) {
	t.Helper()
	n, err := node.Open(t.Context(), node.Config{Dir: dir, Offline: true, CacheBytes: 8 << 20})
	if err == nil {
		err = n.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func privateKey(t *testing.T, dir string) events.PrivateKey {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil || len(files) != 1 {
		t.Fatalf("keys %v, %v", files, err)
	}
	block, _ := pem.Decode([]byte(readFile(t, files[0])))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return events.PrivateKey(key.(ed25519.PrivateKey))
}

// keep signs a checkpoint of the ledger as it is, and writes it and the key that verifies it elsewhere.
func keep(t *testing.T, n *node.Node, key events.PrivateKey, file, keyFile string) {
	t.Helper()
	tree, err := n.Audit.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	m := tree.Mark()
	signed, err := checkpoint.Sign(checkpoint.Checkpoint{
		Ledger: m.Ledger, Size: m.Position, Root: m.Root, Revision: m.Revision, Head: m.Hash,
		Schema: projections.Schema, State: tree.State.Digest, At: tree.Head.RecordedAt,
	}, key)
	if err == nil {
		err = os.WriteFile(file, signed, 0o600)
	}
	if err == nil {
		err = os.WriteFile(keyFile, []byte(checkpoint.VerifierKey(m.Ledger, key.Public())+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func allCommits(t *testing.T, n *node.Node) (all []events.Commit) {
	t.Helper()
	for stored, err := range n.Log.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		c, err := events.DecodeCommit(stored.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// writeLog writes commits as a log of their own, with every hash, position and signature computed again.
func writeLog(t *testing.T, dir string, key events.Signer, commits []events.Commit) {
	t.Helper()
	s, err := jetstream.Open(t.Context(), jetstream.Config{Dir: node.LogDir(dir)})
	if err != nil {
		t.Fatal(err)
	}
	var head events.Head
	for _, c := range commits {
		h := events.Header{Ledger: c.Ledger, RecordedAt: max(c.RecordedAt, head.RecordedAt), Writer: c.Writer}
		sealed, err := events.Seal(head, h, c.Events, key)
		if err == nil {
			err = s.Log().Append(t.Context(), head.Revision, sealed)
		}
		if err != nil {
			t.Fatal(err)
		}
		head = sealed.Head()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func runVerify(t *testing.T, dir string, flags ...string) (exit, string) {
	t.Helper()
	var out bytes.Buffer
	c := &cli{in: strings.NewReader(""), out: &out, err: &out, getenv: func(string) string { return "" }}
	code := c.run(context.Background(), append([]string{"verify", "--data", dir}, flags...))
	return exit(code), out.String()
}
