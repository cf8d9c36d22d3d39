package api

import "encoding/json"

// The AuthZEN Authorization API 1.0, as the server speaks it. Members it does not know are ignored.
//
// Subject is a principal: type user, client, group, role or mapping-rule. Action.Name is the permission.
// Resource {"type":"api","id":AUDIENCE} stands for a permission about no resource; for any other type a
// missing id asks about the type and no id.
//
// The context may hold as_of, valid_at (RFC 3339), known_at (a revision or a time), at_least (a revision)
// and tenant, which place the question as everywhere else; client, which is asked about instead of the
// subject; properties, a list of properties that hold of the resource; detail or explain, true to get a
// context in the answer. Everything else in it is ignored.
type (
	Evaluation struct {
		Subject  *Entity        `json:"subject,omitempty"`
		Action   *Action        `json:"action,omitempty"`
		Resource *Entity        `json:"resource,omitempty"`
		Context  map[string]any `json:"context,omitempty"`
	}
	Entity struct {
		Type       string         `json:"type"`
		ID         string         `json:"id,omitempty"`
		Properties map[string]any `json:"properties,omitempty"`
	}
	Action struct {
		Name       string         `json:"name"`
		Properties map[string]any `json:"properties,omitempty"`
	}

	// Evaluations is a batch; what an item leaves out it takes, whole, from the top.
	Evaluations struct {
		Evaluation
		Items   []Evaluation       `json:"evaluations,omitempty"`
		Options *EvaluationOptions `json:"options,omitempty"`
	}
	EvaluationOptions struct {
		Semantic Semantic `json:"evaluations_semantic,omitempty"`
	}

	// Verdict is the answer to an Evaluation; Context only if it was asked for, or tells of an error.
	Verdict struct {
		Decision bool            `json:"decision"`
		Context  json.RawMessage `json:"context,omitempty"`
	}
	// Verdicts answers Evaluations, in the same order.
	Verdicts struct {
		Evaluations []Verdict `json:"evaluations"`
	}
	// VerdictContext is what Verdict.Context holds.
	VerdictContext struct {
		Decision    *Decision     `json:"decision,omitempty"`    // with detail
		Explanation *Explanation  `json:"explanation,omitempty"` // with explain
		Error       *VerdictError `json:"error,omitempty"`       // the item was bad; denied and failed stay apart
	}
	VerdictError struct {
		Status  int    `json:"status"`
		Message string `json:"message"`
	}

	// AuthZENConfiguration answers GET /.well-known/authzen-configuration.
	AuthZENConfiguration struct {
		PolicyDecisionPoint string `json:"policy_decision_point"`
		Evaluation          string `json:"access_evaluation_endpoint"`
		Evaluations         string `json:"access_evaluations_endpoint"`
	}
)

// Semantic says when a batch ends.
type Semantic string

const (
	ExecuteAll          Semantic = "execute_all" // the default
	DenyOnFirstDeny     Semantic = "deny_on_first_deny"
	PermitOnFirstPermit Semantic = "permit_on_first_permit"
)

// MaxEvaluations is how many items one batch may have.
const MaxEvaluations = 10_000
