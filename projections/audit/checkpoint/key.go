package checkpoint

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/permledger/permledger/events"
)

// Key is a key of a ledger and when it is valid: it signs the checkpoints of the revisions [From, Until).
// Until is 0 for the key in use. A key that was replaced signs nothing of later revisions, and the key that
// replaced it nothing of earlier ones, whoever has it.
type Key struct {
	Verifier string // as VerifierKey writes it
	From     events.Revision
	Until    events.Revision

	verifier note.Verifier
}

// Keys are what somebody trusts. The zero value trusts nothing.
type Keys []Key

// ParseKeys reads a list of keys: one a line, the verifier key and, if it is bounded, the first and the last
// revision it is valid at. "-" is no bound; blank lines and lines that start with "#" are passed over.
//
//	permledger.dev/ledger/019c…+3f2a9c10+AQ… 1 41
//	permledger.dev/ledger/019c…+77b0e5d2+AR… 42 -
func ParseKeys(text string) (Keys, error) {
	var keys Keys
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		k, err := parseKey(fields)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, events.Invalid("key", text, "must have a verifier key, as permledger key list prints it")
	}
	return keys, nil
}

func parseKey(fields []string) (k Key, err error) {
	k.Verifier = fields[0]
	if k.verifier, err = note.NewVerifier(k.Verifier); err != nil {
		return Key{}, events.Invalid("key", k.Verifier, "must be a verifier key, as permledger key list prints it")
	}
	switch len(fields) {
	case 1:
		return k, nil
	case 3:
	default:
		return Key{}, events.Invalid("key", strings.Join(fields, " "), "must be a verifier key, alone or with its first and last revision")
	}
	first, errFirst := bound(fields[1])
	last, errLast := bound(fields[2])
	if errFirst != nil || errLast != nil || last != 0 && last < first {
		return Key{}, events.Invalid("key", strings.Join(fields[1:], " "), "must be its first and last revision, or - for no bound")
	}
	k.From = first
	if last != 0 {
		k.Until = last + 1
	}
	return k, nil
}

func bound(s string) (events.Revision, error) {
	if s == "-" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return events.Revision(n), err
}

// NewKey is a key of a ledger, valid from a revision until another.
func NewKey(l events.LedgerID, key events.PublicKey, from, until events.Revision) Key {
	k := Key{Verifier: VerifierKey(l, key), From: from, Until: until}
	k.verifier, _ = note.NewVerifier(k.Verifier) // it was just made
	return k
}

// String is k as ParseKeys reads it.
func (k Key) String() string {
	first, last := "-", "-"
	if k.From > 0 {
		first = strconv.FormatUint(uint64(k.From), 10)
	}
	if k.Until > 0 {
		last = strconv.FormatUint(uint64(k.Until-1), 10)
	}
	return k.Verifier + " " + first + " " + last
}

func (k Key) valid(r events.Revision) bool { return k.From <= r && (k.Until == 0 || r < k.Until) }

// Has reports whether a key is one of a ledger's that is valid at a revision.
func (keys Keys) Has(l events.LedgerID, key events.PublicKey, r events.Revision) bool {
	verifier := VerifierKey(l, key)
	for _, k := range keys {
		if k.Verifier == verifier && k.valid(r) {
			return true
		}
	}
	return false
}

func (keys Keys) verifiers() []note.Verifier {
	seen, all := map[string]bool{}, make([]note.Verifier, 0, len(keys))
	for _, k := range keys {
		if !seen[k.Verifier] { // a list with a key twice is ambiguous to package note
			seen[k.Verifier] = true
			all = append(all, k.verifier)
		}
	}
	return all
}

// signed reports whether one of the verified signatures is by a key of the checkpoint's ledger, valid at its
// revision.
func (keys Keys) signed(c Checkpoint, verified []note.Signature) error {
	why := fmt.Errorf("%w: the key is another ledger's", ErrSignature)
	for _, s := range verified {
		for _, k := range keys {
			switch {
			case k.verifier.Name() != s.Name || k.verifier.KeyHash() != s.Hash || s.Name != Origin(c.Ledger):
			case k.valid(c.Revision):
				return nil
			default:
				why = fmt.Errorf("%w: the key that signed it is not valid at revision %d", ErrSignature, c.Revision)
			}
		}
	}
	return why
}
