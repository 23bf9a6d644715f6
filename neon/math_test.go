package neon

import (
	"fmt"
	"math"
	"testing"
)

// ulps is the distance of got from want in units of the last place of a float32 of want's size.
func ulps(got float32, want float64) float64 {
	_, exp := math.Frexp(want)
	unit := math.Ldexp(1, max(exp, -125)-24)
	return math.Abs(float64(got)-want) / unit
}

// sweep calls f with the same arguments on every CPU: floats of every exponent from -hi to hi, and evenly spaced ones.
func sweep(hi float32, f func(x float32)) {
	for b := uint32(0); b <= math.Float32bits(hi); b += 7919 {
		f(math.Float32frombits(b))
		f(-math.Float32frombits(b))
	}
	const steps = 1 << 18
	for i := -steps; i <= steps; i++ {
		f(float32(i) * (hi / steps))
	}
}

func TestFunctions(t *testing.T) {
	silu := func(x float32) float32 {
		var y [1]float32
		SiLU(y[:], []float32{x})
		return y[0]
	}
	for _, c := range []struct {
		name  string
		f     func(float32) float32
		exact func(float64) float64
		limit float64 // ulp
	}{
		{"Exp", Exp, math.Exp, 1.1},
		{"Softplus", Softplus, func(x float64) float64 { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }, 3},
		{"SiLU", silu, func(x float64) float64 { return x / (1 + math.Exp(-x)) }, 4},
		{"log1p", func(x float32) float32 { return log1p(abs(x) / 87.3) }, func(x float64) float64 {
			return math.Log1p(float64(abs(float32(x)) / 87.3))
		}, 2},
	} {
		worst, where := 0.0, float32(0)
		sweep(87.3, func(x float32) {
			if u := ulps(c.f(x), c.exact(float64(x))); !(u <= worst) {
				worst, where = u, x
			}
		})
		t.Logf("%s: at most %.3f ulp, at %v", c.name, worst, where)
		if !(worst <= c.limit) {
			t.Errorf("%s(%v) = %v is %.2f ulp from %v, limit %v", c.name, where, c.f(where), worst, c.exact(float64(where)), c.limit)
		}
		if y := c.f(nan); y == y {
			t.Errorf("%s(NaN) = %v", c.name, y)
		}
	}
}

func TestFunctionsAtTheEnds(t *testing.T) {
	lowest, highest := Exp(-87.33), Exp(88.72)
	for _, x := range []float32{-87.34, -100, -math.MaxFloat32, -inf} {
		if y := Exp(x); y != lowest {
			t.Errorf("Exp(%v) = %v, want %v", x, y, lowest)
		}
		if y := Softplus(x); y < 0 || y > 1.3e-38 {
			t.Errorf("Softplus(%v) = %v", x, y)
		}
	}
	if lowest < 0x1p-126 || highest > math.MaxFloat32 {
		t.Errorf("Exp is clamped to %v and %v, which are no normal numbers", lowest, highest)
	}
	for _, x := range []float32{88.73, 100, math.MaxFloat32, inf} {
		if y := Exp(x); y != highest {
			t.Errorf("Exp(%v) = %v, want %v", x, y, highest)
		}
	}
	for _, x := range []float32{20, 88.72, 1e10, math.MaxFloat32, inf} {
		if y := Softplus(x); y != x {
			t.Errorf("Softplus(%v) = %v", x, y)
		}
		var y [1]float32
		if SiLU(y[:], []float32{x}); ulps(y[0], float64(x)) > 1 && y[0] != x {
			t.Errorf("SiLU(%v) = %v", x, y)
		}
	}
	if Exp(0) != 1 {
		t.Errorf("Exp(0) = %v", Exp(0))
	}
}

func TestRoundEven(t *testing.T) {
	for b := uint32(0); b <= math.Float32bits(1<<22-1); b += 997 {
		for _, v := range []float32{math.Float32frombits(b), -math.Float32frombits(b)} {
			if got, want := roundEven(v), int32(math.RoundToEven(float64(v))); got != want {
				t.Fatalf("roundEven(%v) = %d, want %d", v, got, want)
			}
		}
	}
	for _, v := range []float32{0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 8190.5, 8191.5} {
		if got, want := roundEven(v), int32(math.RoundToEven(float64(v))); got != want {
			t.Errorf("roundEven(%v) = %d, want %d", v, got, want)
		}
	}
}

func TestVectorFunctions(t *testing.T) { eachKernel(t, testVectorFunctions) }

// testVectorFunctions holds the vector forms against the scalar ones, over every exponent and at the ends.
func testVectorFunctions(t *testing.T) {
	x := []float32{0, float32(math.Copysign(0, -1)), inf, -inf, nan, -87.33, -87.34, 88.72, 88.73, 0x1p-149, -0x1p-149}
	sweep(math.MaxFloat32, func(v float32) { x = append(x, v) })
	sweep(100, func(v float32) { x = append(x, v) })
	dst := make([]float32, len(x))
	for _, f := range []struct {
		name   string
		vector func(dst, x []float32)
		scalar func(float32) float32
	}{
		{"ExpTo", ExpTo, Exp},
		{"SoftplusTo", SoftplusTo, Softplus},
		{"SiLU", SiLU, func(v float32) float32 { return v / (1 + Exp(-v)) }},
	} {
		f.vector(dst, x)
		for i, v := range dst {
			if want := f.scalar(x[i]); !same(v, want) {
				t.Fatalf("%s(%v) = %v (%#08x), want %v (%#08x)", f.name, x[i], v, math.Float32bits(v), want, math.Float32bits(want))
			}
		}
		for _, count := range widths {
			dst, part := fresh(count+1), x[:count]
			f.vector(dst[:count], part)
			compare(t, fmt.Sprint(f.name, " of ", count), dst, func(i int) float32 { return f.scalar(part[i]) }, 0, count)
		}
	}
}
