package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama/ollama/api"
)

// ollama is Ollama's own client of a daemon.
func ollama(t testing.TB, d *daemon) *api.Client {
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	return api.NewClient(u, http.DefaultClient)
}

func TestOllamaModels(t *testing.T) {
	ctx := timeout(t)
	c := ollama(t, start(t, "default"))
	const name = "bimamba-assistant-22m"
	if err := c.Heartbeat(ctx); err != nil {
		t.Error(err)
	}
	if v, err := c.Version(ctx); err != nil || v == "" {
		t.Errorf("version %q, %v", v, err)
	}
	list, err := c.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range list.Models {
		names = append(names, m.Name)
		if m.Name != m.Model || len(m.Digest) != 64 || m.Size < 1e6 || m.ModifiedAt.IsZero() || m.Details.ParameterSize != "22M" || m.Details.QuantizationLevel != "1bit" {
			t.Errorf("%+v", m)
		}
	}
	if want := []string{name + ":latest", name + ":home", name + ":assist", name + ":topics"}; !slices.Equal(names, want) {
		t.Errorf("models %v, not %v", names, want)
	}
	show, err := c.Show(ctx, &api.ShowRequest{Model: "default"})
	if err != nil {
		t.Fatal(err)
	}
	if show.Details.Format != "bimamba" || !strings.Contains(show.License, "Apache-2.0") || show.ModelInfo["bimamba.kind"] != "intent" || !strings.Contains(show.Template, "task home") {
		t.Errorf("%+v", show)
	}
	var can []string
	for _, x := range show.Capabilities {
		can = append(can, string(x))
	}
	if !slices.Equal(can, []string{"completion", "tools"}) {
		t.Errorf("capabilities %v", can)
	}

	if ps, err := c.ListRunning(ctx); err != nil || len(ps.Models) != 0 {
		t.Errorf("before a request these are in use: %+v, %v", ps, err)
	}
	// An empty prompt loads a model, and one with keep_alive 0 unloads it.
	for _, keep := range []time.Duration{time.Hour, 0} {
		req := &api.GenerateRequest{Model: "default:topics", KeepAlive: &api.Duration{Duration: keep}}
		if err := c.Generate(ctx, req, func(r api.GenerateResponse) error {
			if want := map[time.Duration]string{time.Hour: "load", 0: "unload"}[keep]; !r.Done || r.DoneReason != want {
				t.Errorf("keep_alive %v: done %v, %q", keep, r.Done, r.DoneReason)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		ps, err := c.ListRunning(ctx)
		switch {
		case err != nil:
			t.Fatal(err)
		case keep == 0 && len(ps.Models) != 0, keep > 0 && (len(ps.Models) != 1 || ps.Models[0].Name != name+":topics" || time.Until(ps.Models[0].ExpiresAt) < 50*time.Minute):
			t.Errorf("keep_alive %v: %+v", keep, ps)
		}
	}
}

// TestOllamaBase has a model that was taught no turns, and that says so.
func TestOllamaBase(t *testing.T) {
	ctx := timeout(t)
	c := ollama(t, start(t, "base"))
	show, err := c.Show(ctx, &api.ShowRequest{Model: "tiny-base"})
	if err != nil {
		t.Fatal(err)
	}
	if len(show.Capabilities) != 1 || show.Capabilities[0] != "completion" || !strings.Contains(show.Template, "plain transcript") {
		t.Errorf("%v, %q", show.Capabilities, show.Template)
	}
	err = c.Chat(ctx, &api.ChatRequest{Model: "tiny-base", Messages: []api.Message{{Role: "user", Content: "Hello."}}, Tools: lamps(t)}, func(api.ChatResponse) error { return nil })
	var e api.StatusError
	if !errors.As(err, &e) || e.StatusCode != 400 || !strings.Contains(e.ErrorMessage, "does not support tools") {
		t.Errorf("tools: %v", err)
	}
	err = c.Chat(ctx, &api.ChatRequest{Model: "llama3", Messages: []api.Message{{Role: "user", Content: "Hello."}}}, func(api.ChatResponse) error { return nil })
	if !errors.As(err, &e) || e.StatusCode != 404 || e.ErrorMessage != "model 'llama3' not found" {
		t.Errorf("another model: %v", err)
	}
}

// chat sends a request and puts the parts of the answer together.
func chat(t *testing.T, c *api.Client, req *api.ChatRequest) (whole api.ChatResponse, parts int) {
	t.Helper()
	if err := c.Chat(timeout(t), req, func(r api.ChatResponse) error {
		if whole.Done {
			t.Error("something follows the last part")
		}
		parts++
		r.Message.Content = whole.Message.Content + r.Message.Content
		r.Message.ToolCalls = append(whole.Message.ToolCalls, r.Message.ToolCalls...)
		whole = r
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !whole.Done || whole.DoneReason == "" || whole.Message.Role != "assistant" || whole.CreatedAt.IsZero() || whole.TotalDuration <= 0 {
		t.Errorf("the last part: %+v", whole)
	}
	return whole, parts
}

func TestOllamaChat(t *testing.T) {
	for _, model := range []string{"instruct", "base", "default"} {
		t.Run(model, func(t *testing.T) {
			c := ollama(t, start(t, model))
			req := &api.ChatRequest{
				Model: "default", Messages: []api.Message{{Role: "system", Content: "You are the kettle."}, {Role: "user", Content: "turn on the kitchen lights"}},
				Options: map[string]any{"seed": 3, "temperature": 0.7, "num_predict": 30, "num_ctx": 8192}, Think: &api.ThinkValue{Value: false},
			}
			streamed, parts := chat(t, c, req)
			req.Stream = new(bool)
			whole, one := chat(t, c, req)
			if one != 1 || parts < 4 {
				t.Errorf("%d parts in a stream, %d at once", parts, one)
			}
			if streamed.Message.Content != whole.Message.Content || streamed.DoneReason != whole.DoneReason || streamed.EvalCount != whole.EvalCount || streamed.PromptEvalCount != whole.PromptEvalCount {
				t.Errorf("streamed %+v\nat once %+v", streamed, whole)
			}
			if whole.EvalCount == 0 || whole.PromptEvalCount == 0 || whole.EvalDuration <= 0 {
				t.Errorf("metrics %+v", whole.Metrics)
			}
			if model == "default" && !strings.HasPrefix(whole.Message.Content, `{"intent":"HassTurnOn","area":"kitchen","domain":"light"}`) {
				t.Errorf("%q", whole.Message.Content)
			}
			// The format of an answer.
			for _, format := range []string{`"json"`, `{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9}},"required":["n"],"additionalProperties":false}`} {
				req.Format, req.Options["num_predict"], req.Options["temperature"] = json.RawMessage(format), 200, 1.5
				r, _ := chat(t, c, req)
				var v map[string]any
				if err := json.Unmarshal([]byte(r.Message.Content), &v); err != nil || v == nil || r.DoneReason != "stop" {
					t.Errorf("format %s: %q (%s), %v", format, r.Message.Content, r.DoneReason, err)
				}
				if n, ok := v["n"].(float64); format != `"json"` && (!ok || n < 1 || n > 9 || n != float64(int(n)) || len(v) != 1) {
					t.Errorf("format %s: %s", format, r.Message.Content)
				}
			}
			req.Format = json.RawMessage(`"yaml"`)
			var e api.StatusError
			if err := c.Chat(timeout(t), req, func(api.ChatResponse) error { return nil }); !errors.As(err, &e) || e.StatusCode != 400 {
				t.Errorf("format yaml: %v", err)
			}
		})
	}
}

// lamps is a tool.
func lamps(t *testing.T) (list api.Tools) {
	t.Helper()
	if err := json.Unmarshal([]byte(`[{"type":"function","function":{"name":"set_light","description":"Sets a lamp","parameters":{"type":"object",
		"properties":{"level":{"type":"integer"},"room":{"type":"string","enum":["kitchen","hall"]}},"required":["room"]}}}]`), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestOllamaTools(t *testing.T) {
	c := ollama(t, start(t, "instruct"))
	calls, texts := 0, 0
	for seed := range 10 {
		r, _ := chat(t, c, &api.ChatRequest{
			Model: "default", Messages: []api.Message{{Role: "user", Content: "More light!"}}, Tools: lamps(t), Options: map[string]any{"seed": seed, "temperature": 1.5, "num_predict": 100},
		})
		if len(r.Message.ToolCalls) == 0 {
			texts++
			continue
		}
		calls++
		call := r.Message.ToolCalls[0]
		if room, _ := call.Function.Arguments.Get("room"); len(r.Message.ToolCalls) != 1 || call.Function.Name != "set_light" || room != "kitchen" && room != "hall" || r.Message.Content != "" {
			t.Errorf("%+v", r.Message)
		}
	}
	t.Logf("%d calls, %d texts", calls, texts)
}

// TestOllamaHome is what Home Assistant sends: a sentence becomes a call, and the call's result a sentence.
func TestOllamaHome(t *testing.T) {
	b, err := os.ReadFile(root + "/edge/intent/testdata/homeassistant/turn.json")
	if err != nil {
		t.Fatal(err)
	}
	var req api.ChatRequest
	if err := json.Unmarshal(b, &req); err != nil {
		t.Fatal(err)
	}
	c := ollama(t, start(t, "default"))
	r, _ := chat(t, c, &req)
	if len(r.Message.ToolCalls) != 1 {
		t.Fatalf("%+v", r)
	}
	call := r.Message.ToolCalls[0].Function
	if area, _ := call.Arguments.Get("area"); call.Name != "HassTurnOn" || area != "Kitchen" {
		t.Errorf("%s(%s)", call.Name, call.Arguments.String())
	}
	req.Messages = append(req.Messages, r.Message, api.Message{
		Role: "tool", ToolName: call.Name, Content: `{"speech":{},"response_type":"action_done","data":{"success":[{"name":"Kitchen","type":"area","id":"kitchen"}],"failed":[]}}`,
	})
	if r, _ = chat(t, c, &req); len(r.Message.ToolCalls) != 0 || r.Message.Content == "" || r.DoneReason != "stop" {
		t.Errorf("%+v", r)
	}
}

func TestOllamaGenerate(t *testing.T) {
	for _, model := range []string{"instruct", "base", "default"} {
		for _, raw := range []bool{false, true} {
			ctx := timeout(t)
			c := ollama(t, start(t, model))
			req := &api.GenerateRequest{Model: "default", Prompt: "turn on the", Raw: raw, Options: map[string]any{"seed": 3, "temperature": 0.7, "num_predict": 20}}
			var text [2]string
			var last [2]api.GenerateResponse
			for i, stream := range []bool{true, false} {
				req.Stream = &stream
				if err := c.Generate(ctx, req, func(r api.GenerateResponse) error {
					text[i] += r.Response
					last[i] = r
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			if text[0] != text[1] || text[0] == "" || !last[0].Done || last[0].DoneReason != last[1].DoneReason || last[0].EvalCount != last[1].EvalCount {
				t.Errorf("%s, raw %v: streamed %q %+v, at once %q %+v", model, raw, text[0], last[0], text[1], last[1])
			}
		}
	}
}
