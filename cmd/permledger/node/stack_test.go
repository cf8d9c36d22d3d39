package node_test

import (
	"context"
	"time"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/memlog"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/pebblekv"
)

// stack is everything between a command and an answer, in memory, with a clock of the test's own.
type stack struct {
	store     *pebblekv.Store
	projector *projections.Projector
	ledger    *ledger.Ledger
	trail     *audit.Trail
	access    *access.View
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func openStack(t fataler, log *memlog.Log, clock func() time.Time) *stack {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{CacheBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	p, err := projections.Open(store, log, node.Views()...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(context.Background(), log, log, node.Projection(p), ledger.Config{Clock: clock, NoticeInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	trail := audit.NewTrail(p)
	return &stack{store, p, l, trail, access.NewView(p, trail, clock)}
}

func (s *stack) close(t fataler) {
	t.Helper()
	if err := s.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
}
