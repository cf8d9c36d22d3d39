package api

import (
	"fmt"
	"net/http"
)

// Code names a failure. Codes are stable; clients switch on them and show Detail to people.
type Code string

// What may be wrong with a request, whatever the state of the ledger.
const (
	CodeInvalid              Code = "invalid"
	CodeBadJSON              Code = "bad_json"
	CodeBodyTooLarge         Code = "body_too_large"
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeBadPageToken         Code = "bad_page_token"
	CodeMethodNotAllowed     Code = "method_not_allowed"
	CodeNotFound             Code = "not_found"
	CodeUnauthenticated      Code = "unauthenticated"
	CodeForbidden            Code = "forbidden"
	CodeTooManyPaths         Code = "too_many_paths"
	CodeOtherHistory         Code = "other_history"
)

// The rules of the ledger that a command may break.
const (
	CodeUnknownTenant       Code = "unknown_tenant"
	CodeTenantDeleted       Code = "tenant_deleted"
	CodeUnknownCatalog      Code = "unknown_catalog"
	CodeUnknownAPI          Code = "unknown_api"
	CodeUnknownPermission   Code = "unknown_permission"
	CodeUnknownType         Code = "unknown_type"
	CodeUnknownRole         Code = "unknown_role"
	CodeUnknownGroup        Code = "unknown_group"
	CodeUnknownFact         Code = "unknown_fact"
	CodeExists              Code = "exists"
	CodeAmbiguousPermission Code = "ambiguous_permission"
	CodeNotOnType           Code = "not_on_type"
	CodeWrongScope          Code = "wrong_scope"
	CodeOtherAPI            Code = "other_api"
	CodeCycle               Code = "cycle"
	CodeLastAdministrator   Code = "last_administrator"
	CodeBeforeFirstDay      Code = "before_first_day"
	CodeEmptyInterval       Code = "empty_interval"
	CodeNotYet              Code = "not_yet"
	CodeAlready             Code = "already"
	CodeAbsent              Code = "absent"
	CodePreconditionFailed  Code = "precondition_failed"
	CodeKeyConflict         Code = "key_conflict"
	CodeTooLarge            Code = "too_large"
)

// What may be wrong with the server.
const (
	CodeConflict       Code = "conflict"
	CodeBehind         Code = "behind"
	CodeUnavailable    Code = "unavailable"
	CodeNoSpace        Code = "no_space"
	CodeClock          Code = "clock"
	CodeOutcomeUnknown Code = "outcome_unknown"
	CodeHalted         Code = "halted"
	CodeCorrupt        Code = "corrupt"
	CodeInternal       Code = "internal"
)

// Retry says whether sending the same request again may help.
type Retry string

const (
	RetryNever           Retry = "never"
	RetryLater           Retry = "later"
	RetryAfterCatchingUp Retry = "after catching up" // look at the present state first, then decide again
)

// Entry is what the catalogue says of a code.
type Entry struct {
	Code    Code
	Status  int // of HTTP
	Retry   Retry
	Meaning string // one plain sentence
}

