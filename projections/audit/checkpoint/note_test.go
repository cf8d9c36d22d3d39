package checkpoint_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/audit/checkpoint"
)

// A text signed with the ledger's key is read back by that key, at the revisions it is valid, and is no checkpoint.
func TestSignNote(t *testing.T) {
	const text = "a text of ours\nrevision 7\n"
	signed, err := checkpoint.SignNote(ledger, text, key(1))
	if err != nil {
		t.Fatal(err)
	}
	open := func(signed string, at events.Revision, keys ...checkpoint.Key) error {
		return checkpoint.OpenNote([]byte(signed), keys, func(got string) (events.LedgerID, events.Revision, error) {
			if got != text {
				t.Errorf("read %q", got)
			}
			return ledger, at, nil
		})
	}
	until8 := checkpoint.NewKey(ledger, key(1).Public(), 1, 8)
	if err := open(string(signed), 7, until8); err != nil {
		t.Errorf("control: %v", err)
	}
	for name, err := range map[string]error{
		"another key":      open(string(signed), 7, checkpoint.NewKey(ledger, key(2).Public(), 0, 0)),
		"no key":           open(string(signed), 7),
		"a later revision": open(string(signed), 8, until8),
		"another text":     open(strings.Replace(string(signed), "ours", "mine", 1), 7, until8),
	} {
		if !errors.Is(err, checkpoint.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := checkpoint.Open(signed, checkpoint.Keys{until8}); err == nil {
		t.Error("it is taken for a checkpoint")
	}
	if _, err := checkpoint.SignNote(ledger, example(t).Text(), key(1)); err == nil {
		t.Error("a checkpoint is signed as a text")
	}
}
