package pack

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit"
	"github.com/permledger/permledger/projections/audit/bundle"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// The parts of a pack.
const (
	partReadme      = "README.txt"
	partParameters  = "parameters.json"
	partFirst       = "checkpoints/first"
	partLast        = "checkpoints/last"
	partCommits     = "commits.jsonl"
	partEvents      = "events.jsonl"
	partKeys        = "keys.txt"
	partReportJSON  = "report.json"
	partReportCSV   = "report.csv"
	partCounts      = "counts.json"
	partConsistency = "proofs/consistency.json"
	partInclusion   = "proofs/inclusion.jsonl"
)

const format = 1

// Parameters say what a pack is about.
type Parameters struct {
	Format       int             `json:"format"`
	Ledger       events.LedgerID `json:"ledger"`
	From         events.Instant  `json:"from"` // recorded at or after; null: the beginning of the ledger
	To           events.Instant  `json:"to"`   // recorded before; null: the last checkpoint
	Filters      Filters         `json:"filters"`
	OnlyMatching bool            `json:"only_matching"`
	Closed       bool            `json:"period_over"`      // the last commit of the pack was recorded at or after To
	First        Point           `json:"first_checkpoint"` // zeroes: before the first commit
	Range        Point           `json:"commits_end"`      // where commits.jsonl ends; zeroes without it
	Last         Point           `json:"last_checkpoint"`
}

// Point is a place in the ledger.
type Point struct {
	Revision events.Revision `json:"revision"`
	Position events.Position `json:"position"` // of the last event: the size of the tree
}

func pointOf(c checkpoint.Checkpoint) Point { return Point{c.Revision, c.Size} }

// Filters are the conditions of a report on single events. Empty ones do not matter.
type Filters struct {
	Tenant     events.Tenant         `json:"tenant,omitempty"`
	Principal  events.Principal      `json:"principal,omitzero"`
	Actor      events.Principal      `json:"actor,omitzero"`
	OnBehalfOf events.Principal      `json:"on_behalf_of,omitzero"`
	Permission events.PermissionName `json:"permission,omitempty"`
	API        events.API            `json:"api,omitempty"`
	Type       string                `json:"type,omitempty"`
}

// filter is the audit filter of the report.
func (p Parameters) filter() audit.Filter {
	f := p.Filters
	return audit.Filter{
		Tenant: f.Tenant, Principal: f.Principal, Actor: f.Actor, OnBehalfOf: f.OnBehalfOf,
		Permission: events.Permission{Name: f.Permission}, API: f.API, Type: f.Type,
		Since: p.From, Until: p.To,
	}
}

// parts are the parts of such a pack, in their order.
func (p Parameters) parts() []string {
	switch {
	case p.OnlyMatching:
		return []string{partReadme, partParameters, partLast, partEvents, partReportJSON, partReportCSV, partCounts, partInclusion}
	case p.First == Point{}:
		return []string{partReadme, partParameters, partLast, partCommits, partKeys,
			partReportJSON, partReportCSV, partCounts, partConsistency, partInclusion}
	}
	return []string{partReadme, partParameters, partFirst, partLast, partCommits, partKeys,
		partReportJSON, partReportCSV, partCounts, partConsistency, partInclusion}
}

func (p Parameters) encode() []byte { return encode(p) }

// encode is how single values stand in a pack: indented, for people.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic(err) // values of this package: numbers, texts and lists
	}
	return b.Bytes()
}

// decode reads what encode wrote, and no other way of writing it.
func decode(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", bundle.ErrDamaged, err)
	}
	if !bytes.Equal(encode(into), b) {
		return fmt.Errorf("%w: it is not in the form this program writes", bundle.ErrDamaged)
	}
	return nil
}

func decodeParameters(b []byte) (p Parameters, err error) {
	if err := decode(b, &p); err != nil {
		return p, err
	}
	if p.Format != format {
		return p, fmt.Errorf("%w: it has format %d, this build reads %d", bundle.ErrDamaged, p.Format, format)
	}
	return p, nil
}
