package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/permledger/permledger/events"
)

// ErrNoKey: this process does not have the private half of the key that must sign the next commit. It is a
// kind of ErrUnavailable: nothing was stored.
var ErrNoKey = fmt.Errorf("the ledger's key is not here: %w", ErrUnavailable)

// Keyring has the private keys with which commits are signed. Its methods may be called from several
// goroutines.
type Keyring interface {
	// First gives the key that a ledger without one announces.
	First() (events.Signer, error)
	// Signer gives the private half of an announced key, or ErrNoKey.
	Signer(events.PublicKey) (events.Signer, error)
}

// signer gives what signs the commit after head; nil for a ledger that has no key and is given none.
func (c *Config) signer(head events.Head) (events.Signer, error) {
	switch {
	case head.Key.IsZero():
		return nil, nil
	case c.Keys == nil:
		return nil, fmt.Errorf("%w: commits after revision %d are signed by key %s", ErrNoKey, head.Revision, head.Key)
	}
	return c.Keys.Signer(head.Key)
}

// announcement gives the event by which a ledger without a key gets one, and the signer of its commit; nil when
// there is none to announce.
func (c *Config) announcement(head events.Head) (events.Event, events.Signer, error) {
	if c.Keys == nil || !head.Key.IsZero() {
		return nil, nil, nil
	}
	signer, err := c.Keys.First()
	if err != nil {
		return nil, nil, fmt.Errorf("the first key: %w", err)
	}
	return events.KeyAnnounced{Key: signer.Public()}, signer, nil
}

// announce gives a ledger that was begun without a key the one of the keyring, in a commit of its own. From
// then on an unsigned commit is none.
func (w *writer) announce(ctx context.Context) error {
	for {
		event, signer, err := w.cfg.announcement(w.views.Head())
		if event == nil || err != nil {
			return err
		}
		err = w.record(ctx, events.LedgerID{}, signer, event)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := w.catchUp(ctx); err != nil { // somebody else's commit may have announced one
			return err
		}
	}
}
