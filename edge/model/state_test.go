package model

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"bimamba/convert"
	"bimamba/convert/synth"
	"bimamba/edge/sample"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// slowDecay is the decay from which on a binary16 state, of 11 bits, rounds a good part of it away.
const slowDecay = 0.999

// decays counts how often each head's exp(dt*A) lies above slowDecay.
type decays struct {
	above  map[[2]int]int // by layer and head
	tokens int
}

// watch counts during the Steps of m, which has one thread.
func (d *decays) watch(m *Model) {
	if m.opt.Threads != 1 {
		panic("watch: the trace is for one thread")
	}
	d.above = make(map[[2]int]int)
	m.forward.trace = func(layer int, _ []float32) {
		if layer == 0 {
			d.tokens++
		}
		for j, da := range m.forward.da[0] {
			if da > slowDecay {
				d.above[[2]int{layer, j}]++
			}
		}
	}
}

func (d *decays) report(t *testing.T, m *Model) {
	half := 0
	for _, n := range d.above {
		if 2*n > d.tokens {
			half++
		}
	}
	t.Logf("of %d heads, %d had a decay above %v at some token and %d at more than half of %d tokens", int(m.h.NLayer)*int(m.h.NHeads), len(d.above), slowDecay, half, d.tokens)
}

// TestStateF16Perplexity feeds the 200 golden sequences of the assistant as one, the state never reset: storing it in binary16 costs next to nothing.
func TestStateF16Perplexity(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: 12,640 tokens; runs without -short")
	}
	var ids []uint32
	for _, s := range testmodel.AssistantGolden(t).NLL {
		ids = append(ids, s.IDs...)
	}
	if len(ids) != 6321 {
		t.Fatalf("%d tokens, not 6321", len(ids))
	}
	perplexity := func(state State) float64 {
		m := openModel(t, testmodel.Default(t), Options{State: state})
		var d decays
		d.watch(m)
		logits := make([]float32, m.h.VocabSize)
		var nll float64
		for i, id := range ids[:len(ids)-1] {
			if err := m.Session(0).Step(id, logits); err != nil {
				t.Fatal(err)
			}
			nll -= sample.LogProb(logits, ids[i+1])
		}
		d.report(t, m)
		return math.Exp(nll / float64(len(ids)-1))
	}
	single, half := perplexity(StateF32), perplexity(StateF16)
	t.Logf("perplexity %.6f with float32 states, %.6f with binary16: %+.4f %%", single, half, 100*(half/single-1))
	if math.Abs(half/single-1) > 1e-3 {
		t.Error("more than 0.1 % apart")
	}
}

// TestStateF16Drift compares the states of a random 780M model after 8,192 tokens. It takes minutes and 240 MB of disk: `make drift`.
func TestStateF16Drift(t *testing.T) {
	if os.Getenv("BIMAMBA_DRIFT") == "" {
		t.Skip("runs in `make drift`")
	}
	ck, err := synth.New("780M", 1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "780m.bimamba"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := convert.Convert(context.Background(), f, ck, convert.Options{}); err != nil {
		t.Fatal(err)
	}
	blob := testmodel.OpenFile(t, f)
	states := func(state State) []float32 { return drift(t, blob, state) }
	a, b := states(StateF32), states(StateF16)
	var d, n float64
	for i := range a {
		d += float64(a[i]-b[i]) * float64(a[i]-b[i])
		n += float64(a[i]) * float64(a[i])
	}
	e := math.Sqrt(d / n)
	t.Logf("relative L2 of the states after 8,192 tokens: %.2e", e)
	if !(e <= 1e-2) {
		t.Error("more than 1e-2")
	}
}

// drift is the states behind 8,192 tokens.
func drift(t *testing.T, blob *memmap.File, state State) []float32 {
	m := openModel(t, blob, Options{State: state})
	s := m.Session(0)
	if err := s.Prefill(t.Context(), sequence(8191, int(m.h.VocabSize)), nil); err != nil {
		t.Fatal(err)
	}
	var d decays
	d.watch(m)
	if err := s.Step(1, nil); err != nil {
		t.Fatal(err)
	}
	d.report(t, m)
	return s.ssmFloats()
}
