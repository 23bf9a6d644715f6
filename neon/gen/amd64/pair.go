package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutPair = `
1-bit rows times the tables of two tokens at once, two tiles of 64 rows side by side: for prompts, whose weights lie in the first-level cache and whose
tables come from the second.

	line     64 bytes: byte r is row r, its low half chooses from the first tables of a token, its high half from the last
	tables   as in lut16 and lut8, of each token

The halves of a line are taken apart once for both tokens, a table is loaded once for both tiles: a line of a token takes 14.5 operations instead of 16 (8.5 of
10 with tables of 7 bits) and 2.5 loads instead of 5. The sums are those of lut16 and lut8.
`

// pair writes the kernel that takes two tokens, of as many halves an entry.
func pair(a *asm, name string, halves int) {
	a.begin(name, "func(dst0, dst1 *float32, w, tables0, tables1 *byte, scale0, scale1 *float32, lines, unit, pairs int, add bool)")
	w, stride := a.arg("w"), a.arg("lines")
	a.SHLQ(Imm(6), stride)
	var of [2]lut // of a token
	for k, names := range [2]string{"dst0", "dst1"} {
		of[k] = lut{asm: a, halves: halves, dst: a.arg(names)}
	}
	mask := a.bits(0x0f0f0f0f)

	both := a.label("both")
	a.Label(both)
	tables := [2]gp{a.arg("tables0"), a.arg("tables1")}
	scale := [2]gp{a.arg("scale0"), a.arg("scale1")}
	left, unit, add := a.arg("lines"), a.GP64(), a.GP32()
	a.MOVBLZX(a.argAddr("add"), add)
	a.NEGL(add) // all ones, or 0

	units, lines := a.label("unit"), a.label("line")
	a.Label(units)
	var sums [2][2][]byteSums // token, tile, half
	for k := range sums {
		for t := range sums[k] {
			for range halves {
				s := byteSums{a.vec(), a.vec()}
				a.zero(s.all, s.odd)
				sums[k][t] = append(sums[k][t], s)
			}
		}
	}
	a.MOVQ(a.argAddr("unit"), unit)
	a.CMPQ(left, unit)
	a.CMOVQLT(left, unit)
	a.SUBQ(unit, left)
	bias := a.GP64()
	a.MOVQ(unit, bias)
	a.SHLQ(Imm(uint64(7*halves)), bias) // two entries a line, of 64 or 8192 too much each

	a.Label(lines)
	var lo, hi [2]vec // of a tile
	for t, m := range [2]Mem{{Base: w}, {Base: w, Index: stride, Scale: 1}} {
		lo[t], hi[t] = a.load(m), a.vec()
		a.VPSRLW(Imm(4), lo[t], hi[t])
		a.VPANDD(mask, lo[t], lo[t])
		a.VPANDD(mask, hi[t], hi[t])
	}
	for k := range sums {
		for h := range halves {
			low, high := a.vec(), a.vec()
			a.VBROADCASTI32X4(Mem{Base: tables[k], Disp: 16 * h}, low)
			a.VBROADCASTI32X4(Mem{Base: tables[k], Disp: 16 * (halves + h)}, high)
			for t := range lo {
				x, y, s := a.vec(), a.vec(), sums[k][t][h]
				a.VPSHUFB(lo[t], low, x)
				a.VPSHUFB(hi[t], high, y)
				a.VPADDB(y, x, x)
				a.VPADDW(x, s.all, s.all)
				a.VPSRLW(Imm(8), x, x)
				a.VPADDW(x, s.odd, s.odd)
			}
		}
	}
	a.ADDQ(Imm(64), w)
	for k := range tables {
		a.ADDQ(num(32*halves), tables[k])
	}
	a.DECQ(unit)
	a.JNZ(LabelRef(lines))

	flush, rest := a.label("flush"), a.GP64()
	a.MOVQ(I32(2), rest)
	a.Label(flush) // the first tile's, then the second's in the same registers
	for k := range of {
		of[k].flush([][]byteSums{sums[k][0]}, scale[k], bias, add)
		a.ADDQ(num(256), of[k].dst)
		for h, s := range sums[k][1] {
			a.VMOVDQA64(s.all, sums[k][0][h].all)
			a.VMOVDQA64(s.odd, sums[k][0][h].odd)
		}
	}
	a.DECQ(rest)
	a.JNZ(LabelRef(flush))
	a.MOVL(I32(-1), add)
	for k := range of {
		a.SUBQ(num(512), of[k].dst)
		a.ADDQ(Imm(4), scale[k])
	}
	a.TESTQ(left, left)
	a.JNZ(LabelRef(units))
	for k := range of {
		a.ADDQ(num(512), of[k].dst)
	}
	a.ADDQ(stride, w)
	a.DECQ(a.argAddr("pairs"))
	a.JNZ(LabelRef(both))
	a.end()
}
