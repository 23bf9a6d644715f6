package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// kind is a type of JSON.
type kind int

const (
	isNull kind = iota
	isBool
	isNumber
	isString
	isArray
	isObject
)

func (k kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "array", "object"}[k]
}

// value is a JSON value. It keeps what encoding/json's maps lose: the order of members, and numbers as they are written.
type value struct {
	kind    kind
	text    string // of a string, a number, true, false, null
	items   []*value
	members []member
}

type member struct {
	key   string
	value *value
}

// get is a member's value, nil if there is none.
func (v *value) get(key string) *value {
	if v.kind != isObject {
		return nil
	}
	for i := range v.members {
		if v.members[i].key == key {
			return v.members[i].value
		}
	}
	return nil
}

const (
	maxSchema  = 64 << 10
	maxNesting = 64 // of the schema itself
)

// parse reads one JSON value within the limits of a schema.
func parse(raw []byte) (*value, error) {
	if len(raw) > maxSchema {
		return nil, &Error{Message: fmt.Sprintf("%d bytes are more than the limit of %d", len(raw), maxSchema)}
	}
	if !utf8.Valid(raw) {
		return nil, &Error{Message: "it is not UTF-8"}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &Error{Message: "there is something behind the JSON value"}
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (*value, error) {
	if depth > maxNesting {
		return nil, &Error{Message: fmt.Sprintf("nested more than %d deep", maxNesting)}
	}
	t, err := d.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, &Error{Message: fmt.Sprintf("not JSON at byte %d: %v", d.InputOffset(), err)}
	}
	switch t := t.(type) {
	case nil:
		return &value{kind: isNull, text: "null"}, nil
	case bool:
		return &value{kind: isBool, text: fmt.Sprint(t)}, nil
	case json.Number:
		return &value{kind: isNumber, text: t.String()}, nil
	case string:
		return &value{kind: isString, text: t}, nil
	case json.Delim:
		if t == '[' {
			return parseArray(d, depth)
		}
		return parseObject(d, depth)
	}
	return nil, &Error{Message: fmt.Sprintf("not JSON at byte %d", d.InputOffset())}
}

func parseArray(d *json.Decoder, depth int) (*value, error) {
	v := &value{kind: isArray}
	for d.More() {
		x, err := parseValue(d, depth+1)
		if err != nil {
			return nil, below(fmt.Sprintf("/%d", len(v.items)), err)
		}
		v.items = append(v.items, x)
	}
	return v, parseEnd(d)
}

func parseObject(d *json.Decoder, depth int) (*value, error) {
	v := &value{kind: isObject}
	keys := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, &Error{Message: fmt.Sprintf("not JSON at byte %d: a key was expected", d.InputOffset())}
		}
		if keys[key] {
			return nil, &Error{Message: fmt.Sprintf("the key %q occurs twice", key)}
		}
		keys[key] = true
		x, err := parseValue(d, depth+1)
		if err != nil {
			return nil, below(pointer(key), err)
		}
		v.members = append(v.members, member{key, x})
	}
	return v, parseEnd(d)
}

func parseEnd(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return &Error{Message: fmt.Sprintf("not JSON at byte %d: %v", d.InputOffset(), err)}
	}
	return nil
}

// below puts a step in front of the path of an error. Paths are made for errors only, as they may be as long as the schema.
func below(step string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.Path = step + e.Path
	}
	return err
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is a step of a JSON pointer (RFC 6901).
func pointer(key string) string { return "/" + pointerEscapes.Replace(key) }

// Error says why a schema can't be a grammar.
type Error struct {
	Path    string // JSON pointer into the schema; empty for the whole
	Message string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return "schema: " + e.Message
	}
	return "schema, at " + e.Path + ": " + e.Message
}
