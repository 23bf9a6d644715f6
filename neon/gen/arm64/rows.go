package main

import "fmt"

// Products of row-major matrices: as many rows at a time as share the loads of the input well.

// rowPointers leaves the addresses of n rows in R10, R11 ...
func rowPointers(a *asm, n int) {
	a.load("MOVD", "w", "R10")
	a.load("MOVD", "stride", "R2")
	for r := 1; r < n; r++ {
		a.op("ADD R2, R%d, R%d", 9+r, 10+r)
	}
}

func row(r int) string { return fmt.Sprintf("R%d", 10+r) }

var int8File = file{"int8_arm64.s", `
Four rows of signed bytes times integers of 14 bits.

  R0 dst    R2 bytes of a row    R3 scales    R4 q or hi    R5 lo    R6 columns left, a multiple of 32 and not 0    R7 bytes to prefetch ahead
  R10-R13 rows    V0-V7 sums, 2 registers a row    V8-V11 the input    V12-V19 weights, 2 registers a row    V20-V27 weights in 16 bits

i8x4 sums in lanes of 32 bits what stays below 2^31 up to 8192 columns; i8dot4 sums the products of the halves in V0-V3 and V4-V7. 32 columns of 4
rows take 60 and 28 instructions.
`, func(a *asm) {
	a.text("func i8x4(dst *float32, w *byte, stride int, scale *float32, q *int16, n, ahead int, s float32)")
	a.load("MOVD", "q", "R4")
	int8Start(a)
	a.label("loop")
	a.ldp(10, 11, 32, "R4")
	a.ldpP(8, 9, 64, "R4")
	int8Weights(a)
	for half := range V(2) {
		a.mix(each(4, func(r int) {
			v, w := V(2*r), 12+V(2*r)+half
			a.sshllB(20+v, w, 0)
			a.sshll2B(21+v, w, 0)
			a.smlalH(v, 20+v, 8+2*half)
			a.smlal2H(v+1, 20+v, 8+2*half)
			a.smlalH(v, 21+v, 9+2*half)
			a.smlal2H(v+1, 21+v, 9+2*half)
		})...)
	}
	a.op("BNE loop")
	int8End(a, func(r int) {
		v := V(2 * r)
		a.saddlpS(v, v)
		a.sadalpS(v, v+1)
		a.addpD(v, v)
		a.op("FMOVD F%d, R%d", v, 10+r)
	})

	a.text("func i8dot4(dst *float32, w *byte, stride int, scale *float32, hi, lo *int8, n, ahead int, s float32)")
	a.load("MOVD", "hi", "R4")
	a.load("MOVD", "lo", "R5")
	int8Start(a)
	a.label("loop")
	a.ldpP(8, 9, 32, "R4")
	a.ldpP(10, 11, 32, "R5")
	int8Weights(a)
	for half := range V(2) {
		for v := range V(8) {
			a.sdot(v, 12+2*(v%4)+half, 8+2*(v/4)+half)
		}
	}
	a.op("BNE loop")
	int8End(a, func(r int) {
		v := V(r)
		a.saddlpS(v, v)
		a.saddlpS(4+v, 4+v)
		a.addpD(v, v)
		a.addpD(4+v, 4+v)
		a.op("FMOVD F%d, R%d", v, 10+r)
		a.op("FMOVD F%d, R%d", 4+v, 4+r)
		a.op("ADD R%d<<7, R%d, R%d", 10+r, 4+r, 10+r)
	})
}}

func int8Start(a *asm) {
	a.load("MOVD", "dst", "R0")
	a.load("MOVD", "scale", "R3")
	a.load("MOVD", "n", "R6")
	a.load("MOVD", "ahead", "R7")
	rowPointers(a, 4)
	for v := range V(8) {
		a.zero(v)
	}
}

func int8Weights(a *asm) {
	for r := range 4 {
		a.ldpP(V(12+2*r), V(13+2*r), 32, row(r))
	}
	a.op("SUBS $32, R6, R6")
	for r := range 4 {
		a.prefetch(R(10+r), 7)
	}
}

// int8End scales the sums, which sum leaves in R10 to R13.
func int8End(a *asm, sum func(r int)) {
	a.mix(each(4, sum)...)
	a.load("FMOVS", "s", "F16")
	a.mix(each(4, func(r int) {
		a.op("SCVTFS R%d, F%d", 10+r, r)
		a.op("FMOVS %d(R3), F%d", 4*r, 4+r)
		a.op("FMULS F16, F%d, F%d", r, r)
		a.op("FMULS F%d, F%d, F%d", 4+r, r, r)
		a.op("FMOVS F%d, %d(R0)", r, 4*r)
	})...)
	a.op("RET")
}

