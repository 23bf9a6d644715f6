package memmap

import (
	"fmt"
	"math"
	"strings"
)

// validate checks everything that a reader of m relies on, for a file of fileLen bytes whose manifest ends at manifestEnd.
func (m *Manifest) validate(manifestEnd, fileLen uint64) error {
	if err := m.Model.Validate(); err != nil {
		return fmt.Errorf("manifest: model.%w", err)
	}
	switch m.Kind {
	case KindBase, KindInstruct, KindIntent:
	default:
		return fmt.Errorf("manifest: kind %q is not base, instruct or intent", m.Kind)
	}
	if err := m.validatePrompt(); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if m.Tokenizer != nil && (m.Tokenizer.Size == 0 || m.Tokenizer.Size > m.Model.VocabSize) {
		return fmt.Errorf("manifest: tokenizer.size %d is not within 1 and the embedding's %d rows", m.Tokenizer.Size, m.Model.VocabSize)
	}
	return m.validateSections(manifestEnd, fileLen)
}

func (m *Manifest) validatePrompt() error {
	p := &m.Prompt
	if p.BOSID < -1 || int64(p.BOSID) >= int64(m.Model.VocabSize) {
		return fmt.Errorf("prompt.bos_id %d is not a row of the embedding (%d rows)", p.BOSID, m.Model.VocabSize)
	}
	if p.AddBOS && p.BOSID < 0 {
		return fmt.Errorf("prompt.add_bos is set and prompt.bos_id is not")
	}
	for _, id := range p.EOSIDs {
		if id >= m.Model.VocabSize {
			return fmt.Errorf("prompt.eos_ids: %d is not a row of the embedding (%d rows)", id, m.Model.VocabSize)
		}
	}
	for i, t := range m.Tasks {
		if t.Name == "" {
			return fmt.Errorf("tasks[%d].name is empty", i)
		}
	}
	g := &m.Generation
	for _, f := range []struct {
		name   string
		v      float32
		lo, hi float32
	}{
		{"temperature", g.Temperature, 0, 100},
		{"top_p", g.TopP, 0, 1},
		{"min_p", g.MinP, 0, 1},
		{"repetition_penalty", g.RepetitionPenalty, 0, 100},
	} {
		if !(f.v >= f.lo && f.v <= f.hi) {
			return fmt.Errorf("generation.%s %v is not within %v and %v", f.name, f.v, f.lo, f.hi)
		}
	}
	return nil
}

// Validate bounds each hyperparameter, so that no product of three of them overflows, and checks how they hang together.
func (h *Model) Validate() error {
	for _, f := range []struct {
		name string
		v    uint32
		max  uint32
	}{
		{"d_model", h.DModel, 1 << 16},
		{"n_layer", h.NLayer, MaxSections - 2},
		{"d_inner", h.DInner, 1 << 18},
		{"headdim", h.HeadDim, 1 << 12},
		{"nheads", h.NHeads, 1 << 14},
		{"d_state", h.DState, 1 << 12},
		{"ngroups", h.NGroups, 1 << 10},
		{"d_conv", h.DConv, 64},
		{"vocab_size", h.VocabSize, 1 << 22},
		{"gated_norm_groups", h.GatedNormGroups, 1 << 14},
	} {
		if f.v < 1 || f.v > f.max {
			return fmt.Errorf("%s is %d, not within 1 and %d", f.name, f.v, f.max)
		}
	}
	switch {
	case h.DInner != h.NHeads*h.HeadDim:
		return fmt.Errorf("d_inner is %d, but nheads*headdim is %d*%d", h.DInner, h.NHeads, h.HeadDim)
	case h.NHeads%h.NGroups != 0:
		return fmt.Errorf("nheads %d is not a multiple of ngroups %d", h.NHeads, h.NGroups)
	case h.DInner%h.GatedNormGroups != 0:
		return fmt.Errorf("d_inner %d is not a multiple of gated_norm_groups %d", h.DInner, h.GatedNormGroups)
	case !(h.NormEps > 0 && h.NormEps < 1):
		return fmt.Errorf("norm_eps is %v, not within 0 and 1", h.NormEps)
	case !(h.DtMin >= 0 && h.DtMin <= h.DtMax) || math.IsInf(float64(h.DtMin), 0):
		return fmt.Errorf("dt_min %v and dt_max %v are no interval of numbers from 0", h.DtMin, h.DtMax)
	}
	return nil
}

