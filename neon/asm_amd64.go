//go:build !purego && !noasm

package neon

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"bimamba/neon/layout"
)

// Kernels in assembly for amd64. contract.go says what each has to do; the files *_amd64.s, written by gen/amd64, how they do it.

// The sets of kernels.
const (
	nameAVX2   = "avx2"
	nameAVX512 = "avx512"
)

// active tells whether any of them is in use, whether it is the second, and whether this takes the forms with VNNI of those kernels that have one.
var active struct{ asm, avx512, vnni bool }

func asmKernels() (names []string) {
	x := &cpu.X86
	if !x.HasAVX2 || !x.HasF16C {
		return nil
	}
	names = append(names, nameAVX2)
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL {
		names = append(names, nameAVX512)
	}
	return names
}

func asmUse(name string) {
	active.asm, active.avx512 = name != Portable, name == nameAVX512
	active.vnni = active.avx512 && cpu.X86.HasAVX512VNNI
}

// asmPrefetch: the distances of these are in gen/amd64.
func asmPrefetch() bool { return false }

// rounds is how many of n elements the kernels do, which take 16 at a time.
func rounds(n int) int {
	if !active.asm {
		return 0
	}
	return n &^ 15
}

// lutLines is how many lines the 16-bit sums of a LUT hold: their bytes are 254 at most.
const lutLines = 65535 / 254

func asmLUT(dst []float32, lines, tables []byte, scale []float32, f Form, add bool) bool {
	n, tiles := len(tables)/f.line(), len(dst)/layout.TileRows
	unit := min(n, f.unit(8*n)/8)
	if !active.asm || unit > lutLines || tiles == 0 {
		return false
	}
	d, l, t, s := unsafe.SliceData(dst), unsafe.SliceData(lines), unsafe.SliceData(tables), unsafe.SliceData(scale)
	switch {
	case f == LUT8 && active.avx512:
		lut8AVX512(d, l, t, s, n, unit, tiles, add)
	case f == LUT8:
		lut8AVX2(d, l, t, s, n, unit, tiles, add)
	case active.avx512:
		lut16AVX512(d, l, t, s, n, unit, tiles, add)
	default:
		lut16AVX2(d, l, t, s, n, unit, tiles, add)
	}
	return true
}

func asmGroupMax(x []float32) (bits uint32, n int) {
	switch n = rounds(len(x)); {
	case n == 0:
	case active.avx512:
		bits = groupMaxAVX512(&x[0], n)
	default:
		bits = groupMaxAVX2(&x[0], n)
	}
	return bits, n
}

func asmTables(tables []byte, x []float32, inv float32, f Form) int {
	n := rounds(len(x))
	switch {
	case n == 0:
	case f == LUT8 && active.avx512:
		tables8AVX512(&tables[0], &x[0], n, inv)
	case f == LUT8:
		tables8AVX2(&tables[0], &x[0], n, inv)
	case active.avx512:
		tables16AVX512(&tables[0], &x[0], n, inv)
	default:
		tables16AVX2(&tables[0], &x[0], n, inv)
	}
	return n
}

func asmMaxAbs(x []float32) (bits uint32, n int) {
	switch n = rounds(len(x)); {
	case n == 0:
	case active.avx512:
		bits = maxAbsAVX512(&x[0], n)
	default:
		bits = maxAbsAVX2(&x[0], n)
	}
	return bits, n
}

func asmQuantize(q *Q14, x []float32, inv float32) int {
	n := rounds(len(x))
	switch {
	case n == 0:
	case active.avx512:
		quantizeAVX512(&q.q[0], &q.hi[0], &q.lo[0], &q.shift[0], &x[0], n, inv)
	default:
		quantizeAVX2(&q.q[0], &q.hi[0], &q.lo[0], &q.shift[0], &x[0], n, inv)
	}
	return n
}

func asmI8(dst []float32, w []byte, scale []float32, q *Q14) bool {
	switch {
	case !active.asm || q.n%64 != 0:
		return false
	case active.vnni:
		int8VNNIAVX512(&dst[0], &w[0], &scale[0], &q.q[0], len(dst), q.n, q.scale)
	case active.avx512:
		int8AVX512(&dst[0], &w[0], &scale[0], &q.q[0], len(dst), q.n, q.scale)
	default:
		int8AVX2(&dst[0], &w[0], &scale[0], &q.q[0], len(dst), q.n, q.scale)
	}
	return true
}

