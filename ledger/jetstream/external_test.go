package jetstream

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/permledger/permledger/ledger/logtest"
)

// The contract over a network that loses requests and answers when told to.
func TestContractExternal(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		p := newProxy(t, strings.TrimPrefix(external(t).ClientURL(), "nats://"))
		return externalSubject(t, p, Config{
			URL:            "nats://" + p.addr(),
			Timeout:        2 * time.Second,
			ConnectOptions: []nats.Option{nats.ReconnectWait(time.Millisecond)},
		})
	})
}

func externalSubject(t *testing.T, p *proxy, cfg Config) logtest.Subject {
	s := mustOpen(t, cfg)
	return logtest.Subject{
		Log: s.Log(), Journal: s.Journal(),
		Reopen: func() (logtest.Subject, error) {
			mustClose(t, s)
			return externalSubject(t, p, cfg), nil
		},
		Unknown: p.loseNextCommit,
	}
}

// proxy stands between a client and a NATS server. When told to, it cuts the connection at the next
// commit: before passing it on, or in place of passing on the answer.
type proxy struct {
	listener net.Listener
	server   string

	mu   sync.Mutex
	cut  cut
	all  sync.WaitGroup
	open map[net.Conn]bool
}

type cut int

const (
	cutNothing cut = iota
	cutCommit      // and the server never hears of it
	cutAnswer      // to the next commit; becomes cutNow when the commit passes
	cutNow         // whatever the server says next
)

func newProxy(t *testing.T, server string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: server, open: map[net.Conn]bool{}}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for c := range p.open {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.all.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) loseNextCommit(stored bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cutCommit
	if stored {
		p.cut = cutAnswer
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.open[client], p.open[server] = true, true
		p.mu.Unlock()
		p.all.Go(func() { p.pipe(server, client, p.passRequest) })
		p.all.Go(func() { p.pipe(client, server, p.passAnswer) })
	}
}

// pipe passes on what src sends until pass says no, and then cuts both connections.
func (p *proxy) pipe(dst, src net.Conn, pass func([]byte) bool) {
	defer func() {
		_ = dst.Close()
		_ = src.Close()
		p.mu.Lock()
		delete(p.open, src)
		p.mu.Unlock()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := src.Read(b)
		if n > 0 && !pass(b[:n]) {
			return
		}
		if _, werr := dst.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (p *proxy) passRequest(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !bytes.Contains(b, []byte(ledgerSubject)) {
		return true
	}
	switch p.cut {
	case cutCommit:
		p.cut = cutNothing
		return false
	case cutAnswer:
		p.cut = cutNow
	}
	return true
}

func (p *proxy) passAnswer([]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == cutNow {
		p.cut = cutNothing
		return false
	}
	return true
}