// Channels is the number of channels of the convolution: x, B and C.
func (h *Model) Channels() uint32 { return h.DInner + 2*h.NGroups*h.DState }

// DInProj is the number of rows of in_proj: z, x, B, C and dt.
func (h *Model) DInProj() uint32 { return 2*h.DInner + 2*h.NGroups*h.DState + h.NHeads }

func (m *Manifest) validateSections(manifestEnd, fileLen uint64) error {
	if len(m.Sections) > MaxSections {
		return fmt.Errorf("manifest: %d sections, more than %d", len(m.Sections), MaxSections)
	}
	end := manifestEnd
	for i := range m.Sections {
		s := &m.Sections[i]
		where := func(format string, a ...any) error {
			return fmt.Errorf("manifest: sections[%d] %q: %s", i, s.Name, fmt.Sprintf(format, a...))
		}
		for j := range i {
			if m.Sections[j].Name == s.Name {
				return where("the name stands twice")
			}
		}
		if s.Offset%SectionAlign != 0 {
			return where("offset %d is not a multiple of %d", s.Offset, SectionAlign)
		}
		if s.Offset < end {
			return where("offset %d overlaps what ends at %d", s.Offset, end)
		}
		if s.Offset > fileLen || s.Length > fileLen-s.Offset {
			return where("offset %d and length %d exceed the file's %d bytes", s.Offset, s.Length, fileLen)
		}
		if err := s.validateTensors(); err != nil {
			return where("%v", err)
		}
		end = s.Offset + s.Length
	}
	if end != fileLen {
		return fmt.Errorf("manifest: the last section ends at %d and the file at %d", end, fileLen)
	}
	return nil
}

func (s *Section) validateTensors() error {
	if len(s.Tensors) > MaxSectionTensors {
		return fmt.Errorf("%d tensors, more than %d", len(s.Tensors), MaxSectionTensors)
	}
	pos := s.Offset
	for i := range s.Tensors {
		t := &s.Tensors[i]
		where := func(format string, a ...any) error {
			return fmt.Errorf("tensor %q: %s", t.Name, fmt.Sprintf(format, a...))
		}
		if t.Name == "" || strings.ContainsAny(t.Name, "\n\r\x00") {
			return where("not a name")
		}
		for j := range i {
			if s.Tensors[j].Name == t.Name {
				return where("the name stands twice")
			}
		}
		switch t.Quant {
		case QuantNone, QuantColumn, QuantRow, QuantSingle, QuantGroup:
		default:
			return where("quant %q is not known to this reader (format %d.%d); use a newer bimamba", t.Quant, Major, Minor)
		}
		want, err := t.byteLength()
		if err != nil {
			return where("%v", err)
		}
		if (t.Quant == QuantGroup) != (t.DType == I4) {
			return where("quant %q does not go with dtype %s: %s and %s go together", t.Quant, t.DType, I4, QuantGroup)
		}
		if t.Length != want {
			return where("length is %d bytes, but %s of shape %v takes %d", t.Length, t.DType, t.Shape, want)
		}
		if t.Offset%TensorAlign != 0 {
			return where("offset %d is not a multiple of %d", t.Offset, TensorAlign)
		}
		if t.Offset < pos {
			return where("offset %d overlaps what ends at %d", t.Offset, pos)
		}
		if t.Offset > s.Offset+s.Length || t.Length > s.Offset+s.Length-t.Offset {
			return where("offset %d and length %d exceed the section, which ends at %d", t.Offset, t.Length, s.Offset+s.Length)
		}
		pos = t.Offset + t.Length
	}
	return nil
}
