package model

import (
	"bimamba/memmap"
	"bimamba/neon"
)

// Footprint is the memory that a model takes, in bytes. It is the only place where such bytes are computed.
type Footprint struct {
	Weights   int64 // mapped: the layers' sections, read once a token
	Head      int64 // mapped: embedding, final norm and head
	Tokenizer int64 // mapped: the tokenizer's tables
	File      int64 // the file as a whole, with its manifest and padding

	SSM       int64 // one session's recurrent states, (n_layer, nheads, headdim, d_state) of the state's type
	Conv      int64 // one session's convolution inputs, (n_layer, d_conv, channels) float32
	Logits    int64 // one session's logits, (vocab_size) float32
	Workspace int64 // activations and lookup tables of a batch of tokens
	Shared    int64 // A of every head
	States    int64 // how many sessions and copies of them there are

	headRead int64 // what a token reads of Head
	convMove int64 // what a token reads and writes of Conv
}

// NewFootprint computes the footprint of a model opened with opt from its manifest alone.
func NewFootprint(m *memmap.Manifest, opt Options) Footprint {
	h := &m.Model
	opt.fill()
	row := 4 * int64(h.Channels()) * int64(h.NLayer)
	f := Footprint{
		SSM:      roundBytes(opt.State.size() * int64(h.NLayer) * int64(h.DInner) * int64(h.DState)),
		Conv:     roundBytes(row * int64(h.DConv)),
		Shared:   4 * roundLine(int64(h.NHeads)) * int64(h.NLayer),
		Logits:   4 * roundLine(int64(h.VocabSize)),
		States:   int64(opt.Sessions + opt.Prefixes),
		convMove: row * int64(h.DConv+1),
	}
	for _, n := range workspaceBuffers(h) {
		f.Workspace += 4 * roundLine(int64(n))
	}
	for _, n := range tableBytes(h, opt.Precision) {
		f.Workspace += roundBytes(n)
	}
	f.Workspace *= int64(opt.Batch)
	for i := range m.Sections {
		s := &m.Sections[i]
		switch s.Name {
		case "io":
			f.Head += int64(s.Length)
			for _, t := range s.Tensors {
				if h.TieEmbeddings || !isEmbedding(t.Name) {
					f.headRead += int64(t.Length)
				}
			}
		case "tokenizer":
			f.Tokenizer += int64(s.Length)
		default:
			f.Weights += int64(s.Length)
		}
		f.File = max(f.File, int64(s.Offset+s.Length))
	}
	return f
}

// tableBytes is the memory of one token's lookup tables and integers.
func tableBytes(h *memmap.Model, p Precision) [2]int64 {
	wide := maxCols(h)
	if p == Exact {
		return [2]int64{}
	}
	return [2]int64{neon.LUTSize(wide, p.form()), neon.Q14Size(wide)}
}

// State is the size of one session's state: all that a sequence has to keep.
func (f *Footprint) State() int64 { return f.SSM + f.Conv }

// Arena is the size of the memory that Open reserves.
func (f *Footprint) Arena() int64 { return f.States*(f.State()+f.Logits) + f.Workspace + f.Shared }

// Total is the memory in use when every page of the file has been touched.
func (f *Footprint) Total() int64 { return f.File + f.Arena() }

// Traffic is what one token of decoding moves between memory and processor: reads and writes.
type Traffic struct {
	Weights int64 // read
	Head    int64 // read: the head's matrix and the final norm
	State   int64 // the recurrent states, read and written
	Conv    int64 // d_conv rows read, one written
}

// Total adds it up.
func (t Traffic) Total() int64 { return t.Weights + t.Head + t.State + t.Conv }

// Traffic is what one token of one session moves, with its logits.
func (f *Footprint) Traffic() Traffic {
	return Traffic{Weights: f.Weights, Head: f.headRead, State: 2 * f.SSM, Conv: f.convMove}
}

// maxCols is the widest input of a matrix.
func maxCols(h *memmap.Model) int { return int(max(h.DModel, h.DInner)) }

// roundBytes rounds bytes up to a cache line.
func roundBytes(n int64) int64 { return (n + 63) &^ 63 }

// roundLine rounds a number of float32 up to a cache line of 64 bytes.
func roundLine(n int64) int64 { return (n + 15) &^ 15 }
