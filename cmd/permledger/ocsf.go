package main

import "github.com/permledger/permledger/events"

// OCSF 1.8.0 (schema.ocsf.io/1.8.0), category Identity & Access Management. Which class and activity every
// event of the ledger is; the sources are events/iam/*.json of that version of the schema.
//
//	event                                 class                          activity
//	permission granted, revoked           3005 User Access Management    1, 2 Assign, Revoke Privileges
//	  to a group                          3006 Group Management          1, 2 Assign, Revoke Privileges
//	  to a role                           3004 Entity Management         3 Update, of the role
//	role assigned, unassigned             as permissions; the privilege is role:NAME
//	administrator added, removed          3005 User Access Management    1, 2 Assign, Revoke Privileges
//	group member added, removed           3006 Group Management          3, 4 Add, Remove User
//	group parent set, unset               3006 Group Management          7, 8 Add, Remove Subgroup, of the parent
//	group created, deleted                3006 Group Management          6, 5 Create, Delete
//	role created, changed, deleted        3004 Entity Management         1, 3, 4 Create, Update, Delete
//	role permission added, removed        3004 Entity Management         3 Update, of the role
//	role included, excluded               3004 Entity Management         3 Update, of the role that includes
//	principal deleted                     3001 Account Change            6 Delete
//	principal described, erased           3001 Account Change            99 Other, with its own name
//	key announced                         3004 Entity Management         1 Create
//	fork accepted                         3004 Entity Management         99 Other, with its own name
//	ledger, tenant, catalog, API,         3004 Entity Management         1, 3, 4 Create, Update, Delete
//	  permission, resource type
//	validity expired                      as if it had been taken away then, with a status_detail
//	validity corrected, started           the class of the fact          99 Other, with its own name
//
// Three decisions behind it. 1.8.0 has no activity for roles of users (1.9.0 has), so a role is a privilege by
// name. Role and group changes are not multiplied out to their holders: one event of the ledger is one line,
// and what it changed for whom is a question to the ledger. An expiry counts as taking away, because nothing
// else will ever say so to somebody who adds up assignments; a start and a correction do not count as giving,
// because the assignment was counted when it was recorded.

// Classes, as category*1000 + the class's uid.
const (
	ocsfAccountChange    = 3001
	ocsfEntityManagement = 3004
	ocsfUserAccess       = 3005
	ocsfGroupManagement  = 3006
)

// Activities of the classes, for the table below.
const (
	ocsfOther = 99 // of every class

	ocsfAccountDelete = 6

	ocsfEntityCreate = 1
	ocsfEntityUpdate = 3
	ocsfEntityDelete = 4

	ocsfAssignPrivileges = 1 // of users and of groups
	ocsfRevokePrivileges = 2

	ocsfAddUser        = 3
	ocsfRemoveUser     = 4
	ocsfGroupDelete    = 5
	ocsfGroupCreate    = 6
	ocsfAddSubgroup    = 7
	ocsfRemoveSubgroup = 8
)

// ocsfNames are the captions of the classes and of those of their activities that occur here.
var ocsfNames = map[int]struct {
	class      string
	activities map[int]string
}{
	ocsfAccountChange:    {"Account Change", map[int]string{ocsfAccountDelete: "Delete"}},
	ocsfEntityManagement: {"Entity Management", map[int]string{ocsfEntityCreate: "Create", ocsfEntityUpdate: "Update", ocsfEntityDelete: "Delete"}},
	ocsfUserAccess:       {"User Access Management", map[int]string{ocsfAssignPrivileges: "Assign Privileges", ocsfRevokePrivileges: "Revoke Privileges"}},
	ocsfGroupManagement: {"Group Management", map[int]string{
		ocsfAssignPrivileges: "Assign Privileges", ocsfRevokePrivileges: "Revoke Privileges",
		ocsfAddUser: "Add User", ocsfRemoveUser: "Remove User", ocsfGroupDelete: "Delete", ocsfGroupCreate: "Create",
		ocsfAddSubgroup: "Add Subgroup", ocsfRemoveSubgroup: "Remove Subgroup",
	}},
}

// ocsfAdminister is the privilege of an administrator, whom no permission of a catalog describes.
const ocsfAdminister = "administer the ledger"

