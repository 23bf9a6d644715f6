package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"
	"sync"

	"bimamba/boards/internal/bmap"
	"bimamba/boards/internal/disk"
	"bimamba/boards/internal/packed"
)

// Sector is the size of a sector in bytes that images are made for.
const Sector = disk.Sector

// chunkSize is how much is read, written and compared at once: a multiple of the areas that cards erase, and short enough for Ctrl-C on a slow card.
const chunkSize = 4 << 20

// Image is an image that can be written.
type Image struct {
	name string
	in   *packed.Image
	size int64     // 0 if it is not known before all was unpacked
	bmap *bmap.Map // nil without one
	Bmap string    // the block map's file, "" without one
}

// Open opens an image: as it is, or packed by gzip or xz. blockMap names its block map; "" takes the one beside the image, if there is one.
func Open(name, blockMap string) (*Image, error) {
	in, err := packed.Open(name)
	if err != nil {
		return nil, err
	}
	img := &Image{name: name, in: in, Bmap: blockMap}
	if err := img.open(); err != nil {
		in.Close()
		return nil, err
	}
	return img, nil
}

func (img *Image) open() (err error) {
	if img.Bmap == "" {
		img.Bmap = findBmap(img.name)
	}
	if img.Bmap != "" {
		if img.bmap, err = bmap.Read(img.Bmap); err != nil {
			return err
		}
	}
	size, known := img.in.Size()
	if img.bmap != nil {
		if known && size != img.bmap.Size {
			return img.otherSize(size)
		}
		size = img.bmap.Size
	}
	img.size = size
	first := make([]byte, chunkSize)
	r, err := img.in.Reader()
	if err != nil {
		return err
	}
	n, err := packed.Fill(r, first)
	if err != nil && err != io.EOF {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%s is empty", img.name)
	}
	return img.check(first[:n], size)
}

func (img *Image) otherSize(size int64) error {
	return fmt.Errorf("%s is of an image of %d bytes, and %s has %d: name the right one with --bmap, or move this one away", img.Bmap, img.bmap.Size, img.name, size)
}

// check looks at the partition table in the first chunk of an image of size bytes, 0 if they are not known.
func (img *Image) check(first []byte, size int64) error {
	if size == 0 {
		size = 1 << 53
	}
	if size%Sector != 0 {
		return fmt.Errorf("%s has %d bytes, which is no whole number of sectors of %d: it is cut short, or no image of a card", img.name, size, Sector)
	}
	if _, err := disk.Read(bytes.NewReader(first), size); err != nil {
		return fmt.Errorf("%s: %w", img.name, err)
	}
	return nil
}

// Close closes the image.
func (img *Image) Close() error { return img.in.Close() }

// Size is the size of the image in bytes, and 0 if that is not known before all of it was unpacked.
func (img *Image) Size() int64 { return img.size }

// Is tells whether path is the file of the image.
func (img *Image) Is(path string) bool {
	a, err := img.in.File().Stat()
	b, err2 := os.Stat(path)
	return err == nil && err2 == nil && os.SameFile(a, b)
}

// part is a piece of a chunk.
type part struct{ from, to int }

// chunk is a piece of the image.
type chunk struct {
	off         int64
	b           []byte
	parts       []part // of b, which are to be written
	sum         [sha256.Size]byte
	done, total int64 // how far the image's file is read
}

// source reads an image in chunks, ahead of who takes them.
type source struct {
	img *Image
	h   hash.Hash // of the whole
	n   int64     // its size, when all was read
}

// chunks reads on while the last one is worked on; it is gone when the next one is taken. bufs are three buffers of chunkSize bytes.
func (s *source) chunks(ctx context.Context, bufs [][]byte) iter.Seq2[chunk, error] {
	return func(yield func(chunk, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		full, free := make(chan chunk, 1), make(chan []byte, len(bufs))
		for _, b := range bufs {
			free <- b
		}
		var err error
		var reader sync.WaitGroup
		defer reader.Wait() // the file is its alone until then
		defer cancel()
		reader.Go(func() {
			defer close(full)
			err = s.read(ctx, full, free)
		})
		for c := range full {
			if !yield(c, nil) {
				return
			}
			free <- c.b[:chunkSize]
		}
		if err != nil {
			yield(chunk{}, err)
		}
	}
}

func (s *source) read(ctx context.Context, full chan<- chunk, free <-chan []byte) error {
	r, err := s.img.in.Reader()
	if err != nil {
		return err
	}
	var check *bmapCheck
	if m := s.img.bmap; m != nil {
		check = &bmapCheck{left: m.Ranges, h: sha256.New()}
	}
	s.h = sha256.New()
	for end := false; !end; {
		var b []byte
		select {
		case b = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		n, err := packed.Fill(r, b)
		if err != nil && err != io.EOF {
			return err
		}
		end = err == io.EOF
		c := chunk{off: s.n, b: b[:n], parts: []part{{0, n}}}
		s.n += int64(n)
		if m := s.img.bmap; m != nil && (s.n > m.Size || end && s.n < m.Size) {
			return s.img.otherSize(s.n)
		}
		if s.n%Sector != 0 {
			return s.img.check(nil, s.n)
		}
		if n == 0 {
			break
		}
		if check != nil {
			if c.parts, err = check.next(c.b, c.off); err != nil {
				return fmt.Errorf("%s: %w", s.img.Bmap, err)
			}
		}
		s.h.Write(c.b)
		c.sum = c.hash(c.b)
		c.done, c.total = s.img.in.Progress()
		if s.img.size > 0 {
			c.done, c.total = s.n, s.img.size
		}
		select {
		case full <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// hash is the sum of c's parts in b.
func (c *chunk) hash(b []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range c.parts {
		h.Write(b[p.from:p.to])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// bytes is how many bytes are in the parts.
func (c *chunk) bytes() int64 {
	n := 0
	for _, p := range c.parts {
		n += p.to - p.from
	}
	return int64(n)
}

// sum is the SHA-256 of the image, when all was read.
func (s *source) sum() string { return hex.EncodeToString(s.h.Sum(nil)) }

var errLarge = errors.New("the image is larger than the card")
