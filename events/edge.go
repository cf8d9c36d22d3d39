package events

// EdgeKind is what an edge states.
type EdgeKind string

const (
	EdgeMember     EdgeKind = "member"     // From, a user, client or mapping rule, is in group To
	EdgeParent     EdgeKind = "parent"     // From, a group, is below group To
	EdgeAssignment EdgeKind = "assignment" // From holds role To on Scope
	EdgeInclusion  EdgeKind = "inclusion"  // From, a role, includes role To
	EdgeGrant      EdgeKind = "grant"      // From, any principal, a role too, holds Permission on Scope
)

// Edge is what a fact states. All of a ledger's access is paths along edges: from somebody, over groups
// and roles, to a permission.
type Edge struct {
	Kind       EdgeKind   `json:"kind"`
	From       Principal  `json:"from"`
	To         Principal  `json:"to,omitzero"`         // not with EdgeGrant
	Permission Permission `json:"permission,omitzero"` // with EdgeGrant only
	Scope      Scope      `json:"scope,omitzero"`      // with EdgeGrant and EdgeAssignment only
}

// Fact is an edge with an identity and a validity. The interval is a field with a name: were it embedded, its
// MarshalJSON would stand for the whole fact, and for whatever embeds one.
type Fact struct {
	ID FactID `json:"fact"`
	Edge
	Interval Interval `json:"valid"`
}

// Begins gives the edge of the fact that e creates; ok is false for every other event.
func Begins(e Event) (_ Edge, ok bool) {
	switch e := e.(type) {
	case GroupMemberAdded:
		return Edge{Kind: EdgeMember, From: e.Member, To: e.Group.Principal()}, true
	case GroupParentSet:
		return Edge{Kind: EdgeParent, From: e.Group.Principal(), To: e.Parent.Principal()}, true
	case RoleAssigned:
		return Edge{Kind: EdgeAssignment, From: e.Principal, To: e.Role.Principal(), Scope: e.Scope}, true
	case RoleIncluded:
		return Edge{Kind: EdgeInclusion, From: e.Role.Principal(), To: e.Included.Principal()}, true
	case PermissionGranted:
		return Edge{Kind: EdgeGrant, From: e.Principal, Permission: e.Permission, Scope: e.Scope}, true
	case RolePermissionAdded:
		return Edge{Kind: EdgeGrant, From: e.Role.Principal(), Permission: e.Permission, Scope: e.Scope}, true
	case LedgerCreated, KeyAnnounced, ForkAccepted, AdministratorAdded, AdministratorRemoved, TenantCreated, TenantDeleted,
		CatalogLoaded, APIDefined, APIRetired, PermissionDefined, PermissionRetired,
		ResourceTypeDefined, ResourceTypeRetired, RoleCreated, RoleChanged, RoleDeleted,
		RolePermissionRemoved, RoleExcluded, GroupCreated, GroupDeleted, GroupMemberRemoved,
		GroupParentUnset, RoleUnassigned, PermissionRevoked, PrincipalDeleted,
		PrincipalDescribed, PrincipalErased,
		ValidityCorrected, ValidityStarted, ValidityExpired:
	}
	return Edge{}, false
}

// Ends gives the edge and the fact that e ends; ok is false for every other event.
func Ends(e Event) (_ Edge, _ Ended, ok bool) {
	switch e := e.(type) {
	case GroupMemberRemoved:
		return Edge{Kind: EdgeMember, From: e.Member, To: e.Group.Principal()}, e.Ended, true
	case GroupParentUnset:
		return Edge{Kind: EdgeParent, From: e.Group.Principal(), To: e.Parent.Principal()}, e.Ended, true
	case RoleUnassigned:
		return Edge{Kind: EdgeAssignment, From: e.Principal, To: e.Role.Principal(), Scope: e.Scope}, e.Ended, true
	case RoleExcluded:
		return Edge{Kind: EdgeInclusion, From: e.Role.Principal(), To: e.Included.Principal()}, e.Ended, true
	case PermissionRevoked:
		return Edge{Kind: EdgeGrant, From: e.Principal, Permission: e.Permission, Scope: e.Scope}, e.Ended, true
	case RolePermissionRemoved:
		return Edge{Kind: EdgeGrant, From: e.Role.Principal(), Permission: e.Permission, Scope: e.Scope}, e.Ended, true
	case LedgerCreated, KeyAnnounced, ForkAccepted, AdministratorAdded, AdministratorRemoved, TenantCreated, TenantDeleted,
		CatalogLoaded, APIDefined, APIRetired, PermissionDefined, PermissionRetired,
		ResourceTypeDefined, ResourceTypeRetired, RoleCreated, RoleChanged, RoleDeleted,
		RolePermissionAdded, RoleIncluded, GroupCreated, GroupDeleted, GroupMemberAdded,
		GroupParentSet, RoleAssigned, PermissionGranted, PrincipalDeleted,
		PrincipalDescribed, PrincipalErased,
		ValidityCorrected, ValidityStarted, ValidityExpired:
	}
	return Edge{}, Ended{}, false
}

