package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/permledger/permledger/events"
)

// Reading, decoding and judging are three stages. One goroutine reads the log, one the archive and pairs the two;
// as many as there are cores decode, which is most of the work, for it has the signatures; and the one that
// judges takes the pairs in order again.

// copied is a commit as one side has it.
type copied struct {
	there  bool // the side reaches that far
	lost   bool // and has no bytes
	bytes  []byte
	err    error // what is wrong with it by itself
	commit events.Commit
	leaves []tlog.Hash // of its events
}

var (
	errEnds    = errors.New("it ends before")
	errSkipped = errors.New("it was not read: the stretch of the log around it cannot be")
)

// follows is nil if the commit is sound by itself and follows head.
func (c *copied) follows(head events.Head) error {
	switch {
	case !c.there:
		return fmt.Errorf("%w revision %d", errEnds, head.Revision+1)
	case c.err != nil:
		return c.err
	}
	return head.Follows(c.commit)
}

// pair is one revision as both sides have it.
type pair struct {
	revision      events.Revision
	log, archived copied
	row           commitRow // of the archive
}

// decode reads what both sides have, once if they have the same.
func (p *pair) decode() {
	p.log.decode(p.revision)
	if !p.archived.there || p.archived.err != nil {
		return
	}
	if p.log.there && bytes.Equal(p.log.bytes, p.archived.bytes) {
		p.archived = p.log
	} else {
		p.archived.decode(p.revision)
	}
	if p.archived.err == nil {
		p.archived.err = p.row.holds(p.archived.commit)
	}
}

func (c *copied) decode(r events.Revision) {
	if !c.there || c.err != nil {
		return
	}
	if c.commit, c.err = decoded(c.bytes, r); c.err != nil {
		return
	}
	c.leaves = make([]tlog.Hash, len(c.commit.Events))
	for i, e := range c.commit.Events {
		if len(e.Raw) > events.MaxEventBytes {
			c.err = fmt.Errorf("%w: position=%d has %d bytes", events.ErrMalformed, e.Position, len(e.Raw))
		}
		c.leaves[i] = tlog.RecordHash(e.Raw)
	}
}

func decoded(b []byte, r events.Revision) (events.Commit, error) {
	c, err := events.DecodeCommit(b)
	if err == nil && c.Revision != r {
		err = fmt.Errorf("%w: it says it is revision %d", events.ErrBroken, c.Revision)
	}
	return c, err
}

// batch is a few pairs that are decoded together. ready is closed when they are.
type batch struct {
	pairs []pair
	bytes int
	ready chan struct{}
}

// A batch is full with so many commits or so many bytes.
const (
	batchCommits = 256
	batchBytes   = 256 << 10
)

