package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// Event is an event as a subscriber gets it: what was recorded, and in which ledger. Revision and Position
// say where.
type Event struct {
	Ledger events.LedgerID
	events.Recorded
}

// Cursor is how far a subscriber is once it has applied ev.
func (ev Event) Cursor() Cursor {
	return Cursor{Ledger: ev.Ledger, Revision: ev.Revision, Position: ev.Position, Event: ev.ID}
}

// Cursor is how far a subscriber got. It names the event too, so that another past is not mistaken for the
// same one. The zero Cursor is before the first event of any ledger.
type Cursor struct {
	Ledger   events.LedgerID `json:"ledger"`
	Revision events.Revision `json:"revision"`
	Position events.Position `json:"position"`
	Event    events.EventID  `json:"event"`
}

// Effect is what a subscriber does with events. It owns its cursor, so that both can be stored in one step.
// Its methods are called by one goroutine at a time.
type Effect interface {
	// Cursor is the last one stored; ok is false when there is none yet.
	Cursor(ctx context.Context) (_ Cursor, ok bool, err error)
	// Begin stores where the subscription starts: the events after c are to come. It is called once, before
	// the first Apply, so that "now" stays the same moment when the subscriber is started again.
	Begin(ctx context.Context, c Cursor) error
	// Apply stores what ev brings about and ev.Cursor() in one atomic step. When it brings about nothing,
	// storing nothing is fine: the event may come again after a restart, and bring about nothing again.
	// An error ends the subscription, and the event is the first to come when it is started again.
	Apply(ctx context.Context, ev Event) error
}

// CursorStore keeps a cursor apart from the effect.
type CursorStore interface {
	Load(ctx context.Context) (_ Cursor, ok bool, err error)
	Save(ctx context.Context, c Cursor) error
}

// Func makes an effect of a function and a store for its cursor, which is saved after each event. After a
// crash between the two the event is handed over again: at least once. A nil store keeps nothing, and each
// Subscribe starts where From says.
func Func(handle func(ctx context.Context, ev Event) error, cursors CursorStore) Effect {
	if cursors == nil {
		cursors = forgetful{}
	}
	return handler{handle, cursors}
}

type handler struct {
	handle  func(context.Context, Event) error
	cursors CursorStore
}

func (h handler) Cursor(ctx context.Context) (Cursor, bool, error) { return h.cursors.Load(ctx) }
func (h handler) Begin(ctx context.Context, c Cursor) error        { return h.cursors.Save(ctx, c) }

func (h handler) Apply(ctx context.Context, ev Event) error {
	if err := h.handle(ctx, ev); err != nil {
		return err
	}
	return h.cursors.Save(ctx, ev.Cursor())
}

type forgetful struct{}

func (forgetful) Load(context.Context) (Cursor, bool, error) { return Cursor{}, false, nil }
func (forgetful) Save(context.Context, Cursor) error         { return nil }

// FileCursor keeps a cursor in the file of that name, as one line of JSON.
type FileCursor string

// Load reads the file. A file that is not there is no cursor; one that is not a cursor is an error.
func (f FileCursor) Load(context.Context) (c Cursor, ok bool, err error) {
	b, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err == nil && c.Position > 0 && c.Ledger == uuid.Nil {
		err = errors.New("names no ledger")
	}
	if err != nil {
		return Cursor{}, false, fmt.Errorf("read cursor %s: %w", string(f), err)
	}
	return c, true, nil
}

// Save replaces the file.
//
// Crash points: the new cursor is written and synced under another name first, so until the rename the old
// one stands, and after it the new one; the directory is synced last, so that the rename stays.
func (f FileCursor) Save(_ context.Context, c Cursor) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save cursor %s: %w", string(f), err)
		}
	}()
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	next := string(f) + ".new"
	if err := writeSynced(next, append(b, '\n')); err != nil {
		return err
	}
	if err := os.Rename(next, string(f)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(string(f)))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(name string, b []byte) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	return errors.Join(err, file.Sync(), file.Close())
}
