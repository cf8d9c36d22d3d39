package server

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/checkpoint"
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
	register(s, bytesOf(query("/v1/events/{id}/proof", "That an event is in the ledger, by its id or position"), textType,
		"A proof (c2sp.org/tlog-proof)"), s.proof)
	keys := query("/v1/keys", "The keys of the ledger and the revisions whose checkpoints they sign")
	keys.Tags = []string{"proof"}
	register(s, keys, s.keys)
	register(s, huma.Operation{
		Method: http.MethodPost, Path: "/v1/keys/rotate", Tags: []string{"write"},
		Summary:      "Replace the key of the ledger",
		RequestBody:  jsonRequest[api.KeyRotation](s),
		MaxBodyBytes: api.MaxBodyBytes + 1, Middlewares: huma.Middlewares{withBody}, SkipValidateBody: true,
	}, s.rotateKey)
}

type proofInput struct {
	request
	ID      string `path:"id" doc:"The event's id, or its position"`
	AtLeast string `query:"at_least" doc:"Wait until this revision is applied"`
}

func (s *Server) proof(ctx context.Context, in *proofInput) (*written, error) {
	if in.AtLeast != "" {
		revision, err := api.ParseRevision("at_least", in.AtLeast)
		if err == nil {
			err = s.applied(ctx, revision)
		}
		if err != nil {
			return nil, err
		}
	}
	position, err := s.positionOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	proofs, err := s.config.Checkpoints.Prove(ctx, position)
	if err != nil {
		return nil, err
	}
	return &written{textType, "no-store", proofs[0].Marshal()}, nil
}

// positionOf finds an event by its position or id.
func (s *Server) positionOf(ctx context.Context, event string) (events.Position, error) {
	var position uint64
	if parsePosition("event", event, &position) == nil {
		return events.Position(position), nil
	}
	var id uuid.UUID
	if err := parseID("event", event, &id); err != nil {
		return 0, events.Invalid("event", event, "must be the id of an event, or its position: a number from 1")
	}
	r, err := s.config.Audit.ByID(ctx, id)
	return r.Position, err
}

// proveReceipt adds the proofs of the events of a receipt. That there are none is no failure of what was done.
func (s *Server) proveReceipt(ctx context.Context, r *api.Receipt) {
	positions := each(r.Events, func(e api.Event) events.Position { return e.Position })
	if len(positions) == 0 {
		return
	}
	proofs, err := s.config.Checkpoints.Prove(ctx, positions...)
	if err != nil {
		r.Unproved = problemOf(err).Error()
		return
	}
	r.Proofs = each(proofs, func(p checkpoint.Proof) string { return string(p.Marshal()) })
}

type keysInput struct{ request }

func (s *Server) keys(ctx context.Context, _ *keysInput) (*answered[api.Keys], error) {
	revision := s.config.Audit.Head().Revision
	keys, err := node.Keys(ctx, s.config.Audit)
	if err != nil {
		return nil, err
	}
	return answer(revision, api.Keys{Revision: revision, Keys: each(keys, func(k checkpoint.Key) api.Key {
		return api.Key{Key: k.Verifier, From: k.From, Until: k.Until}
	})}), nil
}

type rotation struct {
	request
	RawBody []byte
}

func (s *Server) rotateKey(ctx context.Context, in *rotation) (*answered[api.Receipt], error) {
	wire, err := api.DecodeKeyRotation(in.RawBody)
	if err != nil {
		return nil, err
	}
	meta := in.exchange.meta()
	meta.Reason, meta.Ticket, meta.OnBehalfOf = wire.Reason, wire.Ticket, wire.OnBehalfOf
	if wire.RequestID != "" {
		meta.RequestID = wire.RequestID
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.WriteTimeout)
	defer cancel()
	receipt, err := s.config.RotateKey(ctx, meta)
	if err != nil {
		return nil, err
	}
	return answer(receipt.Revision, s.wireReceipt(receipt)), nil
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
