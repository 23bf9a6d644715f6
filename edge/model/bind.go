package model

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"bimamba/memmap"
	"bimamba/neon"
	"bimamba/neon/layout"
)

// binder looks tensors up in a section and checks that they are what the layer needs.
// The first error sticks; what it returns after one must not be used.
type binder struct {
	f    *memmap.File
	s    *memmap.Section
	data func(*memmap.Tensor) []byte // where a tensor's bytes are, or will be when they are used
	err  error
}

func (b *binder) section(name string) {
	s, ok := b.f.Section(name)
	if !ok {
		b.fail("section %q is missing", name)
		s = &memmap.Section{Name: name}
	}
	b.s, b.data = s, b.f.Data
}

func (b *binder) fail(format string, a ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("%s: %s; convert the checkpoint again", b.f.Name(), fmt.Sprintf(format, a...))
	}
}

// tensor finds a tensor of that shape; optional ones may be missing (nil).
func (b *binder) tensor(optional bool, name string, shape ...uint32) *memmap.Tensor {
	t, ok := b.s.Tensor(name)
	if !ok {
		if !optional {
			b.fail("tensor %s.%s is missing", b.s.Name, name)
		}
		return nil
	}
	if !slices.EqualFunc(t.Shape, shape, func(x uint64, y uint32) bool { return x == uint64(y) }) {
		b.fail("tensor %s.%s has shape %v, but the model's hyperparameters call for %v", b.s.Name, name, t.Shape, shape)
		return nil
	}
	return t
}

// floats is a mapped float32 tensor of that shape.
func (b *binder) floats(optional bool, name string, shape ...uint32) []float32 {
	t := b.tensor(optional, name, shape...)
	if t == nil {
		return nil
	}
	if t.DType != memmap.F32 {
		b.fail("tensor %s.%s has dtype %s, not f32", b.s.Name, name, t.DType)
		return nil
	}
	return float32s(b.data(t))
}

// halves is the bytes of a mapped binary16 tensor of that shape.
func (b *binder) halves(name string, shape ...uint32) []byte {
	t := b.tensor(false, name, shape...)
	if t == nil {
		return nil
	}
	if t.DType != memmap.F16 {
		b.fail("tensor %s.%s has dtype %s, not f16", b.s.Name, name, t.DType)
		return nil
	}
	return b.data(t)
}

// float32s is the view of little-endian, aligned bytes as float32. Open has refused machines of another byte order.
func float32s(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// matrix is a mapped weight matrix (rows, cols) and what its quantization pattern adds to it.
type matrix struct {
	rows, cols int
	dtype      memmap.DType
	quant      memmap.Quant
	bits       layout.Bits // dtype b1
	elem       neon.Elem   // dtype f32, f16, bf16
	data       []byte
	half       []byte    // i4: the groups' scales, (rows, groups) binary16
	scale      []float32 // column: (cols), row: (rows), single: (1)
	bias       []float32 // column: (cols), row: (rows), single: (1); nil for i8
	norm       []float32 // (cols), the weight of the norm in front; nil where scale and bias hold it
	outBias    []float32 // (rows), or nil
}

// matrix binds name.weight and its companions. norm names the weight of the norm in front, "" for none.
func (b *binder) matrix(name, norm string, rows, cols uint32) matrix {
	m := matrix{rows: int(rows), cols: int(cols)}
	t := b.tensor(false, name+".weight", rows, cols)
	if t == nil {
		return m
	}
	m.dtype, m.quant, m.data = t.DType, t.Quant, b.data(t)
	fits := false
	switch t.DType {
	case memmap.B1:
		fits = t.Quant != memmap.QuantNone
		var err error
		if m.bits, err = t.Bits(); err != nil {
			b.fail("tensor %s.%s: %v", b.s.Name, t.Name, err)
		}
	case memmap.I8:
		fits = t.Quant == memmap.QuantRow
	case memmap.I4:
		fits = t.Quant == memmap.QuantGroup
	case memmap.F32, memmap.F16, memmap.BF16:
		fits = t.Quant == memmap.QuantNone
		m.elem = elems[t.DType]
	}
	if !fits {
		b.fail("tensor %s.%s: dtype %s with quant %q is no matrix that this program multiplies", b.s.Name, t.Name, t.DType, t.Quant)
		return m
	}
	n := uint32(1)
	switch t.Quant {
	case memmap.QuantColumn:
		n = cols
	case memmap.QuantRow:
		n = rows
	}
	switch t.Quant {
	case memmap.QuantNone:
	case memmap.QuantGroup:
		m.half = b.halves(name+".scale", rows, uint32(layout.I4Groups(m.cols)))
	default:
		m.scale = b.floats(false, name+".scale", n)
		if t.DType == memmap.B1 {
			m.bias = b.floats(false, name+".bias", n)
		}
	}
	if norm != "" && t.Quant != memmap.QuantColumn {
		m.norm = b.floats(false, norm, cols)
	}
	m.outBias = b.floats(true, name+".out_bias", rows)
	return m
}

// elems maps the element types of dense matrices to those of the kernels.
var elems = map[memmap.DType]neon.Elem{memmap.F32: neon.F32, memmap.F16: neon.F16, memmap.BF16: neon.BF16}

// row writes row r of w, (cols), to dst: the embedding of a token.
func (w *matrix) row(dst []float32, r int) {
	switch w.dtype {
	case memmap.I8:
		neon.I8Row(dst, w.data, w.scale[r], r)
	case memmap.I4:
		neon.I4Row(dst, w.data, w.half, r)
	default:
		neon.Row(dst, w.data, w.elem, r)
	}
}

// isEmbedding tells whether a tensor of section io belongs to the embedding.
func isEmbedding(name string) bool { return strings.HasPrefix(name, "embedding.") }
