package deploy

import (
	"context"

	"bimamba/boards/slot"
	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/edge/sample"
	"bimamba/memmap"
)

const (
	goldenText   = "Turn on the light in the kitchen, please."
	goldenTokens = 16
)

// newGolden asks the model here what the board's daemon will be asked. nil: it has no tokenizer, and so the daemon serves no text.
func newGolden(ctx context.Context, f *memmap.File, how arithmetic) (*slot.Golden, error) {
	opt := model.Options{Precision: how.precision, State: how.state, Sessions: 1}
	opt.AutoThreads(f.Manifest())
	e, err := engine.Open(f, engine.Options{Model: opt})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	if e.Tokens == nil {
		return nil, nil
	}
	text := goldenText
	if tasks := f.Manifest().Tasks; len(tasks) > 0 {
		if text, err = e.TaskPrompt(tasks[0].Name, text); err != nil {
			return nil, err
		}
	}
	prompt, err := e.Encode(text)
	if err != nil {
		return nil, err
	}
	if len(prompt) == 0 { // a vocabulary without any of it
		prompt = []uint32{0}
	}
	ask := func(n int) (*engine.Result, error) {
		return e.Generate(ctx, engine.Request{Prompt: prompt, MaxTokens: n, Sample: sample.Params{TopP: 1, RepetitionPenalty: 1}, LogProbs: true}, nil)
	}
	r, err := ask(goldenTokens)
	for n := goldenTokens; err == nil && len(r.Tokens) > 0 && len(r.Tokens) != n; { // it ended earlier: what is asked for later is what comes
		n = len(r.Tokens)
		r, err = ask(n)
	}
	if err != nil || len(r.Tokens) == 0 {
		return nil, err
	}
	g := &slot.Golden{Prompt: prompt, Text: r.Text}
	for _, t := range r.Tokens {
		g.LogProbs = append(g.LogProbs, t.LogProb)
	}
	return g, nil
}
