package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// request is embedded in the input of every operation; huma fills it before the handler runs.
type request struct {
	r        *http.Request
	exchange *exchange
}

// Resolve implements huma.Resolver.
func (in *request) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	in.r, in.exchange = r, exchangeOf(w)
	return nil
}

func (in *request) self() *request { return in }

// input is a pointer to a struct that embeds request.
type input[I any] interface {
	*I
	self() *request
}

// answered is the output of an operation that answers a JSON body.
type answered[T any] struct {
	Revision string `header:"Permledger-Revision" doc:"The revision the answer reflects"`
	ETag     string `header:"ETag"`
	Body     T
}

// answer states the revision in the header, too.
func answer[T any](revision events.Revision, body T) *answered[T] {
	return &answered[T]{Revision: fmt.Sprint(revision), Body: body}
}

// register adds an operation to the mux and to the OpenAPI document. Its errors are catalogued ones.
func register[I any, P input[I], O any](s *Server, op huma.Operation, handle func(context.Context, P) (*O, error)) {
	op.OperationID = operationID(op)
	op.SkipValidateParams = true // the handlers read them, and say what is wrong in the catalogue's words
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = s.problemResponse
	op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
		if err := checkQuery(ctx.Operation(), ctx.URL()); err != nil {
			_, w := humago.Unwrap(ctx)
			writeProblem(w, err)
			return
		}
		next(ctx)
	})
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, P(in))
		if err != nil {
			return nil, answeredProblem{P(in).self().exchange.problem(err)}
		}
		return out, nil
	})
}

// plain adds a handler that reads and writes by itself, and documents it.
func (s *Server) plain(op huma.Operation, handle http.HandlerFunc) {
	op.OperationID = operationID(op)
	if op.Responses["default"] == nil && !op.Hidden {
		op.Responses["default"] = s.problemResponse
	}
	s.api.OpenAPI().AddOperation(&op)
	s.mux.HandleFunc(op.Method+" "+op.Path, handle)
}

// checkQuery refuses parameters an operation does not have, has twice, or has empty: a misspelt or empty
// as_of must not quietly ask about now.
func checkQuery(op *huma.Operation, u url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return events.Invalid("query", u.RawQuery, err.Error())
	}
	for _, name := range sortedNames(query) {
		values := query[name]
		i := slices.IndexFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name })
		switch {
		case i < 0:
			return events.Invalid(name, values[0], "is not a parameter of "+op.Path)
		case len(values) > 1 && op.Parameters[i].Schema.Type != huma.TypeArray:
			return events.Invalid(name, values[1], "must be given once")
		case slices.Contains(values, ""):
			return events.Invalid(name, "", "must not be empty; leave it out instead")
		}
	}
	return nil
}

func sortedNames(query url.Values) []string {
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// withBody reads the body of an operation before huma does, so that what is wrong with it is told in our
// words.
func withBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	body, err := readBody(w, r)
	if err != nil {
		writeProblem(w, err)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	next(ctx)
}

// readBody reads a whole JSON body of bounded size.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, api.NewError(api.CodeUnsupportedMediaType, fmt.Sprintf("the body must be application/json, not %q", r.Header.Get("Content-Type")))
	}
	if charset := params["charset"]; charset != "" && charset != "utf-8" && charset != "UTF-8" {
		return nil, api.NewError(api.CodeUnsupportedMediaType, "the body must be in UTF-8")
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, api.NewError(api.CodeUnsupportedMediaType, fmt.Sprintf("a body in %q is not accepted", coding))
	}
	if r.ContentLength > api.MaxBodyBytes {
		return nil, &http.MaxBytesError{Limit: api.MaxBodyBytes}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, api.MaxBodyBytes))
	switch {
	case err != nil:
		return nil, readError(err)
	case len(body) == 0:
		return nil, api.NewError(api.CodeBadJSON, "there is no body")
	}
	return body, nil
}

func readError(err error) error {
	problem := problemOf(err)
	if problem.Code == api.CodeBodyTooLarge {
		return err
	}
	return api.NewError(api.CodeBadJSON, "the body could not be read to its end")
}

// operationID names an operation by its method and path: "get-v1-roles-id".
func operationID(op huma.Operation) string {
	id := []byte(op.Method)
	for i := 0; i < len(op.Path); i++ {
		c := op.Path[i]
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			id = append(id, c)
		case c == '/' || c == '.' || c == '-':
			id = append(id, '-')
		}
	}
	return string(bytes.ToLower(bytes.ReplaceAll(id, []byte("--"), []byte("-"))))
}
