package engine

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"bimamba/edge/grammar"
	"bimamba/edge/model"
	"bimamba/edge/sample"
)

// TestGrammarLimit closes an answer in time, or says that it is cut.
func TestGrammarLimit(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Prefixes: 1}})
	g, err := grammar.Schema([]byte(`{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"array","items":{"type":"integer"}}},"required":["a"],"additionalProperties":false}`))
	if err != nil {
		t.Fatal(err)
	}
	const least = 8 // {"a":""} of bytes
	for n := 1; n <= 24; n++ {
		res := generate(t, e, Request{
			Prompt: tokens(1, 5), MaxTokens: n, Grammar: g, Borders: []int{5},
			Sample: sample.Params{Temperature: 1.5, TopP: 1, RepetitionPenalty: 1, Seed: uint64(n)},
		})
		valid := json.Valid([]byte(res.Text))
		if valid != (n >= least) || valid != (res.FinishReason == FinishStop) || len(res.IDs) > n {
			t.Errorf("%d tokens: %q, %s", n, res.Text, res.FinishReason)
		}
	}
	if res := generate(t, e, Request{Prompt: tokens(1, 5), Grammar: g, Sample: greedy}); res.Text != "" || res.FinishReason != FinishLength {
		t.Errorf("0 tokens: %+v", res)
	}
}

// TestConstraint holds an answer to a form that is begun for each request.
func TestConstraint(t *testing.T) {
	e := tiny(t, Options{})
	g := grammar.JSON()
	begun := 0
	r := Request{Prompt: tokens(1, 5), MaxTokens: 20, Sample: sample.Params{Temperature: 1.5, TopP: 1, RepetitionPenalty: 1, Seed: 3}, Grammar: g}
	want := generate(t, e, r)
	r.Grammar, r.Constraint = nil, func(v *grammar.Vocab) Constraint {
		begun++
		return g.Start(v)
	}
	if got := generate(t, e, r); got.Text != want.Text || got.FinishReason != want.FinishReason || begun != 1 {
		t.Errorf("%q (%s), not %q (%s); begun %d times", got.Text, got.FinishReason, want.Text, want.FinishReason, begun)
	}
}

// TestLogProbs are those of a plain loop of steps.
func TestLogProbs(t *testing.T) {
	e := tiny(t, Options{})
	prompt := tokens(3, 40)
	res := generate(t, e, Request{Prompt: prompt, MaxTokens: 5, Sample: greedy, LogProbs: true, PromptLogProbs: true, TopTokens: 4})
	all := slices.Concat(prompt, res.IDs)
	got := slices.Concat(res.Prompt, res.Tokens)
	if len(got) != len(all) || got[0].LogProb == got[0].LogProb {
		t.Fatalf("%d of %d tokens, the first %v", len(got), len(all), got[0])
	}
	m, err := model.Open(e.Model.Blob(), model.Options{Precision: model.LUT16})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := m.Session(0)
	s.Reset()
	logits := make([]float32, m.Hyper().VocabSize)
	for i, id := range all[:len(all)-1] {
		if err := s.Step(id, logits); err != nil {
			t.Fatal(err)
		}
		ranked := make([]uint32, e.Tokens.Size()) // rows behind them are padding
		for k := range ranked {
			ranked[k] = uint32(k)
		}
		slices.SortStableFunc(ranked, func(a, b uint32) int {
			switch {
			case logits[a] > logits[b]:
				return -1
			case logits[a] < logits[b]:
				return 1
			}
			return 0
		})
		x := got[i+1]
		if want := sample.LogProb(logits, all[i+1]); x.ID != all[i+1] || x.LogProb != want || len(x.Top) != 4 {
			t.Errorf("token %d: %v, not %d %v", i+1, x, all[i+1], want)
		}
		for k, top := range x.Top {
			if top.ID != ranked[k] || top.LogProb != sample.LogProb(logits, ranked[k]) {
				t.Errorf("token %d: the likeliest are %v, not %v", i+1, x.Top, ranked[:4])
			}
		}
	}
	// Once more, while all of the prompt is known: it is computed again.
	if again := generate(t, e, Request{Prompt: prompt, Sample: greedy, PromptLogProbs: true}); again.Cached != 0 || len(again.Prompt) != len(prompt) || again.FinishReason != FinishLength {
		t.Errorf("again: %+v", again)
	}
}

// TestStats add up.
func TestStats(t *testing.T) {
	e := tiny(t, Options{Model: model.Options{Sessions: 2, Prefixes: 3}})
	prompt := tokens(1, 20)
	generate(t, e, Request{Prompt: prompt, MaxTokens: 5, Sample: greedy})
	generate(t, e, Request{Prompt: append(slices.Clone(prompt), 50), MaxTokens: 5, Sample: greedy, Borders: []int{20}})
	want := Stats{Requests: 2, PromptTokens: 41, SampledTokens: 10, Rows: 41 + 2*4, Sessions: 2, Copies: 3, InUse: 3}
	got := e.Stats()
	if got.PrefillTime <= 0 || got.DecodeTime <= 0 || got.Passes < 2*5 {
		t.Errorf("%+v", got)
	}
	got.PrefillTime, got.DecodeTime, got.QueueTime, got.Passes = 0, 0, 0, 0
	if got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	if _, err := e.Generate(context.Background(), Request{Prompt: prompt, MaxTokens: -1, Sample: greedy}, nil); err == nil || e.Stats().Requests != 2 {
		t.Errorf("-1 tokens: %v", err)
	}
	if _, err := e.Generate(context.Background(), Request{Prompt: []uint32{1 << 20}, Sample: greedy}, nil); err == nil || !strings.Contains(err.Error(), "not within the vocabulary") {
		t.Errorf("token 1048576: %v", err)
	}
}

// TestAllocations bounds what a token of an answer allocates: its text, and no more for each token of the sequence.
func TestAllocations(t *testing.T) {
	e := tiny(t, Options{})
	run := func(n int) float64 {
		return testing.AllocsPerRun(3, func() {
			generate(t, e, Request{Prompt: tokens(1, 4), MaxTokens: n, Sample: greedy})
		})
	}
	if few, many := run(20), run(420); (many-few)/400 > 8 {
		t.Errorf("a token takes %.1f allocations", (many-few)/400)
	} else {
		t.Logf("a token takes %.1f allocations", (many-few)/400)
	}
}
