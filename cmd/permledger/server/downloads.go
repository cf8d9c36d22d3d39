package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/projections/audit/pack"
)

// A download is a file that is made while it is sent. Such a file says itself whether it is whole, and whoever takes it
// verifies it, so there is no trailer. When something fails the connection is broken, and what came is no file.

const zipType = "application/zip"

// download answers with what write writes. What fails before the first byte is a catalogued error like any other.
func (s *Server) download(x *exchange, write func(context.Context, io.Writer) error) *streamed {
	return &streamed{Body: func(ctx huma.Context) {
		out := &downloadWriter{x: x, control: http.NewResponseController(x)}
		err := write(ctx.Context(), out)
		switch {
		case err == nil:
		case !out.started:
			writeProblem(x, err)
		default:
			x.err = err
			panic(http.ErrAbortHandler)
		}
	}}
}

// downloadWriter moves the write deadline with every piece: a reader that takes longer for one is gone.
type downloadWriter struct {
	x       *exchange
	control *http.ResponseController
	started bool
}

func (w *downloadWriter) Write(b []byte) (int, error) {
	if !w.started {
		w.started = true
		_ = w.control.SetReadDeadline(time.Time{}) // the request is read; its deadline would end the download
		h := w.x.Header()
		h.Set("Content-Type", zipType)
		h.Set("Cache-Control", "no-store")
		w.x.WriteHeader(http.StatusOK)
	}
	if err := w.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return w.x.Write(b)
}

// zipOf documents an operation that downloads.
func zipOf(op huma.Operation, what string) huma.Operation {
	op.Tags = []string{"proof"}
	op.Responses = map[string]*huma.Response{"200": {
		Description: what,
		Content:     map[string]*huma.MediaType{zipType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}}
	return op
}

func (s *Server) registerDownloads() {
	register(s, zipOf(query("/v1/audit/pack", "The report of a period that can be verified without the ledger"),
		"A pack: see permledger audit verify"), s.auditPack)
	register(s, zipOf(query("/v1/backup", "The ledger of this moment in one file"), "A backup: see permledger restore"), s.backup)
}

type packInput struct {
	request
	EventFilter
	OnBehalfOf      string `query:"on_behalf_of" doc:"Whom it was done for"`
	From            string `query:"from" doc:"Recorded at or after (RFC 3339); default the beginning"`
	To              string `query:"to" doc:"Recorded before (RFC 3339); default now"`
	OnlyMatching    string `query:"only_matching" enum:"true,false" doc:"Nothing but the events that match: it proves that they are real, not that they are all"`
	SinceCheckpoint string `query:"since_checkpoint" doc:"A signed checkpoint of before the period, to begin with"`
}

func (in *packInput) parse() (r pack.Request, err error) {
	f, err := in.EventFilter.parse()
	if err != nil {
		return r, err
	}
	if in.OnBehalfOf != "" {
		if f.OnBehalfOf, err = parsePrincipal("on_behalf_of", in.OnBehalfOf); err != nil {
			return r, err
		}
	}
	if in.SinceCheckpoint != "" {
		r.Since = []byte(in.SinceCheckpoint)
	}
	r.Filters = pack.Filters{
		Tenant: f.Tenant, Principal: f.Principal, Actor: f.Actor, OnBehalfOf: f.OnBehalfOf,
		Permission: f.Permission.Name, API: f.API, Type: f.Type,
	}
	return r, firstError(parseTime("from", in.From, &r.From), parseTime("to", in.To, &r.To), parseBool("only_matching", in.OnlyMatching, &r.OnlyMatching))
}

func (s *Server) auditPack(ctx context.Context, in *packInput) (*streamed, error) {
	r, err := in.parse()
	if err != nil {
		return nil, err
	}
	export, err := pack.Prepare(ctx, s.config.Audit, s.config.Checkpoints, r)
	if err != nil {
		return nil, err
	}
	return s.download(in.exchange, export.Write), nil
}

type backupInput struct {
	request
	WithKeys string `query:"with_keys" enum:"true,false" doc:"The private keys of the ledger, too"`
}

func (s *Server) backup(_ context.Context, in *backupInput) (*streamed, error) {
	var withKeys bool
	if err := parseBool("with_keys", in.WithKeys, &withKeys); err != nil {
		return nil, err
	}
	return s.download(in.exchange, func(ctx context.Context, to io.Writer) error { return s.config.Backup(ctx, to, withKeys) }), nil
}
