package neon

import "math"

// Exp is e^x within 1.1 ulp. Below -87.33 it gives Exp(-87.33), about 1.2e-38, and above 88.72 Exp(88.72), about 3.4e38:
// the results are finite, normal numbers. Exp(NaN) is NaN.
//
// x = k*ln2 + r with |r| <= ln2/2, ln2 split in two so that k*ln2Hi is exact; e^r is a polynomial of degree 7 (Taylor, whose error
// at ln2/2 is 5e-9 of the result).
func Exp(x float32) float32 {
	const (
		lo    = -87.33
		hi    = 88.72
		log2e = 1.44269504088896340736
		ln2Hi = 0.693359375 // 9 bits
		ln2Lo = -2.12194440e-4
	)
	switch {
	case x < lo:
		x = lo
	case x > hi:
		x = hi
	}
	n := roundEven(x * log2e) // of a NaN it is nothing, but r is NaN
	k := float32(n)
	r := x - float32(k*ln2Hi)
	r -= float32(k * ln2Lo)
	p := float32(1.0 / 5040)
	p = float32(p*r) + 1.0/720
	p = float32(p*r) + 1.0/120
	p = float32(p*r) + 1.0/24
	p = float32(p*r) + 1.0/6
	p = float32(p*r) + 0.5
	r2 := float32(r * r)
	p = float32(p*r2) + r
	p++
	// Two factors: 2^128 is not a float32, 2^64 is.
	h := n >> 1
	return float32(p*pow2(h)) * pow2(n-h)
}

// pow2 is 2^k for -126 <= k <= 127.
func pow2(k int32) float32 { return math.Float32frombits(uint32(k+127) << 23) }

// log1p is log(1+u) for 0 <= u <= 1, within 2 ulp.
//
// With s = u/(2+u), log(1+u) = 2 atanh(s) = 2s + 2s^3/3 + 2s^5/5 ...; s <= 1/3, where the terms up to s^15 leave an error of 6e-9.
func log1p(u float32) float32 {
	s := u / (2 + u)
	z := float32(s * s)
	p := float32(2.0 / 15)
	p = float32(p*z) + 2.0/13
	p = float32(p*z) + 2.0/11
	p = float32(p*z) + 2.0/9
	p = float32(p*z) + 2.0/7
	p = float32(p*z) + 2.0/5
	p = float32(p*z) + 2.0/3
	p = float32(p * z)
	return float32(p*s) + float32(2*s)
}

// Softplus is log(1+e^x) = max(x,0) + log1p(Exp(-|x|)), within 3 ulp where Exp is not clamped; below -87.33 it stays at about 1.2e-38.
func Softplus(x float32) float32 {
	return max(x, 0) + log1p(Exp(-abs(x)))
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// ExpTo writes Exp(x) to dst. dst may be x, which is at least as long.
func ExpTo(dst, x []float32) {
	x = x[:len(dst)]
	for i := asmExp(dst, x); i < len(dst); i++ {
		dst[i] = Exp(x[i])
	}
}

// SoftplusTo writes Softplus(x) to dst. dst may be x, which is at least as long.
func SoftplusTo(dst, x []float32) {
	x = x[:len(dst)]
	for i := asmSoftplus(dst, x); i < len(dst); i++ {
		dst[i] = Softplus(x[i])
	}
}

// SiLU writes x/(1+Exp(-x)) to dst. dst may be x, which is at least as long.
func SiLU(dst, x []float32) {
	x = x[:len(dst)]
	for i := asmSiLU(dst, x); i < len(dst); i++ {
		v := x[i]
		dst[i] = v / (1 + Exp(-v))
	}
}

// finite tells whether v is neither NaN nor Inf.
func finite(v float32) bool { return v-v == 0 }

// roundEven rounds |v| < 2^22 to an integer, ties to even, as FCVTNS and CVTPS2DQ do.
func roundEven(v float32) int32 {
	const magic = 0x1.8p23 // its unit in the last place is 1
	// The conversion keeps a product that v may be out of a fused multiply-add, once this is inlined.
	return int32(math.Float32bits(float32(v)+magic)) - 0x4b400000
}