func asmI4(dst []float32, w, scale []byte, q *Q14) bool {
	if !active.asm || q.n%64 != 0 {
		return false
	}
	if !active.vnni {
		return arrangedI4(dst, w, scale, q)
	}
	int4VNNIAVX512(&dst[0], &w[0], &scale[0], &q.hi[0], &q.lo[0], &q.shift[0], len(dst), q.n, q.scale)
	return true
}

// int4Cols is the most columns that the 4-bit kernels without VNNI take: what they need of the Q14, arranged for them, is on the stack.
const int4Cols = 4096

func arrangedI4(dst []float32, w, scale []byte, q *Q14) bool {
	if q.n > int4Cols {
		return false
	}
	var room [3*int4Cols + 64]byte
	scratch := &room[-uintptr(unsafe.Pointer(&room))&63] // on a cache line
	switch {
	case !active.avx512:
		int4AVX2(&dst[0], &w[0], &scale[0], &q.hi[0], &q.lo[0], &q.shift[0], scratch, len(dst), q.n, q.scale)
	case q.n%128 == 0:
		int4AVX512(&dst[0], &w[0], &scale[0], &q.hi[0], &q.lo[0], &q.shift[0], scratch, len(dst), q.n, q.scale)
	default:
		return false
	}
	return true
}

func asmDense(dst []float32, w []byte, elem Elem, x []float32) bool {
	if !active.asm || len(x)%16 != 0 {
		return false
	}
	d, m, v, rows, n := &dst[0], &w[0], &x[0], len(dst), len(x)
	switch {
	case elem == F32 && active.avx512:
		denseF32AVX512(d, m, v, rows, n)
	case elem == F32:
		denseF32AVX2(d, m, v, rows, n)
	case elem == F16 && active.avx512:
		denseF16AVX512(d, m, v, rows, n)
	case elem == F16:
		denseF16AVX2(d, m, v, rows, n)
	case active.avx512:
		denseBF16AVX512(d, m, v, rows, n)
	default:
		denseBF16AVX2(d, m, v, rows, n)
	}
	return true
}

func asmDot(l *lanes, x, y []float32) int {
	n := rounds(len(x))
	switch {
	case n == 0:
	case active.avx512:
		dotAVX512(&l[0], &x[0], &y[0], n)
	default:
		dotAVX2(&l[0], &x[0], &y[0], n)
	}
	return n
}

func asmSum(l *lanes, x []float32) int {
	n := rounds(len(x))
	switch {
	case n == 0:
	case active.avx512:
		sumAVX512(&l[0], &x[0], n)
	default:
		sumAVX2(&l[0], &x[0], n)
	}
	return n
}

func asmScale(dst, x []float32, k float32) int {
	n := rounds(len(dst))
	switch {
	case n == 0:
	case active.avx512:
		scaleAVX512(&dst[0], &x[0], n, k)
	default:
		scaleAVX2(&dst[0], &x[0], n, k)
	}
	return n
}

func asmMul(dst, x, y []float32) int {
	n := rounds(len(dst))
	switch {
	case n == 0:
	case active.avx512:
		mulAVX512(&dst[0], &x[0], &y[0], n)
	default:
		mulAVX2(&dst[0], &x[0], &y[0], n)
	}
	return n
}

func asmAdd(dst, x, y []float32) int {
	n := rounds(len(dst))
	switch {
	case n == 0:
	case active.avx512:
		addAVX512(&dst[0], &x[0], &y[0], n)
	default:
		addAVX2(&dst[0], &x[0], &y[0], n)
	}
	return n
}

func asmAddScalar(dst, x []float32, k float32) int {
	n := rounds(len(dst))
	switch {
	case n == 0:
	case active.avx512:
		addScalarAVX512(&dst[0], &x[0], n, k)
	default:
		addScalarAVX2(&dst[0], &x[0], n, k)
	}
	return n
}

func asmMulAdd(dst, x, y []float32) int {
	n := rounds(len(dst))
	switch {
	case n == 0:
	case active.avx512:
		mulAddAVX512(&dst[0], &x[0], &y[0], n)
	default:
		mulAddAVX2(&dst[0], &x[0], &y[0], n)
	}
	return n
}

