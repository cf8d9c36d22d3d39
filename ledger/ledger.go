package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/permledger/permledger/events"
)

// Config configures a ledger. The zero value works.
type Config struct {
	// Clock says what time it is when a commit is recorded; one that goes back is not followed. Default time.Now.
	Clock func() time.Time
	// ClockSound is nil while Clock can be trusted, or says why not: then nothing is recorded (ErrClock).
	// Default: always trusted.
	ClockSound func() error
	// Space is how much room there is; see Space for what is recorded then. Default: always open.
	Space func() Space
	// NewID gives the ids of ledgers, events and commands; it must never give one twice. Default NewID.
	NewID func() uuid.UUID
	// Writer names the process in the commits it writes. A change of writer begins a new epoch. Default: a
	// fresh UUID, so that each opening of the ledger is an epoch.
	Writer string
	// Keys sign what is written. Default: none, and commits are not signed; a ledger whose key is announced
	// cannot be opened without it.
	Keys Keyring
	// Administrator is the first administrator of a new ledger: a user or client. Default client:root.
	Administrator events.Principal
	// GroupBytes is about how large a commit of several requests may get; a larger single request still goes
	// through. Default 512 KiB.
	GroupBytes int
	// QueueLength is how many requests may wait for the writer before Submit blocks. Default 4096.
	QueueLength int
	// NoticeInterval is how often starts and ends that have come are recorded. Default 1 s; negative: never.
	NoticeInterval time.Duration
	// Observer hears what happens. Default nobody.
	Observer *Observer
}

func (c Config) withDefaults() (Config, error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.NewID == nil {
		c.NewID = NewID
	}
	if c.Writer == "" {
		c.Writer = c.NewID().String()
	}
	if c.Administrator.IsZero() {
		c.Administrator = events.Client("root")
	}
	if c.GroupBytes <= 0 {
		c.GroupBytes = 512 << 10
	}
	if c.QueueLength <= 0 {
		c.QueueLength = 4096
	}
	if c.NoticeInterval == 0 {
		c.NoticeInterval = time.Second
	}
	return c, errors.Join(checkAdministrator(c.Administrator), events.CheckID("writer", c.Writer))
}

// Ledger decides requests and stores what they lead to. Its methods may be called from several goroutines.
type Ledger struct {
	cfg    Config
	queue  *queue
	writer *writer

	stop    context.CancelFunc // ends the writer's calls
	stopped chan struct{}      // closed when the writer is done
	close   sync.Once
}

// Open opens the ledger in log: it brings the views to the log's end, reads the journal, and begins a new
// ledger if the log is empty. log, journal and views stay the caller's to close, after Close.
//
// Errors: ErrCorrupt when the log is broken or shorter than the views remember; ErrNoKey when its key is not
// in the keyring; else ErrUnavailable or what the views say.
func Open(ctx context.Context, log Log, journal Journal, views Projection, cfg Config) (*Ledger, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{cfg: cfg, queue: newQueue(cfg.QueueLength), stopped: make(chan struct{})}
	l.writer = &writer{cfg: &l.cfg, log: log, journal: journal, views: views, queue: l.queue}
	if err := l.writer.start(ctx); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go func() {
		defer close(l.stopped)
		l.writer.run(running)
	}()
	return l, nil
}

// Submit carries a request out, whole or not at all, and returns when the outcome is durable.
//
//   - nil: it is recorded at the receipt's revision and every query that starts now sees it; or there was
//     nothing to record.
//   - *Refusal, *events.InvalidError: it breaks a rule. Nothing was recorded.
//   - ErrUnavailable: nothing was recorded; trying later may help. ErrNoSpace and ErrClock are of this kind.
//   - ErrUnknownOutcome: it may be recorded. With an idempotency key, asking again tells.
//   - ErrCorrupt: the ledger halted and answers nothing more.
//   - ctx's error alone: nothing was recorded.
//
// r.Commands must not be changed until Submit returns, nor after ErrUnknownOutcome.
func (l *Ledger) Submit(ctx context.Context, r Request) (Receipt, error) {
	return l.submit(ctx, r, false)
}

// DryRun answers as Submit would, and nothing is stored. The receipt's Recorded are the events that would be
// recorded, without the place they would get; its Revision is the one the request was judged at.
func (l *Ledger) DryRun(ctx context.Context, r Request) (Receipt, error) {
	return l.submit(ctx, r, true)
}

func (l *Ledger) submit(ctx context.Context, r Request, dry bool) (Receipt, error) {
	j := &job{req: r, dry: dry, done: make(chan struct{})}
	if err := j.prepare(); err != nil {
		if !dry {
			l.cfg.Observer.refused(CodeInvalid)
		}
		return Receipt{}, err
	}
	if err := l.queue.put(ctx, j); err != nil {
		return Receipt{}, err
	}
	return j.wait(ctx)
}

// prepare does what needs no state, in the caller's own time.
func (j *job) prepare() error {
	if err := j.req.check(); err != nil {
		return err
	}
	j.req.RequestHash = ""
	if j.req.Key == "" {
		return nil
	}
	description, err := j.req.describe()
	if err != nil {
		return fmt.Errorf("describe the request: %w", err)
	}
	j.description, j.req.RequestHash = description, hashOf(description)
	return nil
}

// Notice records the starts and ends that have come, now rather than at the next interval.
func (l *Ledger) Notice(ctx context.Context) error {
	for {
		j := newNotice()
		if err := l.queue.put(ctx, j); err != nil {
			return err
		}
		if r, err := j.wait(ctx); err != nil || r.Events < noticeBatch {
			return err
		}
	}
}

// Status is how the ledger is.
type Status struct {
	Head   events.Head // as of the last commit or notice
	Ready  bool        // requests are answered
	Reason string      // why not
}

// Status says how the ledger is.
func (l *Ledger) Status() Status { return l.writer.status.get() }

// closeGrace is how long Close waits for an append under way before it cancels it.
const closeGrace = 5 * time.Second

// Close answers what was accepted and stops. An append whose outcome is unknown is not waited for: its
// callers hear ErrUnknownOutcome. Afterwards Submit answers ErrUnavailable.
func (l *Ledger) Close() error {
	l.close.Do(func() {
		l.queue.close()
		grace := time.NewTimer(closeGrace)
		defer grace.Stop()
		select {
		case <-l.stopped:
		case <-grace.C:
		}
		l.stop()
		<-l.stopped
	})
	return nil
}

// status is what Status reads while the writer works.
type status struct {
	mu sync.Mutex
	Status
}

func (s *status) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Status
}

func (s *status) ready(h events.Head) { s.set(Status{Head: h, Ready: true}) }

func (s *status) set(to Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Status = to
}

// slowWrite is how long a write may take before the ledger says that it is not ready, and what it waits for.
const slowWrite = 2 * time.Second

// whileSlow begins a write. Should it last, the ledger is not ready for that reason, until somebody says more.
// done ends it, and reports whether it lasted.
func (s *status) whileSlow(reason string) (done func() bool) {
	said := make(chan struct{})
	slow := time.AfterFunc(slowWrite, func() {
		s.notReady(reason)
		close(said)
	})
	return func() bool {
		if slow.Stop() {
			return false
		}
		<-said // so that it does not come after what is said next
		return true
	}
}

func (s *status) notReady(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Ready, s.Reason = false, reason
}
