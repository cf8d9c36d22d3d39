// Package backup is a ledger of one moment in one file.
//
//	err := backup.Write(ctx, file, backup.Source{Trail: trail, Checkpoint: signed, …})
//	b, err := backup.Open(file, size, keys)             // nil only if all of it verifies
//	err = b.Commits(func(c events.Commit) error { … })
//
// # What is in it
//
//	checkpoint        signed when the backup was begun; the backup ends where it says
//	commits.jsonl     every commit up to it, bytes as stored, one a line
//	journal.jsonl     the answers that recorded nothing, up to the same revision: what makes the first answer to an
//	                  idempotency key the only one
//	personal.jsonl    the keys that personal data is sealed under, at the time
//	private-keys.jsonl the private keys of the ledger; only if they were asked for
//	manifest          what the parts are, by length and SHA-256, signed by the ledger's key
//
// There are no views in it, which are made again from the commits, and no tokens.
//
// # What Open refuses
//
// The commits are walked from the first: chain, signatures, tree; the end must be what the checkpoint says, which
// must be signed by a key that its reader holds from elsewhere. Whoever changes a commit cannot sign it; whoever has
// the key and signs all of it anew does not arrive at a checkpoint of before. The other parts are in no tree, so the
// manifest, which has their hashes, is signed as well. Checking the manifest's hashes alone would accept whatever
// was hashed again.
//
// An older backup of the same ledger is whole and true, and restoring it gives revisions away a second time. It is told
// by what is known from elsewhere: a mark, or a checkpoint (Backup.Holds).
//
// # What erasing means for it
//
// A personal key that is destroyed today is still in the backup of yesterday. Who erases has to destroy such
// backups, too; a ledger that is restored from one destroys the keys again that its log says are erased, but the
// log of yesterday does not say so yet.
//
// Backups are whole; there are no incremental ones.
package backup
