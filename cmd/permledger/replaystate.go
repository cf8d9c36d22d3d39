package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/pebblekv"
)

// stateReplay makes the views once more from the log, in a place of its own that is thrown away, and holds the
// state after every revision against what the live ledger had there: the states that its views keep, and those
// that signed checkpoints state. It says of a ledger's answers what the chain says of its events: at each
// revision they came from this computation and no other.
type stateReplay struct {
	node        *node.Node
	checkpoints []checkpoint.Checkpoint // opened; of this ledger
}

// stateReport is what a replay of the state found.
type stateReport struct {
	revision    events.Revision // replayed up to
	state       projections.State
	live        bool // the views' own states were compared
	checkpoints int  // compared
}

func (s *stateReplay) run(ctx context.Context) (report stateReport, err error) {
	dir, err := os.MkdirTemp("", "permledger-replay-")
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := pebblekv.Open(dir, pebblekv.Options{})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	again, err := projections.Open(store, s.node.Log, node.Views()...)
	if err == nil {
		err = again.CatchUp(ctx)
	}
	if err != nil {
		return report, fmt.Errorf("replay the state: %w", err)
	}
	report.revision = again.Head().Revision
	if report.state, err = again.StateAt(ctx, report.revision); err != nil {
		return report, err
	}
	if report.live, err = s.compareLive(again); err != nil {
		return report, err
	}
	report.checkpoints, err = s.compareCheckpoints(ctx, again)
	return report, err
}

// compareLive holds the states of the views in use against those of again. Views that another version made have
// states that mean something else, and are not compared.
func (s *stateReplay) compareLive(again *projections.Projector) (compared bool, _ error) {
	at, err := projections.Diverged(s.node.Projector, again)
	switch {
	case errors.Is(err, projections.ErrSchema):
		return false, nil
	case err != nil:
		return false, err
	case at > 0:
		return true, integrityError{fmt.Errorf("replay: from revision %d on the live views are in another state than the log gives", at)}
	}
	return true, nil
}

func (s *stateReplay) compareCheckpoints(ctx context.Context, again *projections.Projector) (compared int, _ error) {
	for _, c := range s.checkpoints {
		switch {
		case c.Ledger != again.Head().Ledger:
			return compared, integrityError{fmt.Errorf("replay: the checkpoint of revision %d is of ledger %s, the log of %s", c.Revision, c.Ledger, again.Head().Ledger)}
		case c.Revision > again.Head().Revision:
			return compared, integrityError{fmt.Errorf("replay: the checkpoint is of revision %d, the log ends at %d", c.Revision, again.Head().Revision)}
		case c.Schema != projections.Schema:
			continue
		}
		state, err := again.StateAt(ctx, c.Revision)
		if err != nil {
			return compared, err
		}
		if state.Digest != c.State {
			return compared, integrityError{fmt.Errorf("replay: at revision %d the checkpoint has state %s, the log gives %s", c.Revision, c.State, state.Digest)}
		}
		compared++
	}
	return compared, nil
}

// replayState replays the state and says how that went.
func (c *cli) replayState(ctx context.Context, n *node.Node, held []checkpoint.Checkpoint) error {
	kept, err := keptCheckpoints(ctx, n)
	if err != nil {
		return err
	}
	r, err := (&stateReplay{node: n, checkpoints: append(kept, held...)}).run(ctx)
	if err != nil {
		return err
	}
	against := "the live views cannot be compared: another version made them"
	if r.live {
		against = "the live views were in the same state at every revision"
	}
	c.say("state %s at revision %d; %s; %s compared", r.state, r.revision, against, counted(r.checkpoints, "checkpoint"))
	return nil
}

// keptCheckpoints are those that the ledger itself kept. They are compared and not believed: whoever can change
// the views can change them.
func keptCheckpoints(ctx context.Context, n *node.Node) (kept []checkpoint.Checkpoint, _ error) {
	for signed, err := range n.Projector.Checkpoints(ctx) {
		if err != nil {
			return nil, err
		}
		c, err := checkpoint.Parse(signed)
		if err != nil {
			return nil, integrityError{fmt.Errorf("a kept checkpoint: %w", err)}
		}
		kept = append(kept, c)
	}
	return kept, nil
}
