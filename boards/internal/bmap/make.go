package bmap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Extent is the bytes of an image from Start to before End.
type Extent struct{ Start, End int64 }

const (
	blockSize = 4096
	unit      = 64 << 10 // what is left out is whole units: short gaps cost more than they save
)

var zeros [unit]byte

// Make maps an image of size bytes. What is zero and lies in unused, which is ascending, is left out: its content has to mean nothing. Zeros elsewhere may mean
// something, as in a file or a table, and stay. progress may be nil.
func Make(ctx context.Context, r io.ReaderAt, size int64, unused []Extent, progress func(done, total int64)) (*Map, error) {
	m := &Map{Size: size}
	h := sha256.New()
	start := int64(-1) // of the range that is open
	end := func(at int64) {
		if start >= 0 {
			m.Ranges = append(m.Ranges, Range{start, at, [sha256.Size]byte(h.Sum(nil))})
			h.Reset()
			start = -1
		}
	}
	buf := make([]byte, unit)
	for at := int64(0); at < size; at += unit {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b := buf[:min(unit, size-at)]
		if n, err := r.ReadAt(b, at); n < len(b) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		for len(unused) > 0 && unused[0].End < at+int64(len(b)) {
			unused = unused[1:]
		}
		if len(unused) > 0 && unused[0].Start <= at && bytes.Equal(b, zeros[:len(b)]) {
			end(at)
		} else {
			if start < 0 {
				start = at
			}
			h.Write(b)
		}
		if progress != nil {
			progress(at+int64(len(b)), size)
		}
	}
	end(size)
	return m, nil
}

// Text is the map's file.
func (m *Map) Text() []byte {
	last := func(r Range) int64 { return (r.End - 1) / blockSize }
	mapped := int64(0)
	var ranges strings.Builder
	for _, r := range m.Ranges {
		mapped += last(r) - r.Start/blockSize + 1
		fmt.Fprintf(&ranges, "        <Range chksum=\"%x\"> %d-%d </Range>\n", r.Sum, r.Start/blockSize, last(r))
	}
	const blank = "0000000000000000000000000000000000000000000000000000000000000000"
	text := fmt.Sprintf(`<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
%s    </BlockMap>
</bmap>
`, m.Size, blockSize, (m.Size+blockSize-1)/blockSize, mapped, blank, ranges.String())
	sum := sha256.Sum256([]byte(text)) // with zeros in its own place
	return []byte(strings.Replace(text, blank, hex.EncodeToString(sum[:]), 1))
}
