// Package source defines what every reader of checkpoints gives: tensors whose bytes stay on disk until they are asked for.
package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"bimamba/memmap"
	"bimamba/neon/layout"
)

// Element types that checkpoints have and blobs do not.
const (
	F64    memmap.DType = "f64"
	I64    memmap.DType = "i64"
	I32    memmap.DType = "i32"
	I16    memmap.DType = "i16"
	U64    memmap.DType = "u64"
	U16    memmap.DType = "u16"
	Bool   memmap.DType = "bool"
	F8E4M3 memmap.DType = "f8_e4m3"
	F8E5M2 memmap.DType = "f8_e5m2"
)

// Limits of what is read. Models of a hundred layers have some thousand tensors.
const (
	MaxDims    = 8       // dimensions of a tensor
	MaxTensors = 1 << 17 // tensors of a file, and of a checkpoint
	MaxName    = 1 << 10 // bytes of a tensor's name
)

// chunk is how many bytes ReadFloats reads at a time.
const chunk = 64 << 10

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

// Bytes is the size of the tensor.
func (t *Tensor) Bytes() int64 { return t.Elems() * ElemSize(t.DType) }

// ElemSize is the bytes of an element of type d, 0 for one that is not known.
func ElemSize(d memmap.DType) int64 {
	switch d {
	case F64, I64, U64:
		return 8
	case memmap.F32, memmap.U32, I32:
		return 4
	case memmap.F16, memmap.BF16, I16, U16:
		return 2
	case memmap.I8, memmap.U8, Bool, F8E4M3, F8E5M2:
		return 1
	}
	return 0
}

// CheckName refuses a tensor's name that came from outside and is empty, too long, or not fit to be printed.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a tensor has an empty name")
	case len(name) > MaxName:
		return fmt.Errorf("a tensor's name of %d bytes, more than %d, that begins with %.40q", len(name), MaxName, name)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("a tensor's name that is no text: %.40q", name)
	}
	return nil
}

// CheckShape computes the number of elements of a shape that came from outside: no dimension is negative, and the size in bytes does not
// overflow, whatever the order of the dimensions.
func CheckShape(shape []int64, elemSize int64) (elems int64, err error) {
	if len(shape) > MaxDims {
		return 0, fmt.Errorf("shape has %d dimensions, more than %d", len(shape), MaxDims)
	}
	limit := math.MaxInt64 / max(1, elemSize)
	size, empty := int64(1), false // a 0 must not hide an overflow of the others: Elems multiplies them all
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, fmt.Errorf("shape %v: a dimension is negative", shape)
		case d == 0:
			empty = true
		case size > limit/d:
			return 0, fmt.Errorf("shape %v: more elements than a file can hold", shape)
		default:
			size *= d
		}
	}
	if empty {
		return 0, nil
	}
	return size, nil
}

// ReadFloats decodes len(dst) elements, from number elem on, to float32 (f64 is rounded). Beside dst it needs 64 KiB at most. It refuses
// elements that are no floats, and elements outside the tensor. The error names file, tensor and the byte within the tensor.
func (t *Tensor) ReadFloats(dst []float32, elem int64) error {
	size := ElemSize(t.DType)
	switch t.DType {
	case memmap.F32, memmap.F16, memmap.BF16, F64:
	default:
		return fmt.Errorf("%s: tensor %s: elements of type %s are no floats", t.File, t.Name, t.DType)
	}
	if n := t.Elems(); elem < 0 || elem > n || int64(len(dst)) > n-elem {
		return fmt.Errorf("%s: tensor %s: %d elements from %d on, of %d", t.File, t.Name, len(dst), elem, n)
	}
	buf := make([]byte, min(int64(len(dst))*size, chunk))
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
