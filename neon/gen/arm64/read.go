package main

var readFile = file{"read_arm64.s", `
  R0 b    R1 bytes left, a multiple of 128    R2 bytes to prefetch ahead, R3 a line more    V0-V7 exclusive or    V16-V23 loaded
`, func(a *asm) {
	a.text("func readXor(b *byte, n, ahead int) uint64")
	a.load("MOVD", "b", "R0")
	a.load("MOVD", "n", "R1")
	a.load("MOVD", "ahead", "R2")
	a.op("ADD $64, R2, R3")
	for v := range V(8) {
		a.zero(v)
	}
	a.label("loop")
	a.prefetch(0, 2)
	a.prefetch(0, 3)
	for v := V(16); v < 24; v += 2 {
		a.ldpP(v, v+1, 32, "R0")
	}
	for v := range V(8) {
		a.eor(v, v, 16+v)
	}
	a.op("SUBS $128, R1, R1")
	a.op("BNE loop")
	for n := V(4); n > 0; n /= 2 {
		for v := range n {
			a.eor(v, v, v+n)
		}
	}
	a.op("VMOV V0.D[0], R0")
	a.op("VMOV V0.D[1], R1")
	a.op("EOR R1, R0")
	a.op("MOVD R0, %s", a.arg("ret"))
	a.op("RET")
}}
