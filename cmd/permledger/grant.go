package main

import (
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// scopeFlags say on what, where a written resource cannot: everything of a type has no written form,
// because the star is an ordinary character here.
type scopeFlags struct {
	any      string
	property string
}

func (f *scopeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.any, "any", "", "instead of RESOURCE: every resource of this type")
	cmd.Flags().StringVar(&f.property, "property", "", "instead of RESOURCE: TYPE/NAME, those of which the property holds")
	cmd.MarkFlagsMutuallyExclusive("any", "property")
}

// resource reads the RESOURCE argument, if there is one, or the flag instead of it. The zero Resource
// means that none was given.
func (f scopeFlags) resource(args []string) (r api.Resource, err error) {
	written := ""
	if len(args) > 0 {
		written = args[0]
	}
	switch {
	case written != "" && (f.any != "" || f.property != ""):
		return r, usagef("RESOURCE stands already: leave out --any and --property")
	case f.any != "":
		return api.Resource{Type: events.ResourceType(f.any), Any: true}, events.ResourceType(f.any).Check()
	case f.property != "":
		r, err = api.ParseResource("--property", f.property)
		if err == nil && r.Property == "" {
			err = events.Invalid("--property", f.property, "must be TYPE/NAME, as in USER_TASK/assignee")
		}
		return r, err
	case written != "":
		return api.ParseResource("resource", written)
	}
	return api.Resource{}, nil
}

// needed is resource where one must be given.
func (f scopeFlags) needed(args []string) (api.Resource, error) {
	r, err := f.resource(args)
	if err == nil && r.IsZero() {
		err = usagef("needs RESOURCE (api:AUDIENCE, TYPE:ID), --any TYPE or --property TYPE/NAME")
	}
	return r, err
}

func (c *cli) grantVerb() *cobra.Command {
	cmd := c.permissionVerb("grant")
	cmd.Use = "grant PRINCIPAL PERMISSION RESOURCE"
	cmd.Short = "Give a permission to a principal"
	cmd.Example = `  permledger grant user:alice read:* api:operate-api --reason "on call" --ticket OPS-7
  permledger grant group:ops UPDATE process:invoice --valid-until 2026-12-31
  permledger grant client:worker UPDATE --any process`
	return cmd
}

func (c *cli) revokeVerb() *cobra.Command {
	cmd := c.permissionVerb("revoke")
	cmd.Use = "revoke PRINCIPAL PERMISSION RESOURCE"
	cmd.Short = "Take a permission from a principal, as it was given"
	return cmd
}

// permissionVerb is grant or revoke, which take the same.
func (c *cli) permissionVerb(do string) *cobra.Command {
	var write writeFlags
	var scope scopeFlags
	cmd := &cobra.Command{
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			resource, err := scope.needed(args[2:])
			if err != nil {
				return err
			}
			return c.submit(cmd, write, principal, api.Command{
				Do: do, Principal: principal, Permission: events.PermissionName(args[1]), Resource: resource,
			})
		},
	}
	write.add(cmd)
	scope.add(cmd)
	return cmd
}
