package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/pebblekv"
)

// Replace says when to begin the views anew.
type Replace int

const (
	ReplaceNever   Replace = iota
	ReplaceDamaged         // when they do not open
	ReplaceAll
)

var errAsked = errors.New("it was asked for")

// openStore opens the store of the views and the projector on it. Damage that the store finds later, in a block
// that nobody read until then, is an error of whoever reads it.
func (n *Node) openStore(dir string) error {
	if n.config.ReplaceViews == ReplaceAll {
		if err := n.moveAside(dir, errAsked); err != nil {
			return err
		}
	}
	err := n.tryStore(dir)
	if n.config.ReplaceViews == ReplaceDamaged && errors.Is(err, pebblekv.ErrDamaged) {
		if err := n.moveAside(dir, err); err != nil {
			return err
		}
		err = n.tryStore(dir)
	}
	if err != nil {
		return fmt.Errorf("views in %s: %w", dir, err)
	}
	n.onClose(n.store.Close)
	return nil
}

func (n *Node) tryStore(dir string) error {
	store, err := pebblekv.Open(dir, pebblekv.Options{CacheBytes: n.config.CacheBytes})
	if err != nil {
		return err
	}
	if n.Projector, err = projections.Open(store, n.source, Views()...); err != nil {
		return errors.Join(err, store.Close())
	}
	n.store = store
	return nil
}

// moveAside keeps the views under another name, for whoever wants to find out what happened to them. It is one
// rename: after a crash they are in the one place or in the other, and what is in no place is made from the log.
func (n *Node) moveAside(dir string, why error) error {
	if !exists(dir) {
		return nil
	}
	in, name := filepath.Split(dir)
	aside := filepath.Join(in, unused(in, name, "damaged"))
	if err := rename(dir, aside); err != nil {
		return fmt.Errorf("move the views aside: %w", err)
	}
	n.Replaced, n.Aside = why, aside
	return nil
}

// ReadViews reads every row of the views, and so every block of their files: damage that nobody met yet is met.
func (n *Node) ReadViews(ctx context.Context) error {
	snap := n.store.NewSnapshot()
	defer snap.Close()
	for _, err := range snap.Scan(nil) {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// advise says what helps against damage of the views.
func (n *Node) advise(err error) error {
	if !errors.Is(err, pebblekv.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: stop the ledger and run permledger rebuild --data %s, which makes the views anew from the log", err, n.config.Dir)
}
