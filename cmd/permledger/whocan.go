package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) whoCanVerb() *cobra.Command {
	var when whenFlags
	var limit int
	var page string
	cmd := &cobra.Command{
		Use:   "who-can PERMISSION RESOURCE",
		Short: "List the users and clients who may do something, through groups and roles",
		Long: `List the users and clients who may do something, through groups and roles. All of them are listed, as of
one revision. With --limit or --page one page is, and "next" of the answer is the --page of the next one:
all pages of a listing are of one revision, whatever is recorded meanwhile.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			q := api.HoldersQuery{When: w, Permission: events.PermissionName(args[0]), Limit: limit, Page: page}
			if q.Resource, err = api.ParseResource("resource", args[1]); err != nil {
				return err
			}
			list, err := holders(cmd.Context(), client, q, limit == 0 && page == "")
			if err != nil {
				return err
			}
			if list.Next != "" {
				c.say("there are more: go on with --page %s", list.Next)
			}
			a := answer{value: list, header: []string{"principal"}}
			for _, p := range list.Principals {
				a.rows = append(a.rows, row{map[string]events.Principal{"principal": p}, []string{p.String()}})
			}
			return c.print(a)
		},
	}
	when.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "give one page of at most so many")
	cmd.Flags().StringVar(&page, "page", "", `give the page named by "next" of the one before`)
	return cmd
}

// holders asks for one page, or for all and joins them.
func holders(ctx context.Context, client *consumers.Client, q api.HoldersQuery, all bool) (api.Holders, error) {
	list, err := client.Holders(ctx, q)
	for err == nil && all && list.Next != "" {
		q.When, q.Page = api.When{Tenant: q.Tenant}, list.Next
		var more api.Holders
		more, err = client.Holders(ctx, q)
		list.Principals, list.Next = append(list.Principals, more.Principals...), more.Next
	}
	return list, err
}
