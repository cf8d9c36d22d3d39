package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
)

// Every code the server may answer with has an exit, and the table has no other codes.
func TestEveryCodeHasAnExit(t *testing.T) {
	for _, e := range api.Catalogue {
		if _, ok := exits[e.Code]; !ok {
			t.Errorf("code %s has no exit", e.Code)
		}
	}
	for code := range exits {
		if _, ok := api.Lookup(code); !ok {
			t.Errorf("code %s is in no catalogue", code)
		}
	}
}

func TestExitOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want exit
	}{
		{nil, exitYes},
		{errNo, exitNo},
		{usagef("x"), exitUsage},
		{fmt.Errorf("a: %w", events.Invalid("role", "", "must not be empty")), exitUsage},
		{api.NewError(api.CodeUnknownRole, ""), exitUsage},
		{api.NewError(api.CodeForbidden, ""), exitForbidden},
		{fmt.Errorf("a: %w", api.NewError(api.CodePreconditionFailed, "")), exitConflict},
		{api.NewError(api.CodeHalted, ""), exitIntegrity},
		{&api.Error{Status: 502}, exitServer},
		{&api.Error{Status: 418, Code: "from_the_future"}, exitServer},
		{&consumers.NetworkError{Doing: "GET /v1/check", Err: errors.New("refused")}, exitServer},
		{fmt.Errorf("read: %w", events.ErrBroken), exitIntegrity},
		{fmt.Errorf("read: %w", ledger.ErrCorrupt), exitIntegrity},
		{fmt.Errorf("open: %w", projections.ErrHalted), exitIntegrity},
		{integrityError{errors.New("views differ")}, exitIntegrity},
		{errors.New("disk full"), exitServer},
		{verdict(api.VerifyReport{Whole: true}), exitYes},
		{verdict(api.VerifyReport{Faults: []api.VerifyFault{{}}}), exitIntegrity},
		{verdict(api.VerifyReport{Whole: true, Faults: []api.VerifyFault{{}}}), exitIntegrity},
		{verdict(api.VerifyReport{}), exitIntegrity}, // of a server that says no more
	} {
		if got := exitOf(c.err); got != c.want {
			t.Errorf("exitOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}
