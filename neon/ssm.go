package neon

import "bimamba/neon/layout"

// ConvStep writes the SiLU of the causal depthwise convolution to dst, for the channels from c0 on; it has as many elements.
// ring is (taps, channels): the newest input lies in row slot, the oldest in the row behind it. w is (taps, channels), tap 0
// for the oldest; bias is (channels), or nil for 0. A channel starts from its bias and adds fl(w*x) of its taps from the oldest on.
// Calls for different channels may run at once.
func ConvStep(dst, ring, w, bias []float32, taps, slot, channels, c0 int) {
	n := len(dst)
	if bias == nil {
		clear(dst)
	} else {
		copy(dst, bias[c0:][:n])
	}
	for k := range taps {
		x, w := ring[(slot+1+k)%taps*channels+c0:][:n], w[k*channels+c0:][:n]
		for c := asmMulAdd(dst, x, w); c < n; c++ {
			dst[c] += float32(w[c] * x[c])
		}
	}
	SiLU(dst, dst)
}

// StateUpdate advances the state of one head by one token, in place, and writes its output:
//
//	s[p][n] = fl(da*s[p][n]) + fl(fl(dt*x[p]) * b[n])          s is (headdim, d_state)
//	y[p]    = sum over n of s[p][n]*c[n]  +  fl(d*x[p])        the sum in 16 lanes
//
// y and x are (headdim), b and c (d_state); da is exp(dt*A). Calls for different heads, or different rows p of one, may run at once.
func StateUpdate(y, s, x, b, c []float32, da, dt, d float32) {
	n := len(b)
	c, x, s = c[:n], x[:len(y)], s[:len(y)*n]
	if asmState(y, s, x, b, c, da, dt, d) {
		return
	}
	for p, xp := range x {
		k := float32(dt * xp)
		var l lanes
		stateRow(&l, s[p*n:][:n], b, c, da, k)
		y[p] = l.sum() + float32(d*xp)
	}
}

// StateUpdateF16 is StateUpdate with the state stored as binary16: y is computed from the new state before that is rounded
// (to nearest, ties to even; beyond 65504 it becomes Inf).
func StateUpdateF16(y []float32, s []uint16, x, b, c []float32, da, dt, d float32) {
	n := len(b)
	c, x, s = c[:n], x[:len(y)], s[:len(y)*n]
	if asmStateF16(y, s, x, b, c, da, dt, d) {
		return
	}
	var buf [chunk]float32
	for p, xp := range x {
		k := float32(dt * xp)
		row := s[p*n:][:n]
		var l lanes
		for i := 0; i < n; i += chunk {
			part, half := buf[:min(chunk, n-i)], row[i:]
			for j := range part {
				part[j] = layout.F16ToF32(half[j])
			}
			stateRow(&l, part, b[i:], c[i:], da, k)
			for j, v := range part {
				half[j] = layout.F32ToF16(v)
			}
		}
		y[p] = l.sum() + float32(d*xp)
	}
}

// stateRow advances a row of the state, from lane 0 on, and adds its products with c to l. b and c are as long as s at least.
func stateRow(l *lanes, s, b, c []float32, da, k float32) {
	stateHalf((*[8]float32)(l[:8]), s, b, c, da, k)
	if len(s) > 8 {
		stateHalf((*[8]float32)(l[8:]), s[8:], b[8:], c[8:], da, k)
	}
}

// stateHalf advances the first 8 of every 16 elements of s and adds their products with c to l, as addHalf does. b and c are as long as s at least.
func stateHalf(l *[8]float32, s, b, c []float32, da, k float32) {
	l0, l1, l2, l3, l4, l5, l6, l7 := l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7]
	i := 0
	for ; i <= len(s)-8; i += 16 {
		r, bb, cc := (*[8]float32)(s[i:i+8]), (*[8]float32)(b[i:i+8]), (*[8]float32)(c[i:i+8])
		l0 += stateElem(&r[0], bb[0], cc[0], da, k)
		l1 += stateElem(&r[1], bb[1], cc[1], da, k)
		l2 += stateElem(&r[2], bb[2], cc[2], da, k)
		l3 += stateElem(&r[3], bb[3], cc[3], da, k)
		l4 += stateElem(&r[4], bb[4], cc[4], da, k)
		l5 += stateElem(&r[5], bb[5], cc[5], da, k)
		l6 += stateElem(&r[6], bb[6], cc[6], da, k)
		l7 += stateElem(&r[7], bb[7], cc[7], da, k)
	}
	*l = [8]float32{l0, l1, l2, l3, l4, l5, l6, l7}
	for j := 0; i+j < len(s); j++ { // fewer than 8 are left
		l[j&7] += stateElem(&s[i+j], b[i+j], c[i+j], da, k)
	}
}

// stateElem advances one element of the state and gives its product with c.
func stateElem(s *float32, b, c, da, k float32) float32 {
	v := float32(da*(*s)) + float32(k*b)
	*s = v
	return float32(v * c)
}
