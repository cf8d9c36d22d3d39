// Package events holds the words of the ledger: who, what, on what, since when, and the closed set of
// things that can happen to a permission.
//
// Everything else in the project is about these values: the ledger decides which events happen, a
// commit stores them, projections fold them into views, consumers receive them. The package imports
// the standard library and google/uuid only, so anybody may import it.
//
// # Glossary
//
//	Tenant      an isolated world of principals, roles, groups and grants; nothing crosses
//	API         a component's surface; it owns permissions and has an audience
//	Permission  a named right of one API; names are opaque and compared byte for byte
//	Principal   who: a user, client, group, role or mapping rule, written kind:id
//	Scope       on what: nothing in particular, any or one id of a resource type, or a property of it
//	Edge        what a fact states: alice holds a role, a group is below a group, a role has a permission
//	Fact        an edge with an identity and a validity interval
//	Event       something that has happened; past tense; a member of the closed set in event.go
//	Recorded    an event with its envelope: who did it, for whom, why, when, in which tenant
//	Key         what signs the commits of a ledger, and its checkpoints
//	Sealed      text about a principal that only its personal key opens; destroying the key erases it
//	Commit      the events of one or more commands at one revision, hashed and chained
//	Revision    a commit's place: 1, 2, 3 …  = its sequence in the log
//	Position    an event's ordinal over the whole ledger: 1, 2, 3 …  = its sequence in the feed
//
// The shortest use: encode a commit, read it back, follow the chain.
//
//	sealed, err := events.Seal(head, header, draft, signer) // bytes, hash, signature
//	commit, err := events.DecodeCommit(sealed.Bytes)
//	err = head.Follows(commit) // nil only for the very next commit, signed by the ledger's key
package events
