package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/permledger/permledger/events"
)

// job is a request on its way through the writer.
type job struct {
	req         Request
	description json.RawMessage // with an idempotency key: what its hash covers
	dry         bool            // decide and forget
	notice      bool            // the commands are what is due when the job is decided

	state   atomic.Int32
	done    chan struct{} // closed when receipt and err are set
	receipt Receipt
	err     error

	// The writer's. tooLarge outlives a cycle, the rest is of the present one.
	tooLarge error
	verdict
}

// The states of a job. Its caller may leave while it is open; once it is taken it may become part of an
// append, and a caller who leaves then cannot know what comes of it.
const (
	jobOpen int32 = iota
	jobTaken
	jobLeft
)

// take reports whether the writer may go on with the job, and holds on to it.
func (j *job) take() bool { return j.state.CompareAndSwap(jobOpen, jobTaken) }

// release lets the caller leave again: the job waits for another commit.
func (j *job) release() { j.state.CompareAndSwap(jobTaken, jobOpen) }

// answer ends the job.
func (j *job) answer(r Receipt, err error) {
	j.receipt, j.err = r, err
	close(j.done)
}

// wait gives the answer, or says what is known when the caller cannot wait for it.
func (j *job) wait(ctx context.Context) (Receipt, error) {
	select {
	case <-j.done:
		return j.receipt, j.err
	case <-ctx.Done():
	}
	if j.state.CompareAndSwap(jobOpen, jobLeft) {
		return Receipt{}, ctx.Err()
	}
	select {
	case <-j.done: // both came at once: the answer is worth more
		return j.receipt, j.err
	default:
	}
	j.state.Store(jobLeft)
	if j.dry {
		return Receipt{}, ctx.Err()
	}
	return Receipt{}, fmt.Errorf("%w: %w while the request was being stored", ErrUnknownOutcome, ctx.Err())
}

// queue is where jobs wait for the writer.
type queue struct {
	slots   chan struct{} // one per waiting job
	wake    chan struct{} // there is something to take
	closing chan struct{} // closed: nothing is put any more

	mu      sync.Mutex
	waiting []*job
	closed  bool
}

func newQueue(length int) *queue {
	return &queue{
		slots:   make(chan struct{}, length),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
	}
}

var errClosed = fmt.Errorf("%w: the ledger is closed", ErrUnavailable)

// put waits for a slot and adds the job.
func (q *queue) put(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-q.closing:
		return errClosed
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errClosed
	}
	q.waiting = append(q.waiting, j)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// takeAll empties the queue; last is true when nothing will come after.
func (q *queue) takeAll() (jobs []*job, last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs, q.waiting = q.waiting, nil
	for range jobs {
		<-q.slots
	}
	return jobs, q.closed
}

// close lets nothing more in. What waits is still taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
}

// Answers to one key of one caller are the same for ever.
type answerKey struct {
	tenant events.Tenant
	caller events.Principal
	key    string
}

func (r *Request) answerKey() answerKey { return answerKey{r.Tenant, r.Actor, r.Key} }
