package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// printsEvents marks the verbs whose answer is a list of events.
var printsEvents = map[string]string{"prints": "events"}

// formatsOf are the values of -o that a verb takes.
func formatsOf(cmd *cobra.Command) []string {
	if cmd.Annotations["prints"] == printsEvents["prints"] {
		return append(slices.Clone(formats), string(formatCloudEvents), string(formatOCSF))
	}
	return formats
}

// foreign reports whether a format is made by another system's rules, for which an event must say of which
// ledger it is.
func (f format) foreign() bool { return f == formatCloudEvents || f == formatOCSF }

// eventListing writes events as they come, in every format there is for them.
type eventListing struct {
	*listing
	ledger events.LedgerID // for foreign formats
	cells  func(api.Event) []string
}

// events begins a listing of events.
func (p printer) events(ledger events.LedgerID, live bool) *eventListing {
	return &eventListing{p.listing(eventHeader, live), ledger, eventCells}
}

// records begins a listing of events that is kept as evidence: in CSV with everything an envelope says.
func (p printer) records(ledger events.LedgerID) *eventListing {
	l := p.events(ledger, false)
	if p.format == formatCSV {
		l.header, l.cells = recordHeader, recordCells
	}
	return l
}

// eventsOf begins a listing of the events of a server's ledger.
func (c *cli) eventsOf(ctx context.Context, client *consumers.Client, live bool) (*eventListing, error) {
	p := c.printer()
	if !p.format.foreign() {
		return p.events(events.LedgerID{}, live), nil
	}
	status, err := client.Status(ctx)
	return p.events(status.Ledger, live), err
}

func (l *eventListing) add(e api.Event) error {
	var line []byte
	var err error
	switch l.p.format {
	case formatCloudEvents:
		line, err = cloudEventLine(l.ledger, e.Recorded)
	case formatOCSF:
		line, err = ocsfLine(l.ledger, e.Recorded)
	default:
		return l.listing.add(e, l.cells(e)...)
	}
	if err == nil {
		_, err = l.p.w.Write(line)
	}
	return err
}

// recordHeader and recordCells are how events stand in a CSV file that is kept as evidence: the columns of a
// table, and behind them all else that an envelope says. Columns are only ever added, at the end.
var recordHeader = append(slices.Clone(eventHeader), "tenant", "principal", "permission", "api", "scope", "approvals",
	"auth_method", "source", "request_id", "origin", "id", "command")

func recordCells(e api.Event) []string {
	holder, _, owner := events.About(e.Event)
	return append(eventCells(e), string(e.Tenant), holder.String(), string(events.PermissionOf(e.Event).Name), string(owner),
		scopeOf(e.Event).String(), approvalsText(e.Approvals), e.AuthMethod, e.Source, e.RequestID, e.Origin, e.ID.String(), e.Command.String())
}

// scopeOf is what the fact of an event is about.
func scopeOf(e events.Event) events.Scope {
	if edge, ok := events.Begins(e); ok {
		return edge.Scope
	}
	if edge, _, ok := events.Ends(e); ok {
		return edge.Scope
	}
	switch e := e.(type) {
	case events.ValidityCorrected:
		return e.Edge.Scope
	case events.ValidityStarted:
		return e.Edge.Scope
	case events.ValidityExpired:
		return e.Edge.Scope
	default:
		return events.Scope{}
	}
}

// approvalsText is who agreed, when, and by which reference: "user:bob 2026-02-28T12:00:00Z OPS-1#2".
func approvalsText(list []events.Approval) string {
	parts := make([]string, len(list))
	for i, a := range list {
		parts[i] = strings.Join(slices.DeleteFunc([]string{a.By.String(), a.At.String(), a.Ref}, func(s string) bool { return s == "" }), " ")
	}
	return strings.Join(parts, "; ")
}

// counted is a number of things: "1 event", "2 events", "0 entries".
func counted[N ~int | ~int64 | ~uint64](n N, one string) string {
	word := one
	if stem, y := strings.CutSuffix(one, "y"); n != 1 && y {
		word = stem + "ies"
	} else if n != 1 {
		word += "s"
	}
	return fmt.Sprint(uint64(n)) + " " + word
}
