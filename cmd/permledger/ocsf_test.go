package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/permledger/permledger/events"
)

// The part of OCSF 1.8.0 that our lines are held against. Each list of attributes is that of the file named in
// github.com/ocsf/ocsf-schema before what its CHANGELOG gives for 1.9.0; those with a * are required there.

// ocsfObject is an object or a class of the schema.
type ocsfObject struct {
	attributes string
	oneOf      string            // constraints.at_least_one
	objects    map[string]string // attributes that are objects, or lists of objects
	activities []int             // enum of activity_id; every class has 0 and 99 besides
}

var ocsfBase = ocsfObject{ // events/base_event.json and events/iam/iam.json
	attributes: `activity_id* activity_name category_uid* category_name class_uid* class_name count duration end_time enrichments
		message metadata* observables raw_data raw_data_hash raw_data_size severity severity_id* start_time status status_code
		status_detail status_id time* timezone_offset type_name type_uid* unmapped actor http_request http_response src_endpoint`,
	objects: map[string]string{"metadata": "metadata", "actor": "actor", "src_endpoint": "network_endpoint"},
}

var ocsfClasses = map[int]ocsfObject{
	3001: { // events/iam/account_change.json
		attributes: `auth_factors policies policy user* user_result`,
		objects:    map[string]string{"user": "user"}, activities: []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
	},
	3004: { // events/iam/entity_management.json
		attributes: `access_list access_mask comment entity* entity_result`,
		objects:    map[string]string{"entity": "managed_entity"}, activities: []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13},
	},
	3005: { // events/iam/user_access.json
		attributes: `privileges* resource resources user*`,
		objects:    map[string]string{"user": "user", "resources": "resource_details"}, activities: []int{1, 2},
	},
	3006: { // events/iam/group_management.json
		attributes: `group* privileges resource subgroup user`,
		objects:    map[string]string{"group": "group", "subgroup": "group", "user": "user", "resource": "resource_details"}, activities: []int{1, 2, 3, 4, 5, 6, 7, 8},
	},
}

var ocsfObjects = map[string]ocsfObject{
	"metadata": { // objects/metadata.json
		attributes: `correlation_uid debug event_code extension extensions is_truncated labels log_format log_level log_name log_provider
			log_source log_version logged_time loggers modified_time original_event_uid original_time processed_time product* profiles
			reporter sequence source tags tenant_uid total_queued_duration transformation_info_list transmit_time type uid
			untruncated_size version*`,
		objects: map[string]string{"product": "product"},
	},
	"product": { // objects/product.json
		attributes: `cpe_name feature lang name path uid url_string vendor_name version`, oneOf: "name uid",
	},
	"actor": { // objects/actor.json
		attributes: `app_name app_uid authorizations idp invoked_by process session user`, oneOf: "process user invoked_by session app_name app_uid",
		objects: map[string]string{"user": "user"},
	},
	"user": { // objects/user.json
		attributes: `account credential_uid display_name domain email_addr forward_addr full_name groups has_mfa ldap_person name org
			phone_number programmatic_credentials risk_level risk_level_id risk_score type type_id uid uid_alt`, oneOf: "account name uid",
	},
	"group":            {attributes: `desc domain name privileges type uid uid_alt`, oneOf: "name uid"},                                                                // objects/group.json
	"managed_entity":   {attributes: `data device email group location name org policy type type_id uid user version`, oneOf: "name uid device group org policy user"}, // objects/managed_entity.json
	"resource_details": {attributes: `created_time data labels modified_time name tags type uid uid_alt`, oneOf: "name uid"},                                           // objects/_resource.json, what resource_details.json extends
	"network_endpoint": {attributes: `ip name port uid`, oneOf: "ip name uid"},                                                                                         // objects/network_endpoint.json, the part used here
}

// check holds an object against the schema: what must be there, what may, and all the way down.
func (o ocsfObject) check(where string, value map[string]any) error {
	allowed := map[string]bool{}
	for _, a := range strings.Fields(o.attributes) {
		name, required := strings.CutSuffix(a, "*")
		allowed[name] = true
		if _, there := value[name]; required && !there {
			return fmt.Errorf("%s has no %s", where, name)
		}
	}
	for name, v := range value {
		if !allowed[name] {
			return fmt.Errorf("%s has a %s", where, name)
		}
		if v == nil || v == "" {
			return fmt.Errorf("%s has nothing in %s", where, name)
		}
	}
	if o.oneOf != "" && !slices.ContainsFunc(strings.Fields(o.oneOf), func(name string) bool { return value[name] != nil }) {
		return fmt.Errorf("%s has none of %s", where, o.oneOf)
	}
	for name, kind := range o.objects {
		for _, v := range listOf(value[name]) {
			object, ok := v.(map[string]any)
			if !ok {
				return fmt.Errorf("%s.%s is no object", where, name)
			}
			if err := ocsfObjects[kind].check(where+"."+name, object); err != nil {
				return err
			}
		}
	}
	return nil
}

