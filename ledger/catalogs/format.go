package catalogs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/permledger/permledger/events"
)

// format is the only catalog_format there is.
const format = 1

// file is what is read of a catalog file. A file may hold more: members that are not named here carry knowledge
// about the product for people, and are kept by the digest only.
type file struct {
	Format   int       `json:"catalog_format"`
	System   string    `json:"system"`
	Title    string    `json:"title"`
	Version  string    `json:"version"`
	Document string    `json:"document"`
	APIs     []api     `json:"apis"`
	Types    []resType `json:"resource_types"`
	Roles    []role    `json:"default_roles"`
	Edges    []edge    `json:"grant_edges"`
}

type api struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Audience    string       `json:"audience"`
	Component   string       `json:"component"`
	InDocument  bool         `json:"in_document"`
	Permissions []permission `json:"permissions"`
}

type permission struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	Category      string     `json:"category"`
	Description   string     `json:"description"`
	RequiresAnyOf [][]string `json:"requires_any_of"` // ids, of any API of the file
	RequiresBasis string     `json:"requires_basis"`
	Effects       []effect   `json:"effects"`
	Since         string     `json:"since"`
	Until         string     `json:"until"`
	InDocument    bool       `json:"in_document"`
}

type effect struct {
	Surface    string `json:"surface"`
	Access     string `json:"access"`
	Scope      string `json:"scope"`
	Controlled *bool  `json:"controlled"`
}

type resType struct {
	Type              string              `json:"type"`
	API               string              `json:"api"`
	Label             string              `json:"label"`
	PermissionTypes   []string            `json:"permission_types"`
	IDForms           []string            `json:"id_forms"`
	PermissionIDForms map[string][]string `json:"permission_id_forms"`
	ExampleIDs        []string            `json:"example_ids"`
	Since             string              `json:"since"`
	InDocument        bool                `json:"in_document"`
}

type role struct {
	ID             string          `json:"id"`
	Name           string          `json:"name"`
	Description    string          `json:"description"`
	Permissions    []string        `json:"permissions"` // ids
	Authorizations []authorization `json:"authorizations"`
}

type authorization struct {
	ResourceType    string   `json:"resource_type"`
	PermissionTypes []string `json:"permission_types"`
	Matcher         string   `json:"resource_matcher"` // ANY, ID or PROPERTY
	ResourceID      string   `json:"resource_id"`
	Property        string   `json:"resource_property_name"`
}

type edge struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// decode reads the JSON. Of what is read the types must be right.
func decode(b []byte) (file, error) {
	var f file
	if !utf8.Valid(b) { // the decoder would replace bad bytes, and two names could become one
		return f, events.Invalid("catalog", "", "must be valid UTF-8")
	}
	err := json.Unmarshal(b, &f)
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong):
		field := wrong.Field
		if field == "" {
			field = "catalog"
		}
		return f, events.Invalid(field, wrong.Value, fmt.Sprintf("must be %s (line %d)", inWords(wrong.Type), line(b, wrong.Offset)))
	case errors.As(err, &syntax):
		return f, events.Invalid("catalog", "", fmt.Sprintf("must be JSON: %v (line %d)", err, line(b, syntax.Offset)))
	case err != nil:
		return f, err
	}
	if f.Format != format {
		return f, events.Invalid("catalog_format", fmt.Sprint(f.Format), fmt.Sprintf("must be %d, the one this build reads", format))
	}
	return f, nil
}

func line(b []byte, offset int64) int {
	return 1 + bytes.Count(b[:min(int(offset), len(b))], []byte("\n"))
}

// inWords says what JSON a Go type is read from.
func inWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	default:
		return "an object"
	}
}
