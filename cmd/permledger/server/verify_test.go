package server

import (
	"errors"
	"testing"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger/memlog"
)

func TestVerify(t *testing.T) {
	w := newWorld(t)
	verify := func(q api.VerifyRequest) api.VerifyReport {
		t.Helper()
		report, err := w.client.Verify(t.Context(), q, nil)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	head := w.node.Projector.Head()
	report := verify(api.VerifyRequest{})
	if !report.Whole || report.Revision != head.Revision || report.Head != head.Hash || report.Root == (events.Hash{}) || report.Outside != 0 {
		t.Errorf("%+v", report)
	}
	known := api.KeptMark{Name: "monday", Ledger: head.Ledger, Revision: head.Revision, Hash: head.Hash, Position: head.Position, Root: report.Root}
	if report := verify(api.VerifyRequest{Known: []api.KeptMark{known}}); !report.Whole || report.Outside != 1 {
		t.Errorf("%+v", report)
	}
	known.Root[0] ^= 1
	if report := verify(api.VerifyRequest{Known: []api.KeptMark{known}}); report.Whole || len(report.Faults) != 1 || report.Faults[0].Side != "checkpoint" {
		t.Errorf("with another root: %+v", report)
	}

	w.server.verifying.Lock()
	if _, err := w.client.Verify(t.Context(), api.VerifyRequest{}, nil); !errors.Is(err, &api.Error{Code: api.CodeUnavailable}) {
		t.Errorf("two at once: %v", err)
	}
	w.server.verifying.Unlock()

	// A halted ledger is still looked at: that is when somebody wants to.
	w.node.Log.(*memlog.Log).Replace(1, []byte("{}"))
	if err := w.node.Projector.Halt(errors.New("for the test")); err == nil {
		t.Fatal("not halted")
	}
	report = verify(api.VerifyRequest{})
	if report.Whole || len(report.Faults) != 1 || report.Faults[0].Side != "log" || report.Faults[0].Revision != 1 {
		t.Errorf("%+v", report)
	}
}
