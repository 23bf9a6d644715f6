package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutState = `
One step of a head's state, in one pass over it, four rows at a time: these share the loads of b and c, and their sums are made side by side.

	s     (rows, n)   s = da*s + (dt*x)*b, as float32 or binary16
	y     (rows)      sum of s*c in 16 lanes, of the s before it is rounded to binary16, plus d*x

A round is 16 columns of four rows: 5 operations a vector, and 2 conversions for binary16. 16 columns of a row take about two cycles with AVX-512.
What lies ahead is fetched in order, as the rows are not.
`

// stateAhead is how far in front of the state is fetched: four rows at a time are no stream that a processor foresees.
const stateAhead = 4096

// states writes the update of a head's state, stored as float32 or as binary16.
func states(a *asm) {
	state(a, "state", "func(y, s, x, b, c *float32, rows, n int, da, dt, d float32)", 4)
	state(a, "stateF16", "func(y *float32, s *uint16, x, b, c *float32, rows, n int, da, dt, d float32)", 2)
}

func state(a *asm, name, signature string, size int) {
	a.begin(name, signature)
	y, x, b, c, rows, n := a.arg("y"), a.arg("x"), a.arg("b"), a.arg("c"), a.arg("rows"), a.arg("n")
	var s [4]gp
	stride := a.GP64()
	a.MOVQ(n, stride)
	a.SHLQ(Imm(uint64(size/2)), stride)
	s[0] = a.arg("s")
	for r := 1; r < 4; r++ {
		s[r] = a.GP64()
		a.LEAQ(Mem{Base: s[r-1], Index: stride, Scale: 1}, s[r])
	}
	a.LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, stride) // from the group's end to the next
	next := a.GP64()
	factors := a.AllocLocal(16) // dt*x of the four rows
	da := a.broadcast(a.argAddr("da"))

	group := a.label("group")
	a.Label(group)
	k4 := a.XMM()
	a.VBROADCASTSS(a.argAddr("dt"), k4)
	a.VMULPS(Mem{Base: x}, k4, k4)
	a.VMOVUPS(k4, factors)
	var k []vec
	if a.wide {
		for r := range 4 {
			k = append(k, a.broadcast(factors.Offset(4*r)))
		}
	}
	acc := make([][]vec, 4)
	for r := range acc {
		acc[r] = a.vecs(a.parts())
		a.zero(acc[r]...)
	}
	a.LEAQ(Mem{Base: s[0], Disp: stateAhead}, next)
	a.over(n, 16, func(i gp) {
		for line := 0; line < 4*16*size; line += 64 {
			a.PREFETCHT0(Mem{Base: next, Disp: line})
		}
		a.ADDQ(num(4*16*size), next)
		for p := range a.parts() {
			bv, cv := a.vec(), a.vec()
			a.VMOVUPS(at(b, i, 4, p*a.width()), bv)
			a.VMOVUPS(at(c, i, 4, p*a.width()), cv)
			for r := range 4 {
				v, in := a.vec(), a.vec()
				m := at(s[r], i, size, p*a.width()*size/4)
				if size == 4 {
					a.VMULPS(m, da, v)
				} else {
					a.VCVTPH2PS(m, v)
					a.VMULPS(da, v, v)
				}
				if a.wide {
					a.VMULPS(k[r], bv, in)
				} else { // 16 registers do not hold the factors too
					in = a.broadcast(factors.Offset(4 * r))
					a.VMULPS(bv, in, in)
				}
				a.VADDPS(in, v, v)
				if size == 4 {
					a.VMOVUPS(v, m)
				} else {
					a.VCVTPS2PH(Imm(0), v, m) // to nearest, ties to even
				}
				a.VMULPS(cv, v, v)
				a.VADDPS(v, acc[r][p], acc[r][p])
			}
		}
	})
	out, dx := a.reduce4(acc), a.XMM()
	a.VBROADCASTSS(a.argAddr("d"), dx)
	a.VMULPS(Mem{Base: x}, dx, dx)
	a.VADDPS(dx, out, out)
	a.VMOVUPS(out, Mem{Base: y})
	a.ADDQ(Imm(16), x)
	a.ADDQ(Imm(16), y)
	for r := range 4 {
		a.LEAQ(Mem{Base: s[r], Index: stride, Scale: 1}, s[r])
		a.LEAQ(Mem{Base: s[r], Index: n, Scale: uint8(size)}, s[r])
	}
	a.SUBQ(Imm(4), rows)
	a.JNZ(LabelRef(group))
	a.end()
}
