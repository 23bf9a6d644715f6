package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
)

// sdk is OpenAI's client of a daemon.
func sdk(d *daemon, opts ...option.RequestOption) *openai.Client {
	c := openai.NewClient(append([]option.RequestOption{option.WithBaseURL(d.url + "/v1/"), option.WithAPIKey("none")}, opts...)...)
	return &c
}

// timeout is for all that a test asks.
func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func user(text string) []openai.ChatCompletionMessageParamUnion {
	return []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}
}

func TestOpenAIModels(t *testing.T) {
	ctx := timeout(t)
	c := sdk(start(t, "default"))
	var ids []string
	for page := c.Models.ListAutoPaging(ctx); page.Next(); {
		ids = append(ids, page.Current().ID)
	}
	const name = "bimamba-assistant-22m"
	if want := []string{name, name + ":home", name + ":assist", name + ":topics"}; !slices.Equal(ids, want) {
		t.Errorf("models %v, not %v", ids, want)
	}
	m, err := c.Models.Get(ctx, "default:topics")
	if err != nil || m.ID != name+":topics" || m.OwnedBy != "bimamba" || m.Created == 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestOpenAIChat(t *testing.T) {
	ctx := timeout(t)
	c := sdk(start(t, "default"))
	r, err := c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: "default", Messages: user("turn on the kitchen lights"), Temperature: openai.Float(0)})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"intent":"HassTurnOn","area":"kitchen","domain":"light"}` + "\nTurned on the lights"
	choice := r.Choices[0]
	if choice.Message.Content != want || choice.FinishReason != "stop" || choice.Message.Refusal != "" {
		t.Errorf("%q, %s", choice.Message.Content, choice.FinishReason)
	}
	if u := r.Usage; u.PromptTokens < 5 || u.CompletionTokens < 5 || u.TotalTokens != u.PromptTokens+u.CompletionTokens || u.PromptTokensDetails.CachedTokens != 0 {
		t.Errorf("usage %s", u.RawJSON())
	}
	again, err := c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
		Model: "bimamba-assistant-22m:home", Messages: user("turn on the kitchen lights"), Temperature: openai.Float(0), MaxCompletionTokens: openai.Int(3),
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := again.Choices[0]; s.FinishReason != "length" || !strings.HasPrefix(want, s.Message.Content) || again.Usage.CompletionTokens != 3 {
		t.Errorf("3 tokens: %s", again.RawJSON())
	}
}

func TestOpenAIStream(t *testing.T) {
	for _, model := range []string{"instruct", "base", "default"} {
		t.Run(model, func(t *testing.T) {
			ctx := timeout(t)
			c := sdk(start(t, model))
			p := openai.ChatCompletionNewParams{
				Model: "default", Messages: user("turn on the kitchen lights"), Seed: openai.Int(7), Temperature: openai.Float(0.8), MaxCompletionTokens: openai.Int(40),
				Logprobs: openai.Bool(true), TopLogprobs: openai.Int(2),
			}
			whole, err := c.Chat.Completions.New(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			p.StreamOptions.IncludeUsage = openai.Bool(true)
			s := c.Chat.Completions.NewStreaming(ctx, p)
			var acc openai.ChatCompletionAccumulator
			chunks, finished := 0, ""
			for s.Next() {
				chunks++
				if !acc.AddChunk(s.Current()) {
					t.Fatalf("chunk %d does not go with the others: %s", chunks, s.Current().RawJSON())
				}
				if text, ok := acc.JustFinishedContent(); ok {
					finished = text
				}
			}
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			got, want := acc.Choices[0], whole.Choices[0]
			if got.Message.Content != want.Message.Content || finished != want.Message.Content || got.FinishReason != want.FinishReason || got.Message.Role != "assistant" {
				t.Errorf("streamed %q (%s), at once %q (%s)", got.Message.Content, got.FinishReason, want.Message.Content, want.FinishReason)
			}
			if acc.Usage.PromptTokens != whole.Usage.PromptTokens || acc.Usage.CompletionTokens != whole.Usage.CompletionTokens {
				t.Errorf("usage %+v, at once %s", acc.Usage, whole.Usage.RawJSON())
			}
			if chunks < 5 {
				t.Errorf("only %d chunks", chunks)
			}
			if a, b := logprobs(got), logprobs(want); !slices.Equal(a, b) || int64(len(a)) != 3*whole.Usage.CompletionTokens {
				t.Errorf("logprobs %v, at once %v", a, b)
			}
		})
	}
}

// logprobs is those of each token and of the two likeliest in its place.
func logprobs(c openai.ChatCompletionChoice) (list []float64) {
	for _, t := range c.Logprobs.Content {
		list = append(list, t.Logprob)
		for _, x := range t.TopLogprobs {
			list = append(list, x.Logprob)
		}
	}
	return list
}

// TestOpenAIStreamCancel goes away in the middle of an answer, whose session is free again soon.
func TestOpenAIStreamCancel(t *testing.T) {
	d := start(t, "endless", "--sessions", "1", "--max-tokens-limit", "10000000")
	c := sdk(d)
	long := openai.ChatCompletionNewParams{Messages: user("Count for ever."), MaxCompletionTokens: openai.Int(10_000_000)}
	s := c.Chat.Completions.NewStreaming(timeout(t), long)
	for range 10 {
		if !s.Next() {
			t.Fatal(s.Err())
		}
	}
	s.Close()
	r, err := c.Chat.Completions.New(timeout(t), openai.ChatCompletionNewParams{Messages: user("Hello."), MaxCompletionTokens: openai.Int(2)})
	if err != nil || r.Usage.CompletionTokens != 2 {
		t.Errorf("after a client went away: %v, %v", r, err)
	}
}

// tools are a light and a timer.
func tools() []openai.ChatCompletionToolUnionParam {
	return []openai.ChatCompletionToolUnionParam{
		openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: "set_light", Description: openai.String("Sets a lamp"),
			Parameters: shared.FunctionParameters{
				"type": "object", "required": []string{"room", "level"}, "additionalProperties": false,
				"properties": map[string]any{
					"level": map[string]any{"type": "integer", "minimum": 0, "maximum": 100},
					"room":  map[string]any{"type": "string", "enum": []string{"kitchen", "hall"}},
				},
			},
		}),
		openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name:       "stop_timers",
			Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{}, "additionalProperties": false},
		}),
	}
}

// checkCall looks at a call of one of tools.
func checkCall(t *testing.T, name, arguments string) {
	t.Helper()
	switch name {
	case "set_light":
		var a struct {
			Room  *string
			Level *int
		}
		if err := json.Unmarshal([]byte(arguments), &a); err != nil || a.Room == nil || *a.Room != "kitchen" && *a.Room != "hall" || a.Level == nil || *a.Level < 0 || *a.Level > 100 {
			t.Errorf("set_light is called with %s: %v", arguments, err)
		}
	case "stop_timers":
		if arguments != "{}" {
			t.Errorf("stop_timers is called with %s", arguments)
		}
	default:
		t.Errorf("a call of %q", name)
	}
}

func TestOpenAITools(t *testing.T) {
	required := openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("required")}
	light := openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "set_light"})
	timers := openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "stop_timers"})
	ctx := timeout(t)
	c := sdk(start(t, "instruct"))
	for seed := range int64(12) {
		for _, choice := range []openai.ChatCompletionToolChoiceOptionUnionParam{{}, {OfAuto: openai.String("none")}, required, light, timers} {
			p := openai.ChatCompletionNewParams{
				Messages: user("More light!"), Tools: tools(), ToolChoice: choice, Seed: openai.Int(seed), Temperature: openai.Float(1), MaxCompletionTokens: openai.Int(120),
			}
			whole, err := c.Chat.Completions.New(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			m := whole.Choices[0].Message
			if len(m.ToolCalls) > 0 {
				if m.Content != "" || whole.Choices[0].FinishReason != "tool_calls" || m.ToolCalls[0].ID == "" || m.ToolCalls[0].Type != "function" {
					t.Errorf("a call: %s", whole.RawJSON())
				}
				checkCall(t, m.ToolCalls[0].Function.Name, m.ToolCalls[0].Function.Arguments)
			}
			word := choice.OfAuto.Value
			forced := word == "required" || choice.OfFunctionToolChoice != nil
			if got := len(m.ToolCalls); forced && got != 1 || word == "none" && got != 0 {
				t.Errorf("%d calls with tool_choice %q", got, word)
			}
			if named := choice.OfFunctionToolChoice; named != nil && got(m) != named.Function.Name {
				t.Errorf("%q is called, not %s, which was named", got(m), named.Function.Name)
			}

			// The same, streamed.
			s := c.Chat.Completions.NewStreaming(ctx, p)
			var acc openai.ChatCompletionAccumulator
			var finished []openai.FinishedChatCompletionToolCall
			for s.Next() {
				if !acc.AddChunk(s.Current()) {
					t.Fatalf("a chunk does not go with the others: %s", s.Current().RawJSON())
				}
				if call, ok := acc.JustFinishedToolCall(); ok {
					finished = append(finished, call)
				}
			}
			if s.Err() != nil {
				t.Fatal(s.Err())
			}
			streamed := acc.Choices[0]
			if streamed.Message.Content != m.Content || streamed.FinishReason != whole.Choices[0].FinishReason || len(finished) != len(m.ToolCalls) {
				t.Errorf("streamed %q (%s, %d calls), at once %s", streamed.Message.Content, streamed.FinishReason, len(finished), whole.RawJSON())
			} else if len(finished) > 0 && (finished[0].Name != got(m) || finished[0].Arguments != m.ToolCalls[0].Function.Arguments || finished[0].ID == "") {
				t.Errorf("streamed %+v, at once %s", finished[0], m.RawJSON())
			}
		}
	}
}

// got is the function that a message calls.
func got(m openai.ChatCompletionMessage) string {
	if len(m.ToolCalls) == 0 {
		return ""
	}
	return m.ToolCalls[0].Function.Name
}

// TestOpenAIToolTurns goes once around: a call, its result, an answer, and the next question, of which the beginning is known.
func TestOpenAIToolTurns(t *testing.T) {
	ctx := timeout(t)
	for _, model := range []string{"instruct", "default"} {
		t.Run(model, func(t *testing.T) {
			c := sdk(start(t, model))
			p := openai.ChatCompletionNewParams{Messages: user("turn on the kitchen lights"), Tools: tools(), Temperature: openai.Float(0), MaxCompletionTokens: openai.Int(100)}
			if model == "default" {
				p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
					Name: "HassTurnOn",
					Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{
						"name": map[string]any{"type": "string"}, "area": map[string]any{"type": "string"},
						"domain": map[string]any{"type": "array", "items": map[string]any{"type": "string"}},
					}},
				})}
			}
			p.ToolChoice.OfAuto = openai.String("required")
			r, err := c.Chat.Completions.New(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			m := r.Choices[0].Message
			if len(m.ToolCalls) != 1 {
				t.Fatalf("no call: %s", r.RawJSON())
			}
			if call := m.ToolCalls[0].Function; model == "default" && (call.Name != "HassTurnOn" || !strings.Contains(strings.ToLower(call.Arguments), `"kitchen"`)) {
				t.Errorf("a call of %s with %s", call.Name, call.Arguments)
			}
			p.Messages = append(p.Messages, m.ToParam(), openai.ToolMessage(`{"success":true}`, m.ToolCalls[0].ID))
			p.ToolChoice.OfAuto = openai.String("auto")
			next, err := c.Chat.Completions.New(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			if text := next.Choices[0].Message.Content; model == "default" && (text == "" || next.Choices[0].FinishReason != "stop") {
				t.Errorf("the result in words: %q", next.RawJSON())
			}
			if n := next.Usage.PromptTokensDetails.CachedTokens; model == "instruct" && n < r.Usage.PromptTokens {
				t.Errorf("of the second prompt %d tokens were known, and the first one has %d", n, r.Usage.PromptTokens)
			}
		})
	}
}

func TestOpenAIFormats(t *testing.T) {
	ctx := timeout(t)
	schema := map[string]any{
		"type": "object", "required": []string{"city", "degrees"}, "additionalProperties": false,
		"properties": map[string]any{"city": map[string]any{"type": "string", "maxLength": 20}, "degrees": map[string]any{"type": "number", "minimum": -60, "maximum": 60}},
	}
	for _, model := range []string{"instruct", "base", "default"} {
		t.Run(model, func(t *testing.T) {
			c := sdk(start(t, model))
			for seed := range int64(10) {
				p := openai.ChatCompletionNewParams{
					Messages: user("What is the weather?"), Seed: openai.Int(seed), Temperature: openai.Float(1.5), MaxCompletionTokens: openai.Int(200),
					ResponseFormat: openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{
						JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "weather", Schema: schema, Strict: openai.Bool(true)},
					}},
				}
				r, err := c.Chat.Completions.New(ctx, p)
				if err != nil {
					t.Fatal(err)
				}
				var w struct {
					City    *string
					Degrees *float64
				}
				if err := json.Unmarshal([]byte(r.Choices[0].Message.Content), &w); err != nil || r.Choices[0].FinishReason != "stop" || w.City == nil || w.Degrees == nil || math.Abs(*w.Degrees) > 60 {
					t.Errorf("json_schema: %s: %v", r.RawJSON(), err)
				}
				p.ResponseFormat = openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONObject: &shared.ResponseFormatJSONObjectParam{}}
				if r, err = c.Chat.Completions.New(ctx, p); err != nil {
					t.Fatal(err)
				}
				object := map[string]any(nil)
				if err := json.Unmarshal([]byte(r.Choices[0].Message.Content), &object); err != nil || object == nil || r.Choices[0].FinishReason != "stop" {
					t.Errorf("json_object: %s: %v", r.RawJSON(), err)
				}
			}
		})
	}
}

func TestOpenAICompletions(t *testing.T) {
	ctx := timeout(t)
	c := sdk(start(t, "base"))
	const prompt = "the kettle is on the other one"
	p := openai.CompletionNewParams{
		Model: "default", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(prompt)}, Echo: openai.Bool(true), Logprobs: openai.Int(3), MaxTokens: openai.Int(0),
	}
	text, err := c.Completions.New(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	l := text.Choices[0].Logprobs
	if n := int(text.Usage.PromptTokens); text.Choices[0].Text != prompt || strings.Join(l.Tokens, "") != prompt || len(l.Tokens) != n || len(l.TokenLogprobs) != n || len(l.TextOffset) != n ||
		text.Usage.CompletionTokens != 0 {
		t.Errorf("echo: %s", text.RawJSON())
	}
	// The client reads no list that begins with null, as the API's and this one do.
	var top []map[string]float64
	if err := json.Unmarshal([]byte(l.JSON.TopLogprobs.Raw()), &top); err != nil || len(top) != len(l.Tokens) {
		t.Fatalf("%v: %s", err, l.JSON.TopLogprobs.Raw())
	}
	for i, p := range l.TokenLogprobs {
		if i > 0 && (p >= 0 || len(top[i]) == 0) {
			t.Errorf("token %d: %g, %v", i, p, top[i])
		}
	}

	// The same prompt in token ids, which a client has from the tokenizer of its own.
	out, err := pipe(prompt, "tokenize", blob("base"), "--json")
	if err != nil {
		t.Fatal(err)
	}
	var ids struct{ IDs []int64 }
	if err := json.Unmarshal(out, &ids); err != nil || len(ids.IDs) != len(l.Tokens) {
		t.Fatalf("%v: %s", err, out)
	}
	for name, prompt := range map[string]openai.CompletionNewParamsPromptUnion{
		"ids": {OfArrayOfTokens: ids.IDs}, "lists of ids": {OfArrayOfTokenArrays: [][]int64{ids.IDs, ids.IDs[:2]}}, "texts": {OfArrayOfStrings: []string{prompt, "the"}},
	} {
		p.Prompt = prompt
		r, err := c.Completions.New(ctx, p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := r.Choices[0]; got.Text != text.Choices[0].Text || !slices.Equal(got.Logprobs.TokenLogprobs, l.TokenLogprobs) || !slices.Equal(got.Logprobs.Tokens, l.Tokens) {
			t.Errorf("%s: %s\nnot as in text\n%s", name, got.RawJSON(), text.Choices[0].RawJSON())
		}
		if name != "ids" && (len(r.Choices) != 2 || r.Choices[1].Index != 1) {
			t.Errorf("%s: %d choices", name, len(r.Choices))
		}
	}

	// A stream is what comes at once.
	p = openai.CompletionNewParams{Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfTokens: ids.IDs}, MaxTokens: openai.Int(12), Seed: openai.Int(5), Temperature: openai.Float(0.9)}
	whole, err := c.Completions.New(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	s, streamed, finish := c.Completions.NewStreaming(ctx, p), "", ""
	for s.Next() {
		for _, x := range s.Current().Choices {
			streamed += x.Text
			finish += string(x.FinishReason)
		}
	}
	if s.Err() != nil || streamed != whole.Choices[0].Text || finish != string(whole.Choices[0].FinishReason) {
		t.Errorf("streamed %q (%s, %v), at once %q (%s)", streamed, finish, s.Err(), whole.Choices[0].Text, whole.Choices[0].FinishReason)
	}
}

func TestOpenAIErrors(t *testing.T) {
	ctx := timeout(t)
	c := sdk(start(t, "base", "--max-prompt", "100"), option.WithMaxRetries(0))
	for _, x := range []struct {
		name              string
		change            func(*openai.ChatCompletionNewParams)
		status            int
		kind, code, param string
	}{
		{"model", func(p *openai.ChatCompletionNewParams) { p.Model = "gpt-5" }, 404, "not_found_error", "model_not_found", "model"},
		{"task", func(p *openai.ChatCompletionNewParams) { p.Model = "default:home" }, 404, "not_found_error", "model_not_found", "model"},
		{"temperature", func(p *openai.ChatCompletionNewParams) { p.Temperature = openai.Float(3) }, 400, "invalid_request_error", "invalid_value", "temperature"},
		{"no message", func(p *openai.ChatCompletionNewParams) { p.Messages = nil }, 400, "invalid_request_error", "invalid_value", "messages"},
		{"a long one", func(p *openai.ChatCompletionNewParams) { p.Messages = user(strings.Repeat("kettle ", 40)) }, 400, "invalid_request_error", "context_length_exceeded", ""},
		{"tools", func(p *openai.ChatCompletionNewParams) { p.Tools = tools() }, 400, "invalid_request_error", "unsupported_value", "tools"},
		{"choices", func(p *openai.ChatCompletionNewParams) { p.N = openai.Int(2) }, 400, "invalid_request_error", "unsupported_value", "n"},
		{"schema", func(p *openai.ChatCompletionNewParams) {
			p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "x", Schema: map[string]any{"not": map[string]any{}}}}
		}, 400, "invalid_request_error", "invalid_value", "schema"},
	} {
		for _, stream := range []bool{false, true} {
			p := openai.ChatCompletionNewParams{Model: "default", Messages: user("Hello.")}
			x.change(&p)
			var err error
			if stream {
				s := c.Chat.Completions.NewStreaming(ctx, p)
				for s.Next() {
				}
				err = s.Err()
			} else {
				_, err = c.Chat.Completions.New(ctx, p)
			}
			var e *openai.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: %v", x.name, err)
			} else if e.StatusCode != x.status || e.Type != x.kind || e.Code != x.code || e.Param != x.param || e.Message == "" {
				t.Errorf("%s: %d, %q, %q, %q: %s", x.name, e.StatusCode, e.Type, e.Code, e.Param, e.Message)
			}
		}
	}
}

// TestOpenAIBusy fills the only session and the queue. The client is told to come again, does, and gets its answer.
func TestOpenAIBusy(t *testing.T) {
	d := start(t, "endless", "--sessions", "1", "--queue", "1", "--max-tokens-limit", "10000000")
	var tries, refused atomic.Int32
	turned := make(chan struct{})
	var once sync.Once
	c := sdk(d, option.WithMiddleware(func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		tries.Add(1)
		resp, err := next(r)
		if err == nil && resp.StatusCode == http.StatusTooManyRequests {
			refused.Add(1)
			if resp.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			once.Do(func() { close(turned) })
		}
		return resp, err
	}))
	long := openai.ChatCompletionNewParams{Messages: user("Count for ever."), MaxCompletionTokens: openai.Int(10_000_000)}
	runs := sdk(d).Chat.Completions.NewStreaming(timeout(t), long)
	if !runs.Next() {
		t.Fatal(runs.Err())
	}
	ctx, cancel := context.WithCancel(timeout(t))
	defer cancel()
	waits := make(chan error, 1)
	client := sdk(d)
	go func() {
		_, err := client.Chat.Completions.New(ctx, long)
		waits <- err
	}()
	for i := 0; ; i++ {
		var s struct{ Sessions struct{ Active, Waiting int } }
		if d.get("/status", nil, &s); s.Sessions.Waiting == 1 {
			break
		} else if i == 1000 {
			t.Fatalf("%+v", s)
		}
		time.Sleep(5 * time.Millisecond)
	}
	short := openai.ChatCompletionNewParams{Messages: user("Hello."), MaxCompletionTokens: openai.Int(2)}
	var e *openai.Error
	if _, err := sdk(d, option.WithMaxRetries(0)).Chat.Completions.New(timeout(t), short); !errors.As(err, &e) || e.StatusCode != 429 || e.Type != "rate_limit_error" {
		t.Errorf("a full queue: %v", err)
	}
	go func() {
		<-turned
		runs.Close()
		cancel()
	}()
	r, err := c.Chat.Completions.New(timeout(t), short)
	if err != nil || r.Usage.CompletionTokens != 2 {
		t.Fatalf("%v, %v", r, err)
	}
	if tries.Load() < 2 || refused.Load() != tries.Load()-1 {
		t.Errorf("%d tries, of which %d were refused", tries.Load(), refused.Load())
	}
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that waited: %v", err)
	}
}

// TestOpenAIStop ends the daemon in the middle of a stream, which ends with an error that the client knows.
func TestOpenAIStop(t *testing.T) {
	d := start(t, "endless", "--max-tokens-limit", "10000000", "--drain-timeout", "1s")
	s := sdk(d).Chat.Completions.NewStreaming(timeout(t), openai.ChatCompletionNewParams{Messages: user("Count for ever."), MaxCompletionTokens: openai.Int(10_000_000)})
	if !s.Next() {
		t.Fatal(s.Err())
	}
	began := time.Now()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		d.stop()
	}()
	for s.Next() {
	}
	<-stopped
	if err := s.Err(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v after %v", err, time.Since(began))
	}
}
