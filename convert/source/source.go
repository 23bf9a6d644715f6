// Package source defines what every reader of checkpoints gives: tensors whose bytes stay on disk until they are asked for.
package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"bimamba/memmap"
	"bimamba/neon/layout"
)

// F64 is an element type that checkpoints have and blobs do not.
const F64 memmap.DType = "f64"

// MaxDims is the largest number of dimensions of a tensor that is read.
const MaxDims = 8

// Tensor is one tensor of a checkpoint. As seen through Data, its elements are little-endian, row-major and contiguous.
type Tensor struct {
	Name  string
	DType memmap.DType // F32, F16, BF16, F64, or what else the format calls it
	Shape []int64
	Data  io.ReaderAt
	File  string // base name of the file that holds it, for messages
}

// Elems is the number of elements.
func (t *Tensor) Elems() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// ElemSize is the bytes of an element of type d, 0 for one that is not known.
func ElemSize(d memmap.DType) int64 {
	switch d {
	case F64, "i64", "u64":
		return 8
	case memmap.F32, memmap.U32, "i32":
		return 4
	case memmap.F16, memmap.BF16, "i16", "u16":
		return 2
	case memmap.I8, memmap.U8, "bool", "f8_e4m3", "f8_e5m2":
		return 1
	}
	return 0
}

// Bytes is the size of the tensor.
func (t *Tensor) Bytes() int64 { return t.Elems() * ElemSize(t.DType) }

// CheckShape computes the number of elements of a shape that came from outside: no dimension is negative, and the size in bytes does not overflow.
func CheckShape(shape []int64, elemSize int64) (elems int64, err error) {
	if len(shape) > MaxDims {
		return 0, fmt.Errorf("shape has %d dimensions, more than %d", len(shape), MaxDims)
	}
	elems = 1
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v: a dimension is negative", shape)
		}
		if d > 0 && elems > math.MaxInt64/max(1, elemSize)/d {
			return 0, fmt.Errorf("shape %v: more elements than a file can hold", shape)
		}
		elems *= d
	}
	return elems, nil
}

// ReadFloats decodes elements from elem on into dst. The error names file, tensor and offset.
func (t *Tensor) ReadFloats(dst []float32, elem int64) error {
	size := ElemSize(t.DType)
	switch t.DType {
	case memmap.F32, memmap.F16, memmap.BF16, F64:
	default:
		return fmt.Errorf("%s: tensor %s: elements of type %s are no floats", t.File, t.Name, t.DType)
	}
	var buf [16 << 10]byte
	for len(dst) > 0 {
		n := min(int64(len(dst)), int64(len(buf))/size)
		b := buf[:n*size]
		if k, err := t.Data.ReadAt(b, elem*size); k < len(b) {
			if err == nil || errors.Is(err, io.EOF) {
				err = errors.New("the file ends there: it was cut short; copy it again")
			}
			return fmt.Errorf("%s: tensor %s, byte %d: %w", t.File, t.Name, elem*size+int64(k), err)
		}
		switch t.DType {
		case memmap.F32:
			layout.DecodeF32(dst[:n], b)
		case memmap.F16:
			layout.DecodeF16(dst[:n], b)
		case memmap.BF16:
			layout.DecodeBF16(dst[:n], b)
		case F64:
			for i := range n {
				dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:])))
			}
		}
		dst, elem = dst[n:], elem+n
	}
	return nil
}
