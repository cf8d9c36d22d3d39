package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger"
	"github.com/permledger/permledger/ledger/catalogs"
	"github.com/permledger/permledger/projections/audit"
)

// submission is the input of both ways to write.
type submission struct {
	request
	Key     string `header:"Idempotency-Key" doc:"Makes the request idempotent for ever: the same again gives the first answer"`
	RawBody []byte
}

func (s *Server) registerCommands() {
	register(s, huma.Operation{
		Method: http.MethodPost, Path: "/v1/commands", Tags: []string{"write"},
		Summary:      "Carry out commands, whole or not at all",
		RequestBody:  jsonRequest[api.Request](s),
		MaxBodyBytes: api.MaxBodyBytes + 1, Middlewares: huma.Middlewares{withBody}, SkipValidateBody: true,
	}, func(ctx context.Context, in *submission) (*answered[api.Receipt], error) {
		r, err := api.DecodeRequest(in.RawBody)
		if err != nil {
			return nil, err
		}
		return s.submit(ctx, in, r)
	})
	register(s, huma.Operation{
		Method: http.MethodPost, Path: "/v1/catalogs", Tags: []string{"write"},
		Summary:      "Bring a tenant to a version of a catalog",
		RequestBody:  jsonRequest[api.CatalogLoad](s),
		MaxBodyBytes: api.MaxBodyBytes + 1, Middlewares: huma.Middlewares{withBody}, SkipValidateBody: true,
	}, func(ctx context.Context, in *submission) (*answered[api.Receipt], error) {
		r, err := api.DecodeCatalogLoad(in.RawBody)
		if err != nil {
			return nil, err
		}
		return s.submit(ctx, in, r)
	})
}

func (s *Server) submit(ctx context.Context, in *submission, wire api.Request) (*answered[api.Receipt], error) {
	r, err := ledgerRequest(wire)
	if err != nil {
		return nil, err
	}
	if err := s.seal(wire, &r); err != nil {
		return nil, err
	}
	if err := s.findKeys(&r); err != nil {
		return nil, err
	}
	meta := in.exchange.meta()
	r.Actor, r.AuthMethod, r.Source = meta.Actor, meta.AuthMethod, meta.Source
	if r.RequestID == "" {
		r.RequestID = meta.RequestID
	}
	receipt, err := s.carryOut(ctx, r, in.Key, wire.DryRun)
	if err == nil && !wire.DryRun {
		err = s.destroyKeys(receipt.Events)
	}
	if err != nil {
		return nil, err
	}
	if wire.Proof {
		s.proveReceipt(ctx, &receipt)
	}
	return answer(receipt.Revision, receipt), nil
}

func (s *Server) carryOut(ctx context.Context, r ledger.Request, key string, dry bool) (api.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.WriteTimeout)
	defer cancel()
	if dry {
		receipt, err := s.config.Ledger.DryRun(ctx, r)
		if err != nil {
			return api.Receipt{}, err
		}
		return s.wouldBe(receipt)
	}
	r.Key = key
	receipt, err := s.config.Ledger.Submit(ctx, r)
	if err != nil {
		return api.Receipt{}, err
	}
	if receipt.Replayed {
		return s.earlier(ctx, receipt)
	}
	return s.wireReceipt(receipt), nil
}

// earlier completes a receipt found by its key: the ledger knows where its events are, the trail has them.
func (s *Server) earlier(ctx context.Context, r ledger.Receipt) (api.Receipt, error) {
	if r.Events == 0 || len(r.Recorded) > 0 {
		return s.wireReceipt(r), nil
	}
	last := r.Position + events.Position(r.Events) - 1
	for e, err := range s.config.Audit.Events(ctx, audit.Filter{From: r.Position, To: last}) {
		if err != nil {
			return api.Receipt{}, fmt.Errorf("read the events of revision=%d: %w", r.Revision, err)
		}
		r.Recorded = append(r.Recorded, e)
	}
	stored, err := s.config.Audit.Commit(ctx, r.Revision)
	if err != nil {
		return api.Receipt{}, err
	}
	r.Hash = sha256.Sum256(stored.Bytes)
	return s.wireReceipt(r), nil
}

