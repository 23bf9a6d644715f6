package intent

import (
	"context"
	"slices"
	"testing"

	"bimamba/edge/grammar"
	"bimamba/edge/model"
	"bimamba/edge/token"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// assistant is the default model, decoding greedily.
type assistant struct {
	m      *model.Model
	tokens *token.Tokenizer
	tasks  []memmap.Task
	eos    []uint32
	vocab  *grammar.Vocab
}

func openAssistant(t testing.TB) *assistant {
	t.Helper()
	f := testmodel.Default(t)
	m, err := model.Open(f, model.Options{Precision: model.LUT16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	tokens, err := token.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	eos := f.Manifest().Prompt.EOSIDs
	return &assistant{m, tokens, f.Manifest().Tasks, eos, grammar.NewVocab(tokens, eos)}
}

// ask is the completion for what somebody says to a home.
func (a *assistant) ask(t testing.TB, h *Home, said string, tools []Tool) string {
	t.Helper()
	u := Utterance("home", said)
	return a.complete(t, "home", u, h.Form(u, tools).Start(a.vocab))
}

// complete is the task's completion within a form.
func (a *assistant) complete(t testing.TB, task, utterance string, m *grammar.Follower[state]) string {
	t.Helper()
	i := slices.IndexFunc(a.tasks, func(k memmap.Task) bool { return k.Name == task })
	ids := a.tokens.Encode(nil, a.tasks[i].Prefix+utterance+a.tasks[i].Suffix)
	s := a.m.Session(0)
	s.Reset()
	logits := make([]float32, a.m.Hyper().VocabSize)
	if err := s.Prefill(context.Background(), ids, logits); err != nil {
		t.Fatal(err)
	}
	var out []uint32
	for left := 80; left > 0; left-- {
		mask := m.Mask(left)
		if mask == nil {
			break
		}
		best := -1
		for id := range a.tokens.Size() {
			if mask[id/64]>>(id%64)&1 != 0 && (best < 0 || logits[id] > logits[best]) {
				best = id
			}
		}
		if err := m.Accept(uint32(best)); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(a.eos, uint32(best)) {
			break
		}
		out = append(out, uint32(best))
		if err := s.Step(uint32(best), logits); err != nil {
			t.Fatal(err)
		}
	}
	return a.tokens.Decode(out)
}
