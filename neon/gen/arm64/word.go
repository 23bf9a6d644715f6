package main

// Instructions that Go's assembler does not know by name.

func reg3(op uint32, d, n, m V) uint32 { return op | uint32(m)<<16 | uint32(n)<<5 | uint32(d) }

// same3 and same2 have one arrangement in all operands.
func (a *asm) same3(op uint32, name, t string, d, n, m V) {
	a.word(reg3(op, d, n, m), "%s v%d.%s, v%d.%s, v%d.%s", name, d, t, n, t, m, t)
}

func (a *asm) same2(op uint32, name, t string, d, n V) {
	a.word(reg3(op, d, n, 0), "%s v%d.%s, v%d.%s", name, d, t, n, t)
}

// cast goes from arrangement tn to td; wide does so from two operands of tn.
func (a *asm) cast(op uint32, name, td, tn string, d, n V) {
	a.word(reg3(op, d, n, 0), "%s v%d.%s, v%d.%s", name, d, td, n, tn)
}

func (a *asm) wide(op uint32, name, td, tn string, d, n, m V) {
	a.word(reg3(op, d, n, m), "%s v%d.%s, v%d.%s, v%d.%s", name, d, td, n, tn, m, tn)
}

// Float32, four lanes.

func (a *asm) fadd(d, n, m V)  { a.same3(0x4e20d400, "fadd", "4s", d, n, m) }
func (a *asm) fsub(d, n, m V)  { a.same3(0x4ea0d400, "fsub", "4s", d, n, m) }
func (a *asm) fmul(d, n, m V)  { a.same3(0x6e20dc00, "fmul", "4s", d, n, m) }
func (a *asm) fdiv(d, n, m V)  { a.same3(0x6e20fc00, "fdiv", "4s", d, n, m) }
func (a *asm) fmax(d, n, m V)  { a.same3(0x4e20f400, "fmax", "4s", d, n, m) }
func (a *asm) fmin(d, n, m V)  { a.same3(0x4ea0f400, "fmin", "4s", d, n, m) }
func (a *asm) faddp(d, n, m V) { a.same3(0x6e20d400, "faddp", "4s", d, n, m) }
func (a *asm) fabs(d, n V)     { a.same2(0x4ea0f800, "fabs", "4s", d, n) }
func (a *asm) fneg(d, n V)     { a.same2(0x6ea0f800, "fneg", "4s", d, n) }
func (a *asm) scvtf(d, n V)    { a.same2(0x4e21d800, "scvtf", "4s", d, n) }
func (a *asm) scvtf12(d, n V)  { a.word(reg3(0x4f34e400, d, n, 0), "scvtf v%d.4s, v%d.4s, #12", d, n) } // of n/4096
func (a *asm) fcvtns(d, n V)   { a.same2(0x4e21a800, "fcvtns", "4s", d, n) }

// fmulLane is n times lane i of m.
func (a *asm) fmulLane(d, n, m V, i int) {
	a.word(reg3(0x4f809000, d, n, m)|uint32(i&1)<<21|uint32(i>>1)<<11, "fmul v%d.4s, v%d.4s, v%d.s[%d]", d, n, m, i)
}

// Binary16 from and to float32.

func (a *asm) fcvtl(d, n V)  { a.cast(0x0e217800, "fcvtl", "4s", "4h", d, n) }
func (a *asm) fcvtl2(d, n V) { a.cast(0x4e217800, "fcvtl2", "4s", "8h", d, n) }
func (a *asm) fcvtn(d, n V)  { a.cast(0x0e216800, "fcvtn", "4h", "4s", d, n) }
func (a *asm) fcvtn2(d, n V) { a.cast(0x4e216800, "fcvtn2", "8h", "4s", d, n) }

// Integers.

func (a *asm) mvn(d, n V)  { a.same2(0x6e205800, "mvn", "16b", d, n) }
func (a *asm) negH(d, n V) { a.same2(0x6e60b800, "neg", "8h", d, n) }
func (a *asm) negS(d, n V) { a.same2(0x6ea0b800, "neg", "4s", d, n) }

// umaxv leaves the largest of four lanes in lane 0.
func (a *asm) umaxv(d, n V) { a.word(reg3(0x6eb0a800, d, n, 0), "umaxv s%d, v%d.4s", d, n) }

