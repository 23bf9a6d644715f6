package layout

import (
	"encoding/binary"
	"math"
)

// F16ToF32 is the value of an IEEE 754 binary16. It is exact; a NaN keeps its payload.
func F16ToF32(h uint16) float32 {
	// Sign, exponent and mantissa in their places: the value times 2^-112, subnormal or not.
	b := uint32(int32(int16(h))) << 13 & 0x8fffe000
	if b&0x0f800000 == 0x0f800000 { // Inf, NaN
		return math.Float32frombits(b | 0x70000000)
	}
	return math.Float32frombits(b) * 0x1p112
}

// F32ToF16 rounds to nearest, ties to even. What is too large becomes Inf; a NaN stays one.
func F32ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13)&0x3ff
	case b >= 0x477ff000: // 65520 and above round to 65536
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: adding 1/2 leaves the rounded multiple of 2^-24 in the low bits
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
	}
	b += 0xfff + b>>13&1 // a carry out of the mantissa is the next exponent, as it should be
	return sign | uint16((b-112<<23)>>13)
}

// BF16ToF32 is the value of a bfloat16. It is exact.
func BF16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F32ToBF16 rounds to nearest, ties to even. A NaN stays one.
func F32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// DecodeF32 decodes little-endian binary32. src holds 4*len(dst) bytes or more.
func DecodeF32(dst []float32, src []byte) {
	src = src[:4*len(dst)]
	for len(dst) >= 8 && len(src) >= 32 {
		d, s := (*[8]float32)(dst), (*[32]byte)(src)
		d[0] = math.Float32frombits(binary.LittleEndian.Uint32(s[0:]))
		d[1] = math.Float32frombits(binary.LittleEndian.Uint32(s[4:]))
		d[2] = math.Float32frombits(binary.LittleEndian.Uint32(s[8:]))
		d[3] = math.Float32frombits(binary.LittleEndian.Uint32(s[12:]))
		d[4] = math.Float32frombits(binary.LittleEndian.Uint32(s[16:]))
		d[5] = math.Float32frombits(binary.LittleEndian.Uint32(s[20:]))
		d[6] = math.Float32frombits(binary.LittleEndian.Uint32(s[24:]))
		d[7] = math.Float32frombits(binary.LittleEndian.Uint32(s[28:]))
		dst, src = dst[8:], src[32:]
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

// DecodeF16 decodes little-endian binary16. src holds 2*len(dst) bytes or more.
func DecodeF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for len(dst) >= 8 && len(src) >= 16 {
		d, s := (*[8]float32)(dst), (*[16]byte)(src)
		u, v := binary.LittleEndian.Uint64(s[:]), binary.LittleEndian.Uint64(s[8:])
		d[0], d[1], d[2], d[3] = F16ToF32(uint16(u)), F16ToF32(uint16(u>>16)), F16ToF32(uint16(u>>32)), F16ToF32(uint16(u>>48))
		d[4], d[5], d[6], d[7] = F16ToF32(uint16(v)), F16ToF32(uint16(v>>16)), F16ToF32(uint16(v>>32)), F16ToF32(uint16(v>>48))
		dst, src = dst[8:], src[16:]
	}
	for i := range dst {
		dst[i] = F16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// DecodeBF16 decodes little-endian bfloat16. src holds 2*len(dst) bytes or more.
func DecodeBF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for len(dst) >= 8 && len(src) >= 16 {
		d, s := (*[8]float32)(dst), (*[16]byte)(src)
		u, v := binary.LittleEndian.Uint64(s[:]), binary.LittleEndian.Uint64(s[8:])
		d[0], d[1], d[2], d[3] = BF16ToF32(uint16(u)), BF16ToF32(uint16(u>>16)), BF16ToF32(uint16(u>>32)), BF16ToF32(uint16(u>>48))
		d[4], d[5], d[6], d[7] = BF16ToF32(uint16(v)), BF16ToF32(uint16(v>>16)), BF16ToF32(uint16(v>>32)), BF16ToF32(uint16(v>>48))
		dst, src = dst[8:], src[16:]
	}
	for i := range dst {
		dst[i] = BF16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// EncodeF32 writes src as little-endian binary32. dst holds 4*len(src) bytes or more.
func EncodeF32(dst []byte, src []float32) {
	dst = dst[:4*len(src)]
	for i, v := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
}

// EncodeF16 writes src as little-endian binary16, rounded as F32ToF16 does. dst holds 2*len(src) bytes or more.
func EncodeF16(dst []byte, src []float32) {
	dst = dst[:2*len(src)]
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], F32ToF16(v))
	}
}

// EncodeBF16 writes src as little-endian bfloat16, rounded as F32ToBF16 does. dst holds 2*len(src) bytes or more.
func EncodeBF16(dst []byte, src []float32) {
	dst = dst[:2*len(src)]
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], F32ToBF16(v))
	}
}
