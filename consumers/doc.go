// Package consumers is for services that use a ledger: Client asks its server, Subscribe follows its events.
//
// # Following the ledger
//
// The ledger publishes every event once, in order, on one stream. Subscribe hands the events a service
// selects to its Effect, and goes on where the effect got to, whatever happened in between:
//
//	nc, err := consumers.Connect("nats://127.0.0.1:4222")
//	js, err := jetstream.New(nc)
//	err = consumers.Subscribe(ctx, js, consumers.Options{
//		Name:    "mailbox",
//		Filters: []consumers.Filter{{Tenant: "default", Kind: "role"}},
//	}, effect)
//
// # What a subscriber may rely on
//
//   - Each event that matches is handed over in order of position, the next one only after Apply returned
//     nil for the one before. None is skipped: what Apply refuses, what this build does not know
//     (events.ErrUnknownEvent) and what is damaged ends the subscription with an error.
//   - An Effect stores what an event brings about together with the event's cursor. So after a crash at any
//     moment, of the subscriber, the NATS server or the ledger, each event has its effect exactly once.
//   - Func is the lesser promise for effects that cannot do that: the cursor is stored after the effect, so
//     after a crash between the two the event is handed over again. Its id and position tell.
//   - From says where to start. It is asked only until the effect has a cursor; then the cursor says it.
//   - A lost connection, a restarted server and a feed that is being built anew are waited for, without end
//     unless the context has one.
//   - A feed that is not the one the cursor comes from ends the subscription: ErrOtherLedger, or ErrRewound
//     when it is the same ledger with a past that is shorter or another (a restored backup), which is
//     believed only when the feed has not grown for Options.Patience.
//   - Nothing is kept on the server. A subscriber is as old as its cursor.
//
// # What it may not
//
// An event is selected by its tenant, its kind, and whom and which API events.About says it is about: a role
// assignment is about its holder and names no API. A subscriber without filters sees every position, and
// notices if one is missing (ErrDamaged); one with filters cannot, and relies on the ledger's operator, who
// can verify the feed.
package consumers