// About says whom an event is about and, where there is one, which API: what subscribers filter on and
// the trail is indexed by. With edges it is the holder, then everybody else the event names.
func About(e Event) (holder Principal, others []Principal, api API) {
	if edge, ok := Begins(e); ok {
		return edge.about()
	}
	if edge, _, ok := Ends(e); ok {
		return edge.about()
	}
	switch e := e.(type) {
	case AdministratorAdded:
		return e.Principal, nil, ""
	case AdministratorRemoved:
		return e.Principal, nil, ""
	case APIDefined:
		return Principal{}, nil, e.API
	case APIRetired:
		return Principal{}, nil, e.API
	case PermissionDefined:
		return Principal{}, nil, e.Permission.API
	case PermissionRetired:
		return Principal{}, nil, e.Permission.API
	case ResourceTypeDefined:
		return Principal{}, nil, e.Def.API
	case ResourceTypeRetired:
		return Principal{}, nil, e.Before.API
	case RoleCreated:
		return e.Role.Principal(), nil, ""
	case RoleChanged:
		return e.Role.Principal(), nil, ""
	case RoleDeleted:
		return e.Role.Principal(), nil, ""
	case GroupCreated:
		return e.Group.Principal(), nil, ""
	case GroupDeleted:
		return e.Group.Principal(), nil, ""
	case PrincipalDeleted:
		return e.Principal, nil, ""
	case PrincipalDescribed:
		return e.Principal, nil, ""
	case PrincipalErased:
		return e.Principal, nil, ""
	case ValidityCorrected:
		return e.Edge.about()
	case ValidityStarted:
		return e.Edge.about()
	case ValidityExpired:
		return e.Edge.about()
	case LedgerCreated, KeyAnnounced, ForkAccepted, TenantCreated, TenantDeleted, CatalogLoaded,
		RolePermissionAdded, RolePermissionRemoved, RoleIncluded, RoleExcluded,
		GroupMemberAdded, GroupMemberRemoved, GroupParentSet, GroupParentUnset,
		RoleAssigned, RoleUnassigned, PermissionGranted, PermissionRevoked:
	}
	return Principal{}, nil, ""
}

func (e Edge) about() (Principal, []Principal, API) {
	if e.To.IsZero() {
		return e.From, nil, e.Permission.API
	}
	return e.From, []Principal{e.To}, ""
}

// NamedBy is the permission, the principal or the API an event names, whichever it has first; "" when it names none.
func NamedBy(e Event) string {
	if p := PermissionOf(e); !p.IsZero() {
		return p.String()
	}
	holder, _, owner := About(e)
	if holder.IsZero() {
		return string(owner)
	}
	return holder.String()
}

// PermissionOf gives the permission an event names, or the zero value.
func PermissionOf(e Event) Permission {
	if edge, ok := Begins(e); ok {
		return edge.Permission
	}
	if edge, _, ok := Ends(e); ok {
		return edge.Permission
	}
	switch e := e.(type) {
	case PermissionDefined:
		return e.Permission
	case PermissionRetired:
		return e.Permission
	case ValidityCorrected:
		return e.Edge.Permission
	case ValidityStarted:
		return e.Edge.Permission
	case ValidityExpired:
		return e.Edge.Permission
	default:
		return Permission{}
	}
}
