package grammar

import (
	"math/rand/v2"
	"testing"
)

func vocabs(b *testing.B, bench func(b *testing.B, v *Vocab)) {
	b.Run("default", func(b *testing.B) {
		_, v := defaultVocab(b)
		bench(b, v)
	})
	for _, name := range []string{"llama.tokenizer.model", "gpt-neox-20b.tokenizer.json"} {
		b.Run(name, func(b *testing.B) { bench(b, sharedVocab(b, name)) })
	}
}

// BenchmarkVocab reports the memory of a vocabulary, without its masks.
func BenchmarkVocab(b *testing.B) {
	vocabs(b, func(b *testing.B, v *Vocab) {
		piece := func(dst []byte, id uint32) []byte { return append(dst, v.piece(id)...) }
		for b.Loop() {
			newVocab(v.size, v.end, piece)
		}
		b.ReportMetric(float64(len(v.nodes)*12+4*len(v.ids)+4*len(v.starts)+len(v.pieces)+8*v.words), "bytes")
	})
}

// record makes random texts of at most 200 tokens.
func record(b *testing.B, g *Grammar, v *Vocab) (texts [][]uint32) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		m := g.Start(v)
		var text []uint32
		for left := 200; left > 0 && !m.Final(); left-- {
			var ids []uint32
			mask := m.Mask(left)
			for id := range uint32(v.size) {
				if has(mask, id) && !has(v.isEnd, id) {
					ids = append(ids, id)
				}
			}
			id := ids[r.IntN(len(ids))]
			if err := m.Accept(id); err != nil {
				b.Fatal(err)
			}
			text = append(text, id)
		}
		texts = append(texts, text)
	}
	return texts
}

// BenchmarkToken is Mask and Accept of a token, with 200 of them to go at the beginning: in random texts, which are cut short and so come near
// the limit, and in an ordinary one.
func BenchmarkToken(b *testing.B) {
	vocabs(b, func(b *testing.B, v *Vocab) {
		object, json := compile(b, schemas[0]), JSON()
		ordinary := [][]uint32{longest(v, `{"name": "Ada Lovelace of London", "age": 36, "tags": ["mathematics", "analytical engines"]}`)}
		for _, c := range []struct {
			name  string
			g     *Grammar
			texts [][]uint32
		}{{"ordinary", object, ordinary}, {"json", json, ordinary}, {"object-random", object, record(b, object, v)}, {"json-random", json, record(b, json, v)}} {
			b.Run(c.name, func(b *testing.B) {
				m := c.g.Start(v)
				text, at := 0, 0
				for b.Loop() {
					if m.Mask(200-at) == nil {
						b.Fatal("nothing is allowed")
					}
					if err := m.Accept(c.texts[text][at]); err != nil {
						b.Fatal(err)
					}
					if at++; at == len(c.texts[text]) {
						m.Reset()
						text, at = (text+1)%len(c.texts), 0
					}
				}
			})
		}
	})
}

// longest cuts a text into tokens, each as long as can be.
func longest(v *Vocab, text string) (ids []uint32) {
	for len(text) > 0 {
		n, node := 0, uint32(0)
		var id uint32
		for i := range len(text) {
			if node = v.child(node, text[i]); node == 0 {
				break
			}
			if t := v.tokens(node); len(t) > 0 {
				n, id = i+1, t[0]
			}
		}
		ids, text = append(ids, id), text[n:]
	}
	return ids
}

// BenchmarkCold is a text with no mask cached when it begins.
func BenchmarkCold(b *testing.B) {
	vocabs(b, func(b *testing.B, v *Vocab) {
		g := compile(b, schemas[0])
		text := longest(v, `{"name": "Ada Lovelace of London", "age": 36, "tags": ["mathematics", "analytical engines"]}`)
		for b.Loop() {
			v.masks = newCache(maskBytes)
			m := g.Start(v)
			for _, id := range text {
				if m.Mask(NoLimit) == nil {
					b.Fatal("nothing is allowed")
				}
				if err := m.Accept(id); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(len(text)), "tokens/op")
	})
}

// BenchmarkSchema compiles, and binds to the vocabulary.
func BenchmarkSchema(b *testing.B) {
	_, v := defaultVocab(b)
	for b.Loop() {
		compile(b, schemas[0]).Start(v)
	}
}
