package main

import "github.com/spf13/cobra"

func (c *cli) exportVerb() *cobra.Command {
	return parent("export", "Write out what the ledger knows", c.exportEffectiveVerb(), c.exportTilesVerb())
}

func (c *cli) exportEffectiveVerb() *cobra.Command {
	var when whenFlags
	cmd := &cobra.Command{
		Use:   "effective",
		Short: "List everybody's effective permissions, sorted by principal, permission and resource",
		Long: `List everybody's effective permissions at one point in time, with groups, roles and prerequisites resolved.
The list is whole only if the exit code is 0.`,
		Example: `  permledger export effective -o jsonl
  permledger export effective --valid-at 2026-03-01 -o csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			l := c.printer().listing([]string{"principal", "permission", "resource"}, false)
			for g, err := range client.Effective(cmd.Context(), w) {
				if err != nil {
					return err
				}
				if err := l.add(g, g.Principal.String(), string(g.Permission), g.Resource); err != nil {
					return err
				}
			}
			return l.close()
		},
	}
	when.add(cmd)
	return cmd
}
