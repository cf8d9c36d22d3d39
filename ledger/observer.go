package ledger

import (
	"time"

	"github.com/permledger/permledger/events"
)

// Observer hears what the ledger does. All functions may be nil, and so may the Observer; they are called
// from the writer and must return soon.
type Observer struct {
	Committed func(events, bytes int, took time.Duration) // a commit is durable and applied; took is the whole cycle
	Refused   func(Code)                                  // a request was refused
	Conflict  func()                                      // somebody else's commit came first
	Unknown   func()                                      // nobody knows whether a commit is stored; it is being looked for
	Unnoted   func(error)                                 // the journal did not take an answer, or could not be read
	Halted    func(error)                                 // the log or the views are broken, or the store failed; nothing is stored any more
}

func (o *Observer) committed(c events.Commit, took time.Duration) {
	if o != nil && o.Committed != nil {
		o.Committed(len(c.Events), len(c.Bytes), took)
	}
}

func (o *Observer) refused(code Code) {
	if o != nil && o.Refused != nil {
		o.Refused(code)
	}
}

func (o *Observer) conflict() {
	if o != nil && o.Conflict != nil {
		o.Conflict()
	}
}

func (o *Observer) unknown() {
	if o != nil && o.Unknown != nil {
		o.Unknown()
	}
}

func (o *Observer) unnoted(err error) {
	if o != nil && o.Unnoted != nil {
		o.Unnoted(err)
	}
}

func (o *Observer) halted(err error) {
	if o != nil && o.Halted != nil {
		o.Halted(err)
	}
}
