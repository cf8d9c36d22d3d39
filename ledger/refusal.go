package ledger

import "fmt"

// Code names the rule a request broke. Codes are stable; clients switch on them. Every code stands in
// consumers/api with its HTTP status, whether to try again, and one plain sentence.
type Code string

const (
	CodeInvalid            Code = "invalid"              // a field is malformed; also events.InvalidError
	CodeUnknownTenant      Code = "unknown_tenant"       // no such tenant
	CodeTenantDeleted      Code = "tenant_deleted"       // a tenant's name is not used again
	CodeUnknownCatalog     Code = "unknown_catalog"      // no such catalog
	CodeUnknownAPI         Code = "unknown_api"          // no API has this audience
	CodeUnknownPermission  Code = "unknown_permission"   // the API has no such permission
	CodeUnknownType        Code = "unknown_type"         // no such resource type
	CodeUnknownRole        Code = "unknown_role"         // no such role
	CodeUnknownGroup       Code = "unknown_group"        // no such group
	CodeUnknownFact        Code = "unknown_fact"         // no such fact
	CodeExists             Code = "exists"               // it exists already and differs
	CodeAmbiguous          Code = "ambiguous_permission" // several APIs of the audience have it
	CodeNotOnType          Code = "not_on_type"          // the resource type does not take this permission
	CodeWrongScope         Code = "wrong_scope"          // the type or permission does not take this form of scope
	CodeOtherAPI           Code = "other_api"            // the type belongs to another API
	CodeCycle              Code = "cycle"                // it would be below or inside itself
	CodeLastAdministrator  Code = "last_administrator"   // somebody must administer the ledger
	CodeBeforeFirstDay     Code = "before_first_day"     // starts before the ledger did, without being an import
	CodeEmptyInterval      Code = "empty_interval"       // ends before it starts
	CodeNotYet             Code = "not_yet"              // this cannot start or end in the future
	CodeAlready            Code = "already"              // strict: it is so already
	CodeAbsent             Code = "absent"               // strict: it is not there
	CodePreconditionFailed Code = "precondition_failed"  // the thing changed since the revision expected
	CodeKeyConflict        Code = "key_conflict"         // the idempotency key was used for another request
	CodeTooLarge           Code = "too_large"            // does not fit one commit
)

// Refusal is a command the ledger does not carry out. Nothing was recorded.
type Refusal struct {
	Code    Code
	Message string // lower case, names the thing and the rule
}

func (r *Refusal) Error() string { return r.Message }

// Is makes errors.Is match refusals by code: errors.Is(err, &Refusal{Code: CodeCycle}).
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code
}

func refuse(code Code, format string, args ...any) error {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}
