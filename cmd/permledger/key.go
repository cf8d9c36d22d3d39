package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
)

func (c *cli) keyVerb() *cobra.Command {
	return parent("key", "The keys with which the ledger signs", c.keyListVerb(), c.keyRotateVerb())
}

func (c *cli) keyListVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys of the ledger, oldest first, each with the first and the last revision it signs",
		Long: `List the keys of the ledger, oldest first: the key, and the first and the last revision whose checkpoints it
signs; "-" stands for no end. What is printed is what check-proof takes as a file of keys. Keep it where
whoever can write to the ledger cannot: it is what everything else is held against.`,
		Example: `  permledger key list > ledger.keys
  permledger check-proof 4711.tlog-proof --key ledger.keys`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			keys, err := client.Keys(cmd.Context())
			if err != nil {
				return err
			}
			rows := make([]row, len(keys.Keys))
			for i, k := range keys.Keys {
				until := ""
				if k.Until > 0 {
					until = number(k.Until)
				}
				rows[i] = row{k, []string{k.Key, number(k.From), until}}
			}
			return c.print(answer{
				value: keys, header: []string{"key", "from", "until"}, rows: rows,
				text: func(w io.Writer) {
					for _, k := range keys.Keys {
						fmt.Fprintln(w, k)
					}
				},
			})
		},
	}
}

func (c *cli) keyRotateVerb() *cobra.Command {
	var reason, ticket, onBehalfOf string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the key of the ledger by a new one, which the old one announces",
		Long: `Replace the key of the ledger. The new one is made by the server and announced in a commit that the old one
signs; from that revision on it signs, and the old one counts for earlier revisions only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			r := api.KeyRotation{Reason: reason, Ticket: ticket}
			if r.OnBehalfOf, err = principalFlag("--on-behalf-of", onBehalfOf); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			receipt, err := client.RotateKey(cmd.Context(), r)
			if err != nil {
				return err
			}
			return c.printReceipt(receipt)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in words")
	cmd.Flags().StringVar(&ticket, "ticket", "", "why, by reference")
	cmd.Flags().StringVar(&onBehalfOf, "on-behalf-of", "", "the principal it is done for")
	return cmd
}
