package token

import (
	"unicode/utf8"

	"bimamba/memmap"
)

// node is a symbol of the word that is being merged, in a list linked by index.
type node struct {
	symbol     uint32 // NoSymbol: none, the bytes are not in the vocabulary
	prev, next int32
	from, to   int32 // bytes of the word
}

// pair is a merge that can be done: the nodes left and the one behind it, while they still are what they were.
type pair struct {
	rank   uint32
	left   int32
	a, b   uint32 // the symbols
	result uint32
}

// before orders merges: low rank first, then the leftmost.
func (p pair) before(q pair) bool {
	return p.rank < q.rank || p.rank == q.rank && p.left < q.left
}

// scratch is the memory of one Encode.
type scratch struct {
	nodes []node
	heap  []pair
}

// encodeWord appends the tokens of one word.
func (t *Tokenizer) encodeWord(dst []uint32, s *scratch, word string) []uint32 {
	if t.info.IgnoreMerges {
		if id, ok := t.find([]byte(word)); ok && id < t.info.Size {
			return append(dst, id)
		}
	}
	s.nodes, s.heap = s.nodes[:0], s.heap[:0]
	drop := !t.info.ByteFallback && t.info.UnknownID < 0 // what has no symbol, as though it did not stand there
	for i := 0; i < len(word); {
		n, symbol := 1, uint32(memmap.NoSymbol)
		if t.info.ByteLevel {
			symbol = t.bytes.at(int(word[i]))
		} else {
			_, n = utf8.DecodeRuneInString(word[i:])
			if id, ok := t.find([]byte(word[i : i+n])); ok {
				symbol = id
			}
		}
		if symbol != memmap.NoSymbol || !drop {
			k := int32(len(s.nodes))
			s.nodes = append(s.nodes, node{symbol, k - 1, k + 1, int32(i), int32(i + n)})
		}
		i += n
	}
	if len(s.nodes) == 0 {
		return dst
	}
	s.nodes[len(s.nodes)-1].next = -1
	for k := range int32(len(s.nodes) - 1) {
		t.offer(s, k)
	}
	for len(s.heap) > 0 {
		p := s.pop()
		left := &s.nodes[p.left]
		if left.symbol != p.a || left.next < 0 || s.nodes[left.next].symbol != p.b {
			continue // one of the two has been merged since
		}
		right := &s.nodes[left.next]
		left.symbol, left.to = p.result, right.to
		right.symbol = memmap.NoSymbol // a pair that still names it finds it gone
		left.next = right.next
		if left.next >= 0 {
			s.nodes[left.next].prev = p.left
			t.offer(s, p.left)
		}
		if left.prev >= 0 {
			t.offer(s, left.prev)
		}
	}
	unknown := false // the token before is the unknown one
	for k := int32(0); k >= 0; k = s.nodes[k].next {
		n := s.nodes[k]
		if n.symbol < t.info.Size {
			dst, unknown = append(dst, n.symbol), false
			continue
		}
		if t.info.ByteFallback {
			for _, c := range []byte(word[n.from:n.to]) {
				if id := t.bytes.at(int(c)); id != memmap.NoSymbol {
					dst = append(dst, id)
				}
			}
			continue
		}
		if t.info.UnknownID >= 0 && !(unknown && t.info.FuseUnknown) {
			dst = append(dst, uint32(t.info.UnknownID))
		}
		unknown = true
	}
	return dst
}

// offer puts the merge of node k and the one behind it on the heap, if there is one.
func (t *Tokenizer) offer(s *scratch, k int32) {
	a, b := s.nodes[k].symbol, s.nodes[s.nodes[k].next].symbol
	if a >= t.info.Symbols || b >= t.info.Symbols {
		return
	}
	lo, end := int(t.mergeStart.at(int(a))), int(t.mergeStart.at(int(a)+1))
	for hi := end; lo < hi; {
		mid := int(uint(lo+hi) / 2)
		if t.merges.at(3*mid) < b {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < end && t.merges.at(3*lo) == b {
		s.push(pair{t.merges.at(3*lo + 1), k, a, b, t.merges.at(3*lo + 2)})
	}
}

// push and pop keep a binary heap.
func (s *scratch) push(p pair) {
	s.heap = append(s.heap, p)
	i := len(s.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !p.before(s.heap[up]) {
			break
		}
		s.heap[i] = s.heap[up]
		i = up
	}
	s.heap[i] = p
}

func (s *scratch) pop() pair {
	top := s.heap[0]
	p := s.heap[len(s.heap)-1]
	s.heap = s.heap[:len(s.heap)-1]
	n := len(s.heap)
	if n == 0 {
		return top
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && s.heap[down+1].before(s.heap[down]) {
			down++
		}
		if !s.heap[down].before(p) {
			break
		}
		s.heap[i] = s.heap[down]
		i = down
	}
	s.heap[i] = p
	return top
}
