// Package node puts the rooms of the ledger together in one process: the log, the views, the ledger that
// writes and the feed that publishes.
//
//	n, err := node.Open(ctx, node.Config{Dir: "data"})
//	defer n.Close()
//	receipt, err := n.Ledger.Submit(ctx, …)
//	session, err := n.Access.At(ctx, events.DefaultTenant, access.When{})
//
// # The order of opening
//
// The directory is locked first, so that a second process hears one thing, whatever of it would open first. The
// views open next, because they remember how far the log had got: a log that is shorter is a lost log, not an
// empty one. Then the log, then the views catch up with it, then the personal keys, of which those that are
// erased are destroyed, then the ledger, which only now may write, and the feed. Closing goes the other way
// round, so that nothing is written that nobody can apply.
//
// # What is in the directory
//
//	root.token        the bearer token of the first administrator, made at the first start
//	reader.token      the password services log in to NATS with, made when NATS listens first
//	keys/             the private key that signs commits and checkpoints, made at the first start
//	checkpoint        the newest signed checkpoint, which is a mark, too
//	lock              held by the one process that uses the directory, before anything else is opened
//	mark.json         how far the log had got and what time it was, beside the views that remember the former too
//	personal/         the keys that texts about people are sealed with; nothing makes one again
//	jetstream/        the embedded NATS server's store: the log, the journal, the feed
//	restoring/        what a restore has not finished; while it is there the directory does not open
//	views/            Pebble: everything that is answered from; the log makes it again
//	scrub.json        how far the scrubber is, and what it found
//
// What was damaged or given up stays beside them, as jetstream.damaged-1, views.damaged-1, views.fork-1 and so on;
// *.new is what a repair was making. While repair.json is there nothing is served, and an accepted fork that is not
// carried out yet is in fork.json.
//
// # What it watches
//
// The disk (disk.go) and the clock (clock.go): while one of them cannot be relied on, the ledger records less or
// nothing, questions are answered, and it goes on by itself afterwards.
package node
