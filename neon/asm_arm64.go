//go:build !purego && !noasm

package neon

import (
	"golang.org/x/sys/cpu"

	"bimamba/neon/layout"
)

// Kernels in assembly for arm64. contract.go says what each has to do.
//
// They need ASIMD only, which every arm64 CPU has; that of 8-bit weights has a form with SDOT beside.

const neonKernels = "neon"

var (
	useNEON bool
	useSDOT bool
)

func asmKernels() []string { return []string{neonKernels} }

func asmUse(name string) {
	useNEON = name == neonKernels
	useSDOT = useNEON && cpu.ARM64.HasASIMDDP
}

func asmPrefetch() bool { return useNEON }

// ahead is the distance of SetPrefetch.
func ahead() int { return int(prefetchAhead.Load()) }

// rounds is the first n elements that a kernel does, which takes them by size, a power of two.
func rounds(n, size int) int {
	if !useNEON {
		return 0
	}
	return n &^ (size - 1)
}

// lutLines is the most lines of a unit that a kernel adds up in 16 bits.
const lutLines = 256

func asmLUT(dst []float32, lines, tables []byte, scale []float32, f Form, add bool) bool {
	n := len(tables) / f.line()
	if !useNEON || f == LUT16 && n > lutLines {
		return false
	}
	if f == LUT16 {
		lut16(&dst[0], &lines[0], &tables[0], len(dst)/64, n, ahead(), scale[0], add)
	} else {
		lut8(&dst[0], &lines[0], &tables[0], &scale[0], len(dst)/64, n, ahead(), add)
	}
	return true
}

func asmGroupMax(x []float32) (bits uint32, n int) {
	if n = rounds(len(x), 16); n > 0 {
		bits = groupMax16(&x[0], n)
	}
	return bits, n
}

func asmTables(tables []byte, x []float32, inv float32, f Form) int {
	n := rounds(len(x), 16)
	if n > 0 && f == LUT16 {
		tables16(&tables[0], &x[0], n, inv)
	} else if n > 0 {
		tables8(&tables[0], &x[0], n, inv)
	}
	return n
}

func asmMaxAbs(x []float32) (bits uint32, n int) {
	if n = rounds(len(x), 16); n > 0 {
		bits = maxAbs16(&x[0], n)
	}
	return bits, n
}

func asmQuantize(q *Q14, x []float32, inv float32) int {
	n := rounds(len(x), 16)
	if n > 0 {
		quantize16(&q.q[0], &q.hi[0], &q.lo[0], &q.shift[0], &x[0], n, inv)
	}
	return n
}

// The kernels below take 4 or 2 rows at a time. Of those that are left, each is done by itself, in place of all of them: a stride of 0.

func asmI8(dst []float32, w []byte, scale []float32, q *Q14) bool {
	if !useNEON || q.n%32 != 0 {
		return false
	}
	for r := 0; r < len(dst); r += 4 {
		if len(dst)-r >= 4 {
			i8Rows(&dst[r], &w[r*q.n], q.n, &scale[r], q)
			continue
		}
		for r := r; r < len(dst); r++ {
			s, y := [4]float32{scale[r]}, [4]float32{}
			i8Rows(&y[0], &w[r*q.n], 0, &s[0], q)
			dst[r] = y[0]
		}
	}
	return true
}

func i8Rows(dst *float32, w *byte, stride int, scale *float32, q *Q14) {
	if useSDOT {
		i8dot4(dst, w, stride, scale, &q.hi[0], &q.lo[0], q.n, ahead(), q.scale)
	} else {
		i8x4(dst, w, stride, scale, &q.q[0], q.n, ahead(), q.scale)
	}
}

func asmI4(dst []float32, w, scale []byte, q *Q14) bool {
	if !useNEON || q.n%64 != 0 {
		return false
	}
	rowBytes, scaleBytes := layout.I4RowBytes(q.n), 2*layout.I4Groups(q.n)
	for r := 0; r < len(dst); r += 2 {
		if len(dst)-r >= 2 {
			i4x2(&dst[r], &w[r*rowBytes], rowBytes, &scale[r*scaleBytes], scaleBytes, &q.q[0], q.n, ahead(), q.scale)
		} else {
			var y [2]float32
			i4x2(&y[0], &w[r*rowBytes], 0, &scale[r*scaleBytes], 0, &q.q[0], q.n, ahead(), q.scale)
			dst[r] = y[0]
		}
	}
	return true
}

