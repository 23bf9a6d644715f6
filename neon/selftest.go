package neon

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
	"math"
	"unsafe"

	"bimamba/neon/layout"
)

// Fault is a kernel whose results on this CPU are not those that the arithmetic defines.
type Fault struct {
	Kernels string // the set, one of Kernels()
	Name    string // the exported function, and its form
}

// SelfTest runs the kernels of every set that this CPU can run on small fixed inputs and compares what they write with results that are pinned, the same for
// all sets and CPUs. It returns those that differ: a processor, its memory or this program's copy on disk is broken. It takes some milliseconds and, like [Use],
// which it leaves as it finds it, wants no kernel to be running.
func SelfTest() []Fault { return selfTest(selfTests()) }

func selfTest(tests []pinned) (faults []Fault) {
	before := chosen
	defer use(before)
	for _, name := range Kernels() {
		use(name)
		for _, t := range tests {
			h := fnv.New64a()
			t.run(h)
			if h.Sum64() != t.want {
				faults = append(faults, Fault{name, t.name})
			}
		}
	}
	return faults
}

// pinned is a kernel on its input: run adds what it writes to a hash, which is want.
type pinned struct {
	name string
	want uint64
	run  func(h hash.Hash64)
}

// Shapes for which every set has a kernel, and a few columns, rows or elements more, which portable code does.
const (
	selfRows  = 3*layout.TileRows + 5
	selfCols  = 512
	selfElems = 243
)

