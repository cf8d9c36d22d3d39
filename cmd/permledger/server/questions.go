package server

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/access"
)

// Parameters are strings here and read by the parsers of consumers/api, so that a refused one is told in the
// same words wherever it was written.

// When is embedded in the input of every question. It is exported because huma looks into no other embedded
// struct.
type When struct {
	Tenant  string `query:"tenant" doc:"Default: the tenant default"`
	ValidAt string `query:"valid_at" doc:"The instant asked about (RFC 3339); default now"`
	KnownAt string `query:"known_at" doc:"The knowledge used: a revision, or a time (RFC 3339); default the newest"`
	AsOf    string `query:"as_of" doc:"Sets both times: exactly what was answered then"`
	AtLeast string `query:"at_least" doc:"Wait until this revision is applied"`
}

func (w When) parse() (api.When, error) {
	return api.ParseWhen(func(name string) string {
		switch name {
		case "tenant":
			return w.Tenant
		case "valid_at":
			return w.ValidAt
		case "known_at":
			return w.KnownAt
		case "as_of":
			return w.AsOf
		case "at_least":
			return w.AtLeast
		}
		return ""
	})
}

// session pins one; the caller closes it.
func (s *Server) session(ctx context.Context, w When) (*access.Session, error) {
	parsed, err := w.parse()
	if err != nil {
		return nil, err
	}
	tenant, at := viewWhen(parsed)
	return s.config.Access.At(ctx, tenant, at)
}

// question is the input of check, explain and intervals.
type question struct {
	request
	When
	Principal  string   `query:"principal" doc:"kind:id, as in user:alice"`
	Client     string   `query:"client" doc:"A client:id that is asked about instead of the principal"`
	Permission string   `query:"permission" doc:"The exact name, or the permission's slug"`
	Resource   string   `query:"resource" doc:"api:AUDIENCE, TYPE:ID, or TYPE alone"`
	Property   []string `query:"property,explode" doc:"A property that holds of the resource for the principal"`
}

func (q question) parse() (access.Question, error) {
	var out access.Question
	var err error
	if q.Client != "" {
		if out.Client, err = parsePrincipal("client", q.Client); err != nil {
			return out, err
		}
	}
	if q.Principal != "" || q.Client == "" {
		if out.Principal, err = parsePrincipal("principal", q.Principal); err != nil {
			return out, err
		}
	}
	if out.Permission, err = parsePermission(q.Permission); err != nil {
		return out, err
	}
	out.Resource, err = parseResource(q.Resource)
	out.Resource.Properties = q.Property
	return out, err
}

func parsePrincipal(field, s string) (events.Principal, error) {
	p, err := events.ParsePrincipal(s)
	if err != nil {
		return p, renamed(field, err)
	}
	return p, nil
}

func parsePermission(s string) (events.PermissionName, error) {
	name := events.PermissionName(s)
	return name, name.Check()
}

// parseResource reads what a question is about: an audience, one resource, or a type and no id.
func parseResource(s string) (access.Resource, error) {
	r, err := api.ParseResource("resource", s)
	if err != nil {
		return access.Resource{}, err
	}
	if r.Property != "" {
		return access.Resource{}, events.Invalid("resource", s, "a question is about a resource: name the properties that hold of it with property=")
	}
	return access.Resource{Audience: r.Audience, Type: r.Type, ID: r.ID}, nil
}

// ask opens a session for a question and answers from it.
func ask[T any](ctx context.Context, s *Server, q *question, from func(*access.Session, access.Question) (T, error)) (*answered[T], error) {
	parsed, err := q.parse()
	if err != nil {
		return nil, err
	}
	session, err := s.session(ctx, q.When)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	body, err := from(session, parsed)
	if err != nil {
		return nil, err
	}
	return answer(session.Moment().Revision, body), nil
}

