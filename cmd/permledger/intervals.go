package main

import (
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/events"
)

func (c *cli) intervalsVerb() *cobra.Command {
	var when whenFlags
	var about questionFlags
	cmd := &cobra.Command{
		Use:   "intervals PRINCIPAL PERMISSION RESOURCE",
		Short: "List when a principal had a permission, merged over all paths",
		Long: `List when a principal effectively had a permission, merged over all paths, in order. An interval includes
its start and not its end; without an end it lasts.`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			q, err := about.question(args, w)
			if err != nil {
				return err
			}
			found, err := client.Intervals(cmd.Context(), q)
			if err != nil {
				return err
			}
			list := append([]events.Interval{}, found.Intervals...) // [], not null, when there are none
			a := answer{value: list, header: []string{"valid_from", "valid_until"}}
			for _, v := range list {
				until := v.Until.String()
				if v.Until == events.Forever {
					until = ""
				}
				a.rows = append(a.rows, row{v, []string{v.From.String(), until}})
			}
			return c.print(a)
		},
	}
	when.addKnown(cmd)
	about.add(cmd)
	return cmd
}
