package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// ocsfEvent holds the attributes of OCSF's base event and of the four classes used (ocsf.go), in the order they
// are printed. A class takes those of its own only, which a test holds.
type ocsfEvent struct {
	// events/base_event.json: classification
	CategoryUID  int    `json:"category_uid"`
	CategoryName string `json:"category_name"`
	ClassUID     int    `json:"class_uid"`
	ClassName    string `json:"class_name"`
	ActivityID   int    `json:"activity_id"`
	ActivityName string `json:"activity_name"`
	TypeUID      int    `json:"type_uid"` // class_uid*100 + activity_id
	TypeName     string `json:"type_name"`
	SeverityID   int    `json:"severity_id"`
	Severity     string `json:"severity"`

	// events/base_event.json: occurrence and primary
	Time           int64  `json:"time"` // milliseconds since 1970
	TimezoneOffset int    `json:"timezone_offset"`
	Message        string `json:"message"`
	StatusID       int    `json:"status_id"` // what is in the ledger has happened: Success
	Status         string `json:"status"`
	StatusDetail   string `json:"status_detail,omitempty"`

	// events/iam/iam.json
	Actor       *ocsfActor    `json:"actor,omitempty"`
	SrcEndpoint *ocsfEndpoint `json:"src_endpoint,omitempty"`

	// events/iam/*.json: of the class
	User       *ocsfUser      `json:"user,omitempty"`
	Group      *ocsfGroup     `json:"group,omitempty"`
	Subgroup   *ocsfGroup     `json:"subgroup,omitempty"`
	Entity     *ocsfEntity    `json:"entity,omitempty"`
	Privileges []string       `json:"privileges,omitempty"`
	Resource   *ocsfResource  `json:"resource,omitempty"`
	Resources  []ocsfResource `json:"resources,omitempty"`
	Comment    string         `json:"comment,omitempty"`

	Metadata ocsfMetadata `json:"metadata"`
	Unmapped ocsfUnmapped `json:"unmapped"`
}

// ocsfMetadata is objects/metadata.json. There is no product.version in it: the same log gives the same lines,
// whichever build reads it.
type ocsfMetadata struct {
	Version        string         `json:"version"` // of OCSF
	Product        ocsfProduct    `json:"product"`
	UID            events.EventID `json:"uid"`
	OriginalUID    events.EventID `json:"original_event_uid"`
	CorrelationUID string         `json:"correlation_uid"` // the command, which all its events share
	EventCode      string         `json:"event_code"`      // the wire name
	Sequence       uint64         `json:"sequence"`        // the position
	LogName        string         `json:"log_name"`
	LogProvider    string         `json:"log_provider"`
	LogVersion     string         `json:"log_version"` // of the wire name
	OriginalTime   events.Instant `json:"original_time"`
	LoggedTime     int64          `json:"logged_time"`
	TenantUID      string         `json:"tenant_uid,omitempty"`
}

// ocsfProduct is objects/product.json.
type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
}

// ocsfActor is objects/actor.json.
type ocsfActor struct {
	User *ocsfUser `json:"user"`
}

// ocsfEndpoint is objects/network_endpoint.json.
type ocsfEndpoint struct {
	IP   string `json:"ip,omitempty"`
	Port uint16 `json:"port,omitempty"`
	Name string `json:"name,omitempty"` // where the source is no address
}

// ocsfUser is objects/user.json: a user, client or mapping rule. The uid has its kind, because a user and a
// client may share a name.
type ocsfUser struct {
	Name   string `json:"name"`
	UID    string `json:"uid"`
	Type   string `json:"type"`
	TypeID int    `json:"type_id"`
	Domain string `json:"domain,omitempty"` // the tenant
}

// ocsfGroup is objects/group.json.
type ocsfGroup struct {
	Name   string `json:"name"`
	UID    string `json:"uid"`
	Domain string `json:"domain,omitempty"` // the tenant
}

// ocsfEntity is objects/managed_entity.json. No type of ours is in its list, so type_id is Other, and type says it.
type ocsfEntity struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	TypeID  int    `json:"type_id"`
	Version string `json:"version,omitempty"`
}

// ocsfResource is objects/resource_details.json.
type ocsfResource struct {
	Name string `json:"name,omitempty"` // absent where it is any of the type
	UID  string `json:"uid"`            // TYPE:ID, TYPE:* for any, TYPE/PROPERTY, api:ID
	Type string `json:"type"`
}

