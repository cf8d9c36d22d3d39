// Package memlog keeps a ledger's log and journal in memory: for tests, and for trying things out without
// a trace (--dry).
//
//	log := memlog.Open(memlog.Config{})
//	err := log.Append(ctx, 0, commit)
//
// It keeps the same contract as the durable log, proved by the same suite, and fails on demand. A Hooks
// decides the Outcome of each write:
//
//	outcome      stored               the writer hears
//	Done         now                  nil
//	Refused      never                ledger.ErrUnavailable
//	Lost         never                ledger.ErrUnknownOutcome
//	Kept         now                  ledger.ErrUnknownOutcome
//	KeptLate(n)  after n more reads   ledger.ErrUnknownOutcome
//	Cached       until Reopen         ledger.ErrUnknownOutcome
//	Failed       until Reopen         ledger.ErrUnknownOutcome and ErrStoreFailed
//	FailedKept   now                  ledger.ErrUnknownOutcome and ErrStoreFailed
//
// So every write can fail twice: failed and lost, failed but kept. Foreign plays another writer, Reopen a
// restart, Replace and Truncate a disk that went bad.
package memlog
