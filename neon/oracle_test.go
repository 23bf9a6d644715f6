package neon

import (
	"math"
	"testing"
	"unsafe"

	"bimamba/neon/layout"
)

// The oracles of this file are the definitions of doc.go and of each kernel, word for word and element by element: no tables, no blocks of lines.

// eachKernel runs a test with every set of kernels that this CPU has.
func eachKernel(t *testing.T, test func(t *testing.T)) {
	before := chosen
	defer use(before)
	for _, name := range Kernels() {
		use(name)
		t.Run(name, test)
	}
}

// noise is a stream of numbers that is the same on every CPU and in every version of Go.
type noise uint64

func (n *noise) bits() uint64 {
	*n += 0x9e3779b97f4a7c15
	z := uint64(*n)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// float is between -4 and 4, denser around 0. Its integer steps are exact.
func (n *noise) float() float32 {
	a, b := int32(n.bits()>>42)-1<<21, int32(n.bits()>>42)-1<<21
	return float32(a+b) * 0x1p-20
}

// floats is n numbers that start off a 16-byte boundary.
func (n *noise) floats(count int) []float32 {
	x := make([]float32, count+1)[1:]
	for i := range x {
		x[i] = n.float()
	}
	return x
}

// bytes is count bytes that start off every boundary.
func (n *noise) bytes(count int) []byte {
	b := make([]byte, count+1)[1:]
	for i := range b {
		b[i] = byte(n.bits())
	}
	return b
}

// packed is a random matrix of layout l, through layout.PackRows.
func (n *noise) packed(l layout.Bits) []byte {
	w := make([]byte, l.Bytes()+1)[1:]
	row := make([]float32, l.Cols)
	for r := range l.Rows {
		for i := range row {
			row[i] = n.float()
		}
		l.PackRows(w, r, row)
	}
	return w
}

// An activation is a kind of input that kernels must bear.
type activation struct {
	name string
	fill func(n *noise, x []float32)
}

var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

// set puts v at a place of x that is not always the first.
func set(n *noise, x []float32, v float32) {
	if len(x) > 0 {
		x[n.bits()%uint64(len(x))] = v
	}
}

func constant(v float32) func(*noise, []float32) {
	return func(_ *noise, x []float32) {
		for i := range x {
			x[i] = v
		}
	}
}

func spoiled(v ...float32) func(*noise, []float32) {
	return func(n *noise, x []float32) {
		scaled(1)(n, x)
		for _, v := range v {
			set(n, x, v)
		}
	}
}

func scaled(k float32) func(*noise, []float32) {
	return func(n *noise, x []float32) {
		for i := range x {
			x[i] = n.float() * k
		}
	}
}

var activations = []activation{
	{"usual", scaled(1)},
	{"outliers", func(n *noise, x []float32) {
		scaled(1)(n, x)
		for range len(x)/100 + 1 {
			set(n, x, 1000*n.float())
		}
	}},
	{"zeros", constant(0)},
	{"negative zeros", constant(float32(math.Copysign(0, -1)))},
	{"equal", constant(0.1)},
	{"subnormal", scaled(0x1p-140)},
	{"below the threshold", constant(0x1p-104)},
	{"at the threshold", constant(0x1p-102)},
	{"tiny", scaled(0x1p-98)},
	{"huge", scaled(0x1p124)}, // sums of four overflow here and there
	{"NaN", spoiled(nan)},
	{"Inf", spoiled(inf)},
	{"-Inf", spoiled(-inf)},
	{"Inf and -Inf", spoiled(inf, -inf)},
	{"NaN and Inf", spoiled(inf, nan, inf)},
}

// same tells whether two numbers have the same bits, or are both NaN.
func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// compare compares rows from to to-1 of got with want and checks that the others hold untouched.
func compare(t *testing.T, what string, got []float32, want func(row int) float32, from, to int) {
	t.Helper()
	for r, v := range got {
		if r < from || r >= to {
			if v != untouched {
				t.Fatalf("%s: row %d, outside of %d to %d, was written: %v", what, r, from, to-1, v)
			}
		} else if w := want(r); !same(v, w) {
			t.Fatalf("%s: row %d is %v (%#08x), want %v (%#08x)", what, r, v, math.Float32bits(v), w, math.Float32bits(w))
		}
	}
}

const untouched = -12345.5

func fresh(n int) []float32 {
	x := make([]float32, n+1)[1:]
	for i := range x {
		x[i] = untouched
	}
	return x
}

// newLUT and newQ14 take memory as the arena gives it: aligned, and dirty.
func newLUT(cols int, f Form) *LUT { return NewLUT(dirty(LUTSize(cols, f)), cols, f) }
func newQ14(n int) *Q14            { return NewQ14(dirty(Q14Size(n)), n) }

func dirty(n int64) []byte {
	lines := make([][64]byte, (n+63)/64+1)
	for i := range lines {
		for j := range lines[i] {
			lines[i][j] = 0xa5
		}
	}
	return unsafe.Slice(&lines[0][0], len(lines)*64)[:n]
}

// Oracles.

func naiveDot(x, y []float32) float32 {
	var a [16]float32
	for i := range x {
		a[i%16] += float32(x[i] * y[i])
	}
	for _, n := range []int{8, 4, 2, 1} {
		for j := 0; j < n; j++ {
			a[j] += a[j+n]
		}
	}
	return a[0]
}

// at is x[i], and 0 for a padding column.
func at(x []float32, i int) float32 {
	if i < len(x) {
		return x[i]
	}
	return 0
}

// sign is bit i of a row as +1 or -1; padding columns are -1, times an input of 0.
func sign(row []float32, i int) float32 {
	if i < len(row) {
		return row[i]
	}
	return -1
}

// naiveSum4 is the signed sum of the four inputs from column i on.
func naiveSum4(row, x []float32, i int) float32 {
	a := sign(row, i)*at(x, i) + float32(sign(row, i+1)*at(x, i+1))
	b := sign(row, i+2)*at(x, i+2) + float32(sign(row, i+3)*at(x, i+3))
	return a + b
}

// naiveLUTRow is a row of BitMatVec; row holds its signs.
func naiveLUTRow(row, x []float32, l layout.Bits, f Form) float32 {
	top, unit := float32(8064), l.Kb
	if f == LUT8 {
		top, unit = 63, min(l.Kb, 512)
	}
	var y float32
	for cb := 0; cb < l.Cols; {
		end := min(cb+unit, cb/l.Kb*l.Kb+l.Kb, (l.Cols+63)/64*64)
		y += naiveUnit(row, x, cb, end, top)
		cb = end
	}
	return y
}

// naiveUnit is what the columns cb to end-1, which share a scale, add to a row.
func naiveUnit(row, x []float32, cb, end int, top float32) float32 {
	var amax float64
	for i := cb; i < end; i += 4 {
		lo := float32(math.Abs(float64(at(x, i)))) + float32(math.Abs(float64(at(x, i+1))))
		hi := float32(math.Abs(float64(at(x, i+2)))) + float32(math.Abs(float64(at(x, i+3))))
		amax = math.Max(amax, float64(lo+hi)) // Inf beats NaN here; both are refused
		if lo+hi != lo+hi {
			amax = math.NaN()
			break
		}
	}
	switch {
	case math.IsNaN(amax) || math.IsInf(amax, 0):
		return nan
	case amax < 0x1p-100:
		return 0
	}
	inv, s := top/float32(amax), float32(amax)/top
	acc := 0
	for i := cb; i < end; i += 4 {
		e := math.RoundToEven(float64(float32(naiveSum4(row, x, i) * inv)))
		if math.Abs(e) > float64(top) {
			panic("an entry is too large")
		}
		acc += int(e)
	}
	return s * float32(acc)
}

// naiveExactRow is a row of BitMatVecExact.
func naiveExactRow(row, x []float32, l layout.Bits) float32 {
	var y float32
	for cb := 0; cb < l.Cols; cb += l.Kb {
		var acc float32
		for i := cb; i < min(cb+l.Kb, (l.Cols+63)/64*64); i += 8 {
			acc += naiveSum4(row, x, i) + naiveSum4(row, x, i+4)
		}
		y += acc
	}
	return y
}

// naiveQ14 is the integers and the scale of a Q14.
func naiveQ14(x []float32) (q []int, s float32) {
	var amax float32
	for _, v := range x {
		if a := float32(math.Abs(float64(v))); a > amax || a != a {
			amax = a
		}
		if amax != amax {
			break
		}
	}
	switch {
	case amax != amax || math.IsInf(float64(amax), 0):
		q, s = make([]int, len(x)), nan
	case amax < 0x1p-100:
		q = make([]int, len(x))
	default:
		s = amax / 8191
		for _, v := range x {
			inv := float32(8191) / amax
			q = append(q, int(math.RoundToEven(float64(float32(v*inv)))))
		}
	}
	return q, s
}

// naiveI8 is a row of I8MatVec.
func naiveI8(w []byte, scale float32, x []float32) float32 {
	q, s := naiveQ14(x)
	sum := 0
	for i, v := range q {
		sum += v * int(int8(w[i]))
	}
	return scale * float32(s*float32(sum))
}
