package neon

import (
	"fmt"
	"math"
	"testing"

	"bimamba/neon/layout"
)

// shapes are matrices around every border: tiles, batches of tiles, groups of 4 and 8 columns, padding, column blocks.
func shapes() (ls []layout.Bits) {
	for _, rows := range []int{1, 63, 64, 65, 130} {
		for _, cols := range []int{1, 3, 4, 5, 7, 8, 9, 63, 64, 65, 127, 129, 200, 256} {
			for _, kb := range []int{64, 128, 192, 256} {
				if kb <= (cols+63)/64*64 {
					ls = append(ls, layout.Bits{Rows: rows, Cols: cols, Kb: kb})
				}
			}
		}
	}
	for _, cols := range []int{511, 513, 700, 1535, 1536, 1537, 3100} {
		ls = append(ls, layout.Bits{Rows: 3, Cols: cols, Kb: layout.BlockWidth(cols)})
	}
	ls = append(ls, layout.Bits{Rows: 65, Cols: 2300, Kb: 1088}, layout.Bits{Rows: 65, Cols: 9000, Kb: 8960}) // units that do not divide a block; a block wider than any writer's
	for _, rows := range []int{64*batchTiles - 1, 64 * batchTiles, 64*batchTiles + 1} {
		ls = append(ls, layout.Bits{Rows: rows, Cols: 70, Kb: 64})
	}
	return ls
}

// bitKernel is either precision of the 1-bit product, and its oracle.
type bitKernel struct {
	name  string
	run   func(dst []float32, w []byte, l layout.Bits, x []float32, tile0, tile1 int)
	naive func(row, x []float32, l layout.Bits) float32
}

var bitKernels = []bitKernel{lutKernel("lut16", LUT16), lutKernel("lut8", LUT8), {"exact", BitMatVecExact, naiveExactRow}}

func lutKernel(name string, f Form) bitKernel {
	return bitKernel{name, func(dst []float32, w []byte, l layout.Bits, x []float32, tile0, tile1 int) {
		lut := newLUT(l.Cols, f)
		lut.Build(x, l)
		BitMatVec(dst, w, l, lut, tile0, tile1)
	}, func(row, x []float32, l layout.Bits) float32 { return naiveLUTRow(row, x, l, f) }}
}

func TestBitMatVec(t *testing.T) { eachKernel(t, testBitMatVec) }

func testBitMatVec(t *testing.T) {
	for _, k := range bitKernels {
		t.Run(k.name, func(t *testing.T) {
			n := noise(1)
			for _, l := range shapes() {
				w := n.packed(l)
				kinds := activations
				if l.Rows > 1000 {
					kinds = kinds[:1]
				}
				for _, a := range kinds {
					x := make([]float32, l.Cols+1)[1:]
					a.fill(&n, x)
					ranges := [][2]int{{0, l.Tiles()}}
					if a.name == "usual" {
						ranges = append(ranges, [2]int{0, 0}, [2]int{1, l.Tiles()}, [2]int{0, 1}, [2]int{l.Tiles() - 1, l.Tiles()})
					}
					for _, tiles := range ranges {
						dst := fresh(l.Rows + 70)
						k.run(dst, w, l, x, tiles[0], tiles[1])
						row := make([]float32, l.Cols)
						compare(t, fmt.Sprintf("%+v, %s, tiles %d to %d", l, a.name, tiles[0], tiles[1]), dst, func(r int) float32 {
							l.UnpackRow(row, w, r)
							return k.naive(row, x, l)
						}, tiles[0]*64, max(tiles[0]*64, min(tiles[1]*64, l.Rows)))
					}
				}
			}
		})
	}
}

// TestBitMatVecPrecision compares with the true product: the error to expect is a few 1e-4 of the root mean square of y, as 14 bits of the largest sum of four give.
func TestBitMatVecPrecision(t *testing.T) { eachKernel(t, testBitMatVecPrecision) }

func testBitMatVecPrecision(t *testing.T) {
	limits := map[string]float64{"lut16": 3e-4, "lut8": 3e-2, "exact": 2e-6}
	for _, k := range bitKernels {
		n := noise(2)
		l := layout.Bits{Rows: 128, Cols: 2560, Kb: layout.BlockWidth(2560)}
		w, x := n.packed(l), n.floats(l.Cols)
		dst := fresh(l.Rows)
		k.run(dst, w, l, x, 0, l.Tiles())
		var diff, square float64
		row := make([]float32, l.Cols)
		for r, v := range dst {
			l.UnpackRow(row, w, r)
			var y float64
			for i, s := range row {
				y += float64(s) * float64(x[i])
			}
			diff += (float64(v) - y) * (float64(v) - y)
			square += y * y
		}
		if rel := math.Sqrt(diff / square); rel > limits[k.name] {
			t.Errorf("%s: relative error %.2g, limit %.2g", k.name, rel, limits[k.name])
		}
	}
}

