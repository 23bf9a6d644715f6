package grammar

import (
	"encoding/binary"
	"slices"
)

// local is what tokens do from a state on, whatever the rule returns to.
type local struct {
	mask    []uint64 // those that stay within the rule or end with it
	exits   []uint32 // nodes of the trie where the rule may be left in the middle of tokens
	nested  int      // how many of exits may lie on one token
	any     bool     // whether mask has any
	most    int32    // the largest cost, within the rule, of a token in mask, less the cost of the state
	deepest int      // how deep the stack has to be allowed to get, the state's own place being 1
	threads int
	work    int // the steps that it took
	longest int // the most that one token took
}

// mask is the tokens that may come next in a text.
type mask struct {
	bits []uint64
	most int32 // the largest cost of a token in bits, or more
	any  bool  // whether bits has any
}

// kinds of keys.
const (
	keyLocal = iota
	keyMask
)

// place is a state's number in keys: one for all that are alike.
func (b *bound) place(s int32) int32 {
	if like := b.states[s].like; like != 0 {
		return -1 - like
	}
	return s
}

// local finds what tokens do from a state, in the cache or by walking all of them.
func (w *walker) local(s int32) *local {
	b, v := w.b, w.b.v
	place := b.place(s)
	w.key = binary.LittleEndian.AppendUint32(b.key(w.key[:0], keyLocal), uint32(place))
	again := slices.Contains(w.seen, place)
	w.seen = append(w.seen, place)
	if x := v.masks.get(w.key); x != nil {
		l := x.(*local)
		steps := l.work // as if it had to be done, so that masks do not depend on what is in the cache
		if again {
			steps = l.longest // which is what follow may need
		}
		if steps < w.work {
			w.work -= steps
			return l
		}
	}
	before := w.work
	w.longest = 0
	l := &local{mask: make([]uint64, v.words)}
	most := w.within(s, 0, 1<<20, never-1, l.mask, &l.exits)
	l.any, l.most = most >= 0, most-b.cost[s]
	l.deepest, l.threads = w.deepest, w.most
	var open []uint32 // exits around the current one
	for _, e := range l.exits {
		for len(open) > 0 && v.nodes[open[len(open)-1]].skip <= e {
			open = open[:len(open)-1]
		}
		open = append(open, e)
		l.nested = max(l.nested, len(open))
	}
	if l.work, l.longest = before-w.work, w.longest; w.work <= 0 {
		return l // it is not the whole
	}
	return v.masks.put(w.key, l, 8*len(l.mask)+4*len(l.exits)).(*local)
}

// within walks all tokens from a state, with nothing to return to, and returns the largest cost of one, -1 if none is allowed.
func (w *walker) within(s int32, base, limit int, budget int32, mask []uint64, exits *[]uint32) int32 {
	w.base, w.limit, w.deepest, w.most = base, limit, 0, 0
	w.levels[0].begin([]int32{s})
	var exit func(uint32)
	if exits != nil {
		exit = func(node uint32) { *exits = append(*exits, node) }
	}
	return w.walk(0, budget, mask, exit)
}

// whole prepares for walks over whole stacks.
func (w *walker) whole() { w.base, w.limit, w.deepest, w.most = 0, maxDepth, 0, 0 }

// masked finds the tokens that may come next, with at most budget tokens behind them. With any budget the mask is cached.
//
// Each reading is looked at by itself, as Accept does too. Where that takes too long the mask is what has been found by then, and the token that begins the way to
// the end.
func (w *walker) masked(t *threads, budget int32) *mask {
	v := w.b.v
	m := &mask{bits: make([]uint64, v.words), most: -1}
	if t.done {
		set(m.bits, v.end)
		m.any, m.most = len(v.end) > 0, 0
	}
	w.work, w.seen = w.allow, w.seen[:0]
	cheapest := w.cheapest(t)
	for n := range t.ends {
		most := w.reading(t.stack(nth(n, cheapest)), budget, m.bits)
		m.any, m.most = m.any || most >= 0, max(m.most, most)
		if w.work <= 0 {
			break
		}
	}
	if w.work <= 0 {
		stack := t.stack(cheapest)
		top := len(stack) - 1
		ids, left := w.b.closing(stack[top])
		if left = sum(left, w.cost(stack[:top])); left <= budget {
			set(m.bits, ids)
			m.any, m.most = true, max(m.most, left)
		}
	}
	return m
}

// reading adds the tokens of one stack to a mask, and returns the largest cost of one, -1 if none is allowed. What tokens do within the rule and what they do behind
// it are put together, which is the same as walking through both as long as no thread would be dropped on the way.
func (w *walker) reading(stack []int32, budget int32, mask []uint64) (most int32) {
	top, parents := stack[len(stack)-1], stack[:len(stack)-1]
	behind := w.cost(parents)
	if behind == never {
		return -1
	}
	if w.scratch == nil {
		w.scratch = make([]uint64, w.b.v.words)
	}
	l := w.local(top)
	most = sum(l.most, sum(w.b.cost[top], behind))
	switch fits := l.deepest+len(parents) <= maxDepth && most <= budget; {
	case fits && l.any:
		copy(w.scratch, l.mask)
	case fits:
		clear(w.scratch)
		most = -1
	default:
		clear(w.scratch)
		if most = w.within(top, len(parents), maxDepth, budget-behind, w.scratch, nil); most >= 0 {
			most = sum(most, behind)
		}
	}
	w.whole()
	if len(parents) > 0 {
		for _, e := range l.exits {
			start := &w.levels[0]
			start.reset()
			start.data = append(start.data, parents...)
			w.enter(start, 0)
			most = max(most, w.walk(e, budget, w.scratch, nil))
		}
	}
	if l.threads+w.most*l.nested > maxThreads {
		clear(w.scratch)
		w.whole()
		w.levels[0].begin(stack)
		most = w.walk(0, budget, w.scratch, nil)
	}
	for i, x := range w.scratch {
		mask[i] |= x
	}
	return most
}

// maxKey is the length of the longest key that is worth its place in the cache.
const maxKey = 4096

// cached is masked without a limit, from the cache if it is there.
func (w *walker) cached(t *threads) *mask {
	b, v := w.b, w.b.v
	key := b.key(make([]byte, 0, 64), keyMask)
	if t.done {
		key = append(key, 1)
	}
	for i := range t.ends {
		stack := t.stack(i)
		key = binary.LittleEndian.AppendUint32(key, uint32(len(stack)))
		for _, s := range stack[:len(stack)-1] {
			key = binary.LittleEndian.AppendUint32(key, uint32(s))
		}
		key = binary.LittleEndian.AppendUint32(key, uint32(b.place(stack[len(stack)-1])))
	}
	if x := v.masks.get(key); x != nil {
		return x.(*mask)
	}
	m := w.masked(t, never-1)
	if len(key) > maxKey {
		return m
	}
	return v.masks.put(key, m, 8*len(m.bits)).(*mask)
}
