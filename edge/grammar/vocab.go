package grammar

import (
	"bytes"
	"cmp"
	"slices"
	"sync/atomic"

	"bimamba/edge/token"
)

const (
	maxPiece  = 64      // bytes of a token; longer ones (of spaces, mostly) are not allowed in constrained text: there are shorter ones for the same text
	maskBytes = 2 << 20 // what the masks of a Vocab may take together
)

// Vocab is the tokens of a tokenizer as a trie, and a cache of masks. It takes about 2 MB for 50,000 tokens, and up to 2 MB of masks.
// It does not refer to the tokenizer, and is safe for concurrent use.
type Vocab struct {
	size   int
	words  int // of a mask
	end    []uint32
	isEnd  []uint64
	pieces []byte
	starts []uint32 // (size+1) where a token's bytes begin in pieces; none for a token that is not allowed in text
	nodes  []trieNode
	ids    []uint32 // tokens in the order of their nodes
	weight [256]int32
	masks  cache
	bounds atomic.Uint64 // how many grammars have met this vocabulary
}

// trieNode is a beginning of tokens. Nodes are in the order of the text, each in front of those that it is a beginning of.
type trieNode struct {
	skip  uint32 // the node behind all that begin with this one
	ids   uint32 // where its tokens begin in ids; they end where the next node's begin
	b     byte   // the last byte
	depth uint8  // how many bytes
}

// unlikely is the weight of a byte that is no token by itself.
const unlikely = 1 << 10

// NewVocab makes the trie of a tokenizer's tokens. end are the tokens that end a text. Special tokens, and those longer than 64 bytes, never are
// part of a text.
func NewVocab(t *token.Tokenizer, end []uint32) *Vocab {
	return newVocab(t.Size(), end, func(dst []byte, id uint32) []byte {
		if t.IsSpecial(id) {
			return dst
		}
		return t.AppendPiece(dst, id)
	})
}

func newVocab(size int, end []uint32, appendPiece func(dst []byte, id uint32) []byte) *Vocab {
	v := &Vocab{size: size, words: (size + 63) / 64, masks: newCache(maskBytes)}
	v.isEnd = make([]uint64, v.words)
	for _, id := range end {
		if int(id) < v.size && !has(v.isEnd, id) {
			v.end = append(v.end, id)
			set(v.isEnd, []uint32{id})
		}
	}
	v.starts = make([]uint32, v.size+1)
	for id := range uint32(v.size) {
		v.starts[id] = uint32(len(v.pieces))
		if has(v.isEnd, id) {
			continue
		}
		v.pieces = appendPiece(v.pieces, id)
		if n := len(v.pieces) - int(v.starts[id]); n > maxPiece {
			v.pieces = v.pieces[:v.starts[id]]
		} else if n > 0 {
			v.ids = append(v.ids, id)
		}
	}
	v.starts[v.size] = uint32(len(v.pieces))
	v.pieces, v.ids = slices.Clip(v.pieces), slices.Clip(v.ids)
	slices.SortFunc(v.ids, func(a, b uint32) int { return cmp.Or(bytes.Compare(v.piece(a), v.piece(b)), cmp.Compare(a, b)) })
	v.grow()
	for i := range v.weight {
		v.weight[i] = unlikely
	}
	for i := uint32(1); i < v.last(); i = v.nodes[i].skip {
		if len(v.tokens(i)) > 0 {
			v.weight[v.nodes[i].b] = 1
		}
	}
	return v
}

// grow makes the nodes of the sorted ids.
func (v *Vocab) grow() {
	v.nodes = []trieNode{{}}
	var path []uint32 // nodes from the first byte to the last
	var last []byte
	closeTo := func(n int) {
		for _, i := range path[n:] {
			v.nodes[i].skip = uint32(len(v.nodes))
		}
		path = path[:n]
	}
	for k, id := range v.ids {
		p := v.piece(id)
		n := 0
		for n < len(p) && n < len(last) && p[n] == last[n] {
			n++
		}
		closeTo(n)
		for i := n; i < len(p); i++ {
			path = append(path, uint32(len(v.nodes)))
			v.nodes = append(v.nodes, trieNode{ids: uint32(k), b: p[i], depth: uint8(i + 1)})
		}
		last = p
	}
	closeTo(0)
	// A node that is only a beginning has been given the first token below it, which is where its own, none, end.
	v.nodes[0].skip = uint32(len(v.nodes))
	v.nodes = append(v.nodes, trieNode{ids: uint32(len(v.ids))})
	v.nodes = slices.Clip(v.nodes)
}

// last is the node behind the last.
func (v *Vocab) last() uint32 { return uint32(len(v.nodes) - 1) }

// piece is the bytes of a token in text, none for a token that is not allowed there.
func (v *Vocab) piece(id uint32) []byte { return v.pieces[v.starts[id]:v.starts[id+1]] }

// tokens is the tokens that end at a node.
func (v *Vocab) tokens(node uint32) []uint32 { return v.ids[v.nodes[node].ids:v.nodes[node+1].ids] }

// child is the node one byte on, 0 if there is none.
func (v *Vocab) child(node uint32, b byte) uint32 {
	for i, end := node+1, v.nodes[node].skip; i < end; i = v.nodes[i].skip {
		if c := v.nodes[i].b; c >= b {
			if c == b {
				return i
			}
			break
		}
	}
	return 0
}

func has(mask []uint64, id uint32) bool { return mask[id/64]>>(id%64)&1 != 0 }

func set(mask []uint64, ids []uint32) {
	for _, id := range ids {
		mask[id/64] |= 1 << (id % 64)
	}
}
