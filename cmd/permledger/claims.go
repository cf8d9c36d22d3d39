package main

import (
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/events"
)

func (c *cli) claimsVerb() *cobra.Command {
	var when whenFlags
	cmd := &cobra.Command{
		Use:   "claims PRINCIPAL",
		Short: "Give the permissions of a principal as an access token carries them",
		Long: `Give the permissions of a principal as an access token carries them: an object keyed by the exact
audience, holding the sorted names that are effective and about no resource.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			claims, err := client.Claims(cmd.Context(), principal, w)
			if err != nil {
				return err
			}
			a := answer{value: claims, header: []string{"audience", "permission"}}
			for _, audience := range claims.Audiences {
				for _, name := range claims.Permissions[audience] {
					item := map[string]string{"audience": audience, "permission": string(name)}
					a.rows = append(a.rows, row{item, []string{audience, string(name)}})
				}
			}
			return c.print(a)
		},
	}
	when.add(cmd)
	return cmd
}
