package node

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// mark is the newest commit this directory is known to have held. The views remember theirs too; this file is
// for when they are thrown away and an older log is put in place: without it, both would agree on less.
type mark struct {
	events.Mark
	At events.Instant `json:"at,omitzero"` // what time it was: it is never earlier again
}

func markFile(dir string) string { return filepath.Join(dir, "mark.json") }

// readMark gives the zero mark when there is none yet.
func readMark(dir string) (m mark, err error) {
	b, err := os.ReadFile(markFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("read the mark: %w", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return mark{}, fmt.Errorf("%w: %s is damaged (%w); the views and the checkpoint remember the same, so it may be put aside",
			ledger.ErrCorrupt, markFile(dir), err)
	}
	return m, nil
}

// writeMark keeps the present head, tree and time, if they are not the ones kept last. Of views that are halted
// there is nothing new to keep.
func (n *Node) writeMark() error {
	n.marking.Lock()
	defer n.marking.Unlock()
	if n.Projector.Halted() != nil {
		return nil
	}
	now, err := n.present()
	if err == nil && now == n.marked {
		return nil
	}
	var b []byte
	if err == nil {
		b, err = json.Marshal(now)
	}
	if err == nil {
		err = durable.WriteFile(markFile(n.config.Dir), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the mark: %w", err)
	}
	n.marked = now
	return nil
}

// present is the mark of the views as they are.
func (n *Node) present() (mark, error) {
	tree, err := n.Audit.Tree(context.Background())
	if err != nil {
		return mark{}, err
	}
	defer tree.Close()
	return mark{tree.Mark(), events.At(n.clock.now())}, nil
}

// checkMark makes sure that the log holds the very commit of the mark, and that the tree had the root of the mark
// when it was as large.
func (n *Node) checkMark(ctx context.Context, m mark) error {
	if m.Revision == 0 {
		return nil
	}
	if head := n.Projector.Head(); head.Revision < m.Revision {
		return fmt.Errorf("%w: the log ends at revision %d, it had %d", ledger.ErrCorrupt, head.Revision, m.Revision)
	}
	stored, err := n.Audit.Commit(ctx, m.Revision)
	if err != nil {
		return err
	}
	if hash := events.Hash(sha256.Sum256(stored.Bytes)); hash != m.Hash {
		return fmt.Errorf("%w: revision %d has hash %s, it had %s", ledger.ErrCorrupt, m.Revision, hash, m.Hash)
	}
	if m.Root == (events.Hash{}) { // a mark of an earlier version
		return nil
	}
	tree, err := n.Audit.Tree(ctx)
	if err != nil {
		return err
	}
	defer tree.Close()
	root, err := tree.RootAt(m.Position)
	if err == nil && root != m.Root {
		err = fmt.Errorf("%w: the tree of %d events has root %s, it had %s", ledger.ErrCorrupt, m.Position, root, m.Root)
	}
	return err
}

// markEvery is how often the mark follows the head. What came after it is still known to the views.
const markEvery = 5 * time.Second

func (n *Node) keepMark(ctx context.Context) {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := n.writeMark(); err != nil {
			n.config.Logger.Error("the mark stays behind", "error", err)
		}
	}
}
