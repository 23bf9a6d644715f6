package measure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// unsteady says which runs were throttled otherwise than others, or throttled otherwise at their end than at their start.
func unsteady(runs []Repeat) (reasons []string) {
	name := func(list []string) string {
		if len(list) == 0 {
			return "not throttled"
		}
		return strings.Join(list, ", ")
	}
	for i := range runs {
		r := &runs[i]
		switch {
		case r.Throttling > 0:
			reasons = append(reasons, fmt.Sprintf("run %d: throttling changed within it %s (%s)", i+1, times(r.Throttling), name(r.Throttled)))
		case i > 0 && !slices.Equal(r.Throttled, runs[0].Throttled):
			reasons = append(reasons, fmt.Sprintf("run %d: %s; run 1: %s", i+1, name(r.Throttled), name(runs[0].Throttled)))
		}
	}
	return reasons
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// farApart is how much runs may differ, against their median, before a reader is told.
const farApart = 0.1

// apart says by how much the runs differ, "" if that is little.
func (s *Summary) apart() string {
	var parts []string
	for _, x := range []struct {
		what string
		*Spread
	}{{"decoding", s.Decode}, {"reading prompts", s.Prefill}} {
		if x.Spread == nil || x.Median <= 0 {
			continue
		}
		if d := (x.Max - x.Min) / x.Median; d >= farApart {
			parts = append(parts, fmt.Sprintf("by %.0f %% in %s (%s to %s tokens/s)", 100*d, x.what, three(x.Min), three(x.Max)))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "runs differ " + strings.Join(parts, " and ")
}

// summarize puts the whole runs together.
func (r *runner) summarize() {
	var load, pre, dec []float64
	var prefills, decodes []*Phase
	var promptTokens, tokens, answers int
	s := &Summary{}
	more := func(to **int64, n *int64) {
		if n != nil && (*to == nil || *n > **to) {
			*to = n
		}
	}
	for i := range r.rep.Runs {
		run := &r.rep.Runs[i]
		if run.Cut {
			continue
		}
		load = append(load, run.Load.Seconds)
		pre = append(pre, run.Prefill.TokensPerSecond)
		if rate := run.Decode.TokensPerSecond; rate != nil {
			dec = append(dec, *rate)
		}
		s.NoDecode = run.Decode.NoRate
		prefills, decodes = append(prefills, &run.Prefill.Phase), append(decodes, &run.Decode.Phase)
		promptTokens, tokens, answers = promptTokens+run.Prefill.Tokens, tokens+run.Decode.Tokens, answers+run.Decode.Answers
		for _, p := range []*Phase{&run.Load.Phase, &run.Prefill.Phase, &run.Decode.Phase} {
			if m := p.Memory; m != nil {
				more(&s.PSS, m.PSS)
				more(&s.Peak, m.Peak)
				more(&s.CgroupPeak, m.CgroupPeak)
				s.NoCgroupPeak = cmp.Or(s.NoCgroupPeak, m.noPeak)
			}
			if h := p.Heat; h != nil {
				if s.Heat == nil {
					s.Heat = &Heat{h.Start, h.Max}
				}
				s.Heat.Max = max(s.Heat.Max, h.Max)
			}
			if c := p.Clock; c != nil {
				if s.Clock == nil {
					s.Clock = &Clock{c.Min, c.Max}
				}
				s.Clock.Min, s.Clock.Max = min(s.Clock.Min, c.Min), max(s.Clock.Max, c.Max)
			}
		}
	}
	if len(load) == 0 {
		return
	}
	if s.NoCgroupPeak != "" {
		s.CgroupPeak = nil // what was in the group at the end of one phase is in the peak of all
	}
	s.Load, s.Prefill, s.Decode = spread(load), spread(pre), spread(dec)
	if s.Decode != nil {
		s.NoDecode = ""
	}
	s.FirstToken, s.NextToken = r.whole.first.times(), r.whole.next.times()
	var missing [3]string
	s.PerToken, missing[0] = per(decodes, tokens)
	s.PerAnswer, missing[1] = per(decodes, answers)
	s.PerPromptToken, missing[2] = per(prefills, promptTokens)
	s.NoEnergy = missing[0]
	if missing[0] != missing[1] || missing[0] != missing[2] {
		var parts []string
		for i, what := range []string{"a token", "an answer", "a prompt's token"} {
			if missing[i] != "" {
				parts = append(parts, "of "+what+": "+missing[i])
			}
		}
		s.NoEnergy = strings.Join(parts, "; ")
	}
	if s.PerAnswer != nil {
		seconds := 0.0
		for _, p := range decodes {
			seconds += p.Seconds
		}
		watts := s.PerAnswer.Joules * float64(answers) / seconds
		uncertainty := s.PerAnswer.Uncertainty * float64(answers) / seconds
		s.Watts, s.WattsUncertainty = &watts, &uncertainty
	}
	r.rep.Summary = s
}