// Catalogue lists every code the server answers with. docs/errors.md is printed from it.
var Catalogue = []Entry{
	{CodeInvalid, http.StatusBadRequest, RetryNever, "A member or parameter is malformed, missing or not known; field names it."},
	{CodeBadJSON, http.StatusBadRequest, RetryNever, "The body is not one whole JSON value, or holds a name twice."},
	{CodeBodyTooLarge, http.StatusRequestEntityTooLarge, RetryNever, "The body is larger than the server takes."},
	{CodeUnsupportedMediaType, http.StatusUnsupportedMediaType, RetryNever, "The body must be application/json and not compressed."},
	{CodeBadPageToken, http.StatusBadRequest, RetryNever, "The page token is not one this ledger gave out for this listing."},
	{CodeMethodNotAllowed, http.StatusMethodNotAllowed, RetryNever, "The resource does not take this method."},
	{CodeNotFound, http.StatusNotFound, RetryNever, "There is nothing of that name, then and there."},
	{CodeUnauthenticated, http.StatusUnauthorized, RetryNever, "The request carries no credential, or one the server does not accept."},
	{CodeForbidden, http.StatusForbidden, RetryNever, "The caller may not do this."},
	{CodeTooManyPaths, http.StatusUnprocessableEntity, RetryNever, "There are more paths than an explanation lists; it would not be whole."},
	{CodeOtherHistory, http.StatusConflict, RetryNever, "The checkpoint is not of this ledger's history: the one or the other was changed."},

	{CodeUnknownTenant, http.StatusNotFound, RetryNever, "There is no such tenant."},
	{CodeTenantDeleted, http.StatusConflict, RetryNever, "The tenant was deleted, and its name is not used again."},
	{CodeUnknownCatalog, http.StatusUnprocessableEntity, RetryNever, "There is no such catalog."},
	{CodeUnknownAPI, http.StatusUnprocessableEntity, RetryNever, "No API has this audience or id."},
	{CodeUnknownPermission, http.StatusUnprocessableEntity, RetryNever, "The API has no such permission."},
	{CodeUnknownType, http.StatusUnprocessableEntity, RetryNever, "There is no such resource type."},
	{CodeUnknownRole, http.StatusUnprocessableEntity, RetryNever, "There is no such role."},
	{CodeUnknownGroup, http.StatusUnprocessableEntity, RetryNever, "There is no such group."},
	{CodeUnknownFact, http.StatusUnprocessableEntity, RetryNever, "There is no such fact."},
	{CodeExists, http.StatusConflict, RetryNever, "It exists already and differs."},
	{CodeAmbiguousPermission, http.StatusUnprocessableEntity, RetryNever, "Several APIs of this audience have the permission; name the API by its id."},
	{CodeNotOnType, http.StatusUnprocessableEntity, RetryNever, "The resource type does not take this permission."},
	{CodeWrongScope, http.StatusUnprocessableEntity, RetryNever, "The resource type or permission does not take this form of scope."},
	{CodeOtherAPI, http.StatusUnprocessableEntity, RetryNever, "The resource type belongs to another API."},
	{CodeCycle, http.StatusConflict, RetryNever, "A role or group would be inside itself."},
	{CodeLastAdministrator, http.StatusConflict, RetryNever, "Somebody must administer the ledger."},
	{CodeBeforeFirstDay, http.StatusUnprocessableEntity, RetryNever, "It starts before the ledger did, and the request does not say it is an import."},
	{CodeEmptyInterval, http.StatusUnprocessableEntity, RetryNever, "It would end before it starts."},
	{CodeNotYet, http.StatusUnprocessableEntity, RetryNever, "This cannot start or end in the future."},
	{CodeAlready, http.StatusConflict, RetryNever, "It is so already, and the request is strict."},
	{CodeAbsent, http.StatusConflict, RetryNever, "It is not there, and the request is strict."},
	{CodePreconditionFailed, http.StatusPreconditionFailed, RetryAfterCatchingUp, "Something changed since the version the request expects."},
	{CodeKeyConflict, http.StatusConflict, RetryNever, "The idempotency key was used for another request."},
	{CodeTooLarge, http.StatusRequestEntityTooLarge, RetryNever, "The request does not fit one commit; send it in parts."},

	{CodeConflict, http.StatusConflict, RetryAfterCatchingUp, "Another writer was first; nothing was stored."},
	{CodeBehind, http.StatusServiceUnavailable, RetryLater, "The server has not applied the revision asked for yet."},
	{CodeUnavailable, http.StatusServiceUnavailable, RetryLater, "Nothing was done; the server cannot do it at the moment."},
	{CodeNoSpace, http.StatusInsufficientStorage, RetryLater, "Nothing was recorded; the server's disk is too full for it. What only takes away is recorded longest."},
	{CodeClock, http.StatusServiceUnavailable, RetryLater, "Nothing was recorded; the server's clock cannot be trusted at the moment."},
	{CodeOutcomeUnknown, http.StatusGatewayTimeout, RetryLater, "The request may or may not have been carried out; send it again with the same idempotency key to learn which."},
	{CodeHalted, http.StatusServiceUnavailable, RetryNever, "The server met a commit it must not apply and answers nothing until an operator has looked."},
	{CodeCorrupt, http.StatusInternalServerError, RetryNever, "The log is not what it was; nothing may be answered from it."},
	{CodeInternal, http.StatusInternalServerError, RetryNever, "The server failed in a way it does not know; its log has the request id."},
}

// Lookup finds what the catalogue says of a code.
func Lookup(code Code) (_ Entry, ok bool) {
	for _, e := range Catalogue {
		if e.Code == code {
			return e, true
		}
	}
	return Entry{}, false
}

// ErrorType is the stable URI of a code.
func ErrorType(code Code) string { return "https://permledger.dev/errors/" + string(code) }

// Error is the body of every answer that is not a success (RFC 9457, application/problem+json), and the
// error a Client returns for it.
type Error struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"` // what was wrong this time, for people
	Code     Code   `json:"code"`
	Field    string `json:"field,omitempty"`    // the member or parameter at fault
	Instance string `json:"instance,omitempty"` // the request id
}

// NewError builds the error of a catalogued code; an unknown code becomes CodeInternal.
func NewError(code Code, detail string) *Error {
	e, ok := Lookup(code)
	if !ok {
		e, _ = Lookup(CodeInternal)
	}
	return &Error{Type: ErrorType(e.Code), Title: e.Meaning, Status: e.Status, Detail: detail, Code: e.Code}
}

func (e *Error) Error() string {
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	return fmt.Sprintf("%s: %s", e.Code, text)
}

// Is makes errors.Is match by code: errors.Is(err, &Error{Code: CodeCycle}).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Retry says whether sending the same request again may help. A code this build does not know is judged by
// its status.
func (e *Error) Retry() Retry {
	if entry, ok := Lookup(e.Code); ok {
		return entry.Retry
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return RetryLater
	}
	return RetryNever
}
