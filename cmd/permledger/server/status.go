package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/projections/access"
)

func wireGrantee(g access.Grantee) any { return api.Grantee(g) }

func (s *Server) registerStatus() {
	register(s, query("/v1/status", "How far the server is"), s.status)
	s.plain(huma.Operation{
		Method: http.MethodGet, Path: "/livez", Tags: []string{"probes"}, Security: []map[string][]string{},
		Summary: "200 while the process serves", Responses: map[string]*huma.Response{"200": {Description: "alive"}},
	}, s.livez)
	s.plain(huma.Operation{
		Method: http.MethodGet, Path: "/readyz", Tags: []string{"probes"}, Security: []map[string][]string{},
		Summary:   "200 when the server answers questions and takes commands; 503 says why not",
		Responses: map[string]*huma.Response{"200": {Description: "ready"}},
	}, s.readyz)
}

type statusInput struct{ request }

func (s *Server) status(context.Context, *statusInput) (*answered[api.Status], error) {
	head := s.config.Projector.Head()
	out := api.Status{
		Ledger: head.Ledger, Revision: head.Revision, Position: head.Position,
		Head: head.Hash.String(), RecordedAt: head.RecordedAt, Ready: true, Version: s.config.Version,
		Space: s.config.Space().String(),
	}
	if err := s.config.Ready(); err != nil {
		out.Ready, out.Reason = false, err.Error()
	}
	if feed := s.config.Feed; feed != nil {
		out.Feed = &api.FeedStatus{Position: feed.Position()}
		if err := feed.Err(); err != nil {
			out.Feed.Error = err.Error()
		}
	}
	if s.config.Scrubbed != nil {
		out.Scrub = s.config.Scrubbed()
	}
	return answer(head.Revision, out), nil
}

func (s *Server) livez(w http.ResponseWriter, _ *http.Request) { writeJSON(w, `{"status":"alive"}`) }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.config.Ready(); err != nil {
		writeProblem(w, api.NewError(api.CodeUnavailable, err.Error()))
		return
	}
	writeJSON(w, `{"status":"ready"}`)
}

func writeJSON(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(body + "\n"))
}
