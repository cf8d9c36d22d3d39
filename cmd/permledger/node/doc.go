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
// The views open first, because they remember how far the log had got: a log that is shorter is a lost log,
// not an empty one. Then the log, then the views catch up with it, then the ledger, which only now may write,
// and the feed. Closing goes the other way round, so that nothing is written that nobody can apply.
//
// # What is in the directory
//
//	root.token        the bearer token of the first administrator, made at the first start
//	reader.token      the password services log in to NATS with, made when NATS listens first
//	keys/             the private key that signs commits and checkpoints, made at the first start
//	mark.json         how far the log had got, beside the views that remember it too
//	jetstream/        the embedded NATS server's store: the log, the journal, the feed
//	views/            Pebble: everything that is answered from; the log makes it again
//	scrub.json        how far the scrubber is, and what it found
//
// What was damaged or given up stays beside them, as jetstream.damaged-1, views.damaged-1, views.fork-1 and so on;
// *.new is what a repair was making. While repair.json is there nothing is served, and an accepted fork that is not
// carried out yet is in fork.json.
package node
