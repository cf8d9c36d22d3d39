package ledger

import (
	"fmt"

	"github.com/permledger/permledger/events"
)

func (c DefineAPI) decide(s State, in situation) ([]decision, error) {
	what, e := fmt.Sprintf("API %q", c.API), events.APIDefined{API: c.API, Def: c.Def}
	if have, ok := s.API(in.tenant, c.API); ok {
		if same(have, c.Def) {
			return in.already(what + " is so")
		}
		e.Before = &have
	}
	return in.defines(s, what, e)
}

func (c DefinePermission) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("permission %q of API %q", c.Permission.Name, c.Permission.API)
	if _, ok := s.API(in.tenant, c.Permission.API); !ok {
		return nil, refuse(CodeUnknownAPI, "no API %q", c.Permission.API)
	}
	e := events.PermissionDefined{Permission: c.Permission, Def: asStored(c.Def)}
	if have, ok := s.Permission(in.tenant, c.Permission); ok {
		if same(have, e.Def) {
			return in.already(what + " is so")
		}
		e.Before = &have
	}
	for _, group := range c.Def.RequiresAnyOf {
		for _, p := range group {
			if _, ok := s.Permission(in.tenant, p); !ok && p != c.Permission {
				return nil, refuse(CodeUnknownPermission, "%s requires %s, which does not exist", what, p)
			}
		}
	}
	if other, ok := s.PermissionByID(in.tenant, c.Permission.API, c.Def.ID); ok && c.Def.ID != "" && other != c.Permission {
		return nil, refuse(CodeExists, "id %q is that of %s", c.Def.ID, other)
	}
	return in.defines(s, what, e)
}

func (c DefineResourceType) decide(s State, in situation) ([]decision, error) {
	what := fmt.Sprintf("resource type %q", c.Type)
	if _, ok := s.API(in.tenant, c.Def.API); !ok {
		return nil, refuse(CodeUnknownAPI, "no API %q", c.Def.API)
	}
	e := events.ResourceTypeDefined{Type: c.Type, Def: asStored(c.Def)}
	if have, ok := s.ResourceType(in.tenant, c.Type); ok {
		switch {
		case have.API != c.Def.API:
			return nil, refuse(CodeOtherAPI, "%s belongs to API %q, not to %q", what, have.API, c.Def.API)
		case same(have, e.Def):
			return in.already(what + " is so")
		}
		e.Before = &have
	}
	return in.defines(s, what, e)
}
