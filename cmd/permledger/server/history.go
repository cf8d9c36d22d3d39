package server

import (
	"context"
	"iter"
	"strconv"

	"github.com/google/uuid"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
)

// How many events one answer of /v1/history holds.
const (
	defaultHistory = 1000
	maxHistory     = 10_000
)

// EventFilter is what may be said of the events wanted; exported for huma, as When is.
type EventFilter struct {
	Tenant     string `query:"tenant"`
	Principal  string `query:"principal" doc:"Whom it is about: who got or lost something, or the role or group"`
	Actor      string `query:"actor" doc:"Who did it"`
	Permission string `query:"permission" doc:"The exact name"`
	API        string `query:"api" doc:"The API's id"`
	Type       string `query:"type" doc:"The event's name, as in role.assigned"`
}

func (f EventFilter) parse() (out audit.Filter, err error) {
	out.Tenant, out.Type = events.Tenant(f.Tenant), f.Type
	if f.Principal != "" {
		if out.Principal, err = parsePrincipal("principal", f.Principal); err != nil {
			return out, err
		}
	}
	if f.Actor != "" {
		if out.Actor, err = parsePrincipal("actor", f.Actor); err != nil {
			return out, err
		}
	}
	if f.Permission != "" {
		if out.Permission.Name, err = parsePermission(f.Permission); err != nil {
			return out, err
		}
	}
	out.API = events.API(f.API)
	return out, firstError(optional(f.Tenant, out.Tenant.Check), optional(f.API, out.API.Check), checkEventName(f.Type))
}

func optional(value string, check func() error) error {
	if value == "" {
		return nil
	}
	return check()
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkEventName(name string) error {
	if name == "" {
		return nil
	}
	for _, known := range events.Names() {
		if known == name {
			return nil
		}
	}
	return events.Invalid("type", name, "must be the name of an event, as in role.assigned")
}

type historyInput struct {
	request
	EventFilter
	OnBehalfOf string `query:"on_behalf_of" doc:"Whom it was done for"`
	Fact       string `query:"fact" doc:"The id of a fact: what created, ended, corrected or noticed it"`
	Command    string `query:"command" doc:"The id of a command"`
	Since      string `query:"since" doc:"Recorded at or after (RFC 3339)"`
	Until      string `query:"until" doc:"Recorded before (RFC 3339)"`
	After      string `query:"after" doc:"Behind this position"`
	Before     string `query:"before" doc:"Before this position"`
	Newest     string `query:"newest" enum:"true,false" doc:"Newest first"`
	Limit      string `query:"limit" doc:"Events in the answer"`
	AtLeast    string `query:"at_least" doc:"Wait until this revision is applied"`
}

func (in *historyInput) parse() (f audit.Filter, limit int, err error) {
	if f, err = in.EventFilter.parse(); err != nil {
		return f, 0, err
	}
	if f.Tenant == "" {
		f.Tenant = events.DefaultTenant
	}
	if in.OnBehalfOf != "" {
		if f.OnBehalfOf, err = parsePrincipal("on_behalf_of", in.OnBehalfOf); err != nil {
			return f, 0, err
		}
	}
	after, before := uint64(0), uint64(0)
	if limit, err = parseNumber("limit", in.Limit, maxHistory); limit == 0 {
		limit = defaultHistory
	}
	err = firstError(err,
		parseID("fact", in.Fact, &f.Fact), parseID("command", in.Command, &f.Command),
		parseTime("since", in.Since, &f.Since), parseTime("until", in.Until, &f.Until),
		parsePosition("after", in.After, &after), parsePosition("before", in.Before, &before),
		parseBool("newest", in.Newest, &f.Newest),
	)
	f.From = events.Position(after + 1)
	if before > 0 {
		f.To = events.Position(before - 1)
	}
	return f, limit, err
}

func (s *Server) history(ctx context.Context, in *historyInput) (*answered[api.History], error) {
	f, limit, err := in.parse()
	if err != nil {
		return nil, err
	}
	if in.AtLeast != "" {
		revision, err := api.ParseRevision("at_least", in.AtLeast)
		if err != nil {
			return nil, err
		}
		if err := s.applied(ctx, revision); err != nil {
			return nil, err
		}
	}
	out := api.History{Revision: s.config.Audit.Head().Revision, Events: []api.Event{}}
	if f.To == 0 && in.Before != "" { // before the first event there is none
		return answer(out.Revision, out), nil
	}
	f.ToRevision, f.Limit = out.Revision, limit+1
	for e, err := range s.config.Audit.Events(ctx, f) {
		if err != nil {
			return nil, err
		}
		if out.More = len(out.Events) == limit; out.More {
			break
		}
		out.Events = append(out.Events, s.wireEvent(e))
	}
	return answer(out.Revision, out), nil
}

type eventsInput struct {
	request
	EventFilter
	From   string `query:"from" doc:"first (default), now, a position, rev:N, or a time (RFC 3339)"`
	Follow string `query:"follow" enum:"true,false" doc:"Go on with what is recorded later"`
}

// events streams recorded events.
func (s *Server) events(ctx context.Context, in *eventsInput) (*streamed, error) {
	f, err := in.EventFilter.parse()
	if err != nil {
		return nil, err
	}
	var follow bool
	if err := parseBool("follow", in.Follow, &follow); err != nil {
		return nil, err
	}
	start, err := api.ParseStart("from", in.From)
	if err != nil {
		return nil, err
	}
	head := s.config.Audit.Head()
	if f.From, err = s.startAt(ctx, start, head); err != nil {
		return nil, err
	}
	f.ToRevision = head.Revision
	return s.stream(in.exchange, head.Revision, follow, func(ctx context.Context) iter.Seq2[[]byte, error] {
		return encoded(s.recorded(ctx, f, follow), func(e events.Recorded) any { return s.wireEvent(e) })
	}), nil
}

func (s *Server) startAt(ctx context.Context, start api.Start, head events.Head) (events.Position, error) {
	switch {
	case start.Now:
		return head.Position + 1, nil
	case start.Position > 0:
		return start.Position, nil
	case start.Revision > 0:
		if err := s.applied(ctx, start.Revision-1); err != nil {
			return 0, err
		}
		return s.config.Audit.PositionOf(ctx, start.Revision)
	case start.Time > 0:
		return s.config.Audit.PositionAt(ctx, start.Time)
	}
	return 1, nil
}

// recorded yields what f means up to its ToRevision and, with follow, whatever comes later.
func (s *Server) recorded(ctx context.Context, f audit.Filter, follow bool) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for {
			changed := s.config.Projector.Changed() // asked for before reading: what comes after wakes us
			head := s.config.Audit.Head()
			if follow {
				f.ToRevision = head.Revision
			}
			if head.Revision > 0 {
				for e, err := range s.config.Audit.Events(ctx, f) {
					if !yield(e, err) || err != nil {
						return
					}
				}
			}
			if !follow {
				return
			}
			f.From = max(f.From, head.Position+1)
			select {
			case <-changed:
			case <-ctx.Done():
				yield(events.Recorded{}, context.Cause(ctx))
				return
			}
		}
	}
}

