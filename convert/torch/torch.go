// Package torch reads PyTorch's checkpoints, the zip archives that torch.save has written since 1.6.
//
// A checkpoint is a pickle, which in Python may run any code. The unpickler here is a small machine that builds dicts, lists, numbers
// and descriptions of tensors, calls nothing, and refuses every name that a state dict has no use for. The tensors' bytes are stored
// entries of the archive and are read from disk when they are asked for.
package torch

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"bimamba/convert/source"
)

// Limits of an archive.
const (
	maxDirectory = 16 << 20 // bytes of its directory; an entry takes some 100
	maxPickle    = 64 << 20 // bytes of data.pkl
)

// File is an opened checkpoint.
type File struct {
	f       *os.File
	tensors []source.Tensor
}

// Open reads the directory and the pickle of the checkpoint at path: a state dict, or a dict that has one under "state_dict" or "model".
// An error names the file and the tensor or offset.
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

// Tensors is the tensors of the state dict, sorted by name. Their Data is good until Close.
func (f *File) Tensors() []source.Tensor { return f.tensors }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// parse reads the archive of size bytes.
func parse(r io.ReaderAt, size int64, file string) ([]source.Tensor, error) {
	a, err := openArchive(r, size)
	if err != nil {
		return nil, err
	}
	if b, err := a.read("byteorder", 16); err != nil && !errors.Is(err, errMissing) {
		return nil, err
	} else if err == nil && string(b) != "little" { // files of before PyTorch 2.1 do not say
		return nil, fmt.Errorf("byte order %q: only little-endian checkpoints are read; load it on a little-endian machine and save it again", b)
	}
	b, err := a.read("data.pkl", maxPickle)
	if err != nil {
		return nil, err
	}
	v, err := unpickle(b)
	if err != nil {
		return nil, fmt.Errorf("data.pkl, %w", err)
	}
	return a.stateDict(v, file)
}

// archive is the zip file around the storages.
type archive struct {
	r       io.ReaderAt
	size    int64
	prefix  string // of the names of all entries, the name under which torch.save wrote the file
	entries map[string]*zip.File
	tile    tile
}

var errMissing = errors.New("is not in the archive: it was cut short or damaged; copy it again")

func openArchive(r io.ReaderAt, size int64) (*archive, error) {
	var head [4]byte
	if n, _ := r.ReadAt(head[:], 0); string(head[:n]) != "PK\x03\x04" {
		if err := source.Recognise(r, size); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("not a PyTorch checkpoint: it begins with %q, not with a zip archive", head[:n])
	}
	directory := &budget{r: r, left: maxDirectory}
	z, err := zip.NewReader(directory, size)
	if err != nil {
		return nil, fmt.Errorf("zip archive: %w: cut short or damaged; copy it again", err)
	}
	directory.left = -1
	a := &archive{r: r, size: size, entries: make(map[string]*zip.File, len(z.File))}
	found := false
	for _, f := range z.File {
		if _, ok := a.entries[f.Name]; ok {
			return nil, fmt.Errorf("zip entry %.80q stands twice: damaged, or made to mislead", f.Name)
		}
		a.entries[f.Name] = f
		if prefix, ok := strings.CutSuffix(f.Name, "data.pkl"); ok && (prefix == "" || strings.HasSuffix(prefix, "/")) {
			if found {
				return nil, fmt.Errorf("a zip archive with two data.pkl, %.80q and %.80q: which one is the checkpoint?", a.prefix+"data.pkl", f.Name)
			}
			a.prefix, found = prefix, true
		}
	}
	if !found {
		return nil, errors.New("a zip archive without data.pkl: not a PyTorch checkpoint; if one lies in it, unpack it")
	}
	if _, ok := a.entries[a.prefix+"constants.pkl"]; ok {
		return nil, errors.New("a TorchScript program, not a checkpoint; save the state_dict of the model that it was made from")
	}
	return a, nil
}

// budget bounds what archive/zip reads, and so keeps in memory, of a directory.
type budget struct {
	r    io.ReaderAt
	mu   sync.Mutex
	left int // -1: no limit any more
}

