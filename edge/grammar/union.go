package grammar

import (
	"fmt"
	"slices"
)

// union takes a value of one of the alternatives of anyOf or oneOf.
func (c *compiler) union(n *nfa, from, to int, v *value, key, path string) error {
	list, err := c.list(v, key, path)
	if err != nil {
		return err
	}
	others := slices.Concat(exact, unions)
	for _, keys := range ofType {
		others = append(others, keys...)
	}
	for _, k := range others {
		if k != key && v.get(k) != nil {
			return c.errorf(path+pointer(k), "%s beside %s is not supported: put it into the alternatives", k, key)
		}
	}
	if len(list) > maxThreads {
		return c.errorf(path+pointer(key), "%d alternatives are more than the limit of %d", len(list), maxThreads)
	}
	at := func(i int) string { return fmt.Sprintf("%s/%s/%d", path, key, i) }
	if v.get("type") != nil {
		types, err := c.types(v, path)
		if err != nil {
			return err
		}
		for i, x := range list {
			for _, t := range c.kinds(x, at(i), 0) {
				if !slices.Contains(types, t) && (t != "integer" || !slices.Contains(types, "number")) {
					return c.errorf(path+"/type", "the type beside %s excludes %s, which %s allows: put it into the alternatives", key, t, at(i))
				}
			}
		}
	}
	for i, x := range list {
		for j := range i {
			if key == "oneOf" && !c.exclusive(part{list[j], at(j)}, part{x, at(i)}) {
				return c.errorf(at(i), "a value may be valid by this and by %s, which oneOf forbids: use anyOf, or give them a property with different constants", at(j))
			}
		}
		if err := c.place(n, from, to, x, at(i)); err != nil {
			return err
		}
	}
	return nil
}

var allTypes = []string{"null", "boolean", "object", "array", "number", "string", "integer"}

// kinds is the types that values of a schema may have, or more.
func (c *compiler) kinds(v *value, path string, depth int) []string {
	parts, err := c.parts(v, path)
	if err != nil || len(parts) != 1 || depth > maxNesting {
		if len(parts) > 1 {
			return []string{"object"} // others are refused
		}
		return allTypes
	}
	p := parts[0]
	if p.value != v {
		return c.kinds(p.value, p.path, depth+1)
	}
	if x := v.get("nullable"); x != nil && x.text == "true" {
		return allTypes
	}
	if key, ok := v.first(unions...); ok {
		var all []string
		list, _ := c.list(v, key, path)
		for i, x := range list {
			all = append(all, c.kinds(x, fmt.Sprintf("%s/%s/%d", path, key, i), depth+1)...)
		}
		return all
	}
	if values, err := c.exactly(v, path); err == nil {
		var all []string
		for _, x := range values {
			all = append(all, x.kind.String())
		}
		return all
	}
	types, _ := c.types(v, path)
	return types
}

// exclusive tells whether it is certain that no text of one schema's grammar is valid by the other.
func (c *compiler) exclusive(x, y part) bool {
	overlap := false
	kx, ky := c.kinds(x.value, x.path, 0), c.kinds(y.value, y.path, 0)
	for _, t := range kx {
		overlap = overlap || slices.Contains(ky, t) || t == "number" && slices.Contains(ky, "integer") || t == "integer" && slices.Contains(ky, "number")
	}
	if !overlap {
		return true
	}
	if apart(c.finite(x), c.finite(y)) {
		return true
	}
	ox, oy := c.members(x), c.members(y)
	if ox == nil || oy == nil {
		return false
	}
	// A property that both have to have, with different constants.
	for _, p := range ox.props {
		q := oy.prop(p.name)
		if q != nil && p.required && q.required && apart(c.finite(p.part), c.finite(q.part)) {
			return true
		}
	}
	// Each has to have a property that is never written for the other.
	return ox.has(oy) && oy.has(ox)
}

// has tells whether m requires a property that texts of o never have.
func (m *members) has(o *members) bool {
	return o.extra == nil && slices.ContainsFunc(m.props, func(p property) bool { return p.required && o.prop(p.name) == nil })
}

// finite is the values of a schema that lists them, nil for another.
func (c *compiler) finite(p part) []*value {
	for range maxNesting {
		parts, err := c.parts(p.value, p.path)
		if err != nil || len(parts) != 1 {
			return nil
		}
		if parts[0].value == p.value {
			break
		}
		p = parts[0]
	}
	if _, ok := p.first(exact...); !ok {
		return nil
	}
	if x := p.get("nullable"); x != nil && x.text == "true" {
		return nil
	}
	values, _ := c.exactly(p.value, p.path)
	return values
}

// apart tells whether two lists, which are not nil, have no value in common.
func apart(x, y []*value) bool {
	return x != nil && y != nil && !slices.ContainsFunc(x, func(v *value) bool { return slices.ContainsFunc(y, v.equal) })
}

// members is what a schema says about objects, nil if it may be about something else.
func (c *compiler) members(p part) *members {
	for range maxNesting {
		parts, err := c.parts(p.value, p.path)
		if err != nil || len(parts) == 0 {
			return nil
		}
		if len(parts) == 1 && parts[0].value != p.value {
			p = parts[0]
			continue
		}
		for _, q := range parts {
			if c.plainObject(q) != nil {
				return nil
			}
		}
		m, err := c.gather(parts)
		if err != nil {
			return nil
		}
		return m
	}
	return nil
}
