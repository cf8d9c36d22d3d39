package api

import (
	"fmt"

	"github.com/permledger/permledger/events"
)

// VerifyRequest asks the server to hold its log against its archive against its tree.
type VerifyRequest struct {
	Known []KeptMark `json:"known,omitempty"` // kept elsewhere: checkpoints whose signature the asker has verified
}

// KeptMark is what somebody kept of the ledger.
type KeptMark struct {
	Name     string          `json:"name"`
	Ledger   events.LedgerID `json:"ledger"`
	Revision events.Revision `json:"revision"`
	Hash     events.Hash     `json:"hash"` // of that commit
	Position events.Position `json:"position"`
	Root     events.Hash     `json:"root"` // of the tree of so many events
}

// Verified is a line of the answer to a VerifyRequest: how far it is, and in the last one what it found.
type Verified struct {
	Revision events.Revision `json:"revision"`
	Of       events.Revision `json:"of"`
	Report   *VerifyReport   `json:"report,omitempty"`
}

// VerifyReport says what a verification found.
type VerifyReport struct {
	Whole    bool            `json:"whole"`
	Ledger   events.LedgerID `json:"ledger"`
	Revision events.Revision `json:"revision"` // the last one that is sound, on one side at least
	Head     events.Hash     `json:"head_hash"`
	Position events.Position `json:"position"`
	Root     events.Hash     `json:"root"` // of the tree
	Faults   []VerifyFault   `json:"faults"`
	Outside  int             `json:"outside"`         // checkpoints from elsewhere that it was held against
	Alone    bool            `json:"alone,omitempty"` // there were no views, so the log was held against no archive and no tree
}

// VerifyFault is the first fault of a side.
type VerifyFault struct {
	Side     string          `json:"side"` // log, archive, tree, checkpoint, fork or store
	Revision events.Revision `json:"revision"`
	Why      string          `json:"why"`
	Count    int             `json:"count"` // how much of that side is bad, as far as was looked
}

func (f VerifyFault) String() string {
	if f.Revision == 0 { // of the store as such
		return fmt.Sprintf("%s: %s", f.Side, f.Why)
	}
	return fmt.Sprintf("revision %d, %s: %s", f.Revision, f.Side, f.Why)
}

// DecodeVerifyRequest reads a VerifyRequest strictly.
func DecodeVerifyRequest(b []byte) (r VerifyRequest, err error) {
	if err := CheckJSON(b); err != nil {
		return r, err
	}
	return r, decodeValue("", b, &r)
}
