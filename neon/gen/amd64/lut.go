package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const aboutLUT16 = `
TODO
`
const aboutLUT8 = `
TODO
`

// lut writes the product of tiles and tables, in two bytes an entry or in one.
func lut(a *asm, name string, two bool) {
	a.begin(name, "func(dst *float32, w, tables *byte, scale *float32, lines, unit, tiles int, add bool)")
	l := &lutKernel{asm: a, two: two, dst: a.arg("dst"), w: a.arg("w"), tiles: a.arg("tiles")}
	if a.wide {
		l.mask = a.bits(0x0f0f0f0f)
	}
	l.stride = a.arg("lines")
	a.SHLQ(Imm(6), l.stride)
	done := a.label("done")
	if n := l.batch(); n > 1 {
		one, loop := a.label("one"), a.label("tiles")
		a.SUBQ(num(n), l.tiles)
		a.JLT(LabelRef(one))
		a.Label(loop)
		l.product(n)
		a.SUBQ(num(n), l.tiles)
		a.JGE(LabelRef(loop))
		a.Label(one)
		a.ADDQ(num(n), l.tiles)
		a.JZ(LabelRef(done))
	}
	loop := a.label("tile")
	a.Label(loop)
	l.product(1)
	a.DECQ(l.tiles)
	a.JNZ(LabelRef(loop))
	a.Label(done)
	a.end()
}

type lutKernel struct {
	*asm
	two           bool // tables of two bytes an entry
	dst, w, tiles gp
	stride        gp  // the bytes of a tile
	mask          vec // 15 in every byte
}

// batch is how many tiles go side by side.
func (l *lutKernel) batch() int {
	if !l.wide && l.two {
		return 1
	}
	return lutBatch
}

var lutBatch = 2

const prefetchLUT = 4096

// halves is how many halves an entry has.
func (l *lutKernel) halves() int {
	if l.two {
		return 2
	}
	return 1
}

