package grammar

import "encoding/binary"

// bound is an automaton with a vocabulary.
type bound struct {
	*automaton
	v    *Vocab
	id   uint64  // of this pair, in the keys of v.masks
	cost []int32 // by state: in how many tokens its rule can be brought to the end; never if it can't
	deep []uint8 // by state: how deep calls then are nested
	way  []int16 // by state: the byte that the shortest text begins with; noWay if it begins in a rule called, or is empty
}

const noWay = -1

func bind(a *automaton, v *Vocab) *bound {
	b := &bound{automaton: a, v: v, id: v.bounds.Add(1)}
	_, steps, order := a.shortest(&v.weight)
	b.deep = a.need(steps, order)
	b.cost, b.way = make([]int32, a.size()), make([]int16, a.size())
	for s := range b.cost {
		b.cost[s], b.way[s] = never, noWay
		if steps[s].edge != none {
			b.way[s] = int16(steps[s].b)
		}
	}
	for _, s := range order {
		b.cost[s] = b.tokens(s, steps)
	}
	return b
}

// tokens is in how many tokens the shortest text from s to the end of its rule can be written: an upper bound of what is needed, as another text may take
// fewer, and as no token is counted that reaches over the border of a rule. The costs of the states behind s are known.
func (b *bound) tokens(s int32, steps []choice) int32 {
	switch st := steps[s]; {
	case st.call != none:
		c := b.calls[st.call]
		n := b.cost[c.entry]
		if c.to != none {
			n = sum(n, b.cost[c.to])
		}
		return n
	case st.edge == none:
		return 0
	}
	best := int32(never)
	for node := uint32(0); steps[s].edge != none; {
		if node = b.v.child(node, steps[s].b); node == 0 {
			break
		}
		s = b.edges[steps[s].edge].to
		if len(b.v.tokens(node)) > 0 {
			best = min(best, sum(1, b.cost[s]))
		}
	}
	return best
}

// closing is the tokens that begin the shortest text from s to the end of its rule, if that begins with a byte, and the cost of what then is left.
func (b *bound) closing(s int32) (ids []uint32, left int32) {
	left = never
	for node := uint32(0); b.way[s] != noWay; {
		c := byte(b.way[s])
		if node = b.v.child(node, c); node == 0 {
			break
		}
		s = b.next(s, c)
		if t := b.v.tokens(node); len(t) > 0 && b.cost[s] < left {
			ids, left = t, b.cost[s]
		}
	}
	return ids, left
}

// sum adds costs.
func sum(x, y int32) int32 {
	if x >= never-y {
		return never
	}
	return x + y
}

// need is, by state, how deep calls are nested in the shortest text to the end of its rule, at most 255.
func (a *automaton) need(steps []choice, order []int32) []uint8 {
	deep := make([]uint8, a.size())
	for _, s := range order {
		switch st := steps[s]; {
		case st.call != none:
			c := a.calls[st.call]
			if c.to == none {
				deep[s] = deep[c.entry]
			} else {
				deep[s] = max(min(deep[c.entry], 254)+1, deep[c.to])
			}
		case st.edge != none:
			deep[s] = deep[a.edges[st.edge].to]
		}
	}
	return deep
}

// key begins the key of a mask.
func (b *bound) key(dst []byte, kind byte) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, b.id), kind)
}
