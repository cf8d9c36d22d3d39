package pack

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/permledger/permledger/events"
)

// Row is what the report says of an event.
type Row struct {
	Position   events.Position   `json:"position"`
	Revision   events.Revision   `json:"revision,omitempty"` // not with matching events only, which cannot prove it
	RecordedAt events.Instant    `json:"recorded_at"`
	Tenant     events.Tenant     `json:"tenant,omitempty"` // none for what concerns the ledger itself
	Event      string            `json:"event"`            // its name on the wire
	Change     Change            `json:"change,omitempty"`
	Who        string            `json:"who,omitempty"`  // who got or lost it, or whom it is about
	How        events.EdgeKind   `json:"how,omitempty"`  // by what kind of fact
	What       string            `json:"what,omitempty"` // the permission, role or group; what else the event is about
	On         string            `json:"on,omitempty"`   // the scope
	ValidFrom  string            `json:"valid_from,omitempty"`
	ValidUntil string            `json:"valid_until,omitempty"`
	Actor      string            `json:"actor"`
	OnBehalfOf string            `json:"on_behalf_of,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	Ticket     string            `json:"ticket,omitempty"`
	Sealed     bool              `json:"sealed,omitempty"` // reason and ticket are there, under a personal key
	Approvals  []events.Approval `json:"approvals,omitempty"`
	ID         events.EventID    `json:"id"`
	Command    events.CommandID  `json:"command"`
}

// Change says which way an event changes what somebody has.
type Change string

const (
	Gained    Change = "gained"
	Lost      Change = "lost"
	Corrected Change = "corrected" // when something is or was held
	Started   Change = "started"   // a notice: what was given earlier begins to count
	Expired   Change = "expired"   // a notice: what was given until then counts no longer
)

// rowOf is the row of an event in reports of format 1. What it says of the events there are never changes.
func rowOf(r events.Recorded) Row {
	row := Row{
		Position: r.Position, Revision: r.Revision, RecordedAt: r.RecordedAt, Tenant: r.Tenant, Event: events.Name(r.Event),
		ValidFrom: r.ValidFrom.String(), ValidUntil: r.ValidUntil.String(),
		Actor: principal(r.Actor), OnBehalfOf: principal(r.OnBehalfOf), Reason: r.Reason, Ticket: r.Ticket, Sealed: r.Sealed != nil, Approvals: r.Approvals,
		ID: r.ID, Command: r.Command,
	}
	if edge, ok := events.Begins(r.Event); ok {
		return row.about(Gained, edge)
	}
	if edge, _, ok := events.Ends(r.Event); ok {
		return row.about(Lost, edge)
	}
	switch e := r.Event.(type) {
	case events.ValidityCorrected:
		return row.about(Corrected, e.Edge)
	case events.ValidityStarted:
		return row.about(Started, e.Edge)
	case events.ValidityExpired:
		return row.about(Expired, e.Edge)
	case events.RoleDeleted, events.GroupDeleted, events.PrincipalDeleted, events.TenantDeleted:
		row.Change, row.What = Lost, "everything"
	case events.AdministratorAdded:
		row.Change, row.What = Gained, "administration of the ledger"
	case events.AdministratorRemoved:
		row.Change, row.What = Lost, "administration of the ledger"
	case events.KeyAnnounced:
		row.What = e.Key.String()
	case events.ForkAccepted:
		row.What = "goes on after revision " + strconv.FormatUint(uint64(e.Kept.Revision), 10) +
			"; revision " + strconv.FormatUint(uint64(e.Lost.Revision), 10) + " was known"
	default:
		row.What = named(e)
	}
	holder, _, _ := events.About(r.Event)
	row.Who = principal(holder)
	return row
}

func (row Row) about(c Change, e events.Edge) Row {
	row.Change, row.Who, row.How, row.What, row.On = c, principal(e.From), e.Kind, principal(e.To), e.Scope.String()
	if e.Kind == events.EdgeGrant {
		row.What = e.Permission.String()
	}
	return row
}

// named is what a definition defines.
func named(e events.Event) string {
	switch e := e.(type) {
	case events.CatalogLoaded:
		return string(e.Catalog) + " " + e.Info.Version
	case events.ResourceTypeDefined:
		return string(e.Type) + " of " + string(e.Def.API)
	case events.ResourceTypeRetired:
		return string(e.Type) + " of " + string(e.Before.API)
	default:
		return namedPermission(e)
	}
}

// namedPermission is the permission or the API that an event is about.
func namedPermission(e events.Event) string {
	if p := events.PermissionOf(e); !p.IsZero() {
		return p.String()
	}
	_, _, api := events.About(e)
	return string(api)
}

func principal(p events.Principal) string {
	if p.IsZero() {
		return ""
	}
	return p.String()
}

// columns and cells are the row as a line of CSV.
var columns = []string{"position", "revision", "recorded_at", "tenant", "event", "change", "who", "how", "what", "on",
	"valid_from", "valid_until", "actor", "on_behalf_of", "reason", "ticket", "sealed", "approvals", "id", "command"}

func (row Row) cells() []string {
	revision := ""
	if row.Revision > 0 {
		revision = strconv.FormatUint(uint64(row.Revision), 10)
	}
	sealed := ""
	if row.Sealed {
		sealed = "sealed"
	}
	approvals := make([]string, len(row.Approvals))
	for i, a := range row.Approvals {
		approvals[i] = strings.TrimSpace(principal(a.By) + " " + a.At.String() + " " + a.Ref)
	}
	cells := []string{strconv.FormatUint(uint64(row.Position), 10), revision, row.RecordedAt.String(), string(row.Tenant),
		row.Event, string(row.Change), row.Who, string(row.How), row.What, row.On, row.ValidFrom, row.ValidUntil,
		row.Actor, row.OnBehalfOf, row.Reason, row.Ticket, sealed, strings.Join(approvals, "; "), row.ID.String(), row.Command.String()}
	for i, c := range cells {
		cells[i] = guarded(c)
	}
	return cells
}

// guarded keeps a spreadsheet from taking an id or a reason for a formula: they are anybody's to choose. What looks
// guarded already is guarded once more, so that two values are never one cell.
func guarded(s string) string {
	if first, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, "'")); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + s
	}
	return s
}
