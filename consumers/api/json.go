package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/permledger/permledger/events"
)

// ErrJSON is met on a body that is not one whole, unambiguous JSON value.
var ErrJSON = errors.New("bad JSON")

// maxDepth bounds how deep a body nests; the deepest one that means anything is an inline catalog.
const maxDepth = 32

// CheckJSON reports whether b is one JSON value of valid UTF-8 in which no object has a name twice. The
// standard decoder would take the last of two equal names, and another reader the first.
func CheckJSON(b []byte) error {
	if !utf8.Valid(b) {
		return fmt.Errorf("%w: not valid UTF-8", ErrJSON)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := checkValue(d, 0); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends early")
		}
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the value", ErrJSON)
	}
	return nil
}

func checkValue(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("nests deeper than %d", maxDepth)
	}
	var names map[string]bool
	if open == '{' {
		names = make(map[string]bool)
	}
	for d.More() {
		if names != nil {
			token, err := d.Token()
			if err != nil {
				return err
			}
			name := token.(string) // the decoder gives nothing else where a name stands
			if names[name] {
				return fmt.Errorf("the name %q stands twice in one object", name)
			}
			names[name] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// decodeObject reads the members of an object, names compared byte for byte.
func decodeObject(field string, raw json.RawMessage) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, events.Invalid(field, string(raw), "must be an object")
	}
	return members, nil
}

// decodeValue reads one member. Members of objects inside it that into does not know are refused, and objects
// quoted in no error.
func decodeValue(field string, raw json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var invalid *events.InvalidError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return renamed(field, err)
	case errors.As(err, &kind):
		if kind.Field != "" {
			field = join(field, kind.Field)
		}
		return events.Invalid(field, kind.Value, "must be a "+kindName(kind))
	}
	if raw[0] == '{' || raw[0] == '[' { // it may hold words that are to be sealed
		raw = nil
	}
	return events.Invalid(field, string(raw), err.Error())
}

func kindName(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind().String() {
	case "bool":
		return "true or false"
	case "slice", "array":
		return "list"
	case "struct", "map":
		return "JSON object"
	case "string":
		return "string"
	}
	return "whole number"
}

// renamed gives an InvalidError the field its caller knows.
func renamed(field string, err error) error {
	var invalid *events.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	moved := *invalid
	moved.Field = field
	return &moved
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

func unknownMember(field, name string) error {
	return events.Invalid(join(field, name), "", "is not known here")
}

// sorted gives the names of members in order, so that the first fault of a request is always the same.
func sorted(members map[string]json.RawMessage) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
