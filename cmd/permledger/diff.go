package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) diffVerb() *cobra.Command {
	var from, to, principal, atLeast string
	var valid bool
	cmd := &cobra.Command{
		Use:   "diff --from REVISION|TIME [--to REVISION|TIME]",
		Short: "List what changed in effective access between two points; exit 1 if anything did",
		Long: `List who gained and who lost which access between two points, with the facts that made the difference. A
time means what was answered then; with --valid, what was true then by all that is known now. A change
without causes was made by time alone: something started or expired.`,
		Example: `  permledger diff --from -24h
  permledger diff --from 40 --to 41 --principal user:alice -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			q := api.DiffQuery{Tenant: events.Tenant(c.tenant), Mode: api.DiffAsOf}
			if valid {
				q.Mode = api.DiffValid
			}
			if q.From, err = c.known("--from", from); err != nil {
				return err
			}
			if to != "" {
				if q.To, err = c.known("--to", to); err != nil {
					return err
				}
			}
			if backwards(q.From, q.To) {
				return usagef("--from %s --to %s: the earlier point must be --from", from, to)
			}
			if q.Principal, err = principalFlag("--principal", principal); err != nil {
				return err
			}
			if q.AtLeast, err = parseAtLeast(atLeast); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			d, err := client.Diff(cmd.Context(), q)
			if err != nil {
				return err
			}
			a := answer{value: d, header: []string{"change", "principal", "permission", "resource", "causes"}}
			for _, change := range d.Changes {
				a.rows = append(a.rows, row{change, changeCells(change)})
			}
			if err := c.print(a); err != nil {
				return err
			}
			if len(d.Changes) > 0 {
				return errNo
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "the earlier point")
	f.StringVar(&to, "to", "", "the later point; default now")
	f.StringVar(&principal, "principal", "", "only this principal")
	f.BoolVar(&valid, "valid", false, "compare what was true, rather than what was answered")
	f.StringVar(&atLeast, "at-least", "", "wait until the server has applied this revision")
	must(cmd.MarkFlagRequired("from"))
	return cmd
}

// backwards reports whether a period ends before it begins. Of a revision and a time nobody here knows the order.
func backwards(from, to api.Known) bool {
	if from.Revision != 0 && to.Revision != 0 {
		return to.Revision < from.Revision
	}
	return !from.Time.IsZero() && !to.Time.IsZero() && to.Time < from.Time
}

func changeCells(change api.Change) []string {
	word := "lost"
	if change.Gained {
		word = "gained"
	}
	var causes []string
	for _, s := range change.Causes {
		if text := causeText(s); !slices.Contains(causes, text) {
			causes = append(causes, text)
		}
	}
	return []string{word, change.Principal.String(), change.Permission, change.Resource, strings.Join(causes, "; ")}
}

// causeText is an event in a few words: "role.created role:viewer (revision 3)".
func causeText(s api.Step) string {
	text := s.Type
	if what := stepWhat(s); what != "" {
		text += " " + what
	}
	return text + " (revision " + number(s.Revision) + ")"
}
