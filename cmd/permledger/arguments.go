package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// nameArguments makes every verb that counts its arguments say what they are: by the words of its Use line, which
// stand before its flags.
func nameArguments(cmd *cobra.Command) {
	if count := cmd.Args; count != nil && !cmd.HasSubCommands() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if count(cmd, args) == nil {
				return nil
			}
			return fmt.Errorf("%s takes %s: %s given", cmd.CommandPath(), argumentsOf(cmd), wereCounted(len(args), "argument"))
		}
	}
	for _, v := range cmd.Commands() {
		nameArguments(v)
	}
}

// argumentsOf is what a verb takes besides flags: "PRINCIPAL PERMISSION RESOURCE".
func argumentsOf(cmd *cobra.Command) string {
	var words []string
	for _, w := range strings.Fields(cmd.Use)[1:] {
		if strings.HasPrefix(strings.TrimPrefix(w, "["), "-") {
			break
		}
		words = append(words, w)
	}
	if len(words) == 0 {
		return "no arguments"
	}
	return strings.Join(words, " ")
}

func wereCounted(n int, one string) string {
	if n == 1 {
		return "1 " + one + " was"
	}
	return counted(n, one) + " were"
}
