package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/events"
)

func (c *cli) canWhatVerb() *cobra.Command {
	var when whenFlags
	var effective bool
	cmd := &cobra.Command{
		Use:   "can-what PRINCIPAL",
		Short: "List what a principal holds, and whether it has effect",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			held, err := client.Holdings(cmd.Context(), principal, w)
			if err != nil {
				return err
			}
			if effective {
				shown := held.Holdings[:0]
				for _, h := range held.Holdings {
					if h.Effective {
						shown = append(shown, h)
					}
				}
				held.Holdings = shown
			}
			a := answer{value: held, header: []string{"permission", "resource", "effective", "missing"}}
			for _, h := range held.Holdings {
				a.rows = append(a.rows, row{h, []string{
					string(h.Permission), h.Resource, strconv.FormatBool(h.Effective), needsText(h.Missing),
				}})
			}
			return c.print(a)
		},
	}
	when.add(cmd)
	cmd.Flags().BoolVar(&effective, "effective", false, "leave out what is held without effect")
	return cmd
}
