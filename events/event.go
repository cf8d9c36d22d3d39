package events

// Event is something that has happened. The set is closed: the sum-type check finds every switch that a
// new event must visit.
//
// # How events evolve
//
//   - A stored event is never rewritten and never reinterpreted. Its wire name and version are written
//     by hand in registry.go and outlive every rename in Go.
//   - A field may be added to a version only when its absence means what it meant before; anything else
//     is a new version with an upcaster in upcast.go. Writers write the newest version only.
//   - Every version has a golden file in testdata, never edited.
//   - A reader that meets an unknown name, version or field stops. A ledger that skips a revoke it does
//     not understand answers a wrong "allow".
//
//sumtype:decl
type Event interface{ event() }

// The ledger itself.
type (
	// LedgerCreated is the first event of every ledger.
	LedgerCreated struct {
		Ledger LedgerID `json:"ledger"`
	}
	// KeyAnnounced names the key that signs every commit after this one. See sign.go.
	KeyAnnounced struct {
		Key PublicKey `json:"key"`
	}
	// ForkAccepted says that an operator chose to go on from a log that is not the one this ledger had: an
	// older copy, one that lost its end, or another ledger's. What is lost is everything of Lost that this
	// log does not hold; revisions after Kept were given away before.
	ForkAccepted struct {
		Lost Mark `json:"lost"` // how far the ledger had got
		Kept Mark `json:"kept"` // how far the log reached that it goes on from
	}
	// AdministratorAdded lets a principal administer the ledger: every tenant, every command.
	AdministratorAdded struct {
		Principal Principal `json:"principal"`
	}
	AdministratorRemoved struct {
		Principal Principal `json:"principal"`
	}
	// TenantCreated begins the tenant of its envelope.
	TenantCreated struct {
		Name string `json:"name,omitempty"`
	}
	// TenantDeleted ends the tenant of its envelope and everything in it. Its name is not used again.
	TenantDeleted struct{}
)

// Catalogs: the permissions of a system as data.
type (
	// CatalogLoaded says that the definitions after it in the same command bring the tenant to this
	// version of the catalog.
	CatalogLoaded struct {
		Catalog Catalog      `json:"catalog"`
		Info    CatalogInfo  `json:"info"`
		Before  *CatalogInfo `json:"before,omitempty"`
	}
	// APIDefined adds an API or changes it; Before is nil when it is new.
	APIDefined struct {
		API     API            `json:"api"`
		Catalog Catalog        `json:"catalog,omitempty"`
		Def     APIDefinition  `json:"definition"`
		Before  *APIDefinition `json:"before,omitempty"`
	}
	APIRetired struct {
		API    API           `json:"api"`
		Before APIDefinition `json:"before"`
	}
	// PermissionDefined adds a permission or changes it; Before is nil when it is new.
	PermissionDefined struct {
		Permission Permission            `json:"permission"`
		Catalog    Catalog               `json:"catalog,omitempty"`
		Def        PermissionDefinition  `json:"definition"`
		Before     *PermissionDefinition `json:"before,omitempty"`
	}
	// PermissionRetired ends a permission: who holds it, holds it without effect from then on.
	PermissionRetired struct {
		Permission Permission           `json:"permission"`
		Before     PermissionDefinition `json:"before"`
	}
	ResourceTypeDefined struct {
		Type    ResourceType            `json:"type"`
		Catalog Catalog                 `json:"catalog,omitempty"`
		Def     ResourceTypeDefinition  `json:"definition"`
		Before  *ResourceTypeDefinition `json:"before,omitempty"`
	}
	ResourceTypeRetired struct {
		Type   ResourceType           `json:"type"`
		Before ResourceTypeDefinition `json:"before"`
	}
)

