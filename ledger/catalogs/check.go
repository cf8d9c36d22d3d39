package catalogs

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/permledger/permledger/events"
)

// The longest texts, in bytes: those on one line, and descriptions. The ledger takes no longer ones.
const (
	maxText        = 256
	maxDescription = 4096
)

func text(at, s string) error        { return events.CheckText(at, s, maxText) }
func description(at, s string) error { return events.CheckText(at, s, maxDescription) }

// place makes an error about a value one about a place in the file.
func place(at string, err error) error {
	var invalid *events.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	return &events.InvalidError{Field: at, Value: invalid.Value, Rule: invalid.Rule}
}

func duplicate(at, value string) error {
	return events.Invalid(at, value, "stands there before")
}

// unique refuses a value that was seen, and remembers one that was not.
func unique(at, value string, seen map[string]bool) error {
	if seen[value] {
		return duplicate(at, value)
	}
	seen[value] = true
	return nil
}

// distinctIDs checks a list of identifiers.
func distinctIDs(at string, list []string) error {
	seen := map[string]bool{}
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", at, i)
		if err := cmp.Or(events.CheckID(at, s), unique(at, s, seen)); err != nil {
			return err
		}
	}
	return nil
}
