package events

// permissionDefinedV1 is permission.defined as it was first: prerequisites were one list, all of them
// needed. The documents of Flowable Control need "either … or …", so version 2 has an AND of groups, of
// which any one member will do.
type permissionDefinedV1 struct {
	Permission Permission              `json:"permission"`
	Catalog    Catalog                 `json:"catalog,omitempty"`
	Def        permissionDefinitionV1  `json:"definition"`
	Before     *permissionDefinitionV1 `json:"before,omitempty"`
}

type permissionDefinitionV1 struct {
	ID          string       `json:"id,omitempty"`
	Category    string       `json:"category,omitempty"`
	Description string       `json:"description,omitempty"`
	Requires    []Permission `json:"requires,omitempty"`
}

func readPermissionDefinedV1(data []byte) (Event, error) {
	var v1 permissionDefinedV1
	if err := unmarshalStrict(data, &v1); err != nil {
		return nil, err
	}
	e := PermissionDefined{Permission: v1.Permission, Catalog: v1.Catalog, Def: v1.Def.upcast()}
	if v1.Before != nil {
		before := v1.Before.upcast()
		e.Before = &before
	}
	return e, nil
}

func (d permissionDefinitionV1) upcast() PermissionDefinition {
	up := PermissionDefinition{ID: d.ID, Category: d.Category, Description: d.Description}
	for _, p := range d.Requires {
		up.RequiresAnyOf = append(up.RequiresAnyOf, []Permission{p})
	}
	return up
}