func listOf(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

// checkOCSF holds a line against its class.
func checkOCSF(line []byte) error {
	var value map[string]any
	if err := json.Unmarshal(line, &value); err != nil {
		return err
	}
	number := func(name string) int {
		n, _ := value[name].(float64)
		return int(n)
	}
	class, known := ocsfClasses[number("class_uid")]
	if !known {
		return fmt.Errorf("class_uid is %v", value["class_uid"])
	}
	if a := number("activity_id"); a != 99 && !slices.Contains(class.activities, a) {
		return fmt.Errorf("class %d has no activity %d", number("class_uid"), a)
	}
	if got := number("type_uid"); got != number("class_uid")*100+number("activity_id") {
		return fmt.Errorf("type_uid is %d", got)
	}
	if number("category_uid") != 3 || number("severity_id") < 1 || number("severity_id") > 6 || number("time") == 0 {
		return fmt.Errorf("category_uid %v, severity_id %v, time %v", value["category_uid"], value["severity_id"], value["time"])
	}
	whole := ocsfObject{attributes: ocsfBase.attributes + " " + class.attributes, objects: maps.Clone(ocsfBase.objects)}
	maps.Copy(whole.objects, class.objects)
	if err := whole.check("event", value); err != nil {
		return err
	}
	if list, there := value["privileges"]; there && len(listOf(list)) == 0 {
		return fmt.Errorf("no privilege in privileges")
	}
	if metadata := value["metadata"].(map[string]any); metadata["version"] != "1.8.0" {
		return fmt.Errorf("version is %v", metadata["version"])
	}
	return nil
}

func TestOCSF(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range append(goldenEvents(t), everyRecorded(replayCommits(t))...) {
		line, err := ocsfLine(exampleID(0), r)
		if err == nil {
			err = checkOCSF(line)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", events.Name(r.Event), err, line)
		}
		seen[events.Name(r.Event)] = true
	}
	if len(seen) != len(events.Names()) {
		t.Errorf("%d kinds of events, want %d", len(seen), len(events.Names()))
	}
}

// TestCheckOCSF is the control of the check.
func TestCheckOCSF(t *testing.T) {
	for _, r := range goldenEvents(t) {
		if events.Name(r.Event) != "permission.granted" {
			continue
		}
		line, err := ocsfLine(exampleID(0), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range [][2]string{
			{`"class_uid":3005`, `"class_uid":3002`}, {`"activity_id":1`, `"activity_id":3`}, {`"type_uid":300501`, `"type_uid":300502`},
			{`"user":{"name":"alice"`, `"users":{"name":"alice"`}, {`"privileges":["read:*"]`, `"privileges":[]`}, {`"privileges":["read:*"],`, ``},
			{`"version":"1.8.0"`, `"version":"1.9.0"`}, {`"category_uid":3`, `"category_uid":6`}, {`"severity_id":1`, `"severity_id":0`},
			{`"product":{"name":"permledger"`, `"product":{"product":"permledger"`}, {`"message":"`, `"text":"`}, {`"uid":"api:operate"`, `"uuid":"api:operate"`},
			{`"metadata":{"version":"1.8.0",`, `"metadata":{`},
		} {
			bad := strings.Replace(string(line), change[0], change[1], 1)
			if bad == string(line) {
				t.Errorf("%s does not occur in %s", change[0], line)
			}
			if checkOCSF([]byte(bad)) == nil {
				t.Errorf("passes: %s", bad)
			}
		}
	}
}

// What every event is mapped to, to be read beside the table in ocsf.go.
func TestOCSFMapping(t *testing.T) {
	alice, ops, operator := events.User("alice"), events.Group("ops").Principal(), events.Role("operator").Principal()
	read := events.Permission{API: "operate", Name: "read:*"}
	process := events.AnyOf("Process")
	grant := func(p events.Principal) events.Edge {
		return events.Edge{Kind: events.EdgeGrant, From: p, Permission: read, Scope: process}
	}
	member := events.Edge{Kind: events.EdgeMember, From: alice, To: ops}
	below := events.Edge{Kind: events.EdgeParent, From: ops, To: events.Group("staff").Principal()}
	for _, c := range []struct {
		event events.Event
		want  string
	}{
		{events.LedgerCreated{}, "Entity Management: Create | Ledger 00000000-0000-0000-0000-000000000000"},
		{events.AdministratorAdded{Principal: alice}, "User Access Management: Assign Privileges | user:alice | administer the ledger | Medium"},
		{events.AdministratorRemoved{Principal: alice}, "User Access Management: Revoke Privileges | user:alice | administer the ledger | Medium"},
		{events.TenantCreated{}, "Entity Management: Create | Tenant acme"},
		{events.TenantDeleted{}, "Entity Management: Delete | Tenant acme | Medium"},
		{events.CatalogLoaded{Catalog: "camunda"}, "Entity Management: Create | Catalog camunda"},
		{events.CatalogLoaded{Catalog: "camunda", Before: &events.CatalogInfo{}}, "Entity Management: Update | Catalog camunda"},
		{events.APIDefined{API: "operate"}, "Entity Management: Create | API operate"},
		{events.APIDefined{API: "operate", Before: &events.APIDefinition{}}, "Entity Management: Update | API operate"},
		{events.APIRetired{API: "operate"}, "Entity Management: Delete | API operate"},
		{events.PermissionDefined{Permission: read}, "Entity Management: Create | Permission read:* of operate"},
		{events.PermissionDefined{Permission: read, Before: &events.PermissionDefinition{}}, "Entity Management: Update | Permission read:* of operate"},
		{events.PermissionRetired{Permission: read}, "Entity Management: Delete | Permission read:* of operate"},
		{events.ResourceTypeDefined{Type: "Process"}, "Entity Management: Create | Resource Type Process"},
		{events.ResourceTypeDefined{Type: "Process", Before: &events.ResourceTypeDefinition{}}, "Entity Management: Update | Resource Type Process"},
		{events.ResourceTypeRetired{Type: "Process"}, "Entity Management: Delete | Resource Type Process"},
		{events.RoleCreated{Role: "operator"}, "Entity Management: Create | Role operator"},
		{events.RoleChanged{Role: "operator"}, "Entity Management: Update | Role operator"},
		{events.RoleDeleted{Role: "operator"}, "Entity Management: Delete | Role operator"},
		{events.RolePermissionAdded{Role: "operator", Permission: read}, "Entity Management: Update | Role operator"},
		{events.RolePermissionRemoved{Role: "operator", Permission: read}, "Entity Management: Update | Role operator"},
		{events.RoleIncluded{Role: "operator", Included: "viewer"}, "Entity Management: Update | Role operator"},
		{events.RoleExcluded{Role: "operator", Included: "viewer"}, "Entity Management: Update | Role operator"},
		{events.GroupCreated{Group: "ops"}, "Group Management: Create | group:ops"},
		{events.GroupDeleted{Group: "ops"}, "Group Management: Delete | group:ops"},
		{events.GroupMemberAdded{Group: "ops", Member: alice}, "Group Management: Add User | group:ops | user:alice"},
		{events.GroupMemberRemoved{Group: "ops", Member: alice}, "Group Management: Remove User | group:ops | user:alice"},
		{events.GroupParentSet{Group: "ops", Parent: "staff"}, "Group Management: Add Subgroup | group:staff | below it group:ops"},
		{events.GroupParentUnset{Group: "ops", Parent: "staff"}, "Group Management: Remove Subgroup | group:staff | below it group:ops"},
		{events.RoleAssigned{Principal: alice, Role: "operator", Scope: process}, "User Access Management: Assign Privileges | user:alice | role:operator | Process:*"},
		{events.RoleUnassigned{Principal: alice, Role: "operator"}, "User Access Management: Revoke Privileges | user:alice | role:operator"},
		{events.RoleAssigned{Principal: ops, Role: "operator"}, "Group Management: Assign Privileges | group:ops | role:operator"},
		{events.RoleUnassigned{Principal: ops, Role: "operator"}, "Group Management: Revoke Privileges | group:ops | role:operator"},
		{events.PermissionGranted{Principal: alice, Permission: read}, "User Access Management: Assign Privileges | user:alice | read:* | api:operate"},
		{events.PermissionGranted{Principal: events.Client("ci"), Permission: read, Scope: events.Exactly("Process", "order:1")}, "User Access Management: Assign Privileges | client:ci | read:* | api:operate Process:order:1"},
		{events.PermissionRevoked{Principal: alice, Permission: read}, "User Access Management: Revoke Privileges | user:alice | read:* | api:operate"},
		{events.PermissionGranted{Principal: ops, Permission: read, Scope: process}, "Group Management: Assign Privileges | group:ops | read:* | Process:*"},
		{events.PermissionRevoked{Principal: ops, Permission: read}, "Group Management: Revoke Privileges | group:ops | read:* | api:operate"},
		{events.PermissionGranted{Principal: operator, Permission: read}, "Entity Management: Update | Role operator"},
		{events.PrincipalDeleted{Principal: alice}, "Account Change: Delete | user:alice"},
		{events.PrincipalDescribed{Principal: alice}, "Account Change: Other | Principal Described | user:alice"},
		{events.PrincipalErased{Principal: alice}, "Account Change: Other | Personal Data Erased | user:alice"},
		{events.KeyAnnounced{Key: goldenKey.Public()}, "Entity Management: Create | Key " + goldenKey.Public().String() + " | Medium"},
		{events.ForkAccepted{}, "Entity Management: Other | Fork Accepted | Ledger 00000000-0000-0000-0000-000000000000 | Medium"},
		{events.ValidityExpired{Edge: grant(alice)}, "User Access Management: Revoke Privileges | user:alice | read:* | api:operate Process:* | its validity expired"},
		{events.ValidityExpired{Edge: member}, "Group Management: Remove User | group:ops | user:alice | its validity expired"},
		{events.ValidityExpired{Edge: below}, "Group Management: Remove Subgroup | group:staff | below it group:ops | its validity expired"},
		{events.ValidityExpired{Edge: grant(operator)}, "Entity Management: Update | Role operator | its validity expired"},
		{events.ValidityStarted{Edge: grant(alice)}, "User Access Management: Other | Validity Started | user:alice | read:* | api:operate Process:*"},
		{events.ValidityStarted{Edge: member}, "Group Management: Other | Validity Started | group:ops | user:alice"},
		{events.ValidityCorrected{Edge: grant(ops)}, "Group Management: Other | Validity Corrected | group:ops | read:* | Process:*"},
		{events.ValidityCorrected{Edge: grant(operator)}, "Entity Management: Other | Validity Corrected | Role operator"},
	} {
		raw, err := events.MarshalEvent(events.Recorded{Event: c.event, Tenant: "acme", Meta: events.Meta{Actor: alice}})
		if err != nil {
			t.Fatal(err)
		}
		e, err := ocsfEventOf(exampleID(0), events.Recorded{Event: c.event, Tenant: "acme", Raw: raw})
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := ocsfInShort(e); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", raw, got, c.want)
		}
	}
}

func ocsfInShort(e ocsfEvent) string {
	parts := []string{e.TypeName}
	if e.ActivityID == ocsfOther {
		parts = append(parts, e.ActivityName)
	}
	if e.Entity != nil {
		parts = append(parts, e.Entity.Type+" "+e.Entity.Name)
	}
	if e.Group != nil {
		parts = append(parts, e.Group.UID)
	}
	if e.Subgroup != nil {
		parts = append(parts, "below it "+e.Subgroup.UID)
	}
	if e.User != nil {
		parts = append(parts, e.User.UID)
	}
	parts = append(parts, e.Privileges...)
	var resources []string
	for _, r := range e.Resources {
		resources = append(resources, r.UID)
	}
	if e.Resource != nil {
		resources = append(resources, e.Resource.UID)
	}
	parts = append(parts, strings.Join(resources, " "), e.StatusDetail)
	if e.SeverityID != 1 {
		parts = append(parts, e.Severity)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " | ")
}

// The source of a request is an address, an address with a port, or what a proxy says it is.
func TestOCSFEndpoint(t *testing.T) {
	for source, want := range map[string]string{
		"":                 "null",
		"192.0.2.1":        `{"ip":"192.0.2.1"}`,
		"192.0.2.1:4711":   `{"ip":"192.0.2.1","port":4711}`,
		"2001:db8::1":      `{"ip":"2001:db8::1"}`,
		"[2001:db8::1]":    `{"ip":"2001:db8::1"}`,
		"[2001:db8::1]:80": `{"ip":"2001:db8::1","port":80}`,
		"nats":             `{"name":"nats"}`,
	} {
		if got, err := json.Marshal(ocsfEndpointOf(source)); err != nil || string(got) != want {
			t.Errorf("%q: %s, %v; want %s", source, got, err, want)
		}
	}
}
