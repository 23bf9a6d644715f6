package grammar

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Schema compiles a JSON Schema (draft 2020-12 or 7, in the subset that SDKs emit). Every text of the grammar is JSON that validates; not every JSON that
// validates is a text of it: members come in the order of the schema, properties that it does not name only where additionalProperties
// asks for them (or it names none), keys and constrained strings are escaped only where they must be, numbers with bounds have no exponent. Free keys
// never repeat a declared one, but may repeat each other.
//
// Strings may be given minLength and maxLength, and a pattern in the syntax of package regexp, without word boundaries, or a format of date, time, date-time,
// uuid, ipv4 and email; other formats are annotations. A date is never a 29th of February. oneOf is taken where its alternatives exclude each other, allOf where at
// most one of them is no plain object. What restricts otherwise is refused, what does not is ignored. The error is an *Error.
func Schema(raw []byte) (*Grammar, error) {
	return newCompiler().schema(raw)
}

func (c *compiler) schema(raw []byte) (*Grammar, error) {
	root, err := parse(raw)
	if err != nil {
		return nil, err
	}
	r := c.b.rule()
	c.paths[r] = ""
	c.root = root
	c.b.write(r, func(n *nfa, start, end int) { err = c.place(n, n.space(start), end, root, "") })
	if err != nil {
		return nil, err
	}
	return c.finish(r)
}

// compiler makes rules of schemas.
type compiler struct {
	b      *builder
	root   *value
	prefix string         // of paths in errors: where root lies
	rules  map[string]int // by path
	paths  map[int]string

	typesOf   map[*value]typeSet  // what kinds has found
	membersOf map[*value]*members // what members has found
}

func newCompiler() *compiler {
	return &compiler{b: newBuilder(), rules: map[string]int{}, paths: map[int]string{}, typesOf: map[*value]typeSet{}, membersOf: map[*value]*members{}}
}

// spend counts steps of the compilation. It is false, and c.b.err says why, once there have been too many.
func (c *compiler) spend(steps int) bool {
	if c.b.work = min(c.b.work+steps, maxWork+1); c.b.work > maxWork { // the steps beyond are not made
		c.b.fail("the schema is too large or too involved: it takes more than %d steps", maxWork)
	}
	return c.b.err == nil
}

func (c *compiler) finish(rule int) (*Grammar, error) {
	a, err := c.b.finish(rule)
	var empty emptyError
	var circle circularError
	switch {
	case errors.As(err, &empty):
		return nil, &Error{c.paths[int(empty)], "no value of finite length can be valid"}
	case errors.As(err, &circle):
		return nil, &Error{c.paths[int(circle)], "the schema refers to itself without anything in between"}
	case err != nil:
		return nil, &Error{Message: err.Error()}
	case a.involved(maxWays):
		return nil, &Error{Message: fmt.Sprintf("the schema is too ambiguous: at one place more than %d alternatives begin, each counted as often as references lead to it", maxWays)}
	}
	return &Grammar{a: a}, nil
}

func (c *compiler) errorf(path, format string, args ...any) error {
	return &Error{c.prefix + path, fmt.Sprintf(format, args...)}
}

// rule is the rule of the schema at a path.
func (c *compiler) rule(v *value, path string) (int, error) {
	if !c.spend(1 + len(path)/16) {
		return 0, c.errorf(path, "%v", c.b.err)
	}
	if r, ok := c.rules[c.prefix+path]; ok {
		return r, nil
	}
	r := c.b.rule()
	c.rules[c.prefix+path], c.paths[r] = r, c.prefix+path
	var err error
	c.b.write(r, func(n *nfa, start, end int) { err = c.fill(n, start, end, v, path) })
	if err == nil && c.b.err != nil {
		err = c.errorf(path, "%v", c.b.err)
	}
	return r, err
}

