package main

import (
	"strings"

	. "github.com/mmcloughlin/avo/operand"
)

const aboutVector = `
Element by element, and the two reductions: 16 elements a round, n of them, a multiple of 16. The reductions add each vector to the lanes, so that
a round takes as long as one addition.
`

func vectors(a *asm) {
	// elementwise writes op(x, y) for every element; y is a vector in memory or the argument k in every lane.
	elementwise := func(name, signature string, op func(v vec, y func() Op)) {
		a.begin(name, signature)
		dst, x, n := a.arg("dst"), a.arg("x"), a.arg("n")
		var y gp
		var k vec
		if strings.Contains(signature, "k float32") {
			k = a.broadcast(a.argAddr("k"))
		} else {
			y = a.arg("y")
		}
		a.over(n, 16, func(i gp) {
			for p := range a.parts() {
				v := a.vec()
				a.VMOVUPS(at(x, i, 4, p*a.width()), v)
				op(v, func() Op {
					if k != nil {
						return k
					}
					return at(y, i, 4, p*a.width())
				})
				a.VMOVUPS(v, at(dst, i, 4, p*a.width()))
			}
		})
		a.end()
	}
	mul := func(v vec, y func() Op) { a.VMULPS(y(), v, v) }
	add := func(v vec, y func() Op) { a.VADDPS(y(), v, v) }
	elementwise("scale", "func(dst, x *float32, n int, k float32)", mul)
	elementwise("addScalar", "func(dst, x *float32, n int, k float32)", add)
	elementwise("mul", "func(dst, x, y *float32, n int)", mul)
	elementwise("add", "func(dst, x, y *float32, n int)", add)

	a.begin("mulAdd", "func(dst, x, y *float32, n int)")
	dst, x, y, n := a.arg("dst"), a.arg("x"), a.arg("y"), a.arg("n")
	a.over(n, 16, func(i gp) {
		for p := range a.parts() {
			v := a.vec()
			a.VMOVUPS(at(x, i, 4, p*a.width()), v)
			a.VMULPS(at(y, i, 4, p*a.width()), v, v)
			a.VADDPS(at(dst, i, 4, p*a.width()), v, v)
			a.VMOVUPS(v, at(dst, i, 4, p*a.width()))
		}
	})
	a.end()

	for _, f := range []struct{ name, signature string }{{"dot", "func(lanes, x, y *float32, n int)"}, {"sum", "func(lanes, x *float32, n int)"}} {
		a.begin(f.name, f.signature)
		lanes, x, n := a.arg("lanes"), a.arg("x"), a.arg("n")
		var y gp
		if f.name == "dot" {
			y = a.arg("y")
		}
		acc := a.vecs(a.parts())
		for p, v := range acc {
			a.VMOVUPS(Mem{Base: lanes, Disp: p * a.width()}, v)
		}
		a.over(n, 16, func(i gp) {
			for p, s := range acc {
				m := at(x, i, 4, p*a.width())
				if f.name == "sum" {
					a.VADDPS(m, s, s)
					continue
				}
				v := a.vec()
				a.VMOVUPS(m, v)
				a.VMULPS(at(y, i, 4, p*a.width()), v, v)
				a.VADDPS(v, s, s)
			}
		})
		for p, v := range acc {
			a.VMOVUPS(v, Mem{Base: lanes, Disp: p * a.width()})
		}
		a.end()
	}
}