var int4File = file{"int4_arm64.s", `
Two rows of 4-bit weights + 8 times integers of 14 bits. A group of 32 columns has 16 bytes in a row, 8 units of 16 bits, and a scale. A unit's
halves of bytes are 4 columns: they are moved to its top, one by one, with a sign, as 4096*weight. VLD4 parts the integers in the same way, so
that a lane of 32 bits is the sum of the 4 products, below 2^31, and the conversion takes the 4096 out.

  R0 dst    R2 bytes of a row    R3 scales of row 0, R7 of row 1    R4 integers    R6 columns left, a multiple of 64 and not 0    R9 bytes to prefetch ahead
  R10 R11 rows
  V0-V3 lanes of row 0, V4-V7 of row 1    V8-V11 integers of a group, columns 0 1 2 3 of 4    V12 0x88 a byte    V13 0xf000 a unit
  V16-V22 of row 0 and V24-V30 of row 1: weights of columns 0 3 2 1, sums of columns 0-15 and 16-31, scales    V14 V15 weights of the second group

64 columns of 2 rows take 98 instructions.
`, func(a *asm) {
	a.text("func i4x2(dst *float32, w *byte, stride int, scale *byte, scaleStride int, q *int16, n, ahead int, s float32)")
	a.load("MOVD", "dst", "R0")
	a.load("MOVD", "scale", "R3")
	a.load("MOVD", "scaleStride", "R7")
	a.op("ADD R3, R7")
	a.load("MOVD", "q", "R4")
	a.load("MOVD", "n", "R6")
	a.load("MOVD", "ahead", "R9")
	rowPointers(a, 2)
	for v := range V(8) {
		a.zero(v)
	}
	a.movi(12, 0x88)
	a.op("MOVD $0xf000, R8")
	a.op("VDUP R8, V13.H8")
	a.label("loop")
	a.op("ADD $64, R4, R5")
	a.op("VLD4 (R4), [V8.H8, V9.H8, V10.H8, V11.H8]")
	a.op("ADD $128, R4")
	a.ldpP(16, 14, 32, "R10")
	a.ldpP(24, 15, 32, "R11")
	a.op("FMOVS.P 4(R3), F22")
	a.op("FMOVS.P 4(R7), F30")
	a.op("SUBS $64, R6, R6")
	a.prefetch(10, 9)
	a.prefetch(11, 9)
	a.fcvtl(22, 22)
	a.fcvtl(30, 30)
	for g := range 2 {
		if g == 1 {
			a.op("VLD4 (R5), [V8.H8, V9.H8, V10.H8, V11.H8]")
		}
		a.mix(each(2, func(r int) {
			lane, w := V(4*r+2*g), V(16+8*r)
			p, q, scale := w+4, w+5, w+6
			weights := [4]V{w, w + 3, w + 2, w + 1} // of columns 0 to 3
			from := w
			if g == 1 {
				from = V(14 + r)
			}
			a.eor(w, from, 12)
			a.and(weights[3], w, 13)
			a.shl("H8", weights[2], w, 4)
			a.shl("H8", weights[1], w, 8)
			a.shl("H8", w, w, 12)
			a.smullH(p, weights[3], 11)
			a.and(weights[2], weights[2], 13)
			a.smull2H(q, weights[3], 11)
			a.and(weights[1], weights[1], 13)
			for _, c := range []V{0, 2, 1} {
				a.smlalH(p, weights[c], 8+c)
				a.smlal2H(q, weights[c], 8+c)
			}
			a.scvtf12(p, p)
			a.scvtf12(q, q)
			a.fmulLane(p, p, scale, g)
			a.fmulLane(q, q, scale, g)
			a.fadd(lane, lane, p)
			a.fadd(lane+1, lane+1, q)
		})...)
	}
	a.op("BNE loop")
	sums(a, 2)
	a.load("MOVWU", "s", "R4")
	a.dup(1, "R4")
	a.fmul(0, 0, 1)
	a.op("FMOVD F0, (R0)")
	a.op("RET")
}}

// dense is the product of 4 rows and x; weights leaves 16 elements in registers w to w+3.
func dense(name, elem string, weights func(a *asm, w V, from string)) file {
	return file{name, `
Four rows of ` + elem + ` times x, in 16 lanes each.

  R0 dst    R2 bytes of a row    R3 x    R6 columns left, a multiple of 16 and not 0    R10-R13 rows
  V0-V15 lanes, 4 registers a row    V16-V19 x    V20-V31 weights, then products
`, func(a *asm) {
		a.text("func dense" + elem + "x4(dst *float32, w *byte, stride int, x *float32, n int)")
		a.load("MOVD", "dst", "R0")
		a.load("MOVD", "x", "R3")
		a.load("MOVD", "n", "R6")
		rowPointers(a, 4)
		for v := range V(16) {
			a.zero(v)
		}
		a.label("loop")
		a.ldp(18, 19, 32, "R3")
		a.ldpP(16, 17, 64, "R3")
		a.op("SUBS $16, R6, R6")
		for r := 0; r < 4; r += 2 {
			a.mix(each(2, func(i int) {
				lane, w := V(4*(r+i)), V(20+4*((r+i)%3))
				weights(a, w, row(r+i))
				for v := range V(4) {
					a.fmul(w+v, w+v, 16+v)
				}
				for v := range V(4) {
					a.fadd(lane+v, lane+v, w+v)
				}
			})...)
		}
		a.op("BNE loop")
		sums(a, 4)
		a.str(0, 0, "R0")
		a.op("RET")
	}}
}

var denseF32File = dense("densef32_arm64.s", "F32", func(a *asm, w V, from string) {
	a.ldp(w+2, w+3, 32, from)
	a.ldpP(w, w+1, 64, from)
})

var denseF16File = dense("densef16_arm64.s", "F16", func(a *asm, w V, from string) {
	a.ldpP(w, w+2, 32, from)
	a.fcvtl2(w+1, w)
	a.fcvtl2(w+3, w+2)
	a.fcvtl(w, w)
	a.fcvtl(w+2, w+2)
})

var denseBF16File = dense("densebf16_arm64.s", "BF16", func(a *asm, w V, from string) {
	a.ldpP(w, w+2, 32, from)
	a.shll2(w+1, w)
	a.shll2(w+3, w+2)
	a.shll(w, w)
	a.shll(w+2, w+2)
})
