// Package feed publishes the ledger's events to services: one stream, EVENTS, one event per message, and
// the message's sequence is the event's position.
//
//	f, err := feed.Start(ctx, feed.Config{JetStream: js, Source: trail})
//	err = f.Wait(ctx, receipt.Position)   // services can see it now
//
// Subjects and messages are those of events.Subject and events.Message: functions of the event alone. So
// the feed is a pure function of the ledger; it may be thrown away and built again, byte for byte, and
// whoever reads it goes on where it was. Only the server's own note of when it stored a message differs.
//
// # Exactly once, in order
//
// The stream itself is the feed's cursor. A run reads the stream's last sequence L, looks whether the
// message there is the event at position L of this very ledger, and publishes from L+1 on. Each message is
// stored only if the one before it is the stream's last (by expected last sequence and message id), so
// whatever happens to a publication - lost, repeated, late, racing another process that publishes the same
// feed - message k is event k and nothing else. Messages are published without waiting for each other;
// after any fault the run waits for what is under way, reads L again, and goes on from there.
//
// # What halts it
//
// A stream that holds what this ledger did not say (ErrForeign), that has lost messages between others
// (ErrDamaged), or that may lose them by its configuration (ErrConfig) is not published to. Err says so,
// and Rebuild throws the stream away and publishes everything anew.
package feed
