package main

import (
	"fmt"
	"io"

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
	return parent("principal", "Users, clients and mapping rules; they exist by being named",
		c.describePrincipalVerb(), c.showPrincipalVerb(), del)
}

func (c *cli) describePrincipalVerb() *cobra.Command {
	var write writeFlags
	var profile events.Profile
	var plain bool
	cmd := &cobra.Command{
		Use: "describe PRINCIPAL", Short: "Say who is behind an id, sealed with its personal key", Args: cobra.ExactArgs(1),
		Long: `Say who is behind an id. The profile is sealed with the personal key of the principal, and so are reason and
ticket, unless --seal names somebody else: "permledger erase" makes all of it unreadable. With --plain nothing is
sealed, and what is said can never be taken back.`,
		Example: `  permledger principal describe user:4711 --name "Alice Example" --email alice@example.com
  permledger principal describe client:billing --description "nightly billing run" --plain`,
		RunE: func(cmd *cobra.Command, args []string) error {
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			if write.seal == "" && !plain && (write.reason != "" || write.ticket != "") {
				write.seal = principal.String()
			}
			return c.submit(cmd, write, principal, api.Command{
				Do: "principal.describe", Principal: principal, Profile: &profile, Plain: plain,
			})
		},
	}
	write.add(cmd)
	f := cmd.Flags()
	f.StringVar(&profile.Name, "name", "", "what people call it")
	f.StringVar(&profile.Email, "email", "", "where mail reaches it")
	f.StringVar(&profile.Phone, "phone", "", "where calls reach it")
	f.StringVar(&profile.Description, "description", "", "anything else")
	f.BoolVar(&plain, "plain", false, "record the profile in clear: it stays readable for ever")
	return cmd
}

func (c *cli) showPrincipalVerb() *cobra.Command {
	return &cobra.Command{
		Use: "show PRINCIPAL", Short: "Show who is behind an id, and whether it was erased", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			principal, err := events.ParsePrincipal(args[0])
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			p, err := client.Principal(cmd.Context(), events.Tenant(c.tenant), principal)
			if err != nil {
				return err
			}
			return c.print(answer{value: p, text: func(w io.Writer) { principalText(w, p) }})
		},
	}
}

func principalText(w io.Writer, p api.PrincipalAnswer) {
	fmt.Fprintln(w, p.Principal)
	if e := p.Described; e != nil {
		profile, why := e.Profile()
		for _, line := range [][2]string{
			{"name", profile.Name}, {"email", profile.Email}, {"phone", profile.Phone}, {"description", profile.Description},
		} {
			if line[1] != "" {
				fmt.Fprintf(w, "  %s: %s\n", line[0], oneLine(line[1]))
			}
		}
		if why != "" {
			fmt.Fprintf(w, "  sealed, and not to be read here: %s\n", why)
		}
		how := "in clear"
		if e.Event.(events.PrincipalDescribed).Sealed != nil {
			how = "sealed"
		}
		fmt.Fprintf(w, "  described %s by %s at revision %d\n", how, e.Actor, e.Revision)
	}
	if e := p.Erased; e != nil {
		fmt.Fprintf(w, "  erased by %s at revision %d: what was sealed before is not readable any more\n", e.Actor, e.Revision)
	}
	if p.Sealed {
		fmt.Fprintf(w, "  something is sealed with its key: \"permledger erase %s\" destroys it\n", p.Principal)
	}
}
