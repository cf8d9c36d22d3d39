// Package ledger decides what happens to permissions and stores it.
//
// A Request holds one or more commands. The ledger decides them against the state at head, which gives
// events, nothing to record, or a Refusal. The events of all requests waiting at that moment become one
// commit, appended to the Log in one write; only then is anybody answered.
//
//	l, err := ledger.Open(ctx, log, journal, projection, ledger.Config{})
//	receipt, err := l.Submit(ctx, ledger.Request{
//		Tenant:   events.DefaultTenant,
//		Meta:     events.Meta{Actor: events.User("root"), Reason: "new hire"},
//		Commands: []ledger.Command{ledger.AssignRole{Principal: events.User("alice"), Role: "operate"}},
//	})
//
// Decisions are arithmetic: state and command in, events or a refusal out; no clock, no context, no I/O.
// The package names what it needs as three small interfaces and knows none of their implementations:
// Log (jetstream, memlog), Journal (the same) and Projection (the views in Pebble).
package ledger
