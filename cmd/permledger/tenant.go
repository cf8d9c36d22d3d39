package main

import (
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) tenantVerb() *cobra.Command {
	var name string
	create := c.tenantChangeVerb("create TENANT", "Create a tenant", func() api.Command {
		return api.Command{Do: "tenant.create", Name: name}
	})
	create.Flags().StringVar(&name, "name", "", "what people call it")
	return parent("tenant", "Isolated worlds of principals, roles, groups and grants",
		create,
		c.tenantChangeVerb("delete TENANT", "Delete a tenant and everything in it", func() api.Command {
			return api.Command{Do: "tenant.delete"}
		}),
	)
}

// tenantChangeVerb names the tenant by argument, so that nobody deletes the one they happen to work in.
func (c *cli) tenantChangeVerb(use, short string, command func() api.Command) *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.tenant = args[0]
			return c.submit(cmd, write, events.Principal{}, command())
		},
	}
	write.add(cmd)
	return cmd
}
