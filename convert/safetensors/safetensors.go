// Package safetensors reads and writes files of Hugging Face's safetensors format: the length of a header (8 bytes, little-endian), the header (JSON), the tensors' bytes.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bimamba/convert/source"
	"bimamba/memmap"
)

const (
	maxHeader  = 100 << 20 // the format's own limit
	maxTensors = 1 << 20
)

// dtypes maps the format's names of element types to ours.
var dtypes = map[string]memmap.DType{
	"F64": source.F64, "F32": memmap.F32, "F16": memmap.F16, "BF16": memmap.BF16, "F8_E4M3": "f8_e4m3", "F8_E5M2": "f8_e5m2",
	"I64": "i64", "I32": "i32", "I16": "i16", "I8": memmap.I8, "U64": "u64", "U32": memmap.U32, "U16": "u16", "U8": memmap.U8, "BOOL": "bool",
}

// File is an opened file.
type File struct {
	f       *os.File
	tensors []source.Tensor
}

// Open reads the header of the file at path. An error names the file and the tensor or offset.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	tensors, err := parse(f, st.Size(), filepath.Base(path))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{f, tensors}, nil
}

// Tensors is the tensors of the file, sorted by name.
func (f *File) Tensors() []source.Tensor { return f.tensors }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// parse reads the header of a file of size bytes.
func parse(r io.ReaderAt, size int64, file string) ([]source.Tensor, error) {
	var head [8]byte
	if size < 8 {
		return nil, fmt.Errorf("%d bytes, fewer than the 8 that a safetensors file begins with: cut short; copy it again", size)
	}
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(head[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("offset 0: header length %d exceeds the file (%d bytes) or the limit of %d: not a safetensors file, or cut short", n, size, maxHeader)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, fmt.Errorf("offset 8: header: %w", err)
	}
	entries, err := decodeHeader(header)
	if err != nil {
		return nil, fmt.Errorf("offset 8: header: %w", err)
	}
	base := 8 + int64(n)
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end)) })
	var pos int64
	tensors := make([]source.Tensor, 0, len(entries))
	for _, e := range entries {
		fail := func(format string, a ...any) error {
			return fmt.Errorf("tensor %s: %s", e.name, fmt.Sprintf(format, a...))
		}
		d, ok := dtypes[e.DType]
		if !ok {
			return nil, fail("element type %q is not known", e.DType)
		}
		elems, err := source.CheckShape(e.Shape, source.ElemSize(d))
		if err != nil {
			return nil, fail("%v", err)
		}
		switch {
		case e.begin != pos:
			return nil, fail("offset %d: the bytes before it end at %d; tensors follow one another without gap or overlap", base+e.begin, base+pos)
		case e.end < e.begin || e.end > size-base:
			return nil, fail("bytes %d to %d lie outside the file's %d: cut short; copy it again", base+e.begin, base+e.end, size)
		case e.end-e.begin != elems*source.ElemSize(d):
			return nil, fail("%d bytes, but %s of shape %v takes %d", e.end-e.begin, e.DType, e.Shape, elems*source.ElemSize(d))
		}
		pos = e.end
		tensors = append(tensors, source.Tensor{Name: e.name, DType: d, Shape: e.Shape, Data: io.NewSectionReader(r, base+e.begin, e.end-e.begin), File: file})
	}
	if pos != size-base {
		return nil, fmt.Errorf("offset %d: %d bytes belong to no tensor", base+pos, size-base-pos)
	}
	slices.SortFunc(tensors, func(a, b source.Tensor) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(tensors); i++ {
		if tensors[i].Name == tensors[i-1].Name {
			return nil, fmt.Errorf("tensor %s stands twice in the header", tensors[i].Name)
		}
	}
	return tensors, nil
}

// entry is a tensor of the header.
type entry struct {
	name       string
	DType      string  `json:"dtype"`
	Shape      []int64 `json:"shape"`
	Offsets    []int64 `json:"data_offsets"`
	begin, end int64
}

// decodeHeader decodes the header tensor by tensor.
func decodeHeader(header []byte) ([]entry, error) {
	d := json.NewDecoder(bytes.NewReader(header))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object: not a safetensors file")
	}
	var entries []entry
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if name == "__metadata__" {
			var meta map[string]string
			if err := d.Decode(&meta); err != nil {
				return nil, fmt.Errorf("__metadata__: %w", err)
			}
			continue
		}
		e := entry{name: name}
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < 0 {
			return nil, fmt.Errorf("tensor %s: data_offsets %v are not two offsets", name, e.Offsets)
		}
		e.begin, e.end = e.Offsets[0], e.Offsets[1]
		if entries = append(entries, e); len(entries) > maxTensors {
			return nil, fmt.Errorf("more than %d tensors", maxTensors)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if rest := bytes.TrimLeft(header[d.InputOffset():], " "); len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes follow the JSON object", len(rest))
	}
	return entries, nil
}
