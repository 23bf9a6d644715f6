package neon

import (
	"math"
	"unsafe"

	"bimamba/neon/layout"
)

// Form is how many bits the entries of a LUT have.
type Form int

// Forms.
const (
	LUT16 Form = iota // 14 bits, held in two bytes: a relative error of about 1e-4
	LUT8              // 7 bits: about 1e-2, at half the work
)

const (
	// The largest entry of a table, and what is added to make it an unsigned one of 14 or 7 bits.
	lut16Top, lut16Bias = 8064, 8192
	lut8Top, lut8Bias   = 63, 64
	// lut8Cols is how many columns of a block share a scale in a LUT8.
	lut8Cols = 512
	// tiny is the input below which a block counts as zeros: the quotient of top and amax stays far from overflow.
	tiny = 0x1p-100
)

func (f Form) top() float32 {
	if f == LUT8 {
		return lut8Top
	}
	return lut16Top
}

// line is the bytes of the tables that belong to one line of the layout, 8 columns.
func (f Form) line() int {
	if f == LUT8 {
		return 32
	}
	return 64
}

// unit is how many columns share a scale, in blocks of kb columns.
func (f Form) unit(kb int) int {
	if f == LUT8 {
		return min(kb, lut8Cols)
	}
	return kb
}

// LUT is the input of BitMatVec: tables of the sums of every 4 columns, with one scale a unit: a column block in the form LUT16, 512 columns of it
// (the last may have fewer) in the form LUT8.
//
// For a unit with amax = max over its groups of fl(fl(|x0|+|x1|)+fl(|x2|+|x3|)), inv = fl(top/amax) and s = fl(amax/top), top being 8064 or 63:
//
//	entry(i) = round(fl(fl(fl(+-x0 +- x1) + fl(+-x2 +- x3)) * inv))     ties to even
//
// A unit whose amax is below 2^-100 has entries 0 and s = 0, one with NaN or Inf entries 0 and s = NaN.
//
// LUT16 tables hold v = entry + 8192 in two halves of 7 bits, for each line of 8 columns; LUT8 tables hold v = entry + 64:
//
//	       byte  0       16      32      48                               byte  0    16
//	LUT16        v&127   v>>7    v&127   v>>7                      LUT8         v    v      16 bytes each: entry(0) to entry(15)
//	             columns 0 to 3  columns 4 to 7                                 0-3  4-7    columns
type LUT struct {
	form   Form
	tables []byte      // (padded cols / 8, form.line())
	scale  []float32   // (units)
	inv    []float32   // (units), 0 where the entries are 0
	x      []float32   // what Measure was given
	built  layout.Bits // the same; its Rows do not matter
}

// lutUnits bounds the units of matrices of up to cols columns: one is 64 columns at least.
func lutUnits(cols int) int { return (cols + 63) / 64 }

// LUTSize is the bytes that NewLUT takes for matrices of up to cols columns.
func LUTSize(cols int, f Form) int64 {
	n := int64(lutUnits(cols))
	return n*8*int64(f.line()) + 2*4*((n+15)&^15)
}

// NewLUT makes the tables for matrices of up to cols columns in mem, LUTSize(cols, f) bytes aligned to 64.
func NewLUT(mem []byte, cols int, f Form) *LUT {
	mem = mem[:LUTSize(cols, f)]
	n := lutUnits(cols)
	tables, rest := mem[:n*8*f.line()], mem[n*8*f.line():]
	floats := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(rest))), len(rest)/4)
	return &LUT{form: f, tables: tables, scale: floats[:n], inv: floats[len(floats)/2:][:n]}
}

// Build prepares x, l.Cols elements, for matrices of l's columns and block width.
func (t *LUT) Build(x []float32, l layout.Bits) {
	t.Measure(x, l)
	t.Fill(0, Spans(l))
}

// Spans is the number of spans of 64 columns that Fill has to make.
func Spans(l layout.Bits) int { return l.PaddedCols() / spanCols }

// units is the number of units of a block, and the first of block b.
func (t *LUT) units(l layout.Bits, b int) (first, n int) {
	_, width := l.Block(b)
	unit := t.form.unit(l.Kb)
	return b * ((l.Kb + unit - 1) / unit), (width + unit - 1) / unit
}

// Measure is the first half of Build: it finds the scale of every unit. x must stay as it is until Fill has read it.
func (t *LUT) Measure(x []float32, l layout.Bits) {
	x = x[:l.Cols]
	t.x, t.built = x, l
	unit := t.form.unit(l.Kb)
	for b := range l.Blocks() {
		col, width := l.Block(b)
		first, n := t.units(l, b)
		for u := range n {
			lo, hi := col+u*unit, min(col+(u+1)*unit, col+width)
			amax := groupMax(x[min(lo, len(x)):min(hi, len(x))])
			if !finite(amax) || amax < tiny {
				t.inv[first+u], t.scale[first+u] = 0, amax0(amax)
				continue
			}
			t.inv[first+u], t.scale[first+u] = t.form.top()/amax, amax/t.form.top()
		}
	}
}

