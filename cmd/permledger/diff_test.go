package main

import (
	"testing"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// A cause is named once, however often it is in the way, and two that differ stay two.
func TestCausesAreNamedOnce(t *testing.T) {
	defined := api.Step{Type: "permission.defined", About: "read of files", Revision: 3}
	other := api.Step{Type: "permission.defined", About: "write of files", Revision: 3}
	bare := api.Step{Type: "ledger.created", Revision: 1}
	got := changeCells(api.Change{Principal: events.User("alice"), Causes: []api.Step{bare, defined, other, defined}})[4]
	want := "ledger.created (revision 1); permission.defined read of files (revision 3); permission.defined write of files (revision 3)"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
