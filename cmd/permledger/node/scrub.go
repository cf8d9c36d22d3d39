package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections/audit"
)

// The scrubber walks the log against the archive against the tree while the ledger serves, a stride at a time.
// The chain is checked when a commit is applied; after that the disk may change what nobody reads for years.
//
// A fault halts the projector, and with it the ledger: nothing is answered and nothing written until somebody has
// looked. One could think of less. With a damaged log and whole views, questions could go on; but writes could
// not, and views that are lost next could not be made again. With a damaged archive or tree, questions about now
// could go on; but history and proofs come from there, and which rows the same disk damaged besides is not known.
// A ledger that is half there would answer today what it may have to take back tomorrow, and repair takes
// minutes. So it halts whatever is bad, and says what.
//
// What it found is kept in scrub.json, and looked at again before the node next serves: restarting mends nothing.

// Scrubbed is how far the scrubber is.
type Scrubbed struct {
	Revision events.Revision `json:"revision"`         // all up to it is verified in this pass
	At       events.Instant  `json:"at,omitzero"`      // when the last stride ended
	Passes   uint64          `json:"passes,omitempty"` // over the whole ledger, since the first start
	Fault    string          `json:"fault,omitempty"`  // what was found, at Revision+1 or before
	Faulty   events.Revision `json:"faulty,omitempty"` // where; 0: in a file that the feed or the journal has
}

type scrubber struct {
	mu sync.Mutex
	Scrubbed
}

// Scrubs reports whether the scrubber runs.
func (n *Node) Scrubs() bool { return n.config.ScrubInterval > 0 && !n.config.Offline }

// Scrubbed is how far the scrubber is.
func (n *Node) Scrubbed() Scrubbed {
	n.scrub.mu.Lock()
	defer n.scrub.mu.Unlock()
	return n.scrub.Scrubbed
}

func (n *Node) setScrubbed(s Scrubbed) error {
	n.scrub.mu.Lock()
	defer n.scrub.mu.Unlock()
	n.scrub.Scrubbed = s
	if n.config.Memory {
		return nil
	}
	return writePending(n.config.Dir, scrubName, s)
}

const (
	scrubName = "scrub.json"

	scrubPass = 24 * time.Hour // over the whole ledger
	minStride = 1000           // revisions: a small ledger is done sooner
)

// stride is how many revisions at a time make a pass over all of them.
func stride(all events.Revision, interval time.Duration) events.Revision {
	strides := max(events.Revision(scrubPass/interval), 1)
	return max((all+strides-1)/strides, minStride)
}

func (n *Node) keepScrubbing(ctx context.Context) {
	tick := time.NewTicker(n.config.ScrubInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := n.Scrub(ctx)
		switch {
		case ctx.Err() != nil || n.Projector.Halted() != nil:
			return
		case err != nil:
			n.config.Logger.Warn("the scrubber could not look", "error", err)
		}
	}
}

// Scrub takes one stride. Its error says that it could not look; what it found halts the projector.
func (n *Node) Scrub(ctx context.Context) error {
	s := n.Scrubbed()
	head := n.Projector.Head().Revision
	from := s.Revision + 1
	if from > head {
		from = 1
	}
	to := from + stride(head, max(n.config.ScrubInterval, time.Second)) - 1
	if to >= head {
		to = 0 // to the very end, and what comes behind
	}
	report, err := n.Verify(ctx, audit.Verification{From: from, To: to})
	if err != nil {
		return err
	}
	s.At = events.At(n.clock.now())
	if err := report.Err(); err != nil {
		s.Fault, s.Faulty = report.Faults[0].String(), report.Faults[0].Revision
		return n.foundFault(s, err)
	}
	if to == 0 { // the pass is over
		err := n.checkFiles(ctx)
		if errors.Is(err, ledger.ErrCorrupt) {
			s.Fault = err.Error()
			return n.foundFault(s, err)
		}
		if err != nil {
			return err
		}
	}
	s.Revision = report.Head.Revision
	if to == 0 {
		s.Passes++
	}
	return n.setScrubbed(s)
}

// VerifyNow verifies for whoever asks, and looks at the rest of the store, too. What is wrong with the ledger itself
// halts it, as it does when the scrubber comes to it, and even if not everything could be looked at; that a
// checkpoint from elsewhere does not fit is for whoever brought it to look into.
func (n *Node) VerifyNow(ctx context.Context, v audit.Verification) (audit.Report, error) {
	report, err := n.Verify(ctx, v)
	if err != nil {
		return report, err
	}
	store := n.checkFiles(ctx)
	if errors.Is(store, ledger.ErrCorrupt) {
		if !report.Bad(audit.SideLog) { // whose blocks are a part of it
			report.Faults = append(report.Faults, audit.Fault{Side: audit.SideStore, Why: store.Error(), Count: 1})
		}
		store = nil
	}
	own := report.Faults
	if report.Bad(audit.SideCheckpoint) && len(v.Known) > 0 { // whose checkpoint is it?
		without, err := n.Verify(ctx, audit.Verification{From: v.From, To: v.To})
		if err != nil {
			return report, err
		}
		own = slices.DeleteFunc(slices.Clone(own), func(f audit.Fault) bool { return f.Side == audit.SideCheckpoint })
		own = append(own, without.Faults...)
	}
	if len(own) > 0 {
		s := n.Scrubbed()
		s.Fault, s.Faulty = own[0].String(), own[0].Revision
		return report, errors.Join(n.foundFault(s, fmt.Errorf("%w: %s", events.ErrBroken, own[0])), store)
	}
	return report, store
}

// foundFault halts the projector, and keeps what was found.
func (n *Node) foundFault(s Scrubbed, fault error) error {
	halted := n.Projector.Halt(fmt.Errorf("the scrubber found a fault; \"permledger verify\" says more, \"permledger repair\" mends it: %w", fault))
	n.config.Logger.Error("the ledger is not what it was", "error", halted)
	return n.setScrubbed(s)
}

// checkFiles looks at what else is in the store of the log: the journal and the feed, which no walk over commits
// reads, and the blocks of the log as the server would meet them.
func (n *Node) checkFiles(ctx context.Context) error {
	if n.Server == nil {
		return nil
	}
	return n.Server.CheckFiles(ctx)
}

// rescrub goes on where the scrubber was. What it found must not be there any more.
func (n *Node) rescrub(ctx context.Context) error {
	if n.config.Memory || n.config.Offline {
		return nil
	}
	var s Scrubbed
	if _, err := readPending(n.config.Dir, scrubName, &s); err != nil {
		n.config.Logger.Warn("the scrubber starts over", "error", err)
		s = Scrubbed{}
	}
	if s.Revision > n.Projector.Head().Revision { // another log was accepted
		s = Scrubbed{}
	}
	if s.Fault != "" {
		report, err := n.Verify(ctx, audit.Verification{From: s.Faulty, To: s.Faulty})
		if err == nil {
			err = report.Err()
		}
		if err == nil {
			err = n.checkFiles(ctx)
		}
		if !report.Whole() || errors.Is(err, ledger.ErrCorrupt) {
			err = fmt.Errorf("%w: the scrubber found a fault, and it is still there; \"permledger repair\" mends it: %w", ledger.ErrCorrupt, err)
		}
		if err != nil {
			return err
		}
		s = Scrubbed{} // mended: what else there was is looked for from the start
	}
	n.scrub.Scrubbed = s
	return nil
}

// forgetScrub is for what was repaired.
func forgetScrub(dir string) error {
	if !exists(filepath.Join(dir, scrubName)) {
		return nil
	}
	return removePending(dir, scrubName)
}
