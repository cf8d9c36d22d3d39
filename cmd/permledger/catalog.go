package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) catalogVerb() *cobra.Command {
	return parent("catalog", "The permissions of a system as data",
		c.catalogLoadVerb(), c.catalogListVerb(), c.catalogShowVerb())
}

func (c *cli) catalogLoadVerb() *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use:   "load NAME|FILE",
		Short: "Bring the tenant to a version of a catalog",
		Long: `Bring the tenant to a version of a catalog: one that is part of the server, by its name, or a file. What
ends in .json or holds a path separator is a file. What the catalog defined before and defines no longer
is retired; what differs is recorded with the value before.`,
		Example: `  permledger catalog load flowable-control
  permledger catalog load ./our-system.json --dry-run`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			command := api.Command{Do: "catalog.load", Catalog: events.Catalog(args[0])}
			if strings.HasSuffix(args[0], ".json") || strings.ContainsRune(args[0], filepath.Separator) {
				file, err := os.ReadFile(args[0])
				if err != nil {
					return usageError{fmt.Errorf("read catalog: %w", err)}
				}
				if err := api.CheckJSON(file); err != nil {
					return usageError{fmt.Errorf("read catalog %s: %w", args[0], err)}
				}
				command.Catalog, command.File = "", file
			}
			return c.submit(cmd, write, events.Principal{}, command)
		},
	}
	write.add(cmd)
	return cmd
}

func (c *cli) catalogListVerb() *cobra.Command {
	var when whenFlags
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the catalogs that are loaded and those the server can load by name", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			list, err := client.Catalogs(cmd.Context(), w)
			if err != nil {
				return err
			}
			a := answer{value: list, header: []string{"catalog", "version", "apis", "permissions", "resource_types", "type_permissions", "default_roles", "loaded"}}
			loaded := make(map[string]bool)
			for _, e := range list.Catalogs {
				loaded[string(e.Catalog)] = true
				a.rows = append(a.rows, row{e, []string{
					string(e.Catalog), e.Version, strconv.Itoa(e.APIs), strconv.Itoa(e.Permissions),
					strconv.Itoa(e.Types), strconv.Itoa(e.Pairs), strconv.Itoa(e.Roles), "yes",
				}})
			}
			for _, name := range list.Embedded {
				if !loaded[name] {
					a.rows = append(a.rows, row{map[string]any{"catalog": name, "loaded": false}, []string{name, "", "", "", "", "", "", "no"}})
				}
			}
			return c.print(a)
		},
	}
	when.add(cmd)
	return cmd
}

func (c *cli) catalogShowVerb() *cobra.Command {
	var when whenFlags
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show everything a loaded catalog defines, by exact name", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			catalog, err := client.Catalog(cmd.Context(), events.Catalog(args[0]), w)
			if err != nil {
				return err
			}
			return c.print(answer{
				value:  catalog,
				header: []string{"audience", "permission", "id", "category", "description", "needs"},
				rows:   catalogRows(catalog),
			})
		},
	}
	when.add(cmd)
	return cmd
}

func catalogRows(catalog api.Catalog) []row {
	var rows []row
	for _, a := range catalog.APIs {
		for _, p := range a.Permissions {
			item := struct {
				API      events.API `json:"api"`
				Audience string     `json:"audience"`
				api.Permission
			}{a.API, a.Audience, p}
			rows = append(rows, row{item, []string{
				a.Audience, string(p.Name), p.ID, p.Category, p.Description, needsText(p.RequiresAnyOf),
			}})
		}
	}
	for _, t := range catalog.Types {
		for _, name := range t.Names {
			item := struct {
				Type events.ResourceType `json:"resource_type"`
				Name string              `json:"name"`
			}{t.Type, name}
			rows = append(rows, row{item, []string{"", name, "", "on " + string(t.Type), t.Label, ""}})
		}
	}
	return rows
}

// needsText is prerequisites in words: all of the groups, any one of each.
func needsText(groups [][]events.Permission) string {
	and := make([]string, len(groups))
	for i, g := range groups {
		or := make([]string, len(g))
		for j, p := range g {
			or[j] = string(p.Name)
		}
		and[i] = strings.Join(or, " or ")
	}
	return strings.Join(and, ", and ")
}
