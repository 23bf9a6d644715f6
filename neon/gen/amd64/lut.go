package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const aboutLUT16 = `
1-bit rows times tables of 14-bit entries, one tile of 64 rows after the other.

	line     64 bytes: byte r is row r, its low half chooses from tables 0 and 1, its high half from 2 and 3
	tables   4 of 16 bytes a line: v&127, v>>7 (columns 0 to 3), v&127, v>>7 (columns 4 to 7)

For each line and half of an entry, s = table[low] + table[high] is a byte of up to 254 for every row. With the bytes of rows 2j and 2j+1 taken as
one word, all += s and odd += s>>8 are sums in 16 bits; all - odd<<8 is that of row 2j, odd that of row 2j+1. 258 lines fit.

A line takes 15 operations on its vector, or on each of its two with AVX2, and 4 loads of tables. Two tiles at a time would share those, but two
streams are slower than one from memory.
`

const aboutLUT8 = `
1-bit rows times tables of 7-bit entries, one tile of 64 rows after the other: as with tables of 14 bits, but with one half.

	line     64 bytes: byte r is row r, its low half chooses from table 0, its high half from table 1
	tables   2 of 16 bytes a line

For each line, s = table[low] + table[high] is a byte of up to 254 for every row. With the bytes of rows 2j and 2j+1 taken as one word,
all += s and odd += s>>8 are sums in 16 bits; all - odd<<8 is that of row 2j, odd that of row 2j+1. A unit has 64 lines at most.

A line takes 9 operations on its vector, or on each of its two with AVX2, and 2 loads of tables.
`

// lut is a kernel that multiplies tiles by tables, in two bytes an entry or in one.
type lut struct {
	*asm
	halves int // bytes of an entry
	dst, w gp
	mask   vec // 15 in every byte
}

func luts(a *asm, name string, halves int) {
	a.begin(name, "func(dst *float32, w, tables *byte, scale *float32, lines, unit, tiles int, add bool)")
	l := &lut{asm: a, halves: halves, dst: a.arg("dst"), w: a.arg("w")}
	tiles, loop := a.arg("tiles"), a.label("tile")
	if a.wide {
		l.mask = a.bits(0x0f0f0f0f)
	}
	a.Label(loop)
	l.tile()
	a.DECQ(tiles)
	a.JNZ(LabelRef(loop))
	a.end()
}

// byteSums adds bytes up in 16 bits.
type byteSums struct{ all, odd vec }

// tile does a tile and steps over it.
func (l *lut) tile() {
	tables, scale, left, unit, add := l.arg("tables"), l.arg("scale"), l.arg("lines"), l.GP64(), l.GP32()
	l.MOVBLZX(l.argAddr("add"), add)
	l.NEGL(add) // all ones, or 0

	sums := make([][]byteSums, l.parts())
	units, lines := l.label("unit"), l.label("line")
	l.Label(units)
	for p := range sums {
		sums[p] = make([]byteSums, l.halves)
		for h := range sums[p] {
			s := byteSums{l.vec(), l.vec()}
			l.zero(s.all, s.odd)
			sums[p][h] = s
		}
	}
	l.MOVQ(l.argAddr("unit"), unit)
	l.CMPQ(left, unit)
	l.CMOVQLT(left, unit)
	l.SUBQ(unit, left)
	bias := l.GP64()
	l.MOVQ(unit, bias)
	l.SHLQ(Imm(uint64(7*l.halves)), bias) // two entries a line, of 64 or 8192 too much each

	l.Label(lines)
	l.ahead(Mem{Base: l.w}, true)
	table := l.vecs(2 * l.halves)
	for i, t := range table {
		if l.wide {
			l.VBROADCASTI32X4(Mem{Base: tables, Disp: 16 * i}, t)
		} else {
			l.VBROADCASTI128(Mem{Base: tables, Disp: 16 * i}, t)
		}
	}
	for p := range sums {
		l.line(sums[p], table, Mem{Base: l.w, Disp: p * l.width()})
	}
	l.ADDQ(Imm(64), l.w)
	l.ADDQ(num(16*len(table)), tables)
	l.DECQ(unit)
	l.JNZ(LabelRef(lines))

	l.flush(sums, scale, bias, add)
	l.MOVL(I32(-1), add)
	l.ADDQ(Imm(4), scale)
	l.TESTQ(left, left)
	l.JNZ(LabelRef(units))
	l.ADDQ(num(256), l.dst)
}

