package neon

import (
	"fmt"
	"math"
	"testing"

	"bimamba/neon/layout"
)

var elems = []struct {
	elem   Elem
	name   string
	encode func([]byte, []float32)
}{{F32, "f32", layout.EncodeF32}, {F16, "f16", layout.EncodeF16}, {BF16, "bf16", layout.EncodeBF16}}

// widths are lengths around the borders of lanes, half lanes and chunks.
var widths = []int{0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 255, 256, 257, 264, 520, 1000}

func TestMatVec(t *testing.T) { eachKernel(t, testMatVec) }

func testMatVec(t *testing.T) {
	n := noise(4)
	const rows = 5
	for _, e := range elems {
		for _, cols := range widths {
			w := make([]byte, rows*cols*e.elem.size()+1)[1:]
			e.encode(w, n.floats(rows*cols))
			for _, a := range activations {
				x := make([]float32, cols+1)[1:]
				a.fill(&n, x)
				what := fmt.Sprintf("%s, %d columns, %s", e.name, cols, a.name)
				dst := fresh(rows)
				MatVec(dst, w, e.elem, x, 1, 4)
				row := make([]float32, cols)
				compare(t, what, dst, func(r int) float32 {
					Row(row, w, e.elem, r)
					return naiveDot(row, x)
				}, 1, 4)
			}
		}
	}
}

// TestRow also pins the byte order.
func TestRow(t *testing.T) { eachKernel(t, testRow) }

func testRow(t *testing.T) {
	row := make([]float32, 2)
	for _, c := range []struct {
		elem Elem
		w    []byte
	}{
		{F32, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0}},
		{F16, []byte{0, 0, 0, 0, 0, 0x3e, 0, 0xc0}},
		{BF16, []byte{0, 0, 0, 0, 0xc0, 0x3f, 0, 0xc0}},
	} {
		if Row(row, c.w, c.elem, 1); row[0] != 1.5 || row[1] != -2 {
			t.Errorf("element type %d: row 1 is %v, want [1.5 -2]", c.elem, row)
		}
	}
	if I8Row(row, []byte{0, 0, 3, 0x80}, 0.5, 1); row[0] != 1.5 || row[1] != -64 {
		t.Errorf("8 bits: row 1 is %v, want [1.5 -64]", row)
	}
}

// TestSpecialWeights puts NaN and infinities into the weights.
func TestSpecialWeights(t *testing.T) { eachKernel(t, testSpecialWeights) }

func testSpecialWeights(t *testing.T) {
	for _, e := range elems {
		for _, v := range []float32{nan, inf, -inf} {
			row := make([]float32, 40)
			row[21] = v
			w := make([]byte, 160)
			e.encode(w, row)
			x := make([]float32, 40)
			constant(2)(nil, x)
			dst := make([]float32, 1)
			if MatVec(dst, w, e.elem, x, 0, 1); !same(dst[0], v) {
				t.Errorf("%s: a weight of %v gives %v", e.name, v, dst[0])
			}
		}
	}
}

func TestI8MatVec(t *testing.T) { eachKernel(t, testI8MatVec) }

func testI8MatVec(t *testing.T) {
	n := noise(5)
	const rows = 5
	for _, cols := range append(widths, 4100) { // 128*H is not exact in float32 for long rows of one sign
		w, scale := n.bytes(rows*cols), n.floats(rows)
		for i := range cols {
			w[2*cols+i] = 0x80 // row 2: -128, which QuantizeI8 never writes
			w[3*cols+i] = 127
		}
		q := newQ14(cols + 3)
		for _, a := range activations {
			x := make([]float32, cols+1)[1:]
			a.fill(&n, x)
			what := fmt.Sprintf("%d columns, %s", cols, a.name)
			dst := fresh(rows)
			q.Quantize(x)
			I8MatVec(dst, w, scale, q, 1, 4)
			compare(t, "14 bits, "+what, dst, func(r int) float32 { return naiveI8(w[r*cols:], scale[r], x) }, 1, 4)

			dst = fresh(rows)
			I8MatVecExact(dst, w, scale, x, 1, 4)
			row := make([]float32, cols)
			compare(t, "exact, "+what, dst, func(r int) float32 {
				for i := range row {
					row[i] = float32(int8(w[r*cols+i]))
				}
				return scale[r] * naiveDot(row, x)
			}, 1, 4)
		}
	}
}