func asmExp(dst, x []float32) int {
	n := rounds(len(dst))
	switch {
	case n == 0:
	case active.avx512:
		expAVX512(&dst[0], &x[0], n)
	default:
		expAVX2(&dst[0], &x[0], n)
	}
	return n
}

func asmSoftplus(dst, x []float32) int {
	n := rounds(len(dst))
	switch {
	case n == 0:
	case active.avx512:
		softplusAVX512(&dst[0], &x[0], n)
	default:
		softplusAVX2(&dst[0], &x[0], n)
	}
	return n
}

func asmSiLU(dst, x []float32) int {
	n := rounds(len(dst))
	switch {
	case n == 0:
	case active.avx512:
		siluAVX512(&dst[0], &x[0], n)
	default:
		siluAVX2(&dst[0], &x[0], n)
	}
	return n
}

// fits tells whether the state kernels take rows of n elements.
func fits(rows, n int) bool {
	return active.asm && rows > 0 && rows%4 == 0 && n > 0 && n%16 == 0
}

func asmState(y, s, x, b, c []float32, da, dt, d float32) bool {
	switch {
	case !fits(len(y), len(b)):
		return false
	case active.avx512:
		stateAVX512(&y[0], &s[0], &x[0], &b[0], &c[0], len(y), len(b), da, dt, d)
	default:
		stateAVX2(&y[0], &s[0], &x[0], &b[0], &c[0], len(y), len(b), da, dt, d)
	}
	return true
}

func asmStateF16(y []float32, s []uint16, x, b, c []float32, da, dt, d float32) bool {
	switch {
	case !fits(len(y), len(b)):
		return false
	case active.avx512:
		stateF16AVX512(&y[0], &s[0], &x[0], &b[0], &c[0], len(y), len(b), da, dt, d)
	default:
		stateF16AVX2(&y[0], &s[0], &x[0], &b[0], &c[0], len(y), len(b), da, dt, d)
	}
	return true
}

func asmRead(b []byte) (x uint64, n int) {
	switch n = len(b) &^ 255; {
	case !active.asm || n == 0:
		return 0, 0
	case active.avx512:
		x = readAVX512(&b[0], n)
	default:
		x = readAVX2(&b[0], n)
	}
	return x, n
}

// The prototypes: shapes are written (rows, columns), and none of them is empty.

// dst is (64*tiles), w (tiles, lines, 64), tables (lines, 64), scale (1), unit lines.
//
//go:noescape
func lut16AVX2(dst *float32, w, tables *byte, scale *float32, lines, unit, tiles int, add bool)

//go:noescape
func lut16AVX512(dst *float32, w, tables *byte, scale *float32, lines, unit, tiles int, add bool)

// dst is (64*tiles), w (tiles, lines, 64), tables (lines, 32), scale one for every unit lines.
//
//go:noescape
func lut8AVX2(dst *float32, w, tables *byte, scale *float32, lines, unit, tiles int, add bool)

//go:noescape
func lut8AVX512(dst *float32, w, tables *byte, scale *float32, lines, unit, tiles int, add bool)

// tables is (n/8, 64), x (n), n a multiple of 16.
//
//go:noescape
func tables16AVX2(tables *byte, x *float32, n int, inv float32)

//go:noescape
func tables16AVX512(tables *byte, x *float32, n int, inv float32)

// tables is (n/8, 32), x (n), n a multiple of 16.
//
//go:noescape
func tables8AVX2(tables *byte, x *float32, n int, inv float32)

//go:noescape
func tables8AVX512(tables *byte, x *float32, n int, inv float32)

// x is (n), n a multiple of 16.
//
//go:noescape
func maxAbsAVX2(x *float32, n int) uint32

//go:noescape
func maxAbsAVX512(x *float32, n int) uint32

// x is (n), n a multiple of 16.
//
//go:noescape
func groupMaxAVX2(x *float32, n int) uint32

//go:noescape
func groupMaxAVX512(x *float32, n int) uint32

// q, hi, lo and x are (n), shift (n/4), n a multiple of 16.
//
//go:noescape
func quantizeAVX2(q *int16, hi, lo *int8, shift *int32, x *float32, n int, inv float32)

//go:noescape
func quantizeAVX512(q *int16, hi, lo *int8, shift *int32, x *float32, n int, inv float32)

