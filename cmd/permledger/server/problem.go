package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/pack"
)

// problemOf finds the catalogued error of err. What it does not know is an internal error, whose text stays
// in the log.
func problemOf(err error) *api.Error {
	var known *api.Error
	var invalid *events.InvalidError
	var refusal *ledger.Refusal
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		copied := *known
		return &copied
	case errors.As(err, &invalid):
		e := api.NewError(api.CodeInvalid, invalid.Error())
		e.Field = invalid.Field
		return e
	case errors.As(err, &refusal):
		return api.NewError(api.Code(refusal.Code), refusal.Message)
	case errors.As(err, &tooLarge):
		return api.NewError(api.CodeBodyTooLarge, err.Error())
	}
	for _, m := range sentinels {
		if errors.Is(err, m.err) {
			return api.NewError(m.code, err.Error())
		}
	}
	return api.NewError(api.CodeInternal, "")
}

// sentinels pairs the errors of the rooms below with their codes; the first that matches counts. A broken
// log comes before being halted, which is its consequence; an unknown outcome before the deadline that
// caused it.
var sentinels = []struct {
	err  error
	code api.Code
}{
	{api.ErrJSON, api.CodeBadJSON},
	{access.ErrUnknownTenant, api.CodeUnknownTenant},
	{access.ErrNotFound, api.CodeNotFound},
	{audit.ErrNotFound, api.CodeNotFound},
	{access.ErrBadPage, api.CodeBadPageToken},
	{access.ErrTooManyPaths, api.CodeTooManyPaths},
	{ledger.ErrUnknownOutcome, api.CodeOutcomeUnknown},
	{pack.ErrOtherHistory, api.CodeOtherHistory},
	{ledger.ErrCorrupt, api.CodeCorrupt},
	{events.ErrBroken, api.CodeCorrupt},
	{events.ErrMalformed, api.CodeCorrupt},
	{projections.ErrHalted, api.CodeHalted},
	{projections.ErrBehind, api.CodeBehind},
	{ledger.ErrConflict, api.CodeConflict},
	{ledger.ErrNoSpace, api.CodeNoSpace},
	{ledger.ErrClock, api.CodeClock},
	{ledger.ErrUnavailable, api.CodeUnavailable},
	{context.Canceled, api.CodeUnavailable},
	{context.DeadlineExceeded, api.CodeUnavailable},
}

// writeProblem answers with err.
func writeProblem(w http.ResponseWriter, err error) {
	x := exchangeOf(w)
	e := x.problem(err)
	setProblemHeaders(w.Header(), e)
	body, _ := json.Marshal(e) // strings and a number
	w.Header().Set("Content-Type", api.ProblemContentType)
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}

func setProblemHeaders(h http.Header, e *api.Error) {
	for name, value := range problemHeaders(e) {
		h[name] = value
	}
}

// problemHeaders are what HTTP wants besides the status.
func problemHeaders(e *api.Error) http.Header {
	h := http.Header{"Cache-Control": {"no-store"}}
	switch {
	case e.Status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="permledger"`)
	case e.Retry() == api.RetryLater && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusInsufficientStorage):
		h.Set("Retry-After", "1")
	}
	return h
}

// problem finishes the catalogued error of err for this exchange, and logs what the caller does not see.
func (x *exchange) problem(err error) *api.Error {
	e := problemOf(err)
	e.Instance = url.PathEscape(x.id)
	x.err = err
	return e
}

// answeredProblem is an api.Error as huma wants to see it.
type answeredProblem struct{ problem *api.Error }

func (p answeredProblem) Error() string                { return p.problem.Error() }
func (p answeredProblem) GetStatus() int               { return p.problem.Status }
func (p answeredProblem) GetHeaders() http.Header      { return problemHeaders(p.problem) }
func (p answeredProblem) MarshalJSON() ([]byte, error) { return json.Marshal(p.problem) }

// ContentType replaces huma's choice.
func (answeredProblem) ContentType(string) string { return api.ProblemContentType }
