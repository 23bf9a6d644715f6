package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"bimamba/convert/source"
	"bimamba/memmap"
)

// Writer writes one file, tensor after tensor.
type Writer struct {
	w    io.Writer
	left int64
}

// NewWriter writes the header for tensors, of which name, type and shape matter. Their bytes then follow by Write, in that order.
func NewWriter(w io.Writer, tensors []source.Tensor) (*Writer, error) {
	names := make(map[memmap.DType]string, len(dtypes))
	for name, d := range dtypes {
		names[d] = name
	}
	type header struct {
		DType   string   `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	fields := make(map[string]header, len(tensors))
	var pos int64
	for _, t := range tensors {
		name, ok := names[t.DType]
		if !ok {
			return nil, fmt.Errorf("tensor %s: safetensors has no element type %s", t.Name, t.DType)
		}
		if err := source.CheckName(t.Name); err != nil {
			return nil, err
		}
		if _, ok := fields[t.Name]; ok || t.Name == "__metadata__" {
			return nil, fmt.Errorf("tensor %s stands twice, or its name is the format's own", t.Name)
		}
		elems, err := source.CheckShape(t.Shape, source.ElemSize(t.DType))
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		end := pos + elems*source.ElemSize(t.DType)
		if end < pos {
			return nil, fmt.Errorf("tensor %s: the file would be too large", t.Name)
		}
		fields[t.Name] = header{name, append([]int64{}, t.Shape...), [2]int64{pos, end}}
		pos = end
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b) > maxHeader {
		return nil, fmt.Errorf("safetensors: a header of %d bytes, more than %d", len(b), maxHeader)
	}
	if _, err := w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b...)); err != nil {
		return nil, err
	}
	return &Writer{w, pos}, nil
}

// Write appends bytes of the tensors.
func (w *Writer) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		return 0, fmt.Errorf("safetensors: %d bytes more than the tensors have", int64(len(p))-w.left)
	}
	n, err := w.w.Write(p)
	w.left -= int64(n)
	return n, err
}

// Close checks that every tensor is whole. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.left != 0 {
		return fmt.Errorf("safetensors: %d bytes of the tensors are missing", w.left)
	}
	return nil
}
