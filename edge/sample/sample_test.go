package sample

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func params(f func(*Params)) Params {
	p := Params{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: 1}
	f(&p)
	return p
}

func next(t *testing.T, s *Sampler, logits []float32, history ...uint32) uint32 {
	t.Helper()
	id, err := s.Next(logits, history, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestGreedy(t *testing.T) {
	s := New(params(func(p *Params) { p.Temperature = 0 }), 4)
	if id := next(t, s, []float32{1, 3, 3, 2, 99}); id != 1 {
		t.Errorf("greedy took %d; the lowest of the likeliest is 1, and token 4 is beyond the tokenizer", id)
	}
	inf := float32(math.Inf(-1))
	if id := next(t, s, []float32{inf, inf, -5, inf}); id != 2 {
		t.Errorf("greedy took %d, not the only possible token 2", id)
	}
}

func TestBadLogits(t *testing.T) {
	s := New(params(func(p *Params) { p.Temperature = 0 }), 2)
	for _, v := range [][]float32{{0, float32(math.NaN())}, {float32(math.Inf(1)), 0}, {float32(math.Inf(-1)), float32(math.Inf(-1))}, {1}} {
		if _, err := s.Next(v, nil, nil, nil); err == nil {
			t.Errorf("logits %v gave no error", v)
		}
	}
}

// counts draws n tokens.
func counts(t *testing.T, p Params, logits []float32, n int) []int {
	t.Helper()
	s := New(p, len(logits))
	c := make([]int, len(logits))
	for range n {
		c[next(t, s, logits)]++
	}
	return c
}

// oracle is the distribution that the parameters call for, computed plainly in float64.
func oracle(p Params, logits []float32) []float64 {
	n := len(logits)
	order := make([]int, n)
	prob := make([]float64, n)
	var sum float64
	for i, v := range logits {
		order[i] = i
		prob[i] = math.Exp(float64(v) / float64(p.Temperature))
		sum += prob[i]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case prob[a] > prob[b]:
			return -1
		case prob[a] < prob[b]:
			return 1
		}
		return 0
	})
	keep := order
	if p.TopK > 0 {
		keep = keep[:min(n, p.TopK)]
	}
	var total, acc float64
	for _, i := range keep {
		total += prob[i]
	}
	for j, i := range keep {
		if acc += prob[i]; acc >= float64(p.TopP)*total {
			keep = keep[:j+1]
			break
		}
	}
	out := make([]float64, n)
	acc = 0
	for _, i := range keep {
		if prob[i] >= float64(p.MinP)*prob[keep[0]] {
			out[i] = prob[i]
			acc += prob[i]
		}
	}
	for i := range out {
		out[i] /= acc
	}
	return out
}

func TestDistribution(t *testing.T) {
	logits := []float32{0.5, -1, 2, 1.9, 0, -3, 1, 0.1}
	const n = 20000
	for name, p := range map[string]Params{
		"plain":       params(func(p *Params) {}),
		"temperature": params(func(p *Params) { p.Temperature = 0.5 }),
		"top-k":       params(func(p *Params) { p.TopK = 3 }),
		"top-p":       params(func(p *Params) { p.TopP = 0.7 }),
		"min-p":       params(func(p *Params) { p.MinP = 0.3 }),
		"all":         params(func(p *Params) { p.Temperature, p.TopK, p.TopP, p.MinP = 1.5, 6, 0.9, 0.2 }),
	} {
		want := oracle(p, logits)
		got := counts(t, p, logits, n)
		for i, w := range want {
			sigma := math.Sqrt(n * w * (1 - w))
			if d := math.Abs(float64(got[i]) - n*w); d > 5*sigma {
				t.Errorf("%s: token %d was drawn %d times, expected %.0f +- %.0f", name, i, got[i], n*w, sigma)
			}
		}
	}
}

