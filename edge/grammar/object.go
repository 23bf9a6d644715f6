package grammar

import (
	"fmt"
	"slices"
)

// members is what the members of an object may be.
type members struct {
	props []property // in order
	index map[string]int
	extra *part // the schema of members beyond these; nil if none are written
}

type property struct {
	part
	name     string
	required bool
}

func (m *members) prop(name string) *property {
	if i, ok := m.index[name]; ok {
		return &m.props[i]
	}
	return nil
}

func (m *members) add(p property) {
	m.index[p.name] = len(m.props)
	m.props = append(m.props, p)
}

var anything = &value{kind: isBool, text: "true"}

// gather makes one description of those of the parts.
func (c *compiler) gather(parts []part) (*members, error) {
	m := &members{index: map[string]int{}}
	for _, p := range parts {
		props := p.get("properties")
		if props == nil {
			continue
		}
		if props.kind != isObject {
			return nil, c.errorf(p.path+"/properties", "properties has to be an object, not %s", props.kind)
		}
		for _, x := range props.members {
			at := p.path + "/properties" + pointer(x.key)
			if !c.spend(1 + len(at)/16) {
				return nil, c.errorf(p.path, "%v", c.b.err)
			}
			if have := m.prop(x.key); have == nil {
				m.add(property{part{x.value, at}, x.key, false})
			} else if !have.equal(x.value) {
				return nil, c.errorf(at, "the schema differs from that at %s, and both apply", have.path)
			}
		}
	}
	closed, err := c.additional(m, parts)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		req := p.get("required")
		if req == nil {
			continue
		}
		if req.kind != isArray {
			return nil, c.errorf(p.path+"/required", "required has to be an array of names, not %s", req.kind)
		}
		for i, x := range req.items {
			at := fmt.Sprintf("%s/required/%d", p.path, i)
			if x.kind != isString {
				return nil, c.errorf(at, "a name has to be a string, not %s", x.kind)
			}
			have := m.prop(x.text)
			if have == nil {
				if closed != "" {
					return nil, c.errorf(at, "%q is required, but not in properties, and %s allows no other", x.text, closed)
				}
				other := part{anything, at}
				if m.extra != nil {
					other = *m.extra
				}
				m.add(property{other, x.text, false})
				have = m.prop(x.text)
			}
			have.required = true
		}
	}
	return m, c.count(m, parts)
}

// additional finds the schema of members that are not declared. closed is the path of what forbids them, if something does.
func (c *compiler) additional(m *members, parts []part) (closed string, err error) {
	declared := len(m.props) > 0
	for _, p := range parts {
		key := "additionalProperties"
		x := p.get(key)
		if x == nil {
			key = "unevaluatedProperties" // false, and then it is the same
			x = p.get(key)
		}
		declared = declared || p.get("required") != nil && len(p.get("required").items) > 0
		if x == nil {
			continue
		}
		at := p.path + pointer(key)
		switch {
		case x.text == "false" && x.kind == isBool:
			closed = at
			own := map[string]bool{}
			if props := p.get("properties"); props != nil {
				for _, m := range props.members {
					own[m.key] = true
				}
			}
			for _, q := range m.props {
				if key == "additionalProperties" && !own[q.name] {
					return "", c.errorf(at, "it excludes the property at %s, which applies too", q.path)
				}
			}
		case x.kind != isBool && x.kind != isObject:
			return "", c.errorf(at, "a schema is an object, true or false, not %s", x.kind)
		case len(parts) == 1:
			m.extra = &part{x, at}
		case x.restricts():
			return "", c.errorf(at, "a schema of additional properties in one of several that apply is not supported")
		}
	}
	if closed == "" && m.extra == nil && !declared {
		m.extra = &part{anything, parts[0].path + "/additionalProperties"}
	}
	return closed, nil
}

// count checks that minProperties and maxProperties exclude nothing that would be written.
func (c *compiler) count(m *members, parts []part) error {
	required := 0
	for _, p := range m.props {
		if p.required {
			required++
		}
	}
	for _, p := range parts {
		low, high, err := c.limits(p.value, "minProperties", "maxProperties", p.path)
		if err != nil {
			return err
		}
		if low > required {
			return c.errorf(p.path+"/minProperties", "more properties than are required is not supported: require them")
		}
		if high != none && (high < len(m.props) || m.extra != nil) {
			return c.errorf(p.path+"/maxProperties", "fewer properties than there may be is not supported: leave it out")
		}
	}
	return nil
}

// object takes an object that is valid by all parts.
func (c *compiler) object(n *nfa, from, to int, parts []part, path string) error {
	m, err := c.gather(parts)
	if err != nil {
		return err
	}
	// first is where no member has been written, next where one has been, name where the name of one comes; each with the properties before the current one done.
	first, next, name := n.text(from, "{"), n.node(), n.node()
	for _, p := range m.props {
		key, after := n.node(), n.node()
		first2, next2, name2 := n.node(), n.node(), n.node()
		n.free(n.comma(next), name)
		n.free(first, key)
		n.free(name, key)
		if err := c.place(n, n.colon(n.text(key, quote(p.name))), after, p.value, p.path); err != nil {
			return err
		}
		n.free(after, next2)
		if !p.required {
			n.free(first, first2)
			n.free(next, next2)
			n.free(name, name2)
		}
		first, next, name = first2, next2, name2
	}
	n.bytes(first, '}', '}', to)
	n.bytes(next, '}', '}', to)
	if m.extra == nil {
		return nil
	}
	r, err := c.rule(m.extra.value, m.extra.path)
	if err != nil {
		return err
	}
	key := c.b.anyString()
	if len(m.props) > 0 {
		var names []string
		for _, p := range m.props {
			names = append(names, p.name)
		}
		key = c.b.written(c.prefix+path+"\x00keys", except(names))
	}
	c.b.more(n, first, next, key, r, to)
	return nil
}

