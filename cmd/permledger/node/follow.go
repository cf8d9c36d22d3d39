package node

import (
	"context"
	"time"

	"github.com/permledger/permledger/events"
)

const (
	ownCommit  = 100 * time.Millisecond // how long our own writer may take to apply what it stored
	followPace = time.Second            // between tries while the log cannot be read
)

// follow applies what other writers of the same log commit. Our own commits pass by it: the ledger applies
// them itself, and faster. A fault that halts the projector ends it; any other is tried again.
func (n *Node) follow(ctx context.Context) {
	for ctx.Err() == nil && n.Projector.Halted() == nil {
		after := n.Projector.Head().Revision
		err := n.Log.Wait(ctx, after)
		if err == nil && !n.appliedSoon(ctx, after+1) {
			err = n.Projector.CatchUp(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		n.setFollowing(err)
		if err != nil {
			n.config.Logger.Error("the views do not follow the log", "error", err)
			select {
			case <-time.After(followPace):
			case <-ctx.Done():
			}
		}
	}
}

func (n *Node) appliedSoon(ctx context.Context, revision events.Revision) bool {
	ctx, cancel := context.WithTimeout(ctx, ownCommit)
	defer cancel()
	return n.Projector.Wait(ctx, revision) == nil
}

func (n *Node) setFollowing(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.following = err
}
