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
	a.ahead(Mem{Base: w}, false)
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

const aboutInt4VNNI = `
Rows of 4-bit weights, 0 to 15 for -8 to 7, times a Q14, one after the other as they lie in memory. A step is two groups of 32 weights, which fill
the 16 lanes in their order; a round is eight steps, whose 16 scales are one vector. What is left of a row behind the last round goes by steps.

	w         byte j of a group has weights 2j and 2j+1: in words b | b<<4 the low halves of the bytes are the weights in their order
	h         w*hi: 16 bits are enough
	numbers   w*lo + 128*h + shift    lane i: weights 4i to 4i+3 of the even group, lane 8+i: those of the odd one

A step takes 10 operations. Four of them go side by side, so that operations wait less for one another: from the cache 6% faster than one by one.
`

func int4VNNI(a *asm) {
	a.begin("int4VNNI", "func(dst *float32, w, scale *byte, hi, lo *int8, shift *int32, rows, n int, s float32)")
	dst, w, scale, hi, lo, shift, rows, n := a.arg("dst"), a.arg("w"), a.arg("scale"), a.arg("hi"), a.arg("lo"), a.arg("shift"), a.arg("rows"), a.arg("n")
	const steps, abreast = 8, 4
	low, weight, spread := a.bits(0x0f0f0f0f), a.bits(128), a.vecs(steps) // spread: the scales of each step, to the lanes
	for i := range spread {
		x, y := byte(2*i), byte(2*i+1)
		a.VPMOVZXBD(a.table(x, x, x, x, x, x, x, x, y, y, y, y, y, y, y, y), spread[i])
	}
	two := a.YMM() // the same for two scales as they are
	a.VMOVUPS(a.table(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3), two)

	acc, i, whole := a.vec(), a.GP64(), a.GP64()
	// add does n steps from the k-th on. scaled multiplies the terms of one.
	add := func(k, n int, scaled func(k int, terms vec)) {
		v, h, terms := a.vecs(n), a.vecs(n), a.vecs(n)
		for j := range n {
			a.VPMOVZXBW(Mem{Base: w, Disp: 32 * (k + j)}, v[j])
		}
		for j := range n {
			a.VPSLLW(Imm(4), v[j], h[j])
		}
		for j := range n {
			a.VPTERNLOGD(Imm(0xa8), low, h[j], v[j]) // (v | h) & low
		}
		for j := range n {
			a.zero(h[j])
			a.VPDPBUSD(at(hi, i, 1, 64*(k+j)), v[j], h[j])
		}
		for j := range n {
			a.VMOVDQU32(at(shift, i, 1, 64*(k+j)), terms[j])
			a.VPDPBUSD(at(lo, i, 1, 64*(k+j)), v[j], terms[j])
		}
		for j := range n {
			a.VPDPWSSD(weight, h[j], terms[j])
		}
		for j := range n {
			a.VCVTDQ2PS(terms[j], terms[j])
		}
		for j := range n {
			scaled(k+j, terms[j])
		}
		for j := range n {
			a.VADDPS(terms[j], acc, acc)
		}
	}
	next := func(steps int) {
		a.ADDQ(num(32*steps), w)
		a.ADDQ(num(4*steps), scale)
		a.ADDQ(num(64*steps), i)
	}
	row, round, rest, sum := a.label("row"), a.label("round"), a.label("rest"), a.label("sum")
	a.MOVQ(n, whole)
	a.ANDQ(I32(-64*steps), whole)
	a.Label(row)
	a.zero(acc)
	a.XORQ(i, i)
	a.TESTQ(whole, whole)
	a.JZ(LabelRef(rest))

	a.Label(round)
	scales := a.vec()
	a.VCVTPH2PS(Mem{Base: scale}, scales)
	for k := 0; k < steps; k += abreast {
		for j := 0; j < abreast; j += 2 {
			a.ahead(Mem{Base: w, Disp: 32 * (k + j)}, false)
		}
		add(k, abreast, func(k int, terms vec) {
			s := a.vec()
			a.VPERMPS(scales, spread[k], s)
			a.VMULPS(s, terms, terms)
		})
	}
	next(steps)
	a.CMPQ(i, whole)
	a.JLT(LabelRef(round))
	a.CMPQ(i, n)
	a.JGE(LabelRef(sum))

	a.Label(rest)
	add(0, 1, func(_ int, terms vec) {
		s := a.vec()
		a.VPBROADCASTD(Mem{Base: scale}, s.AsY())
		a.VPSHUFB(two, s.AsY(), s.AsY())
		a.VCVTPH2PS(s.AsY(), s)
		a.VMULPS(s, terms, terms)
	})
	next(1)
	a.CMPQ(i, n)
	a.JLT(LabelRef(rest))

	a.Label(sum)
	total := a.reduce([]vec{acc}).AsX()
	a.VMULSS(a.argAddr("s"), total, total)
	a.VMOVSS(total, Mem{Base: dst})
	a.ADDQ(Imm(4), dst)
	a.DECQ(rows)
	a.JNZ(LabelRef(row))
	a.end()
}
