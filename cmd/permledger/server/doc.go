// Package server is the ledger's HTTP face: its own API under /v1, AuthZEN under /access/v1, and the probes.
//
// A request passes three doors in this order: it gets an id and a log line (exchange.go), its caller is
// found from the credential (auth.go), and its parameters are read strictly (register.go). A handler then
// reads the words, asks the ledger or a pinned session of the views, and writes what it was told. Nothing is
// decided here.
//
// Everything that is not a success is an *api.Error from the catalogue (problem.go); AuthZEN answers errors
// as plain text, because its specification says so. Streams end with a trailer that counts the rows, or break
// the connection: a short list never looks like a whole one (stream.go).
package server
