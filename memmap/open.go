package memmap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File is a mapped blob. Its methods may be called from several goroutines; Close must be the last.
type File struct {
	name        string
	data        []byte // the whole file, read-only
	fd          int    // to ask for its length after a fault
	manifest    Manifest
	manifestSHA [sha256.Size]byte
	manifestEnd uint64 // offset behind the manifest
	minor       uint16
}

// Open maps the blob at path and checks its structure (not its checksums: see [File.Verify]).
// An error names the file and, for a damaged one, the field and its offset or tensor.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return OpenFile(f)
}

// OpenFile is Open for a file that is open already, such as a memfd. The mapping outlives f.
func OpenFile(f *os.File) (*File, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file, which a blob has to be to be mapped", f.Name())
	}
	size := st.Size()
	if size < PreambleSize {
		_, err := decodePreamble(nil, size)
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if size > math.MaxInt {
		return nil, fmt.Errorf("%s: %d bytes do not fit this machine's address space", f.Name(), size)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping %d bytes: %w", f.Name(), size, err)
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Munmap(data)
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	m := &File{name: f.Name(), data: data, fd: fd}
	if err := m.Guard(m.parse); err != nil {
		m.Close()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return m, nil
}

// parse decodes and validates preamble and manifest of the mapped bytes.
func (f *File) parse() error {
	p, err := decodePreamble(f.data[:PreambleSize], int64(len(f.data)))
	if err != nil {
		return err
	}
	body := f.data[PreambleSize : PreambleSize+int(p.manifestLen)]
	if sha256.Sum256(body) != p.manifestSHA {
		return fmt.Errorf("offset %d: the manifest does not match its checksum: damaged; copy the file again", PreambleSize)
	}
	rest, err := f.manifest.UnmarshalMsg(body)
	if err != nil {
		return fmt.Errorf("offset %d: manifest: %w", PreambleSize, err)
	}
	if len(rest) != 0 {
		return fmt.Errorf("offset %d: %d bytes follow the manifest within its length", PreambleSize+len(body)-len(rest), len(rest))
	}
	f.manifestSHA, f.manifestEnd, f.minor = p.manifestSHA, PreambleSize+uint64(p.manifestLen), p.minor
	return f.manifest.validate(f.manifestEnd, p.fileLen)
}

// Close unmaps the file. Slices that Data returned must not be touched afterwards.
func (f *File) Close() error {
	if f.data == nil {
		return nil
	}
	data := f.data
	f.data = nil
	return errors.Join(unix.Munmap(data), unix.Close(f.fd))
}

// Replaced tells whether the path that the file was opened by names another file now.
func (f *File) Replaced() (bool, error) {
	var here, there unix.Stat_t
	if err := unix.Fstat(f.fd, &here); err != nil {
		return false, fmt.Errorf("%s: %w", f.name, err)
	}
	if err := unix.Stat(f.name, &there); err != nil {
		return false, fmt.Errorf("%s: %w", f.name, err)
	}
	return here.Dev != there.Dev || here.Ino != there.Ino, nil
}

// Name is the path that the file was opened by.
func (f *File) Name() string { return f.name }

// Size is the length of the file in bytes.
func (f *File) Size() int64 { return int64(len(f.data)) }

// Version is the format's version that the file was written in.
func (f *File) Version() (major, minor int) { return Major, int(f.minor) }

// Manifest is the file's description. It is shared: do not change it.
func (f *File) Manifest() *Manifest { return &f.manifest }

// ID is the SHA-256 of the manifest. As that holds the checksum of every tensor, it identifies the model and its bytes.
func (f *File) ID() [sha256.Size]byte { return f.manifestSHA }

// Head is the mapped bytes of preamble and manifest: what a signature is of. Touch them inside [File.Guard].
func (f *File) Head() []byte { return f.data[:f.manifestEnd:f.manifestEnd] }

// Section finds a section by name.
func (f *File) Section(name string) (*Section, bool) {
	for i := range f.manifest.Sections {
		if f.manifest.Sections[i].Name == name {
			return &f.manifest.Sections[i], true
		}
	}
	return nil, false
}

// Tensor finds a tensor of s by name.
func (s *Section) Tensor(name string) (*Tensor, bool) {
	for i := range s.Tensors {
		if s.Tensors[i].Name == name {
			return &s.Tensors[i], true
		}
	}
	return nil, false
}

// Data is the mapped bytes of t, 64-byte aligned. Touch them inside [File.Guard].
func (f *File) Data(t *Tensor) []byte {
	return f.data[t.Offset : t.Offset+t.Length : t.Offset+t.Length]
}

// SectionData is the mapped bytes of s, its padding included. A section starts on SectionAlign, so on a page of every kernel. Touch them inside [File.Guard].
func (f *File) SectionData(s *Section) []byte {
	return f.data[s.Offset : s.Offset+s.Length : s.Offset+s.Length]
}

// Verify reads the whole file and compares every tensor with its checksum, and every padding byte with 0.
// progress, if not nil, is told the bytes read so far.
func (f *File) Verify(ctx context.Context, progress func(done int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	const chunk = 1 << 20
	return f.Guard(func() error {
		h := sha256.New()
		var sum [sha256.Size]byte
		pos := f.manifestEnd
		for i := range f.manifest.Sections {
			for j := range f.manifest.Sections[i].Tensors {
				t := &f.manifest.Sections[i].Tensors[j]
				if err := f.verifyPadding(pos, t.Offset); err != nil {
					return err
				}
				h.Reset()
				for b := f.Data(t); len(b) > 0; {
					if err := ctx.Err(); err != nil {
						return err
					}
					n := min(len(b), chunk)
					h.Write(b[:n])
					b = b[n:]
					progress(int64(t.Offset+t.Length) - int64(len(b)))
				}
				if h.Sum(sum[:0]); sum != t.SHA256 {
					return fmt.Errorf("%s: tensor %q (offset %d, %d bytes) does not match its checksum: damaged; copy the file again", f.name, t.Name, t.Offset, t.Length)
				}
				pos = t.Offset + t.Length
			}
		}
		return f.verifyPadding(pos, uint64(len(f.data)))
	})
}

func (f *File) verifyPadding(from, to uint64) error {
	pad := f.data[from:to]
	if n := len(bytes.TrimLeft(pad, "\x00")); n != 0 {
		return fmt.Errorf("%s: offset %d: padding is not zero: damaged; copy the file again", f.name, to-uint64(n))
	}
	return nil
}

// Advice says how a section is about to be used (madvise(2)).
type Advice int

// Advices.
const (
	WillNeed   Advice = unix.MADV_WILLNEED   // read ahead
	Sequential Advice = unix.MADV_SEQUENTIAL // read once, front to back
	Random     Advice = unix.MADV_RANDOM     // read some bytes of it only
	DontNeed   Advice = unix.MADV_DONTNEED   // give the pages back
)

// Advise tells the kernel how s will be used.
func (f *File) Advise(s *Section, a Advice) error {
	if s.Length == 0 {
		return nil
	}
	if err := unix.Madvise(f.SectionData(s), int(a)); err != nil {
		return fmt.Errorf("%s: madvise of section %q: %w", f.name, s.Name, err)
	}
	return nil
}

// Drop gives the pages of s back, also those that the page cache has.
func (f *File) Drop(s *Section) error {
	if err := f.Advise(s, DontNeed); err != nil {
		return err
	}
	if err := unix.Fadvise(f.fd, int64(s.Offset), int64(s.Length), unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("%s: fadvise of section %q: %w", f.name, s.Name, err)
	}
	return nil
}

// Lock keeps the pages of s in memory (mlock(2)), reading them now.
func (f *File) Lock(s *Section) error {
	if s.Length == 0 {
		return nil
	}
	if err := unix.Mlock(f.SectionData(s)); err != nil {
		return fmt.Errorf("%s: locking the %d bytes of section %q in memory: %w; raise the limit (ulimit -l, or LimitMEMLOCK= in a unit)", f.name, s.Length, s.Name, err)
	}
	return nil
}

// Unlock lets the kernel drop the pages of s again.
func (f *File) Unlock(s *Section) error {
	if s.Length == 0 {
		return nil
	}
	if err := unix.Munlock(f.SectionData(s)); err != nil {
		return fmt.Errorf("%s: unlocking section %q: %w", f.name, s.Name, err)
	}
	return nil
}

// contains tells whether addr lies in the mapping, and at which offset. The mapping ends on a page's border, not with the file.
func (f *File) contains(addr uintptr) (uint64, bool) {
	if len(f.data) == 0 {
		return 0, false
	}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(f.data)))
	if addr < base || addr-base >= uintptr(alignUp(uint64(len(f.data)), uint64(os.Getpagesize()))) {
		return 0, false
	}
	return uint64(addr - base), true
}
