package main

const lutDoc = `
A step is one vector of a line, 16 rows by 8 columns. Its three stages run in three successive steps of the loop, so that no instruction waits for
the one before:

  split    the low and the high half of each byte: two indices
  look     up both in their tables, n and v
  sum      of n+v in 16 bits: the table of the high halves is inverted, m = -1-v, and SABAL adds |n-m| = n+v+1. The 1 is in the sums' start.

The first two steps look up indices of 255, which give 0 in both tables. What is under way after the last line is done without loads.
`

var lut16File = file{"lut16_arm64.s", `
A line is 64 rows by 8 columns. Its tables hold entries of 14 bits, + 8192, in halves of 7:

        byte  0     16    32    48
  R1    rows  0-15  16-31 32-47 48-63      bits 0-3 of a row choose from the first two tables, 4-7 from the others
  R5          lo    hi    lo    hi

  R0 dst    R1 lines    R2 tables + 32    R3 tiles    R4 lines a tile    R5 tables in use    R6 lines left
  R7, R8 start of hi and lo    R9 scale    R10 mask of dst    R12 bytes to prefetch ahead
  V0-V7 sums of lo, 8 rows each    V8-V15 sums of hi    V16-V19 tables of a line, V18 and V19 inverted    V20 V21 raw
  V22-V24 weights, high halves    V25 V26 low halves    V27-V30 looked up    V31 15

In 16 bits lo stays below 2^16 and hi - 64 within +-2^15 for up to 256 lines. A line takes 49 instructions, 42 of them on the vector
pipes; 1024 weights are two lines. A tile takes 160 more. Cycles per 1024 weights by static models: 116 on a Cortex-A53, 74 A72, 42 A76.
` + lutDoc, func(a *asm) {
	a.text("func lut16(dst *float32, lines, tables *byte, tiles, n, ahead int, scale float32, add bool)")
	lutArgs(a)
	a.op("ADD $32, R2")
	a.load("MOVWU", "scale", "R9")
	a.op("NEG R4, R8")
	a.op("MOVD $-129, R7")
	a.op("MUL R4, R7, R7")
	a.label("tile")
	for v := range V(8) {
		a.op("VDUP R8, V%d.H8", v)
		a.op("VDUP R7, V%d.H8", 8+v)
	}
	a.movi(24, 255)
	a.movi(26, 255)
	for v := range V(4) {
		a.zero(27 + v)
	}
	a.op("MOVD R2, R5")
	a.op("MOVD R4, R6")
	a.label("line")
	weights, low := [4]V{22, 23, 22, 24}, [4]V{25, 26, 25, 26}
	look := func(k int, n, m, i V) {
		a.tbl(n, i, low[k])
		a.tbl(m, i+2, weights[k])
	}
	sum := func(first V, n, m V) {
		a.sabal(first, n, m)
		a.sabal2(first+1, n, m)
	}
	for k := range 4 {
		before, twoBefore := (k+3)%4, V(k+2)%4
		switch k {
		case 0:
			a.ldpP(22, 23, 64, "R1")
			a.ldpP(20, 21, 64, "R5")
			a.op("SUBS $1, R6, R6")
		case 2:
			a.ldp(22, 24, -32, "R1")
			a.prefetch(1, 12)
		}
		sum(2*twoBefore, 27, 28)
		look(before, 27, 28, 16)
		a.and(low[k], weights[k], 31)
		a.ushr("B16", weights[k], weights[k], 4)
		if k == 0 {
			a.mvn(18, 20)
		}
		sum(8+2*twoBefore, 29, 30)
		look(before, 29, 30, 17)
		if k == 0 {
			a.ldp(16, 17, -96, "R5")
			a.mvn(19, 21)
		}
	}
	a.op("BNE line")
	sum(4, 27, 28)
	look(3, 27, 28, 16)
	sum(12, 29, 30)
	look(3, 29, 30, 17)
	sum(6, 27, 28)
	sum(14, 29, 30)
	a.note("scale * (lo + 128*hi)")
	lutFlush(a, func(t, j V) {
		a.sshll(t, 8+j, 7)
		a.sshll2(t+1, 8+j, 7)
		a.uaddw(t, j)
		a.uaddw2(t+1, j)
	})
	a.op("ADD $256, R0")
	a.op("SUBS $1, R3, R3")
	a.op("BNE tile")
	a.op("RET")
}}

