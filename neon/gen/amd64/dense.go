package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutDense = `
TODO
`

func dense(a *asm) {
	dot4(a, "denseF32", 4, func(m Mem, v vec) { a.VMOVUPS(m, v) })
	dot4(a, "denseF16", 2, func(m Mem, v vec) { a.VCVTPH2PS(m, v) })
	dot4(a, "denseBF16", 2, func(m Mem, v vec) {
		a.VPMOVZXWD(m, v)
		a.VPSLLD(Imm(16), v, v)
	})
}

// dot4 writes the product of four rows at a time, of elements of size bytes.
func dot4(a *asm, name string, size int, decode func(m Mem, v vec)) {
	a.begin(name, "func(dst *float32, w *byte, x *float32, rows, n int)")
	dst, x, rows, n := a.arg("dst"), a.arg("x"), a.arg("rows"), a.arg("n")
	w := a.rows4("w")
	a.MOVQ(n, w.stride)
	a.SHLQ(Imm(uint64(size/2)), w.stride)
	a.LEAQ(Mem{Base: w.stride, Index: w.stride, Scale: 2}, w.stride3)

	group := a.label("group")
	a.Label(group)
	acc := make([][]vec, 4)
	for r := range acc {
		acc[r] = a.vecs(a.parts())
		a.zero(acc[r]...)
	}
	ahead := a.GP64()
	a.LEAQ(Mem{Base: w.base, Index: w.stride, Scale: 4, Disp: 2048}, ahead)
	a.over(n, 16, func(i gp) {
		for line := 0; line < 4*16*size; line += 64 {
			a.PREFETCHT0(Mem{Base: ahead, Disp: line})
		}
		a.ADDQ(num(4*16*size), ahead)
		for p := range a.parts() {
			xv := a.load(at(x, i, 4, p*a.width()))
			for r := range 4 {
				v := a.vec()
				decode(w.row(r).Offset(p*a.width()*size/4), v)
				a.VMULPS(xv, v, v)
				a.VADDPS(v, acc[r][p], acc[r][p])
			}
		}
		a.ADDQ(num(16*size), w.base)
	})
	a.ADDQ(w.stride3, w.base)
	a.VMOVUPS(a.reduce4(acc), Mem{Base: dst})
	a.ADDQ(Imm(16), dst)
	a.SUBQ(Imm(4), rows)
	a.JNZ(LabelRef(group))
	a.end()
}
