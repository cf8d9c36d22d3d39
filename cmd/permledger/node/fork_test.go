package node_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/audit"
)

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := os.CopyFS(to, os.DirFS(from))
	if err == nil { // whose copies are for everybody to read
		err = filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.Chmod(path, 0o600)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// restore puts parts of another directory in the place of what is there.
func restore(t *testing.T, dir, from string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(from, part))
		switch {
		case os.IsNotExist(err):
		case err != nil:
			t.Fatal(err)
		case info.IsDir():
			copyTree(t, filepath.Join(from, part), filepath.Join(dir, part))
		default:
			b, err := os.ReadFile(filepath.Join(from, part))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, part), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// moments are copies of a ledger's directory, each older than the next.
func moments(t *testing.T, n int) (dir string, older []string) {
	t.Helper()
	dir = t.TempDir()
	for i := range n {
		opened := open(t, node.Config{Dir: dir})
		for j := range 1 + i%3 {
			createRole(t, opened, events.Role(fmt.Sprintf("role-%d-%d", i, j)))
		}
		published(t, opened)
		closed(t, opened)
		if i < n-1 {
			older = append(older, t.TempDir())
			copyTree(t, dir, older[i])
		}
	}
	return dir, older
}

// TestRestores puts older and foreign copies in place, in parts and as a whole, and each is refused. The control:
// with nothing left that remembers more, the same copy is taken without a word.
func TestRestores(t *testing.T) {
	rounds := 8
	if full() {
		rounds = 100
	}
	current, older := moments(t, 4)
	foreign, _ := moments(t, 3)
	was := markOf(t, current)
	random := rand.New(rand.NewPCG(4, 4))
	all := []string{"jetstream", "views", "keys", "root.token", "scrub.json"}
	ways := []struct {
		name    string
		parts   []string // from the copy
		removed []string
	}{
		{"the log", []string{"jetstream"}, nil},
		{"the log, and no views", []string{"jetstream", "keys"}, []string{"views"}},
		{"the log and the views", []string{"jetstream", "views"}, nil},
		{"the log and the mark", []string{"jetstream", "mark.json", "keys"}, nil},
		{"everything but the mark", all, nil},
	}
	for round := range rounds {
		way, from, name := ways[round%len(ways)], foreign, "foreign"
		if random.IntN(3) > 0 {
			i := random.IntN(len(older))
			from, name = older[i], fmt.Sprintf("older %d", i)
		}
		dir := t.TempDir()
		copyTree(t, current, dir)
		restore(t, dir, from, way.parts...)
		restore(t, dir, t.TempDir(), way.removed...)
		_, err := tryOpen(t, node.Config{Dir: dir})
		if !errors.Is(err, node.ErrFork) || !errors.Is(err, ledger.ErrCorrupt) {
			t.Fatalf("%s, %s: %v", name, way.name, err)
		}
		for _, told := range []string{fmt.Sprintf("revision %d", was.Revision), was.Ledger.String(), "permledger accept-fork",
			markOf(t, from).Ledger.String(), fmt.Sprintf("ends at revision %d", markOf(t, from).Revision)} {
			if !strings.Contains(err.Error(), told) {
				t.Errorf("%s, %s: %v does not tell %q", name, way.name, err, told)
			}
		}
		if round >= len(ways) {
			continue
		}
		restore(t, dir, from, "jetstream", "keys")
		restore(t, dir, t.TempDir(), "views", "mark.json", "checkpoint", "scrub.json")
		n := open(t, node.Config{Dir: dir})
		if head := n.Projector.Head(); head.Revision != markOf(t, from).Revision || head.Revision >= was.Revision && head.Ledger == was.Ledger {
			t.Errorf("control: %+v", head)
		}
		closed(t, n)
	}
}

func markOf(t *testing.T, dir string) (m events.Mark) {
	t.Helper()
	kept := readMark(t, dir)
	return events.Mark{Ledger: kept.Ledger, Revision: kept.Revision, Hash: kept.Hash}
}

// accepted finds the fork in a directory and writes down that it is accepted.
func accepted(t *testing.T, dir string) node.Fork {
	t.Helper()
	e := evidence(t, dir)
	defer e.Close()
	fork, err := e.FindFork(t.Context(), nil)
	if err == nil {
		err = e.Accept(fork, "restored on purpose")
	}
	if err != nil {
		t.Fatal(err)
	}
	return fork
}

func forks(t *testing.T, n *node.Node) (found []events.Recorded) {
	t.Helper()
	for r, err := range audit.NewTrail(n.Projector).Events(t.Context(), audit.Filter{Type: "fork.accepted"}) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, r)
	}
	return found
}

