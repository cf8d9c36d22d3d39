package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/permledger/permledger/cmd/permledger/personal"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
)

// PersonalDir is where the personal keys lie under a data directory.
func PersonalDir(dir string) string { return filepath.Join(dir, "personal") }

// openPersonal opens the keys and carries out what erasures of the trail are still to do: a process that ended
// between an erasure and the destruction of its key, and key files that came back in an older copy. Only keys that
// an erasure names are destroyed: a principal described again has another one.
//
// A key that cannot be destroyed keeps nobody from asking questions: it is said in the log, and tried again.
func (n *Node) openPersonal(ctx context.Context) (err error) {
	dir := ""
	if !n.config.Memory {
		dir = PersonalDir(n.config.Dir)
	}
	if n.Personal, err = personal.Open(dir); err != nil {
		return err
	}
	if err := n.finishErasures(ctx); err != nil {
		n.config.Logger.Error("erased personal keys are still there", "error", err)
	}
	return nil
}

// finishErasures destroys the keys of every erasure after the last one that was carried out.
func (n *Node) finishErasures(ctx context.Context) error {
	head := n.Audit.Head()
	if head.Position <= n.erased {
		return nil
	}
	f := audit.Filter{Type: events.Name(events.PrincipalErased{}), From: n.erased + 1, To: head.Position}
	var failed []error
	for r, err := range n.Audit.Events(ctx, f) {
		if err != nil {
			return fmt.Errorf("look for erasures: %w", err)
		}
		e, ok := r.Event.(events.PrincipalErased)
		if !ok {
			continue
		}
		destroyed, err := n.Personal.Destroy(r.Tenant, e.Principal, e.Keys...)
		if err != nil {
			failed = append(failed, fmt.Errorf("erasure at revision %d: %w", r.Revision, err))
		}
		if destroyed {
			n.config.Logger.Info("destroyed an erased personal key", "principal", e.Principal.String(), "revision", r.Revision)
		}
	}
	if len(failed) == 0 {
		n.erased = head.Position
	}
	return errors.Join(failed...)
}

// erasePace is how long the agent waits between looks.
const erasePace = time.Second

// erase carries out erasures that nobody here answers for: those whose outcome the caller did not wait for, those
// another node recorded, and those that failed before.
func (n *Node) erase(ctx context.Context) {
	for {
		changed := n.Projector.Changed() // asked for before looking: what comes after wakes us
		err := n.finishErasures(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			n.config.Logger.Error("erased personal keys are still there", "error", err)
			changed = nil // nothing to wait for but time
		}
		select {
		case <-time.After(erasePace):
		case <-ctx.Done():
			return
		}
		if changed == nil {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
