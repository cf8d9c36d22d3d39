package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) groupVerb() *cobra.Command {
	return parent("group", "Named sets of users, clients and groups",
		c.groupCreateVerb(),
		c.groupDeleteVerb(),
		c.groupMemberVerb("add", "group.add-member", "Put a user, client, mapping rule or group into a group"),
		c.groupMemberVerb("remove", "group.remove-member", "Take a member out of a group"),
		parent("parent", "What is above a group: its members have what the parent has",
			c.groupParentVerb("set", "group.set-parent", "Put GROUP below PARENT; several parents are fine"),
			c.groupParentVerb("unset", "group.unset-parent", "Take GROUP out from below PARENT"),
		),
		c.groupListVerb(),
		c.groupShowVerb(),
	)
}

func (c *cli) groupCreateVerb() *cobra.Command {
	var write writeFlags
	var name, description string
	cmd := &cobra.Command{
		Use: "create GROUP", Short: "Create a group", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			group := events.Group(args[0])
			return c.submit(cmd, write, group.Principal(), api.Command{
				Do: "group.create", Group: group, Name: name, Description: description,
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what people call it")
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	write.add(cmd)
	return cmd
}

func (c *cli) groupDeleteVerb() *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use: "delete GROUP", Short: "Delete a group and everything it holds", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			group := events.Group(args[0])
			return c.submit(cmd, write, group.Principal(), api.Command{Do: "group.delete", Group: group})
		},
	}
	write.add(cmd)
	return cmd
}

func (c *cli) groupMemberVerb(word, do, short string) *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use: word + " GROUP PRINCIPAL", Short: short, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			member, err := events.ParsePrincipal(args[1])
			if err != nil {
				return err
			}
			group := events.Group(args[0])
			return c.submit(cmd, write, group.Principal(), api.Command{Do: do, Group: group, Member: member})
		},
	}
	write.add(cmd)
	return cmd
}

func (c *cli) groupParentVerb(word, do, short string) *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use: word + " GROUP PARENT", Short: short, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			group := events.Group(args[0])
			return c.submit(cmd, write, group.Principal(), api.Command{Do: do, Group: group, Parent: events.Group(args[1])})
		},
	}
	write.add(cmd)
	return cmd
}

var groupHeader = []string{"group", "name", "members", "parents", "version"}

func groupRow(g api.Group) row {
	parents := make([]string, len(g.Parents))
	for i, p := range g.Parents {
		parents[i] = string(p)
	}
	return row{g, []string{string(g.Group), g.Name, strconv.Itoa(len(g.Members)), strings.Join(parents, " "), number(g.Version)}}
}

func (c *cli) groupListVerb() *cobra.Command {
	var when whenFlags
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the groups", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			list, err := client.Groups(cmd.Context(), w)
			if err != nil {
				return err
			}
			a := answer{value: list, header: groupHeader}
			for _, g := range list.Groups {
				a.rows = append(a.rows, groupRow(g))
			}
			return c.print(a)
		},
	}
	when.add(cmd)
	return cmd
}

func (c *cli) groupShowVerb() *cobra.Command {
	var when whenFlags
	cmd := &cobra.Command{
		Use: "show GROUP", Short: "Show the direct members and the parents of a group", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			g, err := client.Group(cmd.Context(), events.Group(args[0]), w)
			if err != nil {
				return err
			}
			a := answer{value: g, header: []string{"group", "relation", "principal"}}
			for _, m := range g.Members {
				item := map[string]events.Principal{"member": m}
				a.rows = append(a.rows, row{item, []string{args[0], "member", m.String()}})
			}
			for _, p := range g.Parents {
				item := map[string]events.Principal{"parent": p.Principal()}
				a.rows = append(a.rows, row{item, []string{args[0], "parent", p.Principal().String()}})
			}
			return c.print(a)
		},
	}
	when.add(cmd)
	return cmd
}
