package access

import "github.com/permledger/permledger/events"

// CatalogEntry is a catalog loaded in a tenant.
type CatalogEntry struct {
	Catalog events.Catalog `json:"catalog"`
	events.CatalogInfo
	APIs        int `json:"apis"`
	Permissions int `json:"permissions"` // of the APIs themselves
	Types       int `json:"resource_types"`
	Pairs       int `json:"type_permissions"` // permissions on resource types
	Roles       int `json:"default_roles"`
}

// CatalogDescription is a catalog with everything it defines, by exact name, each list sorted.
type CatalogDescription struct {
	Moment
	Catalog events.Catalog `json:"catalog"`
	events.CatalogInfo
	APIs  []APIDescription  `json:"apis"`
	Types []TypeDescription `json:"resource_types,omitempty"`
	Roles []RoleDescription `json:"default_roles,omitempty"`
}

// APIDescription is an API and the permissions it owns, without those that are held on resource types alone.
type APIDescription struct {
	API events.API `json:"id"`
	events.APIDefinition
	Permissions []PermissionDescription `json:"permissions"`
}

// PermissionDescription is a permission by its exact name.
type PermissionDescription struct {
	Name events.PermissionName `json:"name"`
	events.PermissionDefinition
}

// TypeDescription is a resource type and the permissions it takes. Names has them as TYPE:PERMISSION, which
// is how products write a permission type on a resource type.
type TypeDescription struct {
	Type  events.ResourceType `json:"type"`
	Names []string            `json:"names,omitempty"`
	events.ResourceTypeDefinition
}

// RoleDescription is a role and what it holds and includes itself; its version is the revision that last
// changed it.
type RoleDescription struct {
	Role    events.Role     `json:"id"`
	Catalog events.Catalog  `json:"catalog,omitempty"`
	Version events.Revision `json:"version"`
	events.Attributes
	Holds    []Holding     `json:"holds"`
	Includes []events.Role `json:"includes,omitempty"`
}

// GroupDescription is a group, its direct members and its parents.
type GroupDescription struct {
	Group   events.Group    `json:"id"`
	Version events.Revision `json:"version"`
	events.Attributes
	Members []events.Principal `json:"members"`
	Parents []events.Group     `json:"parents,omitempty"`
}