// run reads, decodes and judges everything from the first revision to the last.
func (w *walk) run(ctx context.Context) error {
	if w.report.Stop != nil {
		return nil
	}
	if w.report.From > w.last {
		w.report.Head = w.head
		return w.finish()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var stages sync.WaitGroup
	defer stages.Wait()
	defer cancel(nil)

	workers := runtime.GOMAXPROCS(0)
	work, ordered := make(chan *batch, 2*workers), make(chan *batch, 2*workers)
	log := make(chan *logBatch, 2)
	stages.Go(func() { w.readLog(ctx, log, cancel) })
	stages.Go(func() {
		defer close(ordered)
		defer close(work)
		w.pairUp(ctx, log, work, ordered)
	})
	for range workers {
		stages.Go(func() {
			for b := range work {
				for i := range b.pairs {
					b.pairs[i].decode()
				}
				close(b.ready)
			}
		})
	}
	if err := w.judgeAll(ctx, ordered); err != nil {
		return err
	}
	return w.finish()
}

// judgeAll takes the pairs in order, each with the one after it.
func (w *walk) judgeAll(ctx context.Context, ordered <-chan *batch) error {
	var held *pair
	judge := func(next *pair) error {
		if held == nil || w.report.Stop != nil {
			return nil
		}
		return w.take(held, next)
	}
	for b := range ordered {
		select {
		case <-b.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for i := range b.pairs {
			if err := judge(&b.pairs[i]); err != nil {
				return err
			}
			held = &b.pairs[i]
		}
		if w.Progress != nil {
			w.Progress(w.head)
		}
		if w.report.Stop != nil {
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := judge(nil)
	if w.Progress != nil {
		w.Progress(w.head)
	}
	return err
}

// pairUp reads the archive beside the log.
func (w *walk) pairUp(ctx context.Context, log <-chan *logBatch, work, ordered chan<- *batch) {
	b := &batch{ready: make(chan struct{})}
	send := func() bool {
		for _, to := range []chan<- *batch{work, ordered} {
			select {
			case to <- b:
			case <-ctx.Done():
				return false
			}
		}
		b = &batch{ready: make(chan struct{})}
		return true
	}
	reader := logReader{batches: log}
	for r := w.report.From; r <= w.last; r++ {
		p := pair{revision: r}
		if w.Source != nil && r <= w.report.Last.Log {
			p.log = reader.next(ctx)
		}
		if w.archive != nil && r <= w.report.Last.Archive {
			p.archived.there = true
			p.archived.bytes, p.row, p.archived.err = w.archive.commit(r)
		}
		b.pairs = append(b.pairs, p)
		b.bytes += len(p.log.bytes) + len(p.archived.bytes)
		if full := len(b.pairs) == batchCommits || b.bytes >= batchBytes; full && !send() || ctx.Err() != nil {
			return
		}
	}
	if len(b.pairs) > 0 {
		send()
	}
}

// logBatch is a few commits of the log, in order of revision and without gaps.
type logBatch struct {
	commits []copied
	bytes   int
}

type logReader struct {
	batches <-chan *logBatch
	held    []copied
}

func (l *logReader) next(ctx context.Context) copied {
	if len(l.held) == 0 {
		select {
		case b, ok := <-l.batches:
			if !ok {
				return copied{there: true, lost: true, err: errSkipped}
			}
			l.held = b.commits
		case <-ctx.Done():
			return copied{there: true, lost: true, err: errSkipped}
		}
	}
	c := l.held[0]
	l.held = l.held[1:]
	return c
}

// patience is how many revisions that cannot be read are asked for one by one before the reader takes longer and
// longer strides: a lost block has thousands, and at the end of a stream each costs a timeout.
const patience = 8

// readLog gives every revision of the log up to the last to be verified, those that cannot be read with the error.
// An error that says nothing about the log ends everything.
func (w *walk) readLog(ctx context.Context, to chan<- *logBatch, fail context.CancelCauseFunc) {
	defer close(to)
	if w.Source == nil {
		return
	}
	last := min(w.last, w.report.Last.Log)
	b := &logBatch{}
	send := func() bool {
		select {
		case to <- b:
			b = &logBatch{}
			return true
		case <-ctx.Done():
			return false
		}
	}
	add := func(c copied) bool {
		c.there = true
		b.commits = append(b.commits, c)
		b.bytes += len(c.bytes)
		return len(b.commits) < batchCommits && b.bytes < batchBytes || send()
	}
	lost, stride := 0, events.Revision(1)
	for r := w.report.From; r <= last; {
		err := w.readOn(ctx, r, last, func(bytes []byte) bool {
			lost, stride = 0, 1
			r++
			return add(copied{bytes: bytes})
		})
		switch {
		case ctx.Err() != nil:
			return
		case r > last:
		case err != nil && !w.Lost(err):
			fail(err)
			return
		default:
			if err == nil {
				err = fmt.Errorf("%w: the log ended there, and said it has %d", events.ErrBroken, w.report.Last.Log)
			}
			if lost++; lost > patience {
				stride *= 2
			}
			for i := range min(stride, last-r+1) {
				if i > 0 {
					err = errSkipped
				}
				if !add(copied{lost: true, err: err}) {
					return
				}
			}
			r += stride
		}
	}
	if len(b.commits) > 0 {
		send()
	}
}

// readOn reads from a revision until the last, an error, or a revision that is not the next.
func (w *walk) readOn(ctx context.Context, from, last events.Revision, each func([]byte) bool) error {
	r := from
	for stored, err := range w.Source.Read(ctx, from) {
		switch {
		case err != nil:
			return err
		case stored.Revision != r:
			return nil
		case !each(stored.Bytes) || r == last:
			return nil
		}
		r++
	}
	return nil
}
