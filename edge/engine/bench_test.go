package engine

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"bimamba/edge/grammar"
	"bimamba/edge/model"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// benchmark opens the default model for so many clients, on two threads. Answers end at MaxTokens.
func benchmark(b *testing.B, clients int) *Engine {
	b.Helper()
	e, err := Open(testmodel.Default(b), Options{Model: model.Options{Precision: model.LUT16, Sessions: clients, Threads: 2}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	e.eos(nil)
	return e
}

// BenchmarkBatch is how many tokens a second clients get together.
func BenchmarkBatch(b *testing.B) {
	const n = 64
	for _, clients := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			e := benchmark(b, clients)
			prompts := testmodel.AssistantGolden(b).Cases
			for b.Loop() {
				var wg sync.WaitGroup
				for i := range clients {
					wg.Go(func() {
						if _, err := e.Generate(context.Background(), Request{Prompt: prompts[i].PromptIDs, MaxTokens: n, Sample: greedy}, nil); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			b.ReportMetric(float64(n*clients*b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

// BenchmarkMasks is what constrained decoding costs: decode-ns/token of a grammar against that without one. Answers within a grammar may be shorter.
func BenchmarkMasks(b *testing.B) {
	e := benchmark(b, 1)
	prompt := testmodel.AssistantGolden(b).Cases[0].PromptIDs
	const schema = `{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"}},"b":{"type":"integer"}},"required":["a","b"],"additionalProperties":false}`
	g, err := grammar.Schema([]byte(schema))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		g    *grammar.Grammar
	}{{"free", nil}, {"text", grammar.Text()}, {"json", grammar.JSON()}, {"schema", g}} {
		b.Run(c.name, func(b *testing.B) {
			tokens := 0
			var decode time.Duration
			for b.Loop() {
				res, err := e.Generate(context.Background(), Request{Prompt: prompt, MaxTokens: 64, Sample: greedy, Grammar: c.g}, nil)
				if err != nil {
					b.Fatal(err)
				}
				tokens += len(res.IDs)
				decode += res.Decode
			}
			b.ReportMetric(float64(decode.Nanoseconds())/float64(tokens), "decode-ns/token")
			b.ReportMetric(float64(tokens)/float64(b.N), "tokens/op")
		})
	}
}

// BenchmarkContinuation looks for a conversation of which the answer in the middle differs from what a state knows.
func BenchmarkContinuation(b *testing.B) {
	e := open(b, testmodel.Tiny(b, memmap.KindInstruct), model.LUT16)
	s := &e.loop.states.all[0]
	for _, exchanges := range []int{1000, 4000} {
		b.Run(fmt.Sprint(exchanges), func(b *testing.B) {
			for b.Loop() {
				work, _ := conversation(b, e, s, exchanges, exchanges/2)
				b.ReportMetric(float64(work), "tokens")
			}
		})
	}
	s.clear()
}
