package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/permledger/permledger/events"
)

// Config says where the log is kept. The zero value embeds a server in ./permledger-data, reachable from
// this process only.
type Config struct {
	// Dir is the directory of the embedded server. One process at a time can use it. Default
	// "permledger-data". Ignored with URL.
	Dir string

	// URL is an external NATS server, or several separated by commas; then nothing is embedded. See the
	// package comment for what its operator must see to.
	URL string
	// CredentialsFile, User with Password, and Token are the ways to log in at URL. Default: none.
	CredentialsFile string
	User, Password  string
	Token           string
	// ConnectOptions are further options for URL, such as TLS.
	ConnectOptions []nats.Option
	// Replicas is how many servers at URL keep each stream: 1, 3 or 5. Default 1. Ignored when embedded.
	Replicas int

	// Listen is the host:port at which the embedded server takes connections of readers, who can consume
	// the stream EVENTS and do nothing else; port 0 picks one. Default "": no listener at all.
	Listen string
	// ReaderUser and ReaderPassword are what readers log in with. Required with Listen.
	ReaderUser, ReaderPassword string

	// MaxPayload is the largest message in bytes, a commit and its headers. Default 8 MiB. An external
	// server's own limit counts if it is lower.
	MaxPayload int

	// LedgerStream and JournalStream name the two streams. Default LEDGER and JOURNAL.
	LedgerStream, JournalStream string

	// Mark is the last revision the views of this ledger know. A log that is not there or ends before it
	// is a lost log, never an empty one. Default 0: there are no views yet, and the log may be created.
	Mark events.Revision

	// JournalMark is the last entry of the journal the views know. A journal that ends before it has lost
	// answers, and keys would be answered a second time. Default 0.
	JournalMark uint64

	// Preflight looks at the store in Dir before it is opened, when it was not closed cleanly. It runs Examine
	// in another process whose memory is bounded, because a damaged store can make the server take all there
	// is; that process takes Dir's lock itself. Default nil: nobody looks. Never called with URL.
	Preflight func(ctx context.Context, dir string) error

	// Patience is how long the embedded server may take to store one message, on a disk that is slow and says
	// nothing, before the store counts as failed. Default 1 min. An external server has Timeout.
	Patience time.Duration

	// Salvage opens what is there to read what can be read, whatever is wrong with it: nothing is created or
	// compared, a journal may be missing, and the log yields ErrCorrupt for each commit that is gone. For
	// verification and repair. Mark is ignored.
	Salvage bool

	// Timeout bounds each step with the server: storing a commit, a question, the next commit of a
	// replay. Default 5 s.
	Timeout time.Duration

	// UnsafeNoSync leaves it to the embedded server when it syncs, which it does every two minutes: what it
	// acknowledged since then is lost with the power. It is there for the test that shows just this; no flag,
	// file or variable sets it.
	UnsafeNoSync bool

	// Logger gets what the embedded server has to say. Default: nothing is logged.
	Logger *slog.Logger
}

const (
	defaultDir        = "permledger-data"
	defaultMaxPayload = 8 << 20
	defaultTimeout    = 5 * time.Second
	defaultPatience   = time.Minute

	// headerRoom is what a message needs besides the commit: the expected sequence and stream as headers.
	headerRoom = 1 << 10
)

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		c.Dir = defaultDir
	}
	if c.Replicas == 0 || c.URL == "" {
		c.Replicas = 1
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = defaultMaxPayload
	}
	if c.LedgerStream == "" {
		c.LedgerStream = "LEDGER"
	}
	if c.JournalStream == "" {
		c.JournalStream = "JOURNAL"
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.MaxPayload <= headerRoom || c.MaxPayload > 64<<20: // the server knows no more than 64 MiB
		return c, fmt.Errorf("max payload must be between %d bytes and 64 MiB, is %d", headerRoom+1, c.MaxPayload)
	case c.LedgerStream == c.JournalStream:
		return c, fmt.Errorf("the ledger and the journal cannot both be stream %s", c.LedgerStream)
	case c.URL != "" && c.Listen != "":
		return c, errors.New("listen is for the embedded server, url for an external one")
	case c.Listen != "" && (c.ReaderUser == "" || c.ReaderPassword == ""):
		return c, errors.New("listening needs a user and a password for readers")
	}
	return c, nil
}

// hostPort splits Listen; port 0 becomes the server's word for any.
func hostPort(listen string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(listen)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("listen %q: %w", listen, err)
	case port < 0 || port > 65535:
		return "", 0, fmt.Errorf("listen %q: no such port", listen)
	case port == 0:
		port = anyPort
	}
	return host, port, nil
}
