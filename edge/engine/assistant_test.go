package engine

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"bimamba/convert"
	"bimamba/edge/model"
	"bimamba/edge/sample"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

func open(t testing.TB, blob *memmap.File, p model.Precision) *Engine {
	t.Helper()
	e, err := Open(blob, Options{Model: model.Options{Precision: p}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

var greedy = sample.Params{TopP: 1, RepetitionPenalty: 1}

// answer generates greedily from text.
func answer(t testing.TB, e *Engine, task, prompt string) *Result {
	t.Helper()
	text, err := e.TaskPrompt(task, prompt)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := e.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.Generate(context.Background(), Request{Prompt: ids, MaxTokens: 80, Sample: greedy}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// testGreedy compares prompts and greedy outputs token by token, wherever the reference was not in doubt.
func testGreedy(t *testing.T, e *Engine, g *testmodel.Golden, cases int) {
	compared := 0
	for _, c := range g.Cases[:cases] {
		text, err := e.TaskPrompt(c.Task, c.Prompt)
		if err != nil {
			t.Fatal(err)
		}
		if ids, err := e.Encode(text); err != nil || !slices.Equal(ids, c.PromptIDs) {
			t.Errorf("%q: prompt %v, not %v (%v)", c.Prompt, ids, c.PromptIDs, err)
		}
		if c.SmallestMargin <= 0.05 {
			continue
		}
		compared++
		res := answer(t, e, c.Task, c.Prompt)
		if !slices.Equal(res.IDs, c.GreedyIDs) || res.Text != c.Text || res.FinishReason != FinishStop {
			t.Errorf("%q: %v %q (%s), not %v %q", c.Prompt, res.IDs, res.Text, res.FinishReason, c.GreedyIDs, c.Text)
		}
	}
	t.Logf("%d of %d outputs compared, the others had a margin of at most 0.05", compared, cases)
}

// testPerplexity compares the perplexity of the 200 golden sequences.
func testPerplexity(t *testing.T, e *Engine, g *testmodel.Golden, tolerance float64) {
	logits := make([]float32, e.Model.Hyper().VocabSize)
	s := e.Model.Session(0)
	var nll float64
	tokens := 0
	for _, seq := range g.NLL {
		s.Reset()
		for i, id := range seq.IDs[:len(seq.IDs)-1] {
			if err := s.Step(id, logits); err != nil {
				t.Fatal(err)
			}
			nll -= sample.LogProb(logits, seq.IDs[i+1])
			tokens++
		}
	}
	got := math.Exp(nll / float64(tokens))
	if d := math.Abs(got/g.Perplexity - 1); d > tolerance {
		t.Errorf("perplexity %.6f, the reference's %.6f: %.4f %% apart, more than %.2f %%", got, g.Perplexity, 100*d, 100*tolerance)
	} else {
		t.Logf("perplexity %.6f, the reference's %.6f: %.4f %% apart", got, g.Perplexity, 100*d)
	}
}

// slow leaves a test out of -short, where the race detector or an emulator would take minutes for it.
func slow(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: runs without -short")
	}
}

// The default model: int8 head, lut16.
func TestAssistantGreedyDefault(t *testing.T) {
	slow(t)
	testGreedy(t, open(t, testmodel.Default(t), model.LUT16), testmodel.AssistantGolden(t), 20)
}

// TestAssistantShort is what runs in full under emulation of the smallest core.
func TestAssistantShort(t *testing.T) {
	testGreedy(t, open(t, testmodel.Default(t), model.LUT16), testmodel.AssistantGolden(t), 6)
}

func TestAssistantPerplexityDefault(t *testing.T) {
	slow(t)
	testPerplexity(t, open(t, testmodel.Default(t), model.LUT16), testmodel.AssistantGolden(t), 0.003)
}

// The reference checkpoint with its head kept, exact, against its own golden outputs.
func TestAssistantExact(t *testing.T) {
	slow(t)
	dir := testmodel.Shared(t, "models", "assistant")
	card, err := convert.ReadCard("../../models/default.toml")
	if err != nil {
		t.Fatal(err)
	}
	e := open(t, testmodel.Convert(t, dir, convert.Options{Head: convert.HeadKeep, Card: card}), model.Exact)
	g := testmodel.ReadGolden(t, testmodel.Shared(t, "models", "assistant", "golden.json"))
	t.Run("greedy", func(t *testing.T) { testGreedy(t, e, g, 20) })
	t.Run("perplexity", func(t *testing.T) { testPerplexity(t, e, g, 0.0002) })
}

// TestAssistantOutputs compares 200 recorded outputs of the reference checkpoint, spread over the file, to the letter: 98 % have to agree.
func TestAssistantOutputs(t *testing.T) {
	slow(t)
	b, err := os.ReadFile(testmodel.Shared(t, "models", "assistant", "outputs.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct{ Task, Prompt, Output string }
	if err := json.Unmarshal(b, &rows); err != nil {
		t.Fatal(err)
	}
	card, err := convert.ReadCard("../../models/default.toml")
	if err != nil {
		t.Fatal(err)
	}
	e := open(t, testmodel.Convert(t, testmodel.Shared(t, "models", "assistant"), convert.Options{Card: card}), model.LUT16)
	const n = 200
	same := 0
	for i := range n {
		r := rows[i*len(rows)/n]
		if got := answer(t, e, r.Task, r.Prompt).Text; got == r.Output {
			same++
		} else {
			t.Logf("%s %q: %q, recorded %q", r.Task, r.Prompt, got, r.Output)
		}
	}
	if same < 98*n/100 {
		t.Errorf("%d of %d outputs agree", same, n)
	} else {
		t.Logf("%d of %d outputs agree", same, n)
	}
}
