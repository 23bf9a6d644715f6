package neon

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"bimamba/neon/layout"
)

// naiveI4 is a row of I4MatVec. weights are its elements -8 to 7, scales those of its groups.
func naiveI4(weights []int, scales []float32, x []float32) float32 {
	q, s := naiveQ14(x)
	var lane [16]float32
	for i := 0; i < len(q); i += 4 {
		p, g := 0, i/32
		for j := i; j < min(i+4, len(q)); j++ {
			p += q[j] * weights[j]
		}
		lane[g%2*8+i%32/4] += float32(scales[g] * float32(p))
	}
	for _, n := range []int{8, 4, 2, 1} {
		for j := 0; j < n; j++ {
			lane[j] += lane[j+n]
		}
	}
	return s * lane[0]
}

func TestI4MatVec(t *testing.T) { eachKernel(t, testI4MatVec) }

func testI4MatVec(t *testing.T) {
	n := noise(13)
	for _, cols := range append(widths, 64, 128, 192, 512, 1536, 4160) {
		for _, rows := range []int{1, 5, 9} {
			groups, rowBytes := layout.I4Groups(cols), layout.I4RowBytes(cols)
			w, scale := n.bytes(rows*rowBytes), make([]byte, 2*rows*groups+1)[1:]
			layout.EncodeF16(scale, n.floats(rows*groups))
			for i := range rowBytes {
				w[(rows-1)*rowBytes+i] = 0 // the last row: -8 throughout
			}
			q := newQ14(cols + 3)
			for _, a := range activations {
				x := make([]float32, cols+1)[1:]
				a.fill(&n, x)
				q.Quantize(x)
				dst := fresh(rows)
				I4MatVec(dst, w, scale, q, 1, rows)
				compare(t, fmt.Sprintf("%d x %d, %s", rows, cols, a.name), dst, func(r int) float32 {
					weights, scales := make([]int, cols), make([]float32, groups)
					for i := range weights {
						weights[i] = int(w[r*rowBytes+i/2]>>(4*(i%2))&15) - 8
					}
					for g := range scales {
						scales[g] = layout.F16ToF32(binary.LittleEndian.Uint16(scale[2*(r*groups+g):]))
					}
					return naiveI4(weights, scales, x)
				}, 1, rows)
			}
		}
	}
}

// TestI4Row reads back what the layout writes, within half a step.
func TestI4Row(t *testing.T) {
	n := noise(14)
	for _, cols := range []int{1, 31, 32, 33, 512} {
		row := n.floats(cols)
		q, half := make([]byte, layout.I4RowBytes(cols)), make([]uint16, layout.I4Groups(cols))
		layout.QuantizeI4(q, half, row)
		scale, got := make([]byte, 2*len(half)), make([]float32, cols)
		for g, h := range half {
			binary.LittleEndian.PutUint16(scale[2*g:], h)
		}
		I4Row(got, q, scale, 0)
		for i, v := range got {
			step := math.Abs(float64(layout.F16ToF32(half[i/layout.I4Group])))
			// The end of the range without a value (8 steps) is clamped to 7.
			if d := math.Abs(float64(v - row[i])); d > 1.01*step || d > 0.51*step && math.Abs(float64(row[i])) < 7*step {
				t.Errorf("%d columns: element %d is %v, was %v, a step is %v", cols, i, v, row[i], step)
			}
		}
	}
}
