package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/events"
)

// entry is a line of the file. The cursor in it is the mailbox's own: the last line's is where to go on.
type entry struct {
	consumers.Cursor
	At     events.Instant `json:"at,omitzero"`
	Who    string         `json:"who,omitempty"`
	What   string         `json:"what,omitempty"`
	By     string         `json:"by,omitempty"`
	Reason string         `json:"reason,omitempty"`
}

// mailbox is a consumers.Effect in a file.
type mailbox struct {
	file   *os.File
	cursor consumers.Cursor
	begun  bool
}

// open reads the file for its last line. What comes after the last line end was being written when the
// process or the machine stopped: it was not stored, so it is cut off, and its event will come again.
func open(name string) (_ *mailbox, err error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	m := &mailbox{file: file}
	whole, lines := int64(0), bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s is not a mailbox: at byte %d: %w", name, whole, err)
		}
		m.cursor, m.begun = e.Cursor, true
		whole += int64(len(line))
	}
	if err := file.Truncate(whole); err != nil {
		return nil, err
	}
	_, err = file.Seek(whole, io.SeekStart)
	return m, err
}

func (m *mailbox) close() error { return m.file.Close() }

// Cursor is that of the last line.
func (m *mailbox) Cursor(context.Context) (consumers.Cursor, bool, error) {
	return m.cursor, m.begun, nil
}

// Begin writes a line that says nothing but where the mailbox starts.
func (m *mailbox) Begin(_ context.Context, c consumers.Cursor) error {
	return m.write(entry{Cursor: c})
}

// Apply writes one line, or nothing for an event by which nobody gains or loses anything.
func (m *mailbox) Apply(_ context.Context, ev consumers.Event) error {
	who, what := describe(ev.Event)
	if what == "" {
		return nil
	}
	return m.write(entry{
		Cursor: ev.Cursor(), At: ev.RecordedAt, Who: who.String(), What: what,
		By: ev.Actor.String(), Reason: ev.Reason,
	})
}

// write appends a line and waits until it is on the disk. After an error the file may end in half a line;
// the subscription ends with it, and open repairs it.
func (m *mailbox) write(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := m.file.Write(append(line, '\n')); err != nil {
		return err
	}
	m.cursor, m.begun = e.Cursor, true
	return m.file.Sync()
}

// describe says who gains or loses what by an event, or "".
func describe(e events.Event) (who events.Principal, what string) {
	if edge, ok := events.Begins(e); ok {
		return edge.From, "gained " + object(edge)
	}
	if edge, _, ok := events.Ends(e); ok {
		return edge.From, "lost " + object(edge)
	}
	switch e := e.(type) {
	case events.ValidityExpired:
		return e.Edge.From, "lost " + object(e.Edge) + ", which expired"
	case events.ValidityCorrected:
		return e.Edge.From, "has " + object(e.Edge) + " at other times than recorded"
	case events.PrincipalDeleted:
		return e.Principal, "lost everything"
	case events.RoleDeleted:
		return e.Role.Principal(), "is no more"
	case events.GroupDeleted:
		return e.Group.Principal(), "is no more"
	default:
		return events.Principal{}, ""
	}
}

func object(e events.Edge) string {
	what := e.To.String()
	if e.Kind == events.EdgeGrant {
		what = e.Permission.String()
	}
	if !e.Scope.IsZero() {
		what += " on " + e.Scope.String()
	}
	return what
}
