package main

import (
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// whenFlags place a question in time. Every verb that asks has them.
type whenFlags struct {
	validAt string
	knownAt string
	asOf    string
	atLeast string
}

func (f *whenFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.validAt, "valid-at", "", "the instant asked about; default now")
	f.addKnown(cmd)
}

// addKnown leaves --valid-at out, for verbs whose answer spans time or that give it a meaning of their own.
func (f *whenFlags) addKnown(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.knownAt, "known-at", "", "the knowledge used: a revision, or a time; default the newest")
	cmd.Flags().StringVar(&f.asOf, "as-of", "", "both at once: what would have been answered then")
	cmd.Flags().StringVar(&f.atLeast, "at-least", "", "wait until the server has applied this revision")
	cmd.MarkFlagsMutuallyExclusive("as-of", "known-at")
	if cmd.Flags().Lookup("valid-at") != nil {
		cmd.MarkFlagsMutuallyExclusive("as-of", "valid-at")
	}
}

func (c *cli) when(f whenFlags) (w api.When, err error) {
	w.Tenant = events.Tenant(c.tenant)
	if w.ValidAt, err = parseTime("--valid-at", f.validAt, c.now()); err != nil {
		return w, err
	}
	if w.AsOf, err = parseTime("--as-of", f.asOf, c.now()); err != nil {
		return w, err
	}
	if w.KnownAt, err = c.known("--known-at", f.knownAt); err != nil {
		return w, err
	}
	w.AtLeast, err = parseAtLeast(f.atLeast)
	return w, err
}

func parseAtLeast(s string) (events.Revision, error) {
	if s == "" {
		return 0, nil
	}
	return api.ParseRevision("--at-least", s)
}

// known reads a revision or a time.
func (c *cli) known(field, s string) (api.Known, error) {
	if r, ok := parseRevision(s); ok {
		if r == 0 {
			return api.Known{}, events.Invalid(field, s, "revisions count from 1")
		}
		return api.Known{Revision: r}, nil
	}
	t, err := parseTime(field, s, c.now())
	return api.Known{Time: t}, err
}

// ask is what every question begins with: the way to the server, and when.
func (c *cli) ask(f whenFlags) (*consumers.Client, api.When, error) {
	w, err := c.when(f)
	if err != nil {
		return nil, w, err
	}
	client, err := c.client()
	return client, w, err
}
