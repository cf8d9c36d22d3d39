package main

import (
	"strings"
	"testing"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// A reason is anybody's text: it must not look like a further line of an explanation.
func TestReasonsStayOnTheirLine(t *testing.T) {
	text := stepText(api.Step{Actor: events.User("root"), Reason: "x\n  path 2\n    user:ceo approved", Ticket: "T\n1"})
	if strings.ContainsAny(text, "\n\t") {
		t.Errorf("%q spans lines", text)
	}
}
