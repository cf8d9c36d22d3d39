// Package audit is the view that keeps what happened: every commit byte for byte, and indexes by who did it,
// whom and what it is about, and when.
//
//	trail := audit.NewTrail(projector)
//	for r, err := range trail.Events(ctx, audit.Filter{Principal: events.User("alice"), Newest: true, Limit: 20}) {
//		if err != nil {
//			return err // what came before is not the whole answer
//		}
//		fmt.Println(r.Position, r.RecordedAt, r.Actor, events.Name(r.Event), r.Reason)
//	}
//
// # Why the bytes are kept again
//
// The log is the truth, but a store under it can lose a record without a word. With the commits here as
// well, in the same batch as every other view, either side can be held against the other and made again
// from it. So nothing is encoded anew: a commit is cut into the bytes before its first event and the bytes of
// each event, and is accepted only if the pieces put together have the hash of the commit.
//
// # Why one index is enough for a question
//
// An index row is a value and a position, so the rows of one value are the positions at which it occurs, in
// order. A question with several conditions reads the shortest of its lists, found by counting a little of
// each, and looks at the events themselves for the rest. Indexes therefore may list too much but never too
// little, and an answer never depends on which of them was read. rows.go has the keys.
package audit
