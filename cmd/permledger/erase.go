package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) eraseVerb() *cobra.Command {
	var write writeFlags
	cmd := &cobra.Command{
		Use:   "erase PRINCIPAL",
		Short: "Destroy the personal key of a principal: what was sealed with it is never read again",
		Long: `Destroy the personal key of a user, client or mapping rule. Every profile, reason and ticket that was sealed with
it is unreadable from then on, in the log and in every copy of it. The erasure is an event itself. Ids, events and
their hashes stay as they are, and every proof still holds; so do the permissions of the principal, which
"permledger principal delete" ends. It asks nothing, and nothing brings the key back.`,
		Example: `  permledger erase user:4711 --reason "request of 3 May" --ticket DPO-12`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			r, err := c.request(write, principal, api.Command{Do: "principal.erase", Principal: principal})
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			receipt, err := client.Submit(cmd.Context(), r, write.key)
			if err != nil {
				return err
			}
			return c.print(answer{
				value: receipt, header: eventHeader, rows: eventRows(receipt.Events),
				text: func(w io.Writer) { erasureText(w, principal, receipt) },
			})
		},
	}
	write.addCommon(cmd)
	return cmd
}

// erasureText says what is gone and, as plainly, what is not.
func erasureText(w io.Writer, p events.Principal, r api.Receipt) {
	if r.Nothing {
		fmt.Fprintf(w, "nothing about %s is sealed, at revision %d: there is no key to destroy\n", p, r.Revision)
		fmt.Fprintf(w, "  remains: what was recorded of it in clear\n")
		return
	}
	said := "erased " + p.String() + " at revision " + number(r.Revision)
	switch {
	case r.DryRun:
		said = "would erase " + p.String() + ", judged at revision " + number(r.Revision)
	case r.Replayed:
		said = "answered before: " + said
	}
	fmt.Fprintln(w, said)
	for _, e := range r.Events {
		for _, key := range e.Event.(events.PrincipalErased).Keys {
			fmt.Fprintf(w, "  destroyed: key %s, and with it every profile, reason and ticket sealed with it\n", key)
		}
	}
	fmt.Fprintf(w, "  remains: the id, the events and their hashes; every proof still holds\n")
	fmt.Fprintf(w, "  remains: what was recorded in clear, and keys in old copies of the directory of keys\n")
	fmt.Fprintf(w, "  remains: what %s holds; \"permledger principal delete\" ends that\n", p)
}
