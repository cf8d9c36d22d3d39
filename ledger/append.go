package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/permledger/permledger/events"
)

// How long to wait between two looks for a commit whose outcome is unknown.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// append stores c as the commit after the views' head. It returns nil only when c is known to be stored, and
// ErrConflict and ErrUnavailable only when it is known never to be.
//
// When the log cannot say (a lost acknowledgement, a server that died in between) the commit may be stored,
// may be stored a little later, or may be lost. Answering callers either way could be a lie, and so could
// any decision made meanwhile. So nothing goes on until a look at the commit's place settles it: our bytes
// there, stored; other bytes, never stored, because the log takes c only after our head; nothing, append the
// very same bytes again, which the log stores at most once. The ledger is not ready meanwhile.
//
// A store that failed is another matter: after an fsync error our bytes may be read back from memory and not be
// on the disk. Then nothing is looked for, and the unknown outcome is the answer.
func (w *writer) append(ctx context.Context, c events.Commit) error {
	done := w.status.whileSlow(fmt.Sprintf("the log takes long to store revision %d", c.Revision))
	err := w.log.Append(ctx, c.Revision-1, c)
	done()
	switch {
	case errors.Is(err, ErrStoreFailed):
		return err
	case err == nil, errors.Is(err, ErrConflict), errors.Is(err, ErrUnavailable), errors.Is(err, ErrCorrupt):
		return err
	}
	w.cfg.Observer.unknown()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		w.status.notReady(fmt.Sprintf("it is unknown whether revision %d is stored: %v", c.Revision, err))
		if settled, answer := w.look(ctx, c); settled {
			return answer
		} else if answer != nil {
			err = answer
		}
		select {
		case <-time.After(pause):
		case <-w.queue.closing:
			return fmt.Errorf("%w: the ledger was closed before revision %d was seen: %w", ErrUnknownOutcome, c.Revision, err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w before revision %d was seen", ErrUnknownOutcome, ctx.Err(), c.Revision)
		}
	}
}

// look is one attempt to settle what became of c. When it does not succeed, the error says why.
func (w *writer) look(ctx context.Context, c events.Commit) (settled bool, _ error) {
	stored, err := w.readOne(ctx, c.Revision)
	switch {
	case errors.Is(err, ErrCorrupt):
		return true, err
	case err != nil:
		return false, err
	case stored == nil:
		return w.appendAgain(ctx, c)
	case bytes.Equal(stored, c.Bytes):
		return true, nil
	}
	return true, fmt.Errorf("%w: revision %d is somebody else's", ErrConflict, c.Revision)
}

// appendAgain is for a commit that was not to be seen. A conflict now may mean that it arrived meanwhile, and
// that this append stored nothing says nothing about the one before: only success settles it.
func (w *writer) appendAgain(ctx context.Context, c events.Commit) (settled bool, _ error) {
	last, err := w.log.Last(ctx)
	if err != nil {
		return false, err
	}
	if err := notShorter(last, c.Revision-1); err != nil {
		return true, err
	}
	if last >= c.Revision {
		return false, fmt.Errorf("%w: revision %d arrived just now", ErrUnknownOutcome, c.Revision)
	}
	err = w.log.Append(ctx, c.Revision-1, c)
	if errors.Is(err, ErrStoreFailed) { // of the append before this one nobody knows any more than of this one
		return true, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return err == nil || errors.Is(err, ErrCorrupt), err
}

// readOne gives the bytes stored at a revision, nil if there are none yet.
func (w *writer) readOne(ctx context.Context, r events.Revision) ([]byte, error) {
	for s, err := range w.log.Read(ctx, r) {
		if err == nil && s.Revision != r {
			err = fmt.Errorf("%w: asked for revision %d, got %d", ErrCorrupt, r, s.Revision)
		}
		return s.Bytes, err
	}
	return nil, nil
}
