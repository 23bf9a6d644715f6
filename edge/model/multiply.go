package model

import (
	"bimamba/memmap"
	"bimamba/neon"
	"bimamba/neon/layout"
	"bimamba/neon/pool"
)

// inputs is the inputs of a product for each token of a batch, in the form that the matrix's kernel takes.
type inputs struct {
	x   [][]float32 // (T, cols), the input times scale or norm
	add []float32   // (T), what the shifts of a 1-bit matrix come to
	lut []*neon.LUT
	q14 []*neon.Q14

	minTiles int // of a round of a 1-bit product
}

func (in *inputs) init(m *Model, arena *carver) {
	batch, wide := m.opt.Batch, maxCols(&m.h)
	in.minTiles = neon.MinTiles()
	in.x, in.add = make([][]float32, batch), make([]float32, batch)
	in.lut, in.q14 = make([]*neon.LUT, batch), make([]*neon.Q14, batch)
	if m.opt.Precision == Exact {
		return
	}
	sizes := tableBytes(&m.h, m.opt.Precision)
	for t := range batch {
		in.lut[t] = neon.NewLUT(arena.bytes(sizes[0]), wide, m.opt.Precision.form())
		in.q14[t] = neon.NewQ14(arena.bytes(sizes[1]), wide)
	}
}

// prepare makes the normalised input x, (cols), of token t ready for multiply by w. xs is scratch of as many elements, which multiply reads.
func (f *forward) prepare(w *matrix, t int, x, xs []float32) {
	xs = xs[:w.cols]
	switch {
	case w.dtype == memmap.B1 && w.quant == memmap.QuantColumn: // bits (scale*x) + bias.x
		f.add[t] = neon.Dot(w.bias, x)
		neon.Mul(xs, x, w.scale)
	case w.norm != nil:
		neon.Mul(xs, x, w.norm)
	default:
		copy(xs, x)
	}
	if w.dtype == memmap.B1 && w.quant != memmap.QuantColumn { // scale * (bits x) + bias * sum(x)
		f.add[t] = neon.Sum(xs)
	}
	f.x[t] = xs
	switch {
	case f.m.opt.Precision == Exact:
	case w.dtype == memmap.B1:
		f.lut[t].Measure(xs, w.bits)
	case w.dtype == memmap.I8, w.dtype == memmap.I4:
		f.q14[t].Quantize(xs)
	}
}

// Rounds of a product: tiles of 64 rows of a 1-bit matrix, or denseRows rows of another.
const (
	denseRows = 16
	// blockRows of a dense matrix are multiplied with all tokens in turn: 48 KB of int8 at the widest embedding here.
	blockRows = 32
	// productGrain is about how many rounds each worker has of a product, so that the last ones end together.
	productGrain = 16
)

// multiply computes dst[t] = W~ x, (rows), for the prepared inputs of len(dst) tokens, and adds it to sum[t] unless sum is nil.
func (f *forward) multiply(w *pool.Worker, m *matrix, dst, sum [][]float32) {
	T, unit := len(dst), denseRows
	if m.dtype == memmap.B1 {
		unit = layout.TileRows
		if f.m.opt.Precision != Exact {
			spans := neon.Spans(m.bits)
			w.For(T*spans, max(1, T*spans/(4*f.m.opt.Threads)), func(lo, hi int) {
				for lo < hi {
					t := lo / spans
					end := min(hi, (t+1)*spans)
					f.lut[t].Fill(lo-t*spans, end-t*spans)
					lo = end
				}
			})
		}
	}
	rounds := (m.rows + unit - 1) / unit
	grain := max(2, rounds/(productGrain*f.m.opt.Threads)+1) &^ 1 // tiles go in pairs
	if m.dtype == memmap.B1 {
		grain = max(grain, f.minTiles)
	}
	w.For(rounds, grain, func(lo, hi int) {
		r0, r1 := lo*unit, min(hi*unit, m.rows)
		if m.dtype == memmap.B1 && f.m.opt.Precision != Exact {
			neon.BitMatMul(dst, m.data, m.bits, f.lut[:T], lo, hi)
		}
		step := r1 - r0
		if m.dtype != memmap.B1 && T > 1 { // rows that every token finds in the cache again
			step = blockRows
		}
		for ; r0 < r1; r0 += step {
			end := min(r0+step, r1)
			for t := range T {
				f.rowsOf(m, t, dst[t], r0, end)
				if sum != nil {
					neon.Add(sum[t][r0:end], sum[t][r0:end], dst[t][r0:end])
				}
			}
		}
	})
}

// rowsOf computes rows r0 to r1-1 of dst = W~ x for token t. For a 1-bit matrix r0 is a tile's first row, and r1 one's or the last; unless it is exact, its
// +-1 product stands in dst already.
func (f *forward) rowsOf(m *matrix, t int, dst []float32, r0, r1 int) {
	exact := f.m.opt.Precision == Exact
	x := f.x[t]
	switch m.dtype {
	case memmap.B1:
		if exact {
			neon.BitMatVecExact(dst, m.data, m.bits, x, r0/layout.TileRows, (r1+layout.TileRows-1)/layout.TileRows)
		}
		if m.quant == memmap.QuantColumn {
			neon.AddScalar(dst[r0:r1], dst[r0:r1], f.add[t])
			break
		}
		for r := r0; r < r1; r++ {
			k := r % len(m.scale) // one for all, or one a row
			dst[r] = float32(m.scale[k]*dst[r]) + float32(m.bias[k]*f.add[t])
		}
	case memmap.I8:
		if exact {
			neon.I8MatVecExact(dst, m.data, m.scale, x, r0, r1)
		} else {
			neon.I8MatVec(dst, m.data, m.scale, f.q14[t], r0, r1)
		}
	case memmap.I4:
		if exact {
			neon.I4MatVecExact(dst, m.data, m.half, x, r0, r1)
		} else {
			neon.I4MatVec(dst, m.data, m.half, f.q14[t], r0, r1)
		}
	default:
		neon.MatVec(dst, m.data, m.elem, x, r0, r1)
	}
	if m.outBias != nil {
		neon.Add(dst[r0:r1], dst[r0:r1], m.outBias[r0:r1])
	}
}
