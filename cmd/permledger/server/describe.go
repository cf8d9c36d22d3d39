package server

import (
	"context"
	"fmt"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
	"github.com/permledger/permledger/ledger/catalogs"
	"github.com/permledger/permledger/projections/access"
)

type listInput struct {
	request
	When
}

type nameInput struct {
	request
	When
	Name string `path:"name"`
}

type idInput struct {
	request
	When
	ID string `path:"id"`
}

func (s *Server) registerDescriptions() {
	register(s, query("/v1/catalogs", "The catalogs of a tenant, and those the server can load by name"), s.catalogs)
	register(s, query("/v1/catalogs/{name}", "A catalog by every exact name"), s.catalog)
	register(s, query("/v1/roles", "The roles of a tenant"), s.roles)
	register(s, query("/v1/roles/{id}", "A role, what it holds and includes"), s.role)
	register(s, query("/v1/groups", "The groups of a tenant"), s.groups)
	register(s, query("/v1/groups/{id}", "A group, its members and parents"), s.group)
	register(s, query("/v1/principals/{kind}/{id}", "Who is behind the id of a user, client or mapping rule, and whether it was erased"), s.principal)
}

func describe[T any](ctx context.Context, s *Server, w When, from func(*access.Session) (T, error)) (*answered[T], error) {
	session, err := s.session(ctx, w)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	body, err := from(session)
	if err != nil {
		return nil, err
	}
	return answer(session.Moment().Revision, body), nil
}

func (s *Server) catalogs(ctx context.Context, in *listInput) (*answered[api.Catalogs], error) {
	return describe(ctx, s, in.When, func(session *access.Session) (api.Catalogs, error) {
		all, err := session.Catalogs()
		return api.Catalogs{
			Moment: wireMoment(session.Moment()), Catalogs: each(all, wireCatalogEntry), Embedded: catalogs.Names(),
		}, err
	})
}

func (s *Server) catalog(ctx context.Context, in *nameInput) (*answered[api.Catalog], error) {
	return describe(ctx, s, in.When, func(session *access.Session) (api.Catalog, error) {
		c, err := session.Catalog(events.Catalog(in.Name))
		return wireCatalog(c), err
	})
}

func (s *Server) roles(ctx context.Context, in *listInput) (*answered[api.Roles], error) {
	return describe(ctx, s, in.When, func(session *access.Session) (api.Roles, error) {
		all, err := session.Roles()
		return api.Roles{Moment: wireMoment(session.Moment()), Roles: each(all, wireRole)}, err
	})
}

func (s *Server) role(ctx context.Context, in *idInput) (*answered[api.RoleAnswer], error) {
	out, err := describe(ctx, s, in.When, func(session *access.Session) (api.RoleAnswer, error) {
		r, err := session.Role(events.Role(in.ID))
		return api.RoleAnswer{Moment: wireMoment(session.Moment()), Role: wireRole(r)}, err
	})
	return versioned(out, err, func(r api.RoleAnswer) events.Revision { return r.Version })
}

func (s *Server) groups(ctx context.Context, in *listInput) (*answered[api.Groups], error) {
	return describe(ctx, s, in.When, func(session *access.Session) (api.Groups, error) {
		all, err := session.Groups()
		return api.Groups{Moment: wireMoment(session.Moment()), Groups: each(all, wireGroup)}, err
	})
}

func (s *Server) group(ctx context.Context, in *idInput) (*answered[api.GroupAnswer], error) {
	out, err := describe(ctx, s, in.When, func(session *access.Session) (api.GroupAnswer, error) {
		g, err := session.Group(events.Group(in.ID))
		return api.GroupAnswer{Moment: wireMoment(session.Moment()), Group: wireGroup(g)}, err
	})
	return versioned(out, err, func(g api.GroupAnswer) events.Revision { return g.Version })
}

// versioned gives an answer the version of what it describes, for an expectation in a later request.
func versioned[T any](out *answered[T], err error, version func(T) events.Revision) (*answered[T], error) {
	if err == nil {
		out.ETag = fmt.Sprintf("%q", fmt.Sprint(version(out.Body)))
	}
	return out, err
}
