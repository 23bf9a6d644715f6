package ollama

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bimamba/edge/chat"
	"bimamba/edge/engine"
	"bimamba/edge/sample"
)

var modified = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600))

// models are what fake answers for: two names of an intent model, and a base model.
func models() []chat.Info {
	home := chat.Info{
		Name: "default", Kind: "intent", Tools: true, Task: "home", Digest: strings.Repeat("ab", 32), Size: 5_500_000, Resident: 7_000_000,
		Modified: modified, Family: "mamba2", Parameters: 22_100_000, Quantization: "1bit", License: "Apache-2.0", Description: "Commands of a home.\nEnglish.",
		MaxPrompt: 4096, Defaults: engine.Defaults{Sample: sample.Params{TopP: 1, RepetitionPenalty: 1}, MaxTokens: 96},
		VocabSize: 4096, DModel: 256, Layer: 12, Turns: "<user>…<assistant>",
	}
	topics := home
	topics.Name, topics.Task = "default:topics", "topics"
	base := chat.Info{
		Name: "bimamba-780m", Kind: "base", Digest: strings.Repeat("cd", 32), Size: 220_000_000, Resident: 230_000_000, Modified: modified.UTC(),
		Parameters: 780_000_000, Quantization: "1bit", MaxPrompt: 8192, VocabSize: 50280, DModel: 1536, Layer: 48,
		Defaults: engine.Defaults{Sample: sample.Params{Temperature: 0.7, TopK: 40, TopP: 0.9, MinP: 0.05, RepetitionPenalty: 1.1}, MaxTokens: 256},
	}
	return []chat.Info{home, topics, base}
}

// fake answers what its fields say and keeps what it was asked.
type fake struct {
	events []chat.Event  // nil for a text or, of a chat with tools, a call
	err    error         // after the events
	down   bool          // the service has no model yet
	wait   chan struct{} // one for each event, if not nil
	gone   chan struct{} // closed when the context ended, if not nil

	mu    sync.Mutex
	asked any // *chat.Request or *chat.Completion
}

func (f *fake) Models() []chat.Info { return models() }

func (f *fake) Find(name string) (chat.Info, error) {
	if f.down {
		return chat.Info{}, &chat.Error{Code: chat.Unavailable, Message: "the model is being loaded", RetryAfter: 1500 * time.Millisecond}
	}
	name = strings.TrimSuffix(name, ":latest")
	for _, i := range models() {
		if i.Name == name {
			return i, nil
		}
	}
	return chat.Info{}, chat.Errorf(chat.NotFound, "model", "no model is called %q", name)
}

func (f *fake) Chat(ctx context.Context, r *chat.Request, emit func(chat.Event) error) (*chat.Reply, error) {
	f.keep(r)
	var events []chat.Event
	if last := r.Messages[len(r.Messages)-1]; len(r.Tools) > 0 && last.Role == chat.User {
		events = []chat.Event{
			{ToolCall: &chat.ToolCall{ID: "call_1", Name: "HassTurnOn", Arguments: json.RawMessage(`{"area": "kitchen", "domain": ["light"]}`)}},
			{ToolCall: &chat.ToolCall{ID: "call_2", Name: "HassGetDate"}},
		}
	}
	return f.answer(ctx, &r.Options, events, emit)
}

func (f *fake) Complete(ctx context.Context, r *chat.Completion, emit func(chat.Event) error) (*chat.Reply, error) {
	f.keep(r)
	return f.answer(ctx, &r.Options, nil, emit)
}

func (f *fake) keep(asked any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = asked
}

func (f *fake) answer(ctx context.Context, o *chat.Options, events []chat.Event, emit func(chat.Event) error) (*chat.Reply, error) {
	if f.events != nil {
		events = f.events
	}
	if events == nil {
		events = []chat.Event{{Text: "Light & <b>"}, {}, {Text: " \"é\" 🙂\n"}}
		if o.LogProbs {
			top := []chat.Token{{Bytes: []byte("Light"), LogProb: -0.25}, {Bytes: []byte{0xf0, 0x9f}, LogProb: math.Inf(-1)}}[:o.TopTokens]
			events[0].Tokens = []chat.Token{{Bytes: []byte("Light"), LogProb: -0.25, Top: top}}
		}
	}
	r := &chat.Reply{
		Model: "default", Finish: chat.FinishStop, Usage: chat.Usage{Prompt: 40, Cached: 32, Completion: 5},
		Timing: chat.Timing{Queued: time.Millisecond, Prefill: 2 * time.Millisecond, Decode: 3 * time.Millisecond},
	}
	if o.MaxTokens == 5 {
		r.Finish = chat.FinishLength
	}
	for _, e := range events {
		if f.wait != nil {
			select {
			case <-f.wait:
			case <-ctx.Done():
				close(f.gone)
				return nil, ctx.Err()
			}
		}
		r.Text += e.Text
		r.Tokens = append(r.Tokens, e.Tokens...)
		if e.ToolCall != nil {
			r.ToolCalls = append(r.ToolCalls, *e.ToolCall)
			r.Finish = chat.FinishToolCalls
		}
		if emit == nil {
			continue
		}
		if err := emit(e); err != nil {
			return nil, err
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return r, nil
}

// clocked makes the API with a clock that goes on by a quarter of a millisecond and a bit whenever it is read.
func clocked(f *fake) http.Handler {
	a := newAPI(f, Options{})
	t := time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC)
	a.now = func() time.Time {
		t = t.Add(250*time.Microsecond + 7)
		return t
	}
	return a.handler()
}

func do(t testing.TB, h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}
