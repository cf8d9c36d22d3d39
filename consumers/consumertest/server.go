package consumertest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// ServerConfig says how a Server runs. The zero value listens nowhere; Dir must be set.
type ServerConfig struct {
	Dir        string // the store
	Listen     bool   // on a loopback port, always the same one; else only connections of this process
	SyncAlways bool   // sync every write, as the ledger's own server does
}

// Server is a NATS server with JetStream inside this process. It can be stopped and run again on the same
// store, and the connections made with Connect find it again.
type Server struct {
	cfg ServerConfig

	mu      sync.Mutex
	running *server.Server // nil: stopped
	port    int            // of the first run, when listening
}

// StartServer runs a server until the test ends. A zero Dir is a temporary one of the test.
func StartServer(t testing.TB, cfg ServerConfig) *Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s := NewServer(cfg)
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// NewServer makes a server that does not run yet.
func NewServer(cfg ServerConfig) *Server { return &Server{cfg: cfg, port: server.RANDOM_PORT} }

// Run starts the server, if it does not run, and returns when it takes connections.
func (s *Server) Run() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return nil
	}
	run, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: s.port, DontListen: !s.cfg.Listen,
		JetStream: true, StoreDir: s.cfg.Dir, SyncAlways: s.cfg.SyncAlways,
		MaxPayload: 8 << 20, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return fmt.Errorf("start nats server: %w", err)
	}
	run.Start()
	if !run.ReadyForConnections(10 * time.Second) {
		run.Shutdown()
		return errors.New("start nats server: not ready after 10 s")
	}
	if s.cfg.Listen {
		s.port = run.Addr().(*net.TCPAddr).Port
	}
	s.running = run
	return nil
}

// Stop takes the server away and keeps its store. Harmless when it does not run.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.running.Shutdown()
		s.running.WaitForShutdown()
		s.running = nil
	}
}

// URL is where another process reaches a listening server.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("nats://127.0.0.1:%d", s.port)
}

// Connect makes a connection that lasts until the test ends and finds the server again whenever it runs.
func (s *Server) Connect(t testing.TB) *nats.Conn {
	t.Helper()
	nc, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Dial is Connect for where there is no test.
func (s *Server) Dial() (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1),
		nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
}

// InProcessConn makes Server a nats.InProcessConnProvider.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return nil, errors.New("the server does not run")
	}
	return s.running.InProcessConn()
}
