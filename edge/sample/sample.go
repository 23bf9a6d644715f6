// Package sample chooses the next token from a model's logits.
//
// The steps are those that users of other engines know, in this order: the repetition penalty, the temperature, top-k, top-p, min-p, and a draw.
// With the same seed they give the same tokens on every CPU: probabilities are computed by package neon's exponential,
// sums run in the order of the tokens' ranks, and the generator is PCG.
package sample

import (
	"cmp"
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
	}
	return nil
}

// candidate is a token that may be drawn.
type candidate struct {
	id uint32
	p  float32 // logit, then probability
}

// Sampler samples one sequence. It allocates nothing after New.
type Sampler struct {
	p          Params
	vocab      int
	rng        *rand.Rand
	logits     []float32
	candidates []candidate
	seen       []uint64 // bitset of tokens
}

// New makes a sampler over the first vocab logits; rows of the embedding beyond the tokenizer are never sampled.
func New(p Params, vocab int) *Sampler {
	return &Sampler{
		p: p, vocab: vocab, rng: rand.New(rand.NewPCG(p.Seed, 0x62696d616d6261)),
		logits: make([]float32, vocab), candidates: make([]candidate, 0, vocab), seen: make([]uint64, (vocab+63)/64),
	}
}

// Next chooses a token. history is the tokens that the repetition penalty looks at. logits is not changed.
// The error says that no token can be chosen: the logits are not numbers.
func (s *Sampler) Next(logits []float32, history []uint32) (uint32, error) {
	if len(logits) < s.vocab {
		return 0, fmt.Errorf("%d logits, fewer than the %d tokens", len(logits), s.vocab)
	}
	copy(s.logits, logits)
	if k := s.p.RepetitionPenalty; k != 1 {
		s.penalise(history, k)
	}
	best, err := argmax(s.logits)
	if err != nil || s.p.Temperature == 0 {
		return best, err
	}
	return s.draw(s.logits[best]), nil
}

func (s *Sampler) penalise(history []uint32, k float32) {
	clear(s.seen)
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

// draw samples; top is the largest logit.
func (s *Sampler) draw(top float32) uint32 {
	c := s.candidates[:0]
	// Below this a token's probability, relative to the likeliest's, is under 1e-37: it is left out, so that no exponential reaches its clamp.
	floor := top - float32(85*s.p.Temperature)
	for id, v := range s.logits {
		if v >= floor {
			c = append(c, candidate{uint32(id), v})
		}
	}
	slices.SortFunc(c, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.p, a.p), cmp.Compare(a.id, b.id)) })
	if s.p.TopK > 0 {
		c = c[:min(len(c), s.p.TopK)]
	}
	var sum float32
	for i := range c {
		c[i].p = neon.Exp((c[i].p - top) / s.p.Temperature)
		sum += c[i].p
	}
	if s.p.TopP < 1 {
		limit := float32(s.p.TopP * sum)
		var acc float32
		for i := range c {
			if acc += c[i].p; acc >= limit {
				c = c[:i+1]
				break
			}
		}
	}
	if s.p.MinP > 0 {
		for i := range c {
			if c[i].p < float32(s.p.MinP*c[0].p) {
				c = c[:i]
				break
			}
		}
	}
	sum = 0
	for i := range c {
		sum += c[i].p
	}
	x := float32(s.rng.Float32() * sum)
	for i := range c {
		if x -= c[i].p; x < 0 {
			return c[i].id
		}
	}
	return c[len(c)-1].id
}

// LogProb is the natural logarithm of the probability of id, in float64.
func LogProb(logits []float32, id uint32) float64 {
	top := math.Inf(-1)
	for _, v := range logits {
		top = max(top, float64(v))
	}
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	return float64(logits[id]) - top - math.Log(sum)
}
