package grammar

import (
	"fmt"
	"slices"
	"sync"
)

// Grammar is what a text may be. It is immutable and safe for concurrent use.
type Grammar struct {
	a *automaton

	mu     sync.Mutex
	bounds []*bound // with the vocabularies met last, the last one in front
}

// maxBounds is how many vocabularies a grammar remembers: that of a model, and of the one that replaces it.
const maxBounds = 2

// bind is the grammar with a vocabulary.
func (g *Grammar) bind(v *Vocab) *bound {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, b := range g.bounds {
		if b.v == v {
			g.bounds = slices.Insert(slices.Delete(g.bounds, i, i+1), 0, b)
			return b
		}
	}
	b := bind(g.a, v)
	g.bounds = slices.Insert(g.bounds, 0, b)
	if len(g.bounds) > maxBounds {
		g.bounds[maxBounds] = nil
		g.bounds = g.bounds[:maxBounds]
	}
	return b
}

// Bytes is about how much memory the grammar takes.
func (g *Grammar) Bytes() int { return g.a.bytes() + maxBounds*7*g.a.size() + 256 }

// finish makes the grammar of a rule of b.
func finish(b *builder, rule int) *Grammar {
	a, err := b.finish(rule)
	if err != nil {
		panic("grammar: " + err.Error()) // of parts of the program itself, whose size is known
	}
	return &Grammar{a: a}
}

// JSON is any JSON object. A key may occur twice in it.
func JSON() *Grammar { return anyJSON() }

var anyJSON = sync.OnceValue(func() *Grammar {
	b := newBuilder()
	root := b.rule()
	object := b.anyObject()
	b.write(root, func(n *nfa, start, end int) { n.call(n.space(start), object, end) })
	return finish(b, root)
})

// Choice is one of the texts. It panics if there is none, or if they are too large together: some 16,000 bytes that differ.
func Choice(texts ...string) *Grammar {
	b := newBuilder()
	root := b.rule()
	b.write(root, func(n *nfa, start, end int) {
		for _, s := range texts {
			n.textTo(start, s, end)
		}
	})
	return finish(b, root)
}

// Text is any text in UTF-8, also an empty one, without some ASCII characters.
func Text(not ...byte) *Grammar {
	b := newBuilder()
	root := b.rule()
	b.write(root, func(n *nfa, start, end int) {
		n.free(start, end)
		n.except(start, not, start)
	})
	return finish(b, root)
}

// except takes a character other than some ASCII characters.
func (n *nfa) except(from int, not []byte, to int) {
	lo := rune(0)
	for _, c := range slices.Sorted(slices.Values(not)) {
		n.runes(from, lo, rune(c)-1, to)
		lo = rune(c) + 1
	}
	n.runes(from, lo, 0x10ffff, to)
}

// Concat is a text of each of the grammars, in order.
func Concat(parts ...*Grammar) *Grammar {
	b := newBuilder()
	root := b.rule()
	rules := b.includeAll(parts)
	b.write(root, func(n *nfa, start, end int) {
		for _, r := range rules {
			next := n.node()
			n.call(start, r, next)
			start = next
		}
		n.free(start, end)
	})
	return finish(b, root)
}

// Alt is a text of one of the grammars.
func Alt(parts ...*Grammar) *Grammar {
	b := newBuilder()
	root := b.rule()
	rules := b.includeAll(parts)
	b.write(root, func(n *nfa, start, end int) {
		for _, r := range rules {
			n.call(start, r, end)
		}
	})
	return finish(b, root)
}

func (b *builder) includeAll(parts []*Grammar) []int {
	rules := make([]int, len(parts))
	for i, g := range parts {
		rules[i] = b.include(g.a)
	}
	return rules
}

// Matcher follows one text. It is for one goroutine at a time.
type Matcher struct {
	w     walker
	at    threads
	ended bool // by a token that ends texts
	mask  *mask
}

// NoLimit is for Mask where the number of tokens is not limited.
const NoLimit = never

// Start begins a text. The first time that a grammar meets a vocabulary takes some milliseconds for a large one.
func (g *Grammar) Start(v *Vocab) *Matcher {
	m := &Matcher{w: walker{b: g.bind(v), allow: maxWalk}}
	m.Reset()
	return m
}

// Reset begins another text of the same grammar.
func (m *Matcher) Reset() {
	m.ended, m.mask = false, nil
	m.at.reset()
	m.at.data = append(m.at.data, m.w.b.start)
	m.w.whole()
	m.w.work = maxWalk
	m.w.enter(&m.at, 0)
}

// Mask is the tokens that may come next, as a set of bits by token id, with left tokens to go: only those after which the text can be complete within
// left-1 more. The tokens that end a text are among them where it is complete. It is nil if there is none, as the text can no longer be completed
// within left tokens, or has ended. It must not be changed.
func (m *Matcher) Mask(left int) []uint64 {
	if m.ended || left < 1 {
		return nil
	}
	if m.mask == nil {
		m.mask = m.w.cached(&m.at)
	}
	x := m.mask
	if budget := int32(min(left-1, never-1)); budget < x.most {
		x = m.w.masked(&m.at, budget)
	}
	if !x.any {
		return nil
	}
	return x.bits
}

// Accept adds a token to the text. The error says that it does not fit; the text is then as before.
func (m *Matcher) Accept(id uint32) error {
	v := m.w.b.v
	switch {
	case m.ended:
		return fmt.Errorf("token %d comes behind the end of the text", id)
	case int(id) >= v.size:
		return fmt.Errorf("token %d is not one of the vocabulary's %d", id, v.size)
	case has(v.isEnd, id):
		if !m.at.done {
			return fmt.Errorf("token %d ends a text that is not complete", id)
		}
		m.ended = true
		return nil
	}
	piece := v.piece(id)
	if len(piece) == 0 {
		return fmt.Errorf("token %d has no place in a constrained text: it is special, or longer than %d bytes", id, maxPiece)
	}
	if !m.w.follow(&m.at, piece) {
		return fmt.Errorf("token %d, %q, does not fit behind the text so far", id, piece)
	}
	if last := &m.w.sum; !last.equal(&m.at) {
		m.at.copy(last)
		m.mask = nil
	}
	return nil
}

// Complete tells whether the text may end here.
func (m *Matcher) Complete() bool { return m.ended || m.at.done }

// Final tells whether the text has to end here: it is complete, and nothing can follow.
func (m *Matcher) Final() bool { return m.ended || m.at.done && len(m.at.ends) == 0 }

// Closing is in how many tokens the text can certainly be completed, 0 where it is complete, -1 if it can't be.
func (m *Matcher) Closing() int {
	if m.ended {
		return 0
	}
	if n := m.w.left(&m.at); n != never {
		return int(n)
	}
	return -1
}