// Fill is the second half of Build: it makes the tables of columns 64*span0 to 64*span1-1. Calls for different spans may run at once.
func (t *LUT) Fill(span0, span1 int) {
	l, unit := t.built, t.form.unit(t.built.Kb)
	for col := span0 * spanCols; col < span1*spanCols; {
		b := col / l.Kb
		u := (col - b*l.Kb) / unit
		end := min(b*l.Kb+(u+1)*unit, (b+1)*l.Kb, span1*spanCols)
		tables := t.tables[col/8*t.form.line() : end/8*t.form.line()]
		first, _ := t.units(l, b)
		if inv := t.inv[first+u]; inv != 0 {
			fillTables(tables, t.x[min(col, len(t.x)):min(end, len(t.x))], inv, t.form)
		} else {
			zeroTables(tables, t.form)
		}
		col = end
	}
}

// groupMax is the largest fl(fl(|x0|+|x1|)+fl(|x2|+|x3|)) over the groups of four of x, or NaN if there is one.
// Not negative, such sums compare as their bits do, and a NaN is the largest.
func groupMax(x []float32) float32 {
	top, n := asmGroupMax(x)
	x = x[n:]
	for g := 0; 4*g < len(x); g++ {
		v := group4(x, g)
		top = max(top, math.Float32bits((abs(v[0])+abs(v[1]))+(abs(v[2])+abs(v[3]))))
	}
	return math.Float32frombits(top)
}

// fillTables makes the tables of x, and of columns of 0 behind it.
func fillTables(tables []byte, x []float32, inv float32, f Form) {
	n := asmTables(tables, x, inv, f)
	tables, x = tables[n/8*f.line():], x[n:]
	for g := 0; len(tables) > 0; g++ {
		sums := signedSums(group4(x, g))
		if f == LUT8 {
			for i, s := range sums {
				e := roundEven(s * inv)
				tables[i], tables[15-i] = byte(lut8Bias+e), byte(lut8Bias-e)
			}
		} else {
			for i, s := range sums {
				e := roundEven(s * inv)
				tables[i], tables[16+i] = byte((lut16Bias+e)&127), byte((lut16Bias+e)>>7)
				tables[15-i], tables[31-i] = byte((lut16Bias-e)&127), byte((lut16Bias-e)>>7)
			}
		}
		tables = tables[f.line()/2:]
	}
}

// zeroTables makes tables whose entries are 0.
func zeroTables(tables []byte, f Form) {
	for i := range tables {
		if f == LUT8 {
			tables[i] = lut8Bias
		} else {
			tables[i] = byte(i & 16 << 2) // 8192 is 64<<7
		}
	}
}

// amax0 is the scale that goes with integers that are all 0 since the largest input is too small, Inf or NaN: 0 or NaN.
func amax0(amax float32) float32 {
	if finite(amax) {
		return 0
	}
	return amax - amax
}

// entries decodes the tables of one span of columns.
func entries(dst *[2 * spanLines][16]int16, tables []byte, f Form) {
	for g := range dst {
		if f == LUT8 {
			for i, v := range (*[16]byte)(tables[16*g:]) {
				dst[g][i] = int16(v) - lut8Bias
			}
			continue
		}
		half := (*[32]byte)(tables[32*g:])
		for i := range 16 {
			dst[g][i] = int16(half[i]) + int16(half[16+i])<<7 - lut16Bias
		}
	}
}

// BitMatVec writes rows 64*tile0 to 64*tile1-1 of the product of a 1-bit matrix w of layout l and the input that t was built from:
//
//	dst[r] = sum over the units u, in order, of fl(s_u * float32(sum of the entries that row r chooses in u))
//
// dst has l.Rows elements, w l.Bytes(); rows from l.Rows on are not written. Calls for different tiles may run at once.
func BitMatVec(dst []float32, w []byte, l layout.Bits, t *LUT, tile0, tile1 int) {
	dst, w = dst[:l.Rows], w[:l.Bytes()]
	if t.built.Cols != l.Cols || t.built.Kb != l.Kb {
		panic("neon: BitMatVec: the tables were built for another layout")
	}
	if tile0 >= tile1 {
		return
	}
	for b := range l.Blocks() {
		t.addBlock(dst, w, l, b, tile0, tile1)
	}
}

