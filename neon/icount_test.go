package neon

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"bimamba/neon/layout"
)

// TestInstructionCounts runs every kernel of the set that $BIMAMBA_ICOUNT names, for scripts/icount.sh, which counts their instructions.
// It prints the name of a workload and how many elements it was run on: weights, inputs, elements of a state, or bytes that were read.
func TestInstructionCounts(t *testing.T) {
	kernels := os.Getenv("BIMAMBA_ICOUNT")
	if kernels == "" {
		t.Skip("no $BIMAMBA_ICOUNT: nobody counts")
	}
	if !slices.Contains(Kernels(), kernels) {
		t.Fatalf("this CPU has the kernels %q, not %s", Kernels(), kernels)
	}
	before := chosen
	defer use(before)

	const rows, cols, repeat = 256, 1536, 4
	n := noise(21)
	w, x, y, dst := n.bytes(4*rows*cols), n.floats(cols), n.floats(cols), make([]float32, cols)
	use(Portable)
	l := layout.Bits{Rows: rows, Cols: cols, Kb: cols}
	lut16, lut8, q := newLUT(cols, LUT16), newLUT(cols, LUT8), newQ14(cols)
	lut16.Build(x, l)
	lut8.Build(x, l)
	q.Quantize(x)
	scale, scale4 := n.floats(rows), make([]byte, 2*rows*layout.I4Groups(cols))
	const headdim, dState = 64, 128
	state, half := n.floats(headdim*dState), make([]uint16, headdim*dState)
	use(kernels)

	var sums lanes
	first := func(n int) bool { return n == cols } // all of x at once
	for _, k := range []struct {
		name     string
		elements int
		run      func() bool
	}{
		{"lut16", rows * cols, func() bool {
			return asmLUT(dst[:rows], w[:l.Bytes()], lut16.tables, lut16.scale[:1], LUT16, false)
		}},
		{"lut8", rows * cols, func() bool {
			return asmLUT(dst[:rows], w[:l.Bytes()], lut8.tables, lut8.scale[:cols/lut8Cols], LUT8, false)
		}},
		{"groupmax", cols, func() bool { _, n := asmGroupMax(x); return first(n) }},
		{"tables16", cols, func() bool { return first(asmTables(lut16.tables, x, 1, LUT16)) }},
		{"tables8", cols, func() bool { return first(asmTables(lut8.tables, x, 1, LUT8)) }},
		{"maxabs", cols, func() bool { _, n := asmMaxAbs(x); return first(n) }},
		{"quantize", cols, func() bool { return first(asmQuantize(q, x, 1)) }},
		{"int8", rows * cols, func() bool { return asmI8(dst[:rows], w[:rows*cols], scale, q) }},
		{"int4", rows * cols, func() bool { return asmI4(dst[:rows], w[:rows*cols/2], scale4, q) }},
		{"f32", rows * cols, func() bool { return asmDense(dst[:rows], w[:4*rows*cols], F32, x) }},
		{"f16", rows * cols, func() bool { return asmDense(dst[:rows], w[:2*rows*cols], F16, x) }},
		{"bf16", rows * cols, func() bool { return asmDense(dst[:rows], w[:2*rows*cols], BF16, x) }},
		{"state", headdim * dState, func() bool {
			return asmState(dst[:headdim], state, x[:headdim], y[:dState], x[:dState], 0.5, 0.5, 1)
		}},
		{"statef16", headdim * dState, func() bool {
			return asmStateF16(dst[:headdim], half, x[:headdim], y[:dState], x[:dState], 0.5, 0.5, 1)
		}},
		{"dot", cols, func() bool { return first(asmDot(&sums, x, y)) }},
		{"sum", cols, func() bool { return first(asmSum(&sums, x)) }},
		{"scale", cols, func() bool { return first(asmScale(dst, x, 2)) }},
		{"mul", cols, func() bool { return first(asmMul(dst, x, y)) }},
		{"add", cols, func() bool { return first(asmAdd(dst, x, y)) }},
		{"addscalar", cols, func() bool { return first(asmAddScalar(dst, x, 2)) }},
		{"muladd", cols, func() bool { return first(asmMulAdd(dst, x, y)) }},
		{"exp", cols, func() bool { return first(asmExp(dst, x)) }},
		{"softplus", cols, func() bool { return first(asmSoftplus(dst, x)) }},
		{"silu", cols, func() bool { return first(asmSiLU(dst, x)) }},
		{"read", rows * cols, func() bool { _, n := asmRead(w[:rows*cols]); return n == rows*cols }},
	} {
		for range repeat {
			if !k.run() {
				t.Errorf("%s: the %s kernels leave something to do", k.name, kernels)
			}
		}
		fmt.Printf("icount: %s %d\n", k.name, repeat*k.elements)
	}
}
