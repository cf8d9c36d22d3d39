package server

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
)

// A stream is JSON lines. The obvious way, to write rows until they end, has no way to say that they ended
// too early: the status went out before the first row. So the last thing sent is a trailer that counts the
// rows, and when something fails the connection is broken, which every client sees. What fails before the
// first row is a catalogued error like any other.

const (
	flushEvery   = 32 << 10         // bytes
	flushAfter   = time.Second / 10 // while rows trickle
	lifeSign     = 15 * time.Second // an empty line, when a followed stream has nothing to say
	writeTimeout = 30 * time.Second // for one flush: a reader that takes longer is gone
)

// streamed is the output of an operation that streams.
type streamed struct {
	Body func(huma.Context)
}

// lines documents an operation that streams, as register documents others.
func (s *Server) lines(op huma.Operation, responses map[string]*huma.Response) huma.Operation {
	ok := responses["200"]
	ok.Description = "JSON lines. The trailer " + api.CompleteTrailer + " counts them; without it the list is not whole."
	ok.Headers = map[string]*huma.Param{
		api.RevisionHeader: {Description: "The revision the rows reflect", Schema: &huma.Schema{Type: huma.TypeString}},
	}
	op.Responses = responses
	return op
}

// encoded turns rows into lines.
func encoded[T any](rows iter.Seq2[T, error], wire func(T) any) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for row, err := range rows {
			var line []byte
			if err == nil {
				line, err = json.Marshal(wire(row))
			}
			if !yield(append(line, '\n'), err) || err != nil {
				return
			}
		}
	}
}

// stream answers with rows. A followed stream shows its head at once, gives signs of life, and ends when the
// server does; it has no end of its own, and so never a trailer.
func (s *Server) stream(x *exchange, revision events.Revision, follow bool, rows func(context.Context) iter.Seq2[[]byte, error]) *streamed {
	return &streamed{Body: func(ctx huma.Context) {
		out := &lineWriter{x: x, control: http.NewResponseController(x), revision: revision}
		if follow {
			out.closing = s.closing
		}
		if err := out.run(ctx.Context(), rows); err != nil {
			if !out.started {
				writeProblem(x, err)
				return
			}
			x.err = err
			panic(http.ErrAbortHandler)
		}
	}}
}

// lineWriter writes one stream. Another goroutine reads the rows, because rows may be long in coming and what
// there is must still go out.
type lineWriter struct {
	x        *exchange
	control  *http.ResponseController
	revision events.Revision
	closing  <-chan struct{} // of a followed stream
	started  bool
	rows     int
	pending  []byte
}

type line struct {
	bytes []byte
	err   error
}

func (w *lineWriter) run(ctx context.Context, rows func(context.Context) iter.Seq2[[]byte, error]) error {
	ctx, cancel := context.WithCancel(ctx)
	lines, read := make(chan line, 64), make(chan struct{})
	go func() {
		defer close(read)
		defer close(lines)
		readRows(ctx, rows(ctx), lines)
	}()
	defer func() { cancel(); <-read }()
	return w.write(ctx, lines)
}

// readRows hands rows on. A bug in reading them must not end the process, as it would not in a handler.
func readRows(ctx context.Context, rows iter.Seq2[[]byte, error], to chan<- line) {
	send := func(l line) bool {
		select {
		case to <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	defer func() {
		if fault := recover(); fault != nil {
			send(line{err: fmt.Errorf("panic: %v\n%s", fault, debug.Stack())})
		}
	}()
	for b, err := range rows {
		if !send(line{b, err}) {
			return
		}
	}
}

func (w *lineWriter) write(ctx context.Context, lines <-chan line) error {
	flush, life := time.NewTicker(flushAfter), time.NewTicker(lifeSign)
	defer flush.Stop()
	defer life.Stop()
	if w.closing != nil {
		if err := w.flush(); err != nil {
			return err
		}
	}
	for {
		select {
		case l, more := <-lines:
			if !more {
				return w.end(ctx)
			}
			if err := w.add(l); err != nil {
				return err
			}
		case <-flush.C:
			if err := w.flushPending(); err != nil {
				return err
			}
		case <-life.C:
			if w.closing != nil {
				w.pending = append(w.pending, '\n')
			}
		case <-w.closing:
			return errClosing
		case <-ctx.Done():
			return fmt.Errorf("stream row %d: %w", w.rows, context.Cause(ctx))
		}
	}
}

// errClosing ends followed streams when the server ends.
var errClosing = fmt.Errorf("%w: the server is closing", ledger.ErrUnavailable)

func (w *lineWriter) add(l line) error {
	if l.err != nil {
		return l.err
	}
	w.rows++
	w.pending = append(w.pending, l.bytes...)
	if len(w.pending) < flushEvery {
		return nil
	}
	return w.flush()
}

func (w *lineWriter) flushPending() error {
	if len(w.pending) == 0 {
		return nil
	}
	return w.flush()
}

func (w *lineWriter) flush() error {
	w.start()
	if err := w.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := w.x.Write(w.pending); err != nil {
		return err
	}
	w.pending = w.pending[:0]
	return w.control.Flush()
}

// start sends the head.
func (w *lineWriter) start() {
	if w.started {
		return
	}
	w.started = true
	_ = w.control.SetReadDeadline(time.Time{}) // the request is read; its deadline would end the stream
	h := w.x.Header()
	h.Set("Content-Type", api.JSONLinesContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Trailer", api.CompleteTrailer)
	h.Set(api.RevisionHeader, fmt.Sprint(w.revision))
	w.x.WriteHeader(http.StatusOK)
}

// end sends what is left and the count. A context that ended may have ended the rows.
func (w *lineWriter) end(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("stream row %d: %w", w.rows, err)
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.x.Header().Set(api.CompleteTrailer, strconv.Itoa(w.rows))
	return nil
}
