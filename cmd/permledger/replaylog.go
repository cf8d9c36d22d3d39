package main

import (
	"context"
	"fmt"
	"iter"

	"github.com/permledger/permledger/events"
)

// replay reads a part of the log and believes nothing of it. Whoever is in each gets every commit of that part, in
// order and verified, and can end the replay with an error.
type replay struct {
	log   storedCommits
	known interface{ Head() events.Head }
	from  events.Revision
	to    events.Revision // 0: the last
	after mark            // the commit before from, if an earlier replay has seen it
	each  []func(events.Commit) error

	head    events.Head
	commits int // given to each
	events  int
}

// storedCommits is what a replay needs of a ledger.Log.
type storedCommits interface {
	Last(context.Context) (events.Revision, error)
	Read(ctx context.Context, from events.Revision) iter.Seq2[events.Stored, error]
}

// mark names one commit of a log. Without a hash nothing is known of it.
type mark struct {
	Revision events.Revision
	Hash     events.Hash
}

func (m mark) known() bool { return m.Hash != events.Hash{} }

func (r *replay) run(ctx context.Context) error {
	last, err := r.log.Last(ctx)
	if err != nil {
		return err
	}
	if err := r.bounds(last); err != nil {
		return err
	}
	// The commit before the first one wanted is read, too: it says what the first one must follow.
	for stored, err := range r.log.Read(ctx, max(r.from, 2)-1) {
		if err != nil {
			return err
		}
		if err := r.commit(stored); err != nil {
			return fmt.Errorf("replay revision=%d: %w", stored.Revision, err)
		}
		if stored.Revision >= r.to {
			break
		}
	}
	if r.head.Revision != r.to {
		return integrityError{fmt.Errorf("replay: the log gave nothing after revision %d", r.head.Revision)}
	}
	if known := r.known.Head(); known.Revision == r.head.Revision && known.Hash != r.head.Hash {
		return integrityError{fmt.Errorf("replay: revision %d has hash %s, the views know it with %s", known.Revision, r.head.Hash, known.Hash)}
	}
	return nil
}

// bounds settles the last revision. A replay that goes on may find that there is nothing new; then it reads no more
// than the commit it stopped at.
func (r *replay) bounds(last events.Revision) error {
	if r.after.known() && r.after.Revision > last {
		return integrityError{fmt.Errorf("replay: the log ends at revision %d, an earlier replay has read %d", last, r.after.Revision)}
	}
	if r.to == 0 {
		r.to = last
	}
	if r.after.known() {
		r.to = max(r.to, r.after.Revision)
	} else if r.from > last {
		return usagef("the log ends at revision %d", last)
	}
	if r.to > last {
		return usagef("the log ends at revision %d", last)
	}
	return nil
}

func (r *replay) commit(stored events.Stored) error {
	c, err := events.DecodeCommit(stored.Bytes)
	if err != nil {
		return err
	}
	if c.Revision != stored.Revision {
		return integrityError{fmt.Errorf("the commit says it is revision %d", c.Revision)}
	}
	if r.head.Revision > 0 || c.Revision == 1 {
		if err := r.head.Follows(c); err != nil {
			return err
		}
	}
	if r.after.known() && c.Revision == r.after.Revision && c.Hash != r.after.Hash {
		return integrityError{fmt.Errorf("it has hash %s, an earlier replay has read it with %s", c.Hash, r.after.Hash)}
	}
	r.head = c.Head()
	if c.Revision < r.from {
		return nil
	}
	for _, take := range r.each {
		if err := take(c); err != nil {
			return err
		}
	}
	r.commits++
	r.events += len(c.Events)
	return nil
}
