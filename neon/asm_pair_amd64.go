//go:build !purego && !noasm

package neon

import (
	"unsafe"

	"bimamba/neon/layout"
)

func asmLUTPair(dst0, dst1 []float32, lines, tables0, tables1 []byte, scale0, scale1 []float32, f Form, add bool) bool {
	n, pairs := len(tables0)/f.line(), len(dst0)/(2*layout.TileRows)
	unit := min(n, f.unit(8*n)/8)
	if !active.avx512 || unit > lutLines || pairs == 0 {
		return false
	}
	d0, d1, l, t0, t1 := unsafe.SliceData(dst0), unsafe.SliceData(dst1), unsafe.SliceData(lines), unsafe.SliceData(tables0), unsafe.SliceData(tables1)
	s0, s1 := unsafe.SliceData(scale0), unsafe.SliceData(scale1)
	if f == LUT8 {
		lut8PairAVX512(d0, d1, l, t0, t1, s0, s1, n, unit, pairs, add)
	} else {
		lut16PairAVX512(d0, d1, l, t0, t1, s0, s1, n, unit, pairs, add)
	}
	return true
}

// lut16PairAVX512 and lut8PairAVX512 do 2*pairs tiles of lines lines each, for the tables and scales of two tokens; unit lines share a scale.
//
//go:noescape
func lut16PairAVX512(dst0, dst1 *float32, w, tables0, tables1 *byte, scale0, scale1 *float32, lines, unit, pairs int, add bool)

//go:noescape
func lut8PairAVX512(dst0, dst1 *float32, w, tables0, tables1 *byte, scale0, scale1 *float32, lines, unit, pairs int, add bool)
