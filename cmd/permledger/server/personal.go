package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/permledger/permledger/cmd/permledger/personal"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// What is to be sealed is sealed here, before there is a ledger.Request: nothing behind this point has the words,
// so that none can get into an event, a hash, the journal of refusals, an error or a log. What a request says in
// clear by its nature stays so: ids, the request id, the idempotency key, the address it came from, approvals.

// why is what is in the box of a request.
type why struct {
	Reason string `json:"reason,omitempty"`
	Ticket string `json:"ticket,omitempty"`
}

// seal replaces the words of r that wire wants sealed by boxes. Everything is looked at before the first key is
// made; a dry run makes none.
func (s *Server) seal(wire api.Request, r *ledger.Request) error {
	if err := checkSealing(wire, r); err != nil {
		return err
	}
	if !wire.Seal.IsZero() {
		box, err := s.box(r.Tenant, wire.Seal, why{r.Reason, r.Ticket}, wire.DryRun)
		if err != nil {
			return err
		}
		r.Sealed, r.Reason, r.Ticket = &box, "", ""
	}
	for i, c := range r.Commands {
		d, ok := c.(ledger.DescribePrincipal)
		if !ok || wire.Commands[i].Plain {
			continue
		}
		box, err := s.box(r.Tenant, d.Principal, d.Profile, wire.DryRun)
		if err != nil {
			return err
		}
		r.Commands[i] = ledger.DescribePrincipal{Principal: d.Principal, Sealed: &box}
	}
	return nil
}

// checkSealing is what the ledger would say of the words if it saw them, without quoting one.
func checkSealing(wire api.Request, r *ledger.Request) error {
	err := r.Tenant.Check()
	if p := wire.Seal; !p.IsZero() {
		err = firstError(err, ledger.CheckPerson("seal", p), unquoted(ledger.CheckWhy(r.Reason, r.Ticket)))
		if err == nil && r.Reason == "" && r.Ticket == "" {
			err = events.Invalid("seal", p.String(), "there is no reason and no ticket to seal")
		}
	}
	for i, c := range r.Commands {
		if d, ok := c.(ledger.DescribePrincipal); ok && !wire.Commands[i].Plain {
			field := fmt.Sprintf("commands[%d].", i)
			err = firstError(err, ledger.CheckPerson(field+"principal", d.Principal), within(field, unquoted(ledger.CheckProfile(d.Profile))))
			if err == nil && d.Profile.IsZero() {
				err = events.Invalid(field+"profile", "", "must say something")
			}
		}
	}
	return err
}

// unquoted takes the words out of a complaint about them.
func unquoted(err error) error {
	var invalid *events.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	return events.Invalid(invalid.Field, "", invalid.Rule)
}

func within(field string, err error) error {
	var invalid *events.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	return events.Invalid(field+invalid.Field, invalid.Value, invalid.Rule)
}

