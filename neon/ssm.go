package neon

import "unsafe"

// ConvStep writes silu of the causal depthwise convolution to dst, (channels).
// ring is (taps, channels): the newest input lies in row slot, the oldest in the row behind it. w is (taps, channels), tap 0
// for the oldest; bias is (channels), or nil for 0. A channel starts from its bias and adds its taps from the oldest on.
func ConvStep(dst, ring, w, bias []float32, taps, slot int) {
	if bias == nil {
		clear(dst)
	} else {
		copy(dst, bias[:len(dst)])
	}
	n := len(dst)
	for k := range taps {
		x := ring[(slot+1+k)%taps*n:][:n]
		wk := w[k*n:][:n]
		for c, v := range x {
			dst[c] += float32(wk[c] * v)
		}
	}
	SiLU(dst, dst)
}

// StateUpdate advances the state of one head by one token, in place, and writes its output:
//
//	s[p][n] = fl(da*s[p][n]) + fl(fl(dt*x[p]) * b[n])          s is (headdim, d_state)
//	y[p]    = sum over n of s[p][n]*c[n]  +  fl(d*x[p])        the sum in 16 lanes
//
// y and x are (headdim), b and c (d_state); da is exp(dt*A).
func StateUpdate(y, s, x, b, c []float32, da, dt, d float32) {
	n := len(b)
	c = c[:n]
	x = x[:len(y)]
	for p, xp := range x {
		row := s[p*n:][:n]
		k := float32(dt * xp)
		var l lanes
		i := 0
		for ; i+16 <= n; i += 16 {
			r, bb, cc := (*[16]float32)(row[i:]), (*[16]float32)(b[i:]), (*[16]float32)(c[i:])
			for j := range r {
				v := float32(da*r[j]) + float32(k*bb[j])
				r[j] = v
				l[j] += float32(v * cc[j])
			}
		}
		for j := 0; i+j < n; j++ {
			v := float32(da*row[i+j]) + float32(k*b[i+j])
			row[i+j] = v
			l[j] += float32(v * c[i+j])
		}
		y[p] = l.sum() + float32(d*xp)
	}
}

func int8s(b []byte) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}
