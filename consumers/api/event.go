package api

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/permledger/permledger/events"
)

// Event is an event as stored, with its place in the ledger. On the wire it is the stored object with two
// members before all others: {"revision":7,"position":12,"id":…}. Raw holds the stored bytes. What is sealed in it
// is told in a third: {"revision":7,"position":12,"opened":{"reason":…},"id":…}.
type Event struct {
	events.Recorded
	Opened *Opened
}

func (e Event) MarshalJSON() ([]byte, error) {
	if len(e.Raw) < 2 || e.Raw[0] != '{' {
		return nil, fmt.Errorf("encode event position=%d: it has no stored form", e.Position)
	}
	var opened json.RawMessage
	if e.Opened != nil {
		var err error
		if opened, err = json.Marshal(e.Opened); err != nil {
			return nil, fmt.Errorf("encode event position=%d: %w", e.Position, err)
		}
	}
	return append(eventPrefix(e.Revision, e.Position, opened), e.Raw[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON writes. An event of a name or version this build does not know is
// an error: who skips a revoke it does not understand goes on to allow.
func (e *Event) UnmarshalJSON(b []byte) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		return err
	}
	var place struct {
		Revision events.Revision `json:"revision"`
		Position events.Position `json:"position"`
		Opened   json.RawMessage `json:"opened"`
	}
	if err := json.Unmarshal(compact.Bytes(), &place); err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(compact.Bytes(), eventPrefix(place.Revision, place.Position, place.Opened))
	if !ok {
		return fmt.Errorf("decode event position=%d: revision and position must come first", place.Position)
	}
	r, err := events.UnmarshalEvent(append([]byte{'{'}, rest...))
	if err != nil {
		return err
	}
	r.Revision, r.Position = place.Revision, place.Position
	e.Recorded, e.Opened = r, nil
	if place.Opened != nil {
		return json.Unmarshal(place.Opened, &e.Opened)
	}
	return nil
}

func eventPrefix(r events.Revision, p events.Position, opened json.RawMessage) []byte {
	b := fmt.Appendf(nil, `{"revision":%d,"position":%d,`, r, p)
	if opened != nil {
		b = fmt.Appendf(b, `"opened":%s,`, opened)
	}
	return b
}