// dst and scale are (rows), w (rows, n), q (n), n a multiple of 64, at most asmCols; s is the scale of q.
//
//go:noescape
func int8AVX2(dst *float32, w *byte, scale *float32, q *int16, rows, n int, s float32)

//go:noescape
func int8AVX512(dst *float32, w *byte, scale *float32, q *int16, rows, n int, s float32)

//go:noescape
func int8VNNIAVX512(dst *float32, w *byte, scale *float32, q *int16, rows, n int, s float32)

// dst is (rows), w (rows, n/2), scale (rows, n/32), hi and lo (n), shift (n/4), scratch (3*n), n a multiple of 64 (AVX2) or 128 (AVX-512); s is the scale of q.
//
//go:noescape
func int4AVX2(dst *float32, w, scale *byte, hi, lo *int8, shift *int32, scratch *byte, rows, n int, s float32)

//go:noescape
func int4AVX512(dst *float32, w, scale *byte, hi, lo *int8, shift *int32, scratch *byte, rows, n int, s float32)

// dst is (rows), w (rows, n/2), scale (rows, n/32), hi and lo (n), shift (n/4), n a multiple of 64; s is the scale of q.
//
//go:noescape
func int4VNNIAVX512(dst *float32, w, scale *byte, hi, lo *int8, shift *int32, rows, n int, s float32)

// dst is (rows), w (rows, n), x (n), n a multiple of 16.
//
//go:noescape
func denseF32AVX2(dst *float32, w *byte, x *float32, rows, n int)

//go:noescape
func denseF32AVX512(dst *float32, w *byte, x *float32, rows, n int)

//go:noescape
func denseF16AVX2(dst *float32, w *byte, x *float32, rows, n int)

//go:noescape
func denseF16AVX512(dst *float32, w *byte, x *float32, rows, n int)

//go:noescape
func denseBF16AVX2(dst *float32, w *byte, x *float32, rows, n int)

//go:noescape
func denseBF16AVX512(dst *float32, w *byte, x *float32, rows, n int)

// lanes is (16), x and y (n), n a multiple of 16.
//
//go:noescape
func dotAVX2(lanes, x, y *float32, n int)

//go:noescape
func dotAVX512(lanes, x, y *float32, n int)

//go:noescape
func sumAVX2(lanes, x *float32, n int)

//go:noescape
func sumAVX512(lanes, x *float32, n int)

// dst, x and y are (n), n a multiple of 16.
//
//go:noescape
func scaleAVX2(dst, x *float32, n int, k float32)

//go:noescape
func scaleAVX512(dst, x *float32, n int, k float32)

//go:noescape
func addScalarAVX2(dst, x *float32, n int, k float32)

//go:noescape
func addScalarAVX512(dst, x *float32, n int, k float32)

//go:noescape
func mulAVX2(dst, x, y *float32, n int)

//go:noescape
func mulAVX512(dst, x, y *float32, n int)

//go:noescape
func addAVX2(dst, x, y *float32, n int)

//go:noescape
func addAVX512(dst, x, y *float32, n int)

//go:noescape
func mulAddAVX2(dst, x, y *float32, n int)

//go:noescape
func mulAddAVX512(dst, x, y *float32, n int)

// dst and x are (n), n a multiple of 16.
//
//go:noescape
func expAVX2(dst, x *float32, n int)

//go:noescape
func expAVX512(dst, x *float32, n int)

//go:noescape
func softplusAVX2(dst, x *float32, n int)

//go:noescape
func softplusAVX512(dst, x *float32, n int)

//go:noescape
func siluAVX2(dst, x *float32, n int)

//go:noescape
func siluAVX512(dst, x *float32, n int)

// y and x are (rows), s (rows, n), b and c (n), rows a multiple of 4, n of 16.
//
//go:noescape
func stateAVX2(y, s, x, b, c *float32, rows, n int, da, dt, d float32)

//go:noescape
func stateAVX512(y, s, x, b, c *float32, rows, n int, da, dt, d float32)

//go:noescape
func stateF16AVX2(y *float32, s *uint16, x, b, c *float32, rows, n int, da, dt, d float32)

//go:noescape
func stateF16AVX512(y *float32, s *uint16, x, b, c *float32, rows, n int, da, dt, d float32)

// b is (n), n a multiple of 256.
//
//go:noescape
func readAVX2(b *byte, n int) uint64

//go:noescape
func readAVX512(b *byte, n int) uint64
