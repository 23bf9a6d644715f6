// Package synth is a Bi-Mamba checkpoint of random numbers in the shape of a known model, for measuring
// speed and memory where nobody has the weights.
//
// Every element is a function of the seed, the tensor's name and its position, so nothing is stored and any part can
// be read at any time; the same seed gives the same bytes on every machine. Magnitudes are chosen so that the activations stay about 1
// and the recurrent states stay normal numbers, however long the sequence.
package synth

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"slices"
	"strings"

	"bimamba/convert/source"
	"bimamba/memmap"
	"bimamba/neon/layout"
)

// Version changes with the numbers that New makes, and with what a converter makes of them.
const Version = 1

// shape is what a size stands for (arXiv 2411.11843, table 6, and the default model's).
type shape struct {
	dModel, nLayer, dState, vocab int
}

var sizes = map[string]shape{
	"780M":      {1536, 48, 128, 32000},
	"1.3B":      {2048, 48, 128, 32000},
	"2.7B":      {2560, 64, 128, 32000},
	"assistant": {512, 12, 64, 4096},
}

// Sizes is the names that New takes.
func Sizes() []string { return []string{"780M", "1.3B", "2.7B", "assistant"} }

const (
	expand  = 2
	headDim = 64
	dConv   = 4
)

// Checkpoint is a random checkpoint in the layout of Bi-Mamba's authors, f16.
type Checkpoint struct {
	size    string
	config  []byte
	names   []string
	tensors map[string]source.Tensor
}

// New makes the checkpoint of a size, one of Sizes.
func New(size string, seed uint64) (*Checkpoint, error) {
	s, ok := sizes[size]
	if !ok {
		return nil, fmt.Errorf("there is no size %q; there are %s", size, strings.Join(Sizes(), ", "))
	}
	config, err := json.MarshalIndent(map[string]any{
		"d_model": s.dModel, "d_intermediate": 0, "n_layer": s.nLayer, "vocab_size": s.vocab, "ssm_cfg": map[string]any{"layer": "Mamba2", "d_state": s.dState},
		"attn_layer_idx": []int{}, "attn_cfg": map[string]any{}, "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true,
		"pad_vocab_size_multiple": 16, "tie_embeddings": true,
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{size: size, config: append(config, '\n'), tensors: make(map[string]source.Tensor)}
	add := func(name string, lo, hi float64, shape ...int64) {
		h := fnv.New64a()
		h.Write([]byte(name))
		c.add(name, &numbers{seed: seed ^ h.Sum64(), lo: float32(lo), hi: float32(hi), latent: strings.HasSuffix(name, "proj.weight")}, shape)
	}
	dModel, dInner := int64(s.dModel), int64(expand*s.dModel)
	nheads, channels := dInner/headDim, dInner+2*int64(s.dState)
	// A +-1 sum over n inputs of rms 1 has rms sqrt(n): the scales bring it back to about 1/2.
	in, out := 0.5/math.Sqrt(float64(dModel)), 0.5/math.Sqrt(float64(dInner)*float64(s.nLayer))
	add("backbone.embedding.weight", -0.05, 0.05, int64(s.vocab), dModel)
	add("backbone.norm_f.weight", 0.9, 1.1, dModel)
	for i := range s.nLayer {
		p := fmt.Sprintf("backbone.layers.%d.", i)
		add(p+"norm.weight", 0.9, 1.1, dModel)
		add(p+"mixer.in_proj.weight", 0, 0, 2*dInner+2*int64(s.dState)+nheads, dModel)
		add(p+"mixer.in_proj.wscale", 0.8*in, 1.2*in, 1, dModel)
		add(p+"mixer.in_proj.wbias", -0.02*in, 0.02*in, 1, dModel)
		add(p+"mixer.conv1d.weight", -0.5, 0.5, channels, 1, dConv)
		add(p+"mixer.conv1d.bias", -0.1, 0.1, channels)
		add(p+"mixer.dt_bias", -6.9, -2.25, nheads) // softplus gives 1e-3 to 0.1
		add(p+"mixer.A_log", 0, 2.77, nheads)       // A from -1 to -16
		add(p+"mixer.D", 0.9, 1.1, nheads)
		add(p+"mixer.norm.weight", 0.9, 1.1, dInner)
		add(p+"mixer.out_proj.weight", 0, 0, dModel, dInner)
		add(p+"mixer.out_proj.wscale", 0.8*out, 1.2*out, 1, dInner)
		add(p+"mixer.out_proj.wbias", -0.02*out, 0.02*out, 1, dInner)
	}
	slices.Sort(c.names)
	return c, nil
}

func (c *Checkpoint) add(name string, n *numbers, shape []int64) {
	n.elems = 1
	for _, d := range shape {
		n.elems *= d
	}
	c.names = append(c.names, name)
	c.tensors[name] = source.Tensor{Name: name, DType: memmap.F16, Shape: shape, Data: n, File: "synth " + c.size}
}

// Config is the checkpoint's config.json.
func (c *Checkpoint) Config() []byte { return c.config }

// Names is the names of the tensors, sorted.
func (c *Checkpoint) Names() []string { return c.names }

// Tensor finds a tensor.
func (c *Checkpoint) Tensor(name string) (source.Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Files is empty: a random checkpoint comes from no file.
func (c *Checkpoint) Files() []string { return nil }

// numbers is one tensor's f16 elements as a stream that can be read anywhere.
type numbers struct {
	seed   uint64
	elems  int64
	lo, hi float32
	latent bool // random sign and mantissa, 2^-7 <= |w| < 2^-6: never zero
}

func (n *numbers) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("negative offset %d", off)
	}
	size := 2 * n.elems
	done := 0
	var b [8]byte
	for done < len(p) {
		at := off + int64(done)
		if at >= size {
			return done, io.EOF
		}
		binary.LittleEndian.PutUint64(b[:], n.four(uint64(at/8)))
		end := min(8, size-at/8*8)
		done += copy(p[done:], b[at%8:end])
	}
	return done, nil
}

// four is elements 4*block to 4*block+3.
func (n *numbers) four(block uint64) uint64 {
	r := splitmix(n.seed + block)
	if n.latent {
		return r&0x83ff83ff83ff83ff | 0x2000200020002000
	}
	var out uint64
	for i := range 4 {
		u := float32(uint16(r>>(16*i))) / 65536
		v := n.lo + float32(u*(n.hi-n.lo))
		out |= uint64(layout.F32ToF16(v)) << (16 * i)
	}
	return out
}

// splitmix is one output of SplitMix64 (Steele, Lea, Flood 2014), of a counter.
func splitmix(x uint64) uint64 {
	x = x*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
