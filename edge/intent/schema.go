package intent

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// Tool is a function that the client offers.
type Tool struct {
	Name       string
	Parameters json.RawMessage // JSON Schema of an object, empty for none
}

// parameters is as much of a tool's schema as is looked at.
type parameters struct {
	Properties map[string]*parameter `json:"properties"`
	Required   []string              `json:"required"`
}

type parameter struct {
	Type    json.RawMessage   `json:"type"` // a string, or in other clients a list of them
	Enum    []json.RawMessage `json:"enum"`
	Items   *parameter        `json:"items"`
	AnyOf   []*parameter      `json:"anyOf"`
	OneOf   []*parameter      `json:"oneOf"`
	Minimum *float64          `json:"minimum"`
	Maximum *float64          `json:"maximum"`
}

// parameters of a tool; a schema that cannot be read has none.
func (t *Tool) parameters() *parameters {
	p := &parameters{}
	if len(t.Parameters) > maxSystem || json.Unmarshal(t.Parameters, p) != nil {
		return &parameters{}
	}
	return p
}

// intent is the tool's name without the prefix that Home Assistant puts before it where it merges several APIs ("assist__HassTurnOn").
func (t *Tool) intent() string { return bare(t.Name) }

func bare(name string) string {
	if i := strings.LastIndex(name, "__"); i >= 0 {
		return name[i+2:]
	}
	return name
}

// acts tells whether a tool may change something. Home Assistant's intents do, as far as they are offered.
func acts(tool string) bool { return strings.HasPrefix(bare(tool), "Hass") }

func (p *parameter) is(kind string) bool {
	var one string
	var many []string
	if json.Unmarshal(p.Type, &one) == nil {
		return one == kind
	}
	return json.Unmarshal(p.Type, &many) == nil && slices.Contains(many, kind)
}

// value is v as the parameter takes it: within a list where that is wanted, and spelled as the enumeration does. ok is false where it takes no such value.
func (p *parameter) value(v any, depth int) (_ any, ok bool) {
	if p == nil || depth > 4 {
		return v, true
	}
	for _, alt := range slices.Concat(p.AnyOf, p.OneOf) {
		if alt == nil {
			continue
		}
		if x, ok := alt.value(v, depth+1); ok {
			return x, true
		}
	}
	if len(p.AnyOf)+len(p.OneOf) > 0 {
		return nil, false
	}
	if len(p.Enum) > 0 {
		for _, e := range p.Enum {
			var x any
			if json.Unmarshal(e, &x) == nil && (x == v || isFold(x, v)) {
				return x, true
			}
		}
		return nil, false
	}
	if len(p.Type) == 0 {
		return v, true
	}
	switch n := v.(type) {
	case string:
		if p.is("string") {
			return n, true
		}
	case float64:
		whole := n == math.Trunc(n)
		if (p.is("number") || p.is("integer") && whole) && (p.Minimum == nil || n >= *p.Minimum) && (p.Maximum == nil || n <= *p.Maximum) {
			return n, true
		}
		if p.is("string") {
			b, err := json.Marshal(n)
			return string(b), err == nil
		}
	}
	if p.is("array") {
		x, ok := p.Items.value(v, depth+1)
		return []any{x}, ok
	}
	return nil, false
}

func isFold(a, b any) bool {
	x, ok := a.(string)
	y, ok2 := b.(string)
	return ok && ok2 && strings.EqualFold(x, y)
}
