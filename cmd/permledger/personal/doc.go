// Package personal keeps the keys that texts about people are sealed with, and seals and opens them.
//
// A principal has one key, in one tenant. The ledger holds the sealed text and is never changed; destroying the
// key erases what was sealed with it, in the log, the views, the feed, every copy and every backup of them, while
// hashes, chain and proofs stay what they were.
//
//	keys, err := personal.Open("data/personal")
//	sealed, err := keys.Seal("default", events.User("alice"), []byte("on call"))
//	text, err := keys.Open("default", sealed)
//	err = keys.Destroy("default", events.User("alice"), sealed.Key)
//
// # What is in the directory
//
// One file for each tenant and principal, of mode 0600, named by the SHA-256 of both, so that a listing of the
// directory is no list of people:
//
//	9f3c…a1   {"key":"019a…","secret":"base64 of 32 bytes"}
//
// A file is written whole and synced, as is the directory, before anything sealed with its key leaves Seal: no
// crash leaves a text in the ledger whose key was never on the disk.
//
// # How a text is sealed
//
// By AES-256-GCM. The obvious way, a random nonce, makes another box each time, and then a request that is sent again
// is another request: its idempotency key would be refused. So the nonce is synthetic: a MAC of the text under a
// second key (the SIV construction of Rogaway and Shrimpton). The same text gives the same box; different texts
// give the same nonce with the probability of a collision in 96 bits, negligible for the texts of one person. The
// price is one leak: whoever has the ledger sees that two boxes of one key hold equal texts, though not which.
//
// Tenant, principal and key are additional data: a box moved to somebody else's event, or to another tenant, does
// not open. Texts are padded to a multiple of 64 bytes, so that their length says little.
//
// # What this cannot do
//
// Overwriting a file destroys it on disks that write in place; solid-state disks, copy-on-write file systems and
// snapshots may keep the old blocks, and an old copy of the directory keeps the old keys. Key files that come back
// in such a copy are destroyed at the next start, because the ledger knows which keys are erased.
package personal
