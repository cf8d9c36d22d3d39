package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/access"
)

// The AuthZEN Authorization API 1.0. Its rules differ from those of /v1, which is why huma is not used:
// members that are not known are ignored, a payload or content type that is wrong is 400, an error body is
// plain text, and a deny is a success. Nobody unknown, no unknown permission and no unknown resource is an
// error: the decision is false. What the ledger cannot answer is a 5xx, never a decision.

const (
	evaluationPath    = "/access/v1/evaluation"
	evaluationsPath   = "/access/v1/evaluations"
	configurationPath = "/.well-known/authzen-configuration"
)

func (s *Server) registerAuthZEN() {
	operation := func(path, summary string) huma.Operation {
		return huma.Operation{
			Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{"AuthZEN 1.0"},
		}
	}
	one, many := operation(evaluationPath, "AuthZEN: one evaluation"), operation(evaluationsPath, "AuthZEN: a batch of evaluations of one revision")
	one.Responses, one.RequestBody = jsonResponse[api.Verdict](s), jsonRequest[api.Evaluation](s)
	many.Responses, many.RequestBody = jsonResponse[api.Verdicts](s), jsonRequest[api.Evaluations](s)
	for _, op := range []huma.Operation{one, many} {
		op.Responses["default"] = &huma.Response{
			Description: "What was wrong, in words",
			Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}
	}
	s.plain(one, s.evaluation)
	s.plain(many, s.evaluations)
	s.plain(huma.Operation{
		Method: http.MethodGet, Path: configurationPath, Tags: []string{"AuthZEN 1.0"},
		Summary: "AuthZEN: where the endpoints are", Responses: jsonResponse[api.AuthZENConfiguration](s),
	}, s.configuration)
}

func (s *Server) configuration(w http.ResponseWriter, _ *http.Request) {
	base := strings.TrimSuffix(s.config.PublicURL, "/")
	body, _ := json.Marshal(api.AuthZENConfiguration{ // strings only
		PolicyDecisionPoint: base, Evaluation: base + evaluationPath, Evaluations: base + evaluationsPath,
	})
	writeJSON(w, string(body))
}

func (s *Server) evaluation(w http.ResponseWriter, r *http.Request) {
	members, err := evaluationBody(w, r)
	if err != nil {
		writePlain(w, err)
		return
	}
	e := s.newEvaluator()
	defer e.close()
	e.answerOne(r.Context(), w, members)
}

func (s *Server) evaluations(w http.ResponseWriter, r *http.Request) {
	members, err := evaluationBody(w, r)
	if err != nil {
		writePlain(w, err)
		return
	}
	e := s.newEvaluator()
	defer e.close()
	items, semantic, err := batch(members)
	switch {
	case err != nil:
		writePlain(w, err)
	case len(items) == 0: // the specification: like the single endpoint
		e.answerOne(r.Context(), w, members)
	default:
		e.answerAll(r.Context(), w, members, items, semantic)
	}
}

// evaluationBody reads the members of a request.
func evaluationBody(w http.ResponseWriter, r *http.Request) (members, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if err := api.CheckJSON(body); err != nil {
		return nil, err
	}
	return object("body", body)
}

// batch reads what only a batch has.
func batch(m members) (items []json.RawMessage, _ api.Semantic, err error) {
	if raw, ok := m["evaluations"]; ok {
		if json.Unmarshal(raw, &items) != nil {
			return nil, "", events.Invalid("evaluations", string(raw), "must be a list")
		}
	}
	if len(items) > api.MaxEvaluations {
		return nil, "", events.Invalid("evaluations", "", fmt.Sprintf("must be at most %d, are %d", api.MaxEvaluations, len(items)))
	}
	semantic := api.ExecuteAll
	if raw, ok := m["options"]; ok {
		options, err := object("options", raw)
		if err != nil {
			return nil, "", err
		}
		if err := text("options.evaluations_semantic", options["evaluations_semantic"], &semantic); err != nil {
			return nil, "", err
		}
	}
	switch semantic {
	case api.ExecuteAll, api.DenyOnFirstDeny, api.PermitOnFirstPermit:
		return items, semantic, nil
	}
	return nil, "", events.Invalid("options.evaluations_semantic", string(semantic), "must be execute_all, deny_on_first_deny or permit_on_first_permit")
}

// evaluator judges the evaluations of one request. All of them with the same times share a session, and all of
// them use the newest knowledge of the first, so that a batch reflects one revision.
type evaluator struct {
	s        *Server
	sessions map[moment]*access.Session
	head     events.Revision // the newest knowledge; 0 until a session needed it
	revision events.Revision // the newest that any answer reflects
}

type moment struct {
	tenant events.Tenant
	when   access.When
}

func (s *Server) newEvaluator() *evaluator {
	return &evaluator{s: s, sessions: map[moment]*access.Session{}}
}

