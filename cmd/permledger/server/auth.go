package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"github.com/permledger/permledger/events"
)

// Caller is who sends a request, as its credential proves it.
type Caller struct {
	Principal     events.Principal
	Method        string // how it proved itself: "root-token"
	Administrator bool   // may do everything; nobody else may do anything yet
}

// ErrNoCredential: the request carries none, or one that is not accepted. The two are not told apart.
var ErrNoCredential = errors.New("no valid credential")

// Authenticator finds the caller of a request. ErrNoCredential means the caller is not known; any other
// error means that it could not be found out.
type Authenticator interface {
	Authenticate(*http.Request) (Caller, error)
}

// RootToken accepts one bearer token, which is that of an administrator.
type RootToken struct {
	hash   [sha256.Size]byte
	caller Caller
}

// NewRootToken accepts token as that of p.
func NewRootToken(token string, p events.Principal) *RootToken {
	return &RootToken{
		hash:   sha256.Sum256([]byte(token)),
		caller: Caller{Principal: p, Method: "root-token", Administrator: true},
	}
}

// Authenticate compares hashes, which are of one length, in constant time.
func (t *RootToken) Authenticate(r *http.Request) (Caller, error) {
	token, ok := bearer(r)
	if !ok {
		return Caller{}, ErrNoCredential
	}
	hash := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(hash[:], t.hash[:]) != 1 {
		return Caller{}, ErrNoCredential
	}
	return t.caller, nil
}

// bearer gives the token of "Authorization: Bearer TOKEN". A request with two such headers has none.
func bearer(r *http.Request) (string, bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	scheme, token, found := strings.Cut(headers[0], " ")
	token = strings.TrimSpace(token)
	return token, found && token != "" && strings.EqualFold(scheme, "bearer")
}