// selfTests is the tests; their inputs are made once, and each run starts from them.
func selfTests() []pinned {
	in := splitmix(5)
	l := layout.Bits{Rows: selfRows, Cols: selfCols, Kb: 256}
	bits, x, x2 := in.bytes(int(l.Bytes())), in.floats(selfCols), in.floats(selfCols)
	x2[7] = 1000 // an outlier, which leaves little of its neighbours in the coarser forms
	w8, scale8 := in.bytes(selfRows*selfCols), in.floats(selfRows)
	scale4 := make([]byte, 2*selfRows*layout.I4Groups(selfCols))
	layout.EncodeF16(scale4, in.floats(len(scale4)/2))
	dense := make([]byte, 4*8*selfCols)
	layout.EncodeF32(dense, in.floats(8*selfCols))
	a, b := in.floats(selfElems), in.floats(selfElems)
	dst, dst2 := make([]float32, selfRows), make([]float32, selfRows)
	q := NewQ14(lines(Q14Size(selfCols)), selfCols)
	q.Quantize(x) // as integers of its own it is tested below

	lut := func(f Form) func(h hash.Hash64) {
		t, t2 := NewLUT(lines(LUTSize(selfCols, f)), selfCols, f), NewLUT(lines(LUTSize(selfCols, f)), selfCols, f)
		return func(h hash.Hash64) {
			t.Build(x, l)
			t2.Build(x2, l)
			BitMatVec(dst, bits, l, t, 0, l.Tiles())
			hashResults(h, dst...)
			BitMatMul([][]float32{dst, dst2}, bits, l, []*LUT{t, t2}, 0, l.Tiles())
			hashResults(h, dst...)
			hashResults(h, dst2...)
		}
	}
	matvec := func(elem Elem) func(h hash.Hash64) {
		return func(h hash.Hash64) {
			w := dense
			switch elem {
			case F16:
				w = make([]byte, len(dense)/2)
				layout.EncodeF16(w, decoded(dense))
			case BF16:
				w = make([]byte, len(dense)/2)
				layout.EncodeBF16(w, decoded(dense))
			}
			MatVec(dst[:8], w, elem, x, 0, 8)
			hashResults(h, dst[:8]...)
		}
	}
	// elementwise is a kernel of a, and of b where it takes that.
	elementwise := func(fn func(dst []float32)) func(h hash.Hash64) {
		return func(h hash.Hash64) {
			out := make([]float32, selfElems)
			fn(out)
			hashResults(h, out...)
		}
	}
	const heads, dState = 8, 64
	state := in.floats(heads * dState)

	return []pinned{
		{"BitMatVec, LUT16", 0x9a0b42336ab85a36, lut(LUT16)},
		{"BitMatVec, LUT8", 0x4443caf9d54f02f3, lut(LUT8)},
		{"BitMatVecExact", 0xf8b9bce012140842, func(h hash.Hash64) {
			BitMatVecExact(dst, bits, l, x, 0, l.Tiles())
			hashResults(h, dst...)
		}},
		{"Q14.Quantize", 0xbc27d8a4120c8dae, func(h hash.Hash64) {
			p := NewQ14(lines(Q14Size(selfCols)), selfCols)
			for _, x := range [][]float32{x, x2, x[:selfElems]} {
				p.Quantize(x)
				for i, v := range p.q[:p.n] {
					hashResults(h, float32(v), float32(p.hi[i]), float32(p.lo[i]))
				}
				for _, v := range p.shift[:p.n/4] {
					hashResults(h, float32(v))
				}
				hashResults(h, p.scale)
			}
		}},
		{"I8MatVec", 0xc9e5b51377f9c2f8, func(h hash.Hash64) {
			I8MatVec(dst, w8, scale8, q, 0, selfRows)
			hashResults(h, dst...)
		}},
		{"I4MatVec", 0x5875a9bea1f580a9, func(h hash.Hash64) {
			I4MatVec(dst, w8[:selfRows*layout.I4RowBytes(selfCols)], scale4, q, 0, selfRows)
			hashResults(h, dst...)
		}},
		{"MatVec, F32", 0xd955c8aaea9d624b, matvec(F32)},
		{"MatVec, F16", 0x4d06c22ca39c7c22, matvec(F16)},
		{"MatVec, BF16", 0xf1663e0f5b4074c4, matvec(BF16)},
		{"Dot, Sum, RMSInv", 0x8e1cf4b6d9c33200, func(h hash.Hash64) { hashResults(h, Dot(a, b), Sum(a), RMSInv(b, 1e-5)) }},
		{"Scale", 0xb15de273d69c4fb9, elementwise(func(dst []float32) { Scale(dst, a, 1.7) })},
		{"Mul", 0xddd5002609944bc6, elementwise(func(dst []float32) { Mul(dst, a, b) })},
		{"Add", 0x4192665fab2adf5b, elementwise(func(dst []float32) { Add(dst, a, b) })},
		{"AddScalar", 0x05dece21d46b74d0, elementwise(func(dst []float32) { AddScalar(dst, a, 0.3) })},
		{"ExpTo", 0x4446340f5de8febe, elementwise(func(dst []float32) { Scale(dst, a, 30); ExpTo(dst, dst) })},
		{"SoftplusTo", 0x56d070adc56f2315, elementwise(func(dst []float32) { Scale(dst, a, 8); SoftplusTo(dst, dst) })},
		{"SiLU", 0x92db59652d375153, elementwise(func(dst []float32) { Scale(dst, a, 8); SiLU(dst, dst) })},
		{"ConvStep", 0x43be443f34332fad, elementwise(func(dst []float32) { ConvStep(dst[:60], a, b, nil, 4, 2, 60, 0) })},
		{"StateUpdate", 0x37daa81521036f4e, func(h hash.Hash64) {
			s := append([]float32(nil), state...)
			StateUpdate(dst[:heads], s, a[:heads], b[:dState], x[:dState], 0.875, 0.3, -1.1)
			hashResults(h, dst[:heads]...)
			hashResults(h, s...)
		}},
		{"StateUpdateF16", 0x5ff2b6a8598d313a, func(h hash.Hash64) {
			s := make([]uint16, len(state))
			for i, v := range state {
				s[i] = layout.F32ToF16(v)
			}
			StateUpdateF16(dst[:heads], s, a[:heads], b[:dState], x[:dState], 0.875, 0.3, -1.1)
			hashResults(h, dst[:heads]...)
			for _, v := range s {
				hashResults(h, layout.F16ToF32(v))
			}
		}},
		{"Read", 0x2d055f03ba7f803b, func(h hash.Hash64) {
			h.Write(binary.LittleEndian.AppendUint64(nil, Read(w8)))
		}},
	}
}

// splitmix is a stream of numbers that is the same on every CPU (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// floats is n numbers from -2 up to 2, exact in 22 bits.
func (s *splitmix) floats(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(int32(s.next()>>42)-1<<21) * 0x1p-20
	}
	return x
}

func (s *splitmix) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.next())
	}
	return b
}

// hashResults adds the bits of v. No input leads to NaN, whose bits would be the CPU's choice.
func hashResults(h hash.Hash64, v ...float32) {
	var b [4]byte
	for _, f := range v {
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(f))
		h.Write(b[:])
	}
}

// decoded is a float32 matrix as numbers.
func decoded(b []byte) []float32 {
	x := make([]float32, len(b)/4)
	layout.DecodeF32(x, b)
	return x
}

// lines is n bytes on a boundary of 64.
func lines(n int64) []byte {
	b := make([]byte, n+63)
	return b[-uintptr(unsafe.Pointer(unsafe.SliceData(b)))&63:][:n]
}
