package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

const aboutRead = `
The exclusive or of a slice, 256 bytes a round: as fast as memory gives them.
`

func read(a *asm) {
	a.begin("read", "func(b *byte, n int) uint64")
	b, n := a.arg("b"), a.arg("n")
	acc := a.vecs(4)
	a.zero(acc...)
	a.over(n, 256, func(i gp) {
		for j := 0; j < 256; j += a.width() {
			v := acc[j/a.width()%4]
			a.xor(at(b, i, 1, j), v, v)
		}
	})
	a.xor(acc[1], acc[0], acc[0])
	a.xor(acc[3], acc[2], acc[2])
	a.xor(acc[2], acc[0], acc[0])
	x, y := a.YMM(), a.YMM()
	if a.wide {
		a.VEXTRACTI64X4(Imm(1), acc[0], x)
		a.VPXOR(x, acc[0].AsY(), x)
	} else {
		x = acc[0]
	}
	a.VEXTRACTI128(Imm(1), x, y.AsX())
	a.VPXOR(x.AsX(), y.AsX(), x.AsX())
	a.VPSHUFD(Imm(0x4e), x.AsX(), y.AsX())
	a.VPXOR(x.AsX(), y.AsX(), x.AsX())
	sum := a.GP64()
	a.VMOVQ(x.AsX(), sum)
	a.Store(sum, a.ReturnIndex(0))
	a.end()
}
