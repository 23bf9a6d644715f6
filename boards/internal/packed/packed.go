package packed

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ulikunitz/xz"
)

// Step is how many bytes readers and writers of images best take at once.
const Step = 1 << 20

// Image is an open image.
type Image struct {
	f    *os.File
	kind string // "", "gzip" or "xz"
	size int64  // of the file
	full int64  // bytes unpacked, 0 if that is not known before
	n    int64  // bytes of the file that were read
}

// Open looks at what the file is.
func Open(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	i := &Image{f: f, size: st.Size()}
	if err := i.look(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}

func (i *Image) look() error {
	head := make([]byte, 8)
	n, err := i.f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		i.kind = "gzip" // its field of the size is too short for images
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		i.kind = "xz"
		if err := checkDict(i.f); err != nil {
			return err
		}
		if n, ok := xzSize(i.f, i.size); ok {
			i.full = n
		}
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return errors.New("it is packed with zstd, which is not read: unpack it with `zstd -d` first")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return errors.New("it is a zip archive: unpack the image in it first")
	case bytes.HasPrefix(head, []byte("BZh")):
		return errors.New("it is packed with bzip2, which is not read: unpack it with `bunzip2` first")
	default:
		i.full = i.size
	}
	return nil
}

// Close closes the file.
func (i *Image) Close() error { return i.f.Close() }

// File is the file as it is on the disk.
func (i *Image) File() *os.File { return i.f }

// Size is the size of the image in bytes; false if it is not known before all of it was unpacked.
func (i *Image) Size() (int64, bool) { return i.full, i.kind == "" || i.full > 0 }

// Progress is how many bytes of the file were read, and how many there are.
func (i *Image) Progress() (done, total int64) { return i.n, i.size }

// Reader reads the image from its start. There is one at a time. A packed file that is damaged or cut short gives an error that says so, not io.EOF.
func (i *Image) Reader() (io.Reader, error) {
	if _, err := i.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	i.n = 0
	var r io.Reader
	var err error
	switch i.kind {
	case "gzip":
		r, err = gzip.NewReader(bufio.NewReaderSize(counter{i}, Step))
	case "xz":
		r, err = xz.NewReader(bufio.NewReaderSize(counter{i}, Step))
	default:
		return counter{i}, nil
	}
	if err != nil {
		return nil, i.damaged(err)
	}
	return &reader{i: i, r: r}, nil
}

func (i *Image) damaged(err error) error {
	return fmt.Errorf("unpacking %s: %w: the download is damaged or not complete", i.f.Name(), err)
}

// counter counts what was read of the file.
type counter struct{ i *Image }

func (c counter) Read(b []byte) (int, error) {
	n, err := c.i.f.Read(b)
	c.i.n += int64(n)
	return n, err
}

// maxFull is more than any card's image has, in bytes: a small file can unpack to zeros without end.
const maxFull = 1 << 38

// reader unpacks.
type reader struct {
	i *Image
	r io.Reader
	n int64 // bytes unpacked
}

func (r *reader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if r.n += int64(n); r.n > maxFull {
		return n, fmt.Errorf("%s unpacks to more than %d bytes: it is no image of a card", r.i.f.Name(), int64(maxFull))
	}
	if err != nil && err != io.EOF {
		err = r.i.damaged(err)
	}
	return n, err
}

// Fill reads until b is full or the image ends, and then err is io.EOF. io.ReadFull has one error for the end and for a file that was cut short.
func Fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

// hole is the least that is worth one.
const hole = 64 << 10

var zeros [hole]byte

// WriteSparse writes b at an offset of a file that has nothing there yet, with holes where b is zero.
func WriteSparse(w io.WriterAt, b []byte, off int64) error {
	for i := 0; i < len(b); i += hole {
		part := b[i:min(i+hole, len(b))]
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		if _, err := w.WriteAt(part, off+int64(i)); err != nil {
			return err
		}
	}
	return nil
}
