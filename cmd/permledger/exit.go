package main

import (
	"errors"
	"fmt"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/projections"
	"github.com/permledger/permledger/projections/audit/checkpoint"
	"github.com/permledger/permledger/projections/audit/tiles"
	"github.com/permledger/permledger/projections/pebblekv"
)

// exit is how a verb ends. A script reads it as the answer: a "no" is never an error, and an error is
// never a "no".
type exit int

const (
	exitYes       exit = 0 // yes, or done
	exitNo        exit = 1 // no: not allowed to do it, there are differences, something was rejected
	exitUsage     exit = 2 // the request makes no sense here: bad flags, bad ids, unknown names
	exitServer    exit = 3 // the server, the network or the disk: trying later may help
	exitForbidden exit = 4 // the caller is not known or may not do this
	exitConflict  exit = 5 // the ledger is not in the state the request needs
	exitIntegrity exit = 6 // the log or a view is not what it was
)

// errNo ends a verb with exitNo. Its answer has been printed.
var errNo = errors.New("no")

// usageError is a request that was not sent, because it makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// integrityError is a fault found by looking at the data itself.
type integrityError struct{ error }

func (e integrityError) Unwrap() error { return e.error }

// exits maps every code of the catalogue; a test holds it complete.
var exits = map[api.Code]exit{
	api.CodeInvalid:              exitUsage,
	api.CodeBadJSON:              exitUsage,
	api.CodeBodyTooLarge:         exitUsage,
	api.CodeUnsupportedMediaType: exitUsage,
	api.CodeBadPageToken:         exitUsage,
	api.CodeMethodNotAllowed:     exitUsage,
	api.CodeNotFound:             exitUsage,
	api.CodeUnknownTenant:        exitUsage,
	api.CodeUnknownCatalog:       exitUsage,
	api.CodeUnknownAPI:           exitUsage,
	api.CodeUnknownPermission:    exitUsage,
	api.CodeUnknownType:          exitUsage,
	api.CodeUnknownRole:          exitUsage,
	api.CodeUnknownGroup:         exitUsage,
	api.CodeUnknownFact:          exitUsage,
	api.CodeAmbiguousPermission:  exitUsage,
	api.CodeNotOnType:            exitUsage,
	api.CodeWrongScope:           exitUsage,
	api.CodeOtherAPI:             exitUsage,
	api.CodeBeforeFirstDay:       exitUsage,
	api.CodeEmptyInterval:        exitUsage,
	api.CodeNotYet:               exitUsage,
	api.CodeTooLarge:             exitUsage,
	api.CodeTooManyPaths:         exitUsage,

	api.CodeUnavailable:    exitServer,
	api.CodeNoSpace:        exitServer,
	api.CodeClock:          exitServer,
	api.CodeBehind:         exitServer,
	api.CodeOutcomeUnknown: exitServer,
	api.CodeInternal:       exitServer,

	api.CodeUnauthenticated: exitForbidden,
	api.CodeForbidden:       exitForbidden,

	api.CodeExists:             exitConflict,
	api.CodeTenantDeleted:      exitConflict,
	api.CodeCycle:              exitConflict,
	api.CodeLastAdministrator:  exitConflict,
	api.CodeAlready:            exitConflict,
	api.CodeAbsent:             exitConflict,
	api.CodePreconditionFailed: exitConflict,
	api.CodeKeyConflict:        exitConflict,
	api.CodeConflict:           exitConflict,

	api.CodeOtherHistory: exitIntegrity,

	api.CodeHalted:  exitIntegrity,
	api.CodeCorrupt: exitIntegrity,
}

// exitOf gives the exit for an error. What nobody has a word for is the server, the network or the disk.
func exitOf(err error) exit {
	var answered *api.Error
	var invalid *events.InvalidError
	var usage usageError
	var integrity integrityError
	switch {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	case errors.As(err, &usage), errors.As(err, &invalid):
		return exitUsage
	case errors.As(err, &answered):
		if e, ok := exits[answered.Code]; ok {
			return e
		}
		return exitServer
	case errors.As(err, &integrity), errors.Is(err, events.ErrBroken), errors.Is(err, events.ErrMalformed),
		errors.Is(err, events.ErrUnknownEvent), errors.Is(err, ledger.ErrCorrupt), errors.Is(err, projections.ErrHalted),
		errors.Is(err, projections.ErrDiffers), errors.Is(err, pebblekv.ErrDamaged), errors.Is(err, checkpoint.ErrSignature),
		errors.Is(err, checkpoint.ErrUnproved), errors.Is(err, tiles.ErrTampered):
		return exitIntegrity
	}
	return exitServer
}
