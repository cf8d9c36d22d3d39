package access

import (
	"slices"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/pebblekv"
)

// personalRow is the p table: with which keys something about a principal is sealed, and who it is said to be. It is
// read by decisions and by whoever asks for the principal, one at a time, as known now.
type personalRow struct {
	Keys      []events.PersonalKey       `json:"keys,omitempty"`   // in use
	Erased    []events.PersonalKey       `json:"erased,omitempty"` // destroyed
	Described *events.PrincipalDescribed `json:"described,omitempty"`
	At        events.Position            `json:"at,omitempty"`        // of the event that describes it
	ErasedAt  events.Position            `json:"erased_at,omitempty"` // of the newest erasure
}

func personalKey(t events.Tenant, p events.Principal) pebblekv.Key {
	return nodeKey(tablePersonal, t, p)
}

// personal changes the row of p.
func (a applier) personal(p events.Principal, change func(*personalRow)) error {
	key := personalKey(a.r.Tenant, p)
	row, _, err := getJSON[personalRow](a.rows, key)
	if err != nil {
		return err
	}
	change(&row)
	return setJSON(a.rows, key, row)
}

// seal notes the keys that the event's texts are sealed with. A key that was destroyed meanwhile is not in use
// again: who sealed with it was late, and nobody will read it.
func (a applier) seal() error {
	for _, s := range events.SealedIn(a.r) {
		err := a.personal(s.For, func(row *personalRow) {
			if !slices.Contains(row.Keys, s.Key) && !slices.Contains(row.Erased, s.Key) {
				row.Keys = append(row.Keys, s.Key)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a applier) describe(e events.PrincipalDescribed) error {
	return a.personal(e.Principal, func(row *personalRow) { row.Described, row.At = &e, a.r.Position })
}

func (a applier) erase(e events.PrincipalErased) error {
	return a.personal(e.Principal, func(row *personalRow) {
		*row = personalRow{Erased: slices.Concat(row.Erased, e.Keys), ErasedAt: a.r.Position}
	})
}

// undescribe lets a name that is used again inherit no description.
func (a applier) undescribe(p events.Principal) error {
	row, ok, err := getJSON[personalRow](a.rows, personalKey(a.r.Tenant, p))
	if err != nil || !ok || row.Described == nil {
		return err
	}
	return a.personal(p, func(row *personalRow) { row.Described, row.At = nil, 0 })
}

func (s *State) personal(t events.Tenant, p events.Principal) personalRow {
	row, _, err := getJSON[personalRow](s.rows, personalKey(t, p))
	if err != nil {
		s.fail(err)
	}
	return row
}

// Described is the newest description of p that was neither deleted nor erased since.
func (s *State) Described(t events.Tenant, p events.Principal) (events.PrincipalDescribed, bool) {
	if d := s.personal(t, p).Described; d != nil {
		return *d, true
	}
	return events.PrincipalDescribed{}, false
}

// PersonalKeys lists the keys with which something about p is sealed and that were not destroyed.
func (s *State) PersonalKeys(t events.Tenant, p events.Principal) []events.PersonalKey {
	return s.personal(t, p).Keys
}

// Personal is what the ledger knows of the personal data of a principal: where it is, not what it says.
type Personal struct {
	Revision  events.Revision
	Keys      []events.PersonalKey // in use
	Erased    []events.PersonalKey // destroyed
	Described events.Position      // of the newest description in force; 0: none
	ErasedAt  events.Position      // of the newest erasure; 0: none
}

// Personal looks a principal up as known now. A tenant that is deleted, or never was, is no error: its keys may
// still be there.
func (v *View) Personal(t events.Tenant, p events.Principal) (Personal, error) {
	views, err := v.projector.Views()
	if err != nil {
		return Personal{}, err
	}
	defer views.Close()
	row, _, err := getJSON[personalRow](views.Rows(Name), personalKey(t, p))
	return Personal{views.Head.Revision, row.Keys, row.Erased, row.At, row.ErasedAt}, err
}