// TestQ14Long fills long inputs with the largest inputs and weights: no lane of a sum may overflow.
func TestQ14Long(t *testing.T) { eachKernel(t, testQ14Long) }

func testQ14Long(t *testing.T) {
	for _, cols := range []int{asmCols, asmCols + 64, 1 << 18, 1<<18 + 5} {
		w, x := make([]byte, cols), make([]float32, cols)
		for i := range w {
			w[i] = 0x80
		}
		q := newQ14(cols)
		for _, v := range []float32{1, -1} {
			for _, first := range []float32{1, 8191.0 / 64} { // the others become 8191, whose high half is 64, or 64, whose low half is -64
				constant(v)(nil, x)
				x[0] = first * v
				q.Quantize(x)
				dst := make([]float32, 1)
				I8MatVec(dst, w, []float32{1}, q, 0, 1)
				if want := naiveI8(w, 1, x); dst[0] != want {
					t.Errorf("%d inputs, %v and then %v: %v, want %v", cols, x[0], v, dst[0], want)
				}
			}
		}
	}
}

func TestI8Precision(t *testing.T) { eachKernel(t, testI8Precision) }

func testI8Precision(t *testing.T) {
	n := noise(6)
	const cols = 2048
	w, x := n.bytes(cols), n.floats(cols)
	var y, square float64
	for i, v := range x {
		y += float64(int8(w[i])) * float64(v)
		square += float64(v) * float64(v) * float64(int8(w[i])) * float64(int8(w[i]))
	}
	q := newQ14(cols)
	q.Quantize(x)
	for name, k := range map[string]func(dst []float32){
		"14 bits": func(dst []float32) { I8MatVec(dst, w, []float32{1}, q, 0, 1) },
		"exact":   func(dst []float32) { I8MatVecExact(dst, w, []float32{1}, x, 0, 1) },
	} {
		var dst [1]float32
		if k(dst[:]); math.Abs(float64(dst[0])-y) > 3e-4*math.Sqrt(square) {
			t.Errorf("%s: %v, want %v", name, dst[0], y)
		}
	}
}

func TestReductions(t *testing.T) { eachKernel(t, testReductions) }

func testReductions(t *testing.T) {
	n := noise(7)
	for _, count := range widths {
		for _, a := range activations {
			x, y := make([]float32, count+1)[1:], n.floats(count+2)
			a.fill(&n, x)
			if got, want := Dot(x, y), naiveDot(x, y); !same(got, want) {
				t.Fatalf("Dot of %d, %s: %v, want %v", count, a.name, got, want)
			}
			ones := make([]float32, count)
			constant(1)(nil, ones)
			if got, want := Sum(x), naiveDot(x, ones); !same(got, want) {
				t.Fatalf("Sum of %d, %s: %v, want %v", count, a.name, got, want)
			}
			if count == 0 {
				continue
			}
			mean := naiveDot(x, x) / float32(count)
			if got, want := RMSInv(x, 1e-5), 1/float32(math.Sqrt(float64(mean+1e-5))); !same(got, want) {
				t.Fatalf("RMSInv of %d, %s: %v, want %v", count, a.name, got, want)
			}
		}
	}
}

func TestElementwise(t *testing.T) { eachKernel(t, testElementwise) }

func testElementwise(t *testing.T) {
	n := noise(8)
	for _, count := range widths {
		for _, f := range []struct {
			name string
			run  func(dst, x, y []float32, k float32)
			want func(x, y, k float32) float32
		}{
			{"Scale", func(dst, x, _ []float32, k float32) { Scale(dst, x, k) }, func(x, _, k float32) float32 { return x * k }},
			{"Mul", func(dst, x, y []float32, _ float32) { copy(dst, x); Mul(dst, dst, y) }, func(x, y, _ float32) float32 { return x * y }},
			{"Add", func(dst, x, y []float32, _ float32) { copy(dst, x); Add(dst, dst, y) }, func(x, y, _ float32) float32 { return x + y }},
			{"AddScalar", func(dst, x, _ []float32, k float32) { copy(dst, x); AddScalar(dst, dst, k) }, func(x, _, k float32) float32 { return x + k }},
		} {
			x, y, k := n.floats(count), n.floats(count), n.float()
			dst := fresh(count + 1)
			f.run(dst[:count], x, y, k)
			compare(t, fmt.Sprint(f.name, " of ", count), dst, func(i int) float32 { return f.want(x[i], y[i], k) }, 0, count)
		}
	}
}
