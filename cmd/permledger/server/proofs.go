package server

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
)

// What an auditor takes away is answered as the bytes themselves, in the formats of c2sp.org: they are signed, or
// hashed into what is signed, and stand for themselves.

// written is the output of an operation that answers bytes.
type written struct {
	Type  string `header:"Content-Type"`
	Cache string `header:"Cache-Control"`
	Body  []byte
}

const (
	textType  = "text/plain; charset=utf-8"
	bytesType = "application/octet-stream"
)

// bytesOf documents an operation that answers bytes.
func bytesOf(op huma.Operation, contentType, what string) huma.Operation {
	op.Tags = []string{"proof"}
	op.Responses = map[string]*huma.Response{"200": {
		Description: what,
		Content:     map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	return op
}

func (s *Server) registerProofs() {
	register(s, bytesOf(query("/v1/checkpoint", "How far the ledger had got, signed"), textType,
		"A checkpoint (c2sp.org/tlog-checkpoint)"), s.checkpoint)
}

type checkpointInput struct {
	request
	At string `query:"at" doc:"The newest one signed at or before (RFC 3339); default the newest"`
}

func (s *Server) checkpoint(ctx context.Context, in *checkpointInput) (*written, error) {
	var at events.Instant
	if err := parseTime("at", in.At, &at); err != nil {
		return nil, err
	}
	if at.IsZero() {
		if latest := s.config.Checkpoints.Latest(); latest != nil {
			return &written{textType, "no-store", latest}, nil
		}
		return nil, fmt.Errorf("checkpoint: %w", audit.ErrNotFound)
	}
	signed, ok, err := s.config.Checkpoints.Before(ctx, at)
	if err == nil && !ok {
		err = fmt.Errorf("checkpoint at %s: %w", at, audit.ErrNotFound)
	}
	return &written{textType, "no-store", signed}, err
}
