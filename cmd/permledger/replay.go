package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

func (c *cli) replayVerb() *cobra.Command {
	var where nodeFlags
	var from, to uint64
	cmd := &cobra.Command{
		Use:   "replay --data DIR",
		Short: "Print every event from the log itself, verifying its chain; exit 6 on a fault",
		Long: `Print every event in order from the log itself, of every tenant, without a server. Each commit must be the
very next one, hold the hash of the one before, and hash to what the views know; and the log must not end
before the views do. The first fault ends the replay with exit code 6: what was printed before it is whole.`,
		Example: `  permledger replay --data ledger-data -o jsonl
  permledger replay --data ledger-data --from 40 --to 41`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if to != 0 && to < from {
				return usagef("--to %d is before --from %d", to, from)
			}
			n, err := c.openOffline(cmd.Context(), where, node.ReplaceNever)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, n.Close()) }()
			l := c.printer().listing(eventHeader, false)
			r := &replay{log: n.Log, known: n.Projector, from: events.Revision(max(from, 1)), to: events.Revision(to)}
			err = r.run(cmd.Context(), func(e events.Recorded) error {
				event := api.Event{Recorded: e}
				return l.add(event, eventCells(event)...)
			})
			if err != nil {
				return err
			}
			c.say("revisions %d to %d: %d events, every commit follows the one before it; head hash %s", r.from, r.head.Revision, r.events, r.head.Hash)
			return l.close()
		},
	}
	where.add(cmd)
	cmd.Flags().Uint64Var(&from, "from", 1, "the first revision")
	cmd.Flags().Uint64Var(&to, "to", 0, "the last revision; default the last of the log")
	return cmd
}

// replay reads a part of the log and believes nothing of it.
type replay struct {
	log   ledger.Log
	known interface{ Head() events.Head }
	from  events.Revision
	to    events.Revision // 0: the last

	head   events.Head
	events int
}

func (r *replay) run(ctx context.Context, each func(events.Recorded) error) error {
	last, err := r.log.Last(ctx)
	if err != nil {
		return err
	}
	if r.to == 0 {
		r.to = last
	}
	if r.from > last || r.to > last {
		return usagef("the log ends at revision %d", last)
	}
	// The commit before the first one printed is read, too: it says what the first one must follow.
	for stored, err := range r.log.Read(ctx, max(r.from, 2)-1) {
		if err != nil {
			return err
		}
		if err := r.commit(stored, each); err != nil {
			return fmt.Errorf("replay revision=%d: %w", stored.Revision, err)
		}
		if stored.Revision >= r.to {
			break
		}
	}
	if r.head.Revision != r.to {
		return integrityError{fmt.Errorf("replay: the log gave nothing after revision %d", r.head.Revision)}
	}
	if known := r.known.Head(); known.Revision == r.head.Revision && known.Hash != r.head.Hash {
		return integrityError{fmt.Errorf("replay: revision %d has hash %s, the views know it with %s", known.Revision, r.head.Hash, known.Hash)}
	}
	return nil
}

func (r *replay) commit(stored events.Stored, each func(events.Recorded) error) error {
	c, err := events.DecodeCommit(stored.Bytes)
	if err != nil {
		return err
	}
	if c.Revision != stored.Revision {
		return integrityError{fmt.Errorf("the commit says it is revision %d", c.Revision)}
	}
	if r.head.Revision > 0 || c.Revision == 1 {
		if err := r.head.Follows(c); err != nil {
			return err
		}
	}
	r.head = c.Head()
	if c.Revision < r.from {
		return nil
	}
	for _, e := range c.Events {
		if err := each(e); err != nil {
			return err
		}
		r.events++
	}
	return nil
}
