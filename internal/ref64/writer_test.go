package ref64

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
)

// writeSafetensors encodes tensors in the order of their names, each as the element type that dtype gives for it.
func writeSafetensors(tensors map[string]Tensor, dtype func(name string) string) ([]byte, error) {
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		from := len(data)
		for _, v := range tensors[name].Data {
			var err error
			if data, err = appendElement(data, v, dtype(name)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		header[name] = entry{dtype(name), tensors[name].Shape, [2]int{from, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, data), nil
}

func appendElement(b []byte, v float64, dtype string) ([]byte, error) {
	le := binary.LittleEndian
	switch dtype {
	case "F32":
		return le.AppendUint32(b, math.Float32bits(float32(v))), nil
	case "F16":
		h, err := halfBits(v)
		return le.AppendUint16(b, h), err
	case "BF16": // to nearest, ties to even
		bits := math.Float32bits(float32(v))
		return le.AppendUint16(b, uint16((bits+0x7fff+bits>>16&1)>>16)), nil
	case "I32":
		return le.AppendUint32(b, uint32(int32(v))), nil
	}
	return nil, fmt.Errorf("dtype %q cannot be written", dtype)
}

// halfBits rounds a finite number to binary16, to nearest, ties to even.
func halfBits(v float64) (uint16, error) {
	var sign uint16
	if math.Signbit(v) {
		sign, v = 0x8000, -v
	}
	if v == 0 {
		return sign, nil
	}
	exp := max(math.Ilogb(v), -14)
	bits := (exp+14)<<10 + int(math.RoundToEven(math.Ldexp(v, 10-exp))) // the leading 1 of the fraction adds the last 1 of the exponent
	if bits >= 0x7c00 {
		return 0, fmt.Errorf("%g is too large for F16", v)
	}
	return sign | uint16(bits), nil
}

func TestHalf(t *testing.T) {
	for h := range uint16(0x7c00) {
		v := halfValue(h)
		next := halfValue(h + 1)
		mid := (v + next) / 2
		even := h + h&1
		for _, c := range []struct {
			v    float64
			want uint16
		}{{v, h}, {-v, h | 0x8000}, {mid, even}, {math.Nextafter(mid, 0), h}} {
			if h == 0x7bff && c.v != v && c.v != -v {
				continue // next is infinite
			}
			if got, err := halfBits(c.v); err != nil || got != c.want {
				t.Fatalf("%g: %#x (%v), want %#x", c.v, got, err, c.want)
			}
		}
	}
	if halfValue(0x3c00) != 1 || halfValue(0xc000) != -2 || halfValue(0x7bff) != 65504 || halfValue(1) != math.Ldexp(1, -24) {
		t.Error("1, -2, the largest or the smallest half is wrong")
	}
	if v := halfValue(0xfc00); !math.IsInf(v, -1) {
		t.Errorf("0xfc00 is %g", v)
	}
	if v := halfValue(0x7e00); !math.IsNaN(v) {
		t.Errorf("0x7e00 is %g", v)
	}
}
