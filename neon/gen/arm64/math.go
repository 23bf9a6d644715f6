package main

import "math"

const expDoc = `
Exp as math.go has it, on 4 elements a register. Its two factors are one addition of n<<23 to the bits of the polynomial, which is exact: the
polynomial and the result are normal numbers. n is 0 for a NaN, which stays one.

`

const exp16Doc = `
  R0 dst    R1 x    R3 elements left, a multiple of 16 and not 0
  V0-V3 x, then r    V4-V7 n    V8-V11 the polynomial    V12-V15 k, then r*r    V16-V27 constants
`

var expFile = file{"exp_arm64.s", expDoc + exp16Doc, func(a *asm) {
	expConstants(a)
	a.text("func exp16(dst, x *float32, n int)")
	mathLoop(a, 4, func(i V) {
		a.ldr(i, int(16*i), "R1")
		exp(a, i, 4+i, 8+i, 12+i)
		a.str(8+i, int(16*i), "R0")
	})
}}

var siluFile = file{"silu_arm64.s", "x/(1+Exp(-x)). " + expDoc[1:] + exp16Doc, func(a *asm) {
	expConstants(a)
	a.text("func silu16(dst, x *float32, n int)")
	mathLoop(a, 4, func(i V) {
		a.ldr(i, int(16*i), "R1")
		a.fneg(i, i)
		exp(a, i, 4+i, 8+i, 12+i)
		a.ldr(i, int(16*i), "R1")
		a.fadd(8+i, 8+i, 27)
		a.fdiv(8+i, i, 8+i)
		a.str(8+i, int(16*i), "R0")
	})
}}

var softplusFile = file{"softplus_arm64.s", "max(x,0) + log1p(Exp(-|x|)). " + expDoc[1:] + `
  R0 dst    R1 x    R3 elements left, a multiple of 8 and not 0
  V0 V1 x, then r    V2 V3 n, then s of log1p    V4 V5 the polynomials    V6 V7 k, r*r, s*s    V8-V15 constants of log1p    V16-V27 of Exp    V28 0
`, func(a *asm) {
	expConstants(a)
	a.constants("log1pConst", 2, 2.0/15, 2.0/13, 2.0/11, 2.0/9, 2.0/7, 2.0/5, 2.0/3)
	a.text("func softplus8(dst, x *float32, n int)")
	a.op("MOVD $log1pConst<>(SB), R2")
	a.dup4(8, "R2", 16)
	a.dup4(12, "R2", 16)
	a.zero(28)
	mathLoop(a, 2, func(i V) {
		x, s, p, t := i, 2+i, 4+i, 6+i
		a.ldr(x, int(16*i), "R1")
		a.fabs(x, x)
		a.fneg(x, x)
		exp(a, x, s, p, t)
		a.fadd(t, p, 8)
		a.fdiv(s, p, t)
		a.ldr(x, int(16*i), "R1")
		a.fmul(t, s, s)
		a.fmul(p, t, 9)
		for c := V(10); c < 16; c++ {
			a.fadd(p, p, c)
			a.fmul(p, p, t)
		}
		a.fmul(p, p, s)
		a.fadd(s, s, s)
		a.fadd(p, p, s)
		a.fmax(x, x, 28)
		a.fadd(p, x, p)
		a.str(p, int(16*i), "R0")
	})
}}

const (
	expLo = -87.33
	expHi = 88.72
	log2e = 1.44269504088896340736
	ln2Hi = 0.693359375
	ln2Lo = -2.12194440e-4
)

func expConstants(a *asm) {
	a.constants("expConst", expLo, expHi, log2e, ln2Hi, ln2Lo, 1.0/5040, 1.0/720, 1.0/120, 1.0/24, 1.0/6, 0.5, 1)
}

// constants is a table of float32.
func (a *asm) constants(name string, values ...float32) {
	a.raw("")
	for i, v := range values {
		a.raw("DATA %s<>+%d(SB)/4, $0x%08x // %v", name, 4*i, math.Float32bits(v), v)
	}
	a.raw("GLOBL %s<>(SB), RODATA|NOPTR, $%d", name, 4*len(values))
}

// mathLoop runs f for 1 to 4 registers at a time, mixed, over all of x.
func mathLoop(a *asm, n V, f func(i V)) {
	a.load("MOVD", "dst", "R0")
	a.load("MOVD", "x", "R1")
	a.load("MOVD", "n", "R3")
	a.op("MOVD $expConst<>(SB), R2")
	for c := V(16); c < 28; c += 4 {
		a.dup4(c, "R2", 16)
	}
	a.label("loop")
	a.mix(each(int(n), func(i int) { f(V(i)) })...)
	a.op("ADD $%d, R1", 16*n)
	a.op("ADD $%d, R0", 16*n)
	a.op("SUBS $%d, R3, R3", 4*n)
	a.op("BNE loop")
	a.op("RET")
}

// exp leaves Exp of x in p; x, n and t are lost.
func exp(a *asm, x, n, p, t V) {
	a.fmax(x, x, 16)
	a.fmin(x, x, 17)
	a.fmul(t, x, 18)
	a.fcvtns(n, t)
	a.scvtf(t, n)
	a.fmul(p, t, 19)
	a.fsub(x, x, p)
	a.fmul(p, t, 20)
	a.fsub(x, x, p)
	a.fmul(p, x, 21)
	a.fmul(t, x, x)
	for c := V(22); c < 27; c++ {
		if c > 22 {
			a.fmul(p, p, x)
		}
		a.fadd(p, p, c)
	}
	a.shl("S4", n, n, 23)
	a.fmul(p, p, t)
	a.fadd(p, p, x)
	a.fadd(p, p, 27)
	a.add("S4", p, p, n)
}