func TestRepetitionPenalty(t *testing.T) {
	s := New(params(func(p *Params) { p.Temperature, p.RepetitionPenalty = 0, 2 }), 3)
	if id := next(t, s, []float32{3, 2, -1}, 0, 0, 77); id != 1 {
		t.Errorf("token %d: 3/2 lies below 2, and a token counts once", id)
	}
	if id := next(t, s, []float32{-3, -2, -9}, 1, 2); id != 0 {
		t.Errorf("token %d: -2*2 lies below -3", id)
	}
}

func TestValidate(t *testing.T) {
	for _, f := range []func(*Params){
		func(p *Params) { p.Temperature = -1 }, func(p *Params) { p.Temperature = float32(math.NaN()) }, func(p *Params) { p.TopK = -1 },
		func(p *Params) { p.TopP = 0 }, func(p *Params) { p.TopP = 1.1 }, func(p *Params) { p.MinP = -0.1 }, func(p *Params) { p.RepetitionPenalty = 0 },
	} {
		if p := params(f); p.Validate() == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
	if p := params(func(*Params) {}); p.Validate() != nil {
		t.Error(p.Validate())
	}
}

// TestSameOnEveryCPU draws a long sequence; its hash is the same on amd64 and arm64.
func TestSameOnEveryCPU(t *testing.T) {
	const want = "5ceb4dcff25712db15c4d90a1082545481f2f57f892fb2cba41940e94f0ac5ca"
	r := rand.New(rand.NewPCG(7, 7))
	s := New(params(func(p *Params) { p.Temperature, p.TopP, p.MinP, p.RepetitionPenalty, p.Seed = 0.8, 0.95, 0.01, 1.1, 42 }), 500)
	logits := make([]float32, 512)
	var history []uint32
	h := sha256.New()
	for range 500 {
		for i := range logits {
			logits[i] = float32(r.Uint32()>>8)/(1<<20) - 8
		}
		id := next(t, s, logits, history...)
		history = append(history, id)
		binary.Write(h, binary.LittleEndian, id)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("SHA-256 of the tokens is %s, not %s", got, want)
	}
}

func TestNoAllocation(t *testing.T) {
	s := New(params(func(p *Params) { p.TopK, p.TopP, p.MinP, p.RepetitionPenalty = 40, 0.9, 0.1, 1.2 }), 1000)
	logits := make([]float32, 1000)
	for i := range logits {
		logits[i] = float32(i % 37)
	}
	history := []uint32{1, 2, 3}
	if n := testing.AllocsPerRun(10, func() { s.Next(logits, history, nil, nil) }); n != 0 {
		t.Errorf("%v allocations a token", n)
	}
}

func TestLogProb(t *testing.T) {
	logits := []float32{1, 2, 3}
	var sum float64
	for i := range logits {
		sum += math.Exp(LogProb(logits, uint32(i)))
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("probabilities add up to %v", sum)
	}
	if d := LogProb(logits, 2) - LogProb(logits, 0); math.Abs(d-2) > 1e-12 {
		t.Errorf("a difference of logits of 2 became %v", d)
	}
}

// TestPenalties takes presence off once and frequency every time, of what was sampled and not of the prompt.
func TestPenalties(t *testing.T) {
	s := New(params(func(p *Params) { p.Temperature, p.PresencePenalty, p.FrequencyPenalty = 0, 1, 0.5 }), 3)
	for _, c := range []struct {
		prompt, sampled []uint32
		want            uint32
	}{
		{nil, nil, 0},
		{[]uint32{0, 0, 0, 0}, nil, 0},
		{nil, []uint32{0}, 1},                        // 4.4-1.5 = 2.9 of 3
		{nil, []uint32{0, 1}, 0},                     // 2.9, 1.5, 2
		{nil, []uint32{0, 0, 0, 1, 9}, 2},            // 1.9, 1.5, 2
		{[]uint32{2, 2}, []uint32{0, 0, 0, 1, 9}, 2}, // the same
	} {
		id, err := s.Next([]float32{4.4, 3, 2}, c.prompt, c.sampled, nil)
		if err != nil || id != c.want {
			t.Errorf("behind %v and %v: token %d, %v; want %d", c.prompt, c.sampled, id, err, c.want)
		}
	}
	for _, p := range []Params{{TopP: 1, RepetitionPenalty: 1, PresencePenalty: 101}, {TopP: 1, RepetitionPenalty: 1, FrequencyPenalty: float32(math.NaN())}} {
		if p.Validate() == nil {
			t.Errorf("%+v passes", p)
		}
	}
}

// TestMask samples nothing but what is allowed.
func TestMask(t *testing.T) {
	const vocab = 200
	logits := make([]float32, vocab)
	r := rand.New(rand.NewPCG(3, 3))
	for i := range logits {
		logits[i] = r.Float32()
	}
	allowed := make([]uint64, 4)
	for _, id := range []int{3, 64, 127, 199} {
		allowed[id/64] |= 1 << (id % 64)
	}
	for _, temperature := range []float32{0, 1, 50} {
		s := New(params(func(p *Params) { p.Temperature = temperature }), vocab)
		seen := map[uint32]bool{}
		for range 200 {
			id, err := s.Next(logits, nil, nil, allowed)
			if err != nil || id >= vocab || allowed[id/64]>>(id%64)&1 == 0 {
				t.Fatalf("token %d, %v", id, err)
			}
			seen[id] = true
		}
		if temperature > 0 && len(seen) != 4 {
			t.Errorf("at temperature %v only %v came", temperature, seen)
		}
	}
	s := New(params(func(p *Params) {}), vocab)
	if _, err := s.Next(logits, nil, nil, make([]uint64, 4)); err == nil {
		t.Error("nothing was allowed, and a token came")
	}
	logits[5] = float32(math.NaN())
	if _, err := s.Next(logits, nil, nil, allowed); err == nil {
		t.Error("a logit that is no number was masked away: nobody learns that the checkpoint is damaged")
	}
}

// TestRank sorts as comparing does, ties and both zeros included.
func TestRank(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, n := range []int{0, 1, 255, 256, 1000, 5000} {
		s := New(params(func(p *Params) {}), n)
		c := make([]candidate, n)
		logits := make([]float32, n)
		for i := range c {
			v := float32(r.NormFloat64())
			switch i % 7 {
			case 0:
				v = float32(r.IntN(3) - 1)
			case 1:
				v = float32(math.Copysign(0, r.Float64()-0.5))
			case 2:
				v *= math.MaxFloat32 / 8
			}
			logits[i], c[i] = v, pack(v, uint32(i))
			if c[i].id() != uint32(i) || c[i].logit() != v {
				t.Fatalf("token %d of logit %v is packed as token %d of %v", i, v, c[i].id(), c[i].logit())
			}
		}
		want := slices.Clone(c)
		slices.SortStableFunc(want, func(a, b candidate) int { return cmp.Compare(logits[b.id()], logits[a.id()]) })
		if got := s.rank(c); !slices.Equal(got, want) {
			t.Errorf("%d candidates are in another order", n)
		}
	}
}

// TestReset starts again.
func TestReset(t *testing.T) {
	logits := make([]float32, 300)
	p := params(func(p *Params) { p.Seed = 9 })
	s := New(params(func(p *Params) { p.Temperature = 0 }), 300)
	next(t, s, logits)
	s.Reset(p)
	fresh := New(p, 300)
	for range 20 {
		if a, b := next(t, s, logits), next(t, fresh, logits); a != b {
			t.Fatalf("%d after Reset, %d after New", a, b)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, vocab := range []int{4096, 50288} {
		for _, temperature := range []float32{0, 1} {
			b.Run(fmt.Sprintf("vocab=%d/temperature=%v", vocab, temperature), func(b *testing.B) {
				r := rand.New(rand.NewPCG(5, 5))
				logits := make([]float32, vocab)
				for i := range logits {
					logits[i] = float32(r.NormFloat64())
				}
				s := New(params(func(p *Params) { p.Temperature = temperature }), vocab)
				for b.Loop() {
					s.Next(logits, nil, nil, nil)
				}
			})
		}
	}
}
