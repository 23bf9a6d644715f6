package main

var stateFile = file{"state_arm64.s", stateDoc + `
Two rows of 16 elements take 56 instructions, 40 of them float32 operations.
`, func(a *asm) {
	a.text("func stateRows(y, s, x, b, c *float32, rows, n, ahead int, da, dt, d float32)")
	state(a, 4)
}}

var stateF16File = file{"statef16_arm64.s", stateDoc + `
Two rows of 16 elements take 68 instructions, 40 of them float32 operations and 16 conversions from and to binary16.
`, func(a *asm) {
	a.text("func stateRowsF16(y *float32, s *uint16, x, b, c *float32, rows, n, ahead int, da, dt, d float32)")
	state(a, 2)
}}

const stateDoc = `
Two rows p and p+1 of a head's state at a time, 16 elements each: b and c are loaded once for both.

  R0 y    R1 row p    R2 x    R3 b    R4 c    R5 rows left    R6 row p+1    R7 b and R8 c in use    R9 elements left    R10 n    R11 bytes of a row
  R12 bytes to prefetch ahead
  V0-V3 lanes 0-15 of y[p], V4-V7 of y[p+1]    V8 da    V9 V10 dt*x    V11 dt    V12-V15 b, then its products    V16-V19 c
  V20-V27 the state    V28-V31 products; at the end of a row d

Every stage works on 8 registers, so that an in-order core does not wait for the one before.
`

// state is the body of both: size is the bytes of an element.
func state(a *asm, size int) {
	a.load("MOVD", "y", "R0")
	a.load("MOVD", "s", "R1")
	a.load("MOVD", "x", "R2")
	a.load("MOVD", "b", "R3")
	a.load("MOVD", "c", "R4")
	a.load("MOVD", "rows", "R5")
	a.load("MOVD", "n", "R10")
	a.load("MOVD", "ahead", "R12")
	a.load("MOVWU", "da", "R6")
	a.dup(8, "R6")
	a.load("MOVWU", "dt", "R6")
	a.dup(11, "R6")
	a.op("LSL $%d, R10, R11", size/2)
	a.label("rows")
	a.op("VLD1R (R2), [V9.S4]")
	a.op("ADD $4, R2, R6")
	a.op("VLD1R (R6), [V10.S4]")
	a.fmul(9, 9, 11)
	a.fmul(10, 10, 11)
	a.op("ADD R11, R1, R6")
	a.op("MOVD R3, R7")
	a.op("MOVD R4, R8")
	a.op("MOVD R10, R9")
	for v := range V(8) {
		a.zero(v)
	}
	a.label("loop")
	load := func(v V, base string) {
		a.ldp(v+2, v+3, 32, base)
		a.ldpP(v, v+1, 64, base)
	}
	if size == 4 {
		load(20, "R1")
		load(24, "R6")
	} else {
		a.ldpP(20, 22, 32, "R1")
		a.ldpP(24, 26, 32, "R6")
	}
	load(12, "R7")
	load(16, "R8")
	a.op("SUBS $16, R9, R9")
	a.prefetchW(1, 12)
	a.prefetchW(6, 12)
	if size == 2 {
		for v := V(20); v < 28; v += 2 {
			a.fcvtl2(v+1, v)
		}
		for v := V(20); v < 28; v += 2 {
			a.fcvtl(v, v)
		}
	}
	for v := range V(8) {
		a.fmul(20+v, 20+v, 8)
	}
	for v := range V(4) {
		a.fmul(28+v, 12+v, 9)
	}
	for v := range V(4) {
		a.fmul(12+v, 12+v, 10)
	}
	for v := range V(4) {
		a.fadd(20+v, 20+v, 28+v)
	}
	for v := range V(4) {
		a.fadd(24+v, 24+v, 12+v)
	}
	if size == 2 {
		for v := V(0); v < 4; v += 2 {
			a.fcvtn(28+v, 20+v)
			a.fcvtn(12+v, 24+v)
		}
		for v := V(0); v < 4; v += 2 {
			a.fcvtn2(28+v, 21+v)
			a.fcvtn2(12+v, 25+v)
		}
	}
	for v := V(0); v < 8; v += 2 {
		if size == 4 {
			a.stp(20+v, 21+v, int(v%4*16)-64, [2]string{"R1", "R6"}[v/4])
		}
		a.fmul(20+v, 20+v, 16+v%4)
		a.fmul(21+v, 21+v, 17+v%4)
	}
	for v := range V(8) {
		a.fadd(v, v, 20+v)
	}
	if size == 2 {
		a.stp(28, 30, -32, "R1")
		a.stp(12, 14, -32, "R6")
	}
	a.op("BNE loop")
	a.load("MOVWU", "d", "R7")
	a.dup(28, "R7")
	sums(a, 2)
	a.op("FMOVD.P 8(R2), F1")
	a.fmul(1, 1, 28)
	a.fadd(0, 0, 1)
	a.op("FMOVD.P F0, 8(R0)")
	a.op("MOVD R6, R1")
	a.op("SUBS $2, R5, R5")
	a.op("BNE rows")
	a.op("RET")
}

// sums adds up the lanes of 2 or 4 accumulators, V0-V3, V4-V7 ..., in the order of doc.go, and leaves the sums in V0.
func sums(a *asm, n int) {
	streams := each(n, func(i int) {
		v := V(4 * i)
		a.fadd(v, v, v+2)
		a.fadd(v+1, v+1, v+3)
		a.fadd(v, v, v+1)
	})
	a.mix(streams...)
	a.mix(each(n/2, func(i int) {
		v := V(8 * i)
		a.zip1("D2", v+1, v, v+4)
		a.zip2("D2", v, v, v+4)
		a.fadd(v, v+1, v)
	})...)
	a.faddp(0, 0, V(8*(n/2-1)))
}
