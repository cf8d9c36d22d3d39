package events

import "github.com/google/uuid"

// PersonalKey names the key that texts about one principal, in one tenant, are sealed with. A principal has one at
// a time; once it is erased, texts about it are sealed with another.
type PersonalKey = uuid.UUID

// Sealed is text about a principal that is read with its personal key alone. The ledger chains, hashes and
// publishes the box as it is and never looks inside; with the key destroyed, the box is noise, and the chain, the
// proofs and every copy are what they were.
type Sealed struct {
	For Principal   `json:"for"`
	Key PersonalKey `json:"key"`
	Box []byte      `json:"box"` // base64 of the ciphertext
}

// Profile describes a user, client or mapping rule to people. Ids are pseudonyms; who is behind one is said here.
type Profile struct {
	Name        string `json:"name,omitempty"`
	Email       string `json:"email,omitempty"`
	Phone       string `json:"phone,omitempty"`
	Description string `json:"description,omitempty"`
}

// IsZero reports whether p says nothing.
func (p Profile) IsZero() bool { return p == Profile{} }

// SealedIn lists what is sealed in an event: why it was done, and what it says.
func SealedIn(r Recorded) []Sealed {
	var all []Sealed
	if r.Sealed != nil {
		all = append(all, *r.Sealed)
	}
	if e, ok := r.Event.(PrincipalDescribed); ok && e.Sealed != nil {
		all = append(all, *e.Sealed)
	}
	return all
}
