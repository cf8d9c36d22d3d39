// Package api holds what travels between the ledger's server and its clients: requests, answers, and the
// catalogue of errors. It imports the words of the ledger and nothing else, so anybody may import it.
//
// The written forms are a contract. A command is an object whose "do" says what it wishes:
//
//	{"do":"grant","principal":"user:alice","permission":"read:*","resource":"api:operate-api"}
//
// What a permission is about is written the same way everywhere (see Resource), times are RFC 3339, and
// every answer states the revision it reflects. Unknown members of a request are refused with their name;
// clients should ignore members of an answer that they do not know.
package api

// Headers and media types beyond the common ones.
const (
	RequestIDHeader      = "X-Request-ID"        // echoed on every answer
	IdempotencyKeyHeader = "Idempotency-Key"     // of POST /v1/commands: the first answer is the only one, for ever
	RevisionHeader       = "Permledger-Revision" // the revision an answer reflects
	CompleteTrailer      = "Permledger-Complete" // after the last row of a stream: how many there were

	ProblemContentType   = "application/problem+json"
	JSONLinesContentType = "application/jsonl"
)

// MaxBodyBytes is the largest request body the server takes.
const MaxBodyBytes = 8 << 20
