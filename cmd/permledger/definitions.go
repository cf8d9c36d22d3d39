package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/permledger/permledger/consumers"
	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

// definitions are what an import needs to know of what a tenant has defined: whether its API is, which of
// its permissions are, and which resource types are, of any API.
type definitions struct {
	api         events.API
	apiDefined  bool
	permissions map[events.PermissionName]bool
	types       map[events.ResourceType]bool
}

// readDefinitions folds the tenant's definition events, which are few.
func readDefinitions(ctx context.Context, client *consumers.Client, tenant events.Tenant, owner events.API) (*definitions, error) {
	var all []api.Event
	for _, kind := range []string{
		"api.defined", "api.retired", "permission.defined", "permission.retired", "resource-type.defined", "resource-type.retired",
	} {
		for e, err := range client.AllHistory(ctx, api.HistoryQuery{Tenant: tenant, Type: kind}) {
			if err != nil {
				return nil, fmt.Errorf("read what is defined: %w", err)
			}
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b api.Event) int { return cmp.Compare(a.Position, b.Position) })
	d := &definitions{api: owner, permissions: make(map[events.PermissionName]bool), types: make(map[events.ResourceType]bool)}
	for _, e := range all {
		d.apply(e.Event)
	}
	return d, nil
}

func (d *definitions) apply(e events.Event) {
	switch e := e.(type) {
	case events.APIDefined:
		d.apiDefined = d.apiDefined || e.API == d.api
	case events.APIRetired:
		d.apiDefined = d.apiDefined && e.API != d.api
	case events.PermissionDefined:
		if e.Permission.API == d.api {
			d.permissions[e.Permission.Name] = true
		}
	case events.PermissionRetired:
		if e.Permission.API == d.api {
			delete(d.permissions, e.Permission.Name)
		}
	case events.ResourceTypeDefined:
		d.types[e.Type] = true
	case events.ResourceTypeRetired:
		delete(d.types, e.Type)
	default: // nothing else is asked for
	}
}

// missing gives the commands that define what ops use and is not defined, in the order of first use. What
// ops take away must be there already.
func (d *definitions) missing(ops []historyOp) []api.Command {
	var list []api.Command
	permissions, types := make(map[events.PermissionName]bool), make(map[events.ResourceType]bool)
	for _, op := range ops {
		if op.Op != "grant" && op.Op != "role.permission.add" {
			continue
		}
		scope, _ := op.scope() // checked when the line was read
		if t := scope.Type; t != "" && !d.types[t] && !types[t] {
			types[t] = true
			list = append(list, api.DefineType(t, events.ResourceTypeDefinition{API: d.api}))
		}
		if p := events.PermissionName(op.Permission); p != "" && !d.permissions[p] && !permissions[p] {
			permissions[p] = true
			list = append(list, api.DefinePermission(events.Permission{API: d.api, Name: p}, events.PermissionDefinition{}))
		}
	}
	if len(list) > 0 && !d.apiDefined {
		def := api.DefineAPI(d.api, events.APIDefinition{Name: string(d.api), Audience: string(d.api)})
		list = append([]api.Command{def}, list...)
	}
	return list
}

// add notes that commands, which missing gave, were carried out.
func (d *definitions) add(commands []api.Command) {
	for _, c := range commands {
		switch c.Do {
		case "api.define":
			d.apiDefined = true
		case "permission.define":
			d.permissions[c.Permission] = true
		case "type.define":
			d.types[c.Type] = true
		}
	}
}
