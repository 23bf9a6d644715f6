package grammar

import "encoding/binary"

// local is what tokens do from a state on, whatever the rule returns to.
type local struct {
	mask    []uint64 // those that stay within the rule or end with it
	exits   []uint32 // nodes of the trie where the rule may be left in the middle of tokens
	nested  int      // how many of exits may lie on one token
	any     bool     // whether mask has any
	most    int32    // the largest cost, within the rule, of a token in mask, less the cost of the state
	deepest int      // how deep the stack has to be allowed to get, the state's own place being 1
	threads int
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
	w.key = binary.LittleEndian.AppendUint32(b.key(w.key[:0], keyLocal), uint32(b.place(s)))
	if x := v.masks.get(w.key); x != nil {
		return x.(*local)
	}
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
	return v.masks.put(w.key, l, 8*len(l.mask)+4*len(l.exits)).(*local)
}

// within walks all tokens from a state, with nothing to return to, and returns the largest cost of one, -1 if none is allowed.
func (w *walker) within(s int32, base, limit int, budget int32, mask []uint64, exits *[]uint32) int32 {
	w.base, w.limit, w.deepest, w.most = base, limit, 0, 0
	t := &w.levels[0]
	t.reset()
	t.data = append(t.data, s)
	t.ends = append(t.ends, 1)
	var exit func(uint32)
	if exits != nil {
		exit = func(node uint32) { *exits = append(*exits, node) }
	}
	return w.walk(0, budget, mask, exit)
}

// whole prepares for walks over whole stacks.
func (w *walker) whole() { w.base, w.limit, w.deepest, w.most = 0, maxDepth, 0, 0 }

// masked finds the tokens that may come next, with at most budget tokens behind them. With any budget the mask is cached.
func (w *walker) masked(t *threads, budget int32) *mask {
	v := w.b.v
	m := &mask{bits: make([]uint64, v.words), most: -1}
	if t.done {
		set(m.bits, v.end)
		m.any, m.most = len(v.end) > 0, 0
	}
	most, ok := w.apart(t, budget, m.bits)
	if !ok { // threads would be dropped: only together it can be told which
		clear(m.bits)
		if t.done {
			set(m.bits, v.end)
		}
		w.whole()
		w.levels[0].copy(t)
		most = w.walk(0, budget, m.bits, nil)
	}
	m.any, m.most = m.any || most >= 0, max(m.most, most)
	return m
}

// apart sets the tokens of each thread by itself, which is the same as that of all of them as long as they are few enough together: else it returns false.
func (w *walker) apart(t *threads, budget int32, mask []uint64) (most int32, ok bool) {
	most = -1
	count := 0
	for i := range t.ends {
		stack := t.stack(i)
		top, parents := stack[len(stack)-1], stack[:len(stack)-1]
		behind := w.cost(parents)
		if behind == never {
			continue
		}
		l := w.local(top)
		cost := sum(l.most, sum(w.b.cost[top], behind))
		if l.deepest+len(parents) <= maxDepth && cost <= budget {
			if l.any {
				for k, x := range l.mask {
					mask[k] |= x
				}
				most = max(most, cost)
			}
		} else if n := w.within(top, len(parents), maxDepth, budget-behind, mask, nil); n >= 0 {
			most = max(most, sum(n, behind))
		}
		if count += l.threads; count > maxThreads {
			return 0, false
		}
		if len(parents) == 0 {
			continue
		}
		w.whole()
		for _, e := range l.exits {
			start := &w.levels[0]
			start.reset()
			start.data = append(start.data, parents...)
			w.enter(start, 0)
			most = max(most, w.walk(e, budget, mask, nil))
		}
		if count += w.most * l.nested; count > maxThreads {
			return 0, false
		}
	}
	return most, true
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
