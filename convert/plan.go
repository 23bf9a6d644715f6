package convert

import (
	"context"
	"fmt"
	"io"
	"slices"

	"bimamba/convert/family"
	"bimamba/convert/source"
	"bimamba/memmap"
	"bimamba/neon/layout"
)

// output is one tensor of the blob and what writes its bytes.
type output struct {
	section, tensor string
	emit            func(context.Context, io.Writer) error
	zeros           *uint64 // exact zeros that emit met, for 1-bit projections
}

// plan is the whole blob before its bytes: sections and tensors in the order of the file, which is the order of use.
type plan struct {
	c           Checkpoint
	spec        *family.Spec
	opt         Options
	manifest    *memmap.Manifest
	outputs     []output
	used        map[string]bool
	sourceBytes int64
	warnings    []string
	err         error // the first one; later steps do nothing
}

// newPlan finds every tensor that the family calls for and checks its shape.
func newPlan(c Checkpoint, opt Options) (*plan, error) {
	spec, err := parse(c, opt)
	if err != nil {
		return nil, err
	}
	p := &plan{c: c, spec: spec, opt: opt, manifest: &memmap.Manifest{}, used: make(map[string]bool)}
	h := &spec.Model
	if e, ok := c.Tensor(spec.Embedding); ok && len(e.Shape) == 2 && e.Shape[0] != int64(h.VocabSize) {
		return nil, fmt.Errorf("%s: tensor %s has %d rows, but config.json calls for %d (vocab_size, padded); mend config.json", e.File, e.Name, e.Shape[0], h.VocabSize)
	}
	p.manifest.Model = *h
	if t := opt.Tokenizer; t != nil {
		p.section("tokenizer")
		for _, tab := range t.Tables {
			p.bytes(tab.Name, tab.DType, tab.Shape, tab.Data)
		}
	}
	p.section("io")
	p.head("embedding", p.tensor(spec.Embedding, int64(h.VocabSize), int64(h.DModel)))
	p.vector("norm_f.weight", p.tensor(spec.FinalNorm, int64(h.DModel)))
	p.lmHead()
	for i := range int(h.NLayer) {
		p.section(fmt.Sprintf("layers.%d", i))
		p.layer(spec.Layer(i))
	}
	if p.err != nil {
		return nil, p.err
	}
	for _, name := range c.Names() {
		if !p.used[name] {
			t, _ := c.Tensor(name)
			return nil, fmt.Errorf("%s: tensor %s is not part of a %s model of this config.json: it would be lost; mend config.json, or take the tensor out", t.File, name, h.Family)
		}
	}
	return p, nil
}

// section starts the next section; the tensors that follow go there.
func (p *plan) section(name string) {
	p.manifest.Sections = append(p.manifest.Sections, memmap.Section{Name: name})
}

// add appends a tensor to the current section.
func (p *plan) add(t memmap.Tensor, zeros *uint64, emit func(context.Context, io.Writer) error) {
	s := &p.manifest.Sections[len(p.manifest.Sections)-1]
	s.Tensors = append(s.Tensors, t)
	p.outputs = append(p.outputs, output{section: s.Name, tensor: t.Name, emit: emit, zeros: zeros})
}

// setZeros copies the counted zeros into the manifest.
func (p *plan) setZeros() {
	for _, o := range p.outputs {
		if o.zeros == nil {
			continue
		}
		for i := range p.manifest.Sections {
			if s := &p.manifest.Sections[i]; s.Name == o.section {
				if t, ok := s.Tensor(o.tensor); ok {
					t.Zeros = *o.zeros
				}
			}
		}
	}
}

func (p *plan) fail(format string, a ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, a...)
	}
}

// tensor is a tensor of the checkpoint that has to be there in that shape.
func (p *plan) tensor(name string, shape ...int64) source.Tensor {
	t, ok := p.optional(name, shape...)
	if !ok {
		p.fail("tensor %s is missing from the checkpoint (shape %v); is a shard missing, or config.json of another model?", name, shape)
	}
	return t
}

// optional is a tensor that has to have that shape if it is there.
func (p *plan) optional(name string, shape ...int64) (source.Tensor, bool) {
	t, ok := p.c.Tensor(name)
	if !ok {
		return t, false
	}
	p.used[name] = true
	switch t.DType {
	case memmap.F32, memmap.F16, memmap.BF16, source.F64:
	default:
		p.fail("%s: tensor %s has element type %s; weights are f32, f16, bf16 or f64", t.File, name, t.DType)
	}
	if !slices.Equal(t.Shape, shape) {
		p.fail("%s: tensor %s has shape %v, but config.json calls for %v", t.File, name, t.Shape, shape)
	}
	p.sourceBytes += t.Bytes()
	return t, true
}

// forbid refuses a tensor that stands there although a switch of config.json says otherwise.
func (p *plan) forbid(name, because string) {
	if t, ok := p.c.Tensor(name); ok {
		p.fail("%s: tensor %s is there, but %s in config.json", t.File, name, because)
	}
}

