package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// object is a JSON Schema, or a part of one.
type object = map[string]any

// generator makes schemas of the subset that the daemon takes, each with a value that is valid by it.
type generator struct {
	*rand.Rand
	defs  object
	depth int
}

// schema is a random one, and a text that is valid by it, short but not the shortest.
func schema(seed uint64) (s object, example string) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 4)), defs: object{}}
	s, example = g.object()
	if g.IntN(4) == 0 {
		s, example = g.any()
	}
	if len(g.defs) > 0 {
		if s["$ref"] != nil {
			s = object{"allOf": []any{s}}
		}
		s["$defs"] = g.defs
	}
	return s, example
}

func (g *generator) coin() bool { return g.IntN(2) == 0 }

// any is a schema of any kind; deep down, a simple one.
func (g *generator) any() (object, string) {
	g.depth++
	defer func() { g.depth-- }()
	simple := []func() (object, string){g.text, g.text, g.formatted, g.pattern, g.integer, g.integer, g.number, g.enum, g.constant, g.word}
	nested := []func() (object, string){g.object, g.object, g.array, g.array, g.tuple, g.anyOf, g.oneOf, g.reference, g.recursive}
	if g.depth > 3 || g.IntN(5) < 3 {
		return simple[g.IntN(len(simple))]()
	}
	return nested[g.IntN(len(nested))]()
}

var words = []string{"name", "größe", "a b", "état", "x", `quo"te`, "back\\slash", "名前", "🙂", "line\nbreak", "id", "v1.2", ""}

