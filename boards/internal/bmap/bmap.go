package bmap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Ext is put behind an image's name for its block map's.
const Ext = ".bmap"

// Limits of a block map. One of a full 64 GB image of separate blocks would have 8 million ranges; those of systems have thousands.
const (
	maxFile   = 64 << 20 // bytes
	maxBlocks = 1 << 40
	maxBlock  = 4 << 20 // bytes of a block
	sector    = 512
)

// Map is a block map.
type Map struct {
	Size   int64   // bytes of the image
	Ranges []Range // ascending, apart
}

// Range is one range, in bytes; the end of the last block of an image is that of the image.
type Range struct {
	Start, End int64
	Sum        [sha256.Size]byte
}

// Read reads the file of a block map.
func Read(name string) (*Map, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("more than %d bytes", maxFile)
	}
	var m *Map
	if err == nil {
		m, err = Parse(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Parse reads a block map and checks its own sum. Errors name the field.
func Parse(b []byte) (*Map, error) {
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
	}{{"ImageSize", x.Size, &size, 1 << 53}, {"BlockSize", x.Block, &block, maxBlock}, {"BlocksCount", x.Blocks, &blocks, maxBlocks}, {"MappedBlocksCount", x.Mapped, &mapped, maxBlocks}} {
		n, err := strconv.ParseInt(strings.TrimSpace(f.text), 10, 64)
		if err != nil || n < 1 || n > f.most {
			return nil, fmt.Errorf("%s is %q, not a number from 1 to %d", f.name, strings.TrimSpace(f.text), f.most)
		}
		*f.to = n
	}
	if block < sector || block&(block-1) != 0 {
		return nil, fmt.Errorf("BlockSize is %d, not a power of two from %d to %d", block, sector, maxBlock)
	}
	if blocks != (size+block-1)/block {
		return nil, fmt.Errorf("BlocksCount is %d, and an image of %d bytes has %d blocks", blocks, size, (size+block-1)/block)
	}
	m := &Map{Size: size}
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
		m.Ranges = append(m.Ranges, Range{a * block, min((z+1)*block, size), s})
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

// Mapped is how many bytes are in the ranges.
func (m *Map) Mapped() int64 {
	n := int64(0)
	for _, r := range m.Ranges {
		n += r.End - r.Start
	}
	return n
}
