package model

import (
	"sync"
	"sync/atomic"

	"bimamba/memmap"
	"bimamba/neon"
	"bimamba/neon/pool"
)

// forward is the forward pass of a batch of T tokens: its inputs and its workspace. (memmap/FORMAT.md, section 5; Mamba-2: arXiv 2405.21060, sections 7 and 9.)
//
// All workers of the pool run the same code. A w.For is a loop whose rounds they share. Every number is computed by the same operations in the same
// order whoever computes it, and whichever tokens stand beside it in the batch. Outside of loops the code reads only what
// stays as it is, T and want: a worker that comes late may do so while the next batch is made (see pool.Pool.Run).
type forward struct {
	m    *Model
	mu   sync.Mutex   // held from borrow to the end of run
	rows []Row        // (T)
	pos  []int64      // (T), of each token in its sequence
	t    atomic.Int64 // T
	want atomic.Int64 // how many of them want logits
	from atomic.Int64 // the layers to compute: from the embedding on if it is 0,
	to   atomic.Int64 // to the logits if it is n_layer

	h       [][]float32 // (T, d_model), the residual stream
	xn      [][]float32 // (T, max(d_model, d_inner)), the normalised input of a matrix
	xs      [][]float32 // the same times scale or norm
	proj    [][]float32 // (T, d_in_proj), z | x | B | C | dt
	xbc     [][]float32 // (T, channels), x | B | C after the convolution
	dt      [][]float32 // (T, nheads)
	da      [][]float32 // (T, nheads), exp(dt*A)
	y       [][]float32 // (T, d_inner), output of the heads
	delta   [][]float32 // (T, d_model), what a layer adds to h
	logits  [][]float32 // of the tokens that want them, the caller's; (T) at most
	inputs              // what multiply takes
	guarded func(*pool.Worker) error

	trace func(layer int, h []float32) // tests look at the residual stream of each token behind each layer; nil elsewhere
}

// workspaceBuffers is the length of each float32 buffer that a token has, in the order of init.
func workspaceBuffers(h *memmap.Model) [9]int {
	wide, nheads := maxCols(h), int(h.NHeads)
	return [...]int{int(h.DModel), wide, wide, int(h.DInProj()), int(h.Channels()), nheads, nheads, int(h.DInner), int(h.DModel)}
}

// init carves the workspace out of the arena.
func (f *forward) init(m *Model, arena *carver) {
	h, batch := &m.h, m.opt.Batch
	f.m = m
	f.rows, f.pos, f.logits = make([]Row, batch), make([]int64, batch), make([][]float32, batch)
	sizes := workspaceBuffers(h)
	for i, buffer := range []*[][]float32{&f.h, &f.xn, &f.xs, &f.proj, &f.xbc, &f.dt, &f.da, &f.y, &f.delta} {
		*buffer = make([][]float32, batch)
		for t := range *buffer {
			(*buffer)[t] = arena.floats(sizes[i])
		}
	}
	f.inputs.init(m, arena)
	f.guarded = func(w *pool.Worker) error {
		return m.blob.Guard(func() error {
			f.run(w)
			return nil
		})
	}
}

// borrow takes the forward pass for a batch of n tokens, which the caller fills in before it calls run.
func (f *forward) borrow(n int) []Row {
	f.mu.Lock()
	return f.rows[:n:n]
}

// run computes a borrowed batch.
func (m *Model) run(rows []Row) error {
	f := &m.forward
	defer f.mu.Unlock()
	for t := range rows {
		if err := m.check(&rows[t]); err != nil {
			return err
		}
	}
	want := 0
	for t := range rows {
		s := rows[t].Session
		f.pos[t] = s.pos
		s.pos++
		if rows[t].Logits != nil {
			f.logits[want] = rows[t].Logits
			want++
		}
	}
	f.t.Store(int64(len(rows)))
	f.want.Store(int64(want))
	width := m.opt.Threads
	if len(rows) == 1 {
		width = m.opt.Decode
	}
	if most := int(m.most.Load()); most > 0 {
		width = min(width, most)
	}
	if m.stream != nil {
		return m.stream.pass(f, width)
	}
	return f.compute(width, 0, len(m.layers))
}

// compute does a part of the pass on some of the workers.
func (f *forward) compute(width, from, to int) error {
	f.from.Store(int64(from))
	f.to.Store(int64(to))
	return f.m.pool.RunOn(width, f.guarded)
}

// run is what each worker does.
func (f *forward) run(w *pool.Worker) {
	m, h, T, want := f.m, &f.m.h, int(f.t.Load()), int(f.want.Load())
	from, to := int(f.from.Load()), int(f.to.Load())
	if from == 0 {
		w.For(T, 1, func(lo, hi int) {
			for t := lo; t < hi; t++ {
				m.embedding.row(f.h[t], int(f.rows[t].ID)) // h (d_model)
			}
		})
	}
	for i := from; i < to; i++ {
		f.layer(w, i, T)
	}
	if to < len(m.layers) || want == 0 {
		return
	}
	w.For(T, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			if k := f.wanted(t); k >= 0 {
				xn := f.xn[t][:h.DModel]
				f.normalise(xn, f.h[t], 1)
				neon.Mul(xn, xn, m.normF)
				f.prepare(&m.head, k, xn, f.xs[t])
			}
		}
	})
	f.multiply(w, &m.head, f.logits[:want], nil)
}

