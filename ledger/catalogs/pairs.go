package catalogs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/permledger/permledger/events"
)

// An API may list its permissions as pairs TYPE:PERMISSION of its own resource types, as in AUDIT_LOG:READ. In
// the ledger the permission is READ, defined once for the API; on what it is held is the scope's to say, and
// which permissions a type takes stands in the definition of the type. So pairs are folded, and have to say the
// same as the permission_types of the types.

// listsPairs reports whether the API lists pairs. One name that is a pair decides: a file in which one pair is
// misspelled is wrong, not of another kind.
func (b *builder) listsPairs(a api) bool {
	return slices.ContainsFunc(a.Permissions, func(p permission) bool {
		_, ok := b.pair(events.API(a.ID), p.Name)
		return ok
	})
}

// pair gives the permission of a pair; ok is false if it is not a type of the API with a permission it takes.
func (b *builder) pair(of events.API, name string) (_ events.PermissionName, ok bool) {
	typ, permission, _ := strings.Cut(name, ":") // a type holds no colon
	i, known := b.types[typ]
	if !known || b.out.Types[i].Def.API != of {
		return "", false
	}
	return events.PermissionName(permission), slices.Contains(b.Types[i].PermissionTypes, permission)
}

// fold adds the permissions of the pairs that the i-th API lists. A permission is in the document if one of its
// pairs is, and there since the first of them; that a pair ended does not end it. Id, category and description
// belong to the pair and are left out.
func (b *builder) fold(i int, a api) error {
	listed, index := map[string]bool{}, map[events.PermissionName]int{}
	for j, p := range a.Permissions {
		at := fmt.Sprintf("apis[%d].permissions[%d]", i, j)
		name, ok := b.pair(events.API(a.ID), p.Name)
		if !ok {
			return events.Invalid(at+".name", p.Name, "must be TYPE:PERMISSION of a resource type of this API, as other names of it are")
		}
		if err := unique(at+".name", p.Name, listed); err != nil {
			return err
		}
		b.pairs[p.ID] = p.Name
		k, known := index[name]
		if !known {
			right := events.Permission{API: events.API(a.ID), Name: name}
			k = b.add(at, right, events.PermissionDefinition{RequiresBasis: p.RequiresBasis, Since: p.Since})
			index[name] = k
		}
		def := &b.out.Permissions[k].Def
		def.Since = earlier(def.Since, p.Since)
		def.InDocument = def.InDocument || p.InDocument
	}
	return b.allListed(events.API(a.ID), listed)
}

// allListed checks that no type of the API takes a permission that is not among its pairs.
func (b *builder) allListed(of events.API, listed map[string]bool) error {
	for i, t := range b.Types {
		for j, name := range t.PermissionTypes {
			if b.out.Types[i].Def.API == of && !listed[t.Type+":"+name] {
				at := fmt.Sprintf("resource_types[%d].permission_types[%d]", i, j)
				return events.Invalid(at, name, fmt.Sprintf("must be listed by API %s as %s:%s", of, t.Type, name))
			}
		}
	}
	return nil
}

// earlier gives the lower of two product versions such as 8.9 and 8.10. No version is before all others.
func earlier(v, w string) string {
	vs, ws := strings.Split(v, "."), strings.Split(w, ".")
	if slices.CompareFunc(vs, ws, comparePart) <= 0 {
		return v
	}
	return w
}

func comparePart(v, w string) int {
	x, errX := strconv.Atoi(v)
	y, errY := strconv.Atoi(w)
	if errX != nil || errY != nil {
		return strings.Compare(v, w)
	}
	return x - y
}
