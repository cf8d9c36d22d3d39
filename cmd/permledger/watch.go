package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) watchVerb() *cobra.Command {
	var q api.EventsQuery
	var from, principal, actor, permission, owner string
	var allTenants bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print events as they are recorded",
		Long: `Print events as they are recorded, in order of position, each once. When the connection breaks, the exit
code is 3 and the last line on standard error says where to go on.`,
		Annotations: printsEvents,
		Example: `  permledger watch
  permledger watch --from first --kind permission.granted -o jsonl
  permledger watch --from position:4711 --follow=false`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if !allTenants {
				q.Tenant = events.Tenant(c.tenant)
			}
			if q.From, err = c.start(from); err != nil {
				return err
			}
			if q.Principal, err = principalFlag("--principal", principal); err != nil {
				return err
			}
			if q.Actor, err = principalFlag("--actor", actor); err != nil {
				return err
			}
			q.Permission, q.API = events.PermissionName(permission), events.API(owner)
			return c.watch(cmd.Context(), q)
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "now", "first, now, a revision, position:N, or the time of recording")
	f.BoolVar(&q.Follow, "follow", true, "go on with what is recorded later")
	f.StringVar(&q.Type, "kind", "", "only events of this name, as in role.assigned")
	f.StringVar(&principal, "principal", "", "only events about this principal")
	f.StringVar(&actor, "actor", "", "only what this principal did")
	f.StringVar(&permission, "permission", "", "only events that name this permission")
	f.StringVar(&owner, "api", "", "only events about this API and its permissions")
	f.BoolVar(&allTenants, "all-tenants", false, "events of every tenant, and of the ledger itself")
	must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(events.Names(), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (c *cli) watch(ctx context.Context, q api.EventsQuery) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	l, err := c.eventsOf(ctx, client, true)
	if err != nil {
		return err
	}
	last := events.Position(0)
	for e, err := range client.Events(ctx, q) {
		if errors.Is(err, context.Canceled) {
			break // the person at the terminal has seen enough
		}
		if err != nil {
			if last > 0 {
				c.say("go on with --from position:%d", last+1)
			}
			return err
		}
		last = e.Position
		if err := l.add(e); err != nil {
			return err
		}
	}
	return l.close()
}

// start reads where a stream begins. A bare number is a revision, as everywhere on the command line.
func (c *cli) start(s string) (api.Start, error) {
	if r, ok := parseRevision(s); ok && r > 0 {
		return api.Start{Revision: r}, nil
	}
	if digits, ok := strings.CutPrefix(s, "position:"); ok {
		if n, ok := parseRevision(digits); ok && n > 0 {
			return api.Start{Position: events.Position(n)}, nil
		}
		return api.Start{}, events.Invalid("--from", s, "positions count from 1")
	}
	if s == "first" || s == "now" {
		return api.ParseStart("--from", s)
	}
	t, err := parseTime("--from", s, c.now())
	if err != nil || t.IsZero() {
		return api.Start{}, events.Invalid("--from", s, "must be first, now, a revision, position:N or a time (2026-03-01T09:30:00Z, 2026-03-01, -24h)")
	}
	return api.Start{Time: t}, nil
}
