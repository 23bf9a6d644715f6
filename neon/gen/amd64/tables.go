package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutTables = `
The tables of a LUT from x: of four columns, the 16 sums of +-x0 +-x1 +-x2 +-x3, rounded.

	8 lanes  sums 0 to 7, which have -x3; with AVX-512 two groups of columns side by side
	bytes    of the words v: bias+e(0) to bias+e(7), then bias-e(7) to bias-e(0), as e(15-i) = -e(i)

The signs come by exclusive or. Packing interleaves the four-byte pieces of two vectors; a permutation of these and one of the bytes put them in order.
That is 20 operations for two groups with AVX-512, 16 for one with AVX2.
`

// tables writes the tables of a LUT, whose entries have two bytes or one.
func tables(a *asm) {
	makeTables(a, "tables16", true)
	makeTables(a, "tables8", false)
}

func makeTables(a *asm, name string, two bool) {
	a.begin(name, "func(tables *byte, x *float32, n int, inv float32)")
	tables, x, n, inv := a.arg("tables"), a.arg("x"), a.arg("n"), a.broadcast(a.argAddr("inv"))
	// Signs of x0, x1 and x2 in the sums 0 to 7; x3 has a minus.
	signs := []vec{a.dwords(1, 0, 1, 0, 1, 0, 1, 0), a.dwords(1, 1, 0, 0, 1, 1, 0, 0), a.dwords(1, 1, 1, 1, 0, 0, 0, 0)}
	for _, s := range signs {
		a.VPSLLD(Imm(31), s, s)
	}
	order := a.dwords(0, 4, 5, 1, 2, 6, 7, 3)
	if a.wide {
		order = a.dwords(0, 4, 5, 1, 2, 6, 7, 3, 8, 12, 13, 9, 10, 14, 15, 11)
	}
	reverse := a.vec()
	m := a.table(0, 1, 2, 3, 4, 5, 6, 7, 11, 10, 9, 8, 15, 14, 13, 12)
	if a.wide {
		a.VBROADCASTI32X4(m, reverse)
	} else {
		a.VBROADCASTI128(m, reverse)
	}
	bias := a.bits(64)
	if two {
		bias = a.bits(8192)
	}
	low := a.bits(0x007f007f)

	// A vector makes a group of four columns in every 32 bytes.
	groups := a.width() / 32
	rounds := 1 // vectors that make a vector of tables
	if !two {
		rounds = 2
	}
	var choose [][]vec // x0 to x3 of each group
	if a.wide {
		choose = make([][]vec, rounds)
		for r := range choose {
			for j := range 4 {
				first := byte(4*r + j)
				second := first + byte(4*rounds)
				choose[r] = append(choose[r], a.dwords(first, first, first, first, first, first, first, first, second, second, second, second, second, second, second, second))
			}
		}
	}
	a.over(n, 4*groups*rounds, func(i gp) {
		var in vec
		if a.wide {
			in = a.vec()
			if two {
				a.VMOVUPS(at(x, i, 4, 0), in.AsY())
			} else {
				a.VMOVUPS(at(x, i, 4, 0), in)
			}
		}
		words := make([]vec, rounds)
		for r := range words {
			v := make([]vec, 4)
			for j := range v {
				if a.wide {
					v[j] = a.vec()
					a.VPERMPS(in, choose[r][j], v[j])
				} else {
					v[j] = a.broadcast(at(x, i, 4, 16*r+4*j))
				}
				if j < 3 {
					a.xor(signs[j], v[j], v[j])
				}
			}
			a.VADDPS(v[1], v[0], v[0])
			a.VSUBPS(v[3], v[2], v[2])
			a.VADDPS(v[2], v[0], v[0])
			a.VMULPS(inv, v[0], v[0])
			a.VCVTPS2DQ(v[0], v[0])
			a.VPSUBD(v[0], bias, v[1])
			a.VPADDD(v[0], bias, v[0])
			a.VPACKUSDW(v[1], v[0], v[0])
			words[r] = v[0]
		}
		lo, hi := words[0], words[rounds-1]
		if two {
			hi = a.vec()
			a.VPSRLW(Imm(7), lo, hi)
			a.and(low, lo, lo)
		}
		a.VPACKUSWB(hi, lo, lo)
		a.VPERMD(lo, order, lo)
		a.VPSHUFB(reverse, lo, lo)
		size := 4
		if two {
			size = 8
		}
		a.VMOVUPS(lo, at(tables, i, size, 0))
	})
	a.end()
}

// dwords is a vector of small numbers, repeated.
func (a *asm) dwords(b ...byte) vec {
	for len(b) < a.width()/4 {
		b = append(b, b...)
	}
	v := a.vec()
	a.VPMOVZXBD(a.table(b...), v)
	return v
}