func (e *evaluator) close() {
	for _, session := range e.sessions {
		session.Close()
	}
}

func (e *evaluator) session(ctx context.Context, at moment) (*access.Session, error) {
	if session, ok := e.sessions[at]; ok {
		return session, nil
	}
	newest := at.when.AsOf == 0 && at.when.KnownAt == access.Known{}
	pinned := at.when
	if newest && e.head > 0 {
		pinned.KnownAt.Revision = e.head
	}
	session, err := e.s.config.Access.At(ctx, at.tenant, pinned)
	if err != nil {
		return nil, err
	}
	e.sessions[at] = session
	revision := session.Moment().Revision
	if newest && e.head == 0 {
		e.head = revision
	}
	e.revision = max(e.revision, revision)
	return session, nil
}

func (e *evaluator) answerOne(ctx context.Context, w http.ResponseWriter, m members) {
	verdict, err := e.judge(ctx, m)
	if err != nil {
		writePlain(w, err)
		return
	}
	e.write(w, verdict)
}

func (e *evaluator) answerAll(ctx context.Context, w http.ResponseWriter, defaults members, items []json.RawMessage, semantic api.Semantic) {
	out := api.Verdicts{Evaluations: make([]api.Verdict, 0, len(items))}
	for _, raw := range items {
		verdict, err := e.judgeItem(ctx, defaults, raw)
		if err != nil {
			writePlain(w, err)
			return
		}
		out.Evaluations = append(out.Evaluations, verdict)
		if semantic == api.DenyOnFirstDeny && !verdict.Decision || semantic == api.PermitOnFirstPermit && verdict.Decision {
			break
		}
	}
	e.write(w, out)
}

// judgeItem judges one item of a batch. What is wrong with the item is told in its place, with a decision of
// false; what is wrong with the ledger ends the batch.
func (e *evaluator) judgeItem(ctx context.Context, defaults members, raw json.RawMessage) (api.Verdict, error) {
	item, err := object("evaluations", raw)
	if err == nil {
		for _, name := range []string{"subject", "action", "resource", "context"} {
			if _, given := item[name]; !given && defaults[name] != nil {
				item[name] = defaults[name] // whole: members of entities are not merged
			}
		}
		var verdict api.Verdict
		if verdict, err = e.judge(ctx, item); err == nil {
			return verdict, nil
		}
	}
	problem := problemOf(err)
	if problem.Status >= http.StatusInternalServerError {
		return api.Verdict{}, err
	}
	return verdictWith(false, api.VerdictContext{Error: &api.VerdictError{Status: problem.Status, Message: problem.Detail}}), nil
}

// judge judges one evaluation. An error is a bad payload or a ledger that cannot answer.
func (e *evaluator) judge(ctx context.Context, m members) (api.Verdict, error) {
	asked, err := readEvaluation(m)
	if err != nil {
		return api.Verdict{}, err
	}
	session, err := e.session(ctx, asked.moment)
	if err != nil {
		return api.Verdict{}, err
	}
	if asked.explain {
		explained, err := session.Explain(ctx, asked.question)
		if err != nil {
			return unheardOf(err)
		}
		wire := wireExplanation(explained, wireStep)
		return verdictWith(explained.Allowed, api.VerdictContext{Explanation: &wire}), nil
	}
	decided, err := session.Check(asked.question)
	if err != nil {
		return unheardOf(err)
	}
	if asked.detail {
		wire := wireDecision(decided)
		return verdictWith(decided.Allowed, api.VerdictContext{Decision: &wire}), nil
	}
	return api.Verdict{Decision: decided.Allowed}, nil
}

// unheardOf denies what no id can be: there is nobody and nothing of that name. Other errors stay errors.
func unheardOf(err error) (api.Verdict, error) {
	var invalid *events.InvalidError
	if errors.As(err, &invalid) {
		return api.Verdict{}, nil
	}
	return api.Verdict{}, err
}

func verdictWith(decision bool, c api.VerdictContext) api.Verdict {
	body, _ := json.Marshal(c) // our own wire types
	return api.Verdict{Decision: decision, Context: body}
}

func (e *evaluator) write(w http.ResponseWriter, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		writePlain(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(api.RevisionHeader, fmt.Sprint(uint64(e.revision)))
	_, _ = w.Write(encoded)
}

// writePlain answers an error the way AuthZEN has it: plain text, and 400 for whatever is wrong with the
// payload.
func writePlain(w http.ResponseWriter, err error) {
	problem := exchangeOf(w).problem(err)
	setProblemHeaders(w.Header(), problem)
	status := problem.Status
	if status < http.StatusInternalServerError && status != http.StatusRequestEntityTooLarge {
		status = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(problem.Error() + "\n"))
}
