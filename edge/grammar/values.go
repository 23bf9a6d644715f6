package grammar

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	maxInt      = 15 // digits in front of the point: every such integer is exact in a float64
	maxFraction = 15
)

// anyString is a JSON string.
func (b *builder) anyString() int {
	return b.once("string", func(n *nfa, start, end int) {
		body := n.text(start, `"`)
		n.char(body, body)
		n.bytes(body, '"', '"', end)
	})
}

// bounded is a JSON string of at least low and at most high characters; high is none if there is no limit.
func (b *builder) bounded(low, high int) int {
	if low == 0 && high == none {
		return b.anyString()
	}
	char := b.once("char", func(n *nfa, start, end int) { n.char(start, end) })
	return b.once(fmt.Sprintf("string %d %d", low, high), func(n *nfa, start, end int) {
		at := n.text(start, `"`)
		for i := 0; ; i++ {
			// A token has at most maxPiece characters: what is further away than that makes no difference to it.
			n.nodes[at].like = b.likeness(min(max(low-i, 0), maxPiece+1), min(high-i, maxPiece+1), high)
			if i >= low {
				n.bytes(at, '"', '"', end)
			}
			switch {
			case i == high:
				return
			case high == none && i == low:
				n.call(at, char, at)
				return
			}
			next := n.node()
			n.call(at, char, next)
			at = next
		}
	})
}

// likeness numbers the states of bounded strings by how many characters have to come and how many may.
func (b *builder) likeness(low, high, limit int) int32 {
	if limit == none {
		high = none
	}
	k := [2]int{low, high}
	x, ok := b.alike[k]
	if !ok {
		b.likes++
		x = b.likes
		b.alike[k] = x
	}
	return x
}

// anyNumber is a JSON number that any float64 parser reads without overflow.
func (b *builder) anyNumber() int {
	return b.once("number", func(n *nfa, start, end int) {
		first, whole := n.node(), n.node()
		n.bytes(start, '-', '-', first)
		n.free(start, first)
		n.bytes(first, '0', '0', whole)
		at := n.node()
		n.bytes(first, '1', '9', at)
		n.digits(at, 0, maxInt-1, whole)
		exponent := n.node()
		n.free(whole, exponent)
		n.digits(n.text(whole, "."), 1, maxFraction, exponent)
		n.free(exponent, end)
		sign, e := n.node(), n.node()
		n.anyOf(exponent, "eE", sign)
		n.anyOf(sign, "+-", e)
		n.free(sign, e)
		n.digits(e, 1, 2, end)
	})
}

// digits takes low to high digits.
func (n *nfa) digits(from, low, high, to int) {
	for i := range high {
		if i >= low {
			n.free(from, to)
		}
		next := n.node()
		n.bytes(from, '0', '9', next)
		from = next
	}
	n.free(from, to)
}

// anyInteger is a JSON integer without point and exponent.
func (b *builder) anyInteger() int {
	return b.once("integer", func(n *nfa, start, end int) {
		n.bytes(start, '0', '0', end)
		first, at := n.node(), n.node()
		n.bytes(start, '-', '-', first)
		n.bytes(start, '1', '9', at)
		n.bytes(first, '1', '9', at)
		n.digits(at, 0, maxInt-1, end)
	})
}

// anyValue is any JSON value.
func (b *builder) anyValue() int {
	return b.once("value", func(n *nfa, start, end int) {
		for _, r := range []int{b.anyString(), b.anyNumber(), b.anyObject(), b.anyArray()} {
			n.call(start, r, end)
		}
		for _, s := range []string{"true", "false", "null"} {
			n.textTo(start, s, end)
		}
	})
}

func (b *builder) anyArray() int {
	return b.once("array", func(n *nfa, start, end int) {
		first, item := n.text(start, "["), n.node()
		n.call(first, b.anyValue(), item)
		n.call(n.comma(item), b.anyValue(), item)
		n.bytes(first, ']', ']', end)
		n.bytes(item, ']', ']', end)
	})
}

func (b *builder) anyObject() int {
	return b.once("object", func(n *nfa, start, end int) {
		first := n.text(start, "{")
		n.bytes(first, '}', '}', end)
		b.more(n, first, none, b.anyString(), b.anyValue(), end)
	})
}

// more takes members with keys and values of two rules, then the end of the object: the first member without a comma at the node first,
// with one at the node next. Either may be none.
func (b *builder) more(n *nfa, first, next, key, value, end int) {
	member, behind := n.node(), n.node()
	if first != none {
		n.free(first, member)
	}
	if next != none {
		n.free(n.comma(next), member)
	}
	name := n.node()
	n.call(member, key, name)
	n.call(n.colon(name), value, behind)
	n.free(n.comma(behind), member)
	n.bytes(behind, '}', '}', end)
}

// quoteRune is how a character is written in a JSON string.
func quoteRune(r rune) string {
	switch r {
	case '"', '\\':
		return `\` + string(r)
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	if r < 0x20 {
		return fmt.Sprintf(`\u%04x`, r)
	}
	return string(r)
}

// quote writes a JSON string in the one way that automatons know.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		b.WriteString(quoteRune(r))
	}
	b.WriteByte('"')
	return b.String()
}

// constant takes one JSON value, as it is written in the schema but for white space and escapes.
func (n *nfa) constant(from int, v *value) int {
	switch v.kind {
	case isString:
		return n.text(from, quote(v.text))
	case isArray:
		from = n.text(from, "[")
		for i, x := range v.items {
			if i > 0 {
				from = n.comma(from)
			}
			from = n.constant(from, x)
		}
		return n.text(from, "]")
	case isObject:
		from = n.text(from, "{")
		for i, m := range v.members {
			if i > 0 {
				from = n.comma(from)
			}
			from = n.constant(n.colon(n.text(from, quote(m.key))), m.value)
		}
		return n.text(from, "}")
	}
	return n.text(from, v.text)
}

// equal compares JSON values; numbers by their value as far as a float64 tells it.
func (v *value) equal(u *value) bool {
	if v.kind != u.kind {
		return false
	}
	switch v.kind {
	case isNumber:
		x, errX := strconv.ParseFloat(v.text, 64)
		y, errY := strconv.ParseFloat(u.text, 64)
		return v.text == u.text || errX == nil && errY == nil && x == y
	case isArray:
		return slices.EqualFunc(v.items, u.items, (*value).equal)
	case isObject:
		if len(v.members) != len(u.members) {
			return false
		}
		for _, m := range v.members {
			if x := u.get(m.key); x == nil || !m.value.equal(x) {
				return false
			}
		}
		return true
	}
	return v.text == u.text
}
