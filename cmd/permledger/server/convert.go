package server

import (
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/projections/access"
)

// The answers of the view as wire types. Lists that hold nothing are empty, never null.

func wireMoment(m access.Moment) api.Moment {
	return api.Moment{Revision: m.Revision, ValidAt: m.ValidAt}
}

func wireDecision(d access.Decision) api.Decision {
	return api.Decision{
		Moment: wireMoment(d.Moment), Allowed: d.Allowed, Outcome: api.Outcome(d.Outcome), Reason: d.Reason, Missing: d.Missing,
	}
}

func wireExplanation(e access.Explanation, step func(access.Step) api.Step) api.Explanation {
	return api.Explanation{
		Decision: wireDecision(e.Decision),
		Paths: each(e.Paths, func(p access.Path) api.Path {
			return api.Path{Steps: each(p.Steps, step), Scope: p.Scope}
		}),
		Requires: each(e.Requires, func(r access.Requirement) api.Requirement {
			return api.Requirement{AnyOf: r.AnyOf, Met: list(r.Met), Basis: r.Basis}
		}),
	}
}

// wireStep leaves closed what is sealed: services that ask whether somebody may do something see ids.
func wireStep(s access.Step) api.Step {
	return api.Step{
		Fact: s.Fact, About: s.About, Event: s.Event, Type: s.Type, Revision: s.Revision, RecordedAt: s.RecordedAt,
		Actor: s.Actor, OnBehalfOf: s.OnBehalfOf, Reason: s.Reason, Ticket: s.Ticket, Sealed: s.Sealed,
	}
}

// openedStep says why a step of a tenant was recorded, to those who may read its events.
func (s *Server) openedStep(t events.Tenant) func(access.Step) api.Step {
	return func(step access.Step) api.Step {
		out := wireStep(step)
		if out.Sealed != nil {
			out.Opened = &api.Opened{}
			s.openWhy(t, *out.Sealed, out.Opened)
		}
		return out
	}
}

func wireHolding(h access.Holding) api.Holding {
	return api.Holding{
		Permission: h.Permission.Name, API: h.Permission.API, Audience: h.Audience, Resource: h.Resource(), Scope: h.Scope,
		Effective: h.Effective, Missing: h.Missing,
	}
}

func wireHoldings(h access.Holdings) api.Holdings {
	return api.Holdings{Moment: wireMoment(h.Moment), Principal: h.Principal, Holdings: each(h.Holdings, wireHolding)}
}

func wireHolders(h access.Holders) api.Holders {
	return api.Holders{Moment: wireMoment(h.Moment), Principals: list(h.Principals), Next: h.Next}
}

func wireIntervals(v access.Intervals) api.Intervals {
	return api.Intervals{Revision: v.Revision, Intervals: list(v.Intervals)}
}

func wireClaims(c access.Claims) api.Claims {
	out := api.Claims{Moment: wireMoment(c.Moment), Audiences: list(c.Audiences), Permissions: c.Permissions}
	if out.Permissions == nil {
		out.Permissions = map[string][]events.PermissionName{}
	}
	return out
}

func wireDifference(d access.Difference, step func(access.Step) api.Step) api.Difference {
	return api.Difference{
		From: wireMoment(d.From), To: wireMoment(d.To),
		Changes: each(d.Changes, func(c access.Change) api.Change {
			return api.Change{
				Principal: c.Principal, Permission: c.Permission, Resource: c.Resource,
				Gained: c.Gained, Causes: each(c.Causes, step),
			}
		}),
	}
}

func wireCatalogEntry(c access.CatalogEntry) api.CatalogEntry {
	return api.CatalogEntry{
		Catalog: c.Catalog, CatalogInfo: c.CatalogInfo,
		APIs: c.APIs, Permissions: c.Permissions, Types: c.Types, Pairs: c.Pairs, Roles: c.Roles,
	}
}

func wireCatalog(c access.CatalogDescription) api.Catalog {
	return api.Catalog{
		Moment: wireMoment(c.Moment), Catalog: c.Catalog, CatalogInfo: c.CatalogInfo,
		APIs: each(c.APIs, func(a access.APIDescription) api.API {
			return api.API{
				API: a.API, APIDefinition: a.APIDefinition,
				Permissions: each(a.Permissions, func(p access.PermissionDescription) api.Permission { return api.Permission(p) }),
			}
		}),
		Types: each(c.Types, func(t access.TypeDescription) api.ResourceType { return api.ResourceType(t) }),
		Roles: each(c.Roles, wireRole),
	}
}

func wireRole(r access.RoleDescription) api.Role {
	return api.Role{
		Role: r.Role, Catalog: r.Catalog, Version: r.Version, Attributes: r.Attributes,
		Holds: each(r.Holds, wireHolding), Includes: r.Includes,
	}
}

func wireGroup(g access.GroupDescription) api.Group {
	return api.Group{
		Group: g.Group, Version: g.Version, Attributes: g.Attributes,
		Members: list(g.Members), Parents: g.Parents,
	}
}

func each[A, B any](from []A, convert func(A) B) []B {
	to := make([]B, len(from))
	for i, a := range from {
		to[i] = convert(a)
	}
	return to
}

func list[A any](from []A) []A {
	if from == nil {
		return []A{}
	}
	return from
}

// viewWhen gives the wire's When as the view's, and the tenant.
func viewWhen(w api.When) (events.Tenant, access.When) {
	tenant := w.Tenant
	if tenant == "" {
		tenant = events.DefaultTenant
	}
	return tenant, access.When{
		ValidAt: w.ValidAt, KnownAt: access.Known(w.KnownAt), AsOf: w.AsOf, AtLeast: w.AtLeast,
	}
}
