package main

import (
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) principalVerb() *cobra.Command {
	var write writeFlags
	del := &cobra.Command{
		Use: "delete PRINCIPAL", Short: "End everything a principal holds; its id, used again, inherits nothing", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			return c.submit(cmd, write, principal, api.Command{Do: "principal.delete", Principal: principal})
		},
	}
	write.add(del)
	return parent("principal", "Users, clients and mapping rules; they exist by being named", del)
}