// maxItems is how many items are counted. Longer arrays are not written where there is a limit, and not required.
const maxItems = 1024

// array takes an array.
func (c *compiler) array(n *nfa, from, to int, v *value, path string) error {
	low, high, err := c.limits(v, "minItems", "maxItems", path)
	if err != nil {
		return err
	}
	if low > maxItems {
		return c.errorf(path+"/minItems", "%d items are more than the limit of %d", low, maxItems)
	}
	prefix, rest, err := c.items(v, path)
	if err != nil {
		return err
	}
	if rest == nil && low > len(prefix) {
		return c.errorf(path+"/minItems", "%d items are required, but only %d are allowed", low, len(prefix))
	}
	if high != none {
		high = min(high, maxItems)
	}
	if rest == nil && (high == none || high > len(prefix)) {
		high = len(prefix)
	}
	low = max(low, len(prefix)) // a tuple is written as a whole
	if high != none {
		low = min(low, high)
	}
	at := n.text(from, "[")
	for i := 0; ; i++ {
		if i >= low {
			n.bytes(at, ']', ']', to)
		}
		if i == high {
			return nil
		}
		item := rest
		if i < len(prefix) {
			item = &prefix[i]
		}
		begin, next := at, n.node()
		if i > 0 {
			begin = n.comma(at)
		}
		if err := c.place(n, begin, next, item.value, item.path); err != nil {
			return err
		}
		at = next
		if high == none && i >= low && i >= len(prefix) {
			n.bytes(at, ']', ']', to)
			return c.place(n, n.comma(at), at, rest.value, rest.path)
		}
	}
}

// items is the schemas of the first items, and of those behind them, nil if there must be none.
func (c *compiler) items(v *value, path string) (prefix []part, rest *part, err error) {
	key, behind := "prefixItems", "items"
	if x := v.get("items"); x != nil && x.kind == isArray {
		key, behind = "items", "additionalItems" // until draft 2019-09
	}
	list, err := c.list(v, key, path)
	if err != nil {
		return nil, nil, err
	}
	for i, x := range list {
		prefix = append(prefix, part{x, fmt.Sprintf("%s/%s/%d", path, key, i)})
	}
	low, _, _ := c.limits(v, "minItems", "maxItems", path)
	switch x := v.get(behind); {
	case x == nil && (len(prefix) == 0 || low > len(prefix)):
		rest = &part{anything, path + pointer(behind)}
	case x == nil || x.kind == isBool && x.text == "false":
	default:
		rest = &part{x, path + pointer(behind)}
	}
	return prefix, rest, nil
}

// limits reads two keywords that are counts, the second none if it is not there.
func (c *compiler) limits(v *value, lowKey, highKey, path string) (low, high int, err error) {
	low, high = 0, none
	for _, x := range []struct {
		key string
		to  *int
	}{{lowKey, &low}, {highKey, &high}} {
		k := v.get(x.key)
		if k == nil {
			continue
		}
		d, err := parseDecimal(k.text)
		if k.kind != isNumber || err != nil || d.neg || d.frac != "" {
			return 0, 0, c.errorf(path+pointer(x.key), "%s has to be an integer that is not negative", x.key)
		}
		*x.to = d.count()
	}
	if high != none && low > high {
		return 0, 0, c.errorf(path+pointer(lowKey), "%s %d is more than %s %d", lowKey, low, highKey, high)
	}
	return low, high, nil
}

// written is a rule of a JSON string whose characters an automaton over characters describes.
func (b *builder) written(name string, d *runeDFA) int {
	return b.once(name, func(n *nfa, start, end int) {
		nodes := make([]int, len(d.states))
		for i := range nodes {
			nodes[i] = n.node()
		}
		n.free(n.text(start, `"`), nodes[0])
		for i, s := range d.states {
			if s.accept {
				n.bytes(nodes[i], '"', '"', end)
			}
			for _, e := range s.edges {
				n.quoted(nodes[i], e.lo, e.hi, nodes[e.to])
			}
			if b.nodes+len(n.nodes) > maxNodes {
				b.fail("a pattern is too large: it takes more than %d nodes", maxNodes)
				return
			}
		}
	})
}

// except accepts any text but some words, without control characters.
func except(words []string) *runeDFA {
	d := new(runeDFA)
	d.states = append(d.states, runeState{accept: true}, runeState{accept: true, edges: []runeEdge{{0x20, 0x10ffff, 1}}})
	next := []map[rune]int{{}, nil}
	for _, w := range words {
		at := 0
		for _, r := range w {
			to, ok := next[at][r]
			if !ok {
				to = len(d.states)
				d.states = append(d.states, runeState{accept: true})
				next = append(next, map[rune]int{})
				next[at][r] = to
			}
			at = to
		}
		d.states[at].accept = false
	}
	for i, m := range next {
		if i == 1 {
			continue
		}
		var known []rune
		for r := range m {
			known = append(known, r)
		}
		slices.Sort(known)
		lo := rune(0x20)
		for _, r := range known {
			if lo < r {
				d.states[i].edges = append(d.states[i].edges, runeEdge{lo, r - 1, 1})
			}
			d.states[i].edges = append(d.states[i].edges, runeEdge{r, r, m[r]})
			lo = max(lo, r+1)
		}
		d.states[i].edges = append(d.states[i].edges, runeEdge{lo, 0x10ffff, 1})
	}
	return d
}
