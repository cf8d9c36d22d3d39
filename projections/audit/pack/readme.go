package pack

import (
	"fmt"
	"strings"

	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// readme is README.txt of a pack. It is for somebody who has never heard of us.
func readme(p Parameters, first, last *checkpoint.Checkpoint) []byte {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("Changes of permissions, %s", period(p))
	say("")
	say("This file was made by permledger, a ledger of permissions. It reports who got and lost what, by whom, when and why,")
	say("as the ledger recorded it, and holds what is needed to check that report without trusting whoever made it.")
	say("")
	say("Ledger:    %s", p.Ledger)
	say("Period:    %s", period(p))
	say("Filters:   %s", p.Filters.words())
	if first != nil {
		say("Begins at: the checkpoint of revision %d, signed at %s", first.Revision, first.At)
	} else if !p.OnlyMatching {
		say("Begins at: the first entry of the ledger")
	}
	say("Signed by: the checkpoint of revision %d, signed at %s", last.Revision, last.At)
	say("")
	say("Read report.csv in a spreadsheet, or report.json with a program. A row is one recorded event. counts.json has the totals.")
	say("The report lists what was recorded. What somebody could do in effect, through groups, roles and dates, is a question to")
	say("the ledger itself.")
	say("")
	say("To check it, on any machine, without a network:")
	say("")
	say("    permledger audit verify THIS-FILE --key KEY")
	say("")
	say("where KEY is the ledger's verifier key, or a file of such keys, that you got from somebody you trust and not with this file.")
	say("")
	if p.OnlyMatching {
		onlyMatchingWords(say)
	} else {
		wholeWords(say, p)
	}
	say("")
	say("WHAT NO SUCH FILE PROVES")
	for _, s := range neverProved(p) {
		say("- %s", sentence(s))
	}
	return []byte(b.String())
}

func wholeWords(say func(string, ...any), p Parameters) {
	say("WHAT CHECKING IT PROVES")
	say("- That every row is an event of the ledger, unchanged since it was recorded.")
	say("- That no event of the period that meets the filters is missing: commits.jsonl holds everything the ledger recorded from")
	must := "continue the first signed checkpoint and be continued by the last"
	if p.First == (Point{}) {
		must = "be continued by the signed checkpoint"
	}
	say("  revision %d to %d, the tree of hashes over it is computed again and must %s,", p.First.Revision+1, p.Range.Revision, must)
	say("  and the report is made again from it and compared byte for byte.")
	if !p.To.IsZero() && !p.Closed {
		say("  The ledger had recorded nothing after the period yet: what was still being stored when the last checkpoint was signed is")
		say("  not in it. A file made after the next change has it, and proves it.")
	}
	say("")
	say("KEEP IT CONFIDENTIAL. For that proof the file holds EVERY change of that time, in every tenant, and not only those that the")
	say("filters mean. Whoever may read the report but not those must be given a file made with --only-matching.")
	say("")
	say("By hand: each line of commits.jsonl without its line break has as SHA-256 the hash that the next line names as previous.")
	say("checkpoints/ are C2SP signed notes, and the tree and its proofs are those of RFC 6962, so other programs can check them.")
}

func onlyMatchingWords(say func(string, ...any)) {
	say("WHAT CHECKING IT PROVES")
	say("- That every row is an event of the ledger, unchanged since it was recorded: events.jsonl has its bytes, and")
	say("  proofs/inclusion.jsonl shows that they are in the tree of the signed checkpoint.")
	say("")
	say("THIS FILE DOES NOT PROVE THAT THE REPORT IS COMPLETE. It was made with --only-matching and holds the matching events alone.")
	say("Whoever made it could have left out some of them, and checking it would not show that. A file made without --only-matching")
	say("proves completeness, and shows every other change of that time.")
}

// neverProved is what no pack proves, in words that also stand in the result of Verify.
func neverProved(p Parameters) []string {
	list := []string{
		"that the ledger showed the same history to everybody: only a checkpoint that you kept yourself, or a witness's signature, proves that, and for the time before it",
		"that an id belongs to a certain person",
		"that a reason, ticket or approval is true: they are what the actor stated",
	}
	if p.From.IsZero() && p.To.IsZero() {
		return list
	}
	return append(list, "anything about events outside the period")
}

// sentence is a text as a sentence of its own.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

func period(p Parameters) string {
	from, to := "from the beginning", "until the last checkpoint"
	if !p.From.IsZero() {
		from = "recorded at or after " + p.From.String()
	}
	if !p.To.IsZero() {
		to = "before " + p.To.String()
	}
	return from + " and " + to
}

func (f Filters) words() string {
	var words []string
	add := func(what, value string) {
		if value != "" {
			words = append(words, what+" "+value)
		}
	}
	add("tenant", string(f.Tenant))
	add("about", principal(f.Principal))
	add("done by", principal(f.Actor))
	add("done for", principal(f.OnBehalfOf))
	add("permission", string(f.Permission))
	add("API", string(f.API))
	add("events called", f.Type)
	if len(words) == 0 {
		return "none, every event"
	}
	return strings.Join(words, ", ")
}
