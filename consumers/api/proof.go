package api

import (
	"strconv"

	"github.com/permledger/permledger/events"
)

// Key is a key of the ledger and the revisions whose checkpoints it signs: from From on, and before Until.
type Key struct {
	Key   string          `json:"key"` // as signed notes write it
	From  events.Revision `json:"from"`
	Until events.Revision `json:"until,omitempty"` // absent: the key in use
}

// String is k as a line of a file of keys: the key, its first revision and its last, or "-".
func (k Key) String() string {
	last := "-"
	if k.Until > 0 {
		last = strconv.FormatUint(uint64(k.Until-1), 10)
	}
	return k.Key + " " + strconv.FormatUint(uint64(k.From), 10) + " " + last
}

// Keys answers GET /v1/keys: the keys of the ledger, oldest first.
type Keys struct {
	Revision events.Revision `json:"revision"`
	Keys     []Key           `json:"keys"`
}

// KeyRotation is the body of POST /v1/keys/rotate.
type KeyRotation struct {
	Reason     string           `json:"reason,omitempty"`
	Ticket     string           `json:"ticket,omitempty"`
	OnBehalfOf events.Principal `json:"on_behalf_of,omitzero"`
	RequestID  string           `json:"request_id,omitempty"`
}

// DecodeKeyRotation reads a KeyRotation and refuses members it does not know.
func DecodeKeyRotation(b []byte) (r KeyRotation, err error) {
	if err := CheckJSON(b); err != nil {
		return r, err
	}
	return r, decodeValue("", b, &r)
}
