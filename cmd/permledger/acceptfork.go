package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
)

// forkAnswer says what going on from a log gives up.
type forkAnswer struct {
	Accepted   bool            `json:"accepted"`
	Lost       events.Mark     `json:"lost"`   // how far the ledger had got
	Kept       events.Mark     `json:"kept"`   // how far the log reaches
	Common     events.Revision `json:"common"` // the last revision both have; 0 also when nothing says
	LostEvents events.Position `json:"lost_events,omitempty"`
	Since      events.Instant  `json:"since,omitzero"`
	Until      events.Instant  `json:"until,omitzero"`
}

func (c *cli) acceptForkVerb() *cobra.Command {
	var where nodeFlags
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "accept-fork --data DIR --reason TEXT",
		Short: "Go on from a log that is not the one the ledger had: an older backup, a cut tail",
		Long: `Say what is given up by going on from the log that is in place, and, with --yes, go on from it. The views and the
mark of what is given up are moved aside and kept, the ledger records that it happened (fork.accepted, with how far
it had got, how far the log reaches, and the reason), and the feed is made anew. Subscribers that were told of what
is given up stop and say so; checkpoints of it, kept elsewhere, will show it for ever.

Not for a log that is damaged: "permledger repair" makes that anew, and gives up nothing.`,
		Example: `  permledger accept-fork --data ledger-data --reason 'backup of Monday restored, see INC-7'
  permledger accept-fork --data ledger-data --reason 'backup of Monday restored, see INC-7' --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.acceptFork(cmd.Context(), where, reason, yes)
		},
	}
	where.add(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever reads the ledger later")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	must(cmd.MarkFlagRequired("reason"))
	return cmd
}

func (c *cli) acceptFork(ctx context.Context, where nodeFlags, reason string, yes bool) error {
	if reason == "" {
		return usagef("--reason must not be empty")
	}
	pending, err := node.PendingFork(where.data)
	if err != nil {
		return err
	}
	if pending {
		c.say("a fork was accepted already, and is carried out now")
		return c.goOn(ctx, where)
	}
	fork, err := c.findFork(ctx, where, reason, yes)
	if err != nil {
		return err
	}
	a := forkAnswer{
		Accepted: yes, Lost: fork.Lost, Kept: fork.Kept, Common: fork.Common,
		LostEvents: fork.LostEvents, Since: fork.Since, Until: fork.Till,
	}
	if yes {
		if err := c.goOn(ctx, where); err != nil {
			return err
		}
	}
	err = c.print(answer{value: a, text: func(w io.Writer) { forkText(w, a) }})
	if err == nil && !yes {
		c.say("nothing was done; --yes does it")
		err = errNo
	}
	return err
}

// findFork finds what is given up, and writes down that it is to be.
func (c *cli) findFork(ctx context.Context, where nodeFlags, reason string, yes bool) (_ node.Fork, err error) {
	e, err := c.openEvidence(ctx, where)
	if err != nil {
		return node.Fork{}, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	b := c.bar("verifying the log", int64(e.Head().Revision), progress.UnitsDefault)
	fork, err := e.FindFork(ctx, func(done events.Head) { b.set(int64(done.Revision)) })
	b.done(err)
	if errors.Is(err, node.ErrNoFork) {
		return fork, usageError{err}
	}
	if err == nil && yes {
		err = e.Accept(fork, reason)
	}
	return fork, err
}

// goOn opens the ledger, which carries out what was accepted.
func (c *cli) goOn(ctx context.Context, where nodeFlags) error {
	cfg := c.nodeConfig(where)
	cfg.ScrubInterval = -1
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return n.Close()
}

func forkText(w io.Writer, a forkAnswer) {
	fmt.Fprintf(w, "the ledger had    revision %d of ledger %s, hash %s\n", a.Lost.Revision, a.Lost.Ledger, a.Lost.Hash)
	fmt.Fprintf(w, "the log ends at   revision %d of ledger %s, hash %s\n", a.Kept.Revision, a.Kept.Ledger, a.Kept.Hash)
	verb := "would be given up"
	if a.Accepted {
		verb = "are given up"
	}
	if a.LostEvents == 0 {
		fmt.Fprintf(w, "the views cannot say what comes after the last revision both have; at most revisions 1 to %d %s\n", a.Lost.Revision, verb)
		return
	}
	fmt.Fprintf(w, "revisions %d to %d %s: %s, recorded from %s until %s\n", a.Common+1, a.Lost.Revision, verb, counted(a.LostEvents, "event"), a.Since, a.Until)
	if a.Kept.Revision > a.Common {
		fmt.Fprintf(w, "revisions %d to %d of the log take their place\n", a.Common+1, a.Kept.Revision)
	}
}
