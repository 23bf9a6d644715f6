package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutDense = `
Rows of floats times x, one after the other as they lie in memory; four at a time would be four streams. 16 columns a round, one vector of sums or
two with AVX2: a round takes as long as an addition.
`

func dense(a *asm) {
	dots(a, "denseF32", 4, func(m Mem, v vec) { a.VMOVUPS(m, v) })
	dots(a, "denseF16", 2, func(m Mem, v vec) { a.VCVTPH2PS(m, v) })
	dots(a, "denseBF16", 2, func(m Mem, v vec) {
		a.VPMOVZXWD(m, v)
		a.VPSLLD(Imm(16), v, v)
	})
}

// dots writes the product of rows of elements of size bytes.
func dots(a *asm, name string, size int, decode func(m Mem, v vec)) {
	a.begin(name, "func(dst *float32, w *byte, x *float32, rows, n int)")
	dst, w, x, rows, n := a.arg("dst"), a.arg("w"), a.arg("x"), a.arg("rows"), a.arg("n")
	row := a.label("row")
	a.Label(row)
	acc := a.vecs(a.parts())
	a.zero(acc...)
	a.over(n, 16, func(i gp) {
		a.ahead(at(w, i, size, 0), false)
		for p, s := range acc {
			v := a.vec()
			decode(at(w, i, size, p*a.width()*size/4), v)
			a.VMULPS(at(x, i, 4, p*a.width()), v, v)
			a.VADDPS(v, s, s)
		}
	})
	a.LEAQ(at(w, n, size, 0), w)
	a.VMOVSS(a.reduce(acc).AsX(), Mem{Base: dst})
	a.ADDQ(Imm(4), dst)
	a.DECQ(rows)
	a.JNZ(LabelRef(row))
	a.end()
}