// wouldBe gives the events of a dry run the form they would be stored in. They have no place yet.
func (s *Server) wouldBe(r ledger.Receipt) (api.Receipt, error) {
	for i := range r.Recorded {
		e := &r.Recorded[i]
		var err error
		if e.Raw, err = events.MarshalEvent(*e); err != nil {
			return api.Receipt{}, err
		}
	}
	out := s.wireReceipt(r)
	out.DryRun = true
	return out, nil
}

// ledgerRequest reads the wire form. Who acts, and how that is known, is not in it.
func ledgerRequest(wire api.Request) (ledger.Request, error) {
	r := ledger.Request{
		Tenant: wire.Tenant,
		Meta: events.Meta{
			OnBehalfOf: wire.OnBehalfOf, RequestID: wire.RequestID, Reason: wire.Reason,
			Ticket: wire.Ticket, Approvals: wire.Approvals, Origin: wire.Origin,
		},
		ValidFrom: wire.ValidFrom, ValidUntil: wire.ValidUntil, Strict: wire.Strict,
		Commands: make([]ledger.Command, len(wire.Commands)),
	}
	if r.Tenant == "" {
		r.Tenant = events.DefaultTenant
	}
	for _, e := range wire.Expect {
		r.Expect = append(r.Expect, ledger.Expectation(e))
	}
	for i, c := range wire.Commands {
		field := fmt.Sprintf("commands[%d]", i)
		var err error
		if r.Commands[i], err = ledgerCommand(field, c); err != nil {
			return r, err
		}
	}
	return r, nil
}

// ledgerCommand reads one command; field is its place in the request.
func ledgerCommand(field string, c api.Command) (ledger.Command, error) {
	switch c.Do {
	case "grant", "revoke", "role.add-permission", "role.remove-permission":
		return permissionCommand(field, c)
	case "assign", "unassign":
		return assignmentCommand(field, c)
	case "role.create":
		return ledger.CreateRole{Role: c.Role, Attr: attributes(c)}, nil
	case "role.change":
		return ledger.ChangeRole{Role: c.Role, Attr: attributes(c)}, nil
	case "role.delete":
		return ledger.DeleteRole{Role: c.Role}, nil
	case "role.include":
		return ledger.IncludeRole{Role: c.Role, Included: c.Included}, nil
	case "role.exclude":
		return ledger.ExcludeRole{Role: c.Role, Included: c.Included}, nil
	case "group.create":
		return ledger.CreateGroup{Group: c.Group, Attr: attributes(c)}, nil
	case "group.delete":
		return ledger.DeleteGroup{Group: c.Group}, nil
	case "group.add-member":
		return ledger.AddMember{Group: c.Group, Member: c.Member}, nil
	case "group.remove-member":
		return ledger.RemoveMember{Group: c.Group, Member: c.Member}, nil
	case "group.set-parent":
		return ledger.SetParent{Group: c.Group, Parent: c.Parent}, nil
	case "group.unset-parent":
		return ledger.UnsetParent{Group: c.Group, Parent: c.Parent}, nil
	case "principal.delete":
		return ledger.DeletePrincipal{Principal: c.Principal}, nil
	case "principal.describe":
		return ledger.DescribePrincipal{Principal: c.Principal, Profile: *c.Profile}, nil
	case "principal.erase":
		return ledger.ErasePrincipal{Principal: c.Principal}, nil
	case "correct":
		return ledger.CorrectValidity{Fact: c.Fact, From: events.Instant(c.ValidFrom), Until: events.Instant(c.ValidUntil)}, nil
	case "tenant.create":
		return ledger.CreateTenant{Name: c.Name}, nil
	case "tenant.delete":
		return ledger.DeleteTenant{}, nil
	case "administrator.add":
		return ledger.AddAdministrator{Principal: c.Principal}, nil
	case "administrator.remove":
		return ledger.RemoveAdministrator{Principal: c.Principal}, nil
	case "api.define", "permission.define", "type.define":
		return definitionCommand(field, c)
	case "catalog.load":
		return catalogCommand(field, c)
	}
	return nil, events.Invalid(field+".do", c.Do, "is not something this server can do")
}

