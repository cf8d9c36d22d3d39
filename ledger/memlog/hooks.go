package memlog

import "github.com/permledger/permledger/events"

// Outcome is what becomes of one write. The zero Outcome is Done.
type Outcome struct {
	kind  outcomeKind
	reads int // with keptLate
}

type outcomeKind int

const (
	done outcomeKind = iota
	refused
	lost
	kept
	keptLate
	cached
	failed
	failedKept
)

// The outcomes of a write; the package comment says what each does.
var (
	Done    = Outcome{kind: done}
	Refused = Outcome{kind: refused}
	Lost    = Outcome{kind: lost}
	Kept    = Outcome{kind: kept}

	// Cached lies: the write can be read back and is gone after Reopen.
	Cached = Outcome{kind: cached}
	// Failed and FailedKept are the last write of a store, which takes nothing any more until Reopen.
	Failed     = Outcome{kind: failed}
	FailedKept = Outcome{kind: failedKept}
)

// KeptLate is a write that is still under way when its writer hears that nobody knows. The next n reads
// (calls of Last or Read) do not see it. After them it arrives, unless another commit has taken its place.
func KeptLate(n int) Outcome { return Outcome{kind: keptLate, reads: n} }

// Hooks decide the outcome of writes. They are called without a lock held, so a hook may use the log
// itself: a Foreign commit from within Append is a race lost. Nil hooks mean Done.
type Hooks struct {
	Append func(head events.Revision, c events.Commit) Outcome
	Note   func(entry []byte) Outcome
}

func (h Hooks) append(head events.Revision, c events.Commit) Outcome {
	if h.Append == nil {
		return Done
	}
	return h.Append(head, c)
}

func (h Hooks) note(entry []byte) Outcome {
	if h.Note == nil {
		return Done
	}
	return h.Note(entry)
}
