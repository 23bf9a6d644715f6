package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const aboutInt4 = `
TODO
`

func int4s(a *asm) {
	a.begin("int4", "func(dst *float32, w, scale *byte, hi, lo *int8, shift *int32, rows, n int, s float32)")
	dst, hi, lo, shift, rows, n := a.arg("dst"), a.arg("hi"), a.arg("lo"), a.arg("shift"), a.arg("rows"), a.arg("n")
	w, scale := a.rows4("w"), a.rows4("scale")
	a.MOVQ(n, w.stride)
	a.SHRQ(Imm(1), w.stride)
	a.MOVQ(n, scale.stride)
	a.SHRQ(Imm(4), scale.stride)
	a.LEAQ(Mem{Base: w.stride, Index: w.stride, Scale: 2}, w.stride3)
	a.LEAQ(Mem{Base: scale.stride, Index: scale.stride, Scale: 2}, scale.stride3)
	a.SHRQ(Imm(1), n) // from here on in bytes of w

	ones, high, nibbles := a.bits(1<<16|1), a.bits(128<<16|128), a.bits(0x0f0f0f0f)
	var spread vec
	if a.wide {
		spread = a.vec()
		a.VBROADCASTI32X8(a.table(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3), spread)
	}
	group := a.label("group")
	a.Label(group)
	acc := make([][]vec, 4)
	for r := range acc {
		acc[r] = a.vecs(a.parts())
		a.zero(acc[r]...)
	}
	ahead := a.GP64()
	a.LEAQ(Mem{Base: w.base, Index: w.stride, Scale: 4, Disp: 2048}, ahead)
	a.over(n, 32, func(i gp) {
		a.PREFETCHT0(Mem{Base: ahead})
		a.PREFETCHT0(Mem{Base: ahead, Disp: 64})
		a.ADDQ(Imm(128), ahead)
		for p := range a.parts() {
			var hiV, loV, shiftV Op = at(hi, i, 2, 32*p), at(lo, i, 2, 32*p), at(shift, i, 2, 32*p)
			if a.wide {
				hiV, loV, shiftV = a.load(hiV), a.load(loV), a.load(shiftV)
			}
			for r := range 4 {
				x, y := a.vec(), a.vec()
				a.VPMOVZXBW(w.row(r).Offset(16*p), x)
				a.VPSLLW(Imm(4), x, y)
				a.or(y, x, x)
				a.and(nibbles, x, x)
				a.VPMADDUBSW(hiV, x, y)
				a.VPMADDUBSW(loV, x, x)
				a.VPMADDWD(high, y, y)
				a.VPMADDWD(ones, x, x)
				a.VPADDD(y, x, x)
				a.VPADDD(shiftV, x, x)
				a.VCVTDQ2PS(x, x)
				if a.wide {
					a.VPBROADCASTD(scale.row(r), y.AsY())
					a.VPSHUFB(spread.AsY(), y.AsY(), y.AsY())
					a.VCVTPH2PS(y.AsY(), y)
				} else {
					a.VPBROADCASTW(scale.row(r).Offset(2*p), y.AsX())
					a.VCVTPH2PS(y.AsX(), y)
				}
				a.VMULPS(y, x, x)
				a.VADDPS(x, acc[r][p], acc[r][p])
			}
		}
		a.ADDQ(Imm(32), w.base)
		a.ADDQ(Imm(4), scale.base)
	})
	a.ADDQ(w.stride3, w.base)
	a.ADDQ(scale.stride3, scale.base)
	sums, s := a.reduce4(acc), a.XMM()
	a.VBROADCASTSS(a.argAddr("s"), s)
	a.VMULPS(s, sums, sums)
	a.VMOVUPS(sums, Mem{Base: dst})
	a.ADDQ(Imm(16), dst)
	a.SUBQ(Imm(4), rows)
	a.JNZ(LabelRef(group))
	a.end()
}

// rows4 is four rows: the address of the first, and from row to row.
type rows4 struct{ base, stride, stride3 gp }

func (a *asm) rows4(name string) rows4 { return rows4{a.arg(name), a.GP64(), a.GP64()} }

// row is the first bytes of row r.
func (s rows4) row(r int) Mem {
	m := Mem{Base: s.base}
	switch r {
	case 1, 2:
		m.Index, m.Scale = s.stride, uint8(r)
	case 3:
		m.Index, m.Scale = s.stride3, 1
	}
	return m
}

func (a *asm) load(m Op) reg.VecVirtual {
	v := a.vec()
	a.VMOVUPS(m, v)
	return v
}
