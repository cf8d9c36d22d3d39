package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrUnknownEvent is met on reading an event whose name or version this build does not know. A reader
// stops there.
var ErrUnknownEvent = errors.New("unknown event name or version")

// kind pairs a wire name with what reads each of its versions; the last version is the one written.
type kind struct {
	name     string
	versions []func([]byte) (Event, error)
}

// registry is the one table of wire names. Order is documentation only.
var registry = []kind{
	{"ledger.created", versions(read[LedgerCreated])},
	{"key.announced", versions(read[KeyAnnounced])},
	{"fork.accepted", versions(read[ForkAccepted])},
	{"administrator.added", versions(read[AdministratorAdded])},
	{"administrator.removed", versions(read[AdministratorRemoved])},
	{"tenant.created", versions(read[TenantCreated])},
	{"tenant.deleted", versions(read[TenantDeleted])},
	{"catalog.loaded", versions(read[CatalogLoaded])},
	{"api.defined", versions(read[APIDefined])},
	{"api.retired", versions(read[APIRetired])},
	{"permission.defined", versions(readPermissionDefinedV1, read[PermissionDefined])},
	{"permission.retired", versions(read[PermissionRetired])},
	{"resource-type.defined", versions(read[ResourceTypeDefined])},
	{"resource-type.retired", versions(read[ResourceTypeRetired])},
	{"role.created", versions(read[RoleCreated])},
	{"role.changed", versions(read[RoleChanged])},
	{"role.deleted", versions(read[RoleDeleted])},
	{"role.permission-added", versions(read[RolePermissionAdded])},
	{"role.permission-removed", versions(read[RolePermissionRemoved])},
	{"role.included", versions(read[RoleIncluded])},
	{"role.excluded", versions(read[RoleExcluded])},
	{"group.created", versions(read[GroupCreated])},
	{"group.deleted", versions(read[GroupDeleted])},
	{"group.member-added", versions(read[GroupMemberAdded])},
	{"group.member-removed", versions(read[GroupMemberRemoved])},
	{"group.parent-set", versions(read[GroupParentSet])},
	{"group.parent-unset", versions(read[GroupParentUnset])},
	{"role.assigned", versions(read[RoleAssigned])},
	{"role.unassigned", versions(read[RoleUnassigned])},
	{"permission.granted", versions(read[PermissionGranted])},
	{"permission.revoked", versions(read[PermissionRevoked])},
	{"principal.deleted", versions(read[PrincipalDeleted])},
	{"principal.described", versions(read[PrincipalDescribed])},
	{"principal.erased", versions(read[PrincipalErased])},
	{"validity.corrected", versions(read[ValidityCorrected])},
	{"validity.started", versions(read[ValidityStarted])},
	{"validity.expired", versions(read[ValidityExpired])},
}

// Name gives the wire name of e, two words joined by a dot.
func Name(e Event) string {
	switch e.(type) {
	case LedgerCreated:
		return "ledger.created"
	case KeyAnnounced:
		return "key.announced"
	case ForkAccepted:
		return "fork.accepted"
	case AdministratorAdded:
		return "administrator.added"
	case AdministratorRemoved:
		return "administrator.removed"
	case TenantCreated:
		return "tenant.created"
	case TenantDeleted:
		return "tenant.deleted"
	case CatalogLoaded:
		return "catalog.loaded"
	case APIDefined:
		return "api.defined"
	case APIRetired:
		return "api.retired"
	case PermissionDefined:
		return "permission.defined"
	case PermissionRetired:
		return "permission.retired"
	case ResourceTypeDefined:
		return "resource-type.defined"
	case ResourceTypeRetired:
		return "resource-type.retired"
	case RoleCreated:
		return "role.created"
	case RoleChanged:
		return "role.changed"
	case RoleDeleted:
		return "role.deleted"
	case RolePermissionAdded:
		return "role.permission-added"
	case RolePermissionRemoved:
		return "role.permission-removed"
	case RoleIncluded:
		return "role.included"
	case RoleExcluded:
		return "role.excluded"
	case GroupCreated:
		return "group.created"
	case GroupDeleted:
		return "group.deleted"
	case GroupMemberAdded:
		return "group.member-added"
	case GroupMemberRemoved:
		return "group.member-removed"
	case GroupParentSet:
		return "group.parent-set"
	case GroupParentUnset:
		return "group.parent-unset"
	case RoleAssigned:
		return "role.assigned"
	case RoleUnassigned:
		return "role.unassigned"
	case PermissionGranted:
		return "permission.granted"
	case PermissionRevoked:
		return "permission.revoked"
	case PrincipalDeleted:
		return "principal.deleted"
	case PrincipalDescribed:
		return "principal.described"
	case PrincipalErased:
		return "principal.erased"
	case ValidityCorrected:
		return "validity.corrected"
	case ValidityStarted:
		return "validity.started"
	case ValidityExpired:
		return "validity.expired"
	}
	return "" // unreachable: the set is closed, and a test walks the registry
}

// Names lists every wire name, in the order of the registry.
func Names() []string {
	names := make([]string, len(registry))
	for i, k := range registry {
		names[i] = k.name
	}
	return names
}

var byName = func() map[string]kind {
	m := make(map[string]kind, len(registry))
	for _, k := range registry {
		m[k.name] = k
	}
	return m
}()

// decodeEvent reads one event as any version ever written and gives it in its present form.
func decodeEvent(name string, version int, data []byte) (Event, error) {
	k, known := byName[name]
	if !known || version < 1 || version > len(k.versions) {
		return nil, fmt.Errorf("%w: %s version %d", ErrUnknownEvent, name, version)
	}
	e, err := k.versions[version-1](data)
	if err != nil {
		return nil, fmt.Errorf("decode %s version %d: %w", name, version, err)
	}
	return e, nil
}

func versions(read ...func([]byte) (Event, error)) []func([]byte) (Event, error) { return read }

func read[E Event](data []byte) (Event, error) {
	var e E
	err := unmarshalStrict(data, &e)
	return e, err
}

// unmarshalStrict refuses unknown members, trailing data, and null, which would pass as an empty object.
func unmarshalStrict(data []byte, into any) error {
	if string(data) == "null" {
		return errors.New("must not be null")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("trailing data")
	}
	return nil
}
