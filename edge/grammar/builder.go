package grammar

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Limits of what a grammar may take. A schema that needs more is refused.
const (
	maxStates = 1 << 14
	maxEdges  = 1 << 16 // edges and calls
	maxNodes  = 1 << 16 // of all rules while they are written down
	maxWork   = 1 << 20 // steps of the compilation: about 200 ms
	maxWays   = 1 << 10 // rules that may begin at one place
	maxDepth  = 128     // calls within calls: a little more than the nesting of objects and arrays in a text
)

// limitError says which limit a grammar exceeds.
type limitError string

func (e limitError) Error() string { return string(e) }

// emptyError says that nothing fits a rule.
type emptyError int

func (e emptyError) Error() string { return "nothing can fit" }

// circularError names a rule that calls itself before it takes a byte.
type circularError int

func (e circularError) Error() string { return "it refers to itself" }

// built is a state of the automaton that is being built.
type built struct {
	edges  []edge
	calls  []call
	accept bool
	like   int32
}

// builder makes an automaton, rule by rule. Rules may be called before they are written.
type builder struct {
	states  []built
	entries []int32 // by rule; none for one not written yet
	edges   int
	nodes   int
	work    int
	likes   int32 // how many numbers of alike states were given
	alike   map[[2]int]int32
	shared  map[string]int // rules that many places call
	err     error          // the first
}

func newBuilder() *builder { return &builder{alike: map[[2]int]int32{}, shared: map[string]int{}} }

// rule makes a rule that is still to be written.
func (b *builder) rule() int {
	b.entries = append(b.entries, none)
	return len(b.entries) - 1
}

// write writes a rule down: fill takes its text from the node start to the node end.
func (b *builder) write(rule int, fill func(n *nfa, start, end int)) {
	if b.err != nil {
		return
	}
	n := newNFA()
	start, end := n.node(), n.node()
	fill(n, start, end)
	if b.err == nil {
		b.determinise(rule, n, start, end)
	}
}

// once is a rule that is written where it is first needed.
func (b *builder) once(name string, fill func(n *nfa, start, end int)) int {
	if r, ok := b.shared[name]; ok {
		return r
	}
	r := b.rule()
	b.shared[name] = r
	b.write(r, fill)
	return r
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = limitError(fmt.Sprintf(format, args...))
	}
}

func (b *builder) tooManyNodes() {
	b.fail("the schema is too large: it takes more than %d nodes", maxNodes)
}

// determinise adds the rule's states: each is a set of the nodes that the text read so far may have led to.
func (b *builder) determinise(rule int, n *nfa, start, end int) {
	if b.nodes += len(n.nodes); b.nodes > maxNodes {
		b.tooManyNodes()
		return
	}
	ids := map[string]int32{}
	var sets [][]int
	first := len(b.states)
	seen := make([]bool, len(n.nodes))
	var key []byte
	id := func(set []int) int32 {
		set = n.closure(set, end, seen, &b.work)
		key = key[:0]
		for _, s := range set {
			key = binary.LittleEndian.AppendUint32(key, uint32(s))
		}
		if i, ok := ids[string(key)]; ok {
			return i
		}
		i := int32(first + len(sets))
		ids[string(key)] = i
		sets = append(sets, set)
		b.states = append(b.states, built{})
		return i
	}
	b.entries[rule] = id([]int{start})
	for k := 0; k < len(sets); k++ {
		set := sets[k]
		st := built{accept: slices.Contains(set, end)}
		var edges []edge
		calls := map[int32][]int{}
		for _, s := range set {
			edges = append(edges, n.nodes[s].edges...)
			for _, c := range n.nodes[s].calls {
				calls[c.entry] = append(calls[c.entry], int(c.to))
			}
			if len(set) == 1 {
				st.like = n.nodes[s].like
			}
		}
		st.edges = disjoint(edges, id, &b.work)
		for callee := range calls {
			st.calls = append(st.calls, call{entry: callee})
		}
		slices.SortFunc(st.calls, func(x, y call) int { return int(x.entry - y.entry) })
		for i := range st.calls {
			st.calls[i].to = id(calls[st.calls[i].entry])
		}
		b.states[first+k] = st
		b.edges += len(st.edges) + len(st.calls)
		if b.work > maxWork {
			b.fail("the schema is too large: too many of its alternatives or properties begin alike")
			return
		}
		if len(b.states) > maxStates || b.edges > maxEdges {
			b.fail("the schema is too large: its automaton takes more than %d states or %d transitions", maxStates, maxEdges)
			return
		}
	}
}

