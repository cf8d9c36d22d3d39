package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// questionFlags say about whom a question is besides its principal, and what holds of the resource.
type questionFlags struct {
	client     string
	properties []string
}

func (f *questionFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.client, "client", "", "a client's id, which is asked about instead of the user")
	cmd.Flags().StringArrayVar(&f.properties, "property", nil, "a property that holds of the resource for the principal")
}

// question reads PRINCIPAL PERMISSION RESOURCE.
func (f questionFlags) question(args []string, w api.When) (q api.Question, err error) {
	q = api.Question{When: w, Permission: events.PermissionName(args[1]), Properties: f.properties}
	if q.Principal, err = events.ParsePrincipal(args[0]); err != nil {
		return q, err
	}
	if q.Resource, err = api.ParseResource("resource", args[2]); err != nil {
		return q, err
	}
	if f.client != "" {
		q.Client = events.Client(strings.TrimPrefix(f.client, string(events.KindClient)+":"))
		err = q.Client.Check()
	}
	return q, err
}

func (c *cli) checkVerb() *cobra.Command {
	var when whenFlags
	var about questionFlags
	var explain bool
	cmd := &cobra.Command{
		Use:   "check PRINCIPAL PERMISSION RESOURCE",
		Short: "Ask whether a principal may do something; exit 0 is yes, 1 is no",
		Example: `  permledger check user:alice read:* api:operate-api
  permledger check user:alice UPDATE process:invoice --as-of 2026-03-20 --explain
  permledger check user:alice read:* api:operate-api --valid-at -24h --known-at 41`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, w, err := c.ask(when)
			if err != nil {
				return err
			}
			q, err := about.question(args, w)
			if err != nil {
				return err
			}
			var d api.Decision
			if explain {
				e, err := client.Explain(cmd.Context(), q)
				if err != nil {
					return err
				}
				d = e.Decision
				err = c.print(decisionAnswer(d, e, func(w io.Writer) { explainText(w, e) }))
				if err != nil {
					return err
				}
			} else {
				if d, err = client.Check(cmd.Context(), q); err != nil {
					return err
				}
				if err := c.print(decisionAnswer(d, d, func(w io.Writer) { decisionText(w, d) })); err != nil {
					return err
				}
			}
			if !d.Allowed {
				return errNo
			}
			return nil
		},
	}
	when.add(cmd)
	about.add(cmd)
	cmd.Flags().BoolVar(&explain, "explain", false, "show every path that leads to it, with who recorded it and why")
	return cmd
}

// decisionAnswer prints the same row for a decision and an explanation; value has the rest.
func decisionAnswer(d api.Decision, value any, text func(io.Writer)) answer {
	return answer{
		value:  value,
		header: []string{"allowed", "outcome", "reason", "missing", "revision", "valid_at"},
		rows: []row{{value, []string{
			strconv.FormatBool(d.Allowed), string(d.Outcome), d.Reason, needsText(d.Missing), number(d.Revision), d.ValidAt.String(),
		}}},
		text: text,
	}
}

func decisionText(w io.Writer, d api.Decision) {
	word := "no"
	if d.Allowed {
		word = "yes"
	}
	fmt.Fprintf(w, "%s: %s\n", word, d.Reason)
	if len(d.Missing) > 0 {
		fmt.Fprintf(w, "  missing: %s\n", needsText(d.Missing))
	}
}

func explainText(w io.Writer, e api.Explanation) {
	decisionText(w, e.Decision)
	for i, p := range e.Paths {
		on := ""
		if !p.Scope.IsZero() {
			on = ", on " + p.Scope.String()
		}
		fmt.Fprintf(w, "  path %d%s\n", i+1, on)
		for _, s := range p.Steps {
			fmt.Fprintf(w, "    %s\n      %s\n", stepWhat(s), stepText(s))
		}
	}
	for _, r := range e.Requires {
		met := "not met"
		if len(r.Met) > 0 {
			met = "met by " + needsText([][]events.Permission{r.Met})
		}
		basis := ""
		if r.Basis != "" {
			basis = " (" + oneLine(r.Basis) + ")"
		}
		fmt.Fprintf(w, "  requires %s: %s%s\n", needsText([][]events.Permission{r.AnyOf}), met, basis)
	}
	fmt.Fprintf(w, "  as known at revision %d, valid at %s\n", e.Revision, e.ValidAt)
}

// stepWhat is the fact of a step in words, or what the event names when it is about none.
func stepWhat(s api.Step) string {
	if s.Fact == nil {
		return s.About
	}
	return edgeText(s.Fact.Edge)
}

// stepText says since when a fact holds, who recorded it and why.
func stepText(s api.Step) string {
	text := "recorded by " + s.Actor.String()
	if s.Fact != nil {
		text = sinceText(s.Fact.Interval) + ", " + text
	}
	if !s.OnBehalfOf.IsZero() {
		text += " for " + s.OnBehalfOf.String()
	}
	text += " at revision " + number(s.Revision)
	reason, ticket := s.ReasonAndTicket()
	if reason != "" {
		text += ", because: " + oneLine(reason)
	}
	if ticket != "" {
		text += " [" + oneLine(ticket) + "]"
	}
	if s.Fact != nil {
		text += ", fact " + s.Fact.ID.String()
	}
	return text
}

func sinceText(v events.Interval) string {
	text := "always"
	if !v.From.IsZero() {
		text = "since " + v.From.String()
	}
	if v.Until != events.Forever {
		text += " until " + v.Until.String()
	}
	return text
}
