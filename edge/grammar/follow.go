package grammar

import "fmt"

// Machine is a set of texts that is told a byte at a time instead of being compiled: for texts that change with each request, as those that have
// names out of a list of thousands, or words that somebody has just said. From every state that Next gives, a text must be within reach.
type Machine[S any] interface {
	Next(at S, b byte) (next S, ok bool) // ok is false where no text goes on like this
	Complete(at S) bool                  // the text may end here
}

// Follower follows one text of a Machine, as a Matcher does one of a Grammar. It is for one goroutine at a time.
//
// A mask walks the tokens' trie as far as the machine goes along, which is not far where few bytes may follow. Nothing is cached, and no text is brought
// to its end in time: a machine's texts should be short.
type Follower[S any] struct {
	v     *Vocab
	m     Machine[S]
	at    S
	ended bool
	known bool // bits and any are those of at
	any   bool
	bits  []uint64
	path  [maxPiece + 1]S
}

// Follow begins a text of the machine's.
func Follow[S any](v *Vocab, m Machine[S], start S) *Follower[S] {
	return &Follower[S]{v: v, m: m, at: start, bits: make([]uint64, v.words)}
}

// Mask is the tokens that may come next, nil if there is none or left is less than one. The tokens that end a text are among them where it is
// complete. It holds until the next call of Accept, and must not be changed.
func (f *Follower[S]) Mask(left int) []uint64 {
	if f.ended || left < 1 {
		return nil
	}
	if !f.known {
		f.walk()
	}
	if !f.any {
		return nil
	}
	return f.bits
}

func (f *Follower[S]) walk() {
	v := f.v
	clear(f.bits)
	f.known, f.any = true, false
	f.path[0] = f.at
	for i := uint32(1); i < v.last(); {
		n := &v.nodes[i]
		next, ok := f.m.Next(f.path[n.depth-1], n.b)
		if !ok {
			i = n.skip
			continue
		}
		f.path[n.depth] = next
		if t := v.tokens(i); len(t) > 0 {
			f.any = true
			set(f.bits, t)
		}
		i++
	}
	if f.m.Complete(f.at) && len(v.end) > 0 {
		f.any = true
		set(f.bits, v.end)
	}
}

// Accept adds a token to the text. The error says that it does not fit; the text is then as before.
func (f *Follower[S]) Accept(id uint32) error {
	v := f.v
	switch {
	case f.ended:
		return fmt.Errorf("token %d comes behind the end of the text", id)
	case int(id) >= v.size:
		return fmt.Errorf("token %d is not one of the vocabulary's %d", id, v.size)
	case has(v.isEnd, id):
		if !f.m.Complete(f.at) {
			return fmt.Errorf("token %d ends a text that is not complete", id)
		}
		f.ended = true
		return nil
	}
	piece := v.piece(id)
	if len(piece) == 0 {
		return fmt.Errorf("token %d has no place in a constrained text: it is special, or longer than %d bytes", id, maxPiece)
	}
	at := f.at
	for _, b := range piece {
		next, ok := f.m.Next(at, b)
		if !ok {
			return fmt.Errorf("token %d, %q, does not fit behind the text so far", id, piece)
		}
		at = next
	}
	f.at, f.known = at, false
	return nil
}

// Complete tells whether the text may end here.
func (f *Follower[S]) Complete() bool { return f.ended || f.m.Complete(f.at) }

// Final tells whether the text has to end here: it is complete, and nothing can follow.
func (f *Follower[S]) Final() bool {
	if f.ended {
		return true
	}
	if !f.m.Complete(f.at) {
		return false
	}
	for b := range 256 {
		if _, ok := f.m.Next(f.at, byte(b)); ok {
			return false
		}
	}
	return true
}
