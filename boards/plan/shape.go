package plan

import (
	"fmt"
	"strings"

	"bimamba/memmap"
	"bimamba/neon/layout"
)

// shapes are those of Bi-Mamba's published models (arXiv 2411.11843, table 6) and of the built-in one, from large to small.
var shapes = []struct {
	size                          string
	dModel, nLayer, dState, vocab uint32
}{
	{"2.7B", 2560, 64, 128, 32000},
	{"1.3B", 2048, 48, 128, 32000},
	{"780M", 1536, 48, 128, 32000},
	{"assistant", 512, 12, 64, 4096},
}

// Sizes is the names that Shape takes, from small to large.
func Sizes() []string {
	out := make([]string, len(shapes))
	for i := range shapes {
		out[len(shapes)-1-i] = shapes[i].size
	}
	return out
}

// Shape is the manifest that a converted model of a size has but for its texts and sums, without a tokenizer: enough to plan with. head is the type of
// the embedding, which is the head: [memmap.I8], [memmap.I4] or [memmap.F16].
func Shape(size string, head memmap.DType) (*memmap.Manifest, error) {
	for i := range shapes {
		if s := &shapes[i]; s.size == size {
			return shape(s.size, s.dModel, s.nLayer, s.dState, s.vocab, head)
		}
	}
	return nil, fmt.Errorf("there is no size %q; there are %s", size, strings.Join(Sizes(), ", "))
}

func shape(name string, dModel, nLayer, dState, vocab uint32, head memmap.DType) (*memmap.Manifest, error) {
	const headDim, dConv = 64, 4
	m := &memmap.Manifest{Name: name, Kind: memmap.KindBase, Prompt: memmap.Prompt{BOSID: -1}, Generation: memmap.Generation{TopP: 1, RepetitionPenalty: 1}}
	h := &m.Model
	*h = memmap.Model{
		Family: "bimamba", DModel: dModel, NLayer: nLayer, DInner: 2 * dModel, HeadDim: headDim, NHeads: 2 * dModel / headDim, DState: dState, NGroups: 1, DConv: dConv,
		VocabSize: vocab, NormEps: 1e-5, GatedNormGroups: 1, DtMax: 1, TieEmbeddings: true,
	}
	vector := func(name string, n ...uint32) memmap.Tensor {
		t := memmap.Tensor{Name: name, DType: memmap.F32}
		for _, d := range n {
			t.Shape = append(t.Shape, uint64(d))
		}
		return t
	}
	bits := func(name string, rows, cols uint32) memmap.Tensor {
		l := layout.Bits{Rows: int(rows), Cols: int(cols), Kb: layout.BlockWidth(int(cols))}
		return memmap.Tensor{Name: name, DType: memmap.B1, Layout: l.Name(), Quant: memmap.QuantColumn, Shape: []uint64{uint64(rows), uint64(cols)}}
	}
	rows, err := rowsOf("embedding", vocab, dModel, head)
	if err != nil {
		return nil, err
	}
	m.Sections = append(m.Sections, memmap.Section{Name: "io", Tensors: append(rows, vector("norm_f.weight", dModel))})
	for i := range nLayer {
		m.Sections = append(m.Sections, memmap.Section{Name: fmt.Sprintf("layers.%d", i), Tensors: []memmap.Tensor{
			vector("in_proj.scale", dModel), vector("in_proj.bias", dModel), bits("in_proj.weight", h.DInProj(), dModel),
			vector("conv.weight", dConv, h.Channels()), vector("conv.bias", h.Channels()), vector("dt_bias", h.NHeads), vector("A_log", h.NHeads), vector("D", h.NHeads),
			vector("out_proj.scale", h.DInner), vector("out_proj.bias", h.DInner), bits("out_proj.weight", dModel, h.DInner),
		}})
	}
	return m, lay(m)
}

// rowsOf is the tensors of an embedding or head in a type.
func rowsOf(name string, rows, cols uint32, d memmap.DType) ([]memmap.Tensor, error) {
	t := memmap.Tensor{Name: name + ".weight", DType: d, Shape: []uint64{uint64(rows), uint64(cols)}}
	scale := memmap.Tensor{Name: name + ".scale", DType: memmap.F32, Shape: []uint64{uint64(rows)}}
	switch d {
	case memmap.F16:
		return []memmap.Tensor{t}, nil
	case memmap.I8:
		t.Quant = memmap.QuantRow
	case memmap.I4:
		t.Layout, t.Quant = memmap.I4Layout, memmap.QuantGroup
		scale.DType, scale.Shape = memmap.F16, []uint64{uint64(rows), uint64(layout.I4Groups(int(cols)))}
	default:
		return nil, fmt.Errorf("a head of %s: it is %s, %s or %s", d, memmap.I8, memmap.I4, memmap.F16)
	}
	return []memmap.Tensor{t, scale}, nil
}

// lay sets the lengths and offsets that a file of m would have.
func lay(m *memmap.Manifest) error {
	_, err := memmap.NewWriter(nil, m)
	return err
}

// withHead is m as it were if it had been converted with a head of another type.
func withHead(m *memmap.Manifest, d memmap.DType) (*memmap.Manifest, error) {
	out := *m
	out.Sections = make([]memmap.Section, len(m.Sections))
	for i := range m.Sections {
		s := m.Sections[i]
		tensors := s.Tensors
		s.Tensors = nil
		for _, t := range tensors {
			name, part, _ := strings.Cut(t.Name, ".")
			switch {
			case s.Name != "io" || name != "embedding" && name != "lm_head":
				s.Tensors = append(s.Tensors, t)
			case part == "weight":
				rows, err := rowsOf(name, m.Model.VocabSize, m.Model.DModel, d)
				if err != nil {
					return nil, err
				}
				s.Tensors = append(s.Tensors, rows...)
			}
		}
		out.Sections[i] = s
	}
	return &out, lay(&out)
}

// headType is the type of the head's weights, "" if m has none.
func headType(m *memmap.Manifest) memmap.DType {
	name := "lm_head.weight"
	if m.Model.TieEmbeddings {
		name = "embedding.weight"
	}
	for i := range m.Sections {
		if s := &m.Sections[i]; s.Name == "io" {
			if t, ok := s.Tensor(name); ok {
				return t.DType
			}
		}
	}
	return ""
}