// place takes a value of a schema: constants where they stand, all else by a rule of its own.
func (c *compiler) place(n *nfa, from, to int, v *value, path string) error {
	if len(n.nodes) > maxNodes { // as many values in as many places may have come to by now
		c.b.tooManyNodes()
	}
	if c.b.err != nil {
		return c.errorf(path, "%v", c.b.err)
	}
	if v.get("const") != nil || v.get("enum") != nil {
		return c.fill(n, from, to, v, path)
	}
	r, err := c.rule(v, path)
	n.call(from, r, to)
	return err
}

// part is one of the schemas that a value has to be valid by.
type part struct {
	*value
	path string
}

// Keywords that restrict values, by what is done with them.
var (
	refused = []string{"not", "if", "then", "else", "patternProperties", "dependentRequired", "dependentSchemas", "dependencies", "contains",
		"minContains", "maxContains", "propertyNames", "unevaluatedItems", "$dynamicRef", "$recursiveRef"}
	unions = []string{"anyOf", "oneOf"}
	exact  = []string{"const", "enum"}
	ofType = map[kind][]string{
		isObject: {"properties", "required", "additionalProperties", "minProperties", "maxProperties", "unevaluatedProperties"},
		isArray:  {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"},
		isString: {"minLength", "maxLength", "pattern", "format"},
		isNumber: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
	}
)

// first is the first of keys that v has.
func (v *value) first(keys ...string) (string, bool) {
	for _, k := range keys {
		if v.get(k) != nil {
			return k, true
		}
	}
	return "", false
}

// restricts tells whether a schema says anything besides $ref and allOf.
func (v *value) restricts() bool {
	if v.kind == isBool {
		return v.text == "false"
	}
	for _, keys := range ofType {
		if _, ok := v.first(keys...); ok {
			return true
		}
	}
	_, ok := v.first(slices.Concat(refused, unions, exact, []string{"type"})...)
	return ok
}

// parts is the schemas that v stands for: itself, and those of $ref and allOf. Where it is one, a reference is not followed, and is that part.
func (c *compiler) parts(v *value, path string) (own []part, err error) {
	own, err = c.collect(nil, v, path, 0, nil)
	if err == nil && len(own) > 1 {
		own, err = c.collect(nil, v, path, 0, map[*value]bool{})
	}
	return own, err
}

// collect adds the schemas that v stands for to dst. It follows references if followed, the schemas that have been met, is not nil: a schema that applies twice is taken once.
func (c *compiler) collect(dst []part, v *value, path string, depth int, followed map[*value]bool) ([]part, error) {
	if !c.spend(1 + len(v.members) + len(path)/16) {
		return nil, c.errorf(path, "%v", c.b.err)
	}
	if done, ok := followed[v]; ok && done {
		return dst, nil
	} else if ok || depth > maxNesting {
		return nil, c.errorf(path, "the schema refers to itself without anything in between")
	}
	if v.kind != isObject && v.kind != isBool {
		return nil, c.errorf(path, "a schema is an object, true or false, not %s", v.kind)
	}
	if followed != nil {
		followed[v] = false
		defer func() { followed[v] = true }()
	}
	if v.restricts() {
		dst = append(dst, part{v, path})
	}
	if len(dst) > maxNesting {
		return nil, c.errorf(path, "allOf stands for more than %d schemas", maxNesting)
	}
	if ref := v.get("$ref"); ref != nil {
		target, at, err := c.resolve(ref, path)
		if err != nil {
			return nil, err
		}
		if followed == nil {
			dst = append(dst, part{target, at})
		} else if dst, err = c.collect(dst, target, at, depth+1, followed); err != nil {
			return nil, err
		}
	}
	all, err := c.list(v, "allOf", path)
	if err != nil {
		return nil, err
	}
	for i, x := range all {
		if dst, err = c.collect(dst, x, fmt.Sprintf("%s/allOf/%d", path, i), depth+1, followed); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// resolve finds the schema of a reference.
func (c *compiler) resolve(ref *value, path string) (*value, string, error) {
	if ref.kind != isString || ref.text != "#" && !strings.HasPrefix(ref.text, "#/") {
		return nil, "", c.errorf(path+"/$ref", "%q is not a reference of the form #/$defs/NAME: put the schema into this one", ref.text)
	}
	at, err := url.PathUnescape(ref.text[1:])
	if err != nil {
		return nil, "", c.errorf(path+"/$ref", "%v", err)
	}
	v := c.root
	for _, step := range strings.Split(at, "/")[1:] {
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		if !c.spend(1 + len(v.members)/16) {
			return nil, "", c.errorf(path+"/$ref", "%v", c.b.err)
		}
		if v.kind == isArray {
			i, ok := index(step, len(v.items))
			if !ok {
				return nil, "", c.errorf(path+"/$ref", "%q leads nowhere", ref.text)
			}
			v = v.items[i]
		} else if v = v.get(step); v == nil {
			return nil, "", c.errorf(path+"/$ref", "%q leads nowhere", ref.text)
		}
	}
	return v, at, nil
}

// index reads an index of an array as JSON pointers write it.
func index(s string, n int) (int, bool) {
	i, err := strconv.Atoi(s)
	return i, err == nil && i >= 0 && i < n && strconv.Itoa(i) == s
}

// fill takes a value of the schema at a path.
func (c *compiler) fill(n *nfa, from, to int, v *value, path string) error {
	parts, err := c.parts(v, path)
	switch {
	case err != nil:
		return err
	case len(parts) == 0:
		n.call(from, c.b.anyValue(), to)
		return nil
	case len(parts) > 1:
		for _, p := range parts {
			if err := c.plainObject(p); err != nil {
				return err
			}
		}
		return c.object(n, from, to, parts, path)
	}
	p := parts[0]
	if p.value != v && v.get("$ref") != nil {
		r, err := c.rule(p.value, p.path)
		n.call(from, r, to)
		return err
	}
	return c.one(n, from, to, p.value, p.path)
}

// plainObject checks that a schema says nothing but what members an object has, so that it can be merged with others.
func (c *compiler) plainObject(p part) error {
	if p.kind != isObject {
		return c.errorf(p.path, "nothing is valid by it")
	}
	if err := c.supported(p.value, p.path); err != nil {
		return err
	}
	kinds, _ := c.types(p.value, p.path)
	if key, ok := p.first(slices.Concat(unions, exact)...); ok || !slices.Equal(kinds, []string{"object"}) {
		if !ok {
			key = "type"
		}
		return c.errorf(p.path, "schemas can be combined, by allOf or beside $ref, only if they are plain objects; %s is in the way", key)
	}
	return nil
}

// supported looks for keywords that can't be kept.
func (c *compiler) supported(v *value, path string) error {
	if key, ok := v.first(refused...); ok {
		return c.errorf(path+pointer(key), "%s is not supported: leave it out, or say it in another way", key)
	}
	if x := v.get("uniqueItems"); x != nil && x.text != "false" {
		return c.errorf(path+"/uniqueItems", "uniqueItems is not supported: leave it out")
	}
	if x := v.get("unevaluatedProperties"); x != nil && x.text != "false" {
		return c.errorf(path+"/unevaluatedProperties", "unevaluatedProperties is supported as false only")
	}
	return nil
}

// one takes a value of a schema without regard to its $ref and allOf.
func (c *compiler) one(n *nfa, from, to int, v *value, path string) error {
	if v.kind == isBool { // false
		return nil
	}
	if err := c.supported(v, path); err != nil {
		return err
	}
	if x := v.get("nullable"); x != nil && x.text == "true" {
		n.textTo(from, "null", to)
	}
	if key, ok := v.first(unions...); ok {
		return c.union(n, from, to, v, key, path)
	}
	if _, ok := v.first(exact...); ok {
		return c.constants(n, from, to, v, path)
	}
	types, err := c.types(v, path)
	for _, t := range types {
		if err != nil {
			return err
		}
		switch t {
		case "null":
			n.textTo(from, "null", to)
		case "boolean":
			n.textTo(from, "true", to)
			n.textTo(from, "false", to)
		case "string":
			err = c.string(n, from, to, v, path)
		case "number", "integer":
			err = c.number(n, from, to, v, t, path)
		case "array":
			err = c.array(n, from, to, v, path)
		case "object":
			err = c.object(n, from, to, []part{{v, path}}, path)
		}
	}
	return err
}

// types is the types of a schema. Where it says none it is those that its keywords are about.
func (c *compiler) types(v *value, path string) (types []string, err error) {
	t := v.get("type")
	if t == nil {
		for _, k := range []kind{isObject, isArray, isString, isNumber} {
			if _, ok := v.first(ofType[k]...); ok {
				types = append(types, k.String())
			}
		}
		return types, nil
	}
	list := []*value{t}
	if t.kind == isArray {
		list = t.items
	}
	if !c.spend(len(list)) {
		return nil, c.errorf(path, "%v", c.b.err)
	}
	for _, x := range list {
		if x.kind != isString || !slices.Contains(allTypes, x.text) {
			return nil, c.errorf(path+"/type", "%q is no type", x.text)
		}
		if !slices.Contains(types, x.text) {
			types = append(types, x.text)
		}
	}
	if len(types) == 0 {
		return nil, c.errorf(path+"/type", "there is no type in the list")
	}
	return types, nil
}

// is tells whether a value is of a type.
func (v *value) is(t string) bool {
	if t == "integer" {
		d, err := parseDecimal(v.text)
		return v.kind == isNumber && err == nil && d.frac == ""
	}
	return v.kind.String() == t
}

// constants takes the values of enum or const.
func (c *compiler) constants(n *nfa, from, to int, v *value, path string) error {
	values, err := c.exactly(v, path)
	if err != nil {
		return err
	}
	for _, keys := range ofType {
		if key, ok := v.first(keys...); ok {
			return c.errorf(path+pointer(key), "%s beside enum or const is not supported: leave out the values that it excludes", key)
		}
	}
	for _, x := range values {
		n.free(n.constant(from, x), to)
	}
	return nil
}

// exactly is the values that enum and const allow, less those that type excludes.
func (c *compiler) exactly(v *value, path string) ([]*value, error) {
	values, err := c.list(v, "enum", path)
	if err != nil {
		return nil, err
	}
	if !c.spend(len(values)) {
		return nil, c.errorf(path, "%v", c.b.err)
	}
	if x := v.get("const"); x != nil {
		if v.get("enum") != nil && !slices.ContainsFunc(values, x.equal) {
			return nil, c.errorf(path+"/const", "it is not one of enum")
		}
		values = []*value{x}
	}
	if v.get("type") != nil {
		types, err := c.types(v, path)
		if err != nil {
			return nil, err
		}
		nullable := v.get("nullable")
		values = slices.DeleteFunc(slices.Clone(values), func(x *value) bool {
			return !slices.ContainsFunc(types, x.is) && (x.kind != isNull || nullable == nil || nullable.text != "true")
		})
	}
	if len(values) == 0 {
		key, _ := v.first(exact...)
		return nil, c.errorf(path+pointer(key), "it allows no value of the type")
	}
	return values, nil
}

// list is the array of a keyword, nil if there is none. Only that of enum may be empty here.
func (c *compiler) list(v *value, key, path string) ([]*value, error) {
	x := v.get(key)
	if x == nil {
		return nil, nil
	}
	if x.kind != isArray || len(x.items) == 0 && key != "enum" {
		return nil, c.errorf(path+pointer(key), "%s has to be an array that is not empty", key)
	}
	return x.items, nil
}