// wanted is the place of token t's logits among those that are wanted, or -1.
func (f *forward) wanted(t int) (k int) {
	if f.rows[t].Logits == nil {
		return -1
	}
	for i := range t {
		if f.rows[i].Logits != nil {
			k++
		}
	}
	return k
}

// convCols is how many channels of the convolution a round takes.
const convCols = 64

// layer adds layer i's Mamba-2 mixer of its normalised input to the residual stream.
func (f *forward) layer(w *pool.Worker, i, T int) {
	h, l := &f.m.h, &f.m.layers[i]
	dModel, dInner, dState, nheads, headdim := int(h.DModel), int(h.DInner), int(h.DState), int(h.NHeads), int(h.HeadDim)
	channels, bc, dConv := int(h.Channels()), int(h.NGroups)*int(h.DState), int(h.DConv)

	// [z | x B C | dt] = in_proj(norm(h))
	w.For(T, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			f.normalise(f.xn[t][:dModel], f.h[t], 1)
			f.prepare(&l.in, t, f.xn[t][:dModel], f.xs[t])
		}
	})
	f.multiply(w, &l.in, f.proj[:T], nil)

	// x B C = silu(conv1d(x B C)): the newest inputs replace the oldest row of the ring. One more round: dt = softplus(dt + dt_bias), exp(dt*A).
	parts := (channels + convCols - 1) / convCols
	w.For(parts+1, 4, func(lo, hi int) {
		if hi == parts+1 {
			hi--
			for t := range T {
				f.steps(l, t, f.proj[t][dInner+channels:][:nheads])
			}
		}
		c0, c1 := lo*convCols, min(hi*convCols, channels)
		for t := 0; t < T && c0 < c1; t++ {
			ring := f.rows[t].Session.conv[i*dConv*channels:][:dConv*channels] // (d_conv, channels)
			slot := int(f.pos[t] % int64(dConv))
			copy(ring[slot*channels+c0:slot*channels+c1], f.proj[t][dInner+c0:])
			neon.ConvStep(f.xbc[t][c0:c1], ring, l.conv, l.convBias, dConv, slot, channels, c0)
		}
	})

	// S = exp(dt*A)*S + dt*x (outer) B;  y = (S C + D*x) * silu(z), head by head; a head's state stays in the cache for all tokens
	perGroup := nheads / int(h.NGroups)
	w.For(nheads, 1, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			g := j / perGroup * dState
			for t := range T {
				x, B, C := f.xbc[t][j*headdim:][:headdim], f.xbc[t][dInner+g:][:dState], f.xbc[t][dInner+bc+g:][:dState]
				y, z := f.y[t][j*headdim:][:headdim], f.proj[t][j*headdim:][:headdim]
				if s := f.rows[t].Session; f.m.opt.State == StateF32 {
					neon.StateUpdate(y, s.state32(i, j), x, B, C, f.da[t][j], f.dt[t][j], l.d[j])
				} else {
					neon.StateUpdateF16(y, s.state16(i, j), x, B, C, f.da[t][j], f.dt[t][j], l.d[j])
				}
				neon.SiLU(z, z)
				neon.Mul(y, y, z)
			}
		}
	})

	// h = h + out_proj(norm(y))
	w.For(T, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			f.normalise(f.xn[t][:dInner], f.y[t], int(h.GatedNormGroups))
			f.prepare(&l.out, t, f.xn[t][:dInner], f.xs[t])
		}
	})
	f.multiply(w, &l.out, f.delta[:T], f.h)
	if f.trace != nil {
		w.For(1, 1, func(_, _ int) {
			for t := range T {
				f.trace(i, f.h[t])
			}
		})
	}
}

// steps computes token t's step sizes and decays from the raw ones, (nheads).
func (f *forward) steps(l *layer, t int, raw []float32) {
	h := &f.m.h
	dt, da := f.dt[t], f.da[t]
	neon.Add(dt, raw, l.dtBias)
	neon.SoftplusTo(dt, dt)
	for j, v := range dt {
		dt[j] = min(max(v, h.DtMin), h.DtMax)
	}
	neon.Mul(da, dt, l.a)
	neon.ExpTo(da, da)
}

// normalise writes x/rms(x) to dst, each of the groups by itself. The norm's weight is the matrix's business.
func (f *forward) normalise(dst, x []float32, groups int) {
	n := len(x) / groups
	for g := range groups {
		part := x[g*n:][:n]
		neon.Scale(dst[g*n:][:n], part, neon.RMSInv(part, f.m.h.NormEps))
	}
}