var lut8File = file{"lut8_arm64.s", `
A line is 64 rows by 8 columns. Its tables hold entries of 7 bits, + 64:

        byte  0     16    32    48
  R1    rows  0-15  16-31 32-47 48-63      bits 0-3 of a row choose from the first table, 4-7 from the second
  R5          v     v

  R0 dst    R1 lines    R2 tables + 16    R3 tiles    R4 lines a tile    R5 tables in use    R6 lines left of a unit    R7 of a tile
  R8 start of the sums    R9 scale    R10 mask of dst    R11 scales in use    R12 bytes to prefetch ahead
  V0-V7 sums, 8 rows each    V8 V9 tables of a line, V9 inverted    V10 raw
  V11-V14 weights, high halves    V15 V16 low halves    V17-V20 looked up    V31 15

A unit, up to 64 lines, has a scale. A line takes 32 instructions, 25 of them on the vector pipes; 1024 weights are two lines. A unit takes 130 more.
Cycles per 1024 weights by static models: 78 on a Cortex-A53, 41 A72, 26 A76.
` + lutDoc, func(a *asm) {
	a.text("func lut8(dst *float32, lines, tables *byte, scale *float32, tiles, n, ahead int, add bool)")
	lutArgs(a)
	a.op("ADD $16, R2")
	a.label("tile")
	a.op("MOVD R2, R5")
	a.op("MOVD R4, R7")
	a.load("MOVD", "scale", "R11")
	a.load("MOVBU", "add", "R10")
	a.op("NEG R10, R10")
	a.label("unit")
	a.op("MOVD $64, R6")
	a.op("CMP R6, R7")
	a.op("CSEL LT, R7, R6, R6")
	a.op("SUB R6, R7")
	a.op("MOVD $-129, R8")
	a.op("MUL R6, R8, R8")
	a.op("MOVWU.P 4(R11), R9")
	for v := range V(8) {
		a.op("VDUP R8, V%d.H8", v)
	}
	for _, v := range []V{13, 14, 15, 16} {
		a.movi(v, 255)
	}
	for v := range V(4) {
		a.zero(17 + v)
	}
	a.label("line")
	sum := func(first V) {
		for v := range V(2) {
			a.sabal(first+2*v, 17+2*v, 18+2*v)
			a.sabal2(first+2*v+1, 17+2*v, 18+2*v)
		}
	}
	look := func(weights V) {
		for v := range V(2) {
			a.tbl(17+2*v, 8, 15+v)
			a.tbl(18+2*v, 9, weights+v)
		}
	}
	for k := range V(2) {
		if k == 0 {
			a.ldpP(11, 12, 64, "R1")
			a.ldrP(10, 32, "R5")
			a.op("SUBS $1, R6, R6")
		} else {
			a.ldp(13, 14, -32, "R1")
			a.prefetch(1, 12)
		}
		sum(4 * k)
		look(13 - 2*k)
		if k == 0 {
			a.ldr(8, -48, "R5")
			a.mvn(9, 10)
		}
		for v := range V(2) {
			a.and(15+v, 11+2*k+v, 31)
			a.ushr("B16", 11+2*k+v, 11+2*k+v, 4)
		}
	}
	a.op("BNE line")
	sum(0)
	look(13)
	sum(4)
	lutFlush(a, func(t, j V) {
		a.sshll(t, j, 0)
		a.sshll2(t+1, j, 0)
	})
	a.op("MOVD $-1, R10")
	a.op("CBNZ R7, unit")
	a.op("ADD $256, R0")
	a.op("SUBS $1, R3, R3")
	a.op("BNE tile")
	a.op("RET")
}}

func lutArgs(a *asm) {
	a.load("MOVD", "dst", "R0")
	a.load("MOVD", "lines", "R1")
	a.load("MOVD", "tables", "R2")
	a.load("MOVD", "tiles", "R3")
	a.load("MOVD", "n", "R4")
	a.load("MOVD", "ahead", "R12")
	a.load("MOVBU", "add", "R10")
	a.op("NEG R10, R10")
	a.movi(31, 15)
}

// lutFlush adds the products of the scale and the integers of 64 rows to dst. integers leaves those of accumulator j in registers t and t+1.
func lutFlush(a *asm, integers func(t, j V)) {
	a.note("What is not to be added to counts as 0: no product is -0, so that the sum is the product itself.")
	a.dup(20, "R9")
	a.dup(21, "R10")
	for j := V(0); j < 8; j += 2 {
		a.mix(each(2, func(i int) {
			t, j := V(16+6*i), j+V(i)
			a.ldp(t+2, t+3, int(32*j), "R0")
			integers(t, j)
			a.scvtf(t, t)
			a.scvtf(t+1, t+1)
			a.and(t+2, t+2, 21)
			a.and(t+3, t+3, 21)
			a.fmul(t, t, 20)
			a.fmul(t+1, t+1, 20)
			a.fadd(t, t+2, t)
			a.fadd(t+1, t+3, t+1)
			a.stp(t, t+1, int(32*j), "R0")
		})...)
	}
}
