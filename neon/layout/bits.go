package layout

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	// TileRows is the number of rows of a tile: one table load (16 bytes) then serves 64 rows of 4 columns.
	TileRows = 64
	// GroupCols is the number of columns of one 64-byte line.
	GroupCols = 8
	// LineBytes is the size of a line, 64 rows by 8 columns: one cache line, 4 NEON registers, 1 AVX-512 register.
	LineBytes = 64

	// maxBlock is the widest column block that BlockWidth gives: its lookup tables (4 tables of 16 bytes for 8 columns) take
	// 12 KiB, which stay in the first-level cache of every core beside the weights that stream through.
	maxBlock = 1536
	// maxKb is the widest block that a file may name.
	maxKb = 1 << 16

	namePrefix = "bits-64x8-kb"
)

// Bits is the layout of a 1-bit matrix of Rows x Cols elements +1 and -1:
//
//	for each column block of Kb columns (the last may be narrower)
//	  for each tile of 64 rows
//	    for each group of 8 columns        a line of 64 bytes:
//
//	                 bit 7   6   5   4   3   2   1   0
//	    byte 0   row 0   c7  c6  c5  c4  c3  c2  c1  c0      1 = +1, 0 = -1
//	    byte 1   row 1   c7  ...
//	    ...
//	    byte 63  row 63
//
// Rows and columns are padded to multiples of 64 with bits 0; the input of a padding column is 0.
// A kernel streams through the bytes of a block in order.
type Bits struct {
	Rows, Cols int
	Kb         int // width of a column block, a multiple of 64
}

// BlockWidth is the width of column blocks that a writer takes for a matrix of cols columns, 1 at least:
// ceil(cols/ceil(cols/1536)) rounded up to a multiple of 64.
func BlockWidth(cols int) int {
	cols = max(cols, 1)
	blocks := (cols + maxBlock - 1) / maxBlock
	return roundUp((cols + blocks - 1) / blocks)
}

func roundUp(n int) int { return (n + 63) &^ 63 }

// Name is the layout's name in a file. It says its parameters.
func (l Bits) Name() string { return namePrefix + strconv.Itoa(l.Kb) }

// ParseBits is the layout of a name, for a matrix of that shape.
func ParseBits(name string, rows, cols int) (Bits, error) {
	if rows < 1 || cols < 1 || rows > math.MaxInt32-63 || cols > math.MaxInt32-63 {
		return Bits{}, fmt.Errorf("a matrix of %d x %d has no 1-bit layout: each is 1 to %d", rows, cols, math.MaxInt32-63)
	}
	digits, ok := strings.CutPrefix(name, namePrefix)
	kb, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil || strconv.FormatUint(kb, 10) != digits {
		return Bits{}, fmt.Errorf("layout %.64q is not of the form %sN; a newer program may know it", name, namePrefix)
	}
	// A block wider than the matrix would be a second name for the same bytes.
	l := Bits{Rows: rows, Cols: cols, Kb: int(kb)}
	if widest := min(l.PaddedCols(), maxKb); kb == 0 || kb%64 != 0 || l.Kb > widest {
		return Bits{}, fmt.Errorf("layout %q: the block width is not a multiple of 64 up to %d, the widest for %d columns", name, widest, cols)
	}
	return l, nil
}

// PaddedCols is Cols rounded up to a multiple of 64.
func (l Bits) PaddedCols() int { return roundUp(l.Cols) }

// Tiles is the number of tiles of 64 rows.
func (l Bits) Tiles() int { return (l.Rows + TileRows - 1) / TileRows }

// Bytes is the size of the packed matrix.
func (l Bits) Bytes() int64 { return int64(l.Tiles()) * TileRows * int64(l.PaddedCols()) / 8 }

// Blocks is the number of column blocks.
func (l Bits) Blocks() int { return (l.PaddedCols() + l.Kb - 1) / l.Kb }

// Block is the first column of block i and its width, a multiple of 64.
func (l Bits) Block(i int) (col, width int) {
	col = i * l.Kb
	return col, min(l.Kb, l.PaddedCols()-col)
}

// Line is the offset of the first line of a tile in block i; the tile's width/8 lines follow one another.
func (l Bits) Line(block, tile int) int {
	col, width := l.Block(block)
	return col/8*l.Tiles()*TileRows + tile*width/8*LineBytes
}

// PackRows packs len(w)/Cols rows of weights from row on into dst, which has Bytes bytes and was zero: bit = not (w < 0).
// It sets the bytes of these rows only, so that rows may come in any order; dst outlives all of them.
func (l Bits) PackRows(dst []byte, row int, w []float32) {
	for ; len(w) > 0; w = w[l.Cols:] {
		tile, r := row/TileRows, row%TileRows
		for b := range l.Blocks() {
			col, width := l.Block(b)
			line := dst[l.Line(b, tile):]
			for p := 0; p < width && col+p < l.Cols; p += GroupCols {
				var bits byte
				for i, v := range w[col+p : min(col+p+GroupCols, l.Cols)] {
					if !(v < 0) {
						bits |= 1 << i
					}
				}
				line[p/GroupCols*LineBytes+r] = bits
			}
		}
		row++
	}
}

// UnpackRow writes a row's Cols elements, +1 and -1, to dst.
func (l Bits) UnpackRow(dst []float32, data []byte, row int) {
	tile, r := row/TileRows, row%TileRows
	for b := range l.Blocks() {
		col, width := l.Block(b)
		line := data[l.Line(b, tile):]
		for i := range min(width, l.Cols-col) {
			dst[col+i] = -1
			if line[i/GroupCols*LineBytes+r]>>(i%GroupCols)&1 != 0 {
				dst[col+i] = 1
			}
		}
	}
}
