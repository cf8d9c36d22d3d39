package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// eventHeader and eventCells are how events stand in tables.
var eventHeader = []string{"position", "revision", "recorded_at", "event", "what", "valid_from", "valid_until", "actor", "on_behalf_of", "reason", "ticket"}

func eventCells(e api.Event) []string {
	reason, ticket := e.ReasonAndTicket()
	return []string{
		strconv.FormatUint(uint64(e.Position), 10), strconv.FormatUint(uint64(e.Revision), 10), e.RecordedAt.String(),
		events.Name(e.Event), eventWhat(e.Event), e.ValidFrom.String(), e.ValidUntil.String(),
		e.Actor.String(), e.OnBehalfOf.String(), reason, ticket,
	}
}

func eventRows(list []api.Event) []row {
	rows := make([]row, len(list))
	for i, e := range list {
		rows[i] = row{e, eventCells(e)}
	}
	return rows
}

// eventLine is an event in a few words: "permission.granted user:alice holds read:* of operate".
func eventLine(e api.Event) string {
	line := events.Name(e.Event)
	if what := eventWhat(e.Event); what != "" {
		line += " " + what
	}
	from, until := e.ValidFrom, e.ValidUntil
	if _, _, ends := events.Ends(e.Event); ends {
		from, until = until, 0 // "no longer", from then on
	}
	if !from.IsZero() {
		line += " from " + from.String()
	}
	if !until.IsZero() {
		line += " until " + until.String()
	}
	return line
}

// eventWhat says whom or what an event is about.
func eventWhat(e events.Event) string {
	if edge, ok := events.Begins(e); ok {
		return edgeText(edge)
	}
	if edge, _, ok := events.Ends(e); ok {
		return edgeWords(edge, "no longer ")
	}
	switch e := e.(type) {
	case events.ValidityCorrected:
		return edgeText(e.Edge) + ", not " + e.Before.String() + ", but"
	case events.ValidityStarted:
		return edgeText(e.Edge)
	case events.ValidityExpired:
		return edgeText(e.Edge)
	case events.CatalogLoaded:
		return string(e.Catalog) + " " + e.Info.Version
	case events.ResourceTypeDefined:
		return string(e.Type) + " of " + string(e.Def.API)
	case events.ResourceTypeRetired:
		return string(e.Type) + " of " + string(e.Before.API)
	case events.LedgerCreated:
		return e.Ledger.String()
	case events.KeyAnnounced:
		return e.Key.String()
	case events.ForkAccepted:
		return fmt.Sprintf("the log goes on after revision %d; revision %d of ledger %s was known", e.Kept.Revision, e.Lost.Revision, e.Lost.Ledger)
	default:
		return events.NamedBy(e)
	}
}

// edgeText is a fact in words: "user:alice in group:ops", "role:viewer holds read:* of operate".
func edgeText(e events.Edge) string { return edgeWords(e, "") }

func edgeWords(e events.Edge, how string) string {
	words := map[events.EdgeKind]string{
		events.EdgeMember: "in", events.EdgeParent: "below", events.EdgeAssignment: "has", events.EdgeInclusion: "includes",
		events.EdgeGrant: "holds",
	}
	parts := []string{e.From.String(), how + words[e.Kind]}
	if e.Kind == events.EdgeGrant {
		parts = append(parts, e.Permission.String())
	} else {
		parts = append(parts, e.To.String())
	}
	if !e.Scope.IsZero() {
		parts = append(parts, "on", e.Scope.String())
	}
	return strings.Join(parts, " ")
}
