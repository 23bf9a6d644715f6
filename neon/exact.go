package neon

import "bimamba/neon/layout"

// ExactScratch is the float32 that BitMatVecExact needs as scratch for matrices of up to cols columns.
func ExactScratch(cols int) int { return lutTables(cols) * 16 }

// BitMatVecExact is BitMatVec in float32: in each block a row starts from 0 and adds, for every 8 columns in order,
// fl(sum of the first four + sum of the second four), those sums being fl(fl(+-x0 +- x1) + fl(+-x2 +- x3)); the blocks are added in order.
// scratch holds ExactScratch(l.Cols) elements.
func BitMatVecExact(dst []float32, w []byte, l layout.Bits, x, scratch []float32, tile0, tile1 int) {
	dst, x = dst[:l.Rows], x[:l.Cols]
	for b := range l.Blocks() {
		col, width := l.Block(b)
		part := x[min(col, len(x)):min(col+width, len(x))]
		tables := scratch[:width/4*16]
		for g := range width / 4 {
			sums((*[16]float32)(tables[16*g:]), group(part, g))
		}
		for tile := tile0; tile < tile1; tile++ {
			var acc [64]float32
			lines := w[l.Line(b, tile):][:width*8]
			for p := range width / 8 {
				line := (*[64]byte)(lines[64*p:])
				t0, t1 := (*[16]float32)(tables[32*p:]), (*[16]float32)(tables[32*p+16:])
				for r := range line {
					acc[r] += t0[line[r]&15] + t1[line[r]>>4]
				}
			}
			rows := dst[tile*64 : min(tile*64+64, l.Rows)]
			for r := range rows {
				if b == 0 {
					rows[r] = acc[r]
				} else {
					rows[r] += acc[r]
				}
			}
		}
	}
}
