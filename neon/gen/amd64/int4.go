package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutInt4 = `
Rows of 4-bit weights, 0 to 15 for -8 to 7, times a Q14, one after the other as they lie in memory. A round is a vector of w: four groups of 32
weights with AVX-512, two with AVX2, a group in 16 bytes.

	w         byte j of a group has weights 2j and 2j+1: x, its low halves, are the even ones, y the odd ones
	scratch   6 vectors a round, made once: hi of even weights, of odd ones, lo of even ones, of odd ones; shift, two vectors

	words     h = x*hi + y*hi, l = x*lo + y*lo    8 of each group: term i is of its weights 4i to 4i+3
	numbers   l + 128*h + shift                   terms 0 to 3 of every group, terms 4 to 7

An accumulator has terms 0 to 3 of an even group, 0 to 3 of the odd one behind it, then 4 to 7 of both. These are the 16 lanes in another order.
`

func int4s(a *asm) {
	a.begin("int4", "func(dst *float32, w, scale *byte, hi, lo *int8, shift *int32, scratch *byte, rows, n int, s float32)")
	width, n := a.width(), a.arg("n")
	arrange(a, n)

	dst, w, scale, scratch, rows := a.arg("dst"), a.arg("w"), a.arg("scale"), a.arg("scratch"), a.arg("rows")
	weights, fifteen := a.bits(128<<16|1), a.bits(0x0f0f0f0f)
	var spread []vec // the scales of the groups, to the lanes
	if a.wide {
		spread = []vec{a.dwords(0, 0, 0, 0, 1, 1, 1, 1), a.dwords(2, 2, 2, 2, 3, 3, 3, 3)}
	} else {
		spread = a.vecs(1)
		a.VMOVUPS(a.table(0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3), spread[0].AsX())
	}
	row, round := a.label("row"), a.label("round")
	a.Label(row)
	acc := a.vecs(a.parts())
	a.zero(acc...)
	in, left := a.GP64(), a.GP64()
	a.MOVQ(scratch, in)
	a.MOVQ(n, left)
	a.Label(round)
	a.ahead(Mem{Base: w})
	x, y := a.load(Mem{Base: w}), a.vec()
	a.VPSRLW(Imm(4), x, y)
	a.and(fifteen, x, x)
	a.and(fifteen, y, y)
	products := func(at int) vec {
		even, odd := a.vec(), a.vec()
		a.VPMADDUBSW(Mem{Base: in, Disp: at}, x, even)
		a.VPMADDUBSW(Mem{Base: in, Disp: at + width}, y, odd)
		a.VPADDW(odd, even, even)
		return even
	}
	h, l := products(0), products(2*width)
	terms := a.vecs(2)
	a.VPUNPCKLWD(h, l, terms[0])
	a.VPUNPCKHWD(h, l, terms[1])
	for _, t := range terms {
		a.VPMADDWD(weights, t, t)
	}
	scales := a.vecs(2)
	if a.wide { // groups 0 and 1, groups 2 and 3
		first := a.vec()
		a.VSHUFI32X4(Imm(0x44), terms[1], terms[0], first)
		a.VSHUFI32X4(Imm(0xee), terms[1], terms[0], terms[1])
		terms[0] = first
		four := a.vec()
		a.VCVTPH2PS(Mem{Base: scale}, four.AsX())
		a.VPERMPS(four, spread[0], scales[0])
		a.VPERMPS(four, spread[1], scales[1])
	} else {
		scales[1] = scales[0]
		a.VPBROADCASTD(Mem{Base: scale}, scales[0].AsX())
		a.VPSHUFB(spread[0].AsX(), scales[0].AsX(), scales[0].AsX())
		a.VCVTPH2PS(scales[0].AsX(), scales[0])
	}
	for i, t := range terms {
		a.VPADDD(Mem{Base: in, Disp: (4 + i) * width}, t, t)
		a.VCVTDQ2PS(t, t)
		a.VMULPS(scales[i], t, t)
		a.VADDPS(t, acc[i%len(acc)], acc[i%len(acc)])
	}
	a.ADDQ(num(width), w)
	a.ADDQ(num(width/8), scale)
	a.ADDQ(num(6*width), in)
	a.SUBQ(num(2*width), left)
	a.JNZ(LabelRef(round))
	if a.wide {
		a.VSHUFF32X4(Imm(0xd8), acc[0], acc[0], acc[0])
	} else {
		odd := a.vec()
		a.VPERM2F128(Imm(0x31), acc[1], acc[0], odd)
		a.VPERM2F128(Imm(0x20), acc[1], acc[0], acc[0])
		acc[1] = odd
	}
	sum := a.reduce(acc)
	a.VMULSS(a.argAddr("s"), sum.AsX(), sum.AsX())
	a.VMOVSS(sum.AsX(), Mem{Base: dst})
	a.ADDQ(Imm(4), dst)
	a.DECQ(rows)
	a.JNZ(LabelRef(row))
	a.end()
}

// arrange fills the scratch.
func arrange(a *asm, n gp) {
	hi, lo, shift, out, left := a.arg("hi"), a.arg("lo"), a.arg("shift"), a.arg("scratch"), a.GP64()
	apart := a.YMM() // even bytes, then odd ones
	a.VBROADCASTI128(a.table(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15), apart)
	loop := a.label("arrange")
	a.MOVQ(n, left)
	a.Label(loop)
	for g := range a.width() / 16 {
		for i, src := range []gp{hi, lo} {
			v := a.YMM()
			to := Mem{Base: out, Disp: 2*i*a.width() + 16*g}
			a.VMOVDQU(Mem{Base: src, Disp: 32 * g}, v)
			a.VPSHUFB(apart, v, v)
			a.VPERMQ(Imm(0xd8), v, v)
			a.VMOVDQU(v.AsX(), to)
			a.VEXTRACTI128(Imm(1), v, to.Offset(a.width()))
		}
		v := a.YMM()
		to := Mem{Base: out, Disp: 4*a.width() + g/2*64 + g%2*16}
		a.VMOVDQU(Mem{Base: shift, Disp: 32 * g}, v)
		a.VMOVDQU(v.AsX(), to)
		a.VEXTRACTI128(Imm(1), v, to.Offset(32))
	}
	a.ADDQ(num(2*a.width()), hi)
	a.ADDQ(num(2*a.width()), lo)
	a.ADDQ(num(2*a.width()), shift)
	a.ADDQ(num(6*a.width()), out)
	a.SUBQ(num(2*a.width()), left)
	a.JNZ(LabelRef(loop))
}
