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

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// mark is the newest commit this directory is known to have held. The views remember theirs too; this file is
// for when they are thrown away and an older log is put in place: without it, both would agree on less.
type mark struct {
	Ledger   events.LedgerID `json:"ledger"`
	Revision events.Revision `json:"revision"`
	Hash     events.Hash     `json:"hash"`
}

func markFile(dir string) string { return filepath.Join(dir, "mark.json") }

func markOf(h events.Head) mark { return mark{h.Ledger, h.Revision, h.Hash} }

// readMark gives the zero mark when there is none yet.
func readMark(dir string) (m mark, err error) {
	b, err := os.ReadFile(markFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return m, fmt.Errorf("read the mark: %w", err)
	}
	return m, nil
}

// writeMark keeps the present head, if it is not the one kept last.
func (n *Node) writeMark() error {
	n.marking.Lock()
	defer n.marking.Unlock()
	now := markOf(n.Projector.Head())
	if now == n.marked {
		return nil
	}
	b, err := json.Marshal(now)
	if err == nil {
		err = WriteWhole(markFile(n.config.Dir), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the mark: %w", err)
	}
	n.marked = now
	return nil
}

// checkMark makes sure that the log holds the very commit of the mark.
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
	return nil
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
