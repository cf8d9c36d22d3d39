package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"unicode/utf8"

	"github.com/permledger/permledger/events"
)

// A history file has one operation a line. The operations of one source commit stand together and are one
// atomic change:
//
//	{"n":7,"time":"2018-07-07T19:49:18Z","commit":"2963e6","actor":"ann","op":"member.add","group":"g","user":"bob","reason":"…"}
//
// docs/formats.md lists the operations. A line {"rejected":…}, which only a rejects file has, says that the
// commit after it was refused before, and how often.

// historyOp is one operation of a history file.
type historyOp struct {
	N          uint64            `json:"n"`
	Time       events.Instant    `json:"time"`
	Commit     string            `json:"commit"`
	Actor      string            `json:"actor"`
	Op         string            `json:"op"`
	Reason     string            `json:"reason"`
	Role       events.Role       `json:"role"`
	Permission string            `json:"permission"`
	Group      events.Group      `json:"group"`
	Parent     events.Group      `json:"parent"`
	User       string            `json:"user"`
	Principal  *historyPrincipal `json:"principal"`
	Resource   json.RawMessage   `json:"resource"`
}

type historyPrincipal struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// historyRejected marks, in a rejects file, why the commit on the lines after it was rejected.
type historyRejected struct {
	Commit  string `json:"commit"`
	Line    int    `json:"line"` // of the file that was imported
	Attempt int    `json:"attempt"`
	Code    string `json:"code"`
	Reason  string `json:"reason"`
}

// historyLine is a line as it stands in the file, without its line break.
type historyLine struct {
	number int
	raw    []byte
}

// historyCommit is one source commit: its lines, and its operations if all of them could be read.
type historyCommit struct {
	id      string
	lines   []historyLine
	ops     []historyOp
	attempt int   // 1, or one more than the last rejection says
	bad     error // why it cannot be imported; nil if it can
}

// maxHistoryLine is the longest line taken: an operation has a few ids of at most 256 bytes and a reason.
const maxHistoryLine = 64 << 10

// historyReader groups the lines of a history file into source commits, holding one at a time.
type historyReader struct {
	lines   *bufio.Reader
	number  int
	next    *historyCommit // begun by a line already read
	attempt int            // for the next commit, from a mark before it
	suspect error          // a line that may belong to the next commit could not be read
}

func newHistoryReader(r io.Reader) *historyReader {
	return &historyReader{lines: bufio.NewReaderSize(r, maxHistoryLine+2), attempt: 1}
}

// read gives the next source commit, or io.EOF. A commit that cannot be read whole is given with its bad
// field set; only a failing file ends the reading.
//
// A line too broken to say which commit it belongs to might belong to the one before or the one after.
// Neither may be applied in part, so both are bad.
func (r *historyReader) read() (*historyCommit, error) {
	c := r.next
	r.next = nil
	for {
		raw, err := r.line()
		if errors.Is(err, io.EOF) {
			if c == nil {
				return nil, io.EOF
			}
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		line := historyLine{r.number, raw}
		if len(bytes.TrimSpace(raw)) == 0 {
			continue
		}
		if mark, ok := readRejected(raw); ok {
			r.attempt = mark.Attempt + 1
			continue
		}
		op, id, bad := readOp(raw)
		if bad != nil {
			bad = fmt.Errorf("line %d: %w", line.number, bad)
		}
		switch {
		case id == "" && c != nil:
			c.lines, c.bad = append(c.lines, line), errors.Join(c.bad, bad)
			r.suspect = fmt.Errorf("%w (it may belong to this commit)", bad)
			continue
		case c != nil && id == c.id:
			c.take(line, op, bad)
			continue
		}
		n := &historyCommit{id: id, attempt: r.attempt, bad: r.suspect}
		r.attempt, r.suspect = 1, nil
		n.take(line, op, bad)
		if id == "" {
			r.suspect = fmt.Errorf("%w (it may belong to this commit)", bad)
		}
		if c != nil {
			r.next = n
			return c, nil
		}
		c = n
	}
}

func (c *historyCommit) take(line historyLine, op historyOp, bad error) {
	c.lines = append(c.lines, line)
	if bad == nil && len(c.ops) > 0 && (op.Time != c.ops[0].Time || op.Actor != c.ops[0].Actor) {
		bad = fmt.Errorf("line %d: another time or actor than the lines of commit %s before it", line.number, c.id)
	}
	if bad != nil {
		c.bad = errors.Join(c.bad, bad)
		return
	}
	c.ops = append(c.ops, op)
}

// line reads to the next line break. A line that is too long is read to its end and given cut, which makes
// it unreadable.
func (r *historyReader) line() ([]byte, error) {
	raw, err := r.lines.ReadSlice('\n')
	long := errors.Is(err, bufio.ErrBufferFull)
	line := bytes.TrimSuffix(bytes.Clone(raw), []byte("\n"))
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.lines.ReadSlice('\n')
	}
	switch {
	case err == nil || errors.Is(err, io.EOF) && (len(line) > 0 || long):
		r.number++
		return line, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	}
	return nil, fmt.Errorf("read line %d: %w", r.number+1, err)
}