func TestLUTReuse(t *testing.T) { eachKernel(t, testLUTReuse) }

// testLUTReuse builds narrow tables where wide ones were, a part at a time, and refuses tables of another layout.
func testLUTReuse(t *testing.T) {
	for _, f := range []Form{LUT16, LUT8} {
		n := noise(3)
		wide := layout.Bits{Rows: 64, Cols: 1500, Kb: 1472}
		lut := newLUT(wide.Cols, f)
		lut.Build(n.floats(wide.Cols), wide)
		l := layout.Bits{Rows: 64, Cols: 1130, Kb: 640}
		w, x := n.packed(l), n.floats(l.Cols)
		lut.Measure(x, l)
		for span := Spans(l); span > 0; { // from the back, 5 spans at a time
			lo := max(0, span-5)
			lut.Fill(lo, span)
			span = lo
		}
		dst, row := fresh(l.Rows), make([]float32, l.Cols)
		BitMatVec(dst, w, l, lut, 0, 1)
		compare(t, "after a wider input", dst, func(r int) float32 {
			l.UnpackRow(row, w, r)
			return naiveLUTRow(row, x, l, f)
		}, 0, l.Rows)

		func() {
			defer func() {
				if recover() == nil {
					t.Error("tables of another block width were taken")
				}
			}()
			l.Kb = 128
			BitMatVec(dst, w, l, lut, 0, 1)
		}()
	}
}

func TestBitMatMul(t *testing.T) { eachKernel(t, testBitMatMul) }

// testBitMatMul holds the products of several tokens against those of each.
func testBitMatMul(t *testing.T) {
	n := noise(18)
	for _, l := range append(shapes(), layout.Bits{Rows: 64 * 5, Cols: 1100, Kb: 576}, layout.Bits{Rows: 64 * 4, Cols: 1600, Kb: 1600}) {
		if l.Rows > 1000 {
			continue
		}
		w := n.packed(l)
		for _, f := range []Form{LUT16, LUT8} {
			for _, tokens := range []int{1, 2, 3, 4, 5} {
				luts, got, want := make([]*LUT, tokens), make([][]float32, tokens), make([][]float32, tokens)
				for i := range luts {
					x := make([]float32, l.Cols)
					activations[i%2*(1+int(n.bits()%uint64(len(activations)-1)))].fill(&n, x) // usual ones beside others
					luts[i] = newLUT(l.Cols, f)
					luts[i].Build(x, l)
					got[i], want[i] = fresh(l.Rows), fresh(l.Rows)
				}
				for _, tiles := range [][2]int{{0, l.Tiles()}, {1, l.Tiles()}, {0, 1}} {
					BitMatMul(got, w, l, luts, tiles[0], tiles[1])
					for i := range got {
						BitMatVec(want[i], w, l, luts[i], tiles[0], tiles[1])
						compare(t, fmt.Sprintf("%+v, form %d, token %d of %d, tiles %d to %d", l, f, i, tokens, tiles[0], tiles[1]), got[i], func(r int) float32 { return want[i][r] }, 0, l.Rows)
					}
				}
			}
		}
	}
}

func TestLongBlocks(t *testing.T) { eachKernel(t, testLongBlocks) }

// testLongBlocks fills the 16-bit sums of the kernels beyond what they can hold, with the largest entries of both signs: around 256 lines kernels begin
// to leave a unit to the portable code.
func testLongBlocks(t *testing.T) {
	for _, lines := range []int{248, 256, 264} {
		l := layout.Bits{Rows: 128, Cols: 8 * lines, Kb: 8 * lines}
		w, x := make([]byte, l.Bytes()), make([]float32, l.Cols)
		for i := range w {
			switch i % 64 % 4 {
			case 0:
				w[i] = 0xff
			case 1:
				w[i] = 0x0f
			case 2:
				w[i] = byte(i / 64)
			}
		}
		for _, v := range []float32{1, -1} {
			constant(v)(nil, x)
			for _, form := range []Form{LUT16, LUT8} {
				lut := newLUT(l.Cols, form)
				lut.Build(x, l)
				got, row := [][]float32{fresh(l.Rows), fresh(l.Rows)}, make([]float32, l.Cols)
				BitMatMul(got, w, l, []*LUT{lut, lut}, 0, l.Tiles())
				alone := fresh(l.Rows)
				BitMatVec(alone, w, l, lut, 0, l.Tiles())
				for _, g := range append(got, alone) {
					compare(t, fmt.Sprintf("%d lines of %v, form %d", lines, v, form), g, func(r int) float32 {
						l.UnpackRow(row, w, r)
						return naiveLUTRow(row, x, l, form)
					}, 0, l.Rows)
				}
			}
		}
	}
}
