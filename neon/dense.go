package neon

import "bimamba/neon/layout"

// Elem is the element type of a row-major matrix, little-endian.
type Elem int

// Element types.
const (
	F32 Elem = iota
	F16
	BF16
)

// size is the bytes of an element.
func (e Elem) size() int {
	if e == F32 {
		return 4
	}
	return 2
}

func (e Elem) decode(dst []float32, src []byte) {
	switch e {
	case F32:
		layout.DecodeF32(dst, src)
	case F16:
		layout.DecodeF16(dst, src)
	case BF16:
		layout.DecodeBF16(dst, src)
	}
}

// chunk is how many elements of a row are decoded at a time, a multiple of the 16 lanes.
const chunk = 256

// MatVec writes rows row0 to row1-1 of the product of the row-major matrix w, (rows, len(x)), and x: each is Dot of the row and x.
// Calls for different rows may run at once.
func MatVec(dst []float32, w []byte, elem Elem, x []float32, row0, row1 int) {
	size := elem.size()
	dst, w = dst[row0:row1], w[row0*len(x)*size:row1*len(x)*size]
	if len(dst) == 0 || len(x) > 0 && asmDense(dst, w, elem, x) {
		return
	}
	var buf [chunk]float32
	for r := range dst {
		row := w[r*len(x)*size:][:len(x)*size]
		var l lanes
		for i := 0; i < len(x); i += chunk {
			part := buf[:min(chunk, len(x)-i)]
			elem.decode(part, row[i*size:])
			l.add(part, x[i:])
		}
		dst[r] = l.sum()
	}
}

// Row writes row r of the row-major matrix w, (rows, len(dst)), to dst.
func Row(dst []float32, w []byte, elem Elem, r int) {
	n := len(dst) * elem.size()
	elem.decode(dst, w[r*n:][:n])
}
