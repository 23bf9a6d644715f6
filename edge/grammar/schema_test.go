package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestErrors: what is refused, where, and why.
func TestErrors(t *testing.T) {
	many := func(n int, f string) string {
		var parts []string
		for i := range n {
			parts = append(parts, strings.ReplaceAll(f, "N", fmt.Sprint(i)))
		}
		return strings.Join(parts, ",")
	}
	for _, c := range []struct{ schema, path, message string }{
		{``, "", "not JSON"},
		{`{`, "", "not JSON"},
		{`{"a":1,"a":2}`, "", "occurs twice"},
		{`{} {}`, "", "behind the JSON value"},
		{"\"\xff\"", "", "UTF-8"},
		{`1`, "", "a schema is an object"},
		{`{"properties":{"a":{"items":3}}}`, "/properties/a/items", "a schema is an object"},
		{`{"type":"strin"}`, "/type", "no type"},
		{`{"type":[]}`, "/type", "no type"},
		{`{"properties":[]}`, "/properties", "has to be an object"},
		{`{"properties":{"a/b":{"not":{}}}}`, "/properties/a~1b/not", "not supported"},
		{`{"if":{},"then":{}}`, "/if", "not supported"},
		{`{"patternProperties":{}}`, "/patternProperties", "not supported"},
		{`{"type":"array","uniqueItems":true}`, "/uniqueItems", "not supported"},
		{`{"propertyNames":{}}`, "/propertyNames", "not supported"},
		{`{"enum":[]}`, "/enum", "no value"},
		{`{"enum":"a"}`, "/enum", "array"},
		{`{"type":"integer","enum":["a",1.5]}`, "/enum", "no value"},
		{`{"const":1,"enum":[2]}`, "/const", "not one of"},
		{`{"const":1,"minimum":0}`, "/minimum", "beside enum or const"},
		{`{"type":"integer","minimum":3,"maximum":2}`, "", "no number lies between"},
		{`{"type":"integer","exclusiveMinimum":3,"maximum":3}`, "", "no number lies between"},
		{`{"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":4}`, "", "no value"},
		{`{"minimum":1e30}`, "/minimum", "64 bits"},
		{`{"maximum":1e999999999}`, "/maximum", "exponent"},
		{`{"maximum":"x"}`, "/maximum", "has to be a number"},
		{`{"multipleOf":2}`, "/multipleOf", "1 only"},
		{`{"minLength":3,"maxLength":2}`, "/minLength", "more than maxLength"},
		{`{"minLength":-1}`, "/minLength", "not negative"},
		{`{"minLength":2000}`, "/minLength", "limit of 1024"},
		{`{"minItems":1.5}`, "/minItems", "integer"},
		{`{"minItems":3,"prefixItems":[{}],"items":false}`, "/minItems", "only 1"},
		{`{"minItems":5000}`, "/minItems", "limit of 1024"},
		{`{"minProperties":1}`, "/minProperties", "require them"},
		{`{"maxProperties":1}`, "/maxProperties", "leave it out"},
		{`{"additionalProperties":false,"required":["a"]}`, "/required/0", "allows no other"},
		{`{"properties":{"a":false},"required":["a"]}`, "", "no value"},
		{`{"required":"a"}`, "/required", "array of names"},
		{`{"pattern":"("}`, "/pattern", "not supported"},
		{`{"pattern":"(?=a)"}`, "/pattern", "not supported"},
		{`{"pattern":"\\ba"}`, "/pattern", "assertions"},
		{`{"pattern":"^b$","minLength":2}`, "", "no value"},
		{`{"pattern":"^(a|aa){1,1000}(.*b.{20}){2}$"}`, "/pattern", "too large"},
		{`{"pattern":"^\\p{L}{1,1000}$"}`, "/pattern", "too large"},
		{`{"pattern":"` + strings.Repeat("(a?){1000}", 6) + `"}`, "/pattern", "too large"},
		{`{"properties":{` + many(4000, `"pN":{}`) + `}}`, "*", "too large"},
		{`{"properties":{"` + strings.Repeat("k", 30000) + `":{"properties":{` + many(2500, `"pN":{}`) + `}}}}`, "*", "too involved"},
		{`{"oneOf":[{"$ref":"#"},{"$ref":"#"}]}`, "/oneOf/1", "use anyOf"},
		{`{"type":"string","anyOf":[{"$ref":"#"},{"$ref":"#"}]}`, "/type", "excludes null"},
		{`{"allOf":[{"$ref":"#/allOf/1"},{"allOf":[{"$ref":"#"},{"type":"null"}]}]}`, "*", "refers to itself"},
		{`{"$ref":"#/$defs/a0","$defs":{` + chain(18, "anyOf") + `"a18":{"type":"null"}}}`, "", "too ambiguous"},
		{`{"oneOf":[{"enum":[` + many(5000, `N`) + `]},{"enum":[` + many(5000, `1N`) + `]}]}`, "*", "too involved"},
		{`{"minItems":1000,"items":{"type":"integer","enum":[` + many(9000, `"N"`) + `,1]}}`, "/items", "too involved"},
		{`{"properties":{` + many(2000, `"propertyN":{}`) + `}}`, "*", "begin alike"},
		{`{"$ref":"#/%zz"}`, "/$ref", "invalid URL escape"},
		{`{"anyOf":[]}`, "/anyOf", "not empty"},
		{`{"anyOf":[{"type":"string"}],"minLength":3}`, "/minLength", "beside anyOf"},
		{`{"type":"string","anyOf":[{"type":"integer"}]}`, "/type", "excludes integer"},
		{`{"oneOf":[{"type":"integer"},{"type":"number"}]}`, "/oneOf/1", "use anyOf"},
		{`{"oneOf":[{"type":"string","nullable":true},{"type":"null"}]}`, "/oneOf/1", "use anyOf"},
		{`{"oneOf":[{"const":1},{"const":1.0}]}`, "/oneOf/1", "use anyOf"},
		{`{"oneOf":[{"const":{"a":[1]}},{"const":{"a":[1]}}]}`, "/oneOf/1", "use anyOf"},
		{`{"anyOf":[{"type":"array","items":{"$ref":"#/anyOf/7"}}]}`, "/anyOf/0/items/$ref", "leads nowhere"},
		{`{"allOf":[{"properties":{"a":{}}},false]}`, "/allOf/1", "nothing is valid"},
		{`{"allOf":[{"properties":{"a":{}}},{"additionalProperties":{"type":"null"}}]}`, "/allOf/1/additionalProperties", "not supported"},
		{`{"unevaluatedProperties":true}`, "/unevaluatedProperties", "false only"},
		{`{"minimum":1e-30}`, "", "digits behind the point"},
		{`{"items":[{}`, "/items", "not JSON"},
		{`{"oneOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]}`, "/oneOf/1", "use anyOf"},
		{`{"anyOf":[` + many(100, `{"const":N}`) + `]}`, "/anyOf", "limit of 64"},
		{`{"allOf":[{"type":"string"},{"minLength":3}]}`, "/allOf/0", "plain objects"},
		{`{"allOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"a":{"type":"null"}}}]}`, "/allOf/1/properties/a", "differs"},
		{`{"allOf":[{"properties":{"a":{}}},{"properties":{"b":{}},"additionalProperties":false}]}`, "/allOf/1/additionalProperties", "excludes"},
		{`{"$ref":"#"}`, "", "no value of finite length"},
		{`{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/a"}]}}}`, "", "refers to itself"},
		{`{"$ref":"#/$defs/a"}`, "/$ref", "leads nowhere"},
		{`{"$ref":"http://example.org/s.json"}`, "/$ref", "put the schema into this one"},
		{`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`, "", "no value of finite length"},
		{`{"type":"array","minItems":1,"items":{"$ref":"#"}}`, "", "no value of finite length"},
		{strings.Repeat(`{"items":`, 70) + `{}` + strings.Repeat(`}`, 70), strings.Repeat("/items", 65), "nested more than 64"},
		{`{"title":"` + strings.Repeat("x", 1<<16) + `"}`, "", "limit of 65536"},
		{`{"properties":{` + many(200, `"aN":{"type":"array","minItems":1000,"items":{"const":"N"}}`) + `}}`, "*", "too large"},
		{`{"type":"array","minItems":1000,"items":{"enum":[` + many(300, `"a value of some length with the number N"`) + `]}}`, "/items", "too large"},
	} {
		comp := newCompiler()
		_, err := comp.schema([]byte(c.schema))
		if most := maxWork + maxNodes; comp.b.work > most || comp.b.nodes > 2*maxNodes { // a little more than the limits, which are looked at between steps
			t.Errorf("%.100s: %d steps and %d nodes", c.schema, comp.b.work, comp.b.nodes)
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.100s: %v, not an error of the schema", c.schema, err)
			continue
		}
		if c.path != "*" && e.Path != c.path && !strings.HasPrefix(e.Message, "no value of finite") && !strings.Contains(e.Message, "refers to itself") || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%.100s: %v; not at %q, %q", c.schema, err, c.path, c.message)
		}
	}
}

