package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutQuantize = `
What precedes integer products: the largest |x|, the largest sum of four |x|, and a Q14. 16 elements a round, n of them, a multiple of 16.

	q      16 words      round(x*inv)
	hi     16 bytes      (q+64)>>7
	lo     16 bytes      q - hi<<7
	shift  4 of 32 bits  -8*(q0+q1+q2+q3)

The largest floats that are not negative have the largest bits, NaN before Inf: an integer maximum finds them.
`

func quantize(a *asm) {
	largest := func(name string, f func(v vec)) {
		a.begin(name, "func(x *float32, n int) uint32")
		x, n := a.arg("x"), a.arg("n")
		abs := a.bits(1<<31 - 1)
		top := a.vecs(a.parts())
		a.zero(top...)
		a.over(n, 16, func(i gp) {
			for p := range top {
				v := a.vec()
				a.and(at(x, i, 4, p*a.width()), abs, v)
				f(v)
				a.VPMAXUD(v, top[p], top[p])
			}
		})
		v, w := top[0], a.YMM()
		if a.wide {
			a.VEXTRACTI64X4(Imm(1), v, w)
		} else {
			w = top[1]
		}
		a.VPMAXUD(w, v.AsY(), w)
		a.VEXTRACTI128(Imm(1), w, v.AsX())
		a.VPMAXUD(v.AsX(), w.AsX(), w.AsX())
		for _, order := range []uint64{0x4e, 0xb1} {
			a.VPSHUFD(Imm(order), w.AsX(), v.AsX())
			a.VPMAXUD(v.AsX(), w.AsX(), w.AsX())
		}
		bits := a.GP32()
		a.VMOVD(w.AsX(), bits)
		a.Store(bits, a.ReturnIndex(0))
		a.end()
	}
	largest("maxAbs", func(vec) {})
	largest("groupMax", func(v vec) { // all four of a group get its sum
		w := a.vec()
		for _, order := range []uint64{0xb1, 0x4e} {
			a.VPERMILPS(Imm(order), v, w)
			a.VADDPS(w, v, v)
		}
	})

	a.begin("quantize", "func(q *int16, hi, lo *int8, shift *int32, x *float32, n int, inv float32)")
	q, hi, lo, shift, x, n := a.arg("q"), a.arg("hi"), a.arg("lo"), a.arg("shift"), a.arg("x"), a.arg("n")
	inv := a.broadcast(a.argAddr("inv"))
	words := func(w uint32) vec {
		v := a.YMM()
		a.VPBROADCASTD(a.constant(U32(w<<16|w)), v)
		return v
	}
	half, eight := words(64), words(0x10000-8)
	a.over(n, 16, func(i gp) {
		k := a.vecs(a.parts())
		for p, v := range k {
			a.VMULPS(at(x, i, 4, p*a.width()), inv, v)
			a.VCVTPS2DQ(v, v)
		}
		w, h, l := a.YMM(), a.YMM(), a.YMM()
		if a.wide {
			a.VPMOVDW(k[0], w)
		} else {
			a.VPACKSSDW(k[1], k[0], w)
			a.VPERMQ(Imm(0xd8), w, w)
		}
		a.VMOVDQU(w, at(q, i, 2, 0))
		a.VPADDW(half, w, h)
		a.VPSRAW(Imm(7), h, h)
		a.VPSLLW(Imm(7), h, l)
		a.VPSUBW(l, w, l)
		for _, b := range []struct {
			v   vec
			dst gp
		}{{h, hi}, {l, lo}} {
			upper := a.XMM()
			a.VEXTRACTI128(Imm(1), b.v, upper)
			a.VPACKSSWB(upper, b.v.AsX(), upper)
			a.VMOVDQU(upper, at(b.dst, i, 1, 0))
		}
		a.VPMADDWD(eight, w, w)
		a.VPHADDD(w, w, w)
		a.VPERMQ(Imm(0x08), w, w)
		a.VMOVDQU(w.AsX(), at(shift, i, 1, 0))
	})
	a.end()
}