// Roles: named sets of permissions.
type (
	RoleCreated struct {
		Role    Role       `json:"role"`
		Catalog Catalog    `json:"catalog,omitempty"` // the catalog whose default role it is
		Attr    Attributes `json:"attributes,omitzero"`
	}
	RoleChanged struct {
		Role   Role       `json:"role"`
		Attr   Attributes `json:"attributes"`
		Before Attributes `json:"before"`
	}
	// RoleDeleted ends the role and everything it held or was held by. A later role of that name
	// inherits nothing.
	RoleDeleted struct {
		Role Role `json:"role"`
	}
	RolePermissionAdded struct {
		Role       Role       `json:"role"`
		Permission Permission `json:"permission"`
		Scope      Scope      `json:"scope,omitzero"`
	}
	RolePermissionRemoved struct {
		Role       Role       `json:"role"`
		Permission Permission `json:"permission"`
		Scope      Scope      `json:"scope,omitzero"`
		Ended      Ended      `json:"ended"`
	}
	// RoleIncluded: whoever holds Role then also holds Included.
	RoleIncluded struct {
		Role     Role `json:"role"`
		Included Role `json:"included"`
	}
	RoleExcluded struct {
		Role     Role  `json:"role"`
		Included Role  `json:"included"`
		Ended    Ended `json:"ended"`
	}
)

// Groups: named sets of users, clients and groups.
type (
	GroupCreated struct {
		Group Group      `json:"group"`
		Attr  Attributes `json:"attributes,omitzero"`
	}
	GroupDeleted struct {
		Group Group `json:"group"`
	}
	GroupMemberAdded struct {
		Group  Group     `json:"group"`
		Member Principal `json:"member"` // a user, client or mapping rule
	}
	GroupMemberRemoved struct {
		Group  Group     `json:"group"`
		Member Principal `json:"member"`
		Ended  Ended     `json:"ended"`
	}
	// GroupParentSet puts Group below Parent: its members have what Parent has. Several parents are fine.
	GroupParentSet struct {
		Group  Group `json:"group"`
		Parent Group `json:"parent"`
	}
	GroupParentUnset struct {
		Group  Group `json:"group"`
		Parent Group `json:"parent"`
		Ended  Ended `json:"ended"`
	}
)

// Holdings.
type (
	// RoleAssigned gives a role to a user, client, group or mapping rule; what the role holds, it then
	// holds on that scope.
	RoleAssigned struct {
		Principal Principal `json:"principal"`
		Role      Role      `json:"role"`
		Scope     Scope     `json:"scope,omitzero"`
	}
	RoleUnassigned struct {
		Principal Principal `json:"principal"`
		Role      Role      `json:"role"`
		Scope     Scope     `json:"scope,omitzero"`
		Ended     Ended     `json:"ended"`
	}
	PermissionGranted struct {
		Principal  Principal  `json:"principal"`
		Permission Permission `json:"permission"`
		Scope      Scope      `json:"scope,omitzero"`
	}
	PermissionRevoked struct {
		Principal  Principal  `json:"principal"`
		Permission Permission `json:"permission"`
		Scope      Scope      `json:"scope,omitzero"`
		Ended      Ended      `json:"ended"`
	}
	// PrincipalDeleted ends everything a user, client or mapping rule held. The id may be used again and
	// inherits nothing.
	PrincipalDeleted struct {
		Principal Principal `json:"principal"`
	}
)

// Personal data.
type (
	// PrincipalDescribed says who is behind the id of a user, client or mapping rule, in clear or sealed. The
	// newest counts.
	PrincipalDescribed struct {
		Principal Principal `json:"principal"`
		Profile   Profile   `json:"profile,omitzero"`
		Sealed    *Sealed   `json:"sealed,omitempty"` // the profile, for Principal
	}
	// PrincipalErased says that these keys are destroyed, and so that nobody reads again what was sealed with
	// them. It comes first and the destruction follows, so that no crash leaves a key nobody knows to destroy.
	// What the principal holds, it still holds.
	PrincipalErased struct {
		Principal Principal     `json:"principal"`
		Keys      []PersonalKey `json:"keys"`
	}
)

// Validity.
type (
	// ValidityCorrected replaces the interval of a fact by the one in its envelope.
	ValidityCorrected struct {
		Fact   FactID   `json:"fact"`
		Edge   Edge     `json:"edge"`
		Before Interval `json:"before"`
	}
	// ValidityStarted and ValidityExpired tell subscribers and the trail that an instant recorded
	// earlier has come. They change no answer: validity is judged when a question is asked.
	ValidityStarted struct {
		Fact FactID `json:"fact"`
		Edge Edge   `json:"edge"`
	}
	ValidityExpired struct {
		Fact FactID `json:"fact"`
		Edge Edge   `json:"edge"`
	}
)