func (s *Server) registerQuestions() {
	register(s, query("/v1/check", "Whether a principal may do something"),
		func(ctx context.Context, in *question) (*answered[api.Decision], error) {
			return ask(ctx, s, in, func(session *access.Session, q access.Question) (api.Decision, error) {
				d, err := session.Check(q)
				return wireDecision(d), err
			})
		})
	register(s, query("/v1/explain", "Why a principal may do something, or why not"),
		func(ctx context.Context, in *question) (*answered[api.Explanation], error) {
			return ask(ctx, s, in, func(session *access.Session, q access.Question) (api.Explanation, error) {
				e, err := session.Explain(ctx, q)
				return wireExplanation(e, s.openedStep(session.Tenant())), err
			})
		})
	register(s, query("/v1/intervals", "When a principal could do something"),
		func(ctx context.Context, in *question) (*answered[api.Intervals], error) {
			return ask(ctx, s, in, func(session *access.Session, q access.Question) (api.Intervals, error) {
				v, err := session.Intervals(q)
				return wireIntervals(v), err
			})
		})
	register(s, query("/v1/holdings", "What a principal holds"), s.holdings)
	register(s, query("/v1/holders", "Who may do something, page by page"), s.holders)
	register(s, query("/v1/claims", "The permissions of a principal as a token carries them"), s.claims)
	register(s, query("/v1/diff", "What changed in effective access between two points"), s.diff)
}

func query(path, summary string) huma.Operation {
	return huma.Operation{Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"read"}}
}

type aboutPrincipal struct {
	request
	When
	Principal string `query:"principal" doc:"kind:id, as in user:alice"`
}

func (s *Server) holdings(ctx context.Context, in *aboutPrincipal) (*answered[api.Holdings], error) {
	return about(ctx, s, in, func(session *access.Session, p events.Principal) (api.Holdings, error) {
		h, err := session.Holdings(p)
		return wireHoldings(h), err
	})
}

func (s *Server) claims(ctx context.Context, in *aboutPrincipal) (*answered[api.Claims], error) {
	return about(ctx, s, in, func(session *access.Session, p events.Principal) (api.Claims, error) {
		c, err := session.Claims(p)
		return wireClaims(c), err
	})
}

func about[T any](ctx context.Context, s *Server, in *aboutPrincipal, from func(*access.Session, events.Principal) (T, error)) (*answered[T], error) {
	p, err := parsePrincipal("principal", in.Principal)
	if err != nil {
		return nil, err
	}
	session, err := s.session(ctx, in.When)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	body, err := from(session, p)
	if err != nil {
		return nil, err
	}
	return answer(session.Moment().Revision, body), nil
}

type holdersInput struct {
	request
	When
	Permission string `query:"permission" doc:"The exact name, or the permission's slug"`
	Resource   string `query:"resource" doc:"api:AUDIENCE, TYPE:ID, or TYPE alone"`
	Limit      string `query:"limit" doc:"Principals on a page"`
	Page       string `query:"page" doc:"The next of the page before; it holds the moment, so leave the times out"`
}

func (s *Server) holders(ctx context.Context, in *holdersInput) (*answered[api.Holders], error) {
	permission, err := parsePermission(in.Permission)
	if err != nil {
		return nil, err
	}
	resource, err := parseResource(in.Resource)
	if err != nil {
		return nil, err
	}
	limit, err := parseNumber("limit", in.Limit, access.MaxPage)
	if err != nil {
		return nil, err
	}
	session, err := s.holdersSession(ctx, in)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	page, err := session.Holders(permission, resource, access.Page{Limit: limit, Token: in.Page})
	if err != nil {
		return nil, err
	}
	return answer(page.Revision, wireHolders(page)), nil
}

// holdersSession pins the moment asked for or, behind the first page, the one its token holds.
func (s *Server) holdersSession(ctx context.Context, in *holdersInput) (*access.Session, error) {
	if in.Page == "" {
		return s.session(ctx, in.When)
	}
	if in.ValidAt != "" || in.KnownAt != "" || in.AsOf != "" || in.AtLeast != "" {
		return nil, events.Invalid("page", in.Page, "holds the moment of the listing: leave valid_at, known_at, as_of and at_least out")
	}
	w, err := in.When.parse()
	if err != nil {
		return nil, err
	}
	tenant, _ := viewWhen(w)
	return s.config.Access.Resume(ctx, tenant, in.Page)
}