type effectiveInput struct {
	request
	When
}

// effective streams the effective set.
func (s *Server) effective(ctx context.Context, in *effectiveInput) (*streamed, error) {
	session, err := s.session(ctx, in.When)
	if err != nil {
		return nil, err
	}
	return s.stream(in.exchange, session.Moment().Revision, false, func(ctx context.Context) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			defer session.Close()
			encoded(session.Effective(ctx), wireGrantee)(yield)
		}
	}), nil
}

func (s *Server) registerHistory() {
	register(s, query("/v1/history", "Recorded events of a principal, role, permission, actor or API"), s.history)
	effective := query("/v1/effective", "The whole effective set, sorted: one {principal, permission, resource} a line")
	register(s, s.lines(effective, typedResponse[api.Grantee](s, api.JSONLinesContentType)), s.effective)
	recorded := query("/v1/events", "Recorded events, one a line, in order of position")
	register(s, s.lines(recorded, typedResponse[api.Event](s, api.JSONLinesContentType)), s.events)
}

func parseID(field, s string, into *uuid.UUID) error {
	if s == "" {
		return nil
	}
	id, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return events.Invalid(field, s, "must be an id as in 0190f3c2-7b7e-7e55-9b0e-3f1f6c1a2b3c")
	}
	*into = id
	return nil
}

func parseTime(field, s string, into *events.Instant) (err error) {
	if s != "" {
		*into, err = events.ParseInstant(field, s)
	}
	return err
}

func parsePosition(field, s string, into *uint64) error {
	if s == "" {
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 0 {
		return events.Invalid(field, s, "must be a position: a number from 1")
	}
	*into = n
	return nil
}

func parseBool(field, s string, into *bool) error {
	switch s {
	case "", "false":
	case "true":
		*into = true
	default:
		return events.Invalid(field, s, "must be true or false")
	}
	return nil
}
