package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutInt8 = `
Rows of signed bytes times a Q14, one after the other as they lie in memory. 64 columns a round: bytes become words, pairs of products 32-bit sums.

	w       64 bytes of a row
	q       64 words
	lanes   16 or 32 sums of 32 bits, each of n/32 or fewer products of up to 128*8191, so that eight of n/8 fit

A round takes 6 operations with AVX-512, 12 with AVX2. The lanes' sum is made in 64 bits and rounded once.
`

const aboutInt8VNNI = `
Rows of signed bytes times a Q14, one after the other as they lie in memory: as with AVX-512 alone, but that the pairs of products are added up where
they are made.

	w       64 bytes of a row
	q       64 words
	lanes   32 sums of 32 bits

A round takes 4 operations. The lanes' sum is made in 64 bits and rounded once.
`

func int8s(a *asm, name string, vnni bool) {
	a.begin(name, "func(dst *float32, w *byte, scale *float32, q *int16, rows, n int, s float32)")
	dst, w, scale, q, rows, n := a.arg("dst"), a.arg("w"), a.arg("scale"), a.arg("q"), a.arg("rows"), a.arg("n")
	row := a.label("row")
	a.Label(row)
	acc := a.vecs(2 * a.parts())
	a.zero(acc...)
	a.over(n, 64, func(i gp) {
		a.ahead(at(w, i, 1, 0), false)
		for j, s := range acc {
			v := a.vec()
			a.VPMOVSXBW(at(w, i, 1, j*a.width()/2), v)
			part := at(q, i, 2, j*a.width())
			if vnni {
				a.VPDPWSSD(part, v, s)
				continue
			}
			a.VPMADDWD(part, v, v)
			a.VPADDD(v, s, s)
		}
	})
	for len(acc) > 1 {
		h := len(acc) / 2
		for j := range h {
			a.VPADDD(acc[h+j], acc[j], acc[j])
		}
		acc = acc[:h]
	}
	if a.wide {
		v := a.YMM()
		a.VEXTRACTI64X4(Imm(1), acc[0], v)
		a.VPADDD(acc[0].AsY(), v, v)
		acc[0] = v
	}
	// The eight lanes are far from overflow, their sum may not be.
	lo, hi := a.YMM(), a.YMM()
	a.VPMOVSXDQ(acc[0].AsX(), lo)
	a.VEXTRACTI128(Imm(1), acc[0], hi.AsX())
	a.VPMOVSXDQ(hi.AsX(), hi)
	a.VPADDQ(hi, lo, lo)
	a.VEXTRACTI128(Imm(1), lo, hi.AsX())
	a.VPADDQ(hi.AsX(), lo.AsX(), lo.AsX())
	a.VPSHUFD(Imm(0x4e), lo.AsX(), hi.AsX())
	a.VPADDQ(hi.AsX(), lo.AsX(), lo.AsX())
	sum, y := a.GP64(), a.XMM()
	a.VMOVQ(lo.AsX(), sum)
	a.VXORPS(y, y, y)
	a.VCVTSI2SSQ(sum, y, y)
	a.VMULSS(a.argAddr("s"), y, y)
	a.VMULSS(Mem{Base: scale}, y, y)
	a.VMOVSS(y, Mem{Base: dst})
	a.ADDQ(n, w)
	a.ADDQ(Imm(4), scale)
	a.ADDQ(Imm(4), dst)
	a.DECQ(rows)
	a.JNZ(LabelRef(row))
	a.end()
}