// parseNumber reads a number from 1 to most; "" is 0.
func parseNumber(field, s string, most int) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, events.Invalid(field, s, "must be a number from 1 to "+strconv.Itoa(most))
	}
	return n, nil
}

type diffInput struct {
	request
	Tenant    string `query:"tenant" doc:"Default: the tenant default"`
	From      string `query:"from" doc:"A time (RFC 3339), or a revision: the instant it was recorded at, with its knowledge"`
	To        string `query:"to" doc:"As from; default now"`
	Mode      string `query:"mode" enum:"as_of,valid" doc:"What a time means: as_of, what was answered then (default); valid, what was true then by all that is known now"`
	Principal string `query:"principal" doc:"Only this one; default everybody"`
	AtLeast   string `query:"at_least" doc:"Wait until this revision is applied"`
}

func (s *Server) diff(ctx context.Context, in *diffInput) (*answered[api.Difference], error) {
	base, err := When{Tenant: in.Tenant, AtLeast: in.AtLeast}.parse()
	if err != nil {
		return nil, err
	}
	var only events.Principal
	if in.Principal != "" {
		if only, err = parsePrincipal("principal", in.Principal); err != nil {
			return nil, err
		}
	}
	mode := api.DiffMode(in.Mode)
	if mode != "" && mode != api.DiffAsOf && mode != api.DiffValid {
		return nil, events.Invalid("mode", in.Mode, "must be as_of or valid")
	}
	if in.From == "" {
		return nil, events.Invalid("from", "", "must be a time or a revision")
	}
	from, err := s.point(ctx, "from", in.From, mode, base.AtLeast)
	if err != nil {
		return nil, err
	}
	to, err := s.point(ctx, "to", in.To, mode, base.AtLeast)
	if err != nil {
		return nil, err
	}
	tenant, _ := viewWhen(base)
	d, err := s.config.Access.Diff(ctx, tenant, from, to, only)
	if err != nil {
		return nil, err
	}
	return answer(max(d.From.Revision, d.To.Revision), wireDifference(d, s.openedStep(tenant))), nil
}

// point reads one end of a difference.
func (s *Server) point(ctx context.Context, field, written string, mode api.DiffMode, atLeast events.Revision) (access.When, error) {
	w := access.When{AtLeast: atLeast}
	if written == "" {
		return w, nil
	}
	p, err := api.ParseKnown(field, written)
	if err != nil {
		return w, err
	}
	switch {
	case p.Revision > 0:
		w.KnownAt.Revision = p.Revision
		w.ValidAt, err = s.recordedAt(ctx, p.Revision)
	case mode == api.DiffValid:
		w.ValidAt = p.Time
	default:
		w.AsOf = p.Time
	}
	return w, err
}

// recordedAt is when a revision was recorded.
func (s *Server) recordedAt(ctx context.Context, revision events.Revision) (events.Instant, error) {
	if err := s.applied(ctx, revision); err != nil {
		return 0, err
	}
	stored, err := s.config.Audit.Commit(ctx, revision)
	if err != nil {
		return 0, err
	}
	c, err := events.DecodeCommit(stored.Bytes)
	return c.RecordedAt, err
}

// patience bounds how long a question waits for a revision.
const patience = 5 * time.Second

// applied waits until a revision is in the views.
func (s *Server) applied(ctx context.Context, revision events.Revision) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.config.Projector.Wait(ctx, revision)
}

func renamed(field string, err error) error {
	invalid, ok := err.(*events.InvalidError)
	if !ok {
		return err
	}
	moved := *invalid
	moved.Field = field
	return &moved
}