// sabal adds |n-m| of the low 8 signed bytes to lanes of 16 bits, sabal2 that of the high 8.
func (a *asm) sabal(d, n, m V)  { a.wide(0x0e205000, "sabal", "8h", "8b", d, n, m) }
func (a *asm) sabal2(d, n, m V) { a.wide(0x4e205000, "sabal2", "8h", "16b", d, n, m) }

func (a *asm) smullH(d, n, m V)  { a.wide(0x0e60c000, "smull", "4s", "4h", d, n, m) }
func (a *asm) smull2H(d, n, m V) { a.wide(0x4e60c000, "smull2", "4s", "8h", d, n, m) }
func (a *asm) smlalH(d, n, m V)  { a.wide(0x0e608000, "smlal", "4s", "4h", d, n, m) }
func (a *asm) smlal2H(d, n, m V) { a.wide(0x4e608000, "smlal2", "4s", "8h", d, n, m) }

// saddlpS adds pairs of 32 bits to 64; sadalpS adds them to what is there.
func (a *asm) saddlpS(d, n V) { a.cast(0x4ea02800, "saddlp", "2d", "4s", d, n) }
func (a *asm) sadalpS(d, n V) { a.cast(0x4ea06800, "sadalp", "2d", "4s", d, n) }

// sdot adds the products of four signed bytes to each lane. Not every CPU has it.
func (a *asm) sdot(d, n, m V) { a.wide(0x4e809400, "sdot", "4s", "16b", d, n, m) }

func (a *asm) shift(op uint32, name, td, tn string, d, n V, s int) {
	a.word(reg3(op, d, n, 0), "%s v%d.%s, v%d.%s, #%d", name, d, td, n, tn, s)
}

// sshll widens 16 bits to 32 and shifts left; the B forms widen bytes.
func (a *asm) sshll(d, n V, s int)  { a.shift(0x0f10a400|uint32(s)<<16, "sshll", "4s", "4h", d, n, s) }
func (a *asm) sshll2(d, n V, s int) { a.shift(0x4f10a400|uint32(s)<<16, "sshll2", "4s", "8h", d, n, s) }
func (a *asm) sshllB(d, n V, s int) { a.shift(0x0f08a400|uint32(s)<<16, "sshll", "8h", "8b", d, n, s) }
func (a *asm) sshll2B(d, n V, s int) {
	a.shift(0x4f08a400|uint32(s)<<16, "sshll2", "8h", "16b", d, n, s)
}

// shll and shll2 put 16 bits into the high half of 32.
func (a *asm) shll(d, n V)  { a.shift(0x2e613800, "shll", "4s", "4h", d, n, 16) }
func (a *asm) shll2(d, n V) { a.shift(0x6e613800, "shll2", "4s", "8h", d, n, 16) }

// shrn shifts 16 bits right and keeps the low 8; rshrn rounds.
func (a *asm) shrn(d, n V, s int) { a.shift(0x0f008400|uint32(16-s)<<16, "shrn", "8b", "8h", d, n, s) }
func (a *asm) shrn2(d, n V, s int) {
	a.shift(0x4f008400|uint32(16-s)<<16, "shrn2", "16b", "8h", d, n, s)
}
func (a *asm) rshrn(d, n V, s int) {
	a.shift(0x0f008c00|uint32(16-s)<<16, "rshrn", "8b", "8h", d, n, s)
}
func (a *asm) rshrn2(d, n V, s int) {
	a.shift(0x4f008c00|uint32(16-s)<<16, "rshrn2", "16b", "8h", d, n, s)
}

// prefetch asks for the line at base + ahead, which will be read once; prefetchW for one that will be written. They never fault.
func (a *asm) prefetch(base, ahead R)  { a.prfm(1, "pldl1strm", base, ahead) }
func (a *asm) prefetchW(base, ahead R) { a.prfm(17, "pstl1strm", base, ahead) }

func (a *asm) prfm(op uint32, name string, base, ahead R) {
	a.word(0xf8a06800|uint32(ahead)<<16|uint32(base)<<5|op, "prfm %s, [x%d, x%d]", name, base, ahead)
}

// addpD adds the two lanes of 64 bits.
func (a *asm) addpD(d, n V) {
	a.word(reg3(0x5ef1b800, d, n, 0), "addp d%d, v%d.2d", d, n)
}
