// Package sample chooses the next token from a model's logits.
//
// The steps are those that users of other engines know, in this order: the repetition penalty, the temperature, top-k, top-p, min-p, and a draw.
// With the same seed they give the same tokens on every CPU: probabilities are computed by package neon's exponential,
// sums run in the order of the tokens' ranks, and the generator is PCG.
package sample

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"bimamba/neon"
)

// Params chooses how to sample. The zero value with TopP and RepetitionPenalty 1 is greedy.
type Params struct {
	Temperature       float32 // 0 takes the likeliest token
	TopK              int     // only the k likeliest tokens; 0 is off
	TopP              float32 // only the likeliest tokens whose probabilities reach this sum; 1 is off
	MinP              float32 // only tokens of at least this part of the likeliest's probability; 0 is off
	RepetitionPenalty float32 // logits of tokens that occurred are divided by it if positive, else multiplied; 1 is off
	PresencePenalty   float32 // taken off the logits of tokens that were sampled; 0 is off
	FrequencyPenalty  float32 // taken off the logits of tokens that were sampled, as often as they were; 0 is off
	Seed              uint64
}

// Validate checks the ranges.
func (p *Params) Validate() error {
	switch {
	case !(p.Temperature >= 0 && p.Temperature <= 100):
		return fmt.Errorf("temperature %v is not within 0 and 100", p.Temperature)
	case p.TopK < 0:
		return fmt.Errorf("top-k %d is negative", p.TopK)
	case !(p.TopP > 0 && p.TopP <= 1):
		return fmt.Errorf("top-p %v is not within 0 and 1", p.TopP)
	case !(p.MinP >= 0 && p.MinP <= 1):
		return fmt.Errorf("min-p %v is not within 0 and 1", p.MinP)
	case !(p.RepetitionPenalty > 0 && p.RepetitionPenalty <= 100):
		return fmt.Errorf("repetition penalty %v is not within 0 and 100", p.RepetitionPenalty)
	case !(p.PresencePenalty >= -100 && p.PresencePenalty <= 100):
		return fmt.Errorf("presence penalty %v is not within -100 and 100", p.PresencePenalty)
	case !(p.FrequencyPenalty >= -100 && p.FrequencyPenalty <= 100):
		return fmt.Errorf("frequency penalty %v is not within -100 and 100", p.FrequencyPenalty)
	}
	return nil
}

// Sampler samples one sequence. It allocates nothing after New.
type Sampler struct {
	p          Params
	vocab      int
	source     *rand.PCG
	rng        *rand.Rand
	logits     []float32
	candidates []candidate
	sorted     []candidate
	seen       []uint64 // bitset of tokens
}

// New makes a sampler over the first vocab logits; rows of the embedding beyond the tokenizer are never sampled.
func New(p Params, vocab int) *Sampler {
	s := &Sampler{
		vocab: vocab, source: rand.NewPCG(0, 0),
		logits: make([]float32, vocab), candidates: make([]candidate, 0, vocab), sorted: make([]candidate, vocab), seen: make([]uint64, (vocab+63)/64),
	}
	s.rng = rand.New(s.source)
	s.Reset(p)
	return s
}

// Reset makes s what New makes with p, without allocating.
func (s *Sampler) Reset(p Params) {
	s.p = p
	s.source.Seed(p.Seed, 0x62696d616d6261)
}

// Next chooses a token. prompt and sampled are the tokens before it: the repetition penalty looks at both, the other penalties at sampled alone.
// If allowed is not nil, it is a bitset of the tokens that may be chosen. logits is not changed.
// The error says that no token can be chosen: the logits are not numbers, or nothing is allowed.
func (s *Sampler) Next(logits []float32, prompt, sampled []uint32, allowed []uint64) (uint32, error) {
	if len(logits) < s.vocab {
		return 0, fmt.Errorf("%d logits, fewer than the %d tokens", len(logits), s.vocab)
	}
	copy(s.logits, logits)
	if k := s.p.RepetitionPenalty; k != 1 {
		clear(s.seen)
		s.penalise(prompt, k)
		s.penalise(sampled, k)
	}
	if s.p.PresencePenalty != 0 || s.p.FrequencyPenalty != 0 {
		s.subtract(sampled)
	}
	if allowed != nil {
		s.mask(allowed)
	}
	best, err := argmax(s.logits)
	if err != nil || s.p.Temperature == 0 {
		return best, err
	}
	return s.draw(s.logits[best]), nil
}

// subtract takes the presence and frequency penalties off.
func (s *Sampler) subtract(sampled []uint32) {
	clear(s.seen)
	for _, id := range sampled {
		if int(id) >= s.vocab {
			continue
		}
		if s.seen[id/64]>>(id%64)&1 == 0 {
			s.seen[id/64] |= 1 << (id % 64)
			s.logits[id] -= s.p.PresencePenalty
		}
		s.logits[id] -= s.p.FrequencyPenalty
	}
}

