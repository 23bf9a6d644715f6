//go:build arm64 && !purego && !noasm

package neon

import (
	"fmt"
	"testing"

	"bimamba/neon/layout"
)

// TestLongBlocks fills the 16-bit sums of the kernels as far as they go: the widest block that they take, and one that they refuse, with the
// largest entries of both signs.
func TestLongBlocks(t *testing.T) {
	defer use(chosen)
	for _, lines := range []int{lutLines, lutLines + 8} {
		l := layout.Bits{Rows: 64, Cols: 8 * lines, Kb: 8 * lines}
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
				want, got := make([]float32, l.Rows), make([]float32, l.Rows)
				lut := newLUT(l.Cols, form)
				use(Portable)
				lut.Build(x, l)
				BitMatVec(want, w, l, lut, 0, 1)
				use(neonKernels)
				if taken := asmLUT(make([]float32, l.Rows), w, lut.tables, lut.scale, form, false); taken != (lines <= lutLines || form == LUT8) {
					t.Errorf("%d lines, form %d: taken %v", lines, form, taken)
				}
				BitMatVec(got, w, l, lut, 0, 1)
				compare(t, fmt.Sprintf("%d lines of %v, form %d", lines, v, form), got, func(r int) float32 { return want[r] }, 0, l.Rows)
			}
		}
	}
}

// TestWithoutSDOT tests the form of the 8-bit kernel that a CPU with SDOT does not choose.
func TestWithoutSDOT(t *testing.T) {
	before := chosen
	defer use(before)
	use(neonKernels)
	if !useSDOT {
		t.Skip("this CPU has no SDOT: the other tests have that form")
	}
	n := noise(22)
	const rows = 7
	for _, cols := range []int{32, 96, 1536, asmCols} {
		w, scale, x, q := n.bytes(rows*cols), n.floats(rows), n.floats(cols), newQ14(cols)
		for i := range cols { // the largest sums
			w[i] = 0x80
		}
		q.Quantize(x)
		want, got := make([]float32, rows), make([]float32, rows)
		use(neonKernels)
		I8MatVec(want, w, scale, q, 0, rows)
		useSDOT = false
		I8MatVec(got, w, scale, q, 0, rows)
		compare(t, fmt.Sprint(cols, " columns"), got, func(r int) float32 { return want[r] }, 0, rows)
	}
}
