package convert

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"bimamba/convert/source"
	"bimamba/memmap"
	"bimamba/neon/layout"
)

// chunkElems is how many elements are decoded at a time: 1 MiB of float32.
const chunkElems = 1 << 18

// maxZeros is the largest part of a 1-bit projection's latent weights that may be exactly 0, which one bit cannot say.
const maxZeros = 0.001

// maxF16 is the largest finite binary16.
const maxF16 = 65504

// eachRows hands out t's rows, some at a time, as float32 (n*cols elements). NaN and Inf are refused.
func eachRows(ctx context.Context, t source.Tensor, fn func(row0 int, rows []float32) error) error {
	if t.Elems() == 0 {
		return nil
	}
	cols := t.Elems() / t.Shape[0]
	n := max(1, chunkElems/cols)
	buf := make([]float32, min(n, t.Shape[0])*cols)
	for row := int64(0); row < t.Shape[0]; row += n {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(n, t.Shape[0]-row)*cols]
		if err := t.ReadFloats(b, row*cols); err != nil {
			return err
		}
		for i, v := range b {
			if v-v != 0 {
				return fmt.Errorf("%s: tensor %s: element %v is %v; the checkpoint is damaged, or its training diverged", t.File, t.Name, index(t.Shape, row*cols+int64(i)), v)
			}
		}
		if err := fn(int(row), b); err != nil {
			return err
		}
	}
	return nil
}

// index is the position of element i in a tensor of that shape.
func index(shape []int64, i int64) []int64 {
	at := make([]int64, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		at[d], i = i%shape[d], i/shape[d]
	}
	return at
}

// readAll is a whole small tensor.
func readAll(ctx context.Context, t source.Tensor) ([]float32, error) {
	out := make([]float32, 0, t.Elems())
	err := eachRows(ctx, flat(t), func(_ int, v []float32) error {
		out = append(out, v...)
		return nil
	})
	return out, err
}

// writeF32 writes v little-endian.
func writeF32(w io.Writer, v []float32) error {
	b := make([]byte, 4*min(len(v), chunkElems))
	for len(v) > 0 {
		n := min(len(v), chunkElems)
		layout.EncodeF32(b, v[:n])
		if _, err := w.Write(b[:4*n]); err != nil {
			return err
		}
		v = v[n:]
	}
	return nil
}

