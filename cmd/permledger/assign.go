package main

import (
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) assignVerb() *cobra.Command {
	cmd := c.assignmentVerb("assign")
	cmd.Use = "assign PRINCIPAL ROLE [RESOURCE]"
	cmd.Short = "Give a role to a principal"
	cmd.Long = `Give a role to a principal. With a resource, what the role holds is held on that resource only.`
	cmd.Example = `  permledger assign user:alice operator
  permledger assign group:release repo-admin repo:kubernetes/kubernetes`
	return cmd
}

func (c *cli) unassignVerb() *cobra.Command {
	cmd := c.assignmentVerb("unassign")
	cmd.Use = "unassign PRINCIPAL ROLE [RESOURCE]"
	cmd.Short = "Take a role from a principal, as it was given"
	return cmd
}

// assignmentVerb is assign or unassign, which take the same.
func (c *cli) assignmentVerb(do string) *cobra.Command {
	var write writeFlags
	var scope scopeFlags
	cmd := &cobra.Command{
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			resource, err := scope.resource(args[2:])
			if err != nil {
				return err
			}
			return c.submit(cmd, write, principal, api.Command{
				Do: do, Principal: principal, Role: events.Role(args[1]), Resource: resource,
			})
		},
	}
	write.add(cmd)
	scope.add(cmd)
	return cmd
}
