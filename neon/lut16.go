package neon

import (
	"unsafe"

	"bimamba/neon/layout"
)

const (
	// lutTop is the largest entry of a table: entry + 8192 fits 14 bits, so that a vector kernel can hold its halves in two byte tables.
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
	tables []table     // (padded cols / 4)
	scale  []float32   // (blocks)
	built  layout.Bits // what Build was given; its Rows do not matter
}

// lutTables and lutScales bound what matrices of up to cols columns need: a block is 64 columns at least.
func lutTables(cols int) int { return (cols + 63) / 64 * 16 }
func lutScales(cols int) int { return (cols + 63) / 64 }

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

// Build prepares x, l.Cols elements, for matrices of l's columns and block width.
func (t *LUT16) Build(x []float32, l layout.Bits) {
	x = x[:l.Cols]
	t.built = l
	for b := range l.Blocks() {
		col, width := l.Block(b)
		t.scale[b] = buildBlock(t.tables[col/4:][:width/4], x[min(col, len(x)):min(col+width, len(x))])
	}
}

func buildBlock(tables []table, x []float32) (scale float32) {
	var amax float32
	for g := range tables {
		v := group4(x, g)
		sum := (abs(v[0]) + abs(v[1])) + (abs(v[2]) + abs(v[3]))
		if !(sum <= amax) { // a NaN gets in, and stays: nothing compares with it
			amax = sum
			if sum != sum {
				break
			}
		}
	}
	if !finite(amax) || amax < tiny {
		clear(tables)
		return amax0(amax)
	}
	inv := lutTop / amax
	for g := range tables {
		t := &tables[g]
		for i, s := range signedSums(group4(x, g)) {
			e := int16(roundEven(s * inv))
			t[i], t[15-i] = e, -e
		}
	}
	return amax / lutTop
}

// amax0 is the scale that goes with integers that are all 0 since the largest input is too small, Inf or NaN: 0 or NaN.
func amax0(amax float32) float32 {
	if finite(amax) {
		return 0
	}
	return amax - amax
}

// BitMatVec writes rows 64*tile0 to 64*tile1-1 of the product of a 1-bit matrix w of layout l and the input that t was built from:
//
//	dst[r] = sum over column blocks b, in order, of fl(s_b * float32(sum of the entries that row r chooses in b))
//
// dst has l.Rows elements, w l.Bytes(); rows from l.Rows on are not written. Calls for different tiles may run at once.
func BitMatVec(dst []float32, w []byte, l layout.Bits, t *LUT16, tile0, tile1 int) {
	dst, w = dst[:l.Rows], w[:l.Bytes()]
	if t.built.Cols != l.Cols || t.built.Kb != l.Kb {
		panic("neon: BitMatVec: the tables were built for another layout")
	}
	var acc [batchTiles][layout.TileRows]int32
	for b := range l.Blocks() {
		col, width := l.Block(b)
		s := t.scale[b]
		for tile := tile0; tile < tile1; tile += batchTiles {
			batch := acc[:min(tile1-tile, batchTiles)]
			clear(batch)
			addTiles(batch, w[l.Line(b, tile):], t.tables[col/4:][:width/4])
			for i := range batch {
				rows := dst[(tile+i)*layout.TileRows:]
				for r, a := range batch[i][:min(layout.TileRows, len(rows))] {
					y := float32(s * float32(a))
					if b > 0 {
						y = rows[r] + y
					}
					rows[r] = y
				}
			}
		}
	}
}
