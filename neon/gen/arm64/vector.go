package main

var vectorFile = file{"vector_arm64.s", `
Reductions keep their 16 lanes in V0-V3. Elementwise functions take 16 elements a turn.

  R0 lanes or dst    R1 x    R2 y    R3 elements left, a multiple of 16 and not 0
  V0-V3 lanes    V4-V7 dst    V16-V19 x    V20-V23 y or the scalar
`, func(a *asm) {
	a.text("func dot16(l *float32, x, y *float32, n int)")
	reduction(a, func() {
		load16(a, 16, "x")
		load16(a, 20, "y")
		for v := range V(4) {
			a.fmul(16+v, 16+v, 20+v)
		}
	})
	a.text("func sum16(l *float32, x *float32, n int)")
	reduction(a, func() { load16(a, 16, "x") })

	a.text("func scale16(dst, x *float32, n int, k float32)")
	elementwise(a, func(v V) { a.fmul(16+v, 16+v, 20) }, "x", "k")
	a.text("func mul16(dst, x, y *float32, n int)")
	elementwise(a, func(v V) { a.fmul(16+v, 16+v, 20+v) }, "x", "y")
	a.text("func add16(dst, x, y *float32, n int)")
	elementwise(a, func(v V) { a.fadd(16+v, 16+v, 20+v) }, "x", "y")
	a.text("func addScalar16(dst, x *float32, n int, k float32)")
	elementwise(a, func(v V) { a.fadd(16+v, 16+v, 20) }, "x", "k")
	a.text("func mulAdd16(dst, x, y *float32, n int)")
	elementwise(a, func(v V) { a.fmul(16+v, 16+v, 20+v) }, "x", "y", "dst")
}}

var registers = map[string]string{"dst": "R0", "l": "R0", "x": "R1", "y": "R2", "n": "R3"}

// load16 is the next 16 elements.
func load16(a *asm, to V, from string) {
	a.ldp(to+2, to+3, 32, registers[from])
	a.ldpP(to, to+1, 64, registers[from])
}

func reduction(a *asm, terms func()) {
	for _, arg := range []string{"l", "x", "y", "n"} {
		if _, ok := a.args[arg]; ok {
			a.load("MOVD", arg, registers[arg])
		}
	}
	a.ldp(0, 1, 0, "R0")
	a.ldp(2, 3, 32, "R0")
	a.label("loop")
	terms()
	a.op("SUBS $16, R3, R3")
	for v := range V(4) {
		a.fadd(v, v, 16+v)
	}
	a.op("BNE loop")
	a.stp(0, 1, 0, "R0")
	a.stp(2, 3, 32, "R0")
	a.op("RET")
}

func elementwise(a *asm, op func(v V), from ...string) {
	add := false // to dst
	for _, arg := range append(from, "dst", "n") {
		if arg == "k" {
			a.load("MOVWU", "k", "R4")
			a.dup(20, "R4")
			continue
		}
		a.load("MOVD", arg, registers[arg])
	}
	a.label("loop")
	for i, arg := range from {
		switch arg {
		case "dst":
			add = true
			a.ldp(4, 5, 0, "R0")
			a.ldp(6, 7, 32, "R0")
		case "x", "y":
			load16(a, V(16+4*i), arg)
		}
	}
	a.op("SUBS $16, R3, R3")
	for v := range V(4) {
		op(v)
	}
	if add {
		for v := range V(4) {
			a.fadd(16+v, 4+v, 16+v)
		}
	}
	a.stp(18, 19, 32, "R0")
	a.stpP(16, 17, 64, "R0")
	a.op("BNE loop")
	a.op("RET")
}
