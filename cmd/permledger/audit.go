package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/audit/pack"
)

func (c *cli) auditVerb() *cobra.Command {
	return parent("audit", "Reports for an auditor, who need not trust us", c.auditExportVerb(), c.auditVerifyVerb())
}

func (c *cli) auditExportVerb() *cobra.Command {
	var q api.PackQuery
	var from, to, principal, actor, onBehalfOf, permission, owner, since, file string
	var allTenants bool
	cmd := &cobra.Command{
		Use:   "export --from TIME --to TIME --pack FILE",
		Short: "Write the report of a period in one file that can be verified without the ledger",
		Long: `Write who got and lost what in a period, by whom, when and why, together with what it takes to check
that report without trusting whoever made it: see audit verify. What was recorded at --from is in it, what was
recorded at --to is not.

For the proof that nothing is left out the file holds EVERY change of the period, of every tenant, not only those
that the filters mean. With --only-matching it holds those alone; then it proves that they are real, and not that
they are all.`,
		Example: `  permledger audit export --from 2026-01-01 --to 2026-04-01 --pack first-quarter.zip
  permledger audit export --from 2026-01-01 --to 2026-04-01 --principal user:alice --pack alice.zip --only-matching`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if !allTenants {
				q.Tenant = events.Tenant(c.tenant)
			}
			for _, t := range []struct {
				flag, value string
				into        *events.Instant
			}{{"--from", from, &q.From}, {"--to", to, &q.To}} {
				if *t.into, err = parseTime(t.flag, t.value, c.now()); err != nil {
					return err
				}
			}
			for _, p := range []struct {
				flag, value string
				into        *events.Principal
			}{{"--principal", principal, &q.Principal}, {"--actor", actor, &q.Actor}, {"--on-behalf-of", onBehalfOf, &q.OnBehalfOf}} {
				if *p.into, err = principalFlag(p.flag, p.value); err != nil {
					return err
				}
			}
			q.Permission, q.API = events.PermissionName(permission), events.API(owner)
			if since != "" {
				if q.Since, err = readSmall(since); err != nil {
					return err
				}
			}
			return c.auditExport(cmd.Context(), q, file)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "pack", "", "the file to write")
	f.StringVar(&from, "from", "", "what was recorded at or after this time; default from the beginning")
	f.StringVar(&to, "to", "", "what was recorded before this time; default until now")
	f.StringVar(&principal, "principal", "", "only events about this principal")
	f.StringVar(&actor, "actor", "", "only what this principal did")
	f.StringVar(&onBehalfOf, "on-behalf-of", "", "only what was done for this principal")
	f.StringVar(&permission, "permission", "", "only events that name this permission")
	f.StringVar(&owner, "api", "", "only events about this API and its permissions")
	f.StringVar(&q.Type, "type", "", "only events of this name, as in role.assigned")
	f.BoolVar(&allTenants, "all-tenants", false, "events of every tenant, and of the ledger itself")
	f.BoolVar(&q.OnlyMatching, "only-matching", false, "nothing but the events that match: proves that they are real, not that they are all")
	f.StringVar(&since, "since-checkpoint", "", "a file with a checkpoint that you kept from before --from, to begin with")
	must(cmd.MarkFlagRequired("pack"))
	must(cmd.MarkFlagFilename("pack", "zip"))
	must(cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(events.Names(), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (c *cli) auditExport(ctx context.Context, q api.PackQuery, file string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	size, err := writeNew(file, func(f *os.File) error { return client.AuditPack(ctx, q, f) })
	if err != nil {
		return err
	}
	if q.OnlyMatching {
		c.say("%s does not prove that the report is complete: it holds matching events only", file)
	} else {
		c.say("%s holds every change of the period, of every tenant: keep it confidential", file)
	}
	c.say("wrote %s, %d bytes; permledger audit verify %s --key KEY checks it", file, size, file)
	return nil
}

// writeNew writes a file that is nobody else's to read, and says how long it is.
func writeNew(file string, write func(*os.File) error) (size int64, err error) {
	err = durable.CreateNew(file, 0o600, func(f *os.File) error {
		err := write(f)
		if err == nil {
			size, err = f.Seek(0, io.SeekEnd)
		}
		return err
	})
	return size, inPlace(err)
}

func (c *cli) auditVerifyVerb() *cobra.Command {
	var trust trustFlags
	var since string
	cmd := &cobra.Command{
		Use:   "verify FILE --key KEY",
		Short: "Check a pack without a server, and say what it proves; exit 6 if anything does not hold",
		Long: `Check a file that audit export wrote: signatures, the chain of commits, the tree between the two checkpoints, and
that report and totals are what the stored bytes say, computed again and compared byte for byte. It says in words
what was proved, and what was not. Neither a server nor a data directory is needed, only the keys of the ledger,
which must come from elsewhere than the file: a key as "permledger key list" prints it, or a file of such lines.

A key that was replaced within the pack is followed: the new one is announced in a commit that the old one signed,
and is shown under what was proved, as a line to keep for the next pack. A pack of matching events only holds no
commits; there the key that signed its checkpoint must be given.`,
		Example: `  permledger audit verify first-quarter.zip --key ledger.keys
  permledger audit verify first-quarter.zip --key ledger.keys --since-checkpoint december.checkpoint -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			keys, err := readKeys(trust.keys)
			if err != nil {
				return err
			}
			var known []byte
			if since != "" {
				if known, err = readSmall(since); err != nil {
					return err
				}
			}
			return c.auditVerify(args[0], keys, known)
		},
	}
	trust.addKeys(cmd)
	cmd.Flags().StringVar(&since, "since-checkpoint", "", "a file with a checkpoint that you kept: the pack must begin or end with it")
	must(cmd.MarkFlagRequired("key"))
	return cmd
}

// verified is what audit verify found.
type verified struct {
	Verified   bool             `json:"verified"`
	Part       string           `json:"part,omitempty"` // what does not hold
	Revision   events.Revision  `json:"revision,omitempty"`
	Error      string           `json:"error,omitempty"`
	Parameters *pack.Parameters `json:"parameters,omitempty"`
	Counts     *pack.Counts     `json:"counts,omitempty"`
	Proved     []string         `json:"proved,omitempty"`
	NotProved  []string         `json:"not_proved,omitempty"`
}

func (c *cli) auditVerify(name string, keys checkpoint.Keys, known []byte) error {
	f, size, err := openFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := pack.Verify(f, size, keys, known)
	var fault *bundle.Fault
	if errors.As(err, &fault) {
		v := verified{Part: fault.Part, Revision: fault.Revision, Error: fault.Err.Error()}
		err = integrityError{fmt.Errorf("%s does not verify: %w", name, err)}
		if c.format == string(formatTable) {
			return err
		}
		return errors.Join(c.print(answer{value: v}), err)
	}
	if errors.Is(err, pack.ErrKept) {
		return integrityError{err}
	}
	if err != nil {
		return err
	}
	v := verified{Verified: true, Parameters: &r.Parameters, Counts: &r.Counts, Proved: r.Proved, NotProved: r.NotProved}
	return c.print(answer{value: v, text: func(w io.Writer) { writeVerified(w, name, v) }})
}

func writeVerified(w io.Writer, name string, v verified) {
	fmt.Fprintf(w, "%s verifies\nproved:\n", name)
	for _, s := range v.Proved {
		fmt.Fprintf(w, "  %s\n", oneLine(s))
	}
	fmt.Fprintln(w, "not proved:")
	for _, s := range v.NotProved {
		fmt.Fprintf(w, "  %s\n", oneLine(s))
	}
}

func openFile(name string) (*os.File, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, usageError{err}
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = usagef("%s is no file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}
