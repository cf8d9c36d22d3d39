// Package bundle is a file that carries commits exactly as stored, and what it takes to verify them without the
// ledger they come from. Packs for auditors and backups are bundles.
//
//	w := bundle.NewWriter(file)                         // a zip of the one form Open takes
//	part, err := w.Create("commits.jsonl")
//	err = bundle.WriteLine(part, stored.Bytes)
//
//	walk := bundle.Start()                              // before the first commit; or bundle.Resume
//	for line, err := range bundle.Lines(part) {
//		commit, err := walk.Next(line)
//	}
//	err = walk.Reached(checkpoint)                      // nil: these are the commits the checkpoint is about
//
// # Why lines
//
// A commit is JSON without a line break, so a file with one a line holds each byte of it and nothing else: cut a
// line, take its SHA-256, and that is the commit's hash. An auditor needs no program of ours for it.
//
// # What a walk proves
//
// Next verifies what a commit says of itself and of the one before: hash, revision, position, time, writer, and
// the signature of the key that was in force. A chain that somebody made anew passes that, too. Reached therefore
// holds the end against a checkpoint: the last commit's hash, and the root of the tree of all events. Whoever
// changed a commit and everything after it cannot reach a checkpoint that was signed before.
//
// The tree's algorithms are those of golang.org/x/mod/sumdb/tlog and of transparency-dev/merkle/compact. There is
// no proof code here.
package bundle
