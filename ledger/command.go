package ledger

import "github.com/permledger/permledger/events"

// The names in the tags are part of the hash that an idempotency key is bound to: they outlive every rename.

// The ledger itself and its tenants.
type (
	CreateTenant struct {
		Name string `json:"name,omitempty"`
	}
	DeleteTenant     struct{}
	AddAdministrator struct {
		Principal events.Principal `json:"principal"`
	}
	RemoveAdministrator struct {
		Principal events.Principal `json:"principal"`
	}
	// RotateKey announces the key that signs every later commit. Its private half must be in the keyring
	// already, or nothing can be written afterwards.
	RotateKey struct {
		Key events.PublicKey `json:"key"`
	}
	// AcceptFork records that an operator chose to go on from a log that is not the one the ledger had.
	AcceptFork struct {
		Lost events.Mark `json:"lost"`
		Kept events.Mark `json:"kept"`
	}
)

// Definitions.
type (
	// LoadCatalog brings the tenant to this version of a catalog. What the catalog defined before and
	// defines no longer is retired; its default roles gain and lose permissions but are never deleted.
	LoadCatalog struct {
		Contents CatalogFile `json:"contents"`
	}
	DefineAPI struct {
		API events.API           `json:"api"`
		Def events.APIDefinition `json:"definition"`
	}
	DefinePermission struct {
		Permission events.Permission           `json:"permission"`
		Def        events.PermissionDefinition `json:"definition"`
	}
	DefineResourceType struct {
		Type events.ResourceType           `json:"type"`
		Def  events.ResourceTypeDefinition `json:"definition"`
	}
)

// Roles.
type (
	CreateRole struct {
		Role events.Role       `json:"role"`
		Attr events.Attributes `json:"attributes,omitzero"`
	}
	ChangeRole struct {
		Role events.Role       `json:"role"`
		Attr events.Attributes `json:"attributes,omitzero"`
	}
	// DeleteRole ends the role and everything it holds or is held by.
	DeleteRole struct {
		Role events.Role `json:"role"`
	}
	AddRolePermission struct {
		Role  events.Role `json:"role"`
		Right Right       `json:"right"`
	}
	RemoveRolePermission struct {
		Role  events.Role `json:"role"`
		Right Right       `json:"right"`
	}
	IncludeRole struct {
		Role     events.Role `json:"role"`
		Included events.Role `json:"included"`
	}
	ExcludeRole struct {
		Role     events.Role `json:"role"`
		Included events.Role `json:"included"`
	}
)

// Groups.
type (
	CreateGroup struct {
		Group events.Group      `json:"group"`
		Attr  events.Attributes `json:"attributes,omitzero"`
	}
	DeleteGroup struct {
		Group events.Group `json:"group"`
	}
	// AddMember puts a user, client or mapping rule into a group. A member that is a group gets the group
	// as a parent.
	AddMember struct {
		Group  events.Group     `json:"group"`
		Member events.Principal `json:"member"`
	}
	RemoveMember struct {
		Group  events.Group     `json:"group"`
		Member events.Principal `json:"member"`
	}
	SetParent struct {
		Group  events.Group `json:"group"`
		Parent events.Group `json:"parent"`
	}
	UnsetParent struct {
		Group  events.Group `json:"group"`
		Parent events.Group `json:"parent"`
	}
)

// Holdings.
type (
	// AssignRole gives a role; to a role it means IncludeRole.
	AssignRole struct {
		Principal events.Principal `json:"principal"`
		Role      events.Role      `json:"role"`
		Scope     events.Scope     `json:"scope,omitzero"`
	}
	UnassignRole struct {
		Principal events.Principal `json:"principal"`
		Role      events.Role      `json:"role"`
		Scope     events.Scope     `json:"scope,omitzero"`
	}
	// Grant gives a permission; to a role it means AddRolePermission.
	Grant struct {
		Principal events.Principal `json:"principal"`
		Right     Right            `json:"right"`
	}
	Revoke struct {
		Principal events.Principal `json:"principal"`
		Right     Right            `json:"right"`
	}
	// DeletePrincipal ends everything a user, client or mapping rule holds; a role or group is deleted.
	DeletePrincipal struct {
		Principal events.Principal `json:"principal"`
	}
	// DescribePrincipal says who is behind an id. The profile is in clear, or sealed for Principal.
	DescribePrincipal struct {
		Principal events.Principal `json:"principal"`
		Profile   events.Profile   `json:"profile,omitzero"`
		Sealed    *events.Sealed   `json:"sealed,omitempty"`
	}
	// ErasePrincipal records that the keys of a principal are destroyed; who submits it destroys them then. It takes
	// no permission away, DeletePrincipal does: whose data is erased may go on working, and whose permissions end may
	// have a right to its history.
	ErasePrincipal struct {
		Principal events.Principal `json:"principal"`
		// Keys are those that lie in the caller's directory. They are not what is asked for: the same request
		// again, when they are gone, is the same request.
		Keys []events.PersonalKey `json:"-"`
	}
	// CorrectValidity replaces the interval of a fact. Zero From or Until keep what was.
	CorrectValidity struct {
		Fact  events.FactID  `json:"fact"`
		From  events.Instant `json:"from"`
		Until events.Instant `json:"until"` // Forever takes an end away
	}
)

// recordDue notices a start or end that has come. Only the ledger itself issues it.
type recordDue struct{ due Due }

// CatalogFile is a catalog ready to load; package catalogs reads them.
type CatalogFile struct {
	Catalog     events.Catalog     `json:"catalog"`
	Info        events.CatalogInfo `json:"info"`
	APIs        []APIEntry         `json:"apis"`
	Permissions []PermissionEntry  `json:"permissions"`
	Types       []TypeEntry        `json:"types"`
	Roles       []RoleEntry        `json:"roles"`
}

type (
	APIEntry struct {
		API events.API           `json:"api"`
		Def events.APIDefinition `json:"definition"`
	}
	PermissionEntry struct {
		Permission events.Permission           `json:"permission"`
		Def        events.PermissionDefinition `json:"definition"`
	}
	TypeEntry struct {
		Type events.ResourceType           `json:"type"`
		Def  events.ResourceTypeDefinition `json:"definition"`
	}
	// RoleEntry is a default role and what it holds.
	RoleEntry struct {
		Role  events.Role       `json:"role"`
		Attr  events.Attributes `json:"attributes,omitzero"`
		Holds []RoleHolding     `json:"holds"`
	}
	RoleHolding struct {
		Permission events.Permission `json:"permission"`
		Scope      events.Scope      `json:"scope,omitzero"`
	}
)
