package checkpoint

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/permledger/permledger/events"
)

// SignNote signs a text that is no checkpoint with the ledger's key, as a signed note. A checkpoint begins with its
// origin, so the text must begin with something else: neither can then be taken for the other.
func SignNote(l events.LedgerID, text string, key events.Signer) ([]byte, error) {
	if strings.HasPrefix(text, originPrefix) {
		return nil, errors.New("sign a note: it begins as a checkpoint does")
	}
	s, err := newSigner(l, key)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: text}, s)
}

// OpenNote reads what SignNote made. parse gives the ledger and the revision that the text is about: it must be signed
// by the one of keys that was valid then, or the error is ErrSignature.
func OpenNote(signed []byte, keys Keys, parse func(text string) (events.LedgerID, events.Revision, error)) error {
	opened, err := openNote(signed, keys)
	if err != nil {
		return err
	}
	l, at, err := parse(opened.Text)
	if err != nil {
		return err
	}
	return keys.signed(Checkpoint{Ledger: l, Revision: at}, opened.Sigs)
}

// openNote verifies the signatures of a note, and believes nothing of its text yet.
func openNote(signed []byte, keys Keys) (*note.Note, error) {
	opened, err := note.Open(signed, note.VerifierList(keys.verifiers()...))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return nil, fmt.Errorf("%w: no known key signed it; %s", ErrSignature, keys.whose(unverified.Note))
	case errors.As(err, &invalid):
		return nil, fmt.Errorf("%w: it was changed after it was signed", ErrSignature)
	case err != nil:
		return nil, err // "malformed note"
	}
	return opened, nil
}

// whose says in words of which ledger a note is that none of the keys signed, and what may be the matter.
func (keys Keys) whose(n *note.Note) string {
	origin, _, _ := strings.Cut(n.Text, "\n")
	for _, s := range n.UnverifiedSigs { // what is no checkpoint names the ledger only where it is signed
		if !isOrigin(origin) && isOrigin(s.Name) {
			origin = s.Name
		}
	}
	if !isOrigin(origin) {
		return "it does not say that it is a ledger's"
	}
	said, own := "it says that it is of "+origin, len(keys) == 0
	for _, k := range keys {
		if name := k.verifier.Name(); name == origin {
			own = true
		} else if other := "a key that was given is of another, " + name; !strings.Contains(said, other) {
			said += "; " + other
		}
	}
	if !own {
		return said
	}
	return said + "; if the key was replaced, permledger key list prints the new one, and an audit pack that spans the replacement proves it"
}

func isOrigin(name string) bool {
	var l events.LedgerID
	id, ok := strings.CutPrefix(name, originPrefix)
	return ok && l.UnmarshalText([]byte(id)) == nil && Origin(l) == name
}
