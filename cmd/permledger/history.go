package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) historyVerb() *cobra.Command {
	var q api.HistoryQuery
	var actor, onBehalfOf, since, until, atLeast string
	var limit int
	cmd := &cobra.Command{
		Use:   "history [PRINCIPAL|permission:NAME|api:ID]...",
		Short: "List what was recorded about a principal, role, group, permission or API, oldest first",
		Long: `List what was recorded, oldest first: about a principal (user:alice, role:operator, group:ops), a
permission (permission:read:*) or an API (api:operate); an event must match all that is given. Without
any, everything in the tenant is listed.`,
		Annotations: printsEvents,
		Example: `  permledger history user:alice
  permledger history role:operator --since -720h --kind role.permission-added
  permledger history permission:read:* api:operate -o jsonl`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			q.Tenant = events.Tenant(c.tenant)
			if err := historyArgs(&q, args); err != nil {
				return err
			}
			if q.Actor, err = principalFlag("--actor", actor); err != nil {
				return err
			}
			if q.OnBehalfOf, err = principalFlag("--on-behalf-of", onBehalfOf); err != nil {
				return err
			}
			if q.Since, err = parseTime("--since", since, c.now()); err != nil {
				return err
			}
			if q.Until, err = parseTime("--until", until, c.now()); err != nil {
				return err
			}
			if q.AtLeast, err = parseAtLeast(atLeast); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			l, err := c.eventsOf(cmd.Context(), client, false)
			if err != nil {
				return err
			}
			for e, err := range client.AllHistory(cmd.Context(), q) {
				if err != nil {
					return err
				}
				if err := l.add(e); err != nil {
					return err
				}
				if limit--; limit == 0 {
					break
				}
			}
			return l.close()
		},
	}
	f := cmd.Flags()
	f.StringVar(&actor, "actor", "", "only what this principal did")
	f.StringVar(&onBehalfOf, "on-behalf-of", "", "only what was done for this principal")
	f.StringVar(&q.Type, "kind", "", "only events of this name, as in role.assigned")
	f.BoolVar(&q.Newest, "newest", false, "newest first")
	f.StringVar(&since, "since", "", "only what was recorded at or after this time")
	f.StringVar(&until, "until", "", "only what was recorded before this time")
	f.IntVar(&limit, "limit", 0, "only the first so many")
	f.StringVar(&atLeast, "at-least", "", "wait until the server has applied this revision")
	must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(events.Names(), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func historyArgs(q *api.HistoryQuery, args []string) (err error) {
	for _, arg := range args {
		kind, name, _ := strings.Cut(arg, ":")
		switch {
		case kind == "permission" && q.Permission == "":
			q.Permission = events.PermissionName(name)
			err = q.Permission.Check()
		case kind == "api" && q.API == "":
			q.API = events.API(name)
			err = q.API.Check()
		case kind == "permission" || kind == "api" || !q.Principal.IsZero():
			err = usagef("%s: one principal, one permission and one API at most", arg)
		default:
			q.Principal, err = events.ParsePrincipal(arg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// optionalPrincipal reads a principal; "" is none.
func optionalPrincipal(s string) (events.Principal, error) {
	if s == "" {
		return events.Principal{}, nil
	}
	return events.ParsePrincipal(s)
}

// principalFlag is optionalPrincipal for the value of a flag, which an error names.
func principalFlag(flag, s string) (events.Principal, error) {
	p, err := optionalPrincipal(s)
	if err != nil {
		err = fmt.Errorf("%s: %w", flag, err)
	}
	return p, err
}
