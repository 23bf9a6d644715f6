package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"testing"

	"github.com/ollama/ollama/api"
	"github.com/openai/openai-go/v3"
)

// energies are what answers have where the board has a sensor, in all forms (edge/chat.Energy).
var energies = []string{
	`{"joules":3.25,"above_idle_joules":1.5,"uncertainty":0.17,"samples":42,"sensor":"pi5-pmic fitted to the wall"}`,
	`{"joules":3.25,"above_idle_joules":null,"uncertainty":0.17,"samples":42,"sensor":"rapl"}`,
	`{"joules":null,"above_idle_joules":null,"uncertainty":null,"samples":3,"sensor":"rapl","reason":"too short: 3 samples, at least 10 are needed"}`,
}

// onBoard is d as if it ran on a board with a sensor, which this machine has not: energy stands where the daemon writes it.
func onBoard(t *testing.T, d *daemon, energy string) *daemon {
	target, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`"cached_tokens":\d+\}|"eval_duration":\d+`) // OpenAI's form, Ollama's
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		b = place.ReplaceAll(b, []byte(`$0,"energy":`+energy))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		r.Header.Del("Content-Length")
		return nil
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	return &daemon{url: s.URL}
}

// TestEnergy has clients that know nothing of joules read answers with them.
func TestEnergy(t *testing.T) {
	ctx := timeout(t)
	real := start(t, "default")
	for _, energy := range energies {
		if !json.Valid([]byte(energy)) {
			t.Fatal(energy)
		}
		d := onBoard(t, real, energy)
		c := sdk(d)
		params := openai.ChatCompletionNewParams{Model: "default", Messages: user("turn on the kitchen lights"), Temperature: openai.Float(0)}
		r, err := c.Chat.Completions.New(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Usage.JSON.ExtraFields["energy"]; got.Raw() != energy || r.Usage.CompletionTokens < 5 || r.Choices[0].FinishReason != "stop" {
			t.Errorf("%s of %s", got.Raw(), r.RawJSON())
		}
		params.StreamOptions.IncludeUsage = openai.Bool(true)
		var acc openai.ChatCompletionAccumulator
		stream := c.Chat.Completions.NewStreaming(ctx, params)
		seen := false
		for stream.Next() {
			chunk := stream.Current()
			seen = seen || chunk.Usage.JSON.ExtraFields["energy"].Raw() == energy
			acc.AddChunk(chunk)
		}
		if err := stream.Err(); err != nil || !seen || acc.Usage.CompletionTokens != r.Usage.CompletionTokens {
			t.Errorf("a stream: %v, %t, %+v", err, seen, acc.Usage)
		}
		o := ollama(t, d)
		for _, streamed := range []bool{false, true} {
			var last api.ChatResponse
			err := o.Chat(ctx, &api.ChatRequest{Model: "default", Stream: &streamed, Messages: []api.Message{{Role: "user", Content: "play some jazz"}}}, func(r api.ChatResponse) error {
				last = r
				return nil
			})
			if err != nil || !last.Done || last.EvalCount < 3 {
				t.Errorf("Ollama's client, stream %t: %+v, %v", streamed, last, err)
			}
		}
	}
}