func TestToolErrors(t *testing.T) {
	for _, c := range []struct {
		tools []Tool
		path  string
	}{
		{nil, ""},
		{[]Tool{{"a", nil}, {"a", nil}}, "/1"},
		{[]Tool{{"a", nil}, {"b", json.RawMessage(`{"type":"string"}`)}}, "/1"},
		{[]Tool{{"a", json.RawMessage(`{"properties":{"x":{"not":{}}}}`)}}, "/0/properties/x/not"},
		{[]Tool{{"a", json.RawMessage(`{`)}}, "/0"},
	} {
		_, err := Tools(c.tools, true)
		var e *Error
		if !errors.As(err, &e) || e.Path != c.path {
			t.Errorf("%v: %v, not at %q", c.tools, err, c.path)
		}
	}
}

// TestCache compiles once, forgets what was not used, and tells tools that may be called from such that must be.
func TestCache(t *testing.T) {
	c := NewCache(2)
	get := func(s string) *Grammar {
		g, err := c.Schema([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	a := get(`{"const":1}`)
	get(`{"const":2}`)
	if get(`{"const":1}`) != a {
		t.Error("a schema was compiled again")
	}
	get(`{"const":3}`)
	if get(`{"const":1}`) != a {
		t.Error("what was used last was forgotten")
	}
	if c.order.Len() != 2 || len(c.grammars) != 2 {
		t.Errorf("%d grammars, not 2", c.order.Len())
	}
	tools := []Tool{{"a", json.RawMessage(`{"properties":{"x":{}}}`)}}
	may, err := c.Tools(tools, false)
	if err != nil {
		t.Fatal(err)
	}
	must, err := c.Tools(tools, true)
	again, _ := c.Tools([]Tool{{"a", json.RawMessage(`{"properties":{"x":{}}}`)}}, true)
	if err != nil || may == must || must != again {
		t.Errorf("tools: %v; %p, %p and %p", err, may, must, again)
	}
	if _, err := c.Tools([]Tool{{"a", json.RawMessage(`{`)}}, true); err == nil {
		t.Error("tools that are not JSON have a grammar")
	}
}

// TestMasksForgotten: masks take no more than their limit, and come out the same when they were forgotten.
func TestMasksForgotten(t *testing.T) {
	v, small := wordVocab(words...), wordVocab(words...)
	small.masks.limit = 3000
	g := compile(t, schemas[0])
	for seed := range uint64(10) {
		x, okX := random(t, g, v, rand.New(rand.NewPCG(seed, 0)), 80)
		y, okY := random(t, g, small, rand.New(rand.NewPCG(seed, 0)), 80)
		if x != y || okX != okY {
			t.Fatalf("%q with a cache, %q without", x, y)
		}
	}
	if small.masks.bytes > small.masks.limit || v.masks.bytes > maskBytes || len(small.masks.entries) != small.masks.order.Len() {
		t.Errorf("%d bytes of masks, more than %d", small.masks.bytes, small.masks.limit)
	}
}

// chain is definitions a0 to an-1, each of which refers to the next one twice.
func chain(n int, key string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"a%d":{%q:[{"$ref":"#/$defs/a%d"},{"$ref":"#/$defs/a%d"}]},`, i, key, i+1, i+1)
	}
	return b.String()
}

// arrays is an array of strings, of k lengths that overlap.
func arrays(k int) string {
	list := make([]string, k)
	for i := range list {
		list[i] = fmt.Sprintf(`{"type":"array","items":{"type":"string","pattern":"^[a-zA-Z ]*$"},"minItems":%d,"maxItems":%d}`, i+2, i+3)
	}
	return `{"anyOf":[` + strings.Join(list, ",") + `]}`
}

// TestInvolved: what refers to the same schema in many ways, or takes many states, is compiled in a limited number of steps.
func TestInvolved(t *testing.T) {
	v := byteVocab()
	for _, c := range []struct{ schema, yes, no string }{
		{`{"$ref":"#/$defs/a0","$defs":{` + chain(18, "allOf") + `"a18":{}}}`, `{"x":1}`, `x`},
		{`{"$ref":"#/$defs/a0","$defs":{` + chain(18, "allOf") + `"a18":{"type":"string"}}}`, `"x"`, `1`},
		{`{"oneOf":[{"$ref":"#/$defs/a0"},{"type":"string"}],"$defs":{` + chain(6, "anyOf") + `"a6":{"type":"null"}}}`, `null`, `1`},
		{`{"pattern":"(a|b)*a(a|b){9}"}`, `"abbbbbbbbb"`, `"bbbbbbbbbb"`},
		{arrays(60), `["a","b"]`, `["a"]`},
	} {
		comp := newCompiler()
		g, err := comp.schema([]byte(c.schema))
		if err != nil || comp.b.work > maxWork/2 {
			t.Errorf("%.100s: %v, after %d steps", c.schema, err, comp.b.work)
			continue
		}
		if !accepts(t, g, v, c.yes) || accepts(t, g, v, c.no) {
			t.Errorf("%.100s: %s is not accepted, or %s is", c.schema, c.yes, c.no)
		}
	}
}

// TestFewSteps: where a mask takes more steps than are allowed, texts stay valid and come to an end in time.
func TestFewSteps(t *testing.T) {
	nested := `{"$defs":{"a":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]}},
		"b":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/a"},{"type":"string","minLength":3},{"type":"null"}]}}},"$ref":"#/$defs/a"}`
	for i, schema := range []string{arrays(10), arrays(60), nested, schemas[2], schemas[3], schemas[7]} {
		g := compile(t, schema)
		short := false
		for _, allow := range []int{1, 30, 1000, maxWalk} {
			v := wordVocab(append([]string{"[[[[", "]]]]", "[[[[[[[[[[[[[[[[", `", "`}, words...)...)
			for seed := range uint64(3) {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				m := g.Start(v)
				m.w.allow = allow
				text, ok := finishText(t, m, v, r, 1+r.IntN(30))
				short = short || m.w.work <= 0
				if err := valid(schema, text); ok && err != nil {
					t.Errorf("%s: %s: %v", schema, text, err)
				}
			}
		}
		if !short {
			t.Errorf("%s: no mask took more than a step", schema)
		}
	}
}

// TestAmbiguous: texts that may be read in more ways than are followed stay valid and come to an end.
func TestAmbiguous(t *testing.T) {
	const schema = `{"$defs":{"a":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]}},
		"b":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/a"},{"type":"null"}]}}},"$ref":"#/$defs/a"}`
	g := compile(t, schema)
	v := wordVocab("[[[[", "]]]]", "[[", "null", "[[[[[[[[[[[[[[[[")
	m := g.Start(v)
	for range 12 {
		if err := m.Accept('['); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.at.ends); n > maxThreads {
		t.Errorf("%d readings, more than %d", n, maxThreads)
	}
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		if text, ok := random(t, g, v, r, 2+int(seed)); ok && !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON", text)
		}
	}
}

