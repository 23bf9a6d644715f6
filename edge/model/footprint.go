package model

import (
	"fmt"
	"strconv"
	"strings"

	"bimamba/memmap"
	"bimamba/neon"
)

// Footprint is the memory that a model takes, in bytes. It is the only place where such bytes are computed.
type Footprint struct {
	Weights   int64 // mapped: the layers' sections, read once a token
	Head      int64 // mapped: embedding, final norm and head
	Tokenizer int64 // mapped: the tokenizer's tables
	File      int64 // the file as a whole, with its manifest and padding

	// Where Options.Memory is less than all of it:
	StreamedLayers int   // how many layers are read from storage for each pass over the weights
	Streamed       int64 // of Weights and File: those layers, which are not mapped for long
	Buffers        int64 // that they are read into

	SSM       int64 // one session's recurrent states, (n_layer, nheads, headdim, d_state) of the state's type
	Conv      int64 // one session's convolution inputs, (n_layer, d_conv, channels) float32
	Logits    int64 // one session's logits, (vocab_size) float32
	Workspace int64 // activations and lookup tables of a batch of tokens
	Shared    int64 // A of every head
	States    int64 // how many sessions and copies of them there are
	Batch     int64 // how many tokens the workspace is for

	headRead int64 // what a token reads of Head
	convMove int64 // what a token reads and writes of Conv
}

// NewFootprint computes the footprint of a model opened with opt from its manifest alone.
func NewFootprint(m *memmap.Manifest, opt Options) Footprint {
	h := &m.Model
	opt.fill(h)
	row := 4 * int64(h.Channels()) * int64(h.NLayer)
	f := Footprint{
		SSM:      roundBytes(opt.State.size() * int64(h.NLayer) * int64(h.DInner) * int64(h.DState)),
		Conv:     roundBytes(row * int64(h.DConv)),
		Shared:   4 * roundLine(int64(h.NHeads)) * int64(h.NLayer),
		Logits:   4 * roundLine(int64(h.VocabSize)),
		States:   int64(opt.Sessions + opt.Prefixes),
		convMove: row * int64(h.DConv+1),
	}
	f.Batch = int64(opt.Batch)
	f.Workspace = f.Batch * workspace(h, opt.Precision)
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
	if opt.Memory > 0 && f.Total() > opt.Memory {
		f.stream(m, opt.Memory)
	}
	return f
}

// stream chooses how many layers are read from storage: as few as there can be in memory bytes, an even number (see stream); else as many as possible.
func (f *Footprint) stream(m *memmap.Manifest, memory int64) {
	n := int(m.Model.NLayer)
	lengths := make([]int64, n)
	for i := range m.Sections {
		s := &m.Sections[i]
		if l, ok := strings.CutPrefix(s.Name, layerPrefix); ok {
			if i, err := strconv.Atoi(l); err == nil && i >= 0 && i < n {
				lengths[i] = int64(s.Length)
			}
		}
	}
	for k := minStreamed; k <= n; k += 2 {
		var sum, most int64
		for i, l := range lengths {
			if isStreamed(i, n, k) {
				sum, most = sum+l, max(most, memmap.DirectSize(uint64(l)))
			}
		}
		f.StreamedLayers, f.Streamed, f.Buffers = k, sum, 2*most
		if f.Total() <= memory {
			return
		}
	}
}

// workspace is the memory of one token of a batch.
func workspace(h *memmap.Model, p Precision) (sum int64) {
	for _, n := range workspaceBuffers(h) {
		sum += 4 * roundLine(int64(n))
	}
	for _, n := range tableBytes(h, p) {
		sum += roundBytes(n)
	}
	return sum
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
func (f *Footprint) Arena() int64 {
	return f.Buffers + f.States*(f.State()+f.Logits) + f.Workspace + f.Shared
}

// Mapped is the part of the file that stays in memory.
func (f *Footprint) Mapped() int64 { return f.File - f.Streamed }

// Total is the memory in use when every page of the file has been touched that stays in memory.
func (f *Footprint) Total() int64 { return f.Mapped() + f.Arena() }

// Within says why the model does not fit into memory bytes, though as many layers as possible are read from storage.
func (f *Footprint) Within(memory int64) error {
	if n := f.Total(); n > memory {
		return fmt.Errorf("with %d states it takes %.1f MB at the least, and may take %.1f MB; allow more memory, or ask for fewer sessions and checkpoints or a smaller batch",
			f.States, float64(n)/1e6, float64(memory)/1e6)
	}
	return nil
}

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
