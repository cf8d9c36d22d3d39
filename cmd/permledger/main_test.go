package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/permledger/permledger/cmd/permledger/node"
)

// The test binary is the program, too: scripts and tests run it as "permledger".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"permledger": main, "permledger-unsynced": serveUnsynced,
		"permledger-open": openDamaged, "permledger-bare": bareConsumer,
	})
}

// serveUnsynced serves a ledger that does not sync what it acknowledges. Only the test binary has it.
func serveUnsynced() {
	cfg := node.Config{Dir: os.Args[1], UnsafeNoSync: true}
	s, err := open(context.Background(), cfg, "127.0.0.1:0", "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	(&cli{err: os.Stderr}).announce(s)
	_ = s.run(context.Background())
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// canonical writes JSON with its members sorted.
func canonical(t *testing.T, b []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(sorted)
}