// An older log is gone on from when somebody says so; the ledger records it, and whoever followed what was given
// up is told. A crash anywhere is made up for by the next start, and the event is recorded once.
func TestAcceptFork(t *testing.T) {
	current, older := moments(t, 3)
	was, is := markOf(t, current), markOf(t, older[0])
	for name, crash := range map[string]func(t *testing.T, dir string){
		"no crash":             func(*testing.T, string) {},
		"after the first move": func(t *testing.T, dir string) { move(t, dir, "views", "views.fork-1") },
		"after the second move": func(t *testing.T, dir string) {
			move(t, dir, "views", "views.fork-1")
			move(t, dir, "mark.json", "mark.fork-1.json")
		},
		"after the event": func(t *testing.T, dir string) {
			pending, err := os.ReadFile(filepath.Join(dir, "fork.json"))
			if err != nil {
				t.Fatal(err)
			}
			closed(t, open(t, node.Config{Dir: dir}))
			if err := os.WriteFile(filepath.Join(dir, "fork.json"), pending, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			copyTree(t, current, dir)
			behind := cursorAtEnd(t, dir)
			restore(t, dir, older[0], "jetstream")
			fork := accepted(t, dir)
			if fork.Lost.Revision != was.Revision || fork.Lost.Hash != was.Hash || fork.Kept.Revision != is.Revision || fork.Kept.Hash != is.Hash ||
				fork.Common != is.Revision || fork.LostEvents != fork.Lost.Position-fork.Kept.Position || fork.Since.IsZero() || fork.Till < fork.Since {
				t.Fatalf("%+v", fork)
			}
			if _, err := tryOpen(t, node.Config{Dir: dir, Offline: true}); err == nil {
				t.Error("opened offline while a fork is to be carried out")
			}
			crash(t, dir)
			n := open(t, node.Config{Dir: dir})
			found := forks(t, n)
			if len(found) != 1 || found[0].Event != (events.ForkAccepted{Lost: fork.Lost, Kept: fork.Kept}) ||
				found[0].Reason != "restored on purpose" || found[0].Actor != n.Administrator || found[0].Revision != is.Revision+1 {
				t.Errorf("%+v", found)
			}
			createRole(t, n, "after")
			published(t, n)
			js, err := jetstream.New(n.Conn())
			if err != nil {
				t.Fatal(err)
			}
			err = consumers.Subscribe(t.Context(), js, consumers.Options{Patience: 50 * time.Millisecond},
				consumers.Func(func(context.Context, consumers.Event) error { return nil }, &behind))
			if !errors.Is(err, consumers.ErrRewound) {
				t.Errorf("a subscriber of what was given up: %v", err)
			}
			closed(t, n)
			for _, kept := range []string{"views.fork-1", "mark.fork-1.json"} {
				if _, err := os.Stat(filepath.Join(dir, kept)); err != nil {
					t.Error(err)
				}
			}
			if faults := faultsOf(t, dir); len(faults) > 0 {
				t.Errorf("%+v", faults)
			}
			if _, err := evidence(t, dir).FindFork(t.Context(), nil); !errors.Is(err, node.ErrNoFork) {
				t.Errorf("after it there is another fork: %v", err)
			}
		})
	}
}

func move(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

// cursor is where a subscriber is.
type cursor struct {
	consumers.Cursor
	begun bool
}

func (c *cursor) Load(context.Context) (consumers.Cursor, bool, error) { return c.Cursor, c.begun, nil }
func (c *cursor) Save(_ context.Context, to consumers.Cursor) error {
	c.Cursor, c.begun = to, true
	return nil
}

// cursorAtEnd is the cursor of a subscriber that has applied everything.
func cursorAtEnd(t *testing.T, dir string) cursor {
	t.Helper()
	n := open(t, node.Config{Dir: dir})
	defer closed(t, n)
	head := n.Projector.Head()
	r, err := n.Audit.Event(t.Context(), head.Position)
	if err != nil {
		t.Fatal(err)
	}
	return cursor{consumers.Event{Ledger: head.Ledger, Recorded: r}.Cursor(), true}
}

// Nothing is accepted that is no fork, and no log is gone on from that is damaged or whose key is not here.
func TestWhatIsNoForkToAccept(t *testing.T) {
	current, older := moments(t, 3)
	if _, err := evidence(t, current).FindFork(t.Context(), nil); !errors.Is(err, node.ErrNoFork) {
		t.Errorf("nothing was restored: %v", err)
	}
	damaged := t.TempDir()
	copyTree(t, current, damaged)
	restore(t, damaged, older[1], "jetstream")
	tamper(t, node.LogDir(damaged), "role-0-0", "role-0x0")
	if _, err := evidence(t, damaged).FindFork(t.Context(), nil); !errors.Is(err, events.ErrBroken) {
		t.Errorf("a damaged log: %v", err)
	}
	foreign, _ := moments(t, 1)
	keyless := t.TempDir()
	copyTree(t, current, keyless)
	restore(t, keyless, foreign, "jetstream")
	e := evidence(t, keyless)
	fork, err := e.FindFork(t.Context(), nil)
	if err != nil || fork.Common != 0 || fork.Kept.Ledger == fork.Lost.Ledger || fork.LostEvents != fork.Lost.Position {
		t.Errorf("%+v, %v", fork, err)
	}
	if err := e.Accept(fork, "x"); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("without its key: %v", err)
	}
}
