package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// exchange is one request and its answer. It is the ResponseWriter every handler gets, so that a handler
// finds its caller and request id without a context carrying them.
type exchange struct {
	http.ResponseWriter
	id     string
	caller Caller
	source string // the address the request came from
	status int
	err    error // what went wrong, for the log
}

// exchangeOf finds the exchange a handler writes to.
func exchangeOf(w http.ResponseWriter) *exchange {
	return w.(*exchange) // ServeHTTP wraps every request before it is routed
}

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	return x.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines and flushing.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// ServeHTTP is the way in.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, id: requestID(r), source: source(r)}
	w.Header().Set(api.RequestIDHeader, x.id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	started := time.Now()
	defer func() {
		fault := recover()
		s.logRequest(r, x, started, fault)
		if fault == nil {
			return
		}
		if x.status == 0 && fault != http.ErrAbortHandler {
			writeProblem(x, api.NewError(api.CodeInternal, ""))
			return
		}
		panic(http.ErrAbortHandler) // part of an answer is out: break the connection
	}()
	s.route(x, r)
}

// route lets the known caller of a known route through to its handler.
func (s *Server) route(x *exchange, r *http.Request) {
	_, pattern := s.mux.Handler(r)
	if !s.open[pattern] {
		if err := s.authenticate(x, r); err != nil {
			writeProblem(x, err)
			return
		}
	}
	if pattern == "" {
		writeProblem(x, s.noRoute(x, r))
		return
	}
	s.mux.ServeHTTP(x, r)
}

func (s *Server) authenticate(x *exchange, r *http.Request) error {
	caller, err := s.config.Auth.Authenticate(r)
	switch {
	case errors.Is(err, ErrNoCredential):
		return api.NewError(api.CodeUnauthenticated, "send the token as Authorization: Bearer TOKEN")
	case err != nil:
		return fmt.Errorf("authenticate: %w", err)
	case !caller.Administrator:
		return api.NewError(api.CodeForbidden, caller.Principal.String()+" does not administer this ledger")
	}
	x.caller = caller
	return nil
}

// noRoute tells a wrong method from a wrong path, by what the mux itself would answer.
func (s *Server) noRoute(x *exchange, r *http.Request) error {
	probe := &statusOnly{header: http.Header{}}
	s.mux.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		x.Header().Set("Allow", allow)
		return api.NewError(api.CodeMethodNotAllowed, r.URL.Path+" takes "+allow)
	}
	return api.NewError(api.CodeNotFound, "there is nothing at "+r.URL.Path)
}

// statusOnly takes an answer and keeps its head.
type statusOnly struct {
	header http.Header
	status int
}

func (p *statusOnly) Header() http.Header         { return p.header }
func (p *statusOnly) WriteHeader(status int)      { p.status = status }
func (p *statusOnly) Write(b []byte) (int, error) { return len(b), nil }

func (s *Server) logRequest(r *http.Request, x *exchange, started time.Time, fault any) {
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", x.status),
		slog.Duration("took", time.Since(started)), slog.String("request_id", x.id), slog.String("source", x.source),
	}
	if !x.caller.Principal.IsZero() {
		attrs = append(attrs, slog.String("caller", x.caller.Principal.String()))
	}
	level := slog.LevelDebug
	if x.err != nil {
		attrs = append(attrs, slog.String("error", x.err.Error()))
	}
	brokenOff := x.err != nil && x.status < 400 && !errors.Is(x.err, context.Canceled) // a stream
	if x.status >= 500 || brokenOff {
		level = slog.LevelError
	}
	if fault != nil && fault != http.ErrAbortHandler {
		level = slog.LevelError
		attrs = append(attrs, slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
	}
	s.config.Logger.LogAttrs(context.WithoutCancel(r.Context()), level, "http", attrs...)
}

// requestID takes the caller's id if it is one that can stand in a header and a log line.
func requestID(r *http.Request) string {
	id := r.Header.Get(api.RequestIDHeader)
	if len(id) == 0 || len(id) > 128 {
		return uuid.NewString()
	}
	for i := 0; i < len(id); i++ {
		if id[i] <= ' ' || id[i] > '~' {
			return uuid.NewString()
		}
	}
	return id
}

func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// meta is what a request's events say of where they come from. Who acts is never taken from the body.
func (x *exchange) meta() events.Meta {
	return events.Meta{
		Actor: x.caller.Principal, AuthMethod: x.caller.Method,
		Source: x.source, RequestID: x.id,
	}
}
