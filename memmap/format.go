package memmap

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"bimamba/neon/layout"
)

// The format's version. A reader refuses another major version and accepts every minor one.
const (
	Major = 1
	Minor = 1 // the newest that this program knows; a file is written with the oldest that has all that it uses
)

// I4Layout is the layout of every i4 tensor: rows in whole groups of layout.I4Group elements.
const I4Layout = "i4-g32"

// Alignments and limits of FORMAT.md.
const (
	PreambleSize = 64
	SectionAlign = 64 << 10 // the largest page of any arm64 kernel, so that sections can be advised and locked apart
	TensorAlign  = 64       // a cache line, and one line of the 1-bit layout

	MaxManifest       = 16 << 20
	MaxSections       = 4096
	MaxSectionTensors = 64
)

// magic starts every blob. As PNG's does, it shows a transfer in text mode: a byte above 0x7f, CR LF, a DOS end of file, LF.
var magic = [8]byte{0x89, 'B', 'M', 'B', '\r', '\n', 0x1a, '\n'}

// preamble is the decoded fixed head of a blob.
type preamble struct {
	major, minor uint16
	manifestLen  uint32
	fileLen      uint64
	manifestSHA  [sha256.Size]byte
}

func (p *preamble) encode() []byte {
	b := make([]byte, PreambleSize)
	copy(b, magic[:])
	binary.LittleEndian.PutUint16(b[8:], p.major)
	binary.LittleEndian.PutUint16(b[10:], p.minor)
	binary.LittleEndian.PutUint32(b[12:], p.manifestLen)
	binary.LittleEndian.PutUint64(b[16:], p.fileLen)
	copy(b[32:], p.manifestSHA[:])
	return b
}

// decodePreamble reads the head of a file of size bytes.
func decodePreamble(b []byte, size int64) (preamble, error) {
	var p preamble
	if len(b) < PreambleSize {
		return p, fmt.Errorf("the file has %d bytes, fewer than the %d of a .bimamba preamble: not a blob, or cut short", size, PreambleSize)
	}
	if !bytes.Equal(b[:8], magic[:]) {
		if bytes.HasPrefix(b, []byte("\x89BMB\n")) || bytes.HasPrefix(b, []byte("?BMB")) {
			return p, fmt.Errorf("offset 0: the file was changed by a transfer in text mode; copy it again in binary mode")
		}
		return p, fmt.Errorf("offset 0: not a .bimamba file (magic is %x); `bimamba convert` makes one from a checkpoint", b[:8])
	}
	p.major = binary.LittleEndian.Uint16(b[8:])
	p.minor = binary.LittleEndian.Uint16(b[10:])
	if p.major != Major {
		return p, fmt.Errorf("offset 8: format version %d.%d; this program reads version %d; use a bimamba that reads %d, or convert the checkpoint again", p.major, p.minor, Major, p.major)
	}
	p.manifestLen = binary.LittleEndian.Uint32(b[12:])
	p.fileLen = binary.LittleEndian.Uint64(b[16:])
	if p.fileLen > math.MaxInt64 || int64(p.fileLen) != size {
		return p, fmt.Errorf("offset 16: the file says it has %d bytes and has %d: cut short or damaged; copy it again", p.fileLen, size)
	}
	if r := binary.LittleEndian.Uint64(b[24:]); r != 0 {
		return p, fmt.Errorf("offset 24: reserved bytes are not zero (%#x): damaged", r)
	}
	if p.manifestLen > MaxManifest || uint64(p.manifestLen) > p.fileLen-PreambleSize {
		return p, fmt.Errorf("offset 12: manifest length %d exceeds the file or the limit of %d: damaged", p.manifestLen, MaxManifest)
	}
	copy(p.manifestSHA[:], b[32:])
	return p, nil
}

// minor is the oldest minor version that has all that m uses.
func (m *Manifest) minor() uint16 {
	for i := range m.Sections {
		for j := range m.Sections[i].Tensors {
			if m.Sections[i].Tensors[j].DType == I4 {
				return 1
			}
		}
	}
	return 0
}

// elemBits is the size of one element in bits, 0 for a type that this version does not know.
func (d DType) elemBits() uint64 {
	switch d {
	case F32, U32:
		return 32
	case F16, BF16:
		return 16
	case I8, U8:
		return 8
	case I4:
		return 4
	case B1:
		return 1
	}
	return 0
}

// byteLength is the number of bytes that t's type, layout and shape call for.
func (t *Tensor) byteLength() (uint64, error) {
	if n := len(t.Shape); n < 1 || n > 4 {
		return 0, fmt.Errorf("shape: %d dimensions, not 1 to 4", n)
	}
	elems := uint64(1)
	for _, d := range t.Shape {
		if d == 0 {
			return 0, fmt.Errorf("shape %v: a dimension is 0", t.Shape)
		}
		if elems > math.MaxInt64/64/d {
			return 0, fmt.Errorf("shape %v: more elements than a file can hold", t.Shape)
		}
		elems *= d
	}
	bits := t.DType.elemBits()
	switch {
	case bits == 0:
		return 0, fmt.Errorf("dtype %q is not known to this reader (format %d.%d); use a newer bimamba", t.DType, Major, Minor)
	case t.DType == B1:
		if len(t.Shape) != 2 {
			return 0, fmt.Errorf("shape %v: a 1-bit matrix has 2 dimensions", t.Shape)
		}
		l, err := t.Bits()
		if err != nil {
			return 0, err
		}
		return uint64(l.Bytes()), nil
	case t.DType == I4:
		if len(t.Shape) != 2 {
			return 0, fmt.Errorf("shape %v: a 4-bit matrix has 2 dimensions", t.Shape)
		}
		if t.Layout != I4Layout {
			return 0, fmt.Errorf("layout %q is not known for dtype %s, which has %s (format %d.%d); use a newer bimamba", t.Layout, t.DType, I4Layout, Major, Minor)
		}
		groups := (t.Shape[1] + layout.I4Group - 1) / layout.I4Group // not by layout's int, which may have 32 bits
		return t.Shape[0] * groups * (layout.I4Group * bits / 8), nil
	case t.Layout != "":
		return 0, fmt.Errorf("layout %q is not known for dtype %s (format %d.%d); use a newer bimamba", t.Layout, t.DType, Major, Minor)
	}
	return elems * bits / 8, nil
}

// Bits is the tile layout of a 1-bit matrix, as its layout name says.
func (t *Tensor) Bits() (layout.Bits, error) {
	if t.DType != B1 || len(t.Shape) != 2 || t.Shape[0] > math.MaxInt32 || t.Shape[1] > math.MaxInt32 {
		return layout.Bits{}, fmt.Errorf("shape %v of dtype %s is no 1-bit matrix", t.Shape, t.DType)
	}
	return layout.ParseBits(t.Layout, int(t.Shape[0]), int(t.Shape[1]))
}

func alignUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }
