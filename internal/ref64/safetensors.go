package ref64

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
)

// Tensor is a dense row-major tensor; integers are held as floats too.
type Tensor struct {
	Shape []int
	Data  []float64
}

// maxHeader bounds the JSON header that a safetensors file may have, in bytes.
const maxHeader = 16 << 20

// ReadSafetensors reads every tensor of a safetensors file: F64, F32, F16, BF16, I64 or I32.
// The error of a malformed file names the file and the tensor.
func ReadSafetensors(path string) (map[string]Tensor, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	tensors, err := parseSafetensors(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return tensors, nil
}

func parseSafetensors(b []byte) (map[string]Tensor, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("%d bytes: too short for a safetensors file", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n > maxHeader || n > uint64(len(b)-8) {
		return nil, fmt.Errorf("header of %d bytes in a file of %d", n, len(b))
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(b[8:8+n], &header); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	data := b[8+n:]
	left := len(data) // tensors that share bytes would let a small file ask for much memory
	tensors := make(map[string]Tensor)
	for name, raw := range header {
		if name == "__metadata__" {
			continue
		}
		var e struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets []int  `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] || e.Offsets[1] > len(data) {
			return nil, fmt.Errorf("tensor %s: data_offsets %v in %d bytes of data", name, e.Offsets, len(data))
		}
		bytes := data[e.Offsets[0]:e.Offsets[1]]
		if left -= len(bytes); left < 0 {
			return nil, fmt.Errorf("tensor %s: tensors overlap", name)
		}
		values, err := decode(bytes, e.DType)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		if elements, ok := product(e.Shape, len(values)); !ok || elements != len(values) {
			return nil, fmt.Errorf("tensor %s: %d elements of data for shape %v", name, len(values), e.Shape)
		}
		tensors[name] = Tensor{Shape: e.Shape, Data: values}
	}
	return tensors, nil
}

// product is the number of elements of a shape, false if a size is negative or the number exceeds limit.
func product(shape []int, limit int) (int, bool) {
	n := 1
	for _, s := range shape {
		if s == 0 {
			return 0, true
		}
		if s < 0 || n > limit/s {
			return 0, false
		}
		n *= s
	}
	return n, true
}

// elemSize is the size in bytes of an element type, by its safetensors name.
var elemSize = map[string]int{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}

// decode widens little-endian elements.
func decode(b []byte, dtype string) ([]float64, error) {
	size, ok := elemSize[dtype]
	if !ok {
		return nil, fmt.Errorf("dtype %q is not known here", dtype)
	}
	if len(b)%size != 0 {
		return nil, fmt.Errorf("%d bytes are not a whole number of %s", len(b), dtype)
	}
	le := binary.LittleEndian
	out := make([]float64, len(b)/size)
	for i := range out {
		e := b[i*size:]
		switch dtype {
		case "F64":
			out[i] = math.Float64frombits(le.Uint64(e))
		case "F32":
			out[i] = float64(math.Float32frombits(le.Uint32(e)))
		case "F16":
			out[i] = halfValue(le.Uint16(e))
		case "BF16":
			out[i] = float64(math.Float32frombits(uint32(le.Uint16(e)) << 16))
		case "I64":
			out[i] = float64(int64(le.Uint64(e)))
		case "I32":
			out[i] = float64(int32(le.Uint32(e)))
		}
	}
	return out, nil
}

// halfValue is the value of an IEEE 754 binary16.
func halfValue(h uint16) float64 {
	sign := 1.0
	if h&0x8000 != 0 {
		sign = -1
	}
	exp, frac := int(h>>10&0x1f), float64(h&0x3ff)
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, -24)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}
