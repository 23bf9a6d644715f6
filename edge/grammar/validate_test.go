package grammar

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// valid checks a JSON text by a schema, by the specification and without regard to how the package does it.
func valid(schema, text string) error {
	var s, x any
	if err := json.Unmarshal([]byte(schema), &s); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), &x); err != nil {
		return err
	}
	return validator{s}.check(s, x)
}

type validator struct{ root any }

func typeOf(x any) string {
	switch x := x.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		if x == math.Trunc(x) {
			return "integer"
		}
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

func same(x, y any) bool {
	a, _ := json.Marshal(x)
	b, _ := json.Marshal(y)
	return string(a) == string(b)
}

// escapes are those that ECMA-262 has and Go has not.
var escapes = regexp.MustCompile(`\\u([0-9a-f]{4})`)

var testFormats = map[string]*regexp.Regexp{
	"uuid":      regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`),
	"date":      regexp.MustCompile(`^\d{4}-\d\d-\d\d$`),
	"date-time": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`),
	"email":     regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[a-zA-Z]+$`),
}

func (v validator) check(schema, x any) error {
	if b, ok := schema.(bool); ok {
		if !b {
			return fmt.Errorf("%v: false", x)
		}
		return nil
	}
	s := schema.(map[string]any)
	if s["nullable"] == true && x == nil {
		return nil
	}
	if ref, ok := s["$ref"].(string); ok {
		at := v.root
		for _, step := range strings.Split(ref, "/")[1:] {
			if list, ok := at.([]any); ok {
				i, err := strconv.Atoi(step)
				if err != nil {
					return err
				}
				at = list[i]
				continue
			}
			at = at.(map[string]any)[strings.NewReplacer("%24", "$", "~1", "/").Replace(step)]
		}
		if err := v.check(at, x); err != nil {
			return err
		}
	}
	count := func(key string) (n int, err error) {
		list, _ := s[key].([]any)
		for _, a := range list {
			e := v.check(a, x)
			if e == nil {
				n++
			} else {
				err = e
			}
		}
		return n, err
	}
	if n, err := count("allOf"); err != nil {
		return fmt.Errorf("allOf %d: %w", n, err)
	}
	if n, err := count("anyOf"); s["anyOf"] != nil && n == 0 {
		return fmt.Errorf("anyOf: %w", err)
	}
	if n, err := count("oneOf"); s["oneOf"] != nil && n != 1 {
		return fmt.Errorf("oneOf: %d of them: %w", n, err)
	}
	if list, ok := s["enum"].([]any); ok && !slices.ContainsFunc(list, func(y any) bool { return same(x, y) }) {
		return fmt.Errorf("%v is not in %v", x, list)
	}
	if y, ok := s["const"]; ok && !same(x, y) {
		return fmt.Errorf("%v is not %v", x, y)
	}
	if t := s["type"]; t != nil {
		list, ok := t.([]any)
		if !ok {
			list = []any{t}
		}
		is := typeOf(x)
		if !slices.Contains(list, any(is)) && !(is == "integer" && slices.Contains(list, any("number"))) {
			return fmt.Errorf("%v is no %v", x, list)
		}
	}
	num := func(key string, otherwise float64) float64 {
		if f, ok := s[key].(float64); ok {
			return f
		}
		return otherwise
	}
	within := func(n int, low, high string) error {
		if float64(n) < num(low, 0) || float64(n) > num(high, math.Inf(1)) {
			return fmt.Errorf("%v: %d is not within %s and %s", x, n, low, high)
		}
		return nil
	}
	switch x := x.(type) {
	case float64:
		if x < num("minimum", math.Inf(-1)) || x > num("maximum", math.Inf(1)) || x <= num("exclusiveMinimum", math.Inf(-1)) || x >= num("exclusiveMaximum", math.Inf(1)) {
			return fmt.Errorf("%v is out of range", x)
		}
	case string:
		if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(escapes.ReplaceAllString(p, `\x{$1}`)).MatchString(x) {
			return fmt.Errorf("%q does not match %s", x, p)
		}
		if f, ok := s["format"].(string); ok && testFormats[f] != nil && !testFormats[f].MatchString(x) {
			return fmt.Errorf("%q is no %s", x, f)
		}
		return within(utf8.RuneCountInString(x), "minLength", "maxLength")
	case []any:
		prefix, _ := s["prefixItems"].([]any)
		if list, ok := s["items"].([]any); ok {
			prefix = list
		}
		for i, y := range x {
			item, ok := s["items"], s["items"] != nil
			if i < len(prefix) {
				item, ok = prefix[i], true
			}
			if ok {
				if err := v.check(item, y); err != nil {
					return fmt.Errorf("%d: %w", i, err)
				}
			}
		}
		return within(len(x), "minItems", "maxItems")
	case map[string]any:
		props, _ := s["properties"].(map[string]any)
		for k, y := range x {
			p, ok := props[k]
			if !ok {
				p, ok = s["additionalProperties"]
			}
			if ok {
				if err := v.check(p, y); err != nil {
					return fmt.Errorf("%s: %w", k, err)
				}
			}
		}
		req, _ := s["required"].([]any)
		for _, k := range req {
			if _, ok := x[k.(string)]; !ok {
				return fmt.Errorf("%v is missing", k)
			}
		}
		return within(len(x), "minProperties", "maxProperties")
	}
	return nil
}
