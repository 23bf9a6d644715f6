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

	SSM       int64 // one session's recurrent states, (n_layer, nheads, headdim, d_state) float32
	Conv      int64 // one session's convolution inputs, (n_layer, d_conv, channels) float32
	Workspace int64 // one session's activations and lookup tables
	Shared    int64 // what all sessions share: A of every head
	Sessions  int64 // how many sessions there are
}

// NewFootprint computes the footprint of a model with so many sessions from its manifest alone.
func NewFootprint(m *memmap.Manifest, sessions int) Footprint {
	h := &m.Model
	f := Footprint{
		SSM:      4 * roundLine(int64(h.NLayer)*int64(h.DInner)*int64(h.DState)),
		Conv:     4 * roundLine(int64(h.NLayer)*int64(h.DConv)*int64(h.Channels())),
		Shared:   4 * roundLine(int64(h.NHeads)) * int64(h.NLayer),
		Sessions: int64(sessions),
	}
	for _, b := range workspaceBuffers(h) {
		f.Workspace += 4 * roundLine(int64(b))
	}
	f.Workspace += roundBytes(neon.LUTSize(maxCols(h), neon.LUT16)) + roundBytes(neon.Q14Size(maxCols(h)))
	for i := range m.Sections {
		s := &m.Sections[i]
		switch s.Name {
		case "io":
			f.Head += int64(s.Length)
		case "tokenizer":
			f.Tokenizer += int64(s.Length)
		default:
			f.Weights += int64(s.Length)
		}
		f.File = max(f.File, int64(s.Offset+s.Length))
	}
	return f
}

// State is the size of one session's state: all that a sequence has to keep.
func (f *Footprint) State() int64 { return f.SSM + f.Conv }

// Arena is the size of the memory that Open reserves.
func (f *Footprint) Arena() int64 { return f.Sessions*(f.State()+f.Workspace) + f.Shared }

// Total is the memory in use when every page of the file has been touched.
func (f *Footprint) Total() int64 { return f.File + f.Arena() }

// Traffic is what one token of decoding moves: weights and head read once, the state read and written.
func (f *Footprint) Traffic() int64 { return f.Weights + f.Head + 2*f.State() }

// maxCols is the widest input of a matrix.
func maxCols(h *memmap.Model) int { return int(max(h.DModel, h.DInner)) }

// roundBytes rounds bytes up to a cache line.
func roundBytes(n int64) int64 { return (n + 63) &^ 63 }

// roundLine rounds a number of float32 up to a cache line of 64 bytes.
func roundLine(n int64) int64 { return (n + 15) &^ 15 }
