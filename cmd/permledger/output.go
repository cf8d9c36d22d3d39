package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"go.yaml.in/yaml/v3"
)

// format is one of the ways an answer is printed. JSON, JSON lines and YAML hold the same members under
// the same names; table and CSV hold the same columns.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatJSONL format = "jsonl"
	formatCSV   format = "csv"
	formatYAML  format = "yaml"

	// In the words of other systems, one event a line: for the verbs that print events (eventlisting.go).
	formatCloudEvents format = "cloudevents"
	formatOCSF        format = "ocsf"
)

var formats = []string{string(formatTable), string(formatJSON), string(formatJSONL), string(formatCSV), string(formatYAML)}

// row is one item of a listing: as data, and as the cells of a table.
type row struct {
	item  any
	cells []string
}

// answer is what a verb prints at once.
type answer struct {
	value  any      // the whole answer, for JSON and YAML; a line of JSON too when there are no columns
	header []string // the columns; nil for an answer that is no listing
	rows   []row
	text   func(io.Writer) // how people read it; nil: the table
}

// printer writes answers to standard output, and nothing else does.
type printer struct {
	w         io.Writer
	format    format
	noHeaders bool
}

func (p printer) print(a answer) error {
	switch {
	case p.format == formatJSON:
		return writeJSON(p.w, a.value, "  ")
	case p.format == formatYAML:
		return writeYAML(p.w, a.value)
	case p.format == formatJSONL && a.header == nil:
		return writeJSON(p.w, a.value, "")
	case p.format == formatTable && a.text != nil:
		var text bytes.Buffer
		a.text(&text)
		_, err := p.w.Write(bytes.Map(visible, text.Bytes()))
		return err
	}
	l := p.listing(a.header, false)
	for _, r := range a.rows {
		if err := l.add(r.item, r.cells...); err != nil {
			return err
		}
	}
	return l.close()
}

// listing writes rows as they come. JSON is one array, YAML one sequence, and everything else a line each.
type listing struct {
	p      printer
	header []string
	live   bool // rows must be seen at once, so a table is not aligned
	table  [][]string
	csv    *csv.Writer
	n      int
}

func (p printer) listing(header []string, live bool) *listing {
	return &listing{p: p, header: header, live: live, csv: csv.NewWriter(p.w)}
}

func (l *listing) add(item any, cells ...string) error {
	l.n++
	switch l.p.format {
	case formatJSONL:
		return writeJSON(l.p.w, item, "")
	case formatJSON:
		if err := l.lead("[\n", ",\n"); err != nil {
			return err
		}
		b, err := encodeJSON(item, "")
		if err != nil {
			return err
		}
		_, err = l.p.w.Write(bytes.TrimRight(b, "\n"))
		return err
	case formatYAML:
		return writeYAML(l.p.w, []any{item})
	case formatCSV:
		if err := l.csvHeader(); err != nil {
			return err
		}
		return l.csvRow(cells)
	}
	if l.live {
		return l.line(cells)
	}
	l.table = append(l.table, cells)
	return nil
}

// close ends the listing. A listing without rows is still a listing: an empty array, a table's header.
func (l *listing) close() error {
	switch l.p.format {
	case formatJSON:
		if l.n == 0 {
			_, err := io.WriteString(l.p.w, "[]\n")
			return err
		}
		_, err := io.WriteString(l.p.w, "\n]\n")
		return err
	case formatYAML:
		if l.n == 0 {
			_, err := io.WriteString(l.p.w, "[]\n")
			return err
		}
	case formatCSV:
		if l.n == 0 {
			l.n = 1
			return l.csvHeader()
		}
	case formatTable:
		if !l.live {
			return writeTable(l.p.w, l.header, l.table, l.p.noHeaders)
		}
	}
	return nil
}

func (l *listing) lead(first, later string) error {
	s := later
	if l.n == 1 {
		s = first
	}
	_, err := io.WriteString(l.p.w, s)
	return err
}

func (l *listing) line(cells []string) error {
	if l.n == 1 && !l.p.noHeaders {
		if _, err := fmt.Fprintln(l.p.w, strings.Join(l.header, "  ")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(l.p.w, oneLine(strings.Join(cells, "  ")))
	return err
}

func (l *listing) csvHeader() error {
	if l.n > 1 || l.p.noHeaders {
		return nil
	}
	return l.csvRow(l.header)
}

func (l *listing) csvRow(cells []string) error {
	guarded := make([]string, len(cells))
	for i, c := range cells {
		guarded[i] = guardCell(c)
	}
	if err := l.csv.Write(guarded); err != nil {
		return err
	}
	l.csv.Flush()
	return l.csv.Error()
}

// guardCell keeps a spreadsheet from taking an id for a formula: ids are anybody's to choose. A cell that looks
// guarded already is guarded once more, so that whoever takes one quote away again has what was written.
func guardCell(s string) string {
	if first, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, "'")); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + s
	}
	return s
}

// writeTable writes columns without lines around them, so that it can be cut and searched. The rows are
// laid out by go-pretty, which knows how wide a character is.
func writeTable(w io.Writer, header []string, rows [][]string, noHeaders bool) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	if !noHeaders {
		t.AppendHeader(tableRow(header))
	}
	for _, r := range rows {
		t.AppendRow(tableRow(r))
	}
	for _, line := range strings.Split(t.Render(), "\n") {
		if line = strings.TrimRight(line, " "); line == "" {
			continue
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func tableRow(cells []string) table.Row {
	r := make(table.Row, len(cells))
	for i, c := range cells {
		r[i] = oneLine(c)
	}
	return r
}

func encodeJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // "operate -> group" should be readable
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return b.Bytes(), nil
}

func writeJSON(w io.Writer, v any, indent string) error {
	b, err := encodeJSON(v, indent)
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

// writeYAML goes through JSON, so that names, order and the spelling of times are decided once. JSON is
// YAML already; only its quotes and braces are taken off.
func writeYAML(w io.Writer, v any) error {
	b, err := encodeJSON(v, "")
	if err != nil {
		return err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("encode answer as yaml: %w", err)
	}
	plain(&n)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&n); err != nil {
		return fmt.Errorf("encode answer as yaml: %w", err)
	}
	return e.Close()
}

// plain leaves the quotes on the words that YAML 1.1, which many still read, takes for true and false.
func plain(n *yaml.Node) {
	switch strings.ToLower(n.Value) {
	case "y", "yes", "n", "no", "on", "off":
	default:
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// terminal reports whether f is one, rather than a file or a pipe.
func terminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// oneLine keeps a text that somebody wrote on the line it is printed on, so that it cannot pass for output of ours. A
// ledger takes no control characters; a file that somebody brought may hold any, and a terminal obeys them.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return visible(r)
	}, s)
}

// visible keeps line breaks and tabs of ours in a text with words that somebody wrote, and nothing else that a
// terminal obeys.
func visible(r rune) rune {
	switch {
	case r == '\n', r == '\t':
		return r
	case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
		return unicode.ReplacementChar
	}
	return r
}