// line looks up and adds a vector of bytes, one of each row.
func (l *lut) line(sums []byteSums, table []vec, m Mem) {
	lo, hi := l.load(m), l.vec()
	l.VPSRLW(Imm(4), lo, hi)
	if l.wide {
		l.VPANDD(l.mask, lo, lo)
		l.VPANDD(l.mask, hi, hi)
	} else { // all 16 registers are taken
		fifteen := l.constant(U64(0x0f0f0f0f0f0f0f0f), U64(0x0f0f0f0f0f0f0f0f), U64(0x0f0f0f0f0f0f0f0f), U64(0x0f0f0f0f0f0f0f0f))
		l.VPAND(fifteen, lo, lo)
		l.VPAND(fifteen, hi, hi)
	}
	for i, s := range sums {
		x, y := lo, hi
		if i < l.halves-1 {
			x, y = l.vec(), l.vec()
		}
		l.VPSHUFB(lo, table[i], x)
		l.VPSHUFB(hi, table[l.halves+i], y)
		l.VPADDB(y, x, x)
		l.VPADDW(x, s.all, s.all)
		l.VPSRLW(Imm(8), x, x)
		l.VPADDW(x, s.odd, s.odd)
	}
}

// flush scales the sums of a unit and writes them, or adds them if add is all ones.
func (l *lut) flush(sums [][]byteSums, scale, bias, add gp) {
	zero, minus, factor := l.vec(), l.vec(), l.broadcast(Mem{Base: scale})
	l.zero(zero)
	l.VMOVD(bias.As32(), minus.AsX())
	l.VPBROADCASTD(minus.AsX(), minus)
	var mask reg.OpmaskVirtual
	var ones vec
	if l.wide {
		mask = l.K()
		l.KMOVW(add, mask)
	} else {
		ones = l.vec()
		l.VMOVD(add, ones.AsX())
		l.VPBROADCASTD(ones.AsX(), ones)
	}
	for p := range sums {
		// Words of the rows in order: those of rows 0 to 7 and 8 to 15 of every 16, in each half.
		rows := make([][2]vec, l.halves)
		for h, s := range sums[p] {
			odd := l.vec()
			l.VPSLLW(Imm(8), s.odd, odd)
			l.VPSUBW(odd, s.all, s.all) // the even rows
			rows[h] = [2]vec{l.vec(), s.odd}
			l.VPUNPCKLWD(s.odd, s.all, rows[h][0])
			l.VPUNPCKHWD(s.odd, s.all, rows[h][1])
		}
		// Numbers: vector i has rows 4i to 4i+3 of every 16.
		y := l.vecs(4)
		for i, v := range y {
			unpack := l.VPUNPCKLWD
			if i%2 == 1 {
				unpack = l.VPUNPCKHWD
			}
			unpack(zero, rows[0][i/2], v)
			if l.halves == 2 {
				hi := l.vec()
				unpack(zero, rows[1][i/2], hi)
				l.VPSLLD(Imm(7), hi, hi)
				l.VPADDD(hi, v, v)
			}
			l.VPSUBD(minus, v, v)
			l.VCVTDQ2PS(v, v)
			l.VMULPS(factor, v, v)
		}
		for i, v := range l.inOrder(y) {
			m := Mem{Base: l.dst, Disp: 4*p*l.width() + i*l.width()}
			if l.wide {
				l.VADDPS(m, v, mask, v)
			} else {
				sum := l.vec()
				l.VADDPS(m, v, sum)
				l.VBLENDVPS(ones, sum, v, v)
			}
			l.VMOVUPS(v, m)
		}
	}
}

// inOrder transposes the 128-bit lanes of four vectors.
func (l *lut) inOrder(y []vec) []vec {
	if !l.wide {
		out := l.vecs(2)
		for i := range 2 {
			l.VPERM2F128(Imm(0x20), y[2*i+1], y[2*i], out[i])
			l.VPERM2F128(Imm(0x31), y[2*i+1], y[2*i], y[2*i])
		}
		return []vec{out[0], out[1], y[0], y[2]}
	}
	a, b, out := l.vecs(2), l.vecs(2), l.vecs(4)
	for i := range 2 {
		l.VSHUFF32X4(Imm(0x44), y[2*i+1], y[2*i], a[i]) // lanes 0 and 1 of each
		l.VSHUFF32X4(Imm(0xee), y[2*i+1], y[2*i], b[i]) // lanes 2 and 3
	}
	l.VSHUFF32X4(Imm(0x88), a[1], a[0], out[0]) // lanes 0 and 2
	l.VSHUFF32X4(Imm(0xdd), a[1], a[0], out[1]) // lanes 1 and 3
	l.VSHUFF32X4(Imm(0x88), b[1], b[0], out[2])
	l.VSHUFF32X4(Imm(0xdd), b[1], b[0], out[3])
	return out
}