func asmDense(dst []float32, w []byte, elem Elem, x []float32) bool {
	if !useNEON || len(x)%16 != 0 {
		return false
	}
	rowBytes := len(x) * elem.size()
	for r := 0; r < len(dst); r += 4 {
		if len(dst)-r >= 4 {
			denseRows(&dst[r], &w[r*rowBytes], rowBytes, elem, x)
			continue
		}
		for r := r; r < len(dst); r++ {
			var y [4]float32
			denseRows(&y[0], &w[r*rowBytes], 0, elem, x)
			dst[r] = y[0]
		}
	}
	return true
}

func denseRows(dst *float32, w *byte, stride int, elem Elem, x []float32) {
	switch elem {
	case F32:
		denseF32x4(dst, w, stride, &x[0], len(x))
	case F16:
		denseF16x4(dst, w, stride, &x[0], len(x))
	case BF16:
		denseBF16x4(dst, w, stride, &x[0], len(x))
	}
}

func asmDot(l *lanes, x, y []float32) int {
	n := rounds(len(x), 16)
	if n > 0 {
		dot16(&l[0], &x[0], &y[0], n)
	}
	return n
}

func asmSum(l *lanes, x []float32) int {
	n := rounds(len(x), 16)
	if n > 0 {
		sum16(&l[0], &x[0], n)
	}
	return n
}

func asmScale(dst, x []float32, k float32) int {
	n := rounds(len(dst), 16)
	if n > 0 {
		scale16(&dst[0], &x[0], n, k)
	}
	return n
}

func asmMul(dst, x, y []float32) int {
	n := rounds(len(dst), 16)
	if n > 0 {
		mul16(&dst[0], &x[0], &y[0], n)
	}
	return n
}

func asmAdd(dst, x, y []float32) int {
	n := rounds(len(dst), 16)
	if n > 0 {
		add16(&dst[0], &x[0], &y[0], n)
	}
	return n
}

func asmAddScalar(dst, x []float32, k float32) int {
	n := rounds(len(dst), 16)
	if n > 0 {
		addScalar16(&dst[0], &x[0], n, k)
	}
	return n
}

func asmMulAdd(dst, x, y []float32) int {
	n := rounds(len(dst), 16)
	if n > 0 {
		mulAdd16(&dst[0], &x[0], &y[0], n)
	}
	return n
}

func asmExp(dst, x []float32) int {
	n := rounds(len(dst), 16)
	if n > 0 {
		exp16(&dst[0], &x[0], n)
	}
	return n
}

func asmSoftplus(dst, x []float32) int {
	n := rounds(len(dst), 8)
	if n > 0 {
		softplus8(&dst[0], &x[0], n)
	}
	return n
}

func asmSiLU(dst, x []float32) int {
	n := rounds(len(dst), 16)
	if n > 0 {
		silu16(&dst[0], &x[0], n)
	}
	return n
}

// stateShape tells whether the kernels advance rows of n elements: an even number of rows, n a multiple of 16.
func stateShape(rows, n int) bool { return useNEON && rows%2 == 0 && n%16 == 0 && rows > 0 && n > 0 }

func asmState(y, s, x, b, c []float32, da, dt, d float32) bool {
	if !stateShape(len(y), len(b)) {
		return false
	}
	stateRows(&y[0], &s[0], &x[0], &b[0], &c[0], len(y), len(b), ahead(), da, dt, d)
	return true
}

func asmStateF16(y []float32, s []uint16, x, b, c []float32, da, dt, d float32) bool {
	if !stateShape(len(y), len(b)) {
		return false
	}
	stateRowsF16(&y[0], &s[0], &x[0], &b[0], &c[0], len(y), len(b), ahead(), da, dt, d)
	return true
}

