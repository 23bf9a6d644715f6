package ref64

import (
	"fmt"
	"math"
)

// Trace is what a run over a prompt of T tokens gives.
type Trace struct {
	Logits   [][]float64   // (T, VocabSize)
	LayerOut [][][]float64 // (NLayer, T, DModel): the residual stream after each layer
	SSM      [][]float64   // (NLayer, NHeads*HeadDim*DState) after the prompt
	Conv     [][]float64   // (NLayer, Channels*DConv): the last DConv inputs of the convolution, oldest first
}

// state is what one layer carries from token to token; the fields are as in Trace.
type state struct{ ssm, conv []float64 }

func (m *Model) newStates() []state {
	p := m.Params
	states := make([]state, p.NLayer)
	for i := range states {
		states[i] = state{make([]float64, p.NHeads*p.HeadDim*p.DState), make([]float64, p.Channels()*p.DConv)}
	}
	return states
}

// Run runs the recurrence over ids from empty states. It fails on an id outside the embedding.
func (m *Model) Run(ids []int) (*Trace, error) {
	trace, _, err := m.run(ids)
	return trace, err
}

func (m *Model) run(ids []int) (*Trace, []state, error) {
	states := m.newStates()
	trace := &Trace{LayerOut: make([][][]float64, m.Params.NLayer)}
	for _, id := range ids {
		logits, residuals, err := m.step(states, id)
		if err != nil {
			return nil, nil, err
		}
		trace.Logits = append(trace.Logits, logits)
		for i, h := range residuals {
			trace.LayerOut[i] = append(trace.LayerOut[i], h)
		}
	}
	for _, s := range states {
		trace.SSM = append(trace.SSM, append([]float64(nil), s.ssm...))
		trace.Conv = append(trace.Conv, append([]float64(nil), s.conv...))
	}
	return trace, states, nil
}

// Greedy is the n tokens that follow ids when the most likely one is taken each time, the first of equals.
func (m *Model) Greedy(ids []int, n int) ([]int, error) {
	if len(ids) == 0 {
		return nil, fmt.Errorf("nothing to continue: no ids")
	}
	trace, states, err := m.run(ids)
	if err != nil {
		return nil, err
	}
	logits := trace.Logits[len(ids)-1]
	var next []int
	for len(next) < n {
		best := 0
		for id, v := range logits {
			if v > logits[best] {
				best = id
			}
		}
		next = append(next, best)
		if logits, _, err = m.step(states, best); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// step feeds one token. residuals is the residual stream after each layer.
func (m *Model) step(states []state, id int) (logits []float64, residuals [][]float64, err error) {
	p := m.Params
	if id < 0 || id >= p.VocabSize {
		return nil, nil, fmt.Errorf("token %d is not in a vocabulary of %d", id, p.VocabSize)
	}
	h := m.embedding[id*p.DModel : (id+1)*p.DModel]
	for i := range m.layers {
		y := m.mix(&m.layers[i], states[i], rmsNorm(h, m.layers[i].norm, p.NormEps))
		next := make([]float64, p.DModel)
		for j := range next {
			next[j] = h[j] + y[j]
		}
		h = next
		residuals = append(residuals, h)
	}
	return (&linear{out: p.VocabSize, in: p.DModel, weight: m.head}).apply(rmsNorm(h, m.normF, p.NormEps), false), residuals, nil
}

// mix is the Mamba-2 mixer for one token: u (DModel) to (DModel), s moved on by one.
func (m *Model) mix(l *layer, s state, u []float64) []float64 {
	p := m.Params
	proj := l.inProj.apply(u, m.ZeroAsPlus)
	z, xBC, dt := proj[:p.DInner], proj[p.DInner:p.DInner+p.Channels()], proj[p.DInner+p.Channels():]

	conv := make([]float64, p.Channels())
	for c := range conv {
		window, weight := s.conv[c*p.DConv:(c+1)*p.DConv], l.convW[c*p.DConv:(c+1)*p.DConv]
		copy(window, window[1:])
		window[p.DConv-1] = xBC[c]
		var sum float64
		if l.convB != nil {
			sum = l.convB[c]
		}
		for k, w := range weight {
			sum += w * window[k]
		}
		conv[c] = silu(sum)
	}
	x, b, c := conv[:p.DInner], conv[p.DInner:p.DInner+p.NGroups*p.DState], conv[p.DInner+p.NGroups*p.DState:]

	y := make([]float64, p.DInner)
	for head := range p.NHeads {
		step := min(max(softplus(dt[head]+l.dtBias[head]), p.DtMin), p.DtMax)
		decay := math.Exp(-step * math.Exp(l.aLog[head]))
		group := head / (p.NHeads / p.NGroups) * p.DState
		for i := range p.HeadDim {
			at := head*p.HeadDim + i
			row := s.ssm[at*p.DState : (at+1)*p.DState]
			sum := l.d[head] * x[at]
			for n := range row {
				row[n] = decay*row[n] + step*x[at]*b[group+n]
				sum += row[n] * c[group+n]
			}
			y[at] = sum * silu(z[at])
		}
	}

	part := p.DInner / p.NormParts
	for i := 0; i < p.DInner; i += part {
		copy(y[i:], rmsNorm(y[i:i+part], l.gateNorm[i:i+part], p.NormEps))
	}
	return l.outProj.apply(y, m.ZeroAsPlus)
}

// apply is W~ x + bias, with W~ = wscale*sign(weight) + wbias where there are scales.
func (l *linear) apply(x []float64, zeroAsPlus bool) []float64 {
	y := make([]float64, l.out)
	for o := range y {
		var sum float64
		for i, w := range l.weight[o*l.in : (o+1)*l.in] {
			if l.wscale != nil {
				at := 0
				switch {
				case len(l.wscale) == 1:
				case l.perRow:
					at = o
				default:
					at = i
				}
				w = l.wscale[at]*sign(w, zeroAsPlus) + l.wbias[at]
			}
			sum += w * x[i]
		}
		if l.bias != nil {
			sum += l.bias[o]
		}
		y[o] = sum
	}
	return y
}

func sign(w float64, zeroAsPlus bool) float64 {
	switch {
	case w > 0, w == 0 && zeroAsPlus:
		return 1
	case w < 0:
		return -1
	}
	return 0
}

func rmsNorm(x, weight []float64, eps float64) []float64 {
	var squares float64
	for _, v := range x {
		squares += v * v
	}
	scale := 1 / math.Sqrt(squares/float64(len(x))+eps)
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v * scale * weight[i]
	}
	return y
}

func silu(x float64) float64 { return x / (1 + math.Exp(-x)) }

// softplus is log(1+exp(x)), without overflow.
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

// RelL2 is the norm of a-b relative to that of b, the reference. It is +Inf if the lengths differ or b is zero and a is
// not, and NaN if either holds a NaN.
func RelL2(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	var diff, norm float64
	for i := range b {
		diff += (a[i] - b[i]) * (a[i] - b[i])
		norm += b[i] * b[i]
	}
	if diff == 0 {
		return 0
	}
	return math.Sqrt(diff / norm)
}
