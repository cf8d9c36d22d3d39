package main

import (
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) adminVerb() *cobra.Command {
	return parent("admin", "Those who administer the ledger itself: every tenant, every command",
		c.adminChangeVerb("add", "Let a principal administer the ledger"),
		c.adminChangeVerb("remove", "End that a principal administers the ledger; the last one stays"),
	)
}

func (c *cli) adminChangeVerb(word, short string) *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use: word + " PRINCIPAL", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			return c.submit(cmd, write, principal, api.Command{Do: "administrator." + word, Principal: principal})
		},
	}
	write.add(cmd)
	return cmd
}
