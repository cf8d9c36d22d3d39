package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// until waits for something that comes by itself.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long until " + what)
		}
	}
}

// verified opens the newest checkpoint with the ledger's keys.
func verified(t *testing.T, n *node.Node, signed []byte) checkpoint.Checkpoint {
	t.Helper()
	keys, err := node.Keys(t.Context(), n.Audit)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := checkpoint.Open(signed, keys)
	if err != nil {
		t.Fatal(err)
	}
	return cp
}

// Signed when it opens, after so many events, when it closes, and by the way when asked.
func TestCheckpointEveryNEvents(t *testing.T) {
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir, CheckpointEvents: 5, CheckpointInterval: time.Hour})
	first := verified(t, n, n.Checkpoints.Latest())
	if first.Size != n.Projector.Head().Position || first.Head != n.Projector.Head().Hash {
		t.Errorf("at the start: %+v", first)
	}
	for i := range 4 {
		createRole(t, n, events.Role(fmt.Sprint(i)))
	}
	if now := verified(t, n, n.Checkpoints.Latest()); now != first {
		t.Errorf("four events are enough: %+v", now)
	}
	createRole(t, n, "fifth")
	until(t, "five events are signed", func() bool { return verified(t, n, n.Checkpoints.Latest()).Size == first.Size+5 })

	createRole(t, n, "sixth")
	signed, err := n.Checkpoints.Sign(t.Context())
	if err != nil || !bytes.Equal(signed, n.Checkpoints.Latest()) || verified(t, n, signed).Size != first.Size+6 {
		t.Errorf("asked for: %q, %v", signed, err)
	}
	state, err := n.Projector.StateAt(t.Context(), n.Projector.Head().Revision)
	if cp := verified(t, n, signed); err != nil || cp.State != state.Digest || cp.Schema != state.Schema {
		t.Errorf("it says state %d:%s, the views have %s, %v", cp.Schema, cp.State, state, err)
	}
	createRole(t, n, "seventh")
	head := n.Projector.Head()
	closed(t, n)
	filed, err := os.ReadFile(node.CheckpointFile(dir))
	if cp, parsed := checkpoint.Parse(filed); err != nil || parsed != nil || cp.Head != head.Hash {
		t.Errorf("after closing the file says %q, %v, the head was %+v", filed, err, head)
	}
}

// While nothing happens it says so, and what is kept does not pile up.
func TestCheckpointsOfAnIdleLedger(t *testing.T) {
	n := open(t, node.Config{Memory: true, CheckpointInterval: 10 * time.Millisecond})
	first := verified(t, n, n.Checkpoints.Latest())
	seen := map[events.Instant]bool{}
	until(t, "it has said four times that nothing happened", func() bool {
		seen[verified(t, n, n.Checkpoints.Latest()).At] = true
		return len(seen) > 4
	})
	kept := 0
	for signed, err := range n.Checkpoints.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		kept++
		if cp := verified(t, n, signed); cp.Size != first.Size || kept == 1 && cp != first {
			t.Errorf("kept %+v, the first was %+v", cp, first)
		}
	}
	if kept != 2 {
		t.Errorf("%d are kept of one size, want the first and the latest", kept)
	}
}

// The same bytes reach those who read the file, listen on NATS and ask.
func TestCheckpointIsPublished(t *testing.T) {
	dir := t.TempDir()
	n := open(t, node.Config{Dir: dir, NATSListen: "127.0.0.1:0", CheckpointInterval: time.Hour})
	conn, err := nats.Connect(n.Server.ClientURL(), nats.UserInfo(n.ReaderUser, n.ReaderPassword))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard, err := conn.SubscribeSync(node.CheckpointSubject)
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	createRole(t, n, "operate")
	signed, err := n.Checkpoints.Sign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, err := heard.NextMsg(time.Minute)
	if err != nil || !bytes.Equal(m.Data, signed) {
		t.Errorf("heard %+v, %v", m, err)
	}
	filed, err := os.ReadFile(node.CheckpointFile(dir))
	if err != nil || !bytes.Equal(filed, signed) || !bytes.Equal(n.Checkpoints.Latest(), signed) {
		t.Errorf("the file has %q, %v", filed, err)
	}
}

// What was signed is held against the log at the next start: the one in the store and the one in the file.
func TestCheckpointsAreMarks(t *testing.T) {
	dir, older := t.TempDir(), t.TempDir()
	n := open(t, node.Config{Dir: dir, CheckpointInterval: time.Hour})
	createRole(t, n, "first")
	closed(t, n)
	copied(t, node.LogDir(dir), older)
	firstSigned := read(t, node.CheckpointFile(dir))
	n = open(t, node.Config{Dir: dir, CheckpointInterval: time.Hour})
	createRole(t, n, "second")
	closed(t, n)
	newer, signed := t.TempDir(), read(t, node.CheckpointFile(dir))
	copied(t, node.LogDir(dir), newer)

	refused := func(what string) {
		t.Helper()
		if _, err := tryOpen(t, node.Config{Dir: dir}); !errors.Is(err, ledger.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
	// Views and mark are gone, and the log is an older one: only the signed file remembers.
	for _, name := range []string{"views", "mark.json", "jetstream"} {
		remove(t, filepath.Join(dir, name))
	}
	copied(t, older, node.LogDir(dir))
	refused("an older log with a newer checkpoint")

	// The control: with a checkpoint that the older log agrees with it would open, so it is the file that refuses.
	trial := t.TempDir()
	copied(t, dir, trial)
	write(t, node.CheckpointFile(trial), firstSigned)
	remove(t, filepath.Join(trial, "views"))
	closed(t, open(t, node.Config{Dir: trial}))

	// The right log again: a checkpoint that nobody with the key signed is refused.
	remove(t, filepath.Join(dir, "views"))
	remove(t, node.LogDir(dir))
	copied(t, newer, node.LogDir(dir))
	for what, forged := range map[string][]byte{
		"another size":     bytes.Replace(signed, []byte("\n6\n"), []byte("\n7\n"), 1),
		"no signature":     signed[:bytes.Index(signed, []byte("\n\n"))+2],
		"cut off":          signed[:len(signed)/2],
		"something else":   []byte("checkpoint"),
		"another ledger's": otherCheckpoint(t),
	} {
		if bytes.Equal(forged, signed) {
			t.Fatalf("%s: nothing was changed in %q", what, signed)
		}
		write(t, node.CheckpointFile(dir), forged)
		refused(what)
	}
	// And it heals: the file put back is taken into the store, which lost its own.
	write(t, node.CheckpointFile(dir), signed)
	n = open(t, node.Config{Dir: dir, CheckpointInterval: time.Hour})
	for kept, err := range n.Checkpoints.All(t.Context()) {
		if err != nil || !bytes.Equal(kept, signed) {
			t.Errorf("the first kept is %q, %v", kept, err)
		}
		break
	}
	if err := n.Ready(); err != nil {
		t.Error(err)
	}
}

func otherCheckpoint(t *testing.T) []byte {
	t.Helper()
	return open(t, node.Config{Memory: true}).Checkpoints.Latest()
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// copied copies a directory into another, which may be there.
func copied(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.Walk(to, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
