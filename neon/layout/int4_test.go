package layout

import (
	"bytes"
	"math"
	"math/big"
	"testing"
)

// quantizeI4Exactly is QuantizeI4 in rational numbers, but for the scale of a group, which F32ToF16's own test covers.
func quantizeI4Exactly(row []float32) (values []int, scales []float32) {
	for len(row) > 0 {
		part := row[:min(len(row), 32)]
		row = row[len(part):]
		top := float32(0)
		for _, v := range part {
			if max(v, -v) > max(top, -top) {
				top = v
			}
		}
		scale := F16ToF32(F32ToF16(-top / 8))
		scales = append(scales, scale)
		for i := range 32 {
			if i >= len(part) || scale == 0 {
				values = append(values, 0)
				continue
			}
			x := new(big.Rat).Quo(new(big.Rat).SetFloat64(float64(part[i])), new(big.Rat).SetFloat64(float64(scale)))
			best, distance := 0, new(big.Rat)
			for v := -8; v <= 7; v++ {
				d := new(big.Rat).Sub(x, big.NewRat(int64(v), 1))
				d.Abs(d)
				if c := d.Cmp(distance); v == -8 || c < 0 || c == 0 && v%2 == 0 {
					best, distance = v, d
				}
			}
			values = append(values, best)
		}
	}
	return values, scales
}

// dequantizeI4 is the values -8 to 7 of the n elements that q holds, padding included.
func dequantizeI4(q []byte) []int {
	v := make([]int, 0, 2*len(q))
	for _, b := range q {
		v = append(v, int(b&15)-8, int(b>>4)-8)
	}
	return v
}

// checkI4 quantizes row and compares with the exact one, bit by bit but for the sign of a scale 0.
func checkI4(t *testing.T, row []float32) (values []int, scales []float32) {
	t.Helper()
	bytesOf, groups := I4RowBytes(len(row)), I4Groups(len(row))
	q, s := bytes.Repeat([]byte{0xa5}, bytesOf+1), make([]uint16, groups+1)
	s[groups] = 0xa5a5
	QuantizeI4(q, s, row)
	if q[bytesOf] != 0xa5 || s[groups] != 0xa5a5 {
		t.Fatalf("%d elements: it wrote behind the end", len(row))
	}
	want, wantScales := quantizeI4Exactly(row)
	values = dequantizeI4(q[:bytesOf])
	for g, h := range s[:groups] {
		if scales = append(scales, F16ToF32(h)); scales[g] != wantScales[g] {
			t.Fatalf("%d elements: group %d has scale %v, not %v", len(row), g, scales[g], wantScales[g])
		}
	}
	for i, v := range values {
		if v != want[i] {
			t.Fatalf("%d elements: element %d is %d, not %d (scale %v)", len(row), i, v, want[i], scales[i/32])
		}
	}
	return values, scales
}

func TestI4Sizes(t *testing.T) {
	for _, c := range []struct{ cols, groups, bytes int }{{0, 0, 0}, {1, 1, 16}, {31, 1, 16}, {32, 1, 16}, {33, 2, 32}, {64, 2, 32}, {2560, 80, 1280}} {
		if g, b := I4Groups(c.cols), I4RowBytes(c.cols); g != c.groups || b != c.bytes {
			t.Errorf("%d columns: %d groups and %d bytes, not %d and %d", c.cols, g, b, c.groups, c.bytes)
		}
	}
}

func TestQuantizeI4(t *testing.T) {
	sub := float32(0x1p-24) // the smallest binary16
	for _, c := range []struct {
		name  string
		row   []float32
		scale float32
		want  []int // the elements behind them are 0
	}{
		{"zeros", []float32{0, float32(math.Copysign(0, -1))}, 0, nil},
		{"one", []float32{3}, -0.375, []int{-8}},
		{"all values", []float32{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}, 1, []int{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}},
		{"ties", []float32{-8, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 6.5, -7.5}, 1, []int{-8, 0, 2, 2, 0, -2, -2, 6, -8}},
		{"no 8", []float32{-8, 8, 7.5, 7.25}, 1, []int{-8, 7, 7, 7}},
		{"the first of the largest", []float32{1, 8, -8}, -1, []int{-1, -8, 7}},
		{"subnormal scale", []float32{-8 * sub, 3 * sub, 7 * sub}, sub, []int{-8, 3, 7}},
		{"scale rounded up", []float32{-5 * sub, 2 * sub}, sub, []int{-5, 2}},
		{"scale rounded down", []float32{-11 * sub, 2 * sub}, sub, []int{-8, 2}},
		{"scale rounded to 0", []float32{-4 * sub, 2 * sub}, 0, nil},
		{"smallest", []float32{0x1p-149, -0x1p-149}, 0, nil},
		{"largest", []float32{8 * 65504, 1}, -65504, []int{-8, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			values, scales := checkI4(t, c.row)
			if len(scales) != 1 || scales[0] != c.scale {
				t.Errorf("scales %v, not %v", scales, c.scale)
			}
			for i, v := range values {
				if want := append(c.want, make([]int, 32)...)[i]; v != want {
					t.Errorf("element %d is %d, not %d", i, v, want)
				}
			}
		})
	}
	// What has no scale has Inf; the caller refuses it.
	s := make([]uint16, 1)
	if QuantizeI4(make([]byte, 16), s, []float32{-8 * 65520}); s[0] != 0x7c00 {
		t.Errorf("%v has scale %#04x", -8*65520, s[0])
	}
}

// TestQuantizeI4Range has elements come back within half a step in the full range of scales, groups of their own scale and rows of every padding.
func TestQuantizeI4Range(t *testing.T) {
	for exp := -30; exp <= 18; exp++ {
		for _, n := range []int{0, 1, 31, 32, 33, 64, 65, 100} {
			row := make([]float32, n)
			for i := range row {
				row[i] = float32(math.Ldexp(math.Sin(float64(7*i+exp)), exp-i/32))
			}
			values, scales := checkI4(t, row)
			for i, v := range values {
				if i >= n {
					if v != 0 {
						t.Fatalf("2^%d, %d elements: padding element %d is %d", exp, n, i, v)
					}
					continue
				}
				step, x := float64(scales[i/32]), float64(row[i])
				// The scale lies within its own rounding of an 8th of the largest magnitude; an element of the other sign is clamped at 7 steps.
				limit := math.Abs(step)/2 + 8*max(math.Abs(step)*0x1p-11, 0x1p-25)
				if x/step > 7.5 {
					limit += math.Abs(step) / 2
				}
				if d := math.Abs(float64(v)*step - x); d > limit {
					t.Fatalf("2^%d, %d elements: %v became %d * %v, off by %v", exp, n, x, v, step, d)
				}
			}
		}
	}
}
