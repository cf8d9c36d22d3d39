package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/cmd/permledger/server"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

func (c *cli) verifyVerb() *cobra.Command {
	var where nodeFlags
	var held heldFlags
	cmd := &cobra.Command{
		Use:   "verify [--data DIR]",
		Short: "Hold the log against the archive against the tree; exit 6 on a fault",
		Long: `Walk the whole log against the archive and the audit tree: chain, hashes, signatures, positions, every stored
hash. For each side that is damaged it names the first revision and says how much is. With --data it reads the
data itself, while nobody serves it; without, it asks the server to look, and prints what that says.

Somebody with the disk and the key of the ledger can write all of it anew, and it is whole in itself. What shows
that is a checkpoint kept elsewhere: --checkpoint FILE, verified with --key, the ledger's verifier key or a file of
them, which must come from elsewhere, too.

With --data the first key is enough: the one that replaced it is believed where it was announced in a commit that
the key before it signed. A list that says which key is in force at which revisions (permledger key list) goes before
that. Without --data the key that signed each checkpoint must be given.`,
		Example: `  permledger verify --data ledger-data
  permledger verify --data ledger-data --checkpoint 2026-03-01.checkpoint --key ledger.keys`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := c.verify(cmd.Context(), where, held)
			if err != nil {
				return err
			}
			return errors.Join(c.printVerified(report), verdict(report))
		},
	}
	where.addTo(cmd)
	held.add(cmd.Flags())
	return cmd
}

func (c *cli) verify(ctx context.Context, where nodeFlags, held heldFlags) (api.VerifyReport, error) {
	if err := where.check(); err != nil {
		return api.VerifyReport{}, err
	}
	if where.data == "" && (where.natsURL != "" || where.keys != "") {
		return api.VerifyReport{}, usagef("--nats-url and --keys need --data: without it the server is asked to look")
	}
	if where.data != "" {
		known, trusted, err := held.unopened()
		if err != nil {
			return api.VerifyReport{}, err
		}
		return c.verifyData(ctx, where, known, trusted)
	}
	if len(held.keys) > 0 && len(held.files) == 0 {
		return api.VerifyReport{}, usagef("--key without --checkpoint needs --data: the server's own word about its keys shows nothing")
	}
	opened, _, err := held.read()
	if err != nil {
		return api.VerifyReport{}, err
	}
	var known []audit.Known
	for i, c := range opened {
		known = append(known, audit.Known{Name: held.files[i], Mark: c.Mark()})
	}
	return c.askVerify(ctx, known)
}

func (c *cli) verifyData(ctx context.Context, where nodeFlags, known []audit.Known, trusted checkpoint.Keys) (_ api.VerifyReport, err error) {
	e, err := c.openEvidence(ctx, where)
	if err != nil {
		return api.VerifyReport{}, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	v := e.Verification()
	if v.Source == nil && v.Views == nil {
		return api.VerifyReport{}, integrityError{fmt.Errorf("there is neither a log (%w) nor an archive (%w)", e.LogErr, e.ViewsErr)}
	}
	v.Known = append(v.Known, known...)
	v.Trusted = trusted
	last := e.Head().Revision
	if e.Log != nil {
		if inLog, err := e.Log.Last(ctx); err == nil {
			last = max(last, inLog)
		}
	}
	b := c.bar("verifying", int64(last), progress.UnitsDefault)
	v.Progress = func(done events.Head) { b.set(int64(done.Revision)) }
	report, err := audit.Verify(ctx, v)
	b.done(err)
	if err != nil {
		return api.VerifyReport{}, err
	}
	store, err := e.CheckStore(ctx)
	if err != nil && report.Whole() { // what was found is said in any case
		return api.VerifyReport{}, err
	}
	if !report.Bad(audit.SideLog) { // whose blocks are a part of it
		report.Faults = append(report.Faults, store...)
	}
	alone := false
	if errors.Is(e.ViewsErr, node.ErrNoViews) {
		c.say("there are no views: the next start makes them from the log")
		e.ViewsErr, alone = nil, true
	}
	for _, missing := range []struct {
		side audit.Side
		why  error
	}{{audit.SideLog, e.LogErr}, {audit.SideArchive, e.ViewsErr}} {
		if missing.why != nil {
			report.Faults = append(report.Faults, audit.Fault{
				Side: missing.side, Revision: 1, Why: "it cannot be opened: " + missing.why.Error(), Count: int(report.Head.Revision),
			})
		}
	}
	wire := server.WireReport(report, len(known))
	wire.Alone = alone
	return wire, nil
}

func (c *cli) askVerify(ctx context.Context, known []audit.Known) (api.VerifyReport, error) {
	client, err := c.client()
	if err != nil {
		return api.VerifyReport{}, err
	}
	var q api.VerifyRequest
	for _, k := range known {
		q.Known = append(q.Known, api.KeptMark{Name: k.Name, Ledger: k.Ledger, Revision: k.Revision, Hash: k.Hash, Position: k.Position, Root: k.Root})
	}
	status, err := client.Status(ctx)
	if err != nil {
		return api.VerifyReport{}, err
	}
	b := c.bar("verifying", int64(status.Revision), progress.UnitsDefault)
	report, err := client.Verify(ctx, q, func(done, _ events.Revision) { b.set(int64(done)) })
	b.done(err)
	return report, err
}

func (c *cli) printVerified(r api.VerifyReport) error {
	a := answer{value: r, header: []string{"side", "revision", "count", "why"}, text: func(w io.Writer) { verifiedText(w, r) }}
	for _, f := range r.Faults {
		a.rows = append(a.rows, row{f, []string{f.Side, number(f.Revision), fmt.Sprint(f.Count), f.Why}})
	}
	return c.print(a)
}

func verifiedText(w io.Writer, r api.VerifyReport) {
	for _, f := range r.Faults {
		fmt.Fprintf(w, "%s\n", oneLine(f.String()))
		if f.Count > 1 {
			fmt.Fprintf(w, "  and %d more of that side\n", f.Count-1)
		}
	}
	switch {
	case r.Whole && r.Alone:
		fmt.Fprintf(w, "whole: the log has %d revisions with %d events; there were no views to hold it against\n", r.Revision, r.Position)
	case r.Whole:
		fmt.Fprintf(w, "whole: log, archive and tree agree on %d revisions with %d events\n", r.Revision, r.Position)
	}
	fmt.Fprintf(w, "  ledger       %s\n  head hash    %s\n  root         %s\n", r.Ledger, r.Head, r.Root)
	switch {
	case r.Outside > 0 && r.Whole:
		fmt.Fprintf(w, "  outside      %d checkpoints kept elsewhere agree: what they cover is what it was when they were signed\n", r.Outside)
	case r.Outside == 0:
		fmt.Fprintln(w, "  outside      nothing: this does not show that nobody with the disk and the key wrote it all anew, or cut its end off;")
		fmt.Fprintln(w, "               a checkpoint kept elsewhere would (--checkpoint)")
	}
}

func verdict(r api.VerifyReport) error {
	switch {
	case len(r.Faults) > 0:
		return integrityError{fmt.Errorf("%s", r.Faults[0])}
	case !r.Whole:
		return integrityError{errors.New("the server says that the ledger is not whole, and not why")}
	}
	return nil
}

// openEvidence opens the data of a ledger that nobody serves, whatever is wrong with it.
func (c *cli) openEvidence(ctx context.Context, f nodeFlags) (*node.Evidence, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if info, err := os.Stat(f.data); err != nil || !info.IsDir() {
		return nil, usagef("there is no directory %s", f.data)
	}
	return node.OpenEvidence(ctx, c.nodeConfig(f))
}
