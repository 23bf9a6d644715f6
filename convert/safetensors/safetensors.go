// Package safetensors reads and writes files of Hugging Face's safetensors format: the length of a header (8 bytes, little-endian), the
// header (JSON), the tensors' bytes.
package safetensors

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bimamba/convert/source"
	"bimamba/memmap"
)

// maxHeader is the format's own limit of the header.
const maxHeader = 100_000_000

// dtypes maps the format's names of element types to ours.
var dtypes = map[string]memmap.DType{
	"F64": source.F64, "F32": memmap.F32, "F16": memmap.F16, "BF16": memmap.BF16, "F8_E4M3": source.F8E4M3, "F8_E5M2": source.F8E5M2,
	"I64": source.I64, "I32": source.I32, "I16": source.I16, "I8": memmap.I8,
	"U64": source.U64, "U32": memmap.U32, "U16": source.U16, "U8": memmap.U8, "BOOL": source.Bool,
}

// File is an opened file.
type File struct {
	f       *os.File
	tensors []source.Tensor
}

// Open reads the header of the file at path. An error names the file and the tensor or offset.
func Open(path string) (*File, error) {
	f, size, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	tensors, err := parse(f, size, filepath.Base(path))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{f, tensors}, nil
}

// Tensors is the tensors of the file, sorted by name. Their Data is good until Close.
func (f *File) Tensors() []source.Tensor { return f.tensors }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// parse reads the header of a file of size bytes.
func parse(r io.ReaderAt, size int64, file string) ([]source.Tensor, error) {
	var head [9]byte // the length, and the header's first byte
	if size < int64(len(head)) {
		if err := source.Recognise(r, size); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%d bytes are too few for a safetensors file: cut short; copy it again", size)
	}
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(head[:8])
	if n > maxHeader || head[8] != '{' {
		if err := source.Recognise(r, size); err != nil {
			return nil, err
		}
		if n <= maxHeader {
			return nil, fmt.Errorf("offset 8: the header does not begin with {: not a safetensors file")
		}
		return nil, fmt.Errorf("offset 0: a header of %d bytes, more than %d: not a safetensors file", n, maxHeader)
	}
	base := 8 + int64(n)
	if base > size {
		return nil, fmt.Errorf("offset 0: a header of %d bytes in a file of %d: cut short; copy it again", n, size)
	}
	entries, err := decodeHeader(io.NewSectionReader(r, 8, int64(n)))
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return layOut(r, entries, base, size, file)
}

// layOut checks that the tensors fill the bytes from base to size without gap or overlap, and makes them readable.
func layOut(r io.ReaderAt, entries []entry, base, size int64, file string) ([]source.Tensor, error) {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end)) })
	pos := base
	tensors := make([]source.Tensor, 0, len(entries))
	for _, e := range entries {
		fail := func(format string, a ...any) error {
			return fmt.Errorf("tensor %s: %s", e.name, fmt.Sprintf(format, a...))
		}
		d, ok := dtypes[e.dtype]
		if !ok {
			return nil, fail("element type %.20q is not known", e.dtype)
		}
		elems, err := source.CheckShape(e.shape, source.ElemSize(d))
		if err != nil {
			return nil, fail("%v", err)
		}
		if e.end < e.begin || e.end > size-base {
			return nil, fail("data_offsets %d to %d, but the file has %d bytes of tensors: cut short; copy it again", e.begin, e.end, size-base)
		}
		begin, n := base+e.begin, e.end-e.begin
		switch {
		case begin < pos:
			return nil, fail("offset %d: overlaps the tensor before, which ends at %d", begin, pos)
		case begin > pos:
			return nil, fail("offset %d: the %d bytes before it belong to no tensor", begin, begin-pos)
		case n != elems*source.ElemSize(d):
			return nil, fail("%d bytes, but %s of shape %v takes %d", n, e.dtype, e.shape, elems*source.ElemSize(d))
		}
		pos = begin + n
		tensors = append(tensors, source.Tensor{Name: e.name, DType: d, Shape: e.shape, Data: io.NewSectionReader(r, begin, n), File: file})
	}
	if pos != size {
		return nil, fmt.Errorf("offset %d: the last %d bytes belong to no tensor", pos, size-pos)
	}
	slices.SortFunc(tensors, func(a, b source.Tensor) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(tensors); i++ {
		if tensors[i].Name == tensors[i-1].Name {
			return nil, fmt.Errorf("tensor %s stands twice in the header", tensors[i].Name)
		}
	}
	return tensors, nil
}
