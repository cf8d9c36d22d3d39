package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
)

func (c *cli) replayVerb() *cobra.Command {
	var where nodeFlags
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay --data DIR",
		Short: "Print events from the log itself, verifying its chain; exit 6 on a fault",
		Long: `Print events in order from the log itself, of every tenant, without a server. Each commit must be the
very next one, hold the hash of the one before, and hash to what the views know; and the log must not end
before the views do. The first fault ends the replay with exit code 6: what was printed before it is whole.

The filters say which events are printed; an event must match all that is given. Every commit is read and
verified all the same, and the last line on standard error says how many there were and how many matched.

With --cursor a replay can be broken off at any moment and goes on where it was, as often as you like, also to
what was recorded since. It then checks that the log still holds the very commit it stopped at. With --out the
file ends up the same, byte for byte, as if nothing had happened; on standard output the events of the commit
it was broken off at may come twice.

With --state the views are made once more, too, and the state after each revision is held against the one that
the live ledger had and that its checkpoints state, also those kept elsewhere (--checkpoint FILE --key KEY).
The first revision that differs ends it with exit code 6.`,
		Example: `  permledger replay --data ledger-data -o jsonl
  permledger replay --data ledger-data --from 40 --to 41
  permledger replay --data ledger-data -o csv --principal user:alice --since 2026-01-01 --until 2026-04-01
  permledger replay --data ledger-data -o ocsf --cursor siem.cursor --out siem.jsonl`,
		Args:        cobra.NoArgs,
		Annotations: printsEvents,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			held, _, err := f.held.read()
			if err != nil {
				return err
			}
			filter, err := c.replayFilter(f, cmd.Flags().Changed("tenant"))
			if err != nil {
				return err
			}
			if err := f.check(format(c.format)); err != nil {
				return err
			}
			n, err := c.openOffline(cmd.Context(), where, node.ReplaceNever)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, n.Close()) }()
			err = c.replay(cmd.Context(), &replay{log: n.Log, known: n.Projector}, f, filter)
			if err == nil && f.state {
				err = c.replayState(cmd.Context(), n, held)
			}
			return err
		},
	}
	where.add(cmd)
	f.add(cmd.Flags())
	must(cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(events.Names(), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// replay prints what r reads and says how that went.
func (c *cli) replay(ctx context.Context, r *replay, f replayFlags, filter audit.Filter) (err error) {
	w, err := c.replayWriter(f, filter, r.known.Head().Ledger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.to.close()) }()
	r.from, r.to, r.after = w.from, events.Revision(f.to), w.after
	r.each = append(r.each, w.commit)
	if err := r.run(ctx); err != nil {
		return err
	}
	if err := w.close(r.head); err != nil {
		return err
	}
	if r.commits == 0 {
		c.say("nothing after revision %d; head hash %s", r.head.Revision, r.head.Hash)
		return nil
	}
	c.say("revisions %d to %d: %s, %s read, every commit follows the one before it; %s matched; head hash %s", r.from, r.head.Revision,
		counted(r.commits, "commit"), counted(r.events, "event"), counted(w.matched, "event"), r.head.Hash)
	return nil
}

// replayFlags say which part of the log is read, which events are printed, and where to.
type replayFlags struct {
	from, to                     uint64
	actor, onBehalfOf, principal string
	permission, api, kind        string
	since, until                 string
	out, cursor                  string
	state                        bool
	held                         heldFlags
}

func (f *replayFlags) add(flags *pflag.FlagSet) {
	flags.Uint64Var(&f.from, "from", 1, "the first revision")
	flags.Uint64Var(&f.to, "to", 0, "the last revision; default the last of the log")
	flags.StringVar(&f.actor, "actor", "", "only what this principal did")
	flags.StringVar(&f.onBehalfOf, "on-behalf-of", "", "only what was done for this principal")
	flags.StringVar(&f.principal, "principal", "", "only events about this principal, role or group")
	flags.StringVar(&f.permission, "permission", "", "only events that name this permission")
	flags.StringVar(&f.api, "api", "", "only events about this API and its permissions")
	flags.StringVar(&f.kind, "type", "", "only events of this name, as in role.assigned (or --kind, as in history)")
	flags.StringVar(&f.since, "since", "", "only what was recorded at or after this time")
	flags.StringVar(&f.until, "until", "", "only what was recorded before this time")
	flags.StringVar(&f.out, "out", "", "write to this new file instead of standard output")
	flags.StringVar(&f.cursor, "cursor", "", "keep in this file how far it got, and go on from there")
	flags.BoolVar(&f.state, "state", false, "also make the views once more and compare the state at every revision")
	f.held.add(flags)
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "kind" {
			name = "type"
		}
		return pflag.NormalizedName(name)
	})
}

// replayFilter reads the conditions. A replay is of every tenant unless one is given with it: what the environment
// says for other verbs must not make an export incomplete.
func (c *cli) replayFilter(f replayFlags, tenant bool) (filter audit.Filter, err error) {
	if tenant {
		filter.Tenant = events.Tenant(c.tenant)
		if err := filter.Tenant.Check(); err != nil {
			return filter, err
		}
	}
	for _, p := range []struct {
		flag, given string
		into        *events.Principal
	}{{"--actor", f.actor, &filter.Actor}, {"--on-behalf-of", f.onBehalfOf, &filter.OnBehalfOf}, {"--principal", f.principal, &filter.Principal}} {
		if *p.into, err = principalFlag(p.flag, p.given); err != nil {
			return filter, err
		}
	}
	if filter.Permission.Name = events.PermissionName(f.permission); f.permission != "" {
		if err := filter.Permission.Name.Check(); err != nil {
			return filter, err
		}
	}
	if filter.API = events.API(f.api); f.api != "" {
		if err := filter.API.Check(); err != nil {
			return filter, err
		}
	}
	if filter.Type = f.kind; f.kind != "" && !slices.Contains(events.Names(), f.kind) {
		return filter, events.Invalid("--type", f.kind, "must be the name of an event, as in role.assigned")
	}
	if filter.Since, err = parseTime("--since", f.since, c.now()); err != nil {
		return filter, err
	}
	if filter.Until, err = parseTime("--until", f.until, c.now()); err != nil {
		return filter, err
	}
	if !filter.Until.IsZero() && filter.Until <= filter.Since {
		return filter, usagef("--until %s is not after --since %s", filter.Until, filter.Since)
	}
	return filter, nil
}

// check refuses what cannot be gone on with.
func (f replayFlags) check(in format) error {
	switch {
	case f.to != 0 && f.to < f.from:
		return usagef("--to %d is before --from %d", f.to, f.from)
	case len(f.held.files) > 0 && !f.state:
		return usagef("--checkpoint is compared with the state: give --state, too")
	case f.cursor == "":
		return nil
	case in == formatTable || in == formatJSON || in == formatYAML:
		return usagef("--cursor needs a format with a line for each event: -o jsonl, csv, cloudevents or ocsf")
	case strings.HasPrefix(f.since, "-") || strings.HasPrefix(f.until, "-"):
		return usagef("with --cursor a period has fixed ends: a span back from now is another one each time")
	case f.out == f.cursor:
		return usagef("--cursor and --out are the same file")
	}
	return nil
}
