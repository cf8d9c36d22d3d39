package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every verb that takes a number of arguments names as many in its Use line, so that the error of a wrong number is
// no riddle.
func TestVerbsNameTheirArguments(t *testing.T) {
	c := &cli{getenv: func(string) string { return "" }}
	seen := 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, v := range cmd.Commands() {
			walk(v)
		}
		if cmd.HasSubCommands() || cmd.Args == nil {
			return
		}
		seen++
		words := strings.Fields(argumentsOf(cmd))
		if argumentsOf(cmd) == "no arguments" {
			words = nil
		}
		if err := cmd.Args(cmd, words); err != nil {
			t.Errorf("what %q names is refused: %v", cmd.Use, err)
		}
		err := cmd.Args(cmd, append(words, "one too many"))
		if err == nil || !strings.Contains(err.Error(), cmd.CommandPath()+" takes "+argumentsOf(cmd)+": ") {
			t.Errorf("%s with one argument more: %v", cmd.CommandPath(), err)
		}
	}
	walk(c.root())
	if seen < 30 {
		t.Errorf("looked at %d verbs only", seen)
	}
}
