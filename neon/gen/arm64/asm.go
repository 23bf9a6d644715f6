package main

import (
	"fmt"
	"strings"
)

// V is the number of a vector register, R of another.
type (
	V int
	R int
)

// asm collects the text of one file. Its methods append an instruction each, operands in the order of the ARM manual: the destination first.
type asm struct {
	lines []string
	args  map[string]string // of the current function: name -> name+offset(FP)
}

func (a *asm) raw(format string, args ...any) {
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
}

// op is an instruction that Go's assembler knows, in its syntax.
func (a *asm) op(format string, args ...any) { a.raw("\t"+format, args...) }

// word is one that it does not know: its encoding, and in the comment the text that the test gives to another assembler.
func (a *asm) word(code uint32, format string, args ...any) {
	a.raw("\tWORD $0x%08x // %s", code, fmt.Sprintf(format, args...))
}

func (a *asm) label(name string) { a.raw("%s:", name) }
func (a *asm) note(text string)  { a.raw("\t// %s", text) }

// text opens the function of a Go prototype. Arguments are pointers, ints (8 bytes), float32 and uint32 (4) and bools; results follow them.
func (a *asm) text(prototype string) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(prototype, "func "), "(")
	params, result, _ := strings.Cut(rest, ")")
	a.args = map[string]string{}
	offset := 0
	place := func(name, kind string) {
		size := 8
		switch kind {
		case "float32", "uint32":
			size = 4
		case "bool":
			size = 1
		}
		offset = (offset + size - 1) &^ (size - 1)
		a.args[name] = fmt.Sprintf("%s+%d(FP)", name, offset)
		offset += size
	}
	fields := strings.Split(params, ", ")
	for i, f := range fields {
		name, kind, ok := strings.Cut(f, " ")
		for j := i + 1; !ok; j++ { // lines, tables *byte
			_, kind, ok = strings.Cut(fields[j], " ")
		}
		place(name, kind)
	}
	if result = strings.TrimSpace(result); result != "" {
		offset = (offset + 7) &^ 7
		place("ret", result)
	}
	a.raw("\n// %s\nTEXT ·%s(SB), NOSPLIT, $0-%d", prototype, name, offset)
}

// load brings an argument into a register, with MOVD, MOVWU, MOVBU or FMOVS.
func (a *asm) load(move, arg, reg string) { a.op("%s %s, %s", move, a.arg(arg), reg) }

func (a *asm) arg(name string) string {
	at, ok := a.args[name]
	if !ok {
		panic("no argument " + name)
	}
	return at
}

// mix appends what the streams append, one instruction of each in turn, so that an in-order core finds the next instruction ready.
func (a *asm) mix(streams ...func()) {
	before := a.lines
	var parts [][]string
	for _, s := range streams {
		a.lines = nil
		s()
		parts = append(parts, a.lines)
	}
	a.lines = before
	for i, left := 0, true; left; i++ {
		left = false
		for _, p := range parts {
			if i < len(p) {
				a.lines = append(a.lines, p[i])
				left = true
			}
		}
	}
}

// each is n streams for mix.
func each(n int, f func(i int)) (streams []func()) {
	for i := range n {
		streams = append(streams, func() { f(i) })
	}
	return streams
}

// Instructions by Go's names. Arrangements are those of Go: B16, H8, S4 ...

func (a *asm) and(d, n, m V)  { a.op("VAND V%d.B16, V%d.B16, V%d.B16", m, n, d) }
func (a *asm) eor(d, n, m V)  { a.op("VEOR V%d.B16, V%d.B16, V%d.B16", m, n, d) }
func (a *asm) zero(d V)       { a.op("VMOVI $0, V%d.B16", d) }
func (a *asm) tbl(d, t, i V)  { a.op("VTBL V%d.B16, [V%d.B16], V%d.B16", i, t, d) }
func (a *asm) rev64(d, n V)   { a.op("VREV64 V%d.H8, V%d.H8", n, d) }
func (a *asm) uaddw(d, m V)   { a.op("VUADDW V%d.H4, V%d.S4, V%d.S4", m, d, d) }
func (a *asm) uaddw2(d, m V)  { a.op("VUADDW2 V%d.H8, V%d.S4, V%d.S4", m, d, d) }
func (a *asm) umax(d, n, m V) { a.op("VUMAX V%d.S4, V%d.S4, V%d.S4", m, n, d) }

func (a *asm) movi(d V, n int)              { a.op("VMOVI $%d, V%d.B16", n, d) }
func (a *asm) dup(d V, reg string)          { a.op("VDUP %s, V%d.S4", reg, d) }
func (a *asm) ushr(t string, d, n V, s int) { a.op("VUSHR $%d, V%d.%s, V%d.%s", s, n, t, d, t) }
func (a *asm) shl(t string, d, n V, s int)  { a.op("VSHL $%d, V%d.%s, V%d.%s", s, n, t, d, t) }
func (a *asm) add(t string, d, n, m V)      { a.op("VADD V%d.%s, V%d.%s, V%d.%s", m, t, n, t, d, t) }
func (a *asm) sub(t string, d, n, m V)      { a.op("VSUB V%d.%s, V%d.%s, V%d.%s", m, t, n, t, d, t) }
func (a *asm) addp(t string, d, n, m V)     { a.op("VADDP V%d.%s, V%d.%s, V%d.%s", m, t, n, t, d, t) }
func (a *asm) uzp1(t string, d, n, m V)     { a.op("VUZP1 V%d.%s, V%d.%s, V%d.%s", m, t, n, t, d, t) }
func (a *asm) zip1(t string, d, n, m V)     { a.op("VZIP1 V%d.%s, V%d.%s, V%d.%s", m, t, n, t, d, t) }
func (a *asm) zip2(t string, d, n, m V)     { a.op("VZIP2 V%d.%s, V%d.%s, V%d.%s", m, t, n, t, d, t) }
func (a *asm) ext(d, n, m V, bytes int)     { a.op("VEXT $%d, V%d.B16, V%d.B16, V%d.B16", bytes, m, n, d) }

// Loads and stores of 16 and 2*16 bytes; the P forms move the address on.

func (a *asm) ldr(d V, at int, base string)    { a.op("FMOVQ %s, F%d", mem(at, base), d) }
func (a *asm) ldrP(d V, step int, base string) { a.op("FMOVQ.P %d(%s), F%d", step, base, d) }
func (a *asm) str(d V, at int, base string)    { a.op("FMOVQ F%d, %s", d, mem(at, base)) }
func (a *asm) strP(d V, step int, base string) { a.op("FMOVQ.P F%d, %d(%s)", d, step, base) }
func (a *asm) ldp(d, e V, at int, base string) { a.op("FLDPQ %s, (F%d, F%d)", mem(at, base), d, e) }
func (a *asm) ldpP(d, e V, n int, base string) { a.op("FLDPQ.P %d(%s), (F%d, F%d)", n, base, d, e) }
func (a *asm) stp(d, e V, at int, base string) { a.op("FSTPQ (F%d, F%d), %s", d, e, mem(at, base)) }
func (a *asm) stpP(d, e V, n int, base string) { a.op("FSTPQ.P (F%d, F%d), %d(%s)", d, e, n, base) }
func (a *asm) dup4(d V, from string, bytes int) {
	a.op("VLD4R.P %d(%s), [V%d.S4, V%d.S4, V%d.S4, V%d.S4]", bytes, from, d, d+1, d+2, d+3)
}

func mem(at int, base string) string {
	if at == 0 {
		return "(" + base + ")"
	}
	return fmt.Sprintf("%d(%s)", at, base)
}