// mask leaves only what is allowed.
func (s *Sampler) mask(allowed []uint64) {
	for i := 0; i < s.vocab; i += 64 {
		bits := uint64(0)
		if i/64 < len(allowed) {
			bits = allowed[i/64]
		}
		if bits == math.MaxUint64 {
			continue
		}
		for k, v := range s.logits[i:min(i+64, s.vocab)] {
			if bits>>k&1 == 0 && v == v { // what is not a number stays: it says that the checkpoint is damaged
				s.logits[i+k] = float32(math.Inf(-1))
			}
		}
	}
}

func (s *Sampler) penalise(history []uint32, k float32) {
	for _, id := range history {
		if int(id) >= s.vocab || s.seen[id/64]>>(id%64)&1 != 0 {
			continue
		}
		s.seen[id/64] |= 1 << (id % 64)
		if v := s.logits[id]; v > 0 {
			s.logits[id] = v / k
		} else {
			s.logits[id] = v * k
		}
	}
}

// argmax is the likeliest token, the lowest of equals.
func argmax(logits []float32) (uint32, error) {
	best := -1
	for i, v := range logits {
		if v != v || v > math.MaxFloat32 {
			return 0, fmt.Errorf("the logit of token %d is %v: the checkpoint is damaged", i, v)
		}
		if v >= -math.MaxFloat32 && (best < 0 || v > logits[best]) {
			best = i
		}
	}
	if best < 0 {
		return 0, errors.New("no token is possible: every logit is -Inf")
	}
	return uint32(best), nil
}

// floor is how many temperatures below the largest logit a token is left out. Its probability is less than 2^-25 of the likeliest's then, and a float32
// sum that is at least 1 does not change by it.
const floor = 17.4

// draw samples; top is the largest logit.
func (s *Sampler) draw(top float32) uint32 {
	c := s.candidates[:0]
	least := top - float32(floor*s.p.Temperature)
	for id, v := range s.logits {
		if v >= least {
			c = append(c, pack(v, uint32(id)))
		}
	}
	c = s.rank(c)
	if s.p.TopK > 0 {
		c = c[:min(len(c), s.p.TopK)]
	}
	p := s.logits[:len(c)] // is not needed any more
	for i := range c {
		p[i] = (c[i].logit() - top) / s.p.Temperature
	}
	neon.ExpTo(p, p)
	var sum float32
	for _, v := range p {
		sum += v
	}
	if s.p.TopP < 1 {
		limit := float32(s.p.TopP * sum)
		var acc float32
		for i, v := range p {
			if acc += v; acc >= limit {
				p = p[:i+1]
				break
			}
		}
	}
	if s.p.MinP > 0 {
		for i, v := range p {
			if v < float32(s.p.MinP*p[0]) {
				p = p[:i]
				break
			}
		}
	}
	sum = 0
	for _, v := range p {
		sum += v
	}
	x := float32(s.rng.Float32() * sum)
	for i, v := range p {
		if x -= v; x < 0 {
			return c[i].id()
		}
	}
	return c[len(p)-1].id()
}

// candidate is a token that may be drawn: its id below, and above it its logit in a form that rises where the logit falls.
type candidate uint64

func pack(logit float32, id uint32) candidate {
	b := math.Float32bits(logit + 0) // 0 for -0
	if b>>31 == 0 {
		b = ^b &^ (1 << 31)
	}
	return candidate(b)<<32 | candidate(id)
}

func (c candidate) id() uint32 { return uint32(c) }

func (c candidate) logit() float32 {
	b := uint32(c >> 32)
	if b>>31 == 0 {
		b = ^b &^ (1 << 31)
	}
	return math.Float32frombits(b)
}

// rank sorts candidates by falling logits, equal ones by rising ids: it is given them by rising ids. The result lies in c or in s.sorted.
// It is a radix sort, 11 bits at a time: a vocabulary of 50,000 takes a tenth of the time that comparing takes.
func (s *Sampler) rank(c []candidate) []candidate {
	if len(c) < 256 {
		slices.Sort(c)
		return c
	}
	const digits = 1 << 11
	var count [3][digits]int32
	for _, v := range c {
		k := uint32(v >> 32)
		count[0][k%digits]++
		count[1][k/digits%digits]++
		count[2][k/digits/digits]++
	}
	to := s.sorted[:len(c)]
	for pass := range count {
		n := &count[pass]
		at := int32(0)
		for i := range n {
			n[i], at = at, at+n[i]
		}
		shift := 32 + 11*pass
		for _, v := range c {
			k := v >> shift % digits
			to[n[k]] = v
			n[k]++
		}
		c, to = to, c
	}
	return c
}

// LogSum is the natural logarithm of the sum of the logits' exponentials, in float64: a logit less LogSum is the logarithm of its token's probability.
func LogSum(logits []float32) float64 {
	top := math.Inf(-1)
	for _, v := range logits {
		top = max(top, float64(v))
	}
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

// LogProb is the natural logarithm of the probability of id, in float64.
func LogProb(logits []float32, id uint32) float64 { return float64(logits[id]) - LogSum(logits) }
