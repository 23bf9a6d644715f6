package neon

import (
	"encoding/binary"
	"math"

	"bimamba/neon/layout"
)

// Elem is the element type of a row-major matrix, little-endian.
type Elem int

// Element types.
const (
	F32 Elem = iota
	F16
	BF16
)

// chunk is how many elements of a row are decoded at a time, a multiple of the 16 lanes.
const chunk = 256

// MatVec writes rows row0 to row1-1 of the product of the row-major matrix w and x: each is a reduction in 16 lanes.
func MatVec(dst []float32, w []byte, elem Elem, x []float32, row0, row1 int) {
	size := 2
	if elem == F32 {
		size = 4
	}
	for r := row0; r < row1; r++ {
		dst[r] = rowDot(w[r*len(x)*size:][:len(x)*size], elem, size, x)
	}
}

func rowDot(w []byte, elem Elem, size int, x []float32) float32 {
	var l lanes
	var buf [chunk]float32
	for len(x) > 0 {
		n := min(len(x), chunk)
		row := buf[:n]
		switch elem {
		case F32:
			layout.DecodeF32(row, w[:4*n])
		case F16:
			layout.DecodeF16(row, w[:2*n])
		case BF16:
			layout.DecodeBF16(row, w[:2*n])
		}
		part := x[:n]
		for i, v := range row {
			l[i&15] += float32(v * part[i])
		}
		w, x = w[size*n:], x[n:]
	}
	return l.sum()
}

// I8MatVecExact writes rows row0 to row1-1 of the product of the row-major 8-bit matrix w, whose row r is scaled by scale[r], and x:
// scale[r] times a reduction in 16 lanes.
func I8MatVecExact(dst []float32, w []byte, scale, x []float32, row0, row1 int) {
	for r := row0; r < row1; r++ {
		row := w[r*len(x):][:len(x)]
		var l lanes
		for i, q := range row {
			l[i&15] += float32(float32(int8(q)) * x[i])
		}
		dst[r] = scale[r] * l.sum()
	}
}

// Q14 is the input of I8MatVec: x as integers of 14 bits, q = 128*hi + lo, with one scale.
//
// With amax = max|x|: q = round(fl(x*fl(8191/amax))), ties to even, scale = fl(amax/8191); hi = (q+64)>>7 and lo = q-128*hi both fit 8 bits.
// An amax below 2^-100 gives zeros, NaN or Inf a scale of NaN.
type Q14 struct {
	hi, lo []int8
	n      int
	scale  float32
}

// Q14Size is the bytes that NewQ14 takes for vectors of up to n elements.
func Q14Size(n int) int64 { return 2 * int64((n+63)&^63) }

// NewQ14 makes room for vectors of up to n elements in mem, Q14Size(n) bytes.
func NewQ14(mem []byte, n int) *Q14 {
	b := int8s(mem[:Q14Size(n)])
	return &Q14{hi: b[:len(b)/2], lo: b[len(b)/2:]}
}

// Quantize prepares x.
func (q *Q14) Quantize(x []float32) {
	q.n = len(x)
	hi, lo := q.hi[:len(x)], q.lo[:len(x)]
	amax := largest(x)
	if !finite(amax) || amax < tiny {
		clear(hi)
		clear(lo)
		q.scale = amax - amax // 0 or NaN
		return
	}
	const top = 8191
	inv := top / amax
	for i, v := range x {
		k := roundEven(v * inv)
		h := (k + 64) >> 7
		hi[i], lo[i] = int8(h), int8(k-128*h)
	}
	q.scale = amax / top
}

// I8MatVec writes rows row0 to row1-1 of the product of the row-major 8-bit matrix w, whose row r is scaled by scale[r], and the prepared input.
// With the integer sums H of w*hi and L of w*lo: dst[r] = fl(scale[r] * fl(s * fl(fl(128*H) + L))).
func I8MatVec(dst []float32, w []byte, scale []float32, q *Q14, row0, row1 int) {
	hi, lo := q.hi[:q.n], q.lo[:q.n]
	for r := row0; r < row1; r++ {
		row := w[r*q.n:][:q.n]
		var h, l int32
		for i, b := range row {
			v := int32(int8(b))
			h += v * int32(hi[i])
			l += v * int32(lo[i])
		}
		dst[r] = scale[r] * float32(q.scale*(float32(128*float32(h))+float32(l)))
	}
}

// Row writes row r of the row-major matrix w to dst.
func Row(dst []float32, w []byte, elem Elem, r int) {
	switch n := len(dst); elem {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(w[4*(r*n+i):]))
		}
	case F16:
		layout.DecodeF16(dst, w[2*r*n:][:2*n])
	case BF16:
		layout.DecodeBF16(dst, w[2*r*n:][:2*n])
	}
}

// I8Row writes scale times row r of the row-major 8-bit matrix w to dst.
func I8Row(dst []float32, w []byte, scale float32, r int) {
	for i, b := range w[r*len(dst):][:len(dst)] {
		dst[i] = scale * float32(int8(b))
	}
}
