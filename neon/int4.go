package neon

import (
	"encoding/binary"

	"bimamba/neon/layout"
)

// I4MatVec writes rows row0 to row1-1 of the product of a 4-bit matrix w, (rows, q's length) in the layout of layout.QuantizeI4, and the prepared input.
// scale is the little-endian binary16 scales of w, (rows, groups).
//
// With P(g,i) the integer sum of the products of elements 4i to 4i+3 of group g and s the scale of q:
//
//	dst[r] = fl(s * sum in 16 lanes of fl(scale[r,g] * float32(P(g,i))))     term (g,i), g from 0 on, goes to lane 8*(g mod 2) + i
//
// Calls for different rows may run at once.
func I4MatVec(dst []float32, w, scale []byte, q *Q14, row0, row1 int) {
	groups, rowBytes := layout.I4Groups(q.n), layout.I4RowBytes(q.n)
	dst, w, scale = dst[row0:row1], w[row0*rowBytes:row1*rowBytes], scale[2*row0*groups:2*row1*groups]
	if len(dst) == 0 || q.n > 0 && asmI4(dst, w, scale, q) {
		return
	}
	for r := range dst {
		var l lanes
		for g := range groups {
			part := (*[layout.I4Group / 2]byte)(w[r*rowBytes+g*layout.I4Group/2:])
			x := q.q[g*layout.I4Group : min((g+1)*layout.I4Group, q.n)]
			s := layout.F16ToF32(binary.LittleEndian.Uint16(scale[2*(r*groups+g):]))
			for i := 0; 4*i < len(x); i++ {
				var p int32
				for j, v := range x[4*i : min(4*i+4, len(x))] {
					p += int32(v) * nibble(part, 4*i+j)
				}
				l[g%2*8+i] += float32(s * float32(p))
			}
		}
		dst[r] = q.scale * l.sum()
	}
}

// I4MatVecExact is the product of a 4-bit matrix and x in float32: each row is Dot of the elements times their scales and x.
func I4MatVecExact(dst []float32, w, scale []byte, x []float32, row0, row1 int) {
	var buf [chunk]float32
	groups, rowBytes := layout.I4Groups(len(x)), layout.I4RowBytes(len(x))
	for r := row0; r < row1; r++ {
		var l lanes
		for i := 0; i < len(x); i += chunk { // whole groups
			part := buf[:min(chunk, len(x)-i)]
			i4Floats(part, w[r*rowBytes+i/2:], scale[2*(r*groups+i/layout.I4Group):])
			l.add(part, x[i:])
		}
		dst[r] = l.sum()
	}
}

// i4Floats writes the first elements of w times the scales of their groups to dst.
func i4Floats(dst []float32, w, scale []byte) {
	for i := range dst {
		g := i / layout.I4Group
		part := (*[layout.I4Group / 2]byte)(w[g*layout.I4Group/2:])
		dst[i] = layout.F16ToF32(binary.LittleEndian.Uint16(scale[2*g:])) * float32(nibble(part, i%layout.I4Group))
	}
}

// nibble is element i of a group.
func nibble(part *[layout.I4Group / 2]byte, i int) int32 {
	return int32(part[i/2]>>(i%2*4)&15) - 8
}

// I4Row writes row r of the 4-bit matrix w, (rows, len(dst)), times its scales, to dst.
func I4Row(dst []float32, w, scale []byte, r int) {
	groups, rowBytes := layout.I4Groups(len(dst)), layout.I4RowBytes(len(dst))
	i4Floats(dst, w[r*rowBytes:][:rowBytes], scale[2*r*groups:][:2*groups])
}