// lmHead adds the head of an untied model, and holds that of a tied one against the embedding.
func (p *plan) lmHead() {
	h := &p.spec.Model
	shape := []int64{int64(h.VocabSize), int64(h.DModel)}
	if !h.TieEmbeddings {
		p.head("lm_head", p.tensor(p.spec.Head, shape...))
		return
	}
	before := p.sourceBytes
	t, ok := p.optional(p.spec.Head, shape...)
	p.sourceBytes = before // a copy, or the same storage
	if !ok || p.err != nil {
		return
	}
	e, _ := p.c.Tensor(p.spec.Embedding)
	if i, err := firstDifference(e, t); err != nil {
		p.fail("%w", err)
	} else if i >= 0 {
		p.fail("%s: tensor %s differs from %s from element %d on, but config.json says that they are tied; set tie_embeddings to false if it is a head of its own", t.File, t.Name, e.Name, i)
	}
}

// layer adds one layer in the order in which its tensors are used.
func (p *plan) layer(prefix string) {
	h := &p.spec.Model
	dModel, dInner, channels, nheads := int64(h.DModel), int64(h.DInner), int64(h.Channels()), int64(h.NHeads)
	norm := p.tensor(prefix+"norm.weight", dModel)
	gnorm := p.tensor(prefix+"mixer.norm.weight", dInner)

	p.projection("in_proj", prefix+"mixer.in_proj.", "norm.weight", norm, int64(h.DInProj()), dModel)
	p.conv(p.tensor(prefix+"mixer.conv1d.weight", channels, 1, int64(h.DConv)))
	if bias := prefix + "mixer.conv1d.bias"; p.spec.ConvBias {
		p.vector("conv.bias", p.tensor(bias, channels))
	} else {
		p.forbid(bias, "the convolution has no bias")
	}
	p.vector("dt_bias", p.tensor(prefix+"mixer.dt_bias", nheads))
	p.vector("A_log", p.tensor(prefix+"mixer.A_log", nheads))
	p.vector("D", p.tensor(prefix+"mixer.D", nheads))
	p.projection("out_proj", prefix+"mixer.out_proj.", "mixer_norm.weight", gnorm, dModel, dInner)
}

// projection adds in_proj or out_proj and the norm in front of it, which the column pattern absorbs.
func (p *plan) projection(name, prefix, normName string, norm source.Tensor, rows, cols int64) {
	w := p.tensor(prefix+"weight", rows, cols)
	bias := prefix + "bias"
	if !p.spec.Bias {
		p.forbid(bias, "the projections have no bias")
	}
	quant, scale, shift := p.pattern(prefix, rows, cols)
	if p.err != nil {
		return
	}
	switch {
	case quant != memmap.QuantNone && (p.opt.Proj == ProjKeep || p.opt.Proj == ProjInt8):
		p.fail("--proj %s: %s%s is 1 bit already; use --proj auto", p.opt.Proj, prefix, "weight")
	case quant == memmap.QuantColumn:
		p.column(name, w, foldedVectors{norm: norm, scale: scale, bias: shift})
	case quant != memmap.QuantNone:
		p.vector(normName, norm)
		p.vector(name+".scale", flat(scale))
		p.vector(name+".bias", flat(shift))
		p.bits(name, quant, w, nil)
	case p.opt.Proj == Proj1Bit:
		p.warnOnce("--proj 1bit on full-precision weights is post-training binarization: quality collapses (arXiv 2411.11843, table 1); train with binarization instead")
		p.binarize(name, w, norm)
	case p.opt.Proj == ProjInt8:
		p.vector(normName, norm)
		p.int8Rows(name, w)
	default:
		p.vector(normName, norm)
		p.keep(name+".weight", w)
	}
	if p.spec.Bias {
		p.vector(name+".out_bias", p.tensor(bias, rows))
	}
}

func (p *plan) warnOnce(text string) {
	if !slices.Contains(p.warnings, text) {
		p.warnings = append(p.warnings, text)
	}
}

// pattern tells the three forms of FBI-Linear apart by the shape of wscale, as the code of its authors makes it (arXiv 2411.11843, section 3).
func (p *plan) pattern(prefix string, rows, cols int64) (q memmap.Quant, scale, bias source.Tensor) {
	s, ok := p.c.Tensor(prefix + "wscale")
	if !ok {
		if b, ok := p.c.Tensor(prefix + "wbias"); ok {
			p.fail("%s: tensor %s is there without %swscale", b.File, b.Name, prefix)
		}
		return memmap.QuantNone, s, s
	}
	var shape []int64
	switch {
	case slices.Equal(s.Shape, []int64{1, cols}):
		q, shape = memmap.QuantColumn, s.Shape
	case slices.Equal(s.Shape, []int64{rows, 1}):
		q, shape = memmap.QuantRow, s.Shape
	case slices.Equal(s.Shape, []int64{1}) || len(s.Shape) == 0:
		q, shape = memmap.QuantSingle, s.Shape
	default:
		p.fail("%s: tensor %s has shape %v; it is [1 %d] (column), [%d 1] (row) or [1] (single)", s.File, s.Name, s.Shape, cols, rows)
		return q, s, s
	}
	return q, p.tensor(prefix+"wscale", shape...), p.tensor(prefix+"wbias", shape...)
}

// flat is t as a vector.
func flat(t source.Tensor) source.Tensor {
	t.Shape = []int64{t.Elems()}
	return t
}

// bitsTensor is the description of a 1-bit matrix.
func bitsTensor(name string, q memmap.Quant, rows, cols int64) (memmap.Tensor, layout.Bits) {
	l := layout.Bits{Rows: int(rows), Cols: int(cols), Kb: layout.BlockWidth(int(cols))}
	return memmap.Tensor{Name: name, DType: memmap.B1, Layout: l.Name(), Quant: q, Shape: []uint64{uint64(rows), uint64(cols)}}, l
}
