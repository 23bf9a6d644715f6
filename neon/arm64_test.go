//go:build arm64 && !purego && !noasm

package neon

import (
	"fmt"
	"testing"
)

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