func (b *budget) ReadAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	ok := b.left < 0 || len(p) <= b.left
	if ok && b.left >= 0 {
		b.left -= len(p)
	}
	b.mu.Unlock()
	if !ok {
		return 0, fmt.Errorf("a directory of more than %d bytes", maxDirectory)
	}
	return b.r.ReadAt(p, off)
}

// section is the bytes of a stored entry.
func (a *archive) section(name string) (*io.SectionReader, error) {
	f, ok := a.entries[a.prefix+name]
	if !ok {
		return nil, fmt.Errorf("zip entry %s %w", name, errMissing)
	}
	if f.Method != zip.Store || f.Flags&1 != 0 {
		return nil, fmt.Errorf("zip entry %s is compressed or encrypted, which torch.save never does: load it in PyTorch and save it again", name)
	}
	off, err := f.DataOffset()
	if err != nil {
		return nil, fmt.Errorf("zip entry %s: %w: cut short or damaged; copy it again", name, err)
	}
	n := f.UncompressedSize64
	if n != f.CompressedSize64 || off < 0 || off > a.size || n > uint64(a.size-off) {
		return nil, fmt.Errorf("zip entry %s: %d bytes at offset %d of the file's %d: cut short or damaged; copy it again", name, n, off, a.size)
	}
	return io.NewSectionReader(a.r, off, int64(n)), nil
}

// read is a small entry as a whole. Like torch.load it does not look at the checksum, which torch.save leaves wrong when told to be quick.
func (a *archive) read(name string, limit int64) ([]byte, error) {
	s, err := a.section(name)
	if err != nil {
		return nil, err
	}
	if s.Size() > limit {
		return nil, fmt.Errorf("zip entry %s has %d bytes, more than %d", name, s.Size(), limit)
	}
	b := make([]byte, s.Size())
	if _, err := io.ReadFull(s, b); err != nil {
		return nil, fmt.Errorf("zip entry %s: %w", name, err)
	}
	return b, nil
}

// stateDict is the tensors of what was pickled: a dict of tensors, or a dict that has one under state_dict or model.
func (a *archive) stateDict(v any, file string) ([]source.Tensor, error) {
	d, ok := v.(*dict)
	if !ok {
		return nil, fmt.Errorf("data.pkl holds %s, not a state dict; torch.save(model.state_dict(), ...) writes one", kind(v))
	}
	if !d.hasTensors() {
		for _, key := range []string{"state_dict", "model"} {
			if inner, ok := d.get(key).(*dict); ok && inner.hasTensors() {
				d = inner
				break
			}
		}
	}
	var tensors []source.Tensor
	storages := make(map[string]*io.SectionReader)
	for i, k := range d.keys {
		view, ok := d.values[i].(*view)
		if !ok {
			continue // step counters and the like
		}
		name, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("data.pkl: a tensor whose name is %s", kind(k))
		}
		if err := source.CheckName(name); err != nil {
			return nil, fmt.Errorf("data.pkl: %w", err)
		}
		if len(tensors) == source.MaxTensors {
			return nil, fmt.Errorf("data.pkl: more than %d tensors", source.MaxTensors)
		}
		s := storages[view.storage.key]
		if s == nil {
			var err error
			if s, err = a.section("data/" + view.storage.key); err != nil {
				return nil, fmt.Errorf("tensor %s: %w", name, err)
			}
			storages[view.storage.key] = s
		}
		t, err := view.tensor(s, &a.tile)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		t.Name, t.File = name, file
		tensors = append(tensors, t)
	}
	if len(tensors) == 0 {
		return nil, errors.New(`data.pkl holds no tensors, neither at the top nor under "state_dict" or "model": not a state dict`)
	}
	slices.SortFunc(tensors, func(x, y source.Tensor) int { return strings.Compare(x.Name, y.Name) })
	for i := 1; i < len(tensors); i++ {
		if tensors[i].Name == tensors[i-1].Name {
			return nil, fmt.Errorf("data.pkl: tensor %s stands twice", tensors[i].Name)
		}
	}
	return tensors, nil
}
