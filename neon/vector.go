package neon

import "math"

// lanes is the accumulator of a reduction; doc.go defines its order.
type lanes [16]float32

// add adds x[i]*y[i] to lane i mod 16. y is at least as long as x.
func (l *lanes) add(x, y []float32) {
	y = y[:len(x)]
	n := asmDot(l, x, y) // whole rounds of the lanes
	x, y = x[n:], y[n:]
	// Eight lanes at a time stay in registers on amd64, which has 16.
	addHalf((*[8]float32)(l[:8]), x, y)
	if len(x) > 8 {
		addHalf((*[8]float32)(l[8:]), x[8:], y[8:])
	}
}

// addHalf adds the first 8 of every 16 products to l. y is as long as x.
func addHalf(l *[8]float32, x, y []float32) {
	l0, l1, l2, l3, l4, l5, l6, l7 := l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7]
	i := 0
	for ; i <= len(x)-8; i += 16 {
		a, b := (*[8]float32)(x[i:i+8]), (*[8]float32)(y[i:i+8])
		l0 += float32(a[0] * b[0])
		l1 += float32(a[1] * b[1])
		l2 += float32(a[2] * b[2])
		l3 += float32(a[3] * b[3])
		l4 += float32(a[4] * b[4])
		l5 += float32(a[5] * b[5])
		l6 += float32(a[6] * b[6])
		l7 += float32(a[7] * b[7])
	}
	*l = [8]float32{l0, l1, l2, l3, l4, l5, l6, l7}
	for j := 0; i+j < len(x); j++ { // fewer than 8 are left
		l[j&7] += float32(x[i+j] * y[i+j])
	}
}

func (l *lanes) sum() float32 {
	a0, a1, a2, a3 := l[0]+l[8], l[1]+l[9], l[2]+l[10], l[3]+l[11]
	a4, a5, a6, a7 := l[4]+l[12], l[5]+l[13], l[6]+l[14], l[7]+l[15]
	return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))
}

// Dot is the sum of x[i]*y[i], in 16 lanes. y is at least as long as x.
func Dot(x, y []float32) float32 {
	var l lanes
	l.add(x, y)
	return l.sum()
}

// Sum is the sum of x, in 16 lanes.
func Sum(x []float32) float32 {
	var l lanes
	x = x[asmSum(&l, x):]
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

// RMSInv is 1/sqrt(mean(x^2) + eps), the mean being Dot(x, x)/len(x).
func RMSInv(x []float32, eps float32) float32 {
	mean := Dot(x, x) / float32(len(x))
	return 1 / float32(math.Sqrt(float64(mean+eps))) // a float32's root through float64 is correctly rounded
}

// Scale writes x*k to dst. dst may be x.
func Scale(dst, x []float32, k float32) {
	x = x[:len(dst)]
	for i := asmScale(dst, x, k); i < len(x); i++ {
		dst[i] = x[i] * k
	}
}

// Mul writes x*y to dst, element by element. dst may be x; x and y are at least as long as dst.
func Mul(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := asmMul(dst, x, y); i < len(dst); i++ {
		dst[i] = x[i] * y[i]
	}
}

// Add writes x+y to dst, element by element. dst may be x; x and y are at least as long as dst.
func Add(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := asmAdd(dst, x, y); i < len(dst); i++ {
		dst[i] = float32(x[i]) + float32(y[i])
	}
}

// AddScalar writes x+k to dst. dst may be x; x is at least as long as dst.
func AddScalar(dst, x []float32, k float32) {
	x = x[:len(dst)]
	for i := asmAddScalar(dst, x, k); i < len(dst); i++ {
		dst[i] = x[i] + float32(k) // the caller's k may be a product, and this inlined
	}
}