func permissionCommand(field string, c api.Command) (ledger.Command, error) {
	scope, err := c.Resource.Scope(field + ".resource")
	if err != nil {
		return nil, err
	}
	right := ledger.Right{Name: c.Permission, Audience: c.Resource.Audience, Scope: scope}
	switch c.Do {
	case "grant":
		return ledger.Grant{Principal: c.Principal, Right: right}, nil
	case "revoke":
		return ledger.Revoke{Principal: c.Principal, Right: right}, nil
	case "role.add-permission":
		return ledger.AddRolePermission{Role: c.Role, Right: right}, nil
	}
	return ledger.RemoveRolePermission{Role: c.Role, Right: right}, nil
}

// assignmentCommand takes no resource, or one of a resource type: a role is not about a single API.
func assignmentCommand(field string, c api.Command) (ledger.Command, error) {
	var scope events.Scope
	if !c.Resource.IsZero() {
		var err error
		if scope, err = c.Resource.Scope(field + ".resource"); err != nil {
			return nil, err
		}
		if scope.IsZero() {
			return nil, events.Invalid(field+".resource", c.Resource.String(), "a role is assigned on a resource type, or on nothing in particular: leave the resource out")
		}
	}
	if c.Do == "assign" {
		return ledger.AssignRole{Principal: c.Principal, Role: c.Role, Scope: scope}, nil
	}
	return ledger.UnassignRole{Principal: c.Principal, Role: c.Role, Scope: scope}, nil
}

func definitionCommand(field string, c api.Command) (ledger.Command, error) {
	switch c.Do {
	case "api.define":
		d := ledger.DefineAPI{API: c.API}
		return d, c.DecodeDefinition(field, &d.Def)
	case "permission.define":
		d := ledger.DefinePermission{Permission: events.Permission{API: c.API, Name: c.Permission}}
		return d, c.DecodeDefinition(field, &d.Def)
	}
	d := ledger.DefineResourceType{Type: c.Type}
	return d, c.DecodeDefinition(field, &d.Def)
}

func catalogCommand(field string, c api.Command) (ledger.Command, error) {
	if c.Catalog != "" {
		contents, err := catalogs.Load(string(c.Catalog))
		if errors.Is(err, catalogs.ErrUnknown) {
			return nil, &ledger.Refusal{Code: ledger.CodeUnknownCatalog, Message: err.Error()}
		}
		return ledger.LoadCatalog{Contents: contents}, err
	}
	contents, err := catalogs.Read(bytes.NewReader(c.FileText()))
	if err != nil {
		place := field + ".file"
		var invalid *events.InvalidError
		if errors.As(err, &invalid) {
			place += "." + invalid.Field
		}
		e := api.NewError(api.CodeInvalid, err.Error())
		e.Field = place
		return nil, e
	}
	return ledger.LoadCatalog{Contents: contents}, nil
}

func attributes(c api.Command) events.Attributes {
	return events.Attributes{Name: c.Name, Description: c.Description}
}

func (s *Server) wireReceipt(r ledger.Receipt) api.Receipt {
	out := api.Receipt{
		Command: r.Command, Revision: r.Revision, Nothing: r.Nothing, Replayed: r.Replayed,
		Events: each(r.Recorded, s.wireEvent),
	}
	if r.Hash != (events.Hash{}) {
		out.Hash = r.Hash.String()
	}
	return out
}
