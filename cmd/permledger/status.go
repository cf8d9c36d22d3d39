package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
)

func (c *cli) statusVerb() *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how far the server is; exit 3 if it is not ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if ready {
				return client.Ready(cmd.Context())
			}
			s, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			err = c.print(answer{
				value:  s,
				header: []string{"ready", "revision", "position", "head_hash", "recorded_at", "ledger", "version"},
				rows: []row{{s, []string{
					strconv.FormatBool(s.Ready), number(s.Revision), number(s.Position), s.Head, s.RecordedAt.String(), s.Ledger.String(), s.Version,
				}}},
				text: func(w io.Writer) { statusText(w, s) },
			})
			if err == nil && !s.Ready {
				err = api.NewError(api.CodeUnavailable, s.Reason)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "only ask whether the server is ready; prints nothing and needs no token")
	return cmd
}

func statusText(w io.Writer, s api.Status) {
	state := "ready"
	if !s.Ready {
		state = "not ready: " + s.Reason
	}
	fmt.Fprintf(w, "%s\n", state)
	fmt.Fprintf(w, "  ledger       %s\n", s.Ledger)
	fmt.Fprintf(w, "  revision     %d, recorded at %s\n", s.Revision, s.RecordedAt)
	fmt.Fprintf(w, "  position     %d\n", s.Position)
	fmt.Fprintf(w, "  head hash    %s\n", s.Head)
	if s.Space != "" && s.Space != "open" {
		fmt.Fprintf(w, "  space        %s\n", s.Space)
	}
	if s.Feed != nil {
		fmt.Fprintf(w, "  feed         at position %d", s.Feed.Position)
		if s.Feed.Error != "" {
			fmt.Fprintf(w, ", %s", oneLine(s.Feed.Error))
		}
		fmt.Fprintln(w)
	}
	if s.Scrub != nil {
		fmt.Fprintf(w, "  verified     up to revision %d", s.Scrub.Revision)
		if !s.Scrub.At.IsZero() {
			fmt.Fprintf(w, ", at %s", s.Scrub.At)
		}
		if s.Scrub.Passes > 0 {
			fmt.Fprintf(w, "; the whole ledger %s", counted(s.Scrub.Passes, "time"))
		}
		fmt.Fprintln(w)
	}
	if s.Checkpoint != nil {
		checkpointText(w, *s.Checkpoint)
	}
	fmt.Fprintf(w, "  version      %s\n", s.Version)
}

func checkpointText(w io.Writer, c api.CheckpointStatus) {
	fmt.Fprintf(w, "  checkpoint   of position %d, signed at %s\n", c.Position, c.SignedAt)
	if c.Error != "" {
		fmt.Fprintf(w, "               %s\n", oneLine(c.Error))
	}
	for _, witness := range c.Witnesses {
		said := "cosigns"
		if witness.Error != "" {
			said = "does not cosign: " + oneLine(witness.Error)
		}
		fmt.Fprintf(w, "  witness      %s %s\n", witness.Name, said)
	}
}