func quote(s string) string {
	s = strings.NewReplacer("\\", `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
	return `"` + s + `"`
}

func (g *generator) object() (object, string) {
	s := object{"type": "object"}
	properties, required := object{}, []string{}
	var example []string
	for _, k := range g.Perm(len(words))[:g.IntN(5)] {
		p, e := g.any()
		properties[words[k]] = p
		if g.coin() {
			required = append(required, words[k])
			example = append(example, quote(words[k])+":"+e)
		}
	}
	if len(properties) > 0 || g.coin() {
		s["properties"], s["required"] = properties, required
	}
	switch g.IntN(4) {
	case 0:
		s["additionalProperties"] = g.coin()
	case 1:
		s["additionalProperties"], _ = g.any()
	default:
		s["additionalProperties"] = false
	}
	return s, "{" + strings.Join(example, ",") + "}"
}

func (g *generator) array() (object, string) {
	item, e := g.any()
	s := object{"type": "array", "items": item}
	low := 0
	if g.coin() {
		low = g.IntN(3)
		s["minItems"] = low
	}
	if g.coin() {
		s["maxItems"] = low + g.IntN(4)
	}
	return s, "[" + strings.TrimSuffix(strings.Repeat(e+",", low), ",") + "]"
}

func (g *generator) tuple() (object, string) {
	a, x := g.any()
	b, y := g.any()
	return object{"type": "array", "prefixItems": []any{a, b}, "items": false, "minItems": 2}, "[" + x + "," + y + "]"
}

func (g *generator) text() (object, string) {
	s := object{"type": "string"}
	low := 0
	if g.coin() {
		low = g.IntN(6)
		s["minLength"] = low
	}
	if g.coin() {
		s["maxLength"] = low + g.IntN(10)
	}
	return s, quote(strings.Repeat("m", low))
}

func (g *generator) formatted() (object, string) {
	list := [][2]string{
		{"date", "2024-02-28"}, {"time", "10:20:30Z"}, {"date-time", "2024-02-28T10:20:30Z"}, {"uuid", "01234567-89ab-cdef-0123-456789abcdef"},
		{"ipv4", "10.0.0.1"}, {"email", "a@b.org"},
	}
	f := list[g.IntN(len(list))]
	return object{"type": "string", "format": f[0]}, quote(f[1])
}

func (g *generator) pattern() (object, string) {
	list := [][2]string{
		{`^[A-Z]{2}-\d{3}$`, "AB-123"}, {`^(red|green|blue)$`, "red"}, {`kettle`, "kettle"}, {`^\S+\s\S+$`, "a b"}, {`^[^\x00-\x1f"\\]*$`, ""},
		{`^(ab|a)*b?$`, ""}, {`^\p{L}+$`, "n"}, {`^.{3}$`, "abc"}, {`x$`, "x"}, {`^[à-ÿ]{1,4}`, "à"},
	}
	p := list[g.IntN(len(list))]
	return object{"type": "string", "pattern": p[0]}, quote(p[1])
}

func (g *generator) integer() (object, string) {
	s := object{"type": "integer"}
	low := g.Int64N(1<<g.IntN(40)) - g.Int64N(1<<g.IntN(40))
	high := low + g.Int64N(1<<g.IntN(30)) + 2
	switch g.IntN(5) {
	case 0:
		return s, "0"
	case 1:
		s["minimum"] = low
	case 2:
		s["maximum"] = low
	case 3:
		s["minimum"], s["maximum"] = low, high
	case 4:
		s["exclusiveMinimum"], s["exclusiveMaximum"] = low-1, high
	}
	return s, strconv.FormatInt(low, 10)
}

func (g *generator) number() (object, string) {
	s := object{"type": "number"}
	n, digits := g.IntN(2_000_000)-1_000_000, g.IntN(6)
	low, high := decimal(n, digits), decimal(n+g.IntN(2000), digits)
	switch g.IntN(4) {
	case 0:
		return s, "0"
	case 1:
		s["minimum"] = low
	case 2:
		s["minimum"], s["maximum"] = low, high
	case 3:
		s["maximum"] = low
	}
	return s, string(low)
}

// decimal is n with some of its digits behind the point.
func decimal(n, digits int) raw {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%0*d", digits+1, n)
	if digits == 0 {
		return raw(sign + s)
	}
	return raw(sign + s[:len(s)-digits] + "." + s[len(s)-digits:])
}

// values are such as enum and const have them.
func (g *generator) value() (any, string) {
	list := []string{`"on"`, `"off"`, `"` + "heiß" + `"`, `1`, `-2.5`, `null`, `true`, `[1,2]`, `{"k":[]}`, `""`, `"\""`, `1000000`}
	s := list[g.IntN(len(list))]
	return raw(s), s
}

// raw is a text of JSON within a schema.
type raw string

// MarshalJSON is the text.
func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func (g *generator) enum() (object, string) {
	var list []any
	seen := map[any]bool{}
	example := ""
	for range 1 + g.IntN(5) {
		v, e := g.value()
		if !seen[v] {
			seen[v], list, example = true, append(list, v), e
		}
	}
	return object{"enum": list}, example
}

func (g *generator) constant() (object, string) {
	v, e := g.value()
	return object{"const": v}, e
}

func (g *generator) word() (object, string) {
	list := []struct {
		t any
		e string
	}{
		{"boolean", "true"}, {"null", "null"}, {[]string{"string", "null"}, "null"}, {[]string{"integer", "boolean"}, "0"}, {[]string{"array", "number"}, "0"},
	}
	w := list[g.IntN(len(list))]
	return object{"type": w.t}, w.e
}

func (g *generator) anyOf() (object, string) {
	a, _ := g.any()
	b, e := g.any()
	return object{"description": "one or the other", "anyOf": []any{a, b}}, e
}

// oneOf has alternatives that exclude each other by their type.
func (g *generator) oneOf() (object, string) {
	a, _ := g.text()
	b, e := g.integer()
	c, _ := g.array()
	return object{"oneOf": []any{a, b, c}}, e
}

func (g *generator) define(s object) object {
	name := fmt.Sprintf("part %d", len(g.defs))
	g.defs[name] = s
	return object{"$ref": "#/$defs/" + name}
}

func (g *generator) reference() (object, string) {
	s, e := g.object()
	return g.define(s), e
}

// recursive is a tree.
func (g *generator) recursive() (object, string) {
	label, e := g.text()
	s := object{"type": "object", "required": []string{"label"}, "additionalProperties": false}
	ref := g.define(s)
	s["properties"] = object{"label": label, "kids": object{"type": "array", "items": ref, "maxItems": 2}, "up": object{"anyOf": []any{ref, object{"type": "null"}}}}
	return ref, `{"label":` + e + "}"
}