// disjoint makes the edges of a state of those of its nodes. id gives the state of a set of nodes. steps counts the edges looked at, eight at a time.
func disjoint(edges []edge, id func([]int) int32, steps *int) []edge {
	switch len(edges) {
	case 0:
		return nil
	case 1:
		return []edge{{edges[0].lo, edges[0].hi, id([]int{int(edges[0].to)})}}
	}
	var cut [257]bool
	for _, e := range edges {
		cut[e.lo], cut[int(e.hi)+1] = true, true
	}
	var out []edge
	var to []int
	for lo := 0; lo < 256; {
		hi := lo
		for hi < 255 && !cut[hi+1] {
			hi++
		}
		to = to[:0]
		*steps += len(edges) / 8
		for _, e := range edges {
			if int(e.lo) <= lo && hi <= int(e.hi) {
				to = append(to, int(e.to))
			}
		}
		if len(to) > 0 {
			t := id(slices.Clone(to))
			if k := len(out) - 1; k >= 0 && int(out[k].hi) == lo-1 && out[k].to == t {
				out[k].hi = byte(hi)
			} else {
				out = append(out, edge{byte(lo), byte(hi), t})
			}
		}
		lo = hi + 1
	}
	return out
}

// finish makes the automaton of the rules. The error is a limitError, an emptyError or a circularError.
func (b *builder) finish(start int) (*automaton, error) {
	if b.err != nil {
		return nil, b.err
	}
	a := b.flatten(start, nil)
	var weight [256]int32
	for i := range weight {
		weight[i] = 1
	}
	length, steps, order := a.shortest(&weight)
	if rule, ok := b.leftRecursive(a, length); ok {
		return nil, circularError(rule)
	}
	if length[a.start] == never {
		return nil, emptyError(b.culprit(length, start))
	}
	if need := a.need(steps, order)[a.start]; need >= maxDepth {
		return nil, limitError(fmt.Sprintf("every value is nested more than %d deep", maxDepth))
	}
	return b.flatten(start, length), nil
}

// culprit is a rule that nothing fits, if possible one that is not to blame on the rules that it calls.
func (b *builder) culprit(length []int32, start int) int {
	for rule, entry := range b.entries {
		if entry == none || length[entry] != never {
			continue
		}
		end := len(b.states) // a rule's states are in a row
		for _, e := range b.entries {
			if e > entry {
				end = min(end, int(e))
			}
		}
		blame := true
		for _, s := range b.states[entry:end] {
			for _, c := range s.calls {
				blame = blame && length[b.entries[c.entry]] != never
			}
		}
		if blame {
			return rule
		}
	}
	return start
}

// flatten lays the states out, without ways to where no end can be reached, if length is given.
func (b *builder) flatten(start int, length []int32) *automaton {
	a := &automaton{states: make([]state, 0, len(b.states)+1), start: b.entries[start], likes: b.likes}
	dead := func(s int32) bool { return length != nil && length[s] == never }
	for _, st := range b.states {
		a.states = append(a.states, state{uint32(len(a.edges)), uint32(len(a.calls)), st.like, st.accept})
		for _, e := range st.edges {
			if !dead(e.to) {
				a.edges = append(a.edges, e)
			}
		}
		for _, c := range st.calls {
			entry, to := b.entries[c.entry], c.to
			if dead(entry) || dead(to) {
				continue
			}
			if t := b.states[to]; t.accept && len(t.edges) == 0 && len(t.calls) == 0 {
				to = none
			}
			a.calls = append(a.calls, call{entry, to})
		}
	}
	a.states = append(a.states, state{edges: uint32(len(a.edges)), calls: uint32(len(a.calls))})
	return a
}

// leftRecursive finds a rule that comes back to itself without a byte in between, as {"$ref": "#"} does.
func (b *builder) leftRecursive(a *automaton, length []int32) (int, bool) {
	const active, done = 1, 2
	mark := make([]byte, a.size())
	var visit func(s int32) bool
	visit = func(s int32) bool {
		switch mark[s] {
		case active:
			return true
		case done:
			return false
		}
		mark[s] = active
		for _, c := range a.callsOf(s) {
			if visit(c.entry) || c.to != none && length[c.entry] == 0 && visit(c.to) {
				return true
			}
		}
		mark[s] = done
		return false
	}
	for rule, entry := range b.entries {
		if entry != none && visit(entry) {
			return rule, true
		}
	}
	for s := range a.size() {
		if visit(int32(s)) {
			return 0, true
		}
	}
	return 0, false
}

// include adds another automaton's states and returns a rule that is its text.
func (b *builder) include(a *automaton) int {
	shift, likes := int32(len(b.states)), b.likes
	b.likes += a.likes
	rule := b.rule()
	b.entries[rule] = a.start + shift
	rules := map[int32]int32{a.start: int32(rule)}
	end := int32(none) // the state behind a call that ends its rule
	for s := range int32(a.size()) {
		st := built{accept: a.states[s].accept, like: a.states[s].like}
		if st.like != 0 {
			st.like += likes
		}
		for _, e := range a.edgesOf(s) {
			st.edges = append(st.edges, edge{e.lo, e.hi, e.to + shift})
		}
		for _, c := range a.callsOf(s) {
			callee, ok := rules[c.entry]
			if !ok {
				callee = int32(b.rule())
				b.entries[callee] = c.entry + shift
				rules[c.entry] = callee
			}
			to := c.to + shift
			if c.to == none {
				if end == none {
					end = shift + int32(a.size())
				}
				to = end
			}
			st.calls = append(st.calls, call{callee, to})
		}
		b.states = append(b.states, st)
	}
	if end != none {
		b.states = append(b.states, built{accept: true})
	}
	return rule
}
