package neon

import "unsafe"

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
	// packedRun is how many elements are added in packed form: sums of up to 64*128 an element stay below 2^31, and so apart.
	packedRun = 1 << 17
)

// Q14 is the input of I8MatVec: x as integers of 14 bits, q = 128*hi + lo, with one scale.
//
// With amax = max|x|: q = round(fl(x*fl(8191/amax))), ties to even, scale = fl(amax/8191); hi = (q+64)>>7 and lo = q-128*hi both fit 8 bits.
// An amax below 2^-100 gives zeros and a scale of 0, NaN or Inf zeros and a scale of NaN.
type Q14 struct {
	packed []int64 // hi<<32 + lo: one product with a weight feeds both sums
	n      int     // elements in use
	scale  float32
}

// Q14Size is the bytes that NewQ14 takes for vectors of up to n elements.
func Q14Size(n int) int64 { return 8 * int64(n) }

// NewQ14 makes room for vectors of up to n elements in mem, Q14Size(n) bytes aligned to 8.
func NewQ14(mem []byte, n int) *Q14 {
	mem = mem[:Q14Size(n)]
	return &Q14{packed: unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(mem))), n)}
}

// Quantize prepares x.
func (q *Q14) Quantize(x []float32) {
	q.n = len(x)
	packed := q.packed[:len(x)]
	amax := largest(x)
	if !finite(amax) || amax < tiny {
		clear(packed)
		q.scale = amax0(amax)
		return
	}
	inv := q14Top / amax
	for i, v := range x {
		k := int64(roundEven(v * inv))
		hi := (k + 64) >> 7
		packed[i] = hi<<32 + (k - 128*hi)
	}
	q.scale = amax / q14Top
}

// largest is the largest |x[i]|, or NaN if x holds one.
func largest(x []float32) float32 {
	var top float32
	for _, v := range x {
		if v = abs(v); !(v <= top) {
			top = v
			if v != v {
				break
			}
		}
	}
	return top
}

// I8MatVec writes rows row0 to row1-1 of the product of the row-major 8-bit matrix w, whose row r is scaled by scale[r], and the prepared input.
// With the integer sums H of w*hi and L of w*lo:
//
//	dst[r] = fl(scale[r] * fl(s * fl(fl(128*float32(H)) + float32(L))))
//
// Calls for different rows may run at once.
func I8MatVec(dst []float32, w []byte, scale []float32, q *Q14, row0, row1 int) {
	for r := row0; r < row1; r++ {
		row, x := w[r*q.n:][:q.n], q.packed[:q.n]
		var high, low int64
		for len(row) > 0 {
			n := min(len(row), packedRun)
			sum := dotI8(row[:n], x[:n])
			l := int64(int32(sum))
			low += l
			high += (sum - l) >> 32
			row, x = row[n:], x[n:]
		}
		dst[r] = scale[r] * float32(q.scale*(float32(128*float32(high))+float32(low)))
	}
}

// dotI8 is the sum of the signed bytes of w times x. x is as long as w.
func dotI8(w []byte, x []int64) int64 {
	var s0, s1, s2, s3 int64
	for len(w) >= 8 && len(x) >= 8 {
		a, b := (*[8]byte)(w), (*[8]int64)(x)
		s0 += int64(int8(a[0]))*b[0] + int64(int8(a[4]))*b[4]
		s1 += int64(int8(a[1]))*b[1] + int64(int8(a[5]))*b[5]
		s2 += int64(int8(a[2]))*b[2] + int64(int8(a[6]))*b[6]
		s3 += int64(int8(a[3]))*b[3] + int64(int8(a[7]))*b[7]
		w, x = w[8:], x[8:]
	}
	for i, b := range w {
		s0 += int64(int8(b)) * x[i]
	}
	return s0 + s1 + s2 + s3
}

// I8Row writes scale times row r of the row-major 8-bit matrix w, (rows, len(dst)), to dst.
func I8Row(dst []float32, w []byte, scale float32, r int) {
	for i, b := range w[r*len(dst):][:len(dst)] {
		dst[i] = scale * float32(int8(b))
	}
}
