package node

import (
	"context"
	"errors"
	"time"

	"github.com/permledger/permledger/ledger"
)

// keepChecking compares the streams of the log with what they must be: they are there, every field of their
// configuration is as pinned, nothing is deleted, none is shorter than it was. A log that is not what it was
// halts the projector, so that no question is answered from views nobody can vouch for any more, and with it
// the ledger, which decides on them. That the check cannot be made says nothing about the log: the node is not
// ready, and tries again.
func (n *Node) keepChecking(ctx context.Context) {
	tick := time.NewTicker(n.config.CheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := n.Server.Check(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ledger.ErrCorrupt):
			n.config.Logger.Error("the log is not what it was", "error", n.Projector.Halt(err))
			return
		case err != nil:
			n.config.Logger.Warn("the log cannot be checked", "error", err)
		}
		n.mu.Lock()
		n.unchecked = err
		n.mu.Unlock()
	}
}
