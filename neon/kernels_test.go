package neon

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math"
	"testing"

	"bimamba/neon/layout"
)

// A workload is a kernel on fixed inputs, for the hashes, the allocations and the benchmarks.
type workload struct {
	name  string
	bytes int64       // what a call reads and writes
	run   func()      // may run many times
	out   [][]float32 // what it writes
}

// workloads covers every kernel that writes numbers. The first rows or columns are those of the 22M model (d_model 512); odd sizes follow.
func workloads() (all []workload) {
	n := noise(11)
	add := func(name string, bytes int, run func(), out ...[]float32) {
		all = append(all, workload{name, int64(bytes), run, out})
	}

	for _, s := range []struct {
		name string
		l    layout.Bits
	}{{"in_proj", layout.Bits{Rows: 2192, Cols: 512, Kb: 512}}, {"out_proj", layout.Bits{Rows: 512, Cols: 1024, Kb: 1024}}, {"odd", layout.Bits{Rows: 131, Cols: 333, Kb: 128}}} {
		l := s.l
		w, x := n.packed(l), n.floats(l.Cols)
		set(&n, x, 500)
		lut, lut8 := newLUT(l.Cols, LUT16), newLUT(l.Cols, LUT8)
		dst, fast, exact := make([]float32, l.Rows), make([]float32, l.Rows), make([]float32, l.Rows)
		lut.Build(x, l)
		lut8.Build(x, l)
		add("LUT.Build/lut16/"+s.name, 4*l.Cols+len(lut.tables), func() { lut.Build(x, l) })
		add("BitMatVec/lut16/"+s.name, len(w), func() { BitMatVec(dst, w, l, lut, 0, l.Tiles()) }, dst)
		add("LUT.Build/lut8/"+s.name, 4*l.Cols+len(lut8.tables), func() { lut8.Build(x, l) })
		add("BitMatVec/lut8/"+s.name, len(w), func() { BitMatVec(fast, w, l, lut8, 0, l.Tiles()) }, fast)
		add("BitMatVecExact/"+s.name, len(w), func() { BitMatVecExact(exact, w, l, x, 0, l.Tiles()) }, exact)
	}

	for _, s := range []struct {
		name       string
		rows, cols int
	}{{"head", 512, 512}, {"odd", 13, 333}} {
		x := n.floats(s.cols)
		for _, e := range elems {
			w, dst := make([]byte, s.rows*s.cols*e.elem.size()), make([]float32, s.rows)
			e.encode(w, n.floats(s.rows*s.cols))
			add("MatVec/"+e.name+"/"+s.name, len(w), func() { MatVec(dst, w, e.elem, x, 0, s.rows) }, dst)
			row := make([]float32, s.cols)
			add("Row/"+e.name+"/"+s.name, len(w)/s.rows, func() { Row(row, w, e.elem, 3) }, row)
		}
		w, scale, dst, exact := n.bytes(s.rows*s.cols), n.floats(s.rows), make([]float32, s.rows), make([]float32, s.rows)
		q := newQ14(s.cols)
		q.Quantize(x)
		add("Q14.Quantize/"+s.name, 12*s.cols, func() { q.Quantize(x) })
		add("I8MatVec/"+s.name, len(w), func() { I8MatVec(dst, w, scale, q, 0, s.rows) }, dst)
		add("I8MatVecExact/"+s.name, len(w), func() { I8MatVecExact(exact, w, scale, x, 0, s.rows) }, exact)
		w4, scale4, dst4 := n.bytes(s.rows*layout.I4RowBytes(s.cols)), make([]byte, 2*s.rows*layout.I4Groups(s.cols)), make([]float32, s.rows)
		layout.EncodeF16(scale4, n.floats(len(scale4)/2))
		add("I4MatVec/"+s.name, len(w4)+len(scale4), func() { I4MatVec(dst4, w4, scale4, q, 0, s.rows) }, dst4)
		row4 := make([]float32, s.cols)
		add("I4Row/"+s.name, s.cols/2, func() { I4Row(row4, w4, scale4, 2) }, row4)
		row := make([]float32, s.cols)
		add("I8Row/"+s.name, s.cols, func() { I8Row(row, w, scale[2], 2) }, row)
	}

	for _, s := range []struct {
		name                      string
		channels, headdim, dState int
	}{{"model", 1152, 64, 64}, {"odd", 77, 5, 27}} {
		ring, w, bias, conv := n.floats(4*s.channels), n.floats(4*s.channels), n.floats(s.channels), make([]float32, s.channels)
		add("ConvStep/"+s.name, 40*s.channels, func() { ConvStep(conv, ring, w, bias, 4, 2, s.channels, 0) }, conv)
		state, x, b, c, y := n.floats(s.headdim*s.dState), n.floats(s.headdim), n.floats(s.dState), n.floats(s.dState), make([]float32, s.headdim)
		add("StateUpdate/"+s.name, 8*len(state), func() { StateUpdate(y, state, x, b, c, 0.875, 0.3, -1.1) }, y, state)

		half := make([]uint16, len(state))
		for i := range half {
			half[i] = layout.F32ToF16(n.float())
		}
		y16 := make([]float32, s.headdim)
		add("StateUpdateF16/"+s.name, 4*len(half), func() { StateUpdateF16(y16, half, x, b, c, 0.875, 0.3, -1.1) }, y16)

		z, v := n.floats(s.channels), make([]float32, s.channels)
		add("SiLU/"+s.name, 8*s.channels, func() { SiLU(v, z) }, v)
		exp, softplus := make([]float32, s.channels), make([]float32, s.channels)
		add("ExpTo/"+s.name, 8*s.channels, func() { ExpTo(exp, z) }, exp)
		add("SoftplusTo/"+s.name, 8*s.channels, func() { SoftplusTo(softplus, z) }, softplus)
		scaled, sums := make([]float32, s.channels), make([]float32, 3)
		add("Scale/"+s.name, 8*s.channels, func() { Scale(scaled, z, 1.7) }, scaled)
		add("Dot Sum RMSInv/"+s.name, 16*s.channels, func() { sums[0], sums[1], sums[2] = Dot(z, ring), Sum(z), RMSInv(z, 1e-5) }, sums)
		m, a, k := append([]float32(nil), z...), append([]float32(nil), z...), append([]float32(nil), z...)
		add("Mul/"+s.name, 12*s.channels, func() { Mul(m, z, ring) }, m)
		add("Add/"+s.name, 12*s.channels, func() { Add(a, z, ring) }, a)
		add("AddScalar/"+s.name, 8*s.channels, func() { AddScalar(k, z, 0.3) }, k)
	}
	return all
}

