package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/permledger/permledger/ledger"
)

// failure remembers that the embedded server's store failed. It never un-fails: what a disk did not take may
// stand in the cache of the kernel, readable and marked clean, so that a second fsync succeeds and proves
// nothing. Only opening again looks at what there is (see settle).
type failure struct {
	failed context.Context // done once it failed, with the reason as its cause
	fail   context.CancelCauseFunc
}

func newFailure() *failure {
	ctx, fail := context.WithCancelCause(context.Background())
	return &failure{ctx, fail}
}

// err is nil until the store failed. A nil failure is of a server that is not ours, and never fails.
func (f *failure) err() error {
	if f == nil || f.failed.Err() == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ledger.ErrStoreFailed, context.Cause(f.failed))
}

// errUnanswered is the reason when nothing was heard, neither an acknowledgement nor an error.
var errUnanswered = errors.New("it does not answer")

// After an error of write or fsync nats-server stores nothing more in that stream, answers no publish to it,
// and says why in its log only. A test holds these words against the server.
var storeFailures = []string{
	"critical write error",  // a stream's, and a consumer's
	"Critical write error",  // of the files of a stream
	"disabling JetStream: ", // the directory may not be written any more
}

// heed makes something of what the embedded server logs.
func (f *failure) heed(format, line string) {
	for _, words := range storeFailures {
		if strings.Contains(format, words) {
			f.fail(errors.New(line))
		}
	}
}
