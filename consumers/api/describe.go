package api

import "github.com/permledger/permledger/events"

// Catalogs answers GET /v1/catalogs.
type Catalogs struct {
	Moment
	Catalogs []CatalogEntry `json:"catalogs"`
	Embedded []string       `json:"embedded"` // the names catalog.load takes
}

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

// Catalog answers GET /v1/catalogs/{name}: everything it defines, by exact name, each list sorted.
type Catalog struct {
	Moment
	Catalog events.Catalog `json:"catalog"`
	events.CatalogInfo
	APIs  []API          `json:"apis"`
	Types []ResourceType `json:"resource_types,omitempty"`
	Roles []Role         `json:"default_roles,omitempty"`
}

// API is an API and the permissions it owns, without those that are held on resource types alone.
type API struct {
	API events.API `json:"id"`
	events.APIDefinition
	Permissions []Permission `json:"permissions"`
}

// Permission is a permission by its exact name. A definition's own "id" is its slug.
type Permission struct {
	Name events.PermissionName `json:"name"`
	events.PermissionDefinition
}

// ResourceType is a resource type and the permissions it takes; Names has them as TYPE:PERMISSION.
type ResourceType struct {
	Type  events.ResourceType `json:"type"`
	Names []string            `json:"names,omitempty"`
	events.ResourceTypeDefinition
}

// Roles answers GET /v1/roles.
type Roles struct {
	Moment
	Roles []Role `json:"roles"`
}

// Role is a role and what it holds and includes itself. Version is the revision that last changed it.
type Role struct {
	Role    events.Role     `json:"id"`
	Catalog events.Catalog  `json:"catalog,omitempty"` // whose default role it is
	Version events.Revision `json:"version"`
	events.Attributes
	Holds    []Holding     `json:"holds"`
	Includes []events.Role `json:"includes,omitempty"`
}

// RoleAnswer answers GET /v1/roles/{id}.
type RoleAnswer struct {
	Moment
	Role
}

// Groups answers GET /v1/groups.
type Groups struct {
	Moment
	Groups []Group `json:"groups"`
}

// Group is a group, its direct members and its parents.
type Group struct {
	Group   events.Group    `json:"id"`
	Version events.Revision `json:"version"`
	events.Attributes
	Members []events.Principal `json:"members"`
	Parents []events.Group     `json:"parents,omitempty"`
}

// GroupAnswer answers GET /v1/groups/{id}.
type GroupAnswer struct {
	Moment
	Group
}

// Status answers GET /v1/status.
type Status struct {
	Ledger     events.LedgerID `json:"ledger"`
	Revision   events.Revision `json:"revision"`
	Position   events.Position `json:"position"`
	Head       string          `json:"head_hash"` // hash of the newest commit
	RecordedAt events.Instant  `json:"recorded_at"`
	Ready      bool            `json:"ready"`
	Reason     string          `json:"reason,omitempty"` // why it is not ready
	Space      string          `json:"space,omitempty"`  // of the disk: open, low (only what takes away is recorded) or full
	Feed       *FeedStatus     `json:"feed,omitempty"`   // absent when the server has none
	Scrub      *ScrubStatus    `json:"scrub,omitempty"`  // absent when the server does not scrub
	Version    string          `json:"version"`          // of the server
}

// FeedStatus says how far the feed of events to services got.
type FeedStatus struct {
	Position events.Position `json:"position"`
	Error    string          `json:"error,omitempty"`
}

// ScrubStatus says how far the server has verified its log, archive and tree again by itself.
type ScrubStatus struct {
	Revision events.Revision `json:"revision"`         // all up to it, in this pass
	At       events.Instant  `json:"at,omitzero"`      // when it last looked
	Passes   uint64          `json:"passes,omitempty"` // over the whole ledger
	Fault    string          `json:"fault,omitempty"`  // what it found
}