// hashFloats adds the bits of v, NaN in one form: which one an operation gives is the CPU's choice.
func hashFloats(h hash.Hash, v ...float32) {
	for _, f := range v {
		b := math.Float32bits(f)
		if f != f {
			b = 0x7fc00000
		}
		h.Write(binary.LittleEndian.AppendUint32(nil, b))
	}
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// hashWorkloads is the hash of what every kernel writes.
func hashWorkloads() string {
	h := sha256.New()
	for _, w := range workloads() {
		w.run()
		for _, out := range w.out {
			hashFloats(h, out...)
		}
	}
	return sum(h)
}

const everyKernel = "a780930fb5cb9fe5a024aedc78827d28ddccdb7a4994ee497cf316cdd611f92e"

// TestHashes pins the results of every kernel, on every CPU: a change here changes what every model answers.
func TestHashes(t *testing.T) { eachKernel(t, testHashes) }

func testHashes(t *testing.T) {
	check := func(name, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: results hash to %s, want %s", name, got, want)
		}
	}
	check("every kernel", hashWorkloads(), everyKernel)

	h := sha256.New()
	n := noise(12)
	l := layout.Bits{Rows: 70, Cols: 150, Kb: 64}
	lut, lut8, q := newLUT(l.Cols, LUT16), newLUT(l.Cols, LUT8), newQ14(l.Cols)
	dst, w := make([]float32, l.Rows), n.packed(l)
	scale, w8 := n.floats(l.Rows), n.bytes(l.Rows*l.Cols)
	for _, a := range activations {
		x := make([]float32, l.Cols)
		a.fill(&n, x)
		lut.Build(x, l)
		BitMatVec(dst, w, l, lut, 0, l.Tiles())
		hashFloats(h, dst...)
		lut8.Build(x, l)
		BitMatVec(dst, w, l, lut8, 0, l.Tiles())
		hashFloats(h, dst...)
		BitMatVecExact(dst, w, l, x, 0, l.Tiles())
		hashFloats(h, dst...)
		q.Quantize(x)
		I8MatVec(dst, w8, scale, q, 0, l.Rows)
		hashFloats(h, dst...)
		hashFloats(h, Dot(x[:60], scale), Sum(x), RMSInv(x, 1e-5))
		SiLU(x, x)
		hashFloats(h, x...)
	}
	check("unusual inputs", sum(h), "96538007b74fbf4c7982471ae0a0014b91a319a847b506ac0e33f262a6b7c570")

	for _, f := range []struct {
		name, want string
		f          func(float32) float32
	}{
		{"Exp", "9055484a4e0c831909f45a28da1731b571189c2c6d4f26e5afac2bd2596add5b", Exp},
		{"Softplus", "e44561d6f709d7d79de8a2c80a3d7b6e916363175d2779d53f5ae2c55f4b91f7", Softplus},
		{"SiLU", "3be064332d996e65a3497a1f451dd765ae2aec7ab3804ebd8d2c88cd388bb693", func(x float32) float32 { y := [1]float32{x}; SiLU(y[:], y[:]); return y[0] }},
	} {
		h.Reset()
		sweep(100, func(x float32) { hashFloats(h, f.f(x)) })
		check(f.name, sum(h), f.want)
	}
}

func TestAllocations(t *testing.T) { eachKernel(t, testAllocations) }

func testAllocations(t *testing.T) {
	for _, w := range workloads() {
		if n := testing.AllocsPerRun(10, w.run); n != 0 {
			t.Errorf("%s allocates %v times", w.name, n)
		}
	}
	var x, y float32 = 1.5, 0
	if n := testing.AllocsPerRun(10, func() { y += Exp(x) + Softplus(x) }); n != 0 {
		t.Errorf("Exp and Softplus allocate %v times", n)
	}
}

func BenchmarkKernels(b *testing.B) {
	for _, w := range workloads() {
		b.Run(w.name+"/"+chosen, func(b *testing.B) {
			b.SetBytes(w.bytes)
			for b.Loop() {
				w.run()
			}
		})
	}
}
