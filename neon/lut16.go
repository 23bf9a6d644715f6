package neon

import (
	"unsafe"

	"bimamba/neon/layout"
)

const (
	// lutTop is the largest entry of a table: entry + 8192 fits 14 bits, so that a vector kernel can hold its halves in two byte tables (kernels.md, section 1).
	lutTop = 8064
	// tiny is the input below which a block counts as zeros: the quotient lutTop/amax stays far from overflow.
	tiny = 0x1p-100
)

// table holds the 16 sums of four inputs: entry i adds input b if bit b of i is set and subtracts it otherwise.
type table = [16]int16

// LUT16 is the input of BitMatVec: 14-bit tables of the sums of every 4 columns, with one scale a column block.
//
// For a block with amax = max over its groups of fl(fl(|x0|+|x1|)+fl(|x2|+|x3|)), inv = fl(8064/amax) and s = fl(amax/8064):
//
//	entry(i) = round(fl(fl(fl(+-x0 +- x1) + fl(+-x2 +- x3)) * inv))     ties to even
//
// A block whose amax is below 2^-100 has entries 0 and s = 0, one with NaN or Inf entries 0 and s = NaN.
type LUT16 struct {
	tables []table   // (padded cols / 4)
	scale  []float32 // (blocks)
	blocks int
}

// maxLUTCols bounds the memory of a LUT16; LUT16Size and NewLUT16 agree on it.
func lutTables(cols int) int { return (cols + 63) / 64 * 16 }
func lutScales(cols int) int { return (cols + 63) / 64 } // a block is 64 columns at least

// LUT16Size is the bytes that NewLUT16 takes for matrices of up to cols columns.
func LUT16Size(cols int) int64 {
	return int64(lutTables(cols))*int64(unsafe.Sizeof(table{})) + 4*int64((lutScales(cols)+15)&^15)
}

// NewLUT16 makes the tables for matrices of up to cols columns in mem, LUT16Size(cols) bytes aligned to 64.
func NewLUT16(mem []byte, cols int) *LUT16 {
	mem = mem[:LUT16Size(cols)]
	p := unsafe.Pointer(unsafe.SliceData(mem))
	t := unsafe.Slice((*table)(p), lutTables(cols))
	s := unsafe.Slice((*float32)(unsafe.Add(p, len(t)*int(unsafe.Sizeof(table{})))), lutScales(cols))
	return &LUT16{tables: t, scale: s}
}

// Build prepares x, l.Cols elements, for a matrix of layout l.
func (t *LUT16) Build(x []float32, l layout.Bits) {
	x = x[:l.Cols]
	t.blocks = l.Blocks()
	for b := range t.blocks {
		col, width := l.Block(b)
		t.scale[b] = buildBlock(t.tables[col/4:][:width/4], x[min(col, len(x)):min(col+width, len(x))])
	}
}

// group is elements 4g to 4g+3 of x, 0 behind its end.
func group(x []float32, g int) (v [4]float32) {
	copy(v[:], x[min(4*g, len(x)):])
	return v
}

func buildBlock(tables []table, x []float32) (scale float32) {
	var amax float32
	for g := range tables {
		v := group(x, g)
		amax = max(amax, (abs(v[0])+abs(v[1]))+(abs(v[2])+abs(v[3])))
	}
	if !finite(amax) || amax < tiny {
		clear(tables)
		if finite(amax) {
			return 0
		}
		return amax - amax // NaN
	}
	inv := lutTop / amax
	for g := range tables {
		v := group(x, g)
		t := &tables[g]
		var e [16]float32
		sums(&e, v)
		for i := range e {
			t[i] = int16(roundEven(e[i] * inv))
		}
	}
	return amax / lutTop
}

// sums fills e with the 16 signed sums of four inputs. As negation is exact, so is e[15-i] = -e[i].
func sums(e *[16]float32, v [4]float32) {
	for i := range 8 {
		a, b := v[0], v[1]
		c := v[2]
		if i&1 == 0 {
			a = -a
		}
		if i&2 == 0 {
			b = -b
		}
		if i&4 == 0 {
			c = -c
		}
		s := (a + b) + (c - v[3])
		e[i], e[15-i] = s, -s
	}
}

// BitMatVec writes rows 64*tile0 to 64*tile1-1 of the product of a 1-bit matrix w of layout l and the prepared input:
// dst[r] = sum over blocks, in order, of fl(s_b * float32(sum of entries)). dst has l.Rows elements.
func BitMatVec(dst []float32, w []byte, l layout.Bits, t *LUT16, tile0, tile1 int) {
	dst = dst[:l.Rows]
	for b := range l.Blocks() {
		col, width := l.Block(b)
		tables := t.tables[col/4:][:width/4]
		for tile := tile0; tile < tile1; tile++ {
			var acc [64]int32
			bitTile(&acc, w[l.Line(b, tile):][:width*8], tables)
			rows := dst[tile*64 : min(tile*64+64, l.Rows)]
			s := t.scale[b]
			for r := range rows {
				y := float32(s * float32(acc[r]))
				if b > 0 {
					y = rows[r] + y
				}
				rows[r] = y
			}
		}
	}
}

// bitTile adds the entries that the lines of one tile choose: 64 rows, 2 tables a line.
func bitTile(acc *[64]int32, lines []byte, tables []table) {
	for len(lines) >= 64 && len(tables) >= 2 {
		line := (*[64]byte)(lines)
		t0, t1 := &tables[0], &tables[1]
		for r := range line {
			b := line[r]
			acc[r] += int32(t0[b&15]) + int32(t1[b>>4])
		}
		lines, tables = lines[64:], tables[2:]
	}
}