func FuzzSchema(f *testing.F) {
	for _, s := range schemas {
		f.Add([]byte(s), uint64(1))
	}
	for _, s := range []string{`{"pattern":"^(a|b)*[^x-z]{2,5}$","minLength":3}`, `{"$ref":"#/a/b","a":{"b":{"type":"array","items":{"$ref":"#/a"}}}}`, `{"allOf":[{"$ref":"#"},true]}`,
		`{"minimum":-0.05,"maximum":1e2}`, `{"enum":[1,"é\n",{"a":[]}]}`, `{"items":[{}],"additionalItems":false}`,
		`{"oneOf":[{"$ref":"#"},{"$ref":"#"}]}`, `{"type":"string","anyOf":[{"$ref":"#"},{"$ref":"#"}]}`, `{"$ref":"#/$defs/a0","$defs":{` + chain(18, "allOf") + `"a18":{}}}`,
		`{"$ref":"#/$defs/a0","$defs":{` + chain(18, "anyOf") + `"a18":{"type":"null"}}}`, arrays(10), `{"pattern":"(a|b)*a(a|b){9}"}`} {
		f.Add([]byte(s), uint64(2))
	}
	v := wordVocab(words...)
	f.Fuzz(func(t *testing.T, schema []byte, seed uint64) {
		g, err := Schema(schema)
		if err != nil {
			if e := new(*Error); !errors.As(err, e) {
				t.Fatalf("%v is no *Error", err)
			}
			return
		}
		if g.Bytes() > 4<<20 {
			t.Fatalf("a grammar of %d bytes", g.Bytes())
		}
		text, ok := random(t, g, v, rand.New(rand.NewPCG(seed, 0)), 40)
		if ok && !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON", text)
		}
	})
}
