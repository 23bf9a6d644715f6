// Package torch reads PyTorch's checkpoints, the zip archives that torch.save writes.
//
// A checkpoint is a pickle, which in Python may run any code. The unpickler here is a small machine that builds dicts, lists,
// numbers and descriptions of tensors, calls nothing, and refuses every name that a state dict has no use for. The tensors' bytes are
// stored entries of the archive and are read from disk when they are asked for. (Existing Go unpicklers load whole storages into memory.)
package torch

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bimamba/convert/source"
	"bimamba/memmap"
)

// File is an opened checkpoint.
type File struct {
	f       *os.File
	tensors []source.Tensor
}

// Open reads the index of the checkpoint at path. An error names the file and the tensor or offset.
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

// Tensors is the tensors of the state dict, sorted by name.
func (f *File) Tensors() []source.Tensor { return f.tensors }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// recognise says what a file that is no zip archive is.
func recognise(head []byte, size int64) error {
	legacy := []byte{0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19}
	switch {
	case size == 0:
		return errors.New("the file is empty; copy it again")
	case bytes.HasPrefix(head, []byte("PK")):
		return nil
	case bytes.Contains(head, legacy):
		return errors.New("the legacy format of torch.save; load it in PyTorch 1.6 or newer and save it again")
	case bytes.HasPrefix(head, []byte("version https://git-lfs")):
		return errors.New("a Git LFS pointer, not the file itself; run `git lfs pull`")
	case bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(head)), []byte("<!doctype")) || bytes.HasPrefix(bytes.TrimSpace(head), []byte("<html")):
		return errors.New("a web page, not a checkpoint; download the file itself")
	case head[0] == 0x80:
		return errors.New("a bare pickle, not a checkpoint that torch.save wrote; save the state_dict with PyTorch 1.6 or newer")
	}
	return fmt.Errorf("not a PyTorch checkpoint: it begins with %x, not with a zip archive", head[:min(4, len(head))])
}

// maxEntries bounds the archive's directory: one entry a storage.
const maxEntries = 1 << 20

// parse reads the archive of size bytes.
func parse(r io.ReaderAt, size int64, file string) ([]source.Tensor, error) {
	head := make([]byte, min(64, size))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := recognise(head, size); err != nil {
		return nil, err
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("zip archive: %w: cut short or damaged; copy it again", err)
	}
	if len(z.File) > maxEntries {
		return nil, fmt.Errorf("zip archive of %d entries, more than %d", len(z.File), maxEntries)
	}
	a := &archive{r: r, size: size, file: file, entries: make(map[string]*zip.File, len(z.File))}
	var pickle *zip.File
	for _, f := range z.File {
		a.entries[f.Name] = f
		switch path.Base(f.Name) {
		case "data.pkl":
			pickle = f
		case "constants.pkl":
			return nil, errors.New("a TorchScript program, not a checkpoint; save the state_dict instead")
		}
	}
	if pickle == nil {
		return nil, errors.New("a zip archive without data.pkl: not a PyTorch checkpoint")
	}
	a.prefix = strings.TrimSuffix(pickle.Name, "data.pkl")
	if err := a.checkByteOrder(); err != nil {
		return nil, err
	}
	b, err := a.readAll(pickle, maxPickle)
	if err != nil {
		return nil, err
	}
	v, err := unpickle(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pickle.Name, err)
	}
	return a.stateDict(v)
}

// archive is the zip file around the storages.
type archive struct {
	r       io.ReaderAt
	size    int64
	file    string
	prefix  string
	entries map[string]*zip.File
}

// section is the bytes of a stored entry.
func (a *archive) section(f *zip.File) (*io.SectionReader, error) {
	if f.Method != zip.Store {
		return nil, fmt.Errorf("zip entry %s is compressed, which torch.save never does: unpack the archive and pack it without compression, or save it again", f.Name)
	}
	off, err := f.DataOffset()
	if err != nil {
		return nil, fmt.Errorf("zip entry %s: %w", f.Name, err)
	}
	n := f.UncompressedSize64
	if n != f.CompressedSize64 || off < 0 || off > a.size || n > uint64(a.size-off) {
		return nil, fmt.Errorf("zip entry %s: %d bytes from offset %d on exceed the file's %d: cut short or damaged; copy it again", f.Name, n, off, a.size)
	}
	return io.NewSectionReader(a.r, off, int64(n)), nil
}

func (a *archive) readAll(f *zip.File, limit int64) ([]byte, error) {
	s, err := a.section(f)
	if err != nil {
		return nil, err
	}
	if s.Size() > limit {
		return nil, fmt.Errorf("zip entry %s has %d bytes, more than %d", f.Name, s.Size(), limit)
	}
	b := make([]byte, s.Size())
	if _, err := io.ReadFull(s, b); err != nil {
		return nil, fmt.Errorf("zip entry %s: %w", f.Name, err)
	}
	return b, nil
}

