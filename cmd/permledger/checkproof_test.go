package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/permledger/permledger/cmd/permledger/node"
)

// With a policy a proof counts only if the witnesses that it asks for have cosigned its checkpoint.
func TestCheckProofByPolicy(t *testing.T) {
	n, err := node.Open(t.Context(), node.Config{Memory: true, NoticeInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	keys, err := node.Keys(t.Context(), n.Audit)
	if err != nil {
		t.Fatal(err)
	}
	proofs, err := n.Checkpoints.Prove(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	dir, policy := t.TempDir(), ""
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	checked := func(threshold string) int {
		var out, errs bytes.Buffer
		c := &cli{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(string) string { return "" }}
		return c.run(t.Context(), []string{"check-proof", file("proof", string(proofs[0].Marshal())),
			"--key", file("keys", keys[0].String()), "--policy", file("policy", policy+"group g "+threshold+" one two\nquorum g\n")})
	}
	var witnesses []note.Signer
	for _, name := range []string{"one", "two"} {
		skey, vkey, err := note.GenerateKey(rand.Reader, name+".example")
		if err != nil {
			t.Fatal(err)
		}
		signer, err := fnote.NewSignerForCosignatureV1(skey)
		if err != nil {
			t.Fatal(err)
		}
		if vkey, err = fnote.VKeyToCosignatureV1(vkey); err != nil {
			t.Fatal(err)
		}
		witnesses = append(witnesses, signer)
		policy += fmt.Sprintf("witness %s %s https://%s.example/\n", name, vkey, name)
	}
	for cosigned, want := range []map[string]int{
		{"any": 6, "all": 6},
		{"any": 0, "all": 6},
		{"any": 0, "all": 0},
	} {
		for threshold, exit := range want {
			if got := checked(threshold); got != exit {
				t.Errorf("%d cosigned and %s are asked for: exit %d, want %d", cosigned, threshold, got, exit)
			}
		}
		if cosigned == len(witnesses) {
			break
		}
		text, _, _ := bytes.Cut(proofs[0].Checkpoint, []byte("\n\n"))
		signed, err := note.Sign(&note.Note{Text: string(text) + "\n"}, witnesses[cosigned])
		if err != nil {
			t.Fatal(err)
		}
		proofs[0].Checkpoint = append(proofs[0].Checkpoint, signed[len(text)+2:]...)
	}
	if got := checked("none of them"); got != 2 {
		t.Errorf("a policy that is none: exit %d", got)
	}
}