// ocsfMapped gives the class and activity of an event and the objects that its class needs. An event without a
// class, which the sum-type check and a test keep from existing, gives the zero value.
func ocsfMapped(r events.Recorded) ocsfEvent {
	switch e := r.Event.(type) {
	case events.LedgerCreated:
		return ocsfEntityEvent(ocsfEntityCreate, "Ledger", e.Ledger.String())
	case events.KeyAnnounced:
		return severe(ocsfEntityEvent(ocsfEntityCreate, "Key", e.Key.String()))
	case events.ForkAccepted:
		return severe(named("Fork Accepted", ocsfEntityEvent(ocsfOther, "Ledger", e.Lost.Ledger.String())))
	case events.AdministratorAdded:
		return severe(ocsfHolding(ocsfAssignPrivileges, e.Principal, ocsfAdminister, nil, r.Tenant))
	case events.AdministratorRemoved:
		return severe(ocsfHolding(ocsfRevokePrivileges, e.Principal, ocsfAdminister, nil, r.Tenant))
	case events.TenantCreated:
		return ocsfEntityEvent(ocsfEntityCreate, "Tenant", string(r.Tenant))
	case events.TenantDeleted:
		return severe(ocsfEntityEvent(ocsfEntityDelete, "Tenant", string(r.Tenant)))

	case events.CatalogLoaded:
		loaded := ocsfEntityEvent(createOrUpdate(e.Before == nil), "Catalog", string(e.Catalog))
		loaded.Entity.Version = e.Info.Version
		return loaded
	case events.APIDefined:
		return ocsfEntityEvent(createOrUpdate(e.Before == nil), "API", string(e.API))
	case events.APIRetired:
		return ocsfEntityEvent(ocsfEntityDelete, "API", string(e.API))
	case events.PermissionDefined:
		return ocsfEntityEvent(createOrUpdate(e.Before == nil), "Permission", e.Permission.String())
	case events.PermissionRetired:
		return ocsfEntityEvent(ocsfEntityDelete, "Permission", e.Permission.String())
	case events.ResourceTypeDefined:
		return ocsfEntityEvent(createOrUpdate(e.Before == nil), "Resource Type", string(e.Type))
	case events.ResourceTypeRetired:
		return ocsfEntityEvent(ocsfEntityDelete, "Resource Type", string(e.Type))

	case events.RoleCreated:
		return ocsfRoleEvent(ocsfEntityCreate, e.Role.Principal())
	case events.RoleChanged:
		return ocsfRoleEvent(ocsfEntityUpdate, e.Role.Principal())
	case events.RoleDeleted:
		return ocsfRoleEvent(ocsfEntityDelete, e.Role.Principal())
	case events.GroupCreated:
		return ocsfGroupEvent(ocsfGroupCreate, e.Group.Principal(), r.Tenant)
	case events.GroupDeleted:
		return ocsfGroupEvent(ocsfGroupDelete, e.Group.Principal(), r.Tenant)
	case events.PrincipalDeleted:
		return ocsfAccountEvent(ocsfAccountDelete, e.Principal, r.Tenant)

	case events.PrincipalDescribed:
		return named("Principal Described", ocsfAccountEvent(ocsfOther, e.Principal, r.Tenant))
	case events.PrincipalErased:
		return named("Personal Data Erased", ocsfAccountEvent(ocsfOther, e.Principal, r.Tenant))

	case events.GroupMemberAdded, events.GroupParentSet, events.RoleAssigned, events.PermissionGranted,
		events.RolePermissionAdded, events.RoleIncluded:
		edge, _ := events.Begins(e)
		return ocsfEdge(given, edge, r.Tenant)
	case events.GroupMemberRemoved, events.GroupParentUnset, events.RoleUnassigned, events.PermissionRevoked,
		events.RolePermissionRemoved, events.RoleExcluded:
		edge, _, _ := events.Ends(e)
		return ocsfEdge(taken, edge, r.Tenant)
	case events.ValidityExpired:
		expired := ocsfEdge(taken, e.Edge, r.Tenant)
		expired.StatusDetail = "its validity expired"
		return expired
	case events.ValidityStarted:
		return named("Validity Started", ocsfEdge(noted, e.Edge, r.Tenant))
	case events.ValidityCorrected:
		return named("Validity Corrected", ocsfEdge(noted, e.Edge, r.Tenant))
	}
	return ocsfEvent{}
}

// change is what an event does to a fact: begin it, end it, or say something of it.
type change int

const (
	given change = iota
	taken
	noted
)

// activity picks the activity of a class.
func (c change) activity(given, taken int) int { return [...]int{given, taken, ocsfOther}[c] }

