// Package pack is the report of a period in one file, for an auditor who does not trust whoever made it.
//
//	export, err := pack.Prepare(ctx, trail, checkpoints, pack.Request{From: from, To: to, Filter: f})
//	err = export.Write(ctx, file)
//
//	result, err := pack.Verify(file, size, keys)        // elsewhere, later, without the ledger
//
// # What is in it
//
//	README.txt               what this is and what it proves, in plain words
//	parameters.json          the period, the filters, the ledger, and how far its parts reach
//	checkpoints/first        signed when the ledger was as it was before the period; not with a pack from the beginning
//	checkpoints/last         signed after the last commit of the pack
//	commits.jsonl            the commit of the first checkpoint, then every commit after it up to the first one that was
//	                         recorded after the period, or up to the last checkpoint: bytes as stored, one a line
//	keys.txt                 the keys in force in these commits, and at which revisions
//	report.json, report.csv  a row for every event of the period that the filters mean
//	counts.json              totals
//	proofs/consistency.json  that the tree of the first checkpoint, the tree after these commits, and the tree of the
//	                         last checkpoint each continue the one before
//	proofs/inclusion.jsonl   for each row, that its event is a leaf of the tree of the last checkpoint
//
// # The threat
//
// Whoever makes the pack may want to leave something out, put something in, or change it; the ledger's operator has
// its key. The auditor has the key's public half and, if it was careful, a checkpoint of its own from before. So
// nothing in the pack is believed. Everything is computed again from the bytes of the commits, by the same code,
// and compared byte for byte, this README and the totals too; and the bytes are held against two signatures.
//
// The obvious way to prove a filtered report is an inclusion proof for each of its rows. It proves that what is there
// is real. It cannot prove that nothing is missing, and what is missing is what an auditor looks for. Therefore
// the pack holds the whole range: the tree before it comes from the first checkpoint, every event of the range is
// appended, and the result must be a tree that the last checkpoint continues. One event left out, and it is not.
// Times of recording never go back along the chain, which is checked as well, so the events of the period all lie
// behind the first checkpoint and before the first commit that is later than the period.
//
// The price is that the pack shows everybody's changes of that time, in every tenant, not those of the filter alone.
// Where that cannot be, Request.OnlyMatching makes a pack of the matching events and their inclusion proofs, which
// proves that they are real and, in so many words, not that they are all:
//
//	README.txt, parameters.json, checkpoints/last, events.jsonl, report.json, report.csv, counts.json, proofs/inclusion.jsonl
//
// # What no pack proves
//
// That the operator showed the same history to others: it has the key, and can write a second one from any
// checkpoint on that nobody else holds. An auditor's own checkpoint (Request.Since) or a witness's signature closes
// that up to the moment it was made. Nor that an id is a person's, nor that a reason is true.
//
// # Stability
//
// A report is compared byte for byte by builds that come later, so what a row, a total and the README of format 1 say
// never changes; a change is another format. pack_test.go pins one whole pack.
package pack
