// Package consumertest lets a subscriber be tested without a ledger.
//
// Start runs a NATS server inside the test, with the feed's stream, on which the test publishes the events
// it wants its subscriber to meet. They get the subjects, positions and bytes a ledger would give them.
//
//	l := consumertest.Start(t)
//	l.Publish(consumertest.Event(events.RoleAssigned{Principal: events.User("alice"), Role: "operator"}))
//	err := consumers.Subscribe(ctx, l.JetStream(), consumers.Options{Name: "mailbox"}, effect)
//
// Stop and Run, which a Ledger has from its Server, take the server away and bring it back with the same
// store: a subscriber has to survive that.
//
// History is the same ledger without a server, and Server the server without a ledger.
package consumertest
