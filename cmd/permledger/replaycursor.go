package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/permledger/permledger/cmd/permledger/durable"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
)

// replayCursor is how far a replay got: the last commit of which everything that matched is written. The question is
// part of it, because half an answer to one question and half of another is no answer.
type replayCursor struct {
	Ledger   events.LedgerID `json:"ledger"`
	Revision events.Revision `json:"revision"`
	Hash     events.Hash     `json:"hash"` // zeroes: nothing is read yet
	Position events.Position `json:"position"`
	Question string          `json:"question"`
	Out      *writtenOut     `json:"out,omitempty"` // absent: standard output

	file string
}

// writtenOut is what a file holds up to a cursor.
type writtenOut struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// replayQuestion says in one line what is asked, the same line for the same question.
func replayQuestion(f format, noHeaders bool, from events.Revision, filter audit.Filter) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-o %s --from %d", f, from)
	if noHeaders {
		b.WriteString(" --no-headers")
	}
	for _, condition := range []struct{ flag, value string }{
		{"tenant", string(filter.Tenant)}, {"actor", filter.Actor.String()}, {"on-behalf-of", filter.OnBehalfOf.String()},
		{"principal", filter.Principal.String()}, {"permission", string(filter.Permission.Name)}, {"api", string(filter.API)},
		{"type", filter.Type}, {"since", filter.Since.String()}, {"until", filter.Until.String()},
	} {
		if condition.value != "" {
			fmt.Fprintf(&b, " --%s %q", condition.flag, condition.value)
		}
	}
	return b.String()
}

// openCursor reads the cursor in a file, and opens the output it belongs to, cut to what the cursor knows of. If there
// is none yet, it is begun as fresh.
//
// The cursor is there before the output is: whatever is in a file that has a cursor was put there by a replay, and
// may be cut. A file without one is somebody else's.
func openCursor(file string, fresh replayCursor, stdout io.Writer, out string) (*replayCursor, *replayOut, error) {
	if out != "" {
		whole, err := filepath.Abs(out)
		if err != nil {
			return nil, nil, fmt.Errorf("open output: %w", err)
		}
		fresh.Out = &writtenOut{File: whole, SHA256: hex.EncodeToString(sha256.New().Sum(nil))}
		out = whole
	}
	c, err := readCursor(file)
	switch {
	case err != nil:
		return nil, nil, err
	case c == nil:
		c = &fresh
		c.file = file
		if err := newFile(out); err != nil {
			return nil, nil, err
		}
		if err := c.write(); err != nil {
			return nil, nil, err
		}
	default:
		if err := c.belongs(fresh); err != nil {
			return nil, nil, err
		}
	}
	if c.Out == nil {
		return c, stdoutOf(stdout), nil
	}
	to, err := resumeOut(*c.Out)
	return c, to, err
}

func readCursor(file string) (*replayCursor, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cursor: %w", err)
	}
	c := &replayCursor{file: file}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil || c.Question == "" {
		return nil, usagef("--cursor %s: the file is no cursor of a replay", file)
	}
	return c, nil
}

// belongs reports whether c is a cursor of the replay that fresh would begin.
func (c *replayCursor) belongs(fresh replayCursor) error {
	switch {
	case c.Ledger != fresh.Ledger:
		return usagef("--cursor %s is of ledger %s, this is %s", c.file, c.Ledger, fresh.Ledger)
	case c.Question != fresh.Question:
		return usagef("--cursor %s is of another question: it has %s, this is %s", c.file, c.Question, fresh.Question)
	case (c.Out == nil) != (fresh.Out == nil) || c.Out != nil && c.Out.File != fresh.Out.File:
		return usagef("--cursor %s belongs to %s, not to %s", c.file, c.Out, fresh.Out)
	}
	return nil
}

func (w *writtenOut) String() string {
	if w == nil {
		return "standard output"
	}
	return w.File
}

// save keeps the cursor as it is, with what is written by now.
func (c *replayCursor) save(to *replayOut) error {
	if c.Out != nil {
		c.Out.of(to)
	}
	return c.write()
}

func (w *writtenOut) of(to *replayOut) {
	w.Bytes, w.SHA256 = to.length, hex.EncodeToString(to.sum.Sum(nil))
}

// write replaces the file: after a crash it is the old one or the new one.
func (c *replayCursor) write() error {
	b, err := encodeJSON(c, "  ")
	if err == nil {
		err = durable.WriteFile(c.file, b)
	}
	if err != nil {
		return fmt.Errorf("write cursor: %w", err)
	}
	return nil
}

// replayOut is where a replay writes to: standard output, or a file of its own.
type replayOut struct {
	w      io.Writer
	file   *os.File // to be synced; nil where that means nothing, as for a pipe
	own    bool     // to be closed
	length int64
	sum    hash.Hash
}

// stdoutOf writes to standard output, which is synced where it is a file.
func stdoutOf(w io.Writer) *replayOut {
	to := &replayOut{w: w, sum: sha256.New()}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			to.file = f
		}
	}
	return to
}

// newReplayOut begins a file that is not there yet.
func newReplayOut(stdout io.Writer, file string) (*replayOut, error) {
	if file == "" {
		return stdoutOf(stdout), nil
	}
	if err := newFile(file); err != nil {
		return nil, err
	}
	return openOut(file)
}

// openOut opens a file, and makes durable that it is there: its bytes would be of no use without it.
func openOut(file string) (*replayOut, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = durable.SyncDir(filepath.Dir(file))
	}
	if err != nil {
		return nil, fmt.Errorf("open output: %w", err)
	}
	return &replayOut{w: f, file: f, own: true, sum: sha256.New()}, nil
}

// newFile refuses a file with something in it.
func newFile(file string) error {
	if file == "" {
		return nil
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open output: %w", err)
	case !info.Mode().IsRegular() || info.Size() > 0:
		return usagef("--out %s is there already", file)
	}
	return nil
}

// resumeOut opens a file where a cursor left it: what is behind is the beginning of something that was broken off.
func resumeOut(written writtenOut) (_ *replayOut, err error) {
	to, err := openOut(written.File)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, to.close())
		}
	}()
	to.length, err = io.CopyN(to.sum, to.file, written.Bytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read output: %w", err)
	}
	if to.length != written.Bytes || hex.EncodeToString(to.sum.Sum(nil)) != written.SHA256 {
		return nil, usagef("--out %s no longer begins with the %d bytes that were written to it", written.File, written.Bytes)
	}
	if err := to.file.Truncate(written.Bytes); err != nil {
		return nil, fmt.Errorf("cut output: %w", err)
	}
	return to, nil
}

func (o *replayOut) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	o.length += int64(n)
	o.sum.Write(b[:n])
	return n, err
}

func (o *replayOut) sync() error {
	if o.file == nil {
		return nil
	}
	return o.file.Sync()
}

func (o *replayOut) close() error {
	if !o.own {
		return nil
	}
	return o.file.Close()
}
