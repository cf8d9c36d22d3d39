// Package access is the view that answers who may do what, now and at any point of the past.
//
// A Session is pinned to one revision and one instant, and every answer states them:
//
//	s, err := view.At(ctx, events.DefaultTenant, access.When{AsOf: yesterday})
//	defer s.Close()
//	d, err := s.Check(access.Question{
//		Principal:  events.User("alice"),
//		Permission: "read:*",
//		Resource:   access.Resource{Audience: "operate-api"},
//	})
//
// # Two times
//
// Every fact is a record with a validity interval, and the ledger's knowledge of that interval changes with
// each commit. A session asks for the facts as known at its revision and true at its instant.
//
// # Why there are two sets of rows
//
// The obvious row is one per fact with its interval. It cannot answer as of a past revision, and a scan of
// what somebody holds today would step over everything they ever held. So each fact has history rows, one
// per change of what is known of it, newest first, which are never deleted; and, while it is not over, one
// live row. A question about now reads live rows only and does not pay for history; any other question reads
// history rows. Both are kept in both directions, from the holder and from what is held. rows.go has the keys.
//
// # Incarnations
//
// Deleting a principal ends all it held and all that was given to it by one event. So facts belong to an
// incarnation of each end, numbered from 0, and an incarnation has a lifetime of its own; a fact counts only
// while both its ends live. A name used again is a new incarnation and inherits nothing.
package access
