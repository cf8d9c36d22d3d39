package server

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/permledger/permledger/consumers/api"
	"github.com/permledger/permledger/events"
)

const schemaPrefix = "#/components/schemas/"

// humaConfig is huma without what it adds to bodies, and without its documentation pages.
func humaConfig(version string) huma.Config {
	registry := huma.NewMapRegistry(schemaPrefix, schemaName)
	for from, to := range writtenForms {
		registry.RegisterTypeAlias(from, to)
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "permledger", Version: version,
				Description: "An event-sourced permission ledger. Every answer states the revision it reflects; errors are application/problem+json with the codes of docs/errors.md.",
			},
			Components: &huma.Components{
				Schemas:         registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}},
			},
			Security: []map[string][]string{{"bearer": {}}},
		},
		Formats:       huma.DefaultFormats,
		DefaultFormat: "application/json",
	}
}

// schemaName is the type's name; one name is taken by two packages.
func schemaName(t reflect.Type, hint string) string {
	if t == reflect.TypeFor[events.Permission]() {
		return "QualifiedPermission"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

// writtenForms says how types that write themselves look on the wire.
var writtenForms = map[reflect.Type]reflect.Type{
	reflect.TypeFor[events.Instant]():  reflect.TypeFor[nullableTime](),
	reflect.TypeFor[events.Interval](): reflect.TypeFor[interval](),
	reflect.TypeFor[events.Scope]():    reflect.TypeFor[scope](),
	reflect.TypeFor[api.Time]():        reflect.TypeFor[timeOrForever](),
	reflect.TypeFor[api.Resource]():    reflect.TypeFor[resource](),
	reflect.TypeFor[api.Command]():     reflect.TypeFor[command](),
	reflect.TypeFor[api.Event]():       reflect.TypeFor[event](),
	reflect.TypeFor[json.RawMessage](): reflect.TypeFor[anyJSON](),
}

// The written forms. Those with a Schema method say it themselves; the others are read off their fields.
type (
	interval struct {
		ValidFrom  *time.Time `json:"valid_from"`
		ValidUntil *time.Time `json:"valid_until"`
	}
	nullableTime  struct{}
	scope         struct{}
	timeOrForever struct{}
	resource      struct{}
	command       struct{}
	event         struct{}
	anyJSON       struct{}
)

func (nullableTime) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Nullable: true, Description: "RFC 3339; null: without a beginning or an end"}
}

func (timeOrForever) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: `RFC 3339, or "forever"`}
}

func (anyJSON) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

func (scope) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "On what a permission is held; absent or null: on nothing in particular. One of id, any and property.",
		Type:        huma.TypeObject, Nullable: true,
		Properties: resourceMembers("type", "id", "any", "property"),
	}
}

func (resource) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: `api:AUDIENCE, TYPE:ID, or an object with "audience", or with "type" and one of "id", "any" and "property"`,
		OneOf: []*huma.Schema{
			{Type: huma.TypeString},
			{Type: huma.TypeObject, AdditionalProperties: false, Properties: resourceMembers("audience", "type", "id", "any", "property")},
		},
	}
}

func resourceMembers(names ...string) map[string]*huma.Schema {
	members := map[string]*huma.Schema{}
	for _, name := range names {
		members[name] = &huma.Schema{Type: huma.TypeString}
		if name == "any" {
			members[name] = &huma.Schema{Type: huma.TypeBoolean}
		}
	}
	return members
}

// Schema gives one alternative per verb, out of the table that decides what a command may hold.
func (command) Schema(r huma.Registry) *huma.Schema {
	alternatives := &huma.Schema{Description: "A wish; do says which, and which other members it takes."}
	members := commandMembers(r)
	for _, verb := range api.Verbs {
		one := &huma.Schema{
			Title: verb.Do, Description: verb.Sentence, Type: huma.TypeObject, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{"do": {Type: huma.TypeString, Enum: []any{verb.Do}}},
			Required:   append([]string{"do"}, verb.Needs...),
		}
		for _, name := range append(append([]string{}, verb.Needs...), verb.Takes...) {
			one.Properties[name] = members[name]
		}
		alternatives.OneOf = append(alternatives.OneOf, one)
	}
	return alternatives
}

// commandMembers reads the schema of each member off api.Command.
func commandMembers(r huma.Registry) map[string]*huma.Schema {
	members := map[string]*huma.Schema{}
	t := reflect.TypeFor[api.Command]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		members[name] = r.Schema(t.Field(i).Type, true, name)
	}
	return members
}

func (event) Schema(r huma.Registry) *huma.Schema {
	text := &huma.Schema{Type: huma.TypeString}
	number := &huma.Schema{Type: huma.TypeInteger}
	return &huma.Schema{
		Description: "An event exactly as stored, with its revision and position before its own members, and what is sealed in it as opened.",
		Type:        huma.TypeObject,
		Properties: map[string]*huma.Schema{
			"revision": number, "position": number, "id": text, "command": text, "tenant": text,
			"type": text, "version": number, "recorded_at": text, "actor": text, "data": {Type: huma.TypeObject},
			"opened": r.Schema(reflect.TypeFor[api.Opened](), true, ""),
		},
	}
}

// problemSchema documents the errors of every operation.
func problemSchema(r huma.Registry) *huma.Response {
	return &huma.Response{
		Description: "A catalogued error (RFC 9457)",
		Content: map[string]*huma.MediaType{
			api.ProblemContentType: {Schema: r.Schema(reflect.TypeFor[api.Error](), true, "Error")},
		},
	}
}

// jsonResponse documents a 200 of a plain handler.
func jsonResponse[T any](s *Server) map[string]*huma.Response {
	return typedResponse[T](s, "application/json")
}

func typedResponse[T any](s *Server, contentType string) map[string]*huma.Response {
	schema := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	return map[string]*huma.Response{"200": {
		Description: http.StatusText(http.StatusOK),
		Content:     map[string]*huma.MediaType{contentType: {Schema: schema}},
	}}
}

// jsonRequest documents a body that is read by our own strict decoder.
func jsonRequest[T any](s *Server) *huma.RequestBody {
	schema := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// requestSchemas are what clients send: nothing that is not in them is taken.
var requestSchemas = map[string]bool{"Request": true, "CatalogLoad": true, "KeyRotation": true, "Expectation": true, "Approval": true, "Profile": true,
	"VerifyRequest": true, "KeptMark": true}

// openapi encodes the document once, after every route is registered. huma's words for Go types are corrected
// where they say too much: lists are never null, and answers may gain members.
func (s *Server) openapi() ([]byte, error) {
	doc := s.api.OpenAPI()
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel") // huma's own, which we never answer with
	for name, schema := range schemas {
		if !requestSchemas[name] {
			schema.AdditionalProperties = nil
		}
		for _, member := range schema.Properties {
			if member.Type == huma.TypeArray {
				member.Nullable = false
			}
		}
	}
	return json.MarshalIndent(doc, "", "  ")
}