func (LedgerCreated) event()         {}
func (KeyAnnounced) event()          {}
func (ForkAccepted) event()          {}
func (AdministratorAdded) event()    {}
func (AdministratorRemoved) event()  {}
func (TenantCreated) event()         {}
func (TenantDeleted) event()         {}
func (CatalogLoaded) event()         {}
func (APIDefined) event()            {}
func (APIRetired) event()            {}
func (PermissionDefined) event()     {}
func (PermissionRetired) event()     {}
func (ResourceTypeDefined) event()   {}
func (ResourceTypeRetired) event()   {}
func (RoleCreated) event()           {}
func (RoleChanged) event()           {}
func (RoleDeleted) event()           {}
func (RolePermissionAdded) event()   {}
func (RolePermissionRemoved) event() {}
func (RoleIncluded) event()          {}
func (RoleExcluded) event()          {}
func (GroupCreated) event()          {}
func (GroupDeleted) event()          {}
func (GroupMemberAdded) event()      {}
func (GroupMemberRemoved) event()    {}
func (GroupParentSet) event()        {}
func (GroupParentUnset) event()      {}
func (RoleAssigned) event()          {}
func (RoleUnassigned) event()        {}
func (PermissionGranted) event()     {}
func (PermissionRevoked) event()     {}
func (PrincipalDeleted) event()      {}
func (PrincipalDescribed) event()    {}
func (PrincipalErased) event()       {}
func (ValidityCorrected) event()     {}
func (ValidityStarted) event()       {}
func (ValidityExpired) event()       {}

// Attributes describe a role or group to people.
type Attributes struct {
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
}

// CatalogInfo describes one version of a catalog.
type CatalogInfo struct {
	Title    string   `json:"title,omitempty"`
	Version  string   `json:"version"`
	Document string   `json:"document,omitempty"` // the product document its rows come from
	Digest   string   `json:"digest"`             // SHA-256 of the catalog file, hex
	Edges    []string `json:"edges,omitempty"`    // the assignment rules, as "role -> group"
}

// APIDefinition is what a catalog says of an API.
type APIDefinition struct {
	Name       string `json:"name"`     // the exact name in the product's document
	Audience   string `json:"audience"` // the token audience; questions name the API by it
	Component  string `json:"component,omitempty"`
	InDocument bool   `json:"in_document,omitempty"`
}

// PermissionDefinition is what a catalog says of a permission.
type PermissionDefinition struct {
	ID            string         `json:"id,omitempty"` // a slug, accepted wherever the name is
	Category      string         `json:"category,omitempty"`
	Description   string         `json:"description,omitempty"`
	RequiresAnyOf [][]Permission `json:"requires_any_of,omitempty"` // an AND of groups; any one member meets a group
	RequiresBasis string         `json:"requires_basis,omitempty"`  // "stated" in the document, "derived" or "none"
	Effects       []Effect       `json:"effects,omitempty"`
	Since         string         `json:"since,omitempty"` // the product version that brought it
	Until         string         `json:"until,omitempty"`
	InDocument    bool           `json:"in_document,omitempty"`
}

// Effect is what a permission lets one do: read or write, on which surface.
type Effect struct {
	Surface    string `json:"surface"` // "ui" or "api"
	Access     string `json:"access"`  // "read", "write", …
	Scope      string `json:"scope,omitempty"`
	Controlled *bool  `json:"controlled,omitempty"` // false: the product does not gate this by the permission
}

// ResourceTypeDefinition is what a catalog says of a resource type. A type belongs to one API.
type ResourceTypeDefinition struct {
	API              API                         `json:"api"`
	Label            string                      `json:"label,omitempty"`
	Permissions      []PermissionName            `json:"permissions,omitempty"`       // nil: any permission of the API
	Scopes           []string                    `json:"scopes,omitempty"`            // of "any", "id", "property"; nil: all three
	Properties       []string                    `json:"properties,omitempty"`        // the names a property scope may have; nil: every
	PermissionScopes map[PermissionName][]string `json:"permission_scopes,omitempty"` // narrower Scopes for single permissions
	Since            string                      `json:"since,omitempty"`
	InDocument       bool                        `json:"in_document,omitempty"`
}

// Ended says which fact an event ends. The end itself is the envelope's valid_until, or recorded_at
// when it has none.
type Ended struct {
	Fact     FactID  `json:"fact"`
	WasUntil Instant `json:"was_until,omitzero"` // the end recorded before, if there was one
}