// BitMatMul is BitMatVec for several tokens, to the bit: dst[i] is the product for t[i]. The weights of a few tiles go through it for all tokens before the next.
func BitMatMul(dst [][]float32, w []byte, l layout.Bits, t []*LUT, tile0, tile1 int) {
	if len(dst) == 1 {
		BitMatVec(dst[0], w, l, t[0], tile0, tile1)
		return
	}
	side := MinTiles()
	for ; tile0 < tile1; tile0 += side {
		end, i := min(tile0+side, tile1), 0
		if end-tile0 == pairTiles && end*layout.TileRows <= l.Rows {
			for i+1 < len(dst) && bitPair(dst[i], dst[i+1], w[:l.Bytes()], l, t[i], t[i+1], tile0, end) {
				i += 2
			}
		}
		for ; i < len(dst); i++ {
			BitMatVec(dst[i], w, l, t[i], tile0, end)
		}
	}
}

// pairTiles is how many tiles asmLUTPair takes side by side.
const pairTiles = 2

// MinTiles is how many tiles of a product a call should get at least: a pair, which stays in the first-level cache for the tokens of a batch, or as many
// as the portable code makes its sums for.
func MinTiles() int {
	if chosen == Portable {
		return batchTiles
	}
	return pairTiles
}

// bitPair is BitMatVec for two tokens and whole tiles. It is false, and has done nothing, where no kernel does that.
func bitPair(dst0, dst1 []float32, w []byte, l layout.Bits, t0, t1 *LUT, tile0, tile1 int) bool {
	row0, row1 := tile0*layout.TileRows, tile1*layout.TileRows
	if t0.form != t1.form || t0.built.Cols != l.Cols || t0.built.Kb != l.Kb || t1.built.Cols != l.Cols || t1.built.Kb != l.Kb {
		return false
	}
	for b := range l.Blocks() {
		tables0, scale0 := t0.block(l, b)
		tables1, scale1 := t1.block(l, b)
		if !asmLUTPair(dst0[row0:row1], dst1[row0:row1], w[l.Line(b, tile0):], tables0, tables1, scale0, scale1, t0.form, b > 0) {
			return false // the first block; blocks differ in width only, and the last is the narrowest
		}
	}
	return true
}

// block is the tables and scales of block b.
func (t *LUT) block(l layout.Bits, b int) (tables []byte, scale []float32) {
	col, width := l.Block(b)
	line := t.form.line()
	first, n := t.units(l, b)
	return t.tables[col/8*line:][:width/8*line], t.scale[first:][:n]
}

// addBlock adds block b to the rows of tiles tile0 to tile1-1, or sets them for b = 0.
func (t *LUT) addBlock(dst []float32, w []byte, l layout.Bits, b, tile0, tile1 int) {
	tables, scale := t.block(l, b)

	full := min(tile1, l.Rows/layout.TileRows) // tiles whose rows are all there
	if full > tile0 && asmLUT(dst[tile0*layout.TileRows:full*layout.TileRows], w[l.Line(b, tile0):], tables, scale, t.form, b > 0) {
		tile0 = full
	}
	if tile0 < tile1 && full < tile1 { // the last tile
		var rows [layout.TileRows]float32
		rest := dst[full*layout.TileRows:]
		copy(rows[:], rest)
		if asmLUT(rows[:], w[l.Line(b, full):], tables, scale, t.form, b > 0) {
			copy(rest, rows[:])
			tile1 = full
		}
	}

	if tile0 < tile1 {
		t.addBlockPortable(dst, w, l, b, tile0, tile1, tables, scale)
	}
}

// addBlockPortable is addBlock in Go. It is apart for its large variables, which a call would have to clear even if it does not need them.
func (t *LUT) addBlockPortable(dst []float32, w []byte, l layout.Bits, b, tile0, tile1 int, tables []byte, scale []float32) {
	_, width := l.Block(b)
	line := t.form.line()
	var acc [batchTiles][layout.TileRows]int32
	var sums sums8[int32]
	var values [2 * spanLines][16]int16
	tileBytes, unit := width/8*layout.LineBytes, t.form.unit(l.Kb)
	for tile := tile0; tile < tile1; tile += batchTiles {
		batch := acc[:min(tile1-tile, batchTiles)]
		lines := w[l.Line(b, tile):]
		for u, s := range scale {
			clear(batch)
			for c := u * unit; c < min((u+1)*unit, width); c += spanCols {
				entries(&values, tables[c/8*line:], t.form)
				fill(&sums, &values)
				addSpan(batch, lines[c/8*layout.LineBytes:], tileBytes, &sums)
			}
			for i := range batch {
				rows := dst[(tile+i)*layout.TileRows:]
				for r, a := range batch[i][:min(layout.TileRows, len(rows))] {
					y := float32(s * float32(a))
					if b > 0 || u > 0 {
						y = rows[r] + y
					}
					rows[r] = y
				}
			}
		}
	}
}
