package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/access"
)

func open(t *testing.T, cfg node.Config) *node.Node {
	t.Helper()
	n, err := tryOpen(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func tryOpen(t *testing.T, cfg node.Config) (*node.Node, error) {
	t.Helper()
	cfg.CacheBytes, cfg.NoticeInterval = 8<<20, -1
	n, err := node.Open(t.Context(), cfg)
	if err == nil {
		t.Cleanup(func() { closed(t, n) })
	}
	return n, err
}

func closed(t *testing.T, n *node.Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func createRole(t *testing.T, n *node.Node, role events.Role) ledger.Receipt {
	t.Helper()
	r, err := n.Ledger.Submit(t.Context(), ledger.Request{
		Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator},
		Commands: []ledger.Command{ledger.CreateRole{Role: role}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hasRole(t *testing.T, n *node.Node, role events.Role, atLeast events.Revision) bool {
	t.Helper()
	s, err := n.Access.At(t.Context(), events.DefaultTenant, access.When{AtLeast: atLeast})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Role(role)
	if err != nil && !errors.Is(err, access.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// published waits until the feed has everything, and says whether the node is ready.
func published(t *testing.T, n *node.Node) {
	t.Helper()
	if err := n.Feed.Wait(t.Context(), n.Projector.Head().Position); err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir})
	createRole(t, n, "operate")
	published(t, n)
	head, token := n.Projector.Head(), n.RootToken
	if _, err := tryOpen(t, node.Config{Dir: dir}); err == nil {
		t.Fatal("two nodes opened one directory")
	}
	closed(t, n)

	info, err := os.Stat(node.RootTokenFile(dir))
	if err != nil || info.Mode().Perm() != 0o600 || len(token) < 43 {
		t.Errorf("root token of %d characters, %v, %v", len(token), info.Mode(), err)
	}
	if m := readMark(t, dir); m.Revision != head.Revision || m.Hash != head.Hash {
		t.Errorf("the mark is %+v, the head was %+v", m, head)
	}

	n = open(t, node.Config{Dir: dir})
	if n.Projector.Head() != head || n.RootToken != token || !hasRole(t, n, "operate", 0) {
		t.Errorf("after a restart: %+v", n.Projector.Head())
	}
	createRole(t, n, "review")
	published(t, n)
	closed(t, n)

	// The views are thrown away: the log makes them again.
	if err := os.RemoveAll(filepath.Join(dir, "views")); err != nil {
		t.Fatal(err)
	}
	n = open(t, node.Config{Dir: dir})
	if n.Projector.Head().Revision != head.Revision+1 || !hasRole(t, n, "review", 0) {
		t.Errorf("after the views were lost: %+v", n.Projector.Head())
	}
}

type mark struct {
	Ledger   events.LedgerID `json:"ledger"`
	Revision events.Revision `json:"revision"`
	Hash     events.Hash     `json:"hash"`
}

func readMark(t *testing.T, dir string) (m mark) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "mark.json"))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A log that is older than what this directory has seen, or another one, is not opened, whether the views
// remember or only the mark does.
func TestOlderOrOtherLog(t *testing.T) {
	dir, older := t.TempDir(), t.TempDir()
	n := open(t, node.Config{Dir: dir})
	createRole(t, n, "first")
	closed(t, n)
	if err := os.CopyFS(older, os.DirFS(node.LogDir(dir))); err != nil {
		t.Fatal(err)
	}
	n = open(t, node.Config{Dir: dir})
	createRole(t, n, "second")
	closed(t, n)

	replace := func(with string) {
		t.Helper()
		if err := os.RemoveAll(node.LogDir(dir)); err != nil {
			t.Fatal(err)
		}
		if with == "" {
			return
		}
		if err := os.CopyFS(node.LogDir(dir), os.DirFS(with)); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string) {
		t.Helper()
		if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
	newer := t.TempDir()
	if err := os.CopyFS(newer, os.DirFS(node.LogDir(dir))); err != nil {
		t.Fatal(err)
	}
	replace(older)
	refused("an older log")
	replace("")
	refused("no log")
	if err := os.RemoveAll(filepath.Join(dir, "views")); err != nil {
		t.Fatal(err)
	}
	replace(older)
	refused("an older log, and no views")
	replace("")
	refused("no log, and no views")

	replace(newer)
	m := readMark(t, dir)
	m.Hash[0] ^= 1
	b, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "mark.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	refused("another log")
	m.Hash[0] ^= 1
	if b, err = json.Marshal(m); err == nil {
		err = os.WriteFile(filepath.Join(dir, "mark.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := open(t, node.Config{Dir: dir}); !hasRole(t, n, "second", 0) {
		t.Error("the right log is not whole")
	}
}

func TestTokenFiles(t *testing.T) {
	for name, prepare := range map[string]func(string) error{
		"others may read it": func(f string) error { return os.WriteFile(f, []byte(strings.Repeat("x", 43)), 0o644) },
		"empty":              func(f string) error { return os.WriteFile(f, nil, 0o600) },
		"too short":          func(f string) error { return os.WriteFile(f, []byte("root"), 0o600) },
		"a directory":        func(f string) error { return os.Mkdir(f, 0o700) },
	} {
		dir := t.TempDir()
		if err := prepare(node.RootTokenFile(dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := tryOpen(t, node.Config{Dir: dir}); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	dir, token := t.TempDir(), strings.Repeat("k", 43)
	if err := os.WriteFile(node.RootTokenFile(dir), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := open(t, node.Config{Dir: dir}); n.RootToken != token {
		t.Error("the operator's token is not used")
	}
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]node.Config{
		"neither":              {},
		"both":                 {Dir: t.TempDir(), Memory: true},
		"listens and external": {Dir: t.TempDir(), NATSURL: "nats://127.0.0.1:1", NATSListen: "127.0.0.1:0"},
		"nobody there":         {Dir: t.TempDir(), NATSURL: "nats://127.0.0.1:1"},
	} {
		if _, err := tryOpen(t, cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// Offline reads a log that nobody writes, and makes none.
func TestOffline(t *testing.T) {
	empty := t.TempDir()
	if _, err := tryOpen(t, node.Config{Dir: empty, Offline: true}); err == nil {
		t.Error("an empty directory has a log")
	}
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir})
	createRole(t, n, "operate")
	head := n.Projector.Head()
	closed(t, n)

	n = open(t, node.Config{Dir: dir, Offline: true})
	if n.Ledger != nil || n.Feed != nil || n.RootToken != "" || n.Projector.Head() != head {
		t.Errorf("%+v", n)
	}
	revisions := events.Revision(0)
	for c, err := range n.Log.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		revisions = c.Revision
	}
	if revisions != head.Revision {
		t.Errorf("read up to revision %d of %d", revisions, head.Revision)
	}
	rebuilt, err := n.Projector.Rebuild(t.Context(), nil)
	if err != nil || rebuilt.Uncompared != nil {
		t.Errorf("%+v, %v", rebuilt, err)
	}
	for view, d := range rebuilt.Digests {
		if d.Live == "" || d.Live != d.Rebuilt {
			t.Errorf("view %s: %+v", view, d)
		}
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir, NATSListen: "127.0.0.1:0"})
	if !strings.HasPrefix(n.Server.ClientURL(), "nats://127.0.0.1:") || n.ReaderUser == "" || len(n.ReaderPassword) < 43 {
		t.Errorf("%s as %s", n.Server.ClientURL(), n.ReaderUser)
	}
	password := n.ReaderPassword
	closed(t, n)
	if n := open(t, node.Config{Dir: dir, NATSListen: "127.0.0.1:0"}); n.ReaderPassword != password {
		t.Error("the reader's password changed with a restart")
	}
}

// Two nodes of one external log: what one writes, the other answers, in both directions.
func TestTwoNodes(t *testing.T) {
	nats := natsServer(t)
	keys := t.TempDir()
	a := open(t, node.Config{Dir: t.TempDir(), KeysDir: keys, NATSURL: nats.ClientURL()})
	b := open(t, node.Config{Dir: t.TempDir(), KeysDir: keys, NATSURL: nats.ClientURL()})
	for i := range 10 {
		writer, reader := a, b
		if i%2 == 1 {
			writer, reader = b, a
		}
		role := events.Role(fmt.Sprint(i))
		r := createRole(t, writer, role)
		if !hasRole(t, reader, role, r.Revision) {
			t.Errorf("role %s is not seen by the other node", role)
		}
	}
	if a.Projector.Head() != b.Projector.Head() {
		t.Errorf("heads %+v and %+v", a.Projector.Head(), b.Projector.Head())
	}
	published(t, a)
	published(t, b)
}

// A commit recorded after the instant a draft is for must not be followed by that draft's.
func TestDraftNeverGoesBackInTime(t *testing.T) {
	n := open(t, node.Config{Memory: true})
	p := node.Projection(n.Projector)
	if _, err := p.Begin(p.Head().RecordedAt - 1); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	d, err := p.Begin(p.Head().RecordedAt) // and the refused draft is not in the way
	if err != nil {
		t.Fatal(err)
	}
	d.Discard()
	d.Discard()
}

func TestCloseEndsEverything(t *testing.T) {
	n := open(t, node.Config{Memory: true})
	closed(t, n)
	_, err := n.Ledger.Submit(context.Background(), ledger.Request{
		Tenant: events.DefaultTenant, Meta: events.Meta{Actor: n.Administrator},
		Commands: []ledger.Command{ledger.CreateRole{Role: "late"}},
	})
	if !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("a closed node: %v", err)
	}
	if err := n.Ready(); err == nil {
		t.Error("a closed node is ready")
	}
	closed(t, n)
}
