// Package jetstream keeps a ledger's log and journal in two streams of NATS JetStream: on a server embedded
// in this process, or on an external one.
//
//	s, err := jetstream.Open(ctx, jetstream.Config{Dir: "data/log", Mark: views.Head().Revision})
//	defer s.Close()
//	err = s.Log().Append(ctx, head, commit)
//
// The figures below were measured with nats-server 2.15.2 and nats.go 1.55.0 on a machine with four cores.
//
// # One message is one commit
//
// The obvious way is one message per event, many publishers, and JetStream's atomic batches where several
// events belong together. With a sync after every message, which is what an acknowledgement has to mean
// here, that is 3,000 to 5,000 events a second however many publishers there are: an unreplicated stream
// has no group commit. Atomic batches cost about 3 ms each whatever their size, and a consumer can be
// delivered the beginning of a batch that is never committed. One message that holds all events of one
// commit is atomic by construction, costs one sync, and gives 28,000 / 196,000 / 923,000 events a second
// with 10 / 100 / 1,000 events in it. Its sequence in the stream is its revision.
//
// # The fence is the expected sequence, not the dedupe window
//
// Each append carries the last sequence it expects, taken from the caller's own views and not from the
// stream: a stream restored from an older backup would name its own end, and give away revisions a second
// time. The fence also makes it safe to append the same commit again when an answer was lost: the second
// copy expects a sequence that is past. JetStream's own remedy for lost answers, message ids, holds for a
// window (two minutes by default, in memory, not prolonged by repeats) where idempotency of a ledger is
// for ever; it is set to the least there is and not used.
//
// A publish that is not answered in time has an unknown outcome. After an error of write or fsync the embedded
// server answers no publish any more until it is restarted, and says why in its log only. That is listened to:
// what was being written has an unknown outcome, everything after it ErrStoreFailed at once. A disk that is
// merely slow is waited for.
//
// # The configuration is compared, field by field
//
// Streams are created to keep everything: on disk, without limits, refusing what is new rather than
// dropping what is old, with deleting and purging denied. These flags are not enough. On a stream with
// both denials set, all of these erase: a time to live in a message header, if allowed; schedules or
// delete markers, which turn rollup on and DenyPurge off without a word; an update that sets a limit (3 of
// 5 messages gone). Async persist mode switches sync always off. So the live configuration is compared
// with what it must be, every field of it, at Open and with every Last and Read; a difference is ErrConfig.
//
// # What is read is counted
//
// JetStream is the bus and not the integrity layer. One bit flipped on disk, and 97 times in 100 a consumer
// is silently not delivered exactly that message, while the stream's state looks whole; with the index file
// gone too, the tail is cut and its sequences are given away again; with a bit flipped in a metadata file
// the stream is "not found". Therefore every message must have the sequence after the last one, a replay
// that stalls before the end it was asked for is an error, a log that is missing or shorter than Mark is
// corrupt and never created anew, and a log never shrinks while it is open. Whether the bytes are the right
// ones is not judged here but by their hashes, which whoever reads commits checks.
//
// kill -9 at any moment lost none of 64,769 acknowledged commits.
//
// # An external server
//
// What the embedded server is given, the operator of an external one has to see to:
//
//   - nats-server 2.15.2 or later, with "sync_interval: always" in its jetstream block. The default syncs
//     every two minutes, and no client can see which it is.
//   - max_payload of 8 MiB, or larger commits than its limit are refused.
//   - An account for this ledger alone, with services elsewhere: accounts.go shows why permissions within
//     one account do not protect the log, and how three accounts do.
//   - A user that may publish and subscribe what accounts.go lists, with the inbox prefix _INBOX_LEDGER.
//
// # The store is looked at before it is opened
//
// nats-server heals what it finds by leaving out and cutting off, or allocates without bound. So the embedded
// server does not open a store, nor read a block, that was not looked at before: blocks.go reads the files
// themselves, guard.go does so before each read, store.go at each start the ends of all streams, and Examine
// everything, in a process of its own, after a stop that was not clean.
//
// # Known holes
//
// BUG(jetstream): Readers of the feed reach the server directly. A block of EVENTS that goes bad while the
// server runs, and is not the last one, is met by the server first, unless Server.CheckFiles, which the
// scrubber calls, found it before. So is a part of the block that is being written, of any stream, that goes
// bad after it was looked at: the server reads a block as a whole. In both cases the process may die of it; the
// next start looks at everything first.
package jetstream