// ocsfEdge maps a change of one fact.
func ocsfEdge(c change, edge events.Edge, tenant events.Tenant) ocsfEvent {
	switch edge.Kind {
	case events.EdgeMember:
		e := ocsfGroupEvent(c.activity(ocsfAddUser, ocsfRemoveUser), edge.To, tenant)
		e.User = ocsfUserOf(edge.From, tenant)
		return e
	case events.EdgeParent:
		e := ocsfGroupEvent(c.activity(ocsfAddSubgroup, ocsfRemoveSubgroup), edge.To, tenant)
		e.Subgroup = ocsfGroupOf(edge.From, tenant)
		return e
	case events.EdgeInclusion:
		return ocsfRoleEvent(c.activity(ocsfEntityUpdate, ocsfEntityUpdate), edge.From)
	case events.EdgeAssignment, events.EdgeGrant:
		privilege := edge.To.String()
		if edge.Kind == events.EdgeGrant {
			privilege = string(edge.Permission.Name)
		}
		activity := c.activity(ocsfAssignPrivileges, ocsfRevokePrivileges)
		return ocsfHolding(activity, edge.From, privilege, ocsfResourcesOf(edge), tenant)
	}
	return ocsfEvent{}
}

// ocsfHolding is an activity on what somebody holds. The class is that of the holder.
func ocsfHolding(activity int, holder events.Principal, privilege string, resources []ocsfResource, tenant events.Tenant) ocsfEvent {
	switch holder.Kind {
	case events.KindRole: // Entity Management has no privileges: what changed is in unmapped.data
		if activity != ocsfOther {
			activity = ocsfEntityUpdate
		}
		return ocsfRoleEvent(activity, holder)
	case events.KindGroup:
		e := ocsfGroupEvent(activity, holder, tenant)
		e.Privileges = []string{privilege}
		if n := len(resources); n > 0 {
			e.Resource = &resources[n-1] // 1.8.0 takes one here: the narrowest
		}
		return e
	default:
		return ocsfEvent{
			ClassUID: ocsfUserAccess, ActivityID: activity,
			User: ocsfUserOf(holder, tenant), Privileges: []string{privilege}, Resources: resources,
		}
	}
}

func ocsfAccountEvent(activity int, p events.Principal, tenant events.Tenant) ocsfEvent {
	return ocsfEvent{ClassUID: ocsfAccountChange, ActivityID: activity, User: ocsfUserOf(p, tenant)}
}

func ocsfGroupEvent(activity int, group events.Principal, tenant events.Tenant) ocsfEvent {
	return ocsfEvent{ClassUID: ocsfGroupManagement, ActivityID: activity, Group: ocsfGroupOf(group, tenant)}
}

func ocsfRoleEvent(activity int, role events.Principal) ocsfEvent {
	return ocsfEntityEvent(activity, "Role", role.ID)
}

func ocsfEntityEvent(activity int, kind, name string) ocsfEvent {
	return ocsfEvent{
		ClassUID: ocsfEntityManagement, ActivityID: activity,
		Entity: &ocsfEntity{Name: name, Type: kind, TypeID: ocsfOther},
	}
}

func createOrUpdate(isNew bool) int {
	if isNew {
		return ocsfEntityCreate
	}
	return ocsfEntityUpdate
}

// named gives an activity that the schema has no word for its own.
func named(activity string, e ocsfEvent) ocsfEvent {
	e.ActivityName = activity
	return e
}

// severe marks what an operator should look at even when it was meant: Medium. All else is Informational.
func severe(e ocsfEvent) ocsfEvent {
	e.SeverityID, e.Severity = 3, "Medium"
	return e
}

// ocsfLine is an event as a line of OCSF.
func ocsfLine(ledger events.LedgerID, r events.Recorded) ([]byte, error) {
	e, err := ocsfEventOf(ledger, r)
	if err != nil {
		return nil, err
	}
	return encodeJSON(e, "")
}

// ocsfResourcesOf are what a holding is about, the widest first: the API, then the scope.
func ocsfResourcesOf(edge events.Edge) (list []ocsfResource) {
	if api := edge.Permission.API; api != "" {
		list = append(list, ocsfResource{Name: string(api), UID: "api:" + string(api), Type: "API"})
	}
	if s := edge.Scope; s.Kind != events.ScopeNone {
		list = append(list, ocsfResource{Name: s.Value, UID: s.String(), Type: string(s.Type)})
	}
	return list
}