// product does n tiles and steps over them.
func (l *lutKernel) product(n int) {
	tables, scale, left, unit := l.arg("tables"), l.arg("scale"), l.arg("lines"), l.GP64()
	add := l.GP32()
	l.MOVBLZX(l.argAddr("add"), add)
	l.NEGL(add) // all ones, or 0

	// sums[tile][part][half] are the accumulators.
	sums := make([][][]byteSums, n)
	for t := range sums {
		sums[t] = make([][]byteSums, l.parts())
		for p := range sums[t] {
			sums[t][p] = make([]byteSums, l.halves())
			for h := range sums[t][p] {
				sums[t][p][h] = byteSums{l.vec(), l.vec()}
			}
		}
	}
	units, lines := l.label("unit"), l.label("line")
	l.Label(units)
	for t := range sums {
		for p := range sums[t] {
			for _, s := range sums[t][p] {
				l.zero(s.all, s.odd)
			}
		}
	}
	l.MOVQ(l.argAddr("unit"), unit)
	l.CMPQ(left, unit)
	l.CMOVQLT(left, unit)
	l.SUBQ(unit, left)
	bias := l.GP64()
	l.MOVQ(unit, bias)
	l.SHLQ(Imm(uint64(map[bool]int{true: 14, false: 7}[l.two])), bias) // two entries, of 8192 or 64 too much each

	l.Label(lines)
	for t := range n {
		m := Mem{Base: l.w}
		if t > 0 {
			m.Index, m.Scale = l.stride, 1
		}
		l.PREFETCHT0(m.Offset(prefetchLUT))
	}
	table := make([]vec, 2*l.halves())
	for i := range table {
		table[i] = l.vec()
		if l.wide {
			l.VBROADCASTI32X4(Mem{Base: tables, Disp: 16 * i}, table[i])
		} else {
			l.VBROADCASTI128(Mem{Base: tables, Disp: 16 * i}, table[i])
		}
	}
	for t := range sums {
		for p := range sums[t] {
			m := Mem{Base: l.w, Disp: p * l.width()}
			if t > 0 {
				m.Index, m.Scale = l.stride, 1
			}
			l.line(sums[t][p], table, m)
		}
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
	l.ADDQ(num(n*256), l.dst)
	for range n - 1 {
		l.ADDQ(l.stride, l.w)
	}
}

// byteSums adds bytes up in 16 bits: all is the sum of the words of two bytes, odd that of their upper bytes alone.
type byteSums struct{ all, odd vec }

// line looks up and adds a vector of bytes, one of each row.
func (l *lutKernel) line(sums []byteSums, table []vec, m Mem) {
	lo, hi := l.vec(), l.vec()
	l.VMOVUPS(m, lo)
	l.VPSRLW(Imm(4), lo, hi)
	if l.wide {
		l.VPANDD(l.mask, lo, lo)
		l.VPANDD(l.mask, hi, hi)
	} else { // its 16 registers are all in use
		mask := l.nibbles()
		l.VPAND(mask, lo, lo)
		l.VPAND(mask, hi, hi)
	}
	h := l.halves()
	for i, s := range sums {
		x, y := lo, hi
		if i < h-1 {
			x, y = l.vec(), l.vec()
		}
		l.VPSHUFB(lo, table[i], x)
		l.VPSHUFB(hi, table[h+i], y)
		l.VPADDB(y, x, x)
		l.VPADDW(x, s.all, s.all)
		l.VPSRLW(Imm(8), x, x)
		l.VPADDW(x, s.odd, s.odd)
	}
}

func (l *lutKernel) nibbles() Mem {
	b := make([]byte, 32)
	for i := range b {
		b[i] = 15
	}
	return l.table(b...)
}

// flush scales the sums of n tiles and writes them, or adds them if add is all ones.
func (l *lutKernel) flush(sums [][][]byteSums, scale, bias, add gp) {
	zero, minus, factor := l.vec(), l.vec(), l.broadcast(Mem{Base: scale})
	l.zero(zero)
	l.VMOVD(bias.As32(), minus.AsX())
	l.VPBROADCASTD(minus.AsX(), minus)
	var k reg.OpmaskVirtual
	var ones vec
	if l.wide {
		k = l.K()
		l.KMOVW(add, k)
	} else {
		ones = l.vec()
		l.VMOVD(add, ones.AsX())
		l.VPBROADCASTD(ones.AsX(), ones)
	}
	for t := range sums {
		for p := range sums[t] {
			// Words of rows in order, 8 of every 16: in each half.
			rows := make([][2]vec, l.halves())
			for h, s := range sums[t][p] {
				odd := l.vec()
				l.VPSLLW(Imm(8), s.odd, odd)
				l.VPSUBW(odd, s.all, s.all) // the even rows
				rows[h] = [2]vec{l.vec(), s.odd}
				l.VPUNPCKLWD(s.odd, s.all, rows[h][0])
				l.VPUNPCKHWD(s.odd, s.all, rows[h][1])
			}
			// Numbers: vector i has rows 4i to 4i+3 of every 16.
			y := make([]vec, 4)
			for i := range y {
				y[i] = l.vec()
				unpack := l.VPUNPCKLWD
				if i%2 == 1 {
					unpack = l.VPUNPCKHWD
				}
				unpack(zero, rows[0][i/2], y[i])
				if l.two {
					hi := rows[1][i/2]
					if i%2 == 0 {
						hi = l.vec()
					}
					unpack(zero, rows[1][i/2], hi)
					l.VPSLLD(Imm(7), hi, hi)
					l.VPADDD(hi, y[i], y[i])
				}
				l.VPSUBD(minus, y[i], y[i])
				l.VCVTDQ2PS(y[i], y[i])
				l.VMULPS(factor, y[i], y[i])
			}
			for i, v := range l.inOrder(y) {
				m := Mem{Base: l.dst, Disp: 256*t + p*4*l.width() + i*l.width()}
				if l.wide {
					l.VADDPS(m, v, k, v)
				} else {
					sum := l.vec()
					l.VADDPS(m, v, sum)
					l.VBLENDVPS(ones, sum, v, v)
				}
				l.VMOVUPS(v, m)
			}
		}
	}
}

// inOrder transposes the 128-bit lanes of four vectors.
func (l *lutKernel) inOrder(y []vec) []vec {
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
		l.VSHUFF32X4(Imm(0x44), y[2*i+1], y[2*i], a[i])
		l.VSHUFF32X4(Imm(0xee), y[2*i+1], y[2*i], b[i])
	}
	l.VSHUFF32X4(Imm(0x88), a[1], a[0], out[0])
	l.VSHUFF32X4(Imm(0xdd), a[1], a[0], out[1])
	l.VSHUFF32X4(Imm(0x88), b[1], b[0], out[2])
	l.VSHUFF32X4(Imm(0xdd), b[1], b[0], out[3])
	return out
}
