package ref64

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Model is a checkpoint, ready to run.
type Model struct {
	Params Params
	// ZeroAsPlus takes a binarized weight that is exactly zero (of either sign) as +1, as one bit a weight must;
	// PyTorch's sign(0) is 0. Set it before a run.
	ZeroAsPlus bool

	embedding []float64 // (VocabSize, DModel)
	layers    []layer
	normF     []float64 // (DModel)
	head      []float64 // (VocabSize, DModel)
}

type layer struct {
	norm     []float64 // (DModel)
	inProj   linear    // z, x, B, C, dt from DModel
	convW    []float64 // (Channels, DConv)
	convB    []float64 // (Channels)
	dtBias   []float64 // (NHeads)
	aLog     []float64 // (NHeads)
	d        []float64 // (NHeads)
	gateNorm []float64 // (DInner)
	outProj  linear    // DModel from DInner
}

// linear is a linear layer. With wscale it is an FBI-Linear, whose weight counts by its sign alone.
type linear struct {
	out, in int
	weight  []float64 // (out, in)
	bias    []float64 // (out), or nil
	wscale  []float64 // per input column, per output row, or a single one; nil: not binarized
	wbias   []float64 // as wscale
	perRow  bool
}

// Load reads config.json and the checkpoint beside it: model.safetensors, the shards that model.safetensors.index.json
// names, or pytorch_model.bin. The error says which tensor is missing, too many, or of another shape than config.json asks for.
func Load(dir string) (*Model, error) {
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	tensors, err := readCheckpoint(dir)
	if err != nil {
		return nil, err
	}
	_, scales := tensors["backbone.layers.0.mixer.in_proj.wscale"]
	params, err := parseParams(config, scales)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "config.json"), err)
	}
	m, err := build(params, tensors)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, nil
}

func readCheckpoint(dir string) (map[string]Tensor, error) {
	index, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		tensors, err := ReadSafetensors(filepath.Join(dir, "model.safetensors"))
		if errors.Is(err, fs.ErrNotExist) {
			return readTorch(filepath.Join(dir, "pytorch_model.bin"))
		}
		return tensors, err
	}
	if err != nil {
		return nil, err
	}
	var shards struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &shards); err != nil {
		return nil, fmt.Errorf("%s: model.safetensors.index.json: %w", dir, err)
	}
	tensors := make(map[string]Tensor)
	files := slices.Sorted(maps.Values(shards.WeightMap))
	for _, name := range slices.Compact(files) {
		shard, err := ReadSafetensors(filepath.Join(dir, filepath.Base(name)))
		if err != nil {
			return nil, err
		}
		maps.Copy(tensors, shard)
	}
	return tensors, nil
}

// taker hands out tensors by name and remembers the first thing that was wrong.
type taker struct {
	tensors map[string]Tensor
	err     error
}

func (t *taker) take(name string, shape ...int) []float64 {
	tensor, ok := t.tensors[name]
	delete(t.tensors, name)
	switch {
	case t.err != nil:
	case !ok:
		t.err = fmt.Errorf("tensor %s is missing", name)
	case !slices.Equal(tensor.Shape, shape):
		t.err = fmt.Errorf("tensor %s has shape %v, config.json asks for %v", name, tensor.Shape, shape)
	}
	return tensor.Data
}

func (t *taker) optional(name string, shape ...int) []float64 {
	if _, ok := t.tensors[name]; !ok {
		return nil
	}
	return t.take(name, shape...)
}

func (t *taker) linear(name string, out, in int, binarized bool) linear {
	l := linear{out: out, in: in, weight: t.take(name+".weight", out, in), bias: t.optional(name+".bias", out)}
	if !binarized {
		return l
	}
	shape := t.tensors[name+".wscale"].Shape
	switch {
	case slices.Equal(shape, []int{out, 1}):
		l.perRow = true
	case slices.Equal(shape, []int{1}):
	default: // the pattern that the authors train with
		shape = []int{1, in}
	}
	l.wscale, l.wbias = t.take(name+".wscale", shape...), t.take(name+".wbias", shape...)
	return l
}

// build consumes tensors.
func build(p Params, tensors map[string]Tensor) (*Model, error) {
	t := &taker{tensors: tensors}
	m := &Model{Params: p, normF: t.take("backbone.norm_f.weight", p.DModel)}
	embedding := "backbone.embedding.weight"
	if p.Family == HuggingFace {
		embedding = "backbone.embeddings.weight"
	}
	m.embedding = t.take(embedding, p.VocabSize, p.DModel)
	if p.Tied {
		m.head = m.embedding
		if tiedCopy := t.optional("lm_head.weight", p.VocabSize, p.DModel); tiedCopy != nil && !slices.Equal(tiedCopy, m.head) {
			return nil, errors.New("lm_head.weight differs from the embedding that config.json ties it to")
		}
	} else {
		m.head = t.take("lm_head.weight", p.VocabSize, p.DModel)
	}
	for i := 0; i < p.NLayer && t.err == nil; i++ {
		name := fmt.Sprintf("backbone.layers.%d.", i)
		mixer := name + "mixer."
		m.layers = append(m.layers, layer{
			norm:     t.take(name+"norm.weight", p.DModel),
			inProj:   t.linear(mixer+"in_proj", p.DInner+p.Channels()+p.NHeads, p.DModel, p.Family == BiMamba),
			convW:    t.take(mixer+"conv1d.weight", p.Channels(), 1, p.DConv),
			convB:    t.optional(mixer+"conv1d.bias", p.Channels()),
			dtBias:   t.take(mixer+"dt_bias", p.NHeads),
			aLog:     t.take(mixer+"A_log", p.NHeads),
			d:        t.take(mixer+"D", p.NHeads),
			gateNorm: t.take(mixer+"norm.weight", p.DInner),
			outProj:  t.linear(mixer+"out_proj", p.DModel, p.DInner, p.Family == BiMamba),
		})
	}
	if t.err == nil && len(t.tensors) > 0 {
		t.err = fmt.Errorf("tensors that no model of config.json has: %s", strings.Join(slices.Sorted(maps.Keys(t.tensors)), ", "))
	}
	return m, t.err
}
