package pack

import "fmt"

// result says in words what was proved and what was not.
func (v *verifier) result() *Result {
	p := v.parameters
	r := &Result{Parameters: p, First: v.first, Last: v.last, Counts: v.counts}
	prove := func(format string, args ...any) { r.Proved = append(r.Proved, fmt.Sprintf(format, args...)) }
	prove("at %s the ledger %s signed that it had %d events in %d commits, with a key you trust", v.last.At, p.Ledger, v.last.Size, v.last.Revision)
	for _, k := range v.announced() {
		prove("%s is a key of the ledger, with its first and last revision: it was announced in a commit signed by the key before it, which you trust", k)
	}
	if p.OnlyMatching {
		prove("each of the %d rows of the report is one of these events, unchanged, and says what the event says", v.counts.Matching)
		r.NotProved = append(r.NotProved, "that the report is complete: the pack holds matching events only, and events that match may have been left out")
	} else {
		v.proveRange(prove)
		r.NotProved = append(r.NotProved, v.leftOpen()...)
	}
	if v.known != nil {
		prove("the pack begins or ends with the checkpoint you kept: what was recorded before it is what it was then")
	}
	r.NotProved = append(r.NotProved, neverProved(p)...)
	return r
}

func (v *verifier) proveRange(prove func(string, ...any)) {
	p := v.parameters
	if v.first != nil {
		prove("at %s it signed that it had %d events in %d commits, and everything later continues that", v.first.At, v.first.Size, v.first.Revision)
	}
	if n := v.counts.Commits; n > 0 {
		prove("the %d commits of revisions %d to %d are here as they were stored: none is missing, added or changed, and each is signed by the key then in force",
			n, p.First.Revision+1, p.Range.Revision)
	}
	prove("each of the %d rows of the report is an event in them and says what the event says", v.counts.Matching)
	switch {
	case p.To.IsZero():
		prove("no event %s that meets the filters (%s) is missing in the report", fromWords(p), p.Filters.words())
	case p.Closed:
		prove("no event recorded %s and before %s that meets the filters (%s) is missing in the report", fromWords(p), p.To, p.Filters.words())
	default:
		prove("no event recorded %s and stored by revision %d that meets the filters (%s) is missing in the report", fromWords(p), p.Range.Revision, p.Filters.words())
	}
}

// leftOpen is what the end of the range leaves open.
func (v *verifier) leftOpen() []string {
	p := v.parameters
	if p.To.IsZero() || p.Closed {
		return nil
	}
	return []string{fmt.Sprintf("that nothing with a time before %s was stored after %s, when the last checkpoint was signed: nothing later had been recorded yet; "+
		"a pack made after the next change proves it", p.To, v.last.At)}
}

func fromWords(p Parameters) string {
	if p.From.IsZero() {
		return "since the beginning of the ledger"
	}
	return "at or after " + p.From.String()
}
