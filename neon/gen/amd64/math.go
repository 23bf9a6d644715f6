package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutMath = `
Exp, Softplus and SiLU of n elements, a multiple of 16, a vector a round. The operations and their order are those of math.go.
`

// The constants of math.go.
const (
	expLo, expHi = -87.33, 88.72
	log2e        = 1.44269504088896340736
	ln2Hi, ln2Lo = 0.693359375, -2.12194440e-4
	magic        = 0x1.8p23 // added to a number, rounds it to an integer, which is then in the low bits
	signBit      = 1 << 31
)

var (
	expCoefs = []float32{1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5}
	logCoefs = []float32{2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3}
)

func functions(a *asm) {
	each := func(name string, f func(x vec) vec, hold ...float32) {
		a.begin(name, "func(dst, x *float32, n int)")
		dst, x, n := a.arg("dst"), a.arg("x"), a.arg("n")
		a.holdFloats(expLo, expHi, log2e, magic, ln2Hi, ln2Lo, 1)
		if a.wide { // AVX2 has 16 registers, and fetches the others as it needs them
			a.holdFloats(expCoefs...)
			a.holdFloats(hold...)
			a.hold(signBit)
		}
		a.over(n, a.width()/4, func(i gp) {
			v := a.vec()
			a.VMOVUPS(at(x, i, 4, 0), v)
			a.VMOVUPS(f(v), at(dst, i, 4, 0))
		})
		a.end()
	}
	each("exp", a.exp)
	each("softplus", func(x vec) vec {
		u := a.vec()
		a.or(a.bits(signBit), x, u)
		l := a.log1p(a.exp(u))
		a.VMAXPS(a.float(0), x, x) // 0 for NaN, whose exp is NaN
		a.VADDPS(l, x, x)
		return x
	}, append(logCoefs, 0, 2)...)
	each("silu", func(x vec) vec {
		u := a.vec()
		a.xor(a.bits(signBit), x, u)
		u = a.exp(u)
		a.VADDPS(a.float(1), u, u)
		a.VDIVPS(u, x, u)
		return u
	})
}

// exp is Exp of x, in another register.
func (a *asm) exp(x vec) vec {
	v := a.vec()
	// Of a NaN, these give their second operand, which is first in this syntax.
	a.VMAXPS(x, a.float(expLo), v)
	a.VMINPS(v, a.float(expHi), v)
	n, k, t := a.vec(), a.vec(), a.vec()
	a.VMULPS(a.float(log2e), v, n)
	a.VADDPS(a.float(magic), n, n)
	a.VSUBPS(a.float(magic), n, k) // the integer as a float, exact
	a.VMULPS(a.float(ln2Hi), k, t)
	a.VSUBPS(t, v, v)
	a.VMULPS(a.float(ln2Lo), k, t)
	a.VSUBPS(t, v, v) // r
	p := a.vec()
	a.VMULPS(a.float(expCoefs[0]), v, p)
	for i, c := range expCoefs[1:] {
		if i > 0 {
			a.VMULPS(v, p, p)
		}
		a.VADDPS(a.float(c), p, p)
	}
	a.VMULPS(v, v, t)
	a.VMULPS(t, p, p)
	a.VADDPS(v, p, p)
	a.VADDPS(a.float(1), p, p)
	if a.wide {
		a.VSCALEFPS(k, p, p) // the same as the two factors: every step is exact
		return p
	}
	// n holds the bits of magic plus the integer; the shift drops those of magic.
	h := a.vec()
	a.VPSUBD(a.float(magic), n, n)
	a.VPSRAD(Imm(1), n, h)
	a.VPSUBD(h, n, n)
	for _, e := range []vec{h, n} {
		a.VPSLLD(Imm(23), e, e)
		a.VPADDD(a.float(1), e, e) // 127<<23 is 1
		a.VMULPS(e, p, p)
	}
	return p
}

// log1p is log1p of u, in its register.
func (a *asm) log1p(u vec) vec {
	s, z, p := a.vec(), a.vec(), a.vec()
	a.VADDPS(a.float(2), u, z)
	a.VDIVPS(z, u, s)
	a.VMULPS(s, s, z)
	a.VMULPS(a.float(logCoefs[0]), z, p)
	for i, c := range logCoefs[1:] {
		if i > 0 {
			a.VMULPS(z, p, p)
		}
		a.VADDPS(a.float(c), p, p)
	}
	a.VMULPS(z, p, p)
	a.VMULPS(s, p, p)
	a.VADDPS(s, s, s) // 2s
	a.VADDPS(s, p, u)
	return u
}
