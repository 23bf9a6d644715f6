package neon

import (
	"math"
	"unsafe"
)

// I8MatVecExact writes rows row0 to row1-1 of the product of the row-major 8-bit matrix w, (rows, len(x)), whose row r is scaled by scale[r], and x:
// scale[r] times Dot of the row's integers and x. Calls for different rows may run at once.
func I8MatVecExact(dst []float32, w []byte, scale, x []float32, row0, row1 int) {
	var buf [chunk]float32
	for r := row0; r < row1; r++ {
		row := w[r*len(x):][:len(x)]
		var l lanes
		for i := 0; i < len(x); i += chunk {
			part := buf[:min(chunk, len(x)-i)]
			for j, b := range row[i:][:len(part)] {
				part[j] = float32(int8(b))
			}
			l.add(part, x[i:])
		}
		dst[r] = scale[r] * l.sum()
	}
}

const (
	// q14Top is the largest integer of a Q14.
	q14Top = 8191
	// asmCols bounds the columns that a kernel adds up in 32-bit lanes: at least 4 lanes of products up to 128*8191 stay below 2^31.
	asmCols = 8192
)

// Q14 is the input of I8MatVec and I4MatVec: x as integers of 14 bits with one scale.
//
// With amax = max|x|: q = round(fl(x*fl(8191/amax))), ties to even, scale = fl(amax/8191).
// An amax below 2^-100 gives zeros and a scale of 0, NaN or Inf zeros and a scale of NaN.
//
// Beside q there is what a kernel without wide products takes: hi = (q+64)>>7 and lo = q-128*hi, which fit 8 bits, and for each
// four of q the sum -8*(q0+q1+q2+q3), which makes products with 4-bit weights 0 to 15 those of weights -8 to 7.
type Q14 struct {
	q      []int16
	hi, lo []int8
	shift  []int32
	n      int // elements in use
	scale  float32
}

// q14Room is n rounded up to a cache line of int8.
func q14Room(n int) int { return (n + 63) &^ 63 }

// Q14Size is the bytes that NewQ14 takes for vectors of up to n elements.
func Q14Size(n int) int64 { return 5 * int64(q14Room(n)) }

// NewQ14 makes room for vectors of up to n elements in mem, Q14Size(n) bytes aligned to 64.
func NewQ14(mem []byte, n int) *Q14 {
	mem = mem[:Q14Size(n)]
	room := q14Room(n)
	if room == 0 {
		return &Q14{}
	}
	p := unsafe.Pointer(unsafe.SliceData(mem))
	return &Q14{
		q:     unsafe.Slice((*int16)(p), room),
		hi:    unsafe.Slice((*int8)(unsafe.Add(p, 2*room)), room),
		lo:    unsafe.Slice((*int8)(unsafe.Add(p, 3*room)), room),
		shift: unsafe.Slice((*int32)(unsafe.Add(p, 4*room)), room/4),
	}
}

// Quantize prepares x.
func (q *Q14) Quantize(x []float32) {
	q.n = len(x)
	amax := largest(x)
	var inv float32
	if !finite(amax) || amax < tiny {
		q.scale = amax0(amax)
	} else {
		inv, q.scale = q14Top/amax, amax/q14Top
	}
	done := 0
	if inv != 0 {
		done = asmQuantize(q, x, inv)
	}
	for i := done; i < len(x); i++ {
		var k int32
		if inv != 0 {
			k = roundEven(x[i] * inv)
		}
		hi := (k + 64) >> 7
		q.q[i], q.hi[i], q.lo[i] = int16(k), int8(hi), int8(k-128*hi)
	}
	for i := done / 4; i < len(x)/4; i++ {
		f := (*[4]int16)(q.q[4*i:])
		q.shift[i] = -8 * (int32(f[0]) + int32(f[1]) + int32(f[2]) + int32(f[3]))
	}
}

// largest is the largest |x[i]|, or NaN if x holds one: without their signs, floats compare as their bits do, and a NaN is the largest.
func largest(x []float32) float32 {
	top, n := asmMaxAbs(x)
	for _, v := range x[n:] {
		top = max(top, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(top)
}

// I8MatVec writes rows row0 to row1-1 of the product of the row-major 8-bit matrix w, whose row r is scaled by scale[r], and the prepared input.
// With the integer sum T of w*q and q's scale s:
//
//	dst[r] = fl(scale[r] * fl(s * float32(T)))
//
// Calls for different rows may run at once.
func I8MatVec(dst []float32, w []byte, scale []float32, q *Q14, row0, row1 int) {
	n := q.n
	dst, w, scale = dst[row0:row1], w[row0*n:row1*n], scale[row0:row1]
	if len(dst) == 0 || n > 0 && n <= asmCols && asmI8(dst, w, scale, q) {
		return
	}
	for r := range dst {
		dst[r] = scale[r] * float32(q.scale*float32(dotI8(w[r*n:][:n], q.q[:n])))
	}
}

// dotI8 is the sum of the signed bytes of w times x. x is as long as w.
func dotI8(w []byte, x []int16) int64 {
	var s0, s1, s2, s3 int64
	for len(w) >= 8 && len(x) >= 8 {
		a, b := (*[8]byte)(w), (*[8]int16)(x)
		s0 += int64(int8(a[0]))*int64(b[0]) + int64(int8(a[4]))*int64(b[4])
		s1 += int64(int8(a[1]))*int64(b[1]) + int64(int8(a[5]))*int64(b[5])
		s2 += int64(int8(a[2]))*int64(b[2]) + int64(int8(a[6]))*int64(b[6])
		s3 += int64(int8(a[3]))*int64(b[3]) + int64(int8(a[7]))*int64(b[7])
		w, x = w[8:], x[8:]
	}
	for i, b := range w {
		s0 += int64(int8(b)) * int64(x[i])
	}
	return s0 + s1 + s2 + s3
}

// I8Row writes scale times row r of the row-major 8-bit matrix w, (rows, len(dst)), to dst.
func I8Row(dst []float32, w []byte, scale float32, r int) {
	for i, b := range w[r*len(dst):][:len(dst)] {
		dst[i] = scale * float32(int8(b))
	}
}
