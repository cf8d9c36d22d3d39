package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/permledger/permledger/events"
)

// CloudEvents 1.0.2, JSON event format in structured mode: one object a line. What each attribute says:
//
//	attribute        section of the specification   value
//	specversion      Required Attributes            1.0
//	id, source       Required Attributes            the event's id, /ledgers/LEDGER: together they name it for ever
//	type             Required Attributes            dev.permledger.NAME.vVERSION, as dev.permledger.role.assigned.v1
//	subject          Optional Attributes            whom it is about, as user:alice; absent where it is about nobody
//	time             Optional Attributes            when it was recorded
//	datacontenttype  Optional Attributes            application/json
//	tenant           Extension Context Attributes   absent for events of the ledger itself
//	revision         Extension Context Attributes   of its commit
//	position         Extension Context Attributes   its own
//	data             Event Data                     the event exactly as stored
//
// The numbers are strings, because an Integer of the Type System ends at 2147483647.
type cloudEvent struct {
	SpecVersion     string         `json:"specversion"`
	ID              events.EventID `json:"id"`
	Source          string         `json:"source"`
	Type            string         `json:"type"`
	Subject         string         `json:"subject,omitempty"`
	Time            events.Instant `json:"time"`
	DataContentType string         `json:"datacontenttype"`
	Tenant          string         `json:"tenant,omitempty"`
	Revision        string         `json:"revision"`
	Position        string         `json:"position"`
}

// cloudEventType stands before every wire name: types are to be reverse-DNS names.
const cloudEventType = "dev.permledger."

// cloudEventLine is an event as a line of CloudEvents.
func cloudEventLine(ledger events.LedgerID, r events.Recorded) ([]byte, error) {
	stored, err := storedEvent(r)
	if err != nil {
		return nil, err
	}
	holder, _, _ := events.About(r.Event)
	head, err := encodeJSON(cloudEvent{
		SpecVersion: "1.0", ID: r.ID, Source: ledgerURI(ledger),
		Type:    fmt.Sprintf("%s%s.v%d", cloudEventType, stored.Type, stored.Version),
		Subject: cloudEventString(holder.String()), Time: r.RecordedAt, DataContentType: "application/json",
		Tenant:   cloudEventString(string(r.Tenant)),
		Revision: strconv.FormatUint(uint64(r.Revision), 10), Position: strconv.FormatUint(uint64(r.Position), 10),
	}, "")
	if err != nil {
		return nil, err
	}
	line := append(bytes.TrimRight(head, "}\n"), `,"data":`...)
	return append(append(line, oneLineJSON(r.Raw)...), "}\n"...), nil
}

// ledgerURI names a ledger where a URI is wanted.
func ledgerURI(ledger events.LedgerID) string { return "/ledgers/" + ledger.String() }

// cloudEventString leaves an attribute out whose value is no String of the Type System. Ids may hold the code
// points Unicode calls noncharacters, and a String may not; the event itself is in data in any case.
func cloudEventString(s string) string {
	for _, c := range s {
		if c >= 0xFDD0 && c <= 0xFDEF || c&0xFFFE == 0xFFFE {
			return ""
		}
	}
	return s
}

// stored is what a stored event says of its own form. Reading it gives the present form of any version.
type stored struct {
	Type    string          `json:"type"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

func storedEvent(r events.Recorded) (s stored, err error) {
	if err = json.Unmarshal(r.Raw, &s); err != nil {
		err = fmt.Errorf("read stored event position=%d: %w", r.Position, err)
	}
	return s, err
}

// oneLineJSON gives stored bytes as they are. This ledger never writes a line break between the members of an
// event, but a reader of its log accepts one, and then the line is worth more than the spaces.
func oneLineJSON(raw []byte) []byte {
	if !bytes.ContainsAny(raw, "\r\n") {
		return raw
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return raw // not JSON, so storedEvent has refused it before
	}
	return b.Bytes()
}
