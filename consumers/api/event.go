package api

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/permledger/permledger/events"
)

// Event is an event as stored, with its place in the ledger. On the wire it is the stored object with two
// members before all others: {"revision":7,"position":12,"id":…}. Raw holds the stored bytes.
type Event struct{ events.Recorded }

func (e Event) MarshalJSON() ([]byte, error) {
	if len(e.Raw) < 2 || e.Raw[0] != '{' {
		return nil, fmt.Errorf("encode event position=%d: it has no stored form", e.Position)
	}
	return append(eventPrefix(e.Revision, e.Position), e.Raw[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON writes. An event of a name or version this build does not know is
// an error: who skips a revoke it does not understand goes on to allow.
func (e *Event) UnmarshalJSON(b []byte) error {
	var place struct {
		Revision events.Revision `json:"revision"`
		Position events.Position `json:"position"`
	}
	if err := json.Unmarshal(b, &place); err != nil {
		return err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(compact.Bytes(), eventPrefix(place.Revision, place.Position))
	if !ok {
		return fmt.Errorf("decode event position=%d: revision and position must come first", place.Position)
	}
	r, err := events.UnmarshalEvent(append([]byte{'{'}, rest...))
	if err != nil {
		return err
	}
	r.Revision, r.Position = place.Revision, place.Position
	e.Recorded = r
	return nil
}

func eventPrefix(r events.Revision, p events.Position) []byte {
	return fmt.Appendf(nil, `{"revision":%d,"position":%d,`, r, p)
}
