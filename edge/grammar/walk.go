package grammar

import "slices"

// maxThreads is how many readings of a text are followed at once. Beyond that the ones that can end soonest stay: the text is valid all the same, but ends that only
// the others had are lost.
const maxThreads = 64

// threads is the places in the automaton where a text may be: stacks of states to return to, with the current state on top.
// Each current state takes a byte: calls and ends of rules have been gone through.
type threads struct {
	data []int32 // stacks, one behind the other
	ends []int32 // where they end
	done bool    // the whole may end here
}

func (t *threads) reset() { t.data, t.ends, t.done = t.data[:0], t.ends[:0], false }

func (t *threads) stack(i int) []int32 {
	begin := int32(0)
	if i > 0 {
		begin = t.ends[i-1]
	}
	return t.data[begin:t.ends[i]]
}

func (t *threads) copy(from *threads) {
	t.data, t.ends, t.done = append(t.data[:0], from.data...), append(t.ends[:0], from.ends...), from.done
}

func (t *threads) equal(u *threads) bool {
	return t.done == u.done && slices.Equal(t.data, u.data) && slices.Equal(t.ends, u.ends)
}

// walker walks an automaton. It is for one goroutine.
type walker struct {
	b       *bound
	base    int // how deep the stacks lie, that of a part
	limit   int // how deep they may get
	deepest int // how deep they have been or would have to be
	most    int // the most threads that there were
	levels  [maxPiece + 1]threads
	key     []byte
}

// enter adds to t the places that a stack leads to without a byte. stack is at the end of t.data, behind the last stack of t, and is taken away.
func (w *walker) enter(t *threads, begin int) {
	b := w.b
	top := t.data[len(t.data)-1]
	need := w.base + len(t.data) - begin + int(b.deep[top])
	w.deepest = max(w.deepest, need)
	if b.cost[top] == never || need > w.limit {
		t.data = t.data[:begin]
		return
	}
	edges := b.states[top].edges < b.states[top+1].edges
	calls := b.callsOf(top)
	accept := b.states[top].accept
	if edges && !accept && len(calls) == 0 {
		w.add(t, begin)
		return
	}
	var buf [32]int32
	stack := append(buf[:0], t.data[begin:]...)
	parents := stack[:len(stack)-1]
	t.data = t.data[:begin]
	if edges {
		t.data = append(t.data, stack...)
		w.add(t, begin)
		begin = len(t.data)
	}
	if accept {
		if len(parents) == 0 {
			t.done = true
		} else {
			t.data = append(t.data, parents...)
			w.enter(t, begin)
			begin = len(t.data)
		}
	}
	for _, c := range calls {
		t.data = append(t.data, parents...)
		if c.to != none {
			need := w.base + len(parents) + 1 + int(b.deep[c.to])
			w.deepest = max(w.deepest, need)
			if b.cost[c.to] == never || need > w.limit {
				t.data = t.data[:begin]
				continue
			}
			t.data = append(t.data, c.to)
		}
		t.data = append(t.data, c.entry)
		w.enter(t, begin)
		begin = len(t.data)
	}
}

// add makes the end of t.data a thread, if it is not one yet.
func (w *walker) add(t *threads, begin int) {
	stack := t.data[begin:]
	for i := range t.ends {
		if slices.Equal(t.stack(i), stack) {
			t.data = t.data[:begin]
			return
		}
	}
	t.ends = append(t.ends, int32(len(t.data)))
	w.most = max(w.most, len(t.ends))
	if len(t.ends) > maxThreads {
		w.drop(t)
	}
}

// drop takes the thread away that takes longest to end.
func (w *walker) drop(t *threads) {
	worst, cost := 0, int32(-1)
	for i := range t.ends {
		if c := w.cost(t.stack(i)); c > cost {
			worst, cost = i, c
		}
	}
	n := int32(len(t.stack(worst)))
	t.data = slices.Delete(t.data, int(t.ends[worst]-n), int(t.ends[worst]))
	t.ends = slices.Delete(t.ends, worst, worst+1)
	for i := worst; i < len(t.ends); i++ {
		t.ends[i] -= n
	}
}

// step makes dst what src becomes with a byte.
func (w *walker) step(src *threads, c byte, dst *threads) {
	dst.reset()
	for i := range src.ends {
		stack := src.stack(i)
		top := w.b.next(stack[len(stack)-1], c)
		if top == none {
			continue
		}
		begin := len(dst.data)
		dst.data = append(append(dst.data, stack[:len(stack)-1]...), top)
		w.enter(dst, begin)
	}
}

// cost is in how many tokens a stack can be brought to its end.
func (w *walker) cost(stack []int32) int32 {
	n := int32(0)
	for _, s := range stack {
		n = sum(n, w.b.cost[s])
	}
	return n
}

// left is in how many tokens the text can be brought to its end.
func (w *walker) left(t *threads) int32 {
	if t.done {
		return 0
	}
	best := int32(never)
	for i := range t.ends {
		best = min(best, w.cost(t.stack(i)))
	}
	return best
}

// walk sets in mask the tokens below root that the threads in levels[0] can take and then come to an end in at most budget tokens more. It returns
// the most that an allowed one needs, -1 if there is none. exit, if there is one, is called with each node that has others below it and where the threads may be done.
func (w *walker) walk(root uint32, budget int32, mask []uint64, exit func(node uint32)) (most int32) {
	v := w.b.v
	most = -1
	base, end := v.nodes[root].depth, v.nodes[root].skip
	for i := root + 1; i < end; {
		node := &v.nodes[i]
		d := node.depth - base
		t := &w.levels[d]
		w.step(&w.levels[d-1], node.b, t)
		if len(t.ends) == 0 && !t.done {
			i = node.skip
			continue
		}
		if ids := v.tokens(i); len(ids) > 0 {
			if n := w.left(t); n <= budget {
				most = max(most, n)
				set(mask, ids)
			}
		}
		if t.done && exit != nil && node.skip > i+1 {
			exit(i)
		}
		if len(t.ends) == 0 {
			i = node.skip
		} else {
			i++
		}
	}
	return most
}
