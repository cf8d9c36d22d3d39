package main

import (
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

func (c *cli) correctVerb() *cobra.Command {
	var write writeFlags
	var from, until string
	cmd := &cobra.Command{
		Use:   "correct FACT",
		Short: "Replace the validity of a fact by what really was",
		Long: `Replace the validity of a fact by what really was. What was answered before stays visible: --as-of still
gives the old answer, --valid-at the corrected one. The id of a fact is the id of the event that created
it; "check --explain" and "history" show it.`,
		Example: `  permledger correct 0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c --valid-until 2026-03-15 --reason "left in March"
  permledger correct 0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c --valid-until forever`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fact, err := uuid.Parse(args[0])
			if err != nil {
				return events.Invalid("fact", args[0], "must be the id of the event that created it")
			}
			command := api.Command{Do: "correct", Fact: fact}
			start, err := parseTime("--valid-from", from, c.now())
			if err != nil {
				return err
			}
			end, err := parseTimeOrForever("--valid-until", until, c.now())
			if err != nil {
				return err
			}
			if start.IsZero() && end.IsZero() {
				return usagef("needs --valid-from, --valid-until or both")
			}
			command.ValidFrom, command.ValidUntil = api.Time(start), api.Time(end)
			return c.submit(cmd, write, events.Principal{}, command)
		},
	}
	cmd.Flags().StringVar(&from, "valid-from", "", "when it really began; default as it was")
	cmd.Flags().StringVar(&until, "valid-until", "", `when it really ended, or "forever"; default as it was`)
	write.addCommon(cmd)
	return cmd
}
