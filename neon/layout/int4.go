package layout

import "math"

// I4Group is how many elements of a row of a 4-bit matrix share a scale.
const I4Group = 32

// I4 is the layout of a 4-bit matrix, row-major. Two elements share a byte, 2i in the low half and 2i+1 in the high half, each stored as
// its value + 8 (0 to 15). Rows are padded with elements 0 to whole groups; every group has a binary16 scale in a tensor of its own.

// I4Groups is the number of groups of a row of cols elements.
func I4Groups(cols int) int { return (cols + I4Group - 1) / I4Group }

// I4RowBytes is the size of a row of cols elements without its scales.
func I4RowBytes(cols int) int { return I4Groups(cols) * I4Group / 2 }

// QuantizeI4 writes row to q, I4RowBytes bytes, and the scales of its groups, binary16, to scale.
//
// In a group whose element of the largest magnitude is m, the scale is the binary16 next to m/-8, which uses all 16 values, or Inf if it has none;
// an element is row/scale rounded half to even and clamped to -8 to 7. A group of zeros has scale 0. row must hold no NaN or Inf.
func QuantizeI4(q []byte, scale []uint16, row []float32) {
	q, scale = q[:I4RowBytes(len(row))], scale[:I4Groups(len(row))]
	for g := range scale {
		part := row[g*I4Group : min((g+1)*I4Group, len(row))]
		var top float32
		for _, v := range part {
			if math.Abs(float64(v)) > math.Abs(float64(top)) {
				top = v
			}
		}
		scale[g] = F32ToF16(top / -8)
		s := F16ToF32(scale[g])
		for i := range I4Group {
			var v float64
			if i < len(part) && s != 0 {
				v = max(-8, min(7, math.RoundToEven(float64(part[i])/float64(s))))
			}
			b := &q[(g*I4Group+i)/2]
			if i%2 == 0 {
				*b = byte(v + 8)
			} else {
				*b |= byte(v+8) << 4
			}
		}
	}
}
