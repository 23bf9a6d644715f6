package layout

import (
	"bytes"
	"encoding/binary"
	"math"
	"sort"
	"testing"
)

// format describes a 16-bit float for the oracle, which knows nothing of bit tricks.
type format struct {
	name              string
	expBits, mantBits int
	decode            func(uint16) float32
	encode            func(float32) uint16
	decodeAll         func([]float32, []byte)
	encodeAll         func([]byte, []float32)
	positive          []float64 // the finite values of the bits 0, 1, 2 ...
	overflow          float64   // from here on a number rounds to infinity
}

func formats() []*format {
	fs := []*format{
		{name: "f16", expBits: 5, mantBits: 10, decode: F16ToF32, encode: F32ToF16, decodeAll: DecodeF16, encodeAll: EncodeF16},
		{name: "bf16", expBits: 8, mantBits: 7, decode: BF16ToF32, encode: F32ToBF16, decodeAll: DecodeBF16, encodeAll: EncodeBF16},
	}
	for _, f := range fs {
		for h := 0; !f.special(uint16(h)); h++ {
			f.positive = append(f.positive, f.value(uint16(h)))
		}
		n := len(f.positive)
		f.overflow = f.positive[n-1] + (f.positive[n-1]-f.positive[n-2])/2
	}
	return fs
}

func (f *format) special(h uint16) bool { return int(h&0x7fff)>>f.mantBits == 1<<f.expBits-1 }

// value is the number that h stands for, by IEEE 754's definition; h is not special.
func (f *format) value(h uint16) float64 {
	exp := int(h&0x7fff) >> f.mantBits
	mant := float64(int(h) & (1<<f.mantBits - 1))
	bias := 1<<(f.expBits-1) - 1
	v := math.Ldexp(mant, 1-bias-f.mantBits)
	if exp > 0 {
		v = math.Ldexp(mant+float64(int(1)<<f.mantBits), exp-bias-f.mantBits)
	}
	if h&0x8000 != 0 {
		v = -v
	}
	return v
}

// nearest is the bits of the value nearest to v, ties to the even one.
func (f *format) nearest(v float32) uint16 {
	a := math.Abs(float64(v))
	sign := uint16(0)
	if math.Signbit(float64(v)) {
		sign = 0x8000
	}
	if a >= f.overflow {
		return sign | uint16(len(f.positive)) // infinity follows the largest number
	}
	i := sort.SearchFloat64s(f.positive, a)
	if i == len(f.positive) {
		return sign | uint16(i-1)
	}
	if f.positive[i] != a {
		below, above := a-f.positive[i-1], f.positive[i]-a
		if below < above || below == above && i%2 == 1 {
			i--
		}
	}
	return sign | uint16(i)
}

func TestHalfDecode(t *testing.T) {
	for _, f := range formats() {
		for i := range 1 << 16 {
			h := uint16(i)
			got := f.decode(h)
			switch {
			case !f.special(h):
				if want := f.value(h); math.Float32bits(got) != math.Float32bits(float32(want)) {
					t.Fatalf("%s %#04x: %v, want %v", f.name, h, got, want)
				}
			case int(h)&(1<<f.mantBits-1) == 0:
				sign := 1
				if h&0x8000 != 0 {
					sign = -1
				}
				if !math.IsInf(float64(got), sign) {
					t.Fatalf("%s %#04x: %v, want an infinity of sign %d", f.name, h, got, sign)
				}
			case got == got:
				t.Fatalf("%s %#04x: %v, want NaN", f.name, h, got)
			}
		}
	}
}

func TestHalfEncode(t *testing.T) {
	for _, f := range formats() {
		check := func(v float32) {
			got := f.encode(v)
			if v != v {
				if !f.special(got) || int(got)&(1<<f.mantBits-1) == 0 {
					t.Fatalf("%s: NaN %#08x became %#04x", f.name, math.Float32bits(v), got)
				}
				return
			}
			if want := f.nearest(v); got != want {
				t.Fatalf("%s: %v (%#08x) became %#04x, want %#04x", f.name, v, math.Float32bits(v), got, want)
			}
		}
		for i := range 1 << 16 {
			h := uint16(i)
			v := f.decode(h)
			if v == v && f.encode(v) != h {
				t.Fatalf("%s: %#04x became %#04x on the way to f32 and back", f.name, h, f.encode(v))
			}
			// The number itself, its neighbours, and the middle to the next one with its neighbours.
			for _, b := range []uint32{math.Float32bits(v), math.Float32bits((v + f.decode(h+1)) / 2)} {
				check(math.Float32frombits(b - 1))
				check(math.Float32frombits(b))
				check(math.Float32frombits(b + 1))
			}
		}
		for b := uint64(0); b < 1<<32; b += 10007 {
			check(math.Float32frombits(uint32(b)))
		}
	}
}

func TestHalfSlices(t *testing.T) {
	for _, f := range formats() {
		for n := range 35 {
			src := make([]byte, 2*n+1)[1:] // unaligned
			for i := range n {
				binary.LittleEndian.PutUint16(src[2*i:], uint16(i*2749+n))
			}
			dst := make([]float32, n+1)
			dst[n] = 42
			f.decodeAll(dst[:n], src)
			for i, v := range dst[:n] {
				if want := f.decode(uint16(i*2749 + n)); math.Float32bits(v) != math.Float32bits(want) {
					t.Fatalf("%s, element %d of %d: %v, want %v", f.name, i, n, v, want)
				}
			}
			if dst[n] != 42 {
				t.Fatalf("%s: decoding %d elements wrote one more", f.name, n)
			}
			out := make([]byte, 2*n+1)
			f.encodeAll(out[1:], dst[:n])
			if !bytes.Equal(out[1:], src) {
				t.Fatalf("%s: %d elements changed on the way to f32 and back", f.name, n)
			}
		}
	}
}

func TestF32Slices(t *testing.T) {
	for n := range 35 {
		src := make([]byte, 4*n+1)[1:]
		for i := range n {
			binary.LittleEndian.PutUint32(src[4*i:], uint32(i+1)*123456789)
		}
		dst := make([]float32, n+1)
		dst[n] = 42
		DecodeF32(dst[:n], src)
		for i, v := range dst[:n] {
			if math.Float32bits(v) != uint32(i+1)*123456789 {
				t.Fatalf("element %d of %d: %#08x", i, n, math.Float32bits(v))
			}
		}
		out := make([]byte, 4*n)
		EncodeF32(out, dst[:n])
		if dst[n] != 42 || !bytes.Equal(out, src) {
			t.Fatalf("%d elements changed on the way there and back", n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	src := make([]byte, 4*4096)
	dst := make([]float32, 4096)
	for i := range src {
		src[i] = byte(i * 31)
	}
	for _, d := range []struct {
		name   string
		decode func([]float32, []byte)
	}{{"f32", DecodeF32}, {"f16", DecodeF16}, {"bf16", DecodeBF16}} {
		b.Run(d.name, func(b *testing.B) {
			b.SetBytes(int64(4 * len(dst)))
			for b.Loop() {
				d.decode(dst, src)
			}
		})
	}
}