func (a *archive) checkByteOrder() error {
	f, ok := a.entries[a.prefix+"byteorder"]
	if !ok {
		return nil // written before PyTorch 2.1, on little-endian machines in practice
	}
	b, err := a.readAll(f, 64)
	if err == nil && string(b) != "little" {
		err = fmt.Errorf("byte order %q: only little-endian checkpoints are read; save it on another machine", b)
	}
	return err
}

// stateDict finds the tensors of what was pickled: a dict, or one under state_dict or model.
func (a *archive) stateDict(v any) ([]source.Tensor, error) {
	d, ok := v.(*dict)
	if !ok {
		return nil, fmt.Errorf("data.pkl holds a %T, not a state dict", v)
	}
	for _, key := range []string{"state_dict", "model"} {
		if inner, ok := d.get(key); ok {
			if id, ok := inner.(*dict); ok {
				d = id
				break
			}
		}
	}
	var tensors []source.Tensor
	seen := make(map[string]bool)
	for i, k := range d.keys {
		view, ok := d.values[i].(*view)
		if !ok {
			continue // step counters and the like
		}
		name, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("data.pkl: a tensor whose name is a %T", k)
		}
		if seen[name] {
			return nil, fmt.Errorf("tensor %s stands twice", name)
		}
		seen[name] = true
		t, err := a.tensor(name, view)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		tensors = append(tensors, t)
	}
	if len(tensors) == 0 {
		return nil, errors.New("data.pkl holds no tensors: not a state dict")
	}
	slices.SortFunc(tensors, func(x, y source.Tensor) int { return strings.Compare(x.Name, y.Name) })
	return tensors, nil
}

var classes = map[global]memmap.DType{
	"torch.FloatStorage": memmap.F32, "torch.HalfStorage": memmap.F16, "torch.BFloat16Storage": memmap.BF16, "torch.DoubleStorage": source.F64,
	"torch.CharStorage": memmap.I8, "torch.ByteStorage": memmap.U8, "torch.BoolStorage": "bool", "torch.ShortStorage": "i16",
	"torch.IntStorage": "i32", "torch.LongStorage": "i64",
}

// tensor checks a view against its storage's real bytes.
func (a *archive) tensor(name string, v *view) (source.Tensor, error) {
	var t source.Tensor
	d, ok := classes[v.storage.class]
	if !ok {
		return t, fmt.Errorf("storage of type %s is not known", v.storage.class)
	}
	size := source.ElemSize(d)
	elems, err := source.CheckShape(v.shape, size)
	if err != nil {
		return t, err
	}
	f, ok := a.entries[a.prefix+"data/"+v.storage.key]
	if !ok {
		return t, fmt.Errorf("zip entry %sdata/%s is missing: damaged; copy it again", a.prefix, v.storage.key)
	}
	s, err := a.section(f)
	if err != nil {
		return t, err
	}
	// The last element that the view touches.
	last := v.offset
	for i, n := range v.shape {
		if v.stride[i] < 0 || v.offset < 0 {
			return t, fmt.Errorf("stride %v, offset %d: negative", v.stride, v.offset)
		}
		if n > 1 {
			if v.stride[i] > s.Size()/(n-1) {
				return t, fmt.Errorf("shape %v with stride %v leaves its storage of %d bytes", v.shape, v.stride, s.Size())
			}
			last += (n - 1) * v.stride[i]
		}
	}
	if elems > 0 && (last < 0 || last >= s.Size()/size) {
		return t, fmt.Errorf("shape %v with stride %v and offset %d leaves its storage of %d bytes: damaged; copy it again", v.shape, v.stride, v.offset, s.Size())
	}
	t = source.Tensor{Name: name, DType: d, Shape: v.shape, File: a.file}
	if contiguous(v) {
		t.Data = io.NewSectionReader(s, v.offset*size, elems*size)
	} else {
		t.Data = &gather{s, v, size, elems}
	}
	return t, nil
}

func contiguous(v *view) bool {
	n := int64(1)
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] != 1 && v.stride[i] != n {
			return false
		}
		n *= v.shape[i]
	}
	return true
}

// gather reads a view whose elements do not lie in order, such as a transposed matrix, element by element.
type gather struct {
	r     io.ReaderAt
	v     *view
	size  int64
	elems int64
}

func (g *gather) ReadAt(p []byte, off int64) (n int, err error) {
	var b [8]byte
	for n < len(p) {
		at := off + int64(n)
		if off < 0 || at >= g.elems*g.size {
			return n, io.EOF
		}
		i, src := at/g.size, g.v.offset
		for d := len(g.v.shape) - 1; d >= 0; d-- {
			src += i % g.v.shape[d] * g.v.stride[d]
			i /= g.v.shape[d]
		}
		if _, err := g.r.ReadAt(b[:g.size], src*g.size); err != nil {
			return n, err
		}
		n += copy(p[n:], b[at%g.size:g.size])
	}
	return n, nil
}