func readRejected(raw []byte) (historyRejected, bool) {
	var mark struct {
		Rejected *historyRejected `json:"rejected"`
	}
	if !bytes.HasPrefix(raw, []byte(`{"rejected":`)) || json.Unmarshal(raw, &mark) != nil || mark.Rejected == nil {
		return historyRejected{}, false
	}
	return *mark.Rejected, true
}

// commitMember finds the commit in a line that is broken further on.
var commitMember = regexp.MustCompile(`"commit":"([^"\\]+)"`)

// readOp reads one line, and as much of it as its commit when the rest is no good.
func readOp(raw []byte) (op historyOp, commit string, _ error) {
	if m := commitMember.FindSubmatch(raw); m != nil {
		commit = string(m[1])
	}
	if !utf8.Valid(raw) {
		return op, commit, errors.New("not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&op); err != nil {
		return op, commit, fmt.Errorf("not an operation: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return op, commit, errors.New("more than one operation on a line")
	}
	return op, op.Commit, op.check()
}

// historyArguments are the arguments of each operation, all of them needed and no others taken.
var historyArguments = map[string][]string{
	"role.define":            {"role"},
	"role.permission.add":    {"role", "permission"},
	"role.permission.remove": {"role", "permission"},
	"group.create":           {"group"},
	"group.delete":           {"group"},
	"group.parent.set":       {"group", "parent"},
	"group.parent.unset":     {"group", "parent"},
	"member.add":             {"group", "user"},
	"member.remove":          {"group", "user"},
	"grant":                  {"principal", "resource"}, // and a role or a permission
	"revoke":                 {"principal", "resource"},
}

func (op historyOp) check() error {
	switch {
	case op.N == 0:
		return errors.New(`"n" is missing`)
	case op.Commit == "":
		return errors.New(`"commit" is missing`)
	case op.Time.IsZero():
		return errors.New(`"time" is missing`)
	case op.Actor == "":
		return errors.New(`"actor" is missing`)
	}
	wanted, known := historyArguments[op.Op]
	if !known {
		return fmt.Errorf("unknown operation %q", op.Op)
	}
	given := map[string]bool{
		"role": op.Role != "", "permission": op.Permission != "", "group": op.Group != "", "parent": op.Parent != "",
		"user": op.User != "", "principal": op.Principal != nil, "resource": op.Resource != nil,
	}
	for _, a := range wanted {
		if !given[a] {
			return fmt.Errorf("%s: %q is missing", op.Op, a)
		}
		delete(given, a)
	}
	if op.Op == "grant" || op.Op == "revoke" {
		if given["role"] == given["permission"] {
			return fmt.Errorf("%s: exactly one of \"role\" and \"permission\" is needed", op.Op)
		}
		delete(given, "role")
		delete(given, "permission")
	}
	for a, is := range given {
		if is {
			return fmt.Errorf("%s: takes no %q", op.Op, a)
		}
	}
	return op.checkIDs()
}

func (op historyOp) checkIDs() error {
	if _, err := op.scope(); err != nil {
		return err
	}
	if op.Principal != nil {
		return op.holder().Check()
	}
	return nil
}

func (op historyOp) holder() events.Principal {
	return events.Principal{Kind: events.Kind(op.Principal.Type), ID: op.Principal.ID}
}

// scope reads the resource: null is none, {"type","id"} one id, {"type","any":true} any of the type.
func (op historyOp) scope() (s events.Scope, err error) {
	if op.Resource != nil {
		if err = json.Unmarshal(op.Resource, &s); err != nil {
			err = fmt.Errorf("resource: %w", err)
		}
	}
	return s, err
}