func (s *Server) box(t events.Tenant, p events.Principal, words any, dry bool) (events.Sealed, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // which would make some texts six times as long
	if err := e.Encode(words); err != nil {
		return events.Sealed{}, err
	}
	seal := s.config.Personal.Seal
	if dry {
		seal = s.config.Personal.Try
	}
	box, err := seal(t, p, bytes.TrimRight(text.Bytes(), "\n"))
	if err != nil {
		return box, fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	return box, nil
}

// findKeys tells erasures which keys lie here.
func (s *Server) findKeys(r *ledger.Request) error {
	for i, c := range r.Commands {
		e, ok := c.(ledger.ErasePrincipal)
		if !ok || e.Principal.Check() != nil {
			continue
		}
		key, ok, err := s.config.Personal.Key(r.Tenant, e.Principal)
		if err != nil {
			return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
		}
		if ok {
			e.Keys = []events.PersonalKey{key}
			r.Commands[i] = e
		}
	}
	return nil
}

// destroyKeys carries recorded erasures out. When it fails the erasure is recorded and the key still there: the
// next start destroys it, and so does the same request again, which is what the error asks for.
func (s *Server) destroyKeys(evs []api.Event) error {
	for _, r := range evs {
		if e, ok := r.Event.(events.PrincipalErased); ok {
			if _, err := s.config.Personal.Destroy(r.Tenant, e.Principal, e.Keys...); err != nil {
				return fmt.Errorf("%w: the erasure is recorded at revision %d and not complete: %w", ledger.ErrUnknownOutcome, r.Revision, err)
			}
		}
	}
	return nil
}

// wireEvent gives an event with what is sealed in it.
func (s *Server) wireEvent(r events.Recorded) api.Event {
	out := api.Event{Recorded: r}
	if r.Sealed != nil {
		out.Opened = &api.Opened{}
		s.openWhy(r.Tenant, *r.Sealed, out.Opened)
	}
	if e, ok := r.Event.(events.PrincipalDescribed); ok && e.Sealed != nil {
		if out.Opened == nil {
			out.Opened = &api.Opened{}
		}
		var p events.Profile
		if s.unseal(r.Tenant, *e.Sealed, &p, out.Opened) {
			out.Opened.Profile = &p
		}
	}
	return out
}

func (s *Server) openWhy(t events.Tenant, sealed events.Sealed, into *api.Opened) {
	var words why
	if s.unseal(t, sealed, &words, into) {
		into.Reason, into.Ticket = words.Reason, words.Ticket
	}
}

// unseal reads a box, or notes why it stays closed.
func (s *Server) unseal(t events.Tenant, sealed events.Sealed, words any, note *api.Opened) bool {
	text, err := s.config.Personal.Open(t, sealed)
	if err == nil && json.Unmarshal(text, words) != nil { // its text would quote the words
		err = personal.ErrDamaged
	}
	if err == nil {
		return true
	}
	closed := api.Closed{For: sealed.For, Key: sealed.Key, Why: api.NoKey}
	switch {
	case errors.Is(err, personal.ErrDamaged):
		closed.Why = api.Damaged
	case errors.Is(err, personal.ErrNoKey):
		known, err := s.config.Access.Personal(t, sealed.For)
		if err == nil && slices.Contains(known.Erased, sealed.Key) {
			closed.Why = api.Erased
		}
	default:
		s.config.Logger.Error("a personal key cannot be read", "error", err)
	}
	note.Closed = append(note.Closed, closed)
	return false
}

type principalInput struct {
	request
	Tenant  string `query:"tenant" doc:"Default: the tenant default"`
	AtLeast string `query:"at_least" doc:"Wait until this revision is applied"`
	Kind    string `path:"kind"`
	ID      string `path:"id"`
}

// principal tells what is recorded now. What somebody was called last year is in the history, until it is erased.
func (s *Server) principal(ctx context.Context, in *principalInput) (*answered[api.PrincipalAnswer], error) {
	out := api.PrincipalAnswer{Principal: events.Principal{Kind: events.Kind(in.Kind), ID: in.ID}}
	if err := ledger.CheckPerson("principal", out.Principal); err != nil {
		return nil, err
	}
	session, err := s.session(ctx, When{Tenant: in.Tenant, AtLeast: in.AtLeast}) // the tenant exists, the revision is there
	if err != nil {
		return nil, err
	}
	session.Close()
	tenant := events.DefaultTenant
	if in.Tenant != "" {
		tenant = events.Tenant(in.Tenant)
	}
	known, err := s.config.Access.Personal(tenant, out.Principal)
	if err != nil {
		return nil, err
	}
	if known.Described == 0 && known.ErasedAt == 0 && len(known.Keys) == 0 {
		return nil, api.NewError(api.CodeNotFound, "nothing is said of "+out.Principal.String())
	}
	out.Revision, out.Sealed = known.Revision, len(known.Keys) > 0
	if out.Described, err = s.eventAt(ctx, known.Described); err != nil {
		return nil, err
	}
	if out.Erased, err = s.eventAt(ctx, known.ErasedAt); err != nil {
		return nil, err
	}
	return answer(out.Revision, out), nil
}

// eventAt gives the event at a position, or nil for 0.
func (s *Server) eventAt(ctx context.Context, at events.Position) (*api.Event, error) {
	if at == 0 {
		return nil, nil
	}
	r, err := s.config.Audit.Event(ctx, at)
	if err != nil {
		return nil, err
	}
	e := s.wireEvent(r)
	return &e, nil
}
