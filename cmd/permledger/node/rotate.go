package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// RotateKey replaces the key of the ledger: from the revision of the receipt on, the new one signs. meta says who
// wants it so and why; an idempotency key in it is an error, because the request would not be the same again.
//
// The private half must be durable before the log names the public one, and the old one must be there until the log
// is known to name another. So there are two for a while, and a crash
//
//   - after the new one is made: the log does not name it. It signs nothing, and the next start forgets it, unless
//     the directory is shared with others, who may be about to announce theirs.
//   - after the commit is stored: the log names the new one, which is there. The next start forgets the old one.
//   - after the old one is forgotten: nothing is left to do.
//
// When the outcome is unknown both stay: the log will say which signs, and whichever it is is here.
func (n *Node) RotateKey(ctx context.Context, meta events.Meta) (ledger.Receipt, error) {
	if meta.Key != "" {
		return ledger.Receipt{}, events.Invalid("idempotency key", meta.Key, "is not taken for a new key, which is another one each time")
	}
	n.rotating.Lock()
	defer n.rotating.Unlock()
	made, err := n.keys.Make()
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	receipt, err := n.Ledger.Submit(ctx, ledger.Request{
		Tenant: events.DefaultTenant, Meta: meta, Commands: []ledger.Command{ledger.RotateKey{Key: made.Public()}},
	})
	switch {
	case errors.Is(err, ledger.ErrUnknownOutcome), errors.Is(err, ledger.ErrCorrupt):
		return receipt, err
	case err != nil: // nothing was recorded
		return receipt, errors.Join(err, n.keys.Forget(made.Public()))
	}
	// It is so from here on, whatever else fails.
	if err := n.forgetReplaced(ctx); err != nil {
		n.config.Logger.Error("a key that was replaced is still there", "error", err)
	}
	if _, err := n.Checkpoints.Sign(ctx); err != nil {
		n.config.Logger.Error("no checkpoint was signed with the new key", "error", err)
	}
	return receipt, nil
}

// forgetReplaced forgets the private keys that were announced and are not in use any more.
func (n *Node) forgetReplaced(ctx context.Context) error {
	var replaced []events.PublicKey
	for k, err := range announced(ctx, n.Audit) {
		if err != nil {
			return err
		}
		if k.key != n.Projector.Head().Key {
			replaced = append(replaced, k.key)
		}
	}
	return n.keys.Forget(replaced...)
}

// settleKeys forgets at the start what a crash left behind.
func (n *Node) settleKeys(ctx context.Context) error {
	if n.config.KeysDir == "" {
		return n.keys.Keep(n.Projector.Head().Key)
	}
	return n.forgetReplaced(ctx)
}

// announcedKey is a key and the commit that announced it.
type announcedKey struct {
	key events.PublicKey
	at  events.Revision
}

// announced yields the keys of the ledger in the order in which they were announced.
func announced(ctx context.Context, trail *audit.Trail) func(func(announcedKey, error) bool) {
	return func(yield func(announcedKey, error) bool) {
		for r, err := range trail.Events(ctx, audit.Filter{Type: events.Name(events.KeyAnnounced{})}) {
			e, ok := r.Event.(events.KeyAnnounced)
			if err == nil && !ok {
				err = fmt.Errorf("%w: position=%d announces no key", events.ErrMalformed, r.Position)
			}
			if err != nil {
				yield(announcedKey{}, fmt.Errorf("list the keys: %w", err))
				return
			}
			if !yield(announcedKey{e.Key, r.Revision}, nil) {
				return
			}
		}
	}
}

// Keys are the keys of the ledger, each with the revisions whose checkpoints it signs, oldest first. One is valid
// from the revision that announces it, also in a ledger that had none before.
func Keys(ctx context.Context, trail *audit.Trail) (checkpoint.Keys, error) {
	ledger := trail.Head().Ledger
	var keys checkpoint.Keys
	for k, err := range announced(ctx, trail) {
		if err != nil {
			return nil, err
		}
		if last := len(keys) - 1; last >= 0 && keys[last].From == k.at {
			keys = keys[:last] // of two in one commit the second counts
		}
		if last := len(keys) - 1; last >= 0 {
			keys[last].Until = k.at
		}
		keys = append(keys, checkpoint.NewKey(ledger, k.key, k.at, 0))
	}
	return keys, nil
}
