package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/permledger/permledger/cmd/permledger/node"
	"github.com/permledger/permledger/cmd/permledger/personal"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/access"
	"github.com/permledger/permledger/projections/audit"
)

// Config is what a server serves, and to whom. All fields without a default are needed.
type Config struct {
	Ledger    *ledger.Ledger
	Access    *access.View
	Audit     *audit.Trail
	Projector *projections.Projector
	Personal  *personal.Keys

	Checkpoints *node.Checkpoints
	Backup      func(ctx context.Context, to io.Writer, withKeys bool) error
	RotateKey   func(context.Context, events.Meta) (ledger.Receipt, error)

	Feed     Feed                    // default: there is none
	Ready    func() error            // nil while everything works, or what does not
	Space    func() ledger.Space     // how much room there is; default: it is always open
	Verify   Verify                  // default: it cannot be asked for
	Scrubbed func() *api.ScrubStatus // default: the server does not scrub

	Auth      Authenticator
	PublicURL string       // where clients find the server, for AuthZEN's metadata; never taken from a request
	Version   string       // of the program
	Logger    *slog.Logger // default: nowhere

	// WriteTimeout is how long a request may wait for its outcome before it is unknown; default 30 s.
	WriteTimeout time.Duration
}

// Feed is the stream of events to services, as far as the status tells of it.
type Feed interface {
	Position() events.Position
	Err() error
}

// ConfigFor is the configuration of a server of n, whose administrator comes with the root token. PublicURL and
// Version are still to be set.
func ConfigFor(n *node.Node) Config {
	c := Config{
		Ledger: n.Ledger, Access: n.Access, Audit: n.Audit, Projector: n.Projector, Personal: n.Personal, Ready: n.Ready,
		Checkpoints: n.Checkpoints, RotateKey: n.RotateKey, Backup: n.Backup,
		Auth: NewRootToken(n.RootToken, n.Administrator), Space: n.Space,
	}
	c.Verify = n.VerifyNow
	if n.Scrubs() {
		c.Scrubbed = func() *api.ScrubStatus {
			s := n.Scrubbed()
			return &api.ScrubStatus{Revision: s.Revision, At: s.At, Passes: s.Passes, Fault: s.Fault}
		}
	}
	if n.Feed != nil {
		c.Feed = n.Feed
	}
	return c
}

// Server answers HTTP requests. It is an http.Handler; Serve runs it.
type Server struct {
	config          Config
	mux             *http.ServeMux
	api             huma.API
	open            map[string]bool // the routes that need no credential
	problemResponse *huma.Response
	document        []byte
	closing         chan struct{} // closed when Serve is asked to end
	verifying       sync.Mutex    // held by the one verification
}

// New registers every route.
func New(c Config) (*Server, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Space == nil {
		c.Space = func() ledger.Space { return ledger.SpaceOpen }
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 30 * time.Second
	}
	if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, events.Invalid("public URL", c.PublicURL, "must be a URL without a query, as in https://permissions.example.com")
	}
	mux := http.NewServeMux()
	s := &Server{
		config: c, mux: mux, api: humago.New(mux, humaConfig(c.Version)),
		closing: make(chan struct{}),
		open:    map[string]bool{"GET /livez": true, "GET /readyz": true, "GET /openapi.json": true},
	}
	s.problemResponse = problemSchema(s.api.OpenAPI().Components.Schemas)
	s.registerCommands()
	s.registerQuestions()
	s.registerDescriptions()
	s.registerHistory()
	s.registerProofs()
	s.registerDownloads()
	s.registerStatus()
	s.registerVerify()
	s.registerAuthZEN()
	s.plain(huma.Operation{
		Method: http.MethodGet, Path: "/openapi.json", Tags: []string{"about"}, Security: []map[string][]string{},
		Summary: "This document", Responses: map[string]*huma.Response{"200": {Description: "OpenAPI 3.1"}},
	}, s.serveDocument)
	var err error
	if s.document, err = s.openapi(); err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return s, nil
}

func (s *Server) serveDocument(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.document)
}

// The limits of a connection. Streams move their own write deadline.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	shutdownGrace = 10 * time.Second
)

// Serve answers on l until ctx ends, then lets requests under way finish, and breaks off those that do not.
// It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      s.config.WriteTimeout + readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}
	h.RegisterOnShutdown(func() { close(s.closing) }) // followed streams would never end by themselves
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer stop()
	err := h.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = h.Close()
	}
	<-served
	return err
}
