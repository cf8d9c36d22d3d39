package pack

import (
	"io"

	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// VerifyLoose verifies everything but what holds the events against the checkpoints. It is the control: what only
// the checkpoints refuse must pass it.
func VerifyLoose(r io.ReaderAt, size int64, keys checkpoint.Keys) (*Result, error) {
	v := &verifier{keys: keys, given: keys, loose: true, counts: newCounts()}
	return v.verify(r, size)
}