func asmRead(b []byte) (x uint64, n int) {
	if n = rounds(len(b), 128); n > 0 {
		x = readXor(&b[0], n, ahead())
	}
	return x, n
}

// The counts n below are never 0. A number in a name is what they are multiples of. ahead is the distance of SetPrefetch.

// lut16 and lut8 are asmLUT for tiles of n lines, up to lutLines for lut16.

//go:noescape
func lut16(dst *float32, lines, tables *byte, tiles, n, ahead int, scale float32, add bool)

//go:noescape
func lut8(dst *float32, lines, tables *byte, scale *float32, tiles, n, ahead int, add bool)

// groupMax16 is asmGroupMax, and maxAbs16 asmMaxAbs, of n elements.

//go:noescape
func groupMax16(x *float32, n int) uint32

//go:noescape
func maxAbs16(x *float32, n int) uint32

// tables16 and tables8 write the tables of n columns, 64 or 32 bytes for every 8, in the forms LUT16 and LUT8.

//go:noescape
func tables16(tables *byte, x *float32, n int, inv float32)

//go:noescape
func tables8(tables *byte, x *float32, n int, inv float32)

// quantize16 writes n integers, their halves, and n/4 shifts.
//
//go:noescape
func quantize16(q *int16, hi, lo *int8, shift *int32, x *float32, n int, inv float32)

// i8x4 and i8dot4 write 4 rows of an 8-bit matrix times n integers, n a multiple of 32 up to asmCols; stride is the bytes of a row, s the input's scale.

//go:noescape
func i8x4(dst *float32, w *byte, stride int, scale *float32, q *int16, n, ahead int, s float32)

//go:noescape
func i8dot4(dst *float32, w *byte, stride int, scale *float32, hi, lo *int8, n, ahead int, s float32)

// i4x2 writes 2 rows of a 4-bit matrix times n integers, n a multiple of 64; scaleStride is the bytes of a row's scales.
//
//go:noescape
func i4x2(dst *float32, w *byte, stride int, scale *byte, scaleStride int, q *int16, n, ahead int, s float32)

// denseF32x4, denseF16x4 and denseBF16x4 write 4 rows of a matrix times n elements, n a multiple of 16.

//go:noescape
func denseF32x4(dst *float32, w *byte, stride int, x *float32, n int)

//go:noescape
func denseF16x4(dst *float32, w *byte, stride int, x *float32, n int)

//go:noescape
func denseBF16x4(dst *float32, w *byte, stride int, x *float32, n int)

// dot16 and sum16 add n products or elements to the 16 lanes l.

//go:noescape
func dot16(l *float32, x, y *float32, n int)

//go:noescape
func sum16(l *float32, x *float32, n int)

// Of n elements each:

//go:noescape
func scale16(dst, x *float32, n int, k float32)

//go:noescape
func mul16(dst, x, y *float32, n int)

//go:noescape
func add16(dst, x, y *float32, n int)

//go:noescape
func addScalar16(dst, x *float32, n int, k float32)

//go:noescape
func mulAdd16(dst, x, y *float32, n int)

//go:noescape
func exp16(dst, x *float32, n int)

//go:noescape
func silu16(dst, x *float32, n int)

//go:noescape
func softplus8(dst, x *float32, n int)

// stateRows and stateRowsF16 are asmState and asmStateF16 for an even number of rows of n elements, n a multiple of 16.

//go:noescape
func stateRows(y, s, x, b, c *float32, rows, n, ahead int, da, dt, d float32)

//go:noescape
func stateRowsF16(y *float32, s *uint16, x, b, c *float32, rows, n, ahead int, da, dt, d float32)

// readXor is the exclusive or of n bytes in words of 8, n a multiple of 128.
//
//go:noescape
func readXor(b *byte, n, ahead int) uint64

// asmLUTPair leaves tokens to asmLUT: what two could share, AND and USHR, is 4 of 21 instructions, and their sums do not fit the registers.
func asmLUTPair(dst0, dst1 []float32, lines, tables0, tables1 []byte, scale0, scale1 []float32, f Form, add bool) bool {
	return false
}
