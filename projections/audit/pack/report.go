package pack

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
)

// Counts are the totals of a pack.
type Counts struct {
	Commits  int            `json:"commits,omitempty"` // in the pack after the first checkpoint's
	Events   int            `json:"events,omitempty"`  // of these commits
	Matching int            `json:"matching"`          // rows of the report
	Changes  map[Change]int `json:"changes"`           // of them, by change
	Types    map[string]int `json:"types"`             // of them, by name
}

func newCounts() Counts { return Counts{Changes: map[Change]int{}, Types: map[string]int{}} }

func (c *Counts) add(row Row) {
	c.Matching++
	c.Types[row.Event]++
	if row.Change != "" {
		c.Changes[row.Change]++
	}
}

func (c Counts) encode() []byte { return encode(c) }

// report is one of the two forms of the report, written row by row. The same rows are the same bytes, whether
// they are written into a pack or against one that is verified.
type report interface {
	add(Row) error
	close() error
}

// jsonReport is report.json: one object, its rows a line each, so that it can be read without holding it.
type jsonReport struct {
	w    io.Writer
	rows int
}

func newJSONReport(w io.Writer, p Parameters) (*jsonReport, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(append(append([]byte(`{"parameters":`), b...), ",\n\"rows\":["...))
	return &jsonReport{w: w}, err
}

func (r *jsonReport) add(row Row) error {
	var b bytes.Buffer
	if r.rows++; r.rows > 1 {
		b.WriteByte(',')
	}
	b.WriteByte('\n')
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(row); err != nil {
		return err
	}
	_, err := r.w.Write(bytes.TrimRight(b.Bytes(), "\n"))
	return err
}

func (r *jsonReport) close() error {
	_, err := io.WriteString(r.w, "\n]}\n")
	return err
}

// csvReport is report.csv.
type csvReport struct{ csv *csv.Writer }

func newCSVReport(w io.Writer) (*csvReport, error) {
	r := &csvReport{csv.NewWriter(w)}
	return r, r.line(columns)
}

func (r *csvReport) add(row Row) error { return r.line(row.cells()) }
func (r *csvReport) close() error      { return nil }

// line is flushed at once: what does not go in is the row's fault, and not a later one's.
func (r *csvReport) line(cells []string) error {
	if err := r.csv.Write(cells); err != nil {
		return err
	}
	r.csv.Flush()
	return r.csv.Error()
}

// consistency is proofs/consistency.json.
type consistency struct {
	Before      []tlog.Hash    `json:"before"`        // the complete subtrees of the first checkpoint's tree, left to right
	FirstToLast tlog.TreeProof `json:"first_to_last"` // RFC 6962 consistency proofs
	RangeToLast tlog.TreeProof `json:"commits_to_last"`
}

// inclusion is a line of proofs/inclusion.jsonl.
type inclusion struct {
	Position events.Position  `json:"position"`
	Proof    tlog.RecordProof `json:"proof"`
}
