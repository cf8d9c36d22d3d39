package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) roleVerb() *cobra.Command {
	return parent("role", "Named sets of permissions",
		c.roleAttributesVerb("create", "Create a role"),
		c.roleAttributesVerb("change", "Set the name and description of a role"),
		c.roleDeleteVerb(),
		c.rolePermissionVerb("add-permission", "Give a permission to a role"),
		c.rolePermissionVerb("remove-permission", "Take a permission from a role"),
		c.roleInclusionVerb("include", "Let whoever holds ROLE hold INCLUDED, too"),
		c.roleInclusionVerb("exclude", "End an inclusion"),
		c.roleListVerb(),
		c.roleShowVerb(),
	)
}

func (c *cli) roleAttributesVerb(word, short string) *cobra.Command {
	var write writeFlags
	var name, description string
	cmd := &cobra.Command{
		Use: word + " ROLE", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			role := events.Role(args[0])
			return c.submit(cmd, write, role.Principal(), api.Command{
				Do: "role." + word, Role: role, Name: name, Description: description,
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what people call it")
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	write.add(cmd)
	return cmd
}

func (c *cli) roleDeleteVerb() *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use: "delete ROLE", Short: "Delete a role and everything it holds or is held by", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			role := events.Role(args[0])
			return c.submit(cmd, write, role.Principal(), api.Command{Do: "role.delete", Role: role})
		},
	}
	write.add(cmd)
	return cmd
}

func (c *cli) rolePermissionVerb(word, short string) *cobra.Command {
	var write writeFlags
	var scope scopeFlags
	cmd := &cobra.Command{
		Use: word + " ROLE PERMISSION RESOURCE", Short: short, Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			resource, err := scope.needed(args[2:])
			if err != nil {
				return err
			}
			role := events.Role(args[0])
			return c.submit(cmd, write, role.Principal(), api.Command{
				Do: "role." + word, Role: role, Permission: events.PermissionName(args[1]), Resource: resource,
			})
		},
	}
	write.add(cmd)
	scope.add(cmd)
	return cmd
}

func (c *cli) roleInclusionVerb(word, short string) *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use: word + " ROLE INCLUDED", Short: short, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			role := events.Role(args[0])
			return c.submit(cmd, write, role.Principal(), api.Command{
				Do: "role." + word, Role: role, Included: events.Role(args[1]),
			})
		},
	}
	write.add(cmd)
	return cmd
}

var roleHeader = []string{"role", "name", "catalog", "holds", "includes", "version"}

func roleRow(r api.Role) row {
	includes := make([]string, len(r.Includes))
	for i, included := range r.Includes {
		includes[i] = string(included)
	}
	return row{r, []string{
		string(r.Role), r.Name, string(r.Catalog), strconv.Itoa(len(r.Holds)), strings.Join(includes, " "), number(r.Version),
	}}
}

func number[N ~uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }

func (c *cli) roleListVerb() *cobra.Command {
	var when whenFlags
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the roles", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			list, err := client.Roles(cmd.Context(), w)
			if err != nil {
				return err
			}
			a := answer{value: list, header: roleHeader}
			for _, r := range list.Roles {
				a.rows = append(a.rows, roleRow(r))
			}
			return c.print(a)
		},
	}
	when.add(cmd)
	return cmd
}

func (c *cli) roleShowVerb() *cobra.Command {
	var when whenFlags
	cmd := &cobra.Command{
		Use: "show ROLE", Short: "Show what a role holds and includes itself", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			r, err := client.Role(cmd.Context(), events.Role(args[0]), w)
			if err != nil {
				return err
			}
			a := answer{value: r, header: []string{"role", "holds", "resource"}}
			for _, h := range r.Holds {
				a.rows = append(a.rows, row{h, []string{args[0], string(h.Permission), h.Resource}})
			}
			for _, included := range r.Includes {
				item := map[string]events.Role{"includes": included}
				a.rows = append(a.rows, row{item, []string{args[0], included.Principal().String(), ""}})
			}
			return c.print(a)
		},
	}
	when.add(cmd)
	return cmd
}
