package flash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Limits of a block map. One of a full 64 GB image of separate blocks would have 8 million ranges; those of systems have thousands.
const (
	maxBmap   = 64 << 20 // bytes
	maxBlocks = 1 << 40
)

// bmap is a block map.
type bmap struct {
	size   int64    // bytes of the image
	ranges []brange // ascending, apart
}

// brange is one range, in bytes; the end of the last block of an image is that of the image.
type brange struct {
	start, end int64
	sum        [sha256.Size]byte
}

// findBmap looks for the block map that belongs to an image: its name, or its name without .xz, .gz or .img, with .bmap behind. "" means none.
func findBmap(image string) string {
	for base := image; ; {
		if st, err := os.Stat(base + ".bmap"); err == nil && st.Mode().IsRegular() {
			return base + ".bmap"
		}
		switch ext := filepath.Ext(base); ext {
		case ".xz", ".gz", ".img":
			base = strings.TrimSuffix(base, ext)
		default:
			return ""
		}
	}
}

func readBmap(name string) (*bmap, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBmap+1))
	if err == nil && len(b) > maxBmap {
		err = fmt.Errorf("more than %d bytes", maxBmap)
	}
	var m *bmap
	if err == nil {
		m, err = parseBmap(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// parseBmap reads a block map and checks its own sum. Errors name the field.
func parseBmap(b []byte) (*bmap, error) {
	var x struct {
		XMLName xml.Name `xml:"bmap"`
		Version string   `xml:"version,attr"`
		Size    string   `xml:"ImageSize"`
		Block   string   `xml:"BlockSize"`
		Blocks  string   `xml:"BlocksCount"`
		Mapped  string   `xml:"MappedBlocksCount"`
		Type    string   `xml:"ChecksumType"`
		Sum     string   `xml:"BmapFileChecksum"`
		Ranges  []struct {
			Sum  string `xml:"chksum,attr"`
			Text string `xml:",chardata"`
		} `xml:"BlockMap>Range"`
	}
	if err := xml.Unmarshal(b, &x); err != nil {
		return nil, fmt.Errorf("this is no block map: %w", err)
	}
	if major, _, _ := strings.Cut(x.Version, "."); major != "2" {
		return nil, fmt.Errorf("a block map of version %q, and only 2.0 is read: make one with bmaptool 3.1 or later", x.Version)
	}
	if t := strings.TrimSpace(x.Type); t != "sha256" {
		return nil, fmt.Errorf("ChecksumType is %q, and only sha256 is read", t)
	}
	sum := strings.TrimSpace(x.Sum)
	if _, err := decodeSum(sum); err != nil {
		return nil, fmt.Errorf("BmapFileChecksum: %w", err)
	}
	// The sum is over the file with zeros in its own place.
	if got := sha256.Sum256(bytes.Replace(b, []byte(sum), bytes.Repeat([]byte("0"), len(sum)), 1)); hex.EncodeToString(got[:]) != strings.ToLower(sum) {
		return nil, errors.New("BmapFileChecksum is not that of the file: the block map is damaged")
	}
	var size, block, blocks, mapped int64
	for _, f := range []struct {
		name, text string
		to         *int64
		most       int64
	}{{"ImageSize", x.Size, &size, 1 << 53}, {"BlockSize", x.Block, &block, chunkSize}, {"BlocksCount", x.Blocks, &blocks, maxBlocks}, {"MappedBlocksCount", x.Mapped, &mapped, maxBlocks}} {
		n, err := strconv.ParseInt(strings.TrimSpace(f.text), 10, 64)
		if err != nil || n < 1 || n > f.most {
			return nil, fmt.Errorf("%s is %q, not a number from 1 to %d", f.name, strings.TrimSpace(f.text), f.most)
		}
		*f.to = n
	}
	if block < Sector || block&(block-1) != 0 {
		return nil, fmt.Errorf("BlockSize is %d, not a power of two from %d to %d", block, Sector, chunkSize)
	}
	if blocks != (size+block-1)/block {
		return nil, fmt.Errorf("BlocksCount is %d, and an image of %d bytes has %d blocks", blocks, size, (size+block-1)/block)
	}
	m := &bmap{size: size}
	next, count := int64(0), int64(0)
	for i, r := range x.Ranges {
		from, to, two := strings.Cut(strings.TrimSpace(r.Text), "-")
		a, err := strconv.ParseInt(strings.TrimSpace(from), 10, 64)
		z := a
		if two && err == nil {
			z, err = strconv.ParseInt(strings.TrimSpace(to), 10, 64)
		}
		if err != nil || a < next || z < a || z >= blocks {
			return nil, fmt.Errorf("range %d of BlockMap is %q: it does not lie behind the one before and within %d blocks", i+1, strings.TrimSpace(r.Text), blocks)
		}
		s, err := decodeSum(r.Sum)
		if err != nil {
			return nil, fmt.Errorf("chksum of range %d: %w", i+1, err)
		}
		m.ranges = append(m.ranges, brange{a * block, min((z+1)*block, size), s})
		next, count = z+1, count+z-a+1
	}
	if count != mapped {
		return nil, fmt.Errorf("MappedBlocksCount is %d, and the ranges have %d blocks", mapped, count)
	}
	return m, nil
}

func decodeSum(s string) (sum [sha256.Size]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(sum) {
		return sum, fmt.Errorf("%q is no SHA-256 in 64 hexadecimal digits", s)
	}
	return [sha256.Size]byte(b), nil
}

// mapped is how many bytes are in the ranges.
func (m *bmap) mapped() int64 {
	n := int64(0)
	for _, r := range m.ranges {
		n += r.end - r.start
	}
	return n
}

// bmapCheck checks an image against its block map while it is read.
type bmapCheck struct {
	left []brange // those that do not end before what was read
	h    hash.Hash
}

// next takes the bytes of the image at off, which follow those before, and says which of them are to be written.
func (c *bmapCheck) next(b []byte, off int64) ([]part, error) {
	var parts []part
	at, end := off, off+int64(len(b))
	for at < end {
		if len(c.left) == 0 || c.left[0].start >= end {
			return parts, c.unmapped(b[at-off:], at)
		}
		r := c.left[0]
		if r.start > at {
			if err := c.unmapped(b[at-off:r.start-off], at); err != nil {
				return nil, err
			}
			at = r.start
		}
		stop := min(r.end, end)
		c.h.Write(b[at-off : stop-off])
		parts = append(parts, part{int(at - off), int(stop - off)})
		at = stop
		if at == r.end {
			if !bytes.Equal(c.h.Sum(nil), r.sum[:]) {
				return nil, fmt.Errorf("bytes %d to %d of the image are not those of the block map: the image is damaged, or the map is of another one", r.start, r.end-1)
			}
			c.h.Reset()
			c.left = c.left[1:]
		}
	}
	return parts, nil
}

// unmapped refuses data that the map would leave out: the map is of the image before it was changed.
func (c *bmapCheck) unmapped(b []byte, off int64) error {
	if i := firstNonZero(b); i >= 0 {
		return fmt.Errorf("byte %d of the image is used, and the block map leaves it out: the map is of another image", off+int64(i))
	}
	return nil
}

var zeros [4096]byte

// firstNonZero is the place of the first byte that is not 0; -1 if there is none.
func firstNonZero(b []byte) int {
	for i := 0; i < len(b); i += len(zeros) {
		p := b[i:min(i+len(zeros), len(b))]
		if bytes.Equal(p, zeros[:len(p)]) {
			continue
		}
		for j, c := range p {
			if c != 0 {
				return i + j
			}
		}
	}
	return -1
}
