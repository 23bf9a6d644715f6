package layout

import (
	"bytes"
	"math"
	"testing"
)

func TestQuantizeI8(t *testing.T) {
	for _, c := range []struct {
		row   []float32
		scale float32
		want  []int8
	}{
		{nil, 0, nil},
		{[]float32{0, 0}, 0, []int8{0, 0}},
		{[]float32{127, -127, 1, 0.5, 1.5, 2.5, -0.5, -1.5}, 1, []int8{127, -127, 1, 0, 2, 2, 0, -2}},
		{[]float32{-254, 3}, 2, []int8{-127, 2}},
		{[]float32{0x1p-149, -0x1p-148}, 0, []int8{0, 0}},
	} {
		q := make([]int8, len(c.row)+1)
		q[len(c.row)] = 99
		if s := QuantizeI8(q, c.row); s != c.scale || !bytes.Equal(asBytes(q), append(asBytes(c.want), 99)) {
			t.Errorf("%v: scale %v and %v, want %v and %v", c.row, s, q[:len(c.row)], c.scale, c.want)
		}
	}
	// Every element comes back within half a step, in the full range of magnitudes.
	for exp := -140; exp <= 120; exp++ {
		row := make([]float32, 300)
		for i := range row {
			row[i] = float32(math.Ldexp(math.Sin(float64(i)), exp))
		}
		q := make([]int8, len(row))
		s := QuantizeI8(q, row)
		for i, v := range row {
			// A scale that is itself a subnormal number is coarse: half a unit of it spoils up to 127 halves.
			limit := float64(s)/2*(1+1e-6) + 127*0x1p-150
			if d := math.Abs(float64(q[i])*float64(s) - float64(v)); d > limit || q[i] == -128 {
				t.Fatalf("2^%d: %v became %d * %v, off by %v", exp, v, q[i], s, d)
			}
		}
	}
}

func asBytes(q []int8) []byte {
	b := make([]byte, len(q))
	for i, v := range q {
		b[i] = byte(v)
	}
	return b
}
