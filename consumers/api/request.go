package api

import (
	"encoding/json"
	"fmt"

	"github.com/permledger/permledger/events"
)

// Request is the body of POST /v1/commands: one or more commands, carried out whole or not at all.
type Request struct {
	Tenant   events.Tenant `json:"tenant,omitempty"` // absent: the default tenant
	Commands []Command     `json:"commands"`

	// ValidFrom and ValidUntil bound what the commands create, and end what they end at ValidUntil or else
	// ValidFrom. Zero: from when it is recorded, without end.
	ValidFrom  events.Instant `json:"valid_from,omitzero"`
	ValidUntil events.Instant `json:"valid_until,omitzero"`

	Reason     string            `json:"reason,omitempty"`
	Ticket     string            `json:"ticket,omitempty"`
	Seal       events.Principal  `json:"seal,omitzero"` // reason and ticket are sealed with the personal key of this principal
	OnBehalfOf events.Principal  `json:"on_behalf_of,omitzero"`
	Approvals  []events.Approval `json:"approvals,omitempty"`
	Origin     string            `json:"origin,omitempty"` // "import" or nothing

	Strict    bool          `json:"strict,omitempty"` // refuse what is so already or not there
	Expect    []Expectation `json:"expect,omitempty"` // all must hold
	DryRun    bool          `json:"dry_run,omitempty"`
	Proof     bool          `json:"proof,omitempty"`      // the receipt is to prove its events
	RequestID string        `json:"request_id,omitempty"` // the caller's correlation id; default: the X-Request-ID
}

// Expectation is a precondition: nothing changed Principal after Version.
type Expectation struct {
	Principal events.Principal `json:"principal"`
	Version   events.Revision  `json:"version"`
}

// DecodeRequest reads a Request and refuses members it does not know, with their place.
func DecodeRequest(b []byte) (r Request, err error) {
	if err := CheckJSON(b); err != nil {
		return r, err
	}
	members, err := decodeObject("body", b)
	if err != nil {
		return r, err
	}
	for _, name := range sorted(members) {
		raw := members[name]
		if string(raw) == "null" {
			continue
		}
		if err := r.decodeMember(name, raw); err != nil {
			return r, err
		}
	}
	switch {
	case len(r.Commands) == 0:
		return r, events.Invalid("commands", "", "must have at least one")
	case r.Origin != "" && r.Origin != events.OriginImport:
		return r, events.Invalid("origin", r.Origin, `must be "import" or absent`)
	case r.Proof && r.DryRun:
		return r, events.Invalid("proof", "true", "a dry run records nothing that could be proved")
	}
	return r, nil
}

func (r *Request) decodeMember(name string, raw json.RawMessage) error {
	switch name {
	case "tenant":
		return decodeValue(name, raw, &r.Tenant)
	case "commands":
		return r.decodeCommands(raw)
	case "valid_from":
		return decodeValue(name, raw, &r.ValidFrom)
	case "valid_until":
		return decodeValue(name, raw, &r.ValidUntil)
	case "reason":
		return decodeValue(name, raw, &r.Reason)
	case "ticket":
		return decodeValue(name, raw, &r.Ticket)
	case "seal":
		return decodeValue(name, raw, &r.Seal)
	case "on_behalf_of":
		return decodeValue(name, raw, &r.OnBehalfOf)
	case "approvals":
		return decodeValue(name, raw, &r.Approvals)
	case "origin":
		return decodeValue(name, raw, &r.Origin)
	case "strict":
		return decodeValue(name, raw, &r.Strict)
	case "expect":
		return decodeValue(name, raw, &r.Expect)
	case "dry_run":
		return decodeValue(name, raw, &r.DryRun)
	case "proof":
		return decodeValue(name, raw, &r.Proof)
	case "request_id":
		return decodeValue(name, raw, &r.RequestID)
	}
	return unknownMember("", name)
}

func (r *Request) decodeCommands(raw json.RawMessage) error {
	var list []json.RawMessage
	if err := decodeValue("commands", raw, &list); err != nil {
		return err
	}
	r.Commands = make([]Command, len(list))
	for i, one := range list {
		var err error
		if r.Commands[i], err = decodeCommand(fmt.Sprintf("commands[%d]", i), one); err != nil {
			return err
		}
	}
	return nil
}

// CatalogLoad is the body of POST /v1/catalogs: a Request with one catalog.load.
type CatalogLoad struct {
	Tenant    events.Tenant    `json:"tenant,omitempty"`
	Catalog   events.Catalog   `json:"catalog,omitempty"` // the name of a catalog the server has
	File      json.RawMessage  `json:"file,omitempty"`    // or a whole catalog
	Reason    string           `json:"reason,omitempty"`
	Ticket    string           `json:"ticket,omitempty"`
	Seal      events.Principal `json:"seal,omitzero"` // as in Request
	DryRun    bool             `json:"dry_run,omitempty"`
	Proof     bool             `json:"proof,omitempty"`
	RequestID string           `json:"request_id,omitempty"`
}

// DecodeCatalogLoad reads a CatalogLoad as the Request it stands for.
func DecodeCatalogLoad(b []byte) (Request, error) {
	if err := CheckJSON(b); err != nil {
		return Request{}, err
	}
	var l CatalogLoad
	if err := decodeValue("", b, &l); err != nil {
		return Request{}, err
	}
	load := Command{Do: "catalog.load", Catalog: l.Catalog, File: l.File}
	if l.Proof && l.DryRun {
		return Request{}, events.Invalid("proof", "true", "a dry run records nothing that could be proved")
	}
	return Request{
		Tenant: l.Tenant, Commands: []Command{load},
		Reason: l.Reason, Ticket: l.Ticket, Seal: l.Seal, DryRun: l.DryRun, Proof: l.Proof, RequestID: l.RequestID,
	}, load.checkForms("")
}

// Receipt is the answer to a Request.
type Receipt struct {
	Command  events.CommandID `json:"command"`
	Revision events.Revision  `json:"revision"`           // of the commit; when nothing was recorded, the one the request was judged at
	Hash     string           `json:"hash,omitempty"`     // of the commit; absent when nothing was recorded or the receipt is an earlier one
	Nothing  bool             `json:"nothing,omitempty"`  // it was so already: nothing was recorded
	Replayed bool             `json:"replayed,omitempty"` // this is the first answer to the idempotency key; nothing was done now
	DryRun   bool             `json:"dry_run,omitempty"`  // this is what would have been recorded
	Events   []Event          `json:"events"`

	// Proofs has the proof of each event, in the same order, when the request asked for them: the text of a
	// c2sp.org/tlog-proof. When they could not be made, Unproved says why: what is recorded is recorded, and can be
	// proved later.
	Proofs   []string `json:"proofs,omitempty"`
	Unproved string   `json:"unproved,omitempty"`
}