// bytes adds a table that is in memory already.
func (p *plan) bytes(name string, d memmap.DType, shape []uint64, data []byte) {
	p.add(memmap.Tensor{Name: name, DType: d, Shape: shape}, nil, func(_ context.Context, w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// vector adds a small tensor as float32.
func (p *plan) vector(name string, t source.Tensor) {
	p.add(memmap.Tensor{Name: name, DType: memmap.F32, Shape: shapeOf(t)}, nil, func(ctx context.Context, w io.Writer) error {
		v, err := readAll(ctx, t)
		if err != nil {
			return err
		}
		return writeF32(w, v)
	})
}

func shapeOf(t source.Tensor) []uint64 {
	s := make([]uint64, len(t.Shape))
	for i, d := range t.Shape {
		s[i] = uint64(d)
	}
	return s
}

// conv adds conv1d.weight (channels, 1, d_conv) transposed to (d_conv, channels): one tap of all channels is one vector.
func (p *plan) conv(t source.Tensor) {
	if p.err != nil {
		return
	}
	channels, taps := int(t.Shape[0]), int(t.Shape[2])
	p.add(memmap.Tensor{Name: "conv.weight", DType: memmap.F32, Shape: []uint64{uint64(taps), uint64(channels)}}, nil, func(ctx context.Context, w io.Writer) error {
		v, err := readAll(ctx, t)
		if err != nil {
			return err
		}
		out := make([]float32, len(v))
		for c := range channels {
			for k := range taps {
				out[k*channels+c] = v[c*taps+k]
			}
		}
		return writeF32(w, out)
	})
}

// head adds embedding or head in the form that --head asks for.
func (p *plan) head(name string, t source.Tensor) {
	switch p.opt.Head {
	case HeadInt8:
		p.int8Rows(name, t)
	case HeadInt4:
		p.int4Rows(name, t)
	case HeadF16:
		p.add(memmap.Tensor{Name: name + ".weight", DType: memmap.F16, Shape: shapeOf(t)}, nil, func(ctx context.Context, w io.Writer) error {
			return eachRows(ctx, t, func(row int, v []float32) error {
				for _, x := range v {
					if math.Abs(float64(x)) > maxF16 {
						return fmt.Errorf("%s: tensor %s: %v does not fit an f16; use --head int8 or --head keep", t.File, t.Name, x)
					}
				}
				b := make([]byte, 2*len(v))
				layout.EncodeF16(b, v)
				_, err := w.Write(b)
				return err
			})
		})
	default:
		p.keep(name+".weight", t)
	}
}

// keep adds t in its own element type; f64, which a blob does not have, becomes f32.
func (p *plan) keep(name string, t source.Tensor) {
	d := t.DType
	if d == source.F64 {
		d = memmap.F32
	}
	p.add(memmap.Tensor{Name: name, DType: d, Shape: shapeOf(t)}, nil, func(ctx context.Context, w io.Writer) error {
		return eachRows(ctx, t, func(row int, v []float32) error {
			b := make([]byte, 2*len(v))
			switch d { // exact: v came from this type
			case memmap.F16:
				layout.EncodeF16(b, v)
			case memmap.BF16:
				layout.EncodeBF16(b, v)
			default:
				return writeF32(w, v)
			}
			_, err := w.Write(b)
			return err
		})
	})
}

// int8Rows adds name.weight as 8-bit rows, and name.scale behind it.
func (p *plan) int8Rows(name string, t source.Tensor) {
	if p.err != nil {
		return
	}
	scale := make([]float32, t.Shape[0])
	p.add(memmap.Tensor{Name: name + ".weight", DType: memmap.I8, Quant: memmap.QuantRow, Shape: shapeOf(t)}, nil, func(ctx context.Context, w io.Writer) error {
		cols := int(t.Shape[1])
		q := make([]int8, cols)
		var b []byte
		return eachRows(ctx, t, func(row int, v []float32) error {
			b = b[:0]
			for ; len(v) > 0; v = v[cols:] {
				scale[row] = layout.QuantizeI8(q, v[:cols])
				for _, x := range q {
					b = append(b, byte(x))
				}
				row++
			}
			_, err := w.Write(b)
			return err
		})
	})
	p.add(memmap.Tensor{Name: name + ".scale", DType: memmap.F32, Shape: []uint64{uint64(t.Shape[0])}}, nil, func(_ context.Context, w io.Writer) error {
		return writeF32(w, scale)
	})
}

// int4Rows adds name.weight as 4-bit rows, and name.scale, (rows, groups), behind it. Each reads and quantizes t by itself,
// for the scales of a large head are megabytes, which would have to be kept until its weights are written.
func (p *plan) int4Rows(name string, t source.Tensor) {
	if p.err != nil {
		return
	}
	cols := int(t.Shape[1])
	groups, rowBytes := layout.I4Groups(cols), layout.I4RowBytes(cols)
	quantize := func(ctx context.Context, write func(q []byte, scale []uint16) error) error {
		var q []byte
		var scale []uint16
		return eachRows(ctx, t, func(row int, v []float32) error {
			for i, x := range v {
				if math.Abs(float64(x)) > 8*maxF16 {
					return fmt.Errorf("%s: tensor %s: element %v is %v, more than 8 times the largest f16, so that its scale does not fit one; use --head int8 or --head keep", t.File, t.Name, index(t.Shape, int64(row*cols+i)), x)
				}
			}
			n := len(v) / cols
			q, scale = slices.Grow(q[:0], n*rowBytes)[:n*rowBytes], slices.Grow(scale[:0], n*groups)[:n*groups]
			for r := range n {
				layout.QuantizeI4(q[r*rowBytes:], scale[r*groups:], v[r*cols:(r+1)*cols])
			}
			return write(q, scale)
		})
	}
	p.add(memmap.Tensor{Name: name + ".weight", DType: memmap.I4, Layout: memmap.I4Layout, Quant: memmap.QuantGroup, Shape: shapeOf(t)}, nil, func(ctx context.Context, w io.Writer) error {
		return quantize(ctx, func(q []byte, _ []uint16) error {
			_, err := w.Write(q)
			return err
		})
	})
	p.add(memmap.Tensor{Name: name + ".scale", DType: memmap.F16, Shape: []uint64{uint64(t.Shape[0]), uint64(groups)}}, nil, func(ctx context.Context, w io.Writer) error {
		return quantize(ctx, func(_ []byte, scale []uint16) error {
			b := make([]byte, 0, 2*len(scale))
			for _, s := range scale {
				b = binary.LittleEndian.AppendUint16(b, s)
			}
			_, err := w.Write(b)
			return err
		})
	})
}

// foldedVectors are the vectors of the column pattern before the norm in front is multiplied into them.
type foldedVectors struct{ norm, scale, bias source.Tensor }

// column adds a projection of the column pattern: scale = norm*wscale, bias = norm*wbias, then the bits.
func (p *plan) column(name string, w source.Tensor, f foldedVectors) {
	cols := []uint64{uint64(w.Shape[1])}
	for _, v := range []struct {
		name string
		t    source.Tensor
	}{{".scale", f.scale}, {".bias", f.bias}} {
		p.add(memmap.Tensor{Name: name + v.name, DType: memmap.F32, Shape: cols}, nil, func(ctx context.Context, w io.Writer) error {
			return fold(ctx, w, f.norm, func() ([]float32, error) { return readAll(ctx, v.t) })
		})
	}
	p.bits(name, memmap.QuantColumn, w, nil)
}

// fold writes norm*v. It never divides: trained scales touch zero.
func fold(ctx context.Context, w io.Writer, norm source.Tensor, read func() ([]float32, error)) error {
	n, err := readAll(ctx, norm)
	if err != nil {
		return err
	}
	v, err := read()
	if err != nil {
		return err
	}
	for i := range v {
		v[i] = float32(float64(n[i]) * float64(v[i]))
	}
	return writeF32(w, v)
}

// bits adds name.weight, the packed signs of w minus the column means (nil: w itself).
func (p *plan) bits(name string, q memmap.Quant, w source.Tensor, mean func() []float32) {
	t, l := bitsTensor(name+".weight", q, w.Shape[0], w.Shape[1])
	zeros := new(uint64)
	p.add(t, zeros, func(ctx context.Context, out io.Writer) error {
		packed := make([]byte, l.Bytes())
		err := eachRows(ctx, w, func(row int, v []float32) error {
			if mean != nil {
				m := mean()
				for i := range v {
					v[i] -= m[i%len(m)]
				}
			} else {
				for _, x := range v {
					if x == 0 {
						*zeros++
					}
				}
			}
			l.PackRows(packed, row, v)
			return nil
		})
		if err != nil {
			return err
		}
		if n := w.Elems(); float64(*zeros) > maxZeros*float64(n) {
			return fmt.Errorf("%s: tensor %s: %d of %d latent weights are exactly 0 (%.2f %%, more than %.1f %%), which one bit cannot say: was it saved in a type too narrow, or never trained?",
				w.File, w.Name, *zeros, n, 100*float64(*zeros)/float64(n), 100*maxZeros)
		}
		_, err = out.Write(packed)
		return err
	})
}

// binarize adds full-precision weights as the column pattern by post-training binarization:
// m the mean of a column, bits of W-m, wscale the mean of |W-m|, wbias = m.
func (p *plan) binarize(name string, w, norm source.Tensor) {
	cols := int(w.Shape[1])
	var mean, scale []float32
	// Scale comes first in the file, so the statistics are taken when it is written.
	stats := func(ctx context.Context) error {
		sum := make([]float64, cols)
		average := func(dst *[]float32, f func(col int, v float32) float64) error {
			clear(sum)
			err := eachRows(ctx, w, func(_ int, v []float32) error {
				for i, x := range v {
					sum[i%cols] += f(i%cols, x)
				}
				return nil
			})
			*dst = make([]float32, cols)
			for i, s := range sum {
				(*dst)[i] = float32(s / float64(w.Shape[0]))
			}
			return err
		}
		if err := average(&mean, func(_ int, v float32) float64 { return float64(v) }); err != nil {
			return err
		}
		return average(&scale, func(col int, v float32) float64 { return math.Abs(float64(v) - float64(mean[col])) })
	}
	shape := []uint64{uint64(cols)}
	p.add(memmap.Tensor{Name: name + ".scale", DType: memmap.F32, Shape: shape}, nil, func(ctx context.Context, out io.Writer) error {
		if err := stats(ctx); err != nil {
			return err
		}
		return fold(ctx, out, norm, func() ([]float32, error) { return scale, nil })
	})
	p.add(memmap.Tensor{Name: name + ".bias", DType: memmap.F32, Shape: shape}, nil, func(ctx context.Context, out io.Writer) error {
		return fold(ctx, out, norm, func() ([]float32, error) { return append([]float32(nil), mean...), nil })
	})
	p.bits(name, memmap.QuantColumn, w, func() []float32 { return mean })
}

// firstDifference is the first element in which two tensors of one shape differ, or -1.
func firstDifference(a, b source.Tensor) (int64, error) {
	va, vb := make([]float32, chunkElems), make([]float32, chunkElems)
	for i := int64(0); i < a.Elems(); i += chunkElems {
		n := min(chunkElems, a.Elems()-i)
		if err := a.ReadFloats(va[:n], i); err != nil {
			return 0, err
		}
		if err := b.ReadFloats(vb[:n], i); err != nil {
			return 0, err
		}
		for j := range n {
			if va[j] != vb[j] && !(va[j] != va[j] && vb[j] != vb[j]) {
				return i + j, nil
			}
		}
	}
	return -1, nil
}