// ocsfUnmapped is what the classes have no attribute for: the rest of the envelope, and the event's own data as
// stored.
type ocsfUnmapped struct {
	Revision    events.Revision   `json:"revision"`
	OnBehalfOf  events.Principal  `json:"on_behalf_of,omitzero"`
	AuthMethod  string            `json:"auth_method,omitempty"`
	RequestID   string            `json:"request_id,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Ticket      string            `json:"ticket,omitempty"`
	Approvals   []events.Approval `json:"approvals,omitempty"`
	Origin      string            `json:"origin,omitempty"`
	Key         string            `json:"key,omitempty"`
	RequestHash string            `json:"request_hash,omitempty"`
	Sealed      *events.Sealed    `json:"sealed,omitempty"`
	ValidFrom   events.Instant    `json:"valid_from,omitzero"`
	ValidUntil  events.Instant    `json:"valid_until,omitzero"`
	Data        json.RawMessage   `json:"data"`
}

const ocsfSchema = "1.8.0"

// ocsfEventOf gives an event with every attribute there is something for.
func ocsfEventOf(ledger events.LedgerID, r events.Recorded) (ocsfEvent, error) {
	stored, err := storedEvent(r)
	if err != nil {
		return ocsfEvent{}, err
	}
	e := ocsfMapped(r)
	names, known := ocsfNames[e.ClassUID]
	if e.ActivityName == "" {
		e.ActivityName = names.activities[e.ActivityID]
	}
	if !known || e.ActivityName == "" {
		return e, fmt.Errorf("%s at position %d has no class of OCSF", stored.Type, r.Position)
	}
	e.CategoryUID, e.CategoryName = 3, "Identity & Access Management"
	e.ClassName = names.class
	e.TypeUID, e.TypeName = e.ClassUID*100+e.ActivityID, e.ClassName+": "+e.ActivityName
	if e.ActivityID == ocsfOther {
		e.TypeName = e.ClassName + ": Other"
	}
	if e.SeverityID == 0 {
		e.SeverityID, e.Severity = 1, "Informational"
	}
	e.StatusID, e.Status = 1, "Success"
	e.Time = r.RecordedAt.Time().UnixMilli()
	e.Message = oneLine(eventLine(api.Event{Recorded: r}))
	if e.ClassUID == ocsfEntityManagement {
		e.Comment = r.Reason
	}
	if !r.Actor.IsZero() {
		e.Actor = &ocsfActor{ocsfUserOf(r.Actor, "")}
	}
	e.SrcEndpoint = ocsfEndpointOf(r.Source)
	e.Metadata = ocsfMetadata{
		Version: ocsfSchema, Product: ocsfProduct{"permledger", "permledger"},
		UID: r.ID, OriginalUID: r.ID, CorrelationUID: r.Command.String(), EventCode: stored.Type, Sequence: uint64(r.Position),
		LogName: ledgerURI(ledger), LogProvider: "permledger", LogVersion: strconv.Itoa(stored.Version),
		OriginalTime: r.RecordedAt, LoggedTime: e.Time, TenantUID: string(r.Tenant),
	}
	e.Unmapped = ocsfUnmapped{
		Revision: r.Revision, OnBehalfOf: r.OnBehalfOf, AuthMethod: r.AuthMethod, RequestID: r.RequestID, Reason: r.Reason,
		Ticket: r.Ticket, Approvals: r.Approvals, Origin: r.Origin, Key: r.Key, RequestHash: r.RequestHash, Sealed: r.Sealed,
		ValidFrom: r.ValidFrom, ValidUntil: r.ValidUntil, Data: stored.Data,
	}
	return e, nil
}

// ocsfUserOf is a principal as a user. An actor has no domain: it comes from the credential, and may act in
// several tenants.
func ocsfUserOf(p events.Principal, tenant events.Tenant) *ocsfUser {
	u := &ocsfUser{Name: p.ID, UID: p.String(), Domain: string(tenant)}
	switch p.Kind {
	case events.KindUser:
		u.Type, u.TypeID = "User", 1
	case events.KindClient:
		u.Type, u.TypeID = "Service", 4
	default:
		u.Type, u.TypeID = string(p.Kind), ocsfOther
	}
	return u
}

func ocsfGroupOf(p events.Principal, tenant events.Tenant) *ocsfGroup {
	return &ocsfGroup{Name: p.ID, UID: p.String(), Domain: string(tenant)}
}

func ocsfEndpointOf(source string) *ocsfEndpoint {
	if source == "" {
		return nil
	}
	if a, err := netip.ParseAddrPort(source); err == nil {
		return &ocsfEndpoint{IP: a.Addr().String(), Port: a.Port()}
	}
	if a, err := netip.ParseAddr(strings.Trim(source, "[]")); err == nil {
		return &ocsfEndpoint{IP: a.String()}
	}
	return &ocsfEndpoint{Name: source}
}
