package neon

import "math"

// lanes is the accumulator of a reduction; doc.go defines its order.
type lanes [16]float32

func (l *lanes) sum() float32 {
	for n := 8; n > 0; n >>= 1 {
		for j := range n {
			l[j] += l[j+n]
		}
	}
	return l[0]
}

// Dot is the sum of x[i]*y[i]. y is at least as long as x.
func Dot(x, y []float32) float32 {
	var l lanes
	y = y[:len(x)]
	for len(x) >= 16 {
		a, b := (*[16]float32)(x), (*[16]float32)(y)
		for j := range a {
			l[j] += float32(a[j] * b[j])
		}
		x, y = x[16:], y[16:]
	}
	for j, v := range x {
		l[j] += float32(v * y[j])
	}
	return l.sum()
}

// Sum is the sum of x.
func Sum(x []float32) float32 {
	var l lanes
	for len(x) >= 16 {
		a := (*[16]float32)(x)
		for j := range a {
			l[j] += a[j]
		}
		x = x[16:]
	}
	for j, v := range x {
		l[j] += v
	}
	return l.sum()
}

// RMSInv is 1/sqrt(mean(x^2) + eps).
func RMSInv(x []float32, eps float32) float32 {
	mean := Dot(x, x) / float32(len(x))
	return 1 / float32(math.Sqrt(float64(mean+eps))) // a float32's root through float64 is correctly rounded
}

// Scale writes x*k to dst. dst may be x.
func Scale(dst, x []float32, k float32) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = v * k
	}
}

// Mul multiplies x by y, element by element.
func Mul(x, y []float32) {
	y = y[:len(x)]
	for i, v := range y {
		x[i] *= v
	}
}

// Add adds y to x, element by element.
func Add(x, y []float32) {
	y = y[:len(x)]
	for i, v := range y {
		x[i] += v
	}
}

// AddScalar adds k to every element of x.
func AddScalar(x []float32, k float32) {
	for i := range x {
		x[i] += k
	}
}

// largest is the largest |x[i]|, or NaN if x holds one.
func largest(x []float32) float32 {
	var top float32
	for _, v := range x {
		top = max(top, abs(v)) // max keeps a NaN
	}
	return top
}
