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

// repairAnswer says what a repair did, or would do.
type repairAnswer struct {
	Done           bool            `json:"done"`
	Nothing        bool            `json:"nothing"` // there was nothing to repair
	Revision       events.Revision `json:"revision"`
	Head           events.Hash     `json:"head_hash"`
	Log            string          `json:"log,omitempty"`   // why the log is made anew
	Views          string          `json:"views,omitempty"` // why the views are
	ForeignFrom    events.Revision `json:"foreign_from,omitempty"`
	ForeignTo      events.Revision `json:"foreign_to,omitempty"`
	JournalEntries uint64          `json:"journal_entries"`
	JournalLost    uint64          `json:"journal_lost"`
	Kept           []string        `json:"kept"` // where what was damaged is now
}

func (c *cli) repairVerb() *cobra.Command {
	var where nodeFlags
	var dry bool
	cmd := &cobra.Command{
		Use:   "repair --data DIR",
		Short: "Make a damaged log anew from the archive, or the archive from the log",
		Long: `Take for each revision the bytes of the log if they verify in the chain, or else those that the archive keeps; and
make the side that is damaged anew in a new place, read it back whole, and put it in place of the damaged one, which
is kept beside it. It stops, and changes nothing, at a revision that neither side has.

Messages at the end of the log that are no commits of the ledger (published past it) are left out. Entries of the
journal are copied as far as they can be read, and it says how many are lost: those idempotency keys may be used
again. The feed is made again by the next start. With --nats-url it writes into a NATS whose stream LEDGER is not
there; one that is damaged its operator has to copy and delete first.

A repair that was broken off is finished by running it again; until then nothing serves the directory.`,
		Example: `  permledger repair --data ledger-data --dry-run
  permledger repair --data ledger-data`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.repair(cmd.Context(), where, dry)
		},
	}
	where.add(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	return cmd
}

func (c *cli) repair(ctx context.Context, where nodeFlags, dry bool) (err error) {
	if err := where.check(); err != nil {
		return err
	}
	if !dry {
		finished, err := node.FinishRepair(where.data)
		if err != nil {
			return err
		}
		if finished {
			c.say("a repair that was broken off is finished")
		}
	}
	e, err := c.openEvidence(ctx, where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	b := c.bar("looking", int64(e.Head().Revision), progress.UnitsDefault)
	plan, err := e.PlanRepair(ctx, func(done events.Head) { b.set(int64(done.Revision)) })
	b.done(err)
	for _, f := range plan.Report.Faults {
		c.say("%s", oneLine(f.String()))
	}
	if err != nil {
		return err
	}
	a := repairAnswer{
		Nothing: plan.Nothing(), Revision: plan.Head.Revision, Head: plan.Head.Hash, Log: plan.Log, Views: plan.Views,
		ForeignFrom: plan.ForeignFrom, ForeignTo: plan.ForeignTo, JournalEntries: plan.JournalEntries, Kept: []string{},
		JournalLost: plan.JournalLost,
	}
	if !plan.Nothing() && !dry {
		if a.Kept, err = c.carry(ctx, e, &plan); err != nil {
			return err
		}
		a.Done = true
	}
	return c.print(answer{value: a, text: func(w io.Writer) { repairText(w, a) }})
}

func (c *cli) carry(ctx context.Context, e *node.Evidence, plan *node.Repair) (kept []string, err error) {
	what, b := "", &bar{}
	kept, err = e.Carry(ctx, plan, func(doing string, done events.Head) {
		if doing != what {
			b.done(nil)
			what, b = doing, c.bar(doing, int64(plan.Head.Revision), progress.UnitsDefault)
		}
		b.set(int64(done.Revision))
	})
	b.done(err)
	return kept, err
}

func repairText(w io.Writer, a repairAnswer) {
	if a.Nothing {
		fmt.Fprintf(w, "nothing to repair: log, archive and tree agree on %s\n", counted(a.Revision, "revision"))
		return
	}
	verb := "to be made anew"
	if a.Done {
		verb = "made anew, and verified"
	}
	if a.Log != "" {
		fmt.Fprintf(w, "the log, %s up to revision %d: %s\n", verb, a.Revision, oneLine(a.Log))
	}
	if a.ForeignFrom > 0 {
		fmt.Fprintf(w, "  without revisions %d to %d, which are no commits of this ledger\n", a.ForeignFrom, a.ForeignTo)
	}
	if a.Log != "" {
		fmt.Fprintf(w, "  with %s of the journal", counted(a.JournalEntries, "entry"))
		if a.JournalLost > 0 {
			fmt.Fprintf(w, ", %d of which cannot be read: their idempotency keys may be used again", a.JournalLost)
		}
		fmt.Fprintln(w)
	}
	if a.Views != "" {
		fmt.Fprintf(w, "the views, %s up to revision %d: %s\n", verb, a.Revision, oneLine(a.Views))
	}
	for _, k := range a.Kept {
		fmt.Fprintf(w, "  what was damaged is in %s\n", k)
	}
}
