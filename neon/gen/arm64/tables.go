package main

var tablesFile = file{"tables_arm64.s", `
The tables of 16 columns at a time: 4 groups, one a lane. The 8 sums with -x3 are computed, the others are their negatives in reverse order.

  R0 tables    R1 x    R2 columns left, a multiple of 16 and not 0
  V0-V3 x0 x1 x2 x3 of 4 groups    V4 x0+x1    V5 x0-x1    V6 -x2-x3    V7 x2-x3
  V16-V23 entries 0-7, a lane a group; then V16-V19 those of a group in 16 bits each    V20-V23 entries 8-15    V24-V27 low and V0-V3 high halves
  V28 inv    V29 127    V30 64
`, func(a *asm) {
	a.text("func tables16(tables *byte, x *float32, n int, inv float32)")
	tables(a, func(g V) {
		e, r, lo, hi := 16+g, 20+g, 24+g, g
		a.uzp1("B16", lo, e, r)
		a.shrn(hi, e, 7)
		a.and(lo, lo, 29)
		a.shrn2(hi, r, 7)
		a.add("B16", hi, hi, 30)
		a.stp(lo, hi, int(32*g), "R0")
	}, 128)
	a.text("func tables8(tables *byte, x *float32, n int, inv float32)")
	tables(a, func(g V) {
		a.uzp1("B16", 24+g, 16+g, 20+g)
		a.add("B16", 24+g, 24+g, 30)
		a.str(24+g, int(16*g), "R0")
	}, 64)
}}

// tables is the loop of both; group makes the tables of a group, of all bytes.
func tables(a *asm, group func(g V), bytes int) {
	a.load("MOVD", "tables", "R0")
	a.load("MOVD", "x", "R1")
	a.load("MOVD", "n", "R2")
	a.load("MOVWU", "inv", "R3")
	a.dup(28, "R3")
	a.movi(29, 127)
	a.movi(30, 64)
	a.label("loop")
	a.op("VLD4.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]")
	a.op("SUBS $16, R2, R2")
	a.fadd(6, 2, 3)
	a.fadd(4, 0, 1)
	a.fsub(5, 0, 1)
	a.fsub(7, 2, 3)
	a.fneg(6, 6)
	for i := range V(2) { // +x2 and -x2 - x3
		e, last := 20-4*i, 7-i
		a.fsub(e, last, 4)
		a.fadd(e+1, last, 5)
		a.fsub(e+2, last, 5)
		a.fadd(e+3, last, 4)
	}
	for v := V(16); v < 24; v++ {
		a.fmul(v, v, 28)
	}
	for v := V(16); v < 24; v++ {
		a.fcvtns(v, v)
	}
	a.note("Two entries a lane of 32 bits, then the lanes transposed.")
	for v := V(16); v < 24; v += 2 {
		a.op("VSLI $16, V%d.S4, V%d.S4", v+1, v)
	}
	a.zip1("S4", 0, 16, 20)
	a.zip1("S4", 1, 18, 22)
	a.zip2("S4", 2, 16, 20)
	a.zip2("S4", 3, 18, 22)
	for g := V(0); g < 4; g += 2 {
		a.zip1("S4", 16+g, g, g+1)
		a.zip2("S4", 17+g, g, g+1)
	}
	a.mix(each(4, func(i int) {
		g := V(i)
		a.negH(20+g, 16+g)
		a.rev64(20+g, 20+g)
		a.ext(20+g, 20+g, 20+g, 8)
		group(g)
	})...)
	a.op("ADD $%d, R0", bytes)
	a.op("BNE loop")
	a.op("RET")
}

var quantizeFile = file{"quantize_arm64.s", `
The largest of floats without a sign is that of their bits, and a NaN is the largest.

  R0 q    R1 hi    R2 lo    R3 shift    R4 x    R5 elements left, a multiple of 16 and not 0
  V0-V3 x, then its integers    V4-V7 sums of |x| or of integers    V16 V17 the largest, or q    V18 hi    V19 lo    V20 inv
`, func(a *asm) {
	largest := func(values func()) {
		a.load("MOVD", "x", "R4")
		a.load("MOVD", "n", "R5")
		a.zero(16)
		a.zero(17)
		a.label("loop")
		a.ldp(2, 3, 32, "R4")
		a.ldpP(0, 1, 64, "R4")
		a.op("SUBS $16, R5, R5")
		for v := range V(4) {
			a.fabs(v, v)
		}
		values()
		a.op("BNE loop")
		a.umax(16, 16, 17)
		a.umaxv(16, 16)
		a.op("FMOVS F16, R4")
		a.op("MOVW R4, %s", a.arg("ret"))
		a.op("RET")
	}
	a.text("func groupMax16(x *float32, n int) uint32")
	largest(func() {
		a.faddp(4, 0, 1)
		a.faddp(5, 2, 3)
		a.faddp(4, 4, 5)
		a.umax(16, 16, 4)
	})
	a.text("func maxAbs16(x *float32, n int) uint32")
	largest(func() {
		for v := range V(4) {
			a.umax(16+v%2, 16+v%2, v)
		}
	})

	a.text("func quantize16(q *int16, hi, lo *int8, shift *int32, x *float32, n int, inv float32)")
	for i, arg := range []string{"q", "hi", "lo", "shift", "x", "n"} {
		a.load("MOVD", arg, "R"+string(rune('0'+i)))
	}
	a.load("MOVWU", "inv", "R6")
	a.dup(20, "R6")
	a.label("loop")
	a.ldp(2, 3, 32, "R4")
	a.ldpP(0, 1, 64, "R4")
	a.op("SUBS $16, R5, R5")
	for v := range V(4) {
		a.fmul(v, v, 20)
	}
	for v := range V(4) {
		a.fcvtns(v, v)
	}
	a.addp("S4", 4, 0, 1)
	a.addp("S4", 5, 2, 3)
	a.uzp1("H8", 16, 0, 1)
	a.uzp1("H8", 17, 2, 3)
	a.addp("S4", 4, 4, 5)
	a.rshrn(18, 16, 7)
	a.uzp1("B16", 19, 16, 17)
	a.shl("S4", 4, 4, 3)
	a.rshrn2(18, 17, 7)
	a.negS(4, 4)
	a.shl("B16", 5, 18, 7)
	a.sub("B16", 19, 19, 5)
	a.stpP(16, 17, 32, "R0")
	a.strP(18, 16, "R1")
	a.strP(19, 16, "R2")
	a.strP(4, 16, "R3")
	a.op("BNE loop")
	a.op("RET")
}}
