package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// writeFlags are what every verb that changes something takes.
type writeFlags struct {
	reason     string
	ticket     string
	seal       string
	validFrom  string
	validUntil string
	onBehalfOf string
	key        string
	ifVersion  []string
	dryRun     bool
	proof      string
	strict     bool
	isImport   bool
}

func (f *writeFlags) add(cmd *cobra.Command) {
	f.addCommon(cmd)
	cmd.Flags().StringVar(&f.validFrom, "valid-from", "", "when it starts to be so, or what ends is over; default when recorded")
	cmd.Flags().StringVar(&f.validUntil, "valid-until", "", "when it ceases to be so; default never")
}

// addCommon leaves the validity out, for the verb that gives it a meaning of its own.
func (f *writeFlags) addCommon(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.reason, "reason", "", "why, in words")
	fl.StringVar(&f.ticket, "ticket", "", "why, by reference")
	fl.StringVar(&f.seal, "seal", "", "seal reason and ticket with the personal key of this principal: once it is erased, nobody reads them")
	fl.StringVar(&f.onBehalfOf, "on-behalf-of", "", "the principal it is done for")
	fl.StringVar(&f.key, "idempotency-key", "", "the same key and request again give the first answer and change nothing")
	fl.StringArrayVar(&f.ifVersion, "if-version", nil, "only if it has not changed since: REVISION, or PRINCIPAL@REVISION for somebody else")
	fl.BoolVar(&f.dryRun, "dry-run", false, "say what would be recorded and record nothing")
	fl.StringVar(&f.proof, "proof", "", "a directory for proofs of what is recorded, each in a file POSITION.tlog-proof")
	must(cmd.MarkFlagDirname("proof"))
	cmd.MarkFlagsMutuallyExclusive("proof", "dry-run")
	fl.BoolVar(&f.strict, "strict", false, "refuse what is so already or not there")
	fl.BoolVar(&f.isImport, "import", false, "this is brought in from elsewhere: it may start before the ledger did")
}

// request makes the request of a verb. about is what a bare --if-version means.
func (c *cli) request(f writeFlags, about events.Principal, commands ...api.Command) (r api.Request, err error) {
	r = api.Request{
		Tenant: events.Tenant(c.tenant), Commands: commands, Reason: f.reason, Ticket: f.ticket,
		Strict: f.strict, DryRun: f.dryRun, Proof: f.proof != "",
	}
	if f.isImport {
		r.Origin = events.OriginImport
	}
	if r.ValidFrom, err = parseTime("--valid-from", f.validFrom, c.now()); err != nil {
		return r, err
	}
	if r.ValidUntil, err = parseTime("--valid-until", f.validUntil, c.now()); err != nil {
		return r, err
	}
	if r.OnBehalfOf, err = principalFlag("--on-behalf-of", f.onBehalfOf); err != nil {
		return r, err
	}
	if r.Seal, err = principalFlag("--seal", f.seal); err != nil {
		return r, err
	}
	for _, s := range f.ifVersion {
		e, err := parseExpectation(s, about)
		if err != nil {
			return r, err
		}
		r.Expect = append(r.Expect, e)
	}
	return r, nil
}

// parseExpectation reads REVISION or PRINCIPAL@REVISION. The id may hold an '@'; the last one counts.
func parseExpectation(s string, about events.Principal) (e api.Expectation, err error) {
	e.Principal = about
	version := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		if e.Principal, err = events.ParsePrincipal(s[:i]); err != nil {
			return e, fmt.Errorf("--if-version: %w", err)
		}
		version = s[i+1:]
	}
	revision, ok := parseRevision(version)
	if !ok || e.Principal.IsZero() {
		return e, events.Invalid("--if-version", s, "must be REVISION or PRINCIPAL@REVISION, as in role:operator@12")
	}
	e.Version = revision
	return e, nil
}

// submit sends what a verb wishes and prints the receipt.
func (c *cli) submit(cmd *cobra.Command, f writeFlags, about events.Principal, commands ...api.Command) error {
	r, err := c.request(f, about, commands...)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	receipt, err := client.Submit(cmd.Context(), r, f.key)
	if err != nil {
		return err
	}
	if err := c.printReceipt(receipt); err != nil || f.proof == "" {
		return err
	}
	return c.writeProofs(f.proof, receipt)
}

func (c *cli) printReceipt(r api.Receipt) error {
	return c.print(answer{value: r, text: func(w io.Writer) { receiptText(w, r) }, header: eventHeader, rows: eventRows(r.Events)})
}

func receiptText(w io.Writer, r api.Receipt) {
	switch {
	case r.DryRun && r.Nothing:
		fmt.Fprintf(w, "nothing would be recorded: it is so already, at revision %d\n", r.Revision)
	case r.DryRun:
		fmt.Fprintf(w, "would be recorded, judged at revision %d:\n", r.Revision)
	case r.Nothing && r.Replayed:
		fmt.Fprintf(w, "answered before: nothing was recorded, at revision %d\n", r.Revision)
	case r.Nothing:
		fmt.Fprintf(w, "nothing to do: it is so already, at revision %d\n", r.Revision)
	case r.Replayed:
		fmt.Fprintf(w, "answered before: recorded at revision %d\n", r.Revision)
	case len(r.Events) == 1:
		fmt.Fprintf(w, "recorded at revision %d\n", r.Revision)
	default:
		fmt.Fprintf(w, "recorded at revision %d, %d events\n", r.Revision, len(r.Events))
	}
	// A catalog is a hundred events; people want to see what kind, and scripts have -o jsonl.
	const shown = 4
	for i, e := range r.Events {
		if i == shown && len(r.Events) > shown+1 {
			fmt.Fprintf(w, "  and %d more\n", len(r.Events)-shown)
			return
		}
		fmt.Fprintf(w, "  %s\n", eventLine(e))
	}
}
