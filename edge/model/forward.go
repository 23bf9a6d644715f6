package model

import (
	"bimamba/memmap"
	"bimamba/neon"
)

// forward feeds token id and writes the logits behind it if they are asked for.
// (memmap/FORMAT.md, section 5; Mamba-2: arXiv 2405.21060, sections 7 and 9.)
func (s *Session) forward(id uint32, logits []float32) {
	m, h := s.m, &s.m.h
	m.embedding.row(s.h, int(id)) // h (d_model)
	for i := range m.layers {
		s.normalise(s.xn[:h.DModel], s.h, 1)
		s.mixer(i)
		neon.Add(s.h, s.h, s.delta) // h += out_proj(y)
		if s.trace != nil {
			s.trace(i, s.h)
		}
	}
	s.pos++
	if logits != nil {
		xn := s.xn[:h.DModel]
		s.normalise(xn, s.h, 1)
		neon.Mul(xn, xn, m.normF)
		s.multiply(logits, &m.head, xn)
	}
}

// mixer is layer i's Mamba-2 mixer: s.xn[:d_model], the normalised residual stream, to s.delta (d_model).
func (s *Session) mixer(i int) {
	h, l := &s.m.h, &s.m.layers[i]
	dInner, dState, nheads, headdim := int(h.DInner), int(h.DState), int(h.NHeads), int(h.HeadDim)
	channels, bc := int(h.Channels()), int(h.NGroups)*int(h.DState)

	// [z | x B C | dt] = in_proj(u)
	s.multiply(s.proj, &l.in, s.xn[:h.DModel])
	z := s.proj[:dInner]                           // (d_inner)
	dt := s.proj[dInner+channels:][:nheads:nheads] // (nheads)

	// x B C = silu(conv1d(x B C)): the newest inputs replace the oldest row of the ring.
	dConv := int(h.DConv)
	ring := s.conv[i*dConv*channels:][:dConv*channels]
	slot := int(s.pos % int64(dConv))
	copy(ring[slot*channels:][:channels], s.proj[dInner:])
	neon.ConvStep(s.xbc, ring, l.conv, l.convBias, dConv, slot, channels, 0)
	x, B, C := s.xbc[:dInner], s.xbc[dInner:][:bc], s.xbc[dInner+bc:][:bc] // (d_inner), (ngroups, d_state) twice

	// S = exp(dt*A)*S + dt*x (outer) B;  y = S C + D*x, head by head
	perGroup := nheads / int(h.NGroups)
	size := headdim * dState
	for j := range nheads {
		t := min(max(neon.Softplus(dt[j]+l.dtBias[j]), h.DtMin), h.DtMax)
		g := j / perGroup * dState
		S := s.ssm[(i*nheads+j)*size:][:size] // (headdim, d_state)
		neon.StateUpdate(s.y[j*headdim:][:headdim], S, x[j*headdim:][:headdim], B[g:][:dState], C[g:][:dState], neon.Exp(float32(t*l.a[j])), t, l.d[j])
	}

	// out_proj(rmsnorm(y * silu(z)))
	neon.SiLU(z, z)
	neon.Mul(s.y, s.y, z)
	s.normalise(s.xn[:dInner], s.y, int(h.GatedNormGroups))
	s.multiply(s.delta, &l.out, s.xn[:dInner])
}

// normalise writes x/rms(x) to dst, each of the groups by itself. The norm's weight is the matrix's business.
func (s *Session) normalise(dst, x []float32, groups int) {
	n := len(x) / groups
	for g := range groups {
		part := x[g*n:][:n]
		neon.Scale(dst[g*n:][:n], part, neon.RMSInv(part, s.m.h.NormEps))
	}
}

// multiply computes dst = W~ x for a normalised input x: (rows) from (cols). s.xs is overwritten.
func (s *Session) multiply(dst []float32, w *matrix, x []float32) {
	xs := s.xs[:w.cols]
	copy(xs, x)
	if w.norm != nil {
		neon.Mul(xs, xs, w.norm)
	}
	switch {
	case w.dtype == memmap.B1 && w.quant == memmap.QuantColumn: // bits (scale*x) + bias.x
		shift := neon.Dot(w.bias, x)
		neon.Mul(xs, xs, w.scale)
		s.bits(dst, w, xs)
		neon.AddScalar(dst, dst, shift)
	case w.dtype == memmap.B1: // scale * (bits x) + bias * sum(x)
		sum := neon.Sum(xs)
		s.bits(dst, w, xs)
		for r := range dst {
			k := r % len(w.scale) // one for all, or one a row
			dst[r] = float32(w.scale[k]*dst[r]) + float32(w.bias[k]*sum)
		}
	case w.dtype == memmap.I8 && s.m.precision == Exact:
		neon.I8MatVecExact(dst, w.data, w.scale, xs, 0, w.rows)
	case w.dtype == memmap.I8:
		s.q14.Quantize(xs)
		neon.I8MatVec(dst, w.data, w.scale, s.q14, 0, w.rows)
	default:
		neon.MatVec(dst, w.data, w.elem, xs, 0, w.rows)
	}
	if w.outBias != nil {
		neon.Add(dst, dst, w.outBias)
	}
}

// bits computes the +-1 product dst = bits x.
func (s *Session) bits(dst []float32, w *matrix, x []float32) {
	if s.m.precision == Exact {
		neon.BitMatVecExact(dst, w.data, w.bits, x, 0, w.bits.Tiles())
		return
	}
	s.lut.Build(x, w.bits)
	neon.BitMatVec(dst, w.data, w.bits, s.lut, 0, w.bits.Tiles())
}
