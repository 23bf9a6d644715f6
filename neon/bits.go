package neon

import "bimamba/neon/layout"

// What the two precisions of the 1-bit product share: the walk over the lines of a block.
//
// A byte of a line chooses one of 256 sums of 8 columns. These sums, the two tables of 16 added up, are made for 64 columns at a time and
// looked up by up to batchTiles tiles: one load for 8 columns instead of two loads, a mask and a shift.

const (
	spanCols   = 64             // columns whose sums are made at a time; divides the width of every block
	spanLines  = spanCols / 8   // lines of a tile for these columns
	spanBytes  = 64 * spanLines // bytes of a tile for these columns
	batchTiles = 32             // 8 KiB of accumulators, as much as the sums
)

// sums8 holds, for each of 8 lines, the sum of the 8 columns that each value of a byte stands for.
type sums8[T int32 | float32] [spanLines][256]T

// fill adds up two tables of 16 a line: the low half of a byte chooses from the first.
func fill[T int32 | float32, E int16 | float32](s *sums8[T], tables *[2 * spanLines][16]E) {
	for p := range s {
		lo, hi, sums := &tables[2*p], &tables[2*p+1], &s[p]
		for h, v := range hi {
			row := (*[16]T)(sums[16*h:])
			u := T(v)
			for i := 0; i < 16; i += 4 {
				row[i] = T(lo[i]) + u
				row[i+1] = T(lo[i+1]) + u
				row[i+2] = T(lo[i+2]) + u
				row[i+3] = T(lo[i+3]) + u
			}
		}
	}
}

// lookup adds 8 lines of a tile to the tile's rows, line by line: the order counts for float32.
func lookup[T int32 | float32](acc *[layout.TileRows]T, lines *[spanBytes]byte, s *sums8[T]) {
	for r := range acc {
		a := acc[r]
		a += s[0][lines[r]]
		a += s[1][lines[64+r]]
		a += s[2][lines[128+r]]
		a += s[3][lines[192+r]]
		a += s[4][lines[256+r]]
		a += s[5][lines[320+r]]
		a += s[6][lines[384+r]]
		a += s[7][lines[448+r]]
		acc[r] = a
	}
}

// addSpan adds the sums that one span's lines of adjacent tiles choose to acc, one element a tile. lines starts with the first tile's in that span.
func addSpan[T int32 | float32](acc [][layout.TileRows]T, lines []byte, tileBytes int, s *sums8[T]) {
	for i := range acc {
		lookup(&acc[i], (*[spanBytes]byte)(lines[i*tileBytes:]), s)
	}
}

// group4 is elements 4g to 4g+3 of x, 0 behind its end.
func group4(x []float32, g int) (v [4]float32) {
	if 4*g+4 <= len(x) {
		return [4]float32(x[4*g:])
	}
	copy(v[:], x[min(4*g, len(x)):])
	return v
}

// signedSums is the sums fl(fl(+-x0 +- x1) + fl(+-x2 - x3)): bit b of the index set means +x_b. Those with +x3, 8 to 15, are
// the negatives of these in reverse order, because rounding is symmetric. (Where terms cancel, a zero's sign may differ from that of the
// sum; added to an accumulator that started from 0 it has no effect.)
func signedSums(v [4]float32) [8]float32 {
	plus, minus := v[0]+v[1], v[0]-v[1]
	m, p := -v[2]-v[3], v[2]-v[3]
	return [8]float32{-plus + m, minus + m, -minus + m, plus + m, -plus + p, minus + p, -minus + p, plus + p}
}
