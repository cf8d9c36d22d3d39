package node

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// source is the log as the projector reads it. The projector opens before the log does, because the log must
// not open below the projector's head.
type source struct{ log atomic.Pointer[ledger.Log] }

func (s *source) set(l ledger.Log) { s.log.Store(&l) }

func (s *source) Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error] {
	l := s.log.Load()
	if l == nil {
		return func(yield func(events.Stored, error) bool) { yield(events.Stored{}, errNoLog) }
	}
	return (*l).Read(ctx, from)
}

func (s *source) Last(ctx context.Context) (events.Revision, error) {
	l := s.log.Load()
	if l == nil {
		return 0, errNoLog
	}
	return (*l).Last(ctx)
}

var errNoLog = fmt.Errorf("%w: the log is not open", ledger.ErrUnavailable)
