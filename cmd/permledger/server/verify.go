package server

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
)

// Verify holds the ledger's sides against each other; node.Node does.
type Verify func(context.Context, audit.Verification) (audit.Report, error)

func (s *Server) registerVerify() {
	if s.config.Verify == nil {
		return
	}
	op := huma.Operation{
		Method: http.MethodPost, Path: "/v1/verify", Tags: []string{"audit"},
		Summary:      "Verify the log against the archive against the tree: progress, one line at a time, and the report in the last",
		RequestBody:  jsonRequest[api.VerifyRequest](s),
		MaxBodyBytes: api.MaxBodyBytes + 1, Middlewares: huma.Middlewares{withBody}, SkipValidateBody: true,
	}
	register(s, s.lines(op, typedResponse[api.Verified](s, api.JSONLinesContentType)), s.verify)
}

type verifyInput struct {
	request
	RawBody []byte
}

// verify runs one verification at a time: each reads the whole ledger. It works when the views are halted, too;
// that is when it is asked for.
func (s *Server) verify(_ context.Context, in *verifyInput) (*streamed, error) {
	q, err := api.DecodeVerifyRequest(in.RawBody)
	if err != nil {
		return nil, err
	}
	if !s.verifying.TryLock() {
		return nil, api.NewError(api.CodeUnavailable, "a verification is running already")
	}
	v := audit.Verification{}
	for _, k := range q.Known {
		v.Known = append(v.Known, audit.Known{Name: k.Name, Mark: events.Mark{
			Ledger: k.Ledger, Revision: k.Revision, Hash: k.Hash, Position: k.Position, Root: k.Root,
		}})
	}
	head := s.config.Projector.Head().Revision
	return s.stream(in.exchange, head, true, func(ctx context.Context) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			defer s.verifying.Unlock()
			encoded(s.verified(ctx, v, head), func(line api.Verified) any { return line })(yield)
		}
	}), nil
}

// progressEvery is how often a verification says how far it is.
const progressEvery = time.Second

var errGone = errors.New("nobody listens any more")

func (s *Server) verified(ctx context.Context, v audit.Verification, head events.Revision) iter.Seq2[api.Verified, error] {
	return func(yield func(api.Verified, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		told := time.Now()
		v.Progress = func(done events.Head) {
			if time.Since(told) < progressEvery || ctx.Err() != nil {
				return
			}
			told = time.Now()
			if !yield(api.Verified{Revision: done.Revision, Of: head}, nil) {
				cancel(errGone)
			}
		}
		report, err := s.config.Verify(ctx, v)
		if ctx.Err() != nil {
			return
		}
		wire := WireReport(report, len(v.Known))
		yield(api.Verified{Revision: report.Head.Revision, Of: head, Report: &wire}, err)
	}
}

// WireReport is a report as it travels. outside is how many checkpoints from elsewhere it was held against.
func WireReport(r audit.Report, outside int) api.VerifyReport {
	wire := api.VerifyReport{
		Whole: r.Whole(), Ledger: r.Head.Ledger, Revision: r.Head.Revision, Head: r.Head.Hash, Position: r.Head.Position,
		Root: r.Root, Faults: []api.VerifyFault{}, Outside: outside,
	}
	for _, f := range r.Faults {
		wire.Faults = append(wire.Faults, api.VerifyFault{Side: string(f.Side), Revision: f.Revision, Why: f.Why, Count: f.Count})
	}
	return wire
}
