package grammar

import "slices"

const (
	// maxThreads is how many readings of a text are followed at once, and how many each of them may become within a token. Beyond that the ones that can end soonest
	// stay: the text is valid all the same, but what only the others could have become is lost.
	maxThreads = 64
	// maxWalk is how many steps are made for one mask: some 20 ms. A mask that would take more lacks tokens, but never the way to the end.
	maxWalk = 1 << 19
)

// threads is the places in the automaton where a text may be: stacks of states to return to, with the current state on top.
// Each current state takes a byte: calls and ends of rules have been gone through.
type threads struct {
	data []int32 // stacks, one behind the other
	ends []int32 // where they end
	done bool    // the whole may end here
	path int     // the steps that it took to get here
	main bool    // the first stack is that which the walk began with, still in the same rule; it is never dropped
}

func (t *threads) reset() {
	t.data, t.ends, t.path, t.done, t.main = t.data[:0], t.ends[:0], 0, false, false
}

// begin makes t a single reading to walk from. Its top takes a byte.
func (t *threads) begin(stack []int32) {
	t.reset()
	t.data, t.ends, t.main = append(t.data, stack...), append(t.ends, int32(len(stack))), true
}

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
	base    int     // how deep the stacks lie, that of a part
	limit   int     // how deep they may get
	deepest int     // how deep they have been or would have to be
	most    int     // the most threads that there were
	allow   int     // how many steps may be made for a mask
	work    int     // how many more steps may be made
	longest int     // the most steps that one token took
	seen    []int32 // places whose local has been asked for since work was set
	levels  [maxPiece + 1]threads
	sum     threads  // what the readings of a text become, together
	scratch []uint64 // the mask of one of them
	key     []byte
}

// enter adds to t the places that a stack leads to without a byte. stack is at the end of t.data, behind the last stack of t, and is taken away.
func (w *walker) enter(t *threads, begin int) {
	b := w.b
	w.work--
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
	top := stack[len(stack)-1]
	for i, end := range t.ends {
		if t.data[end-1] == top && slices.Equal(t.stack(i), stack) {
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
	worst, rank := 0, int64(-1)
	for i := range t.ends {
		if r := w.rank(t.stack(i)); r > rank && (i > 0 || !t.main) {
			worst, rank = i, r
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
	w.work -= len(src.ends)
	for i := range src.ends {
		stack := src.stack(i)
		top := w.b.next(stack[len(stack)-1], c)
		if top == none {
			continue
		}
		begin := len(dst.data)
		dst.data = append(append(dst.data, stack[:len(stack)-1]...), top)
		first := i == 0 && src.main
		dst.main = dst.main || first && w.b.states[top].edges < w.b.states[top+1].edges
		w.enter(dst, begin)
		if first && len(dst.ends) == 0 {
			dst.main = false
		}
	}
}

// follow makes w.sum what a text becomes with a token, and tells whether that is something. Whatever masked allows is within the limits here: the readings come in
// the same order, and one token takes no more steps than all of them.
func (w *walker) follow(t *threads, piece []byte) bool {
	w.whole()
	w.work = 2 * w.allow
	w.sum.reset()
	cheapest := w.cheapest(t)
	for n := 0; n < len(t.ends) && w.work > 0; n++ {
		w.levels[0].begin(t.stack(nth(n, cheapest)))
		var last *threads
		for i, c := range piece {
			last = &w.levels[i+1]
			w.step(&w.levels[i], c, last)
			if len(last.ends) == 0 {
				last.done = last.done && i+1 == len(piece)
				break
			}
		}
		w.sum.done = w.sum.done || last.done
		for i := range last.ends {
			begin := len(w.sum.data)
			w.sum.data = append(w.sum.data, last.stack(i)...)
			w.add(&w.sum, begin)
		}
	}
	return w.sum.done || len(w.sum.ends) > 0
}

// cost is in how many tokens a stack can be brought to its end.
func (w *walker) cost(stack []int32) int32 {
	n := int32(0)
	for _, s := range stack {
		n = sum(n, w.b.cost[s])
	}
	return n
}

// rank orders stacks by cost, and of those of one cost puts those first whose way to the end begins with a byte: with each stack there is one of these at the same cost.
func (w *walker) rank(stack []int32) int64 {
	r := 2 * int64(w.cost(stack))
	if w.b.way[stack[len(stack)-1]] == noWay {
		r++
	}
	return r
}

// cheapest is the stack of the lowest rank.
func (w *walker) cheapest(t *threads) int {
	best, rank := 0, int64(2*never+2)
	if len(t.ends) > 1 {
		for i := range t.ends {
			if r := w.rank(t.stack(i)); r < rank {
				best, rank = i, r
			}
		}
	}
	return best
}

// nth is the index of the stack that is looked at as the nth, from 0: the cheapest comes first, so that it is looked at whatever the others take.
func nth(n, cheapest int) int {
	switch {
	case n == 0:
		return cheapest
	case n <= cheapest:
		return n - 1
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
	for i := root + 1; i < end && w.work > 0; {
		node := &v.nodes[i]
		d := node.depth - base
		t := &w.levels[d]
		before := w.work
		w.step(&w.levels[d-1], node.b, t)
		t.path = w.levels[d-1].path + before - w.work
		w.longest = max(w.longest, t.path)
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
