package neon

import "bimamba/neon/layout"

// BitMatVecExact is the product of a 1-bit matrix w of layout l and x in float32. In each column block a row starts from 0 and adds, for every
// 8 columns in order, fl(sum of the first four + sum of the second four), those sums being fl(fl(+-x0 +- x1) + fl(+-x2 +- x3)); the blocks are added in order.
//
// dst, w, tile0 and tile1 are those of BitMatVec, x has l.Cols elements.
func BitMatVecExact(dst []float32, w []byte, l layout.Bits, x []float32, tile0, tile1 int) {
	dst, w, x = dst[:l.Rows], w[:l.Bytes()], x[:l.Cols]
	var acc [batchTiles][layout.TileRows]float32
	var sums sums8[float32]
	var tables [2 * spanLines][16]float32
	for b := range l.Blocks() {
		col, width := l.Block(b)
		part := x[min(col, len(x)):min(col+width, len(x))]
		for tile := tile0; tile < tile1; tile += batchTiles {
			batch := acc[:min(tile1-tile, batchTiles)]
			clear(batch)
			lines := w[l.Line(b, tile):]
			for span := range width / spanCols {
				for g := range tables {
					t := &tables[g]
					for i, s := range signedSums(group4(part, span*len(tables)+g)) {
						t[i], t[15-i] = s, -s
					}
				}
				fill(&sums, &tables)
				addSpan(batch, lines[span*spanBytes:], width/spanCols*spanBytes, &sums)
			}
			for i := range batch {
				rows := dst[(tile+i)*layout.TileRows:]
				for r, a := range batch[i][:min(layout.TileRows, len(rows))] {
					if b > 0 {
						a = rows[r] + a
					}
					rows[r] = a
				}
			}
		}
	}
}
