package ledger

import "github.com/permledger/permledger/events"

// noticeBatch is how many starts and ends one request records: few enough to fit the smallest commit a log
// takes, whatever their ids.
const noticeBatch = 200

// newNotice is the ledger's own request: to record the starts and ends that have come. Which these are is
// settled when it is decided, so that none is recorded twice.
func newNotice() *job {
	return &job{
		req:    Request{Meta: events.Meta{Actor: events.Client("permledger"), Origin: events.OriginLedger}},
		notice: true,
		done:   make(chan struct{}),
	}
}

func dueCommands(due []Due) []Command {
	commands := make([]Command, len(due))
	for i, d := range due {
		commands[i] = recordDue{d}
	}
	return commands
}
