package grammar

import (
	"fmt"
	"slices"
	"strings"
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
		allowed := setOf(types...)
		if slices.Contains(types, "number") {
			allowed |= setOf("integer")
		}
		for i, x := range list {
			kinds := c.kinds(x, at(i))
			if c.b.err != nil {
				return c.errorf(path, "%v", c.b.err)
			}
			if others := kinds &^ allowed; others != 0 {
				return c.errorf(path+"/type", "the type beside %s excludes %s, which %s allows: put it into the alternatives", key, others, at(i))
			}
		}
	}
	for i, x := range list {
		for j := range i {
			if key != "oneOf" || c.exclusive(part{list[j], at(j)}, part{x, at(i)}) {
				continue
			}
			if c.b.err != nil {
				return c.errorf(path, "%v", c.b.err)
			}
			return c.errorf(at(i), "a value may be valid by this and by %s, which oneOf forbids: use anyOf, or give them a property with different constants", at(j))
		}
		if err := c.place(n, from, to, x, at(i)); err != nil {
			return err
		}
	}
	return nil
}

var allTypes = []string{"null", "boolean", "object", "array", "number", "string", "integer"}

// typeSet is a set of types, by their index in allTypes.
type typeSet uint8

const everyType typeSet = 1<<7 - 1

func setOf(types ...string) (set typeSet) {
	for _, t := range types {
		set |= 1 << slices.Index(allTypes, t)
	}
	return set
}

func (s typeSet) String() string {
	var names []string
	for i, t := range allTypes {
		if s>>i&1 != 0 {
			names = append(names, t)
		}
	}
	return strings.Join(names, ", ")
}

// kinds is the types that values of a schema may have, or more.
func (c *compiler) kinds(v *value, path string) typeSet {
	if set, ok := c.typesOf[v]; ok {
		return set
	}
	c.typesOf[v] = everyType // for schemas that refer to this one with nothing in between, which will be refused
	set := c.findKinds(v, path)
	c.typesOf[v] = set
	return set
}

func (c *compiler) findKinds(v *value, path string) typeSet {
	parts, err := c.parts(v, path)
	switch {
	case err != nil || len(parts) == 0:
		return everyType
	case len(parts) > 1:
		return setOf("object") // others are refused
	}
	if p := parts[0]; p.value != v {
		return c.kinds(p.value, p.path)
	}
	if x := v.get("nullable"); x != nil && x.text == "true" {
		return everyType
	}
	if key, ok := v.first(unions...); ok {
		var set typeSet
		list, _ := c.list(v, key, path)
		for i, x := range list {
			set |= c.kinds(x, fmt.Sprintf("%s/%s/%d", path, key, i))
		}
		return set
	}
	if values, err := c.exactly(v, path); err == nil {
		var set typeSet
		for _, x := range values {
			set |= setOf(x.kind.String())
		}
		return set
	}
	types, _ := c.types(v, path)
	return setOf(types...)
}

// exclusive tells whether it is certain that no text of one schema's grammar is valid by the other.
func (c *compiler) exclusive(x, y part) bool {
	if !c.spend(1) {
		return false
	}
	kx, ky := c.kinds(x.value, x.path), c.kinds(y.value, y.path)
	numbers := setOf("number", "integer")
	if kx&ky == 0 && (kx&numbers == 0 || ky&numbers == 0) {
		return true
	}
	if c.apart(c.finite(x), c.finite(y)) {
		return true
	}
	ox, oy := c.members(x), c.members(y)
	if ox == nil || oy == nil || !c.spend(len(ox.props)+len(oy.props)) {
		return false
	}
	// A property that both have to have, with different constants.
	for _, p := range ox.props {
		q := oy.prop(p.name)
		if q != nil && p.required && q.required && c.apart(c.finite(p.part), c.finite(q.part)) {
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
func (c *compiler) apart(x, y []*value) bool {
	return x != nil && y != nil && c.spend(len(x)*len(y)) && !slices.ContainsFunc(x, func(v *value) bool { return slices.ContainsFunc(y, v.equal) })
}

// members is what a schema says about objects, nil if it may be about something else.
func (c *compiler) members(p part) *members {
	m, ok := c.membersOf[p.value]
	if !ok {
		m = c.findMembers(p)
		c.membersOf[p.value] = m
	}
	return m
}

func (c *compiler) findMembers(p part) *members {
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
