package grammar

import (
	"slices"
	"testing"
)

// texts is a machine: one of its texts. A state is how many bytes there are, and a bit for each text that begins with them.
type texts []string

type wordState struct {
	n    int
	left uint
}

func (w texts) Next(s wordState, b byte) (wordState, bool) {
	next := wordState{n: s.n + 1}
	for i, t := range w {
		if s.left>>i&1 != 0 && len(t) > s.n && t[s.n] == b {
			next.left |= 1 << i
		}
	}
	return next, next.left != 0
}

func (w texts) Complete(s wordState) bool {
	for i, t := range w {
		if s.left>>i&1 != 0 && len(t) == s.n {
			return true
		}
	}
	return false
}

// TestFollow follows texts by a machine and by a grammar of the same texts.
func TestFollow(t *testing.T) {
	_, v := defaultVocab(t)
	list := texts{"", "lamp", "lamps", "living room lamp", "Küche", "a\nb"}
	g := Choice(list...)
	for _, text := range append(slices.Clone(list), "lam", "x", "lamp ", "K\xc3") {
		f, m := Follow(v, list, wordState{0, 1<<len(list) - 1}), g.Start(v)
		for _, id := range longest(v, text) {
			if !slices.Equal(f.Mask(NoLimit), m.Mask(NoLimit)) {
				t.Errorf("%q: masks differ", text)
			}
			errF, errM := f.Accept(id), m.Accept(id)
			if (errF == nil) != (errM == nil) {
				t.Fatalf("%q: %v, and %v", text, errF, errM)
			}
			if errF != nil {
				break
			}
		}
		if f.Complete() != m.Complete() || f.Final() != m.Final() || !slices.Equal(f.Mask(NoLimit), m.Mask(NoLimit)) {
			t.Errorf("%q: complete %v and %v, final %v and %v", text, f.Complete(), m.Complete(), f.Final(), m.Final())
		}
	}

	f := Follow(v, list, wordState{0, 1<<len(list) - 1})
	if f.Mask(0) != nil {
		t.Error("a mask for no token")
	}
	if f.Accept(uint32(v.size)) == nil {
		t.Error("a token that is not there")
	}
	if err := f.Accept(v.end[0]); err != nil || !f.Final() || !f.Complete() || f.Mask(1) != nil || f.Accept(v.end[0]) == nil {
		t.Errorf("behind the end: %v", err)
	}
	f = Follow(v, texts{"lamp"}, wordState{0, 1})
	if f.Accept(v.end[0]) == nil || f.Complete() {
		t.Error("the end of a text that is not complete")
	}
}

func BenchmarkFollow(b *testing.B) {
	_, v := defaultVocab(b)
	list := texts{"kitchen lamp", "living room lamp", "bedroom lamp", "lamp"}
	text := longest(v, list[1])
	for b.Loop() {
		f := Follow(v, list, wordState{0, 15})
		for _, id := range text {
			f.Mask(NoLimit)
			if err := f.Accept(id); err != nil {
				b.Fatal(err)
			}
		}
	}
}
