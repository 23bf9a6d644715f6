package layout

import "math"

// QuantizeI8 writes row as 8-bit integers: scale = max|row|/127, q = row/scale rounded half to even.
// A row of zeros has scale 0. row must hold no NaN or Inf.
func QuantizeI8(q []int8, row []float32) (scale float32) {
	var top float32
	for _, v := range row {
		top = max(top, float32(math.Abs(float64(v))))
	}
	scale = top / 127
	if scale == 0 { // zeros, or numbers whose 127th part is none
		clear(q[:len(row)])
		return 0
	}
	for i, v := range row {
		r := math.RoundToEven(float64(v) / float64(scale))
		q[i] = int8(max(-127, min(127, r)))
	}
	return scale
}
