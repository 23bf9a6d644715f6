package grammar

import (
	"slices"
	"unicode/utf8"
)

// nfa is a rule while it is written down: nodes with any number of ways out, also such that take no byte.
type nfa struct {
	nodes    []node
	suffixes map[suffix]int // nodes with a single edge, which the characters of many ranges end with
	escapes  map[escape]int // nodes that take escaped characters
}

type node struct {
	edges []edge
	calls []call
	free  []int // nodes that are reached without a byte
	like  int32
}

type suffix struct {
	lo, hi byte
	to     int
}

type escape struct {
	lo, hi rune
	to     int
}

func newNFA() *nfa { return &nfa{suffixes: map[suffix]int{}, escapes: map[escape]int{}} }

func (n *nfa) node() int {
	n.nodes = append(n.nodes, node{})
	return len(n.nodes) - 1
}

func (n *nfa) free(from, to int) { n.nodes[from].free = append(n.nodes[from].free, to) }

func (n *nfa) bytes(from int, lo, hi byte, to int) {
	n.nodes[from].edges = append(n.nodes[from].edges, edge{lo, hi, int32(to)})
}

func (n *nfa) call(from, rule, to int) {
	n.nodes[from].calls = append(n.nodes[from].calls, call{int32(rule), int32(to)})
}

// text writes a text down and returns the node behind it.
func (n *nfa) text(from int, s string) int {
	for i := range len(s) {
		to := n.node()
		n.bytes(from, s[i], s[i], to)
		from = to
	}
	return from
}

// textTo is text that ends in a node that is there.
func (n *nfa) textTo(from int, s string, to int) { n.free(n.text(from, s), to) }

// anyOf takes one of the bytes of s.
func (n *nfa) anyOf(from int, s string, to int) {
	for i := range len(s) {
		n.bytes(from, s[i], s[i], to)
	}
}

// space takes one space or none.
func (n *nfa) space(from int) int {
	to := n.node()
	n.bytes(from, ' ', ' ', to)
	n.free(from, to)
	return to
}

// comma is what stands between elements, colon what stands between key and value.
func (n *nfa) comma(from int) int { return n.space(n.text(from, ",")) }
func (n *nfa) colon(from int) int { return n.space(n.text(from, ":")) }

// runes takes a character from lo to hi as UTF-8. Surrogates are none.
func (n *nfa) runes(from int, lo, hi rune, to int) {
	for _, part := range [...]struct{ lo, hi rune }{{0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, utf8.MaxRune}} {
		if a, b := max(lo, part.lo), min(hi, part.hi); a <= b {
			n.encoded(from, a, b, to)
		}
	}
}

// encoded is runes for characters whose encodings are of one length: it cuts the range until the bytes of an encoding vary independently.
func (n *nfa) encoded(from int, lo, hi rune, to int) {
	var a, b [utf8.UTFMax]byte
	size := utf8.EncodeRune(a[:], lo)
	utf8.EncodeRune(b[:], hi)
	for i := 1; i < size; i++ {
		m := rune(1)<<(6*i) - 1
		if lo&^m == hi&^m {
			continue
		}
		if lo&m != 0 {
			n.encoded(from, lo, lo|m, to)
			n.encoded(from, (lo|m)+1, hi, to)
			return
		}
		if hi&m != m {
			n.encoded(from, lo, hi&^m-1, to)
			n.encoded(from, hi&^m, hi, to)
			return
		}
	}
	for i := size - 1; i > 0; i-- {
		k := suffix{a[i], b[i], to}
		s, ok := n.suffixes[k]
		if !ok {
			s = n.node()
			n.bytes(s, a[i], b[i], to)
			n.suffixes[k] = s
		}
		to = s
	}
	n.bytes(from, a[0], b[0], to)
}

// quoted takes a character from lo to hi as it is written in a JSON string, in one way: escaped only where that must be.
func (n *nfa) quoted(from int, lo, hi rune, to int) {
	n.escaped(from, max(lo, 0), min(hi, 0x1f), to)
	for _, part := range [...]struct{ lo, hi rune }{{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, utf8.MaxRune}} {
		if a, b := max(lo, part.lo), min(hi, part.hi); a <= b {
			n.runes(from, a, b, to)
		}
	}
	for _, r := range `"\` {
		if lo <= r && r <= hi {
			n.escaped(from, r, r, to)
		}
	}
}

// escaped takes a character from lo to hi by its escape. All nodes that do so on the way to the same node share it.
func (n *nfa) escaped(from int, lo, hi rune, to int) {
	if lo > hi {
		return
	}
	k := escape{lo, hi, to}
	at, ok := n.escapes[k]
	if !ok {
		at = n.node()
		n.escapes[k] = at
		for r := lo; r <= hi; r++ {
			n.textTo(at, quoteRune(r), to)
		}
	}
	n.free(from, at)
}

// char takes a character of a JSON string, written in any way. Halves of surrogate pairs come in pairs.
func (n *nfa) char(from, to int) {
	n.runes(from, 0x20, '"'-1, to)
	n.runes(from, '"'+1, '\\'-1, to)
	n.runes(from, '\\'+1, utf8.MaxRune, to)
	esc := n.text(from, `\`)
	n.anyOf(esc, `"\/bfnrt`, to)
	u := n.text(esc, "u")
	last := n.hex(n.node(), to) // the last hexadecimal digit, the last two, the last three
	last2 := n.hex(n.node(), last)
	last3 := n.hex(n.node(), last2)
	n.bytes(u, '0', '9', last3)
	n.anyOf(u, "abcefABCEF", last3)
	d := n.node() // d000 to d7ff are characters, d800 to dbff first halves
	n.anyOf(u, "dD", d)
	n.bytes(d, '0', '7', last2)
	low := n.node()
	half := n.hex(n.node(), n.hex(n.node(), low))
	n.anyOf(d, "89abAB", half)
	low = n.text(low, `\u`)
	second := n.node()
	n.anyOf(low, "dD", second)
	n.anyOf(second, "cdefCDEF", last2)
}

// hex makes from take a hexadecimal digit.
func (n *nfa) hex(from, to int) int {
	n.bytes(from, '0', '9', to)
	n.bytes(from, 'a', 'f', to)
	n.bytes(from, 'A', 'F', to)
	return from
}

// closure is what set reaches without a byte, in order: of that the nodes with a way on, and end. seen is scratch, all false. steps counts the nodes visited.
func (n *nfa) closure(set []int, end int, seen []bool, steps *int) []int {
	visited := 0
	var out, all []int
	for ; len(set) > 0; visited++ {
		s := set[len(set)-1]
		set = set[:len(set)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		all = append(all, s)
		x := &n.nodes[s]
		if len(x.edges) > 0 || len(x.calls) > 0 || s == end {
			out = append(out, s)
		}
		set = append(set, x.free...)
	}
	for _, s := range all {
		seen[s] = false
	}
	*steps += visited
	slices.Sort(out)
	return out
}
