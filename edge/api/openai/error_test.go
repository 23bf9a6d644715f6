package openai_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bimamba/edge/chat"
)

const hello = `{"messages":[{"role":"user","content":"Hi"}]}`

func TestServiceErrors(t *testing.T) {
	busy := chat.Errorf(chat.Busy, "", "the queue is full")
	busy.RetryAfter = 1500 * time.Millisecond
	starting := chat.Errorf(chat.Unavailable, "", "the model is being opened")
	starting.RetryAfter = 2 * time.Second
	for _, x := range []struct {
		err                     error
		status                  int
		kind, param, code       string
		after, afterMs, noRetry string
	}{
		{err: chat.Errorf(chat.Invalid, "messages[0].content", "bad"), status: 400, kind: "invalid_request_error", param: "messages[0].content", code: "invalid_value"},
		{err: chat.Errorf(chat.NotFound, "", "no such model"), status: 404, kind: "not_found_error", param: "model", code: "model_not_found"},
		{err: chat.Errorf(chat.TooLong, "messages", "5000 tokens"), status: 400, kind: "invalid_request_error", param: "messages", code: "context_length_exceeded"},
		{err: chat.Errorf(chat.Unsupported, "tools", "none"), status: 400, kind: "invalid_request_error", param: "tools", code: "unsupported_value"},
		{err: chat.Errorf(chat.Busy, "", "full"), status: 429, kind: "rate_limit_error", code: "rate_limit_exceeded", after: "1", afterMs: "1000"},
		{err: fmt.Errorf("wrapped: %w", busy), status: 429, kind: "rate_limit_error", code: "rate_limit_exceeded", after: "2", afterMs: "1500"},
		{err: starting, status: 503, kind: "server_error", code: "unavailable", after: "2", afterMs: "2000"},
		{err: chat.Errorf(chat.Unavailable, "", "stopping"), status: 503, kind: "server_error", code: "unavailable", noRetry: "false"},
		{err: chat.Errorf(chat.Timeout, "", "too slow"), status: 504, kind: "server_error", code: "timeout", noRetry: "false"},
		{err: context.DeadlineExceeded, status: 504, kind: "server_error", code: "timeout", noRetry: "false"},
		{err: context.Canceled, status: 503, kind: "server_error", code: "unavailable", noRetry: "false"},
		{err: chat.Errorf(chat.Internal, "", "bad state"), status: 500, kind: "server_error", code: "internal_error", noRetry: "false"},
		{err: errors.New("secret"), status: 500, kind: "server_error", code: "internal_error", noRetry: "false"},
	} {
		for _, request := range []struct{ path, body string }{
			{"/v1/chat/completions", hello},
			{"/v1/chat/completions", strings.Replace(hello, "{", `{"stream":true,`, 1)},
			{"/v1/completions", `{"prompt":"Hi"}`},
			{"/v1/completions", `{"prompt":["Hi","Ho"],"stream":true}`},
		} {
			w := post(handler(&fake{scripts: []script{{err: x.err}}}), request.path, request.body)
			e, err := apiError(w.Body.Bytes())
			if err != nil {
				t.Errorf("%v: %v", x.err, err)
				continue
			}
			if w.Code != x.status || e.Type != x.kind || deref(e.Param) != x.param || deref(e.Code) != x.code {
				t.Errorf("%v: status %d, %s", x.err, w.Code, w.Body)
			}
			h := w.Header()
			if h.Get("Retry-After") != x.after || h.Get("Retry-After-Ms") != x.afterMs || h.Get("X-Should-Retry") != x.noRetry || h.Get("Content-Type") != "application/json" {
				t.Errorf("%v: header %v", x.err, h)
			}
			if strings.Contains(e.Message, "secret") || x.err.Error() == "secret" && !strings.Contains(e.Message, h.Get("X-Request-Id")) {
				t.Errorf("%v became %q", x.err, e.Message)
			}
		}
	}
}

// An error behind the first piece is an event, and nothing comes behind it.
func TestErrorInStream(t *testing.T) {
	s := say(chat.FinishStop, "Hel", "lo")
	s.err = chat.Errorf(chat.Timeout, "", "the request's time is up")
	for path, body := range map[string]string{"/v1/chat/completions": strings.Replace(hello, "{", `{"stream":true,`, 1), "/v1/completions": `{"prompt":"Hi","stream":true}`} {
		w := post(handler(&fake{scripts: []script{s}}), path, body)
		events := strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n")
		last := events[len(events)-1]
		want := `data: {"error":{"message":"the request's time is up","type":"server_error","param":null,"code":"timeout"}}`
		if w.Code != 200 || last != want || len(events) < 3 || strings.Contains(w.Body.String(), "[DONE]") {
			t.Errorf("%s: status %d, %s", path, w.Code, w.Body)
		}
	}
}

func TestMalformed(t *testing.T) {
	long := strings.Repeat("x", 2000)
	user := func(fields string) string { return `{"messages":[{"role":"user","content":"Hi"}],` + fields + `}` }
	message := func(m string) string { return `{"messages":[{"role":"user","content":"Hi"},` + m + `]}` }
	call := func(f string) string {
		return message(`{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":` + f + `}]}`)
	}
	const tools = `"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"none"}}],`
	for _, x := range []struct{ path, body, param, code string }{
		{"chat/completions", ``, "", "invalid_value"},
		{"chat/completions", `{`, "", "invalid_value"},
		{"chat/completions", `null`, "messages", "invalid_value"},
		{"chat/completions", `[]`, "", "invalid_value"},
		{"chat/completions", hello + `{}`, "", "invalid_value"},
		{"chat/completions", strings.Repeat("[", 20000), "", "invalid_value"},
		{"chat/completions", `{"messages":[]}`, "messages", "invalid_value"},
		{"chat/completions", `{"messages":"Hi"}`, "messages", "invalid_value"},
		{"chat/completions", `{"messages":[null]}`, "messages[0].role", "invalid_value"},
		{"chat/completions", message(`{"role":"function","content":""}`), "messages[1].role", "invalid_value"},
		{"chat/completions", message(`{"role":"user"}`), "messages[1].content", "invalid_value"},
		{"chat/completions", message(`{"role":"user","content":7}`), "messages[1].content", "invalid_value"},
		{"chat/completions", message(`{"role":"user","content":["a"]}`), "messages[1].content", "invalid_value"},
		{"chat/completions", message(`{"role":"user","content":[{"type":"text","text":7}]}`), "messages[1].content.text", "invalid_value"},
		{"chat/completions", message(`{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:"}}]}`),
			"messages[1].content[1].type", "unsupported_value"},
		{"chat/completions", message(`{"role":"user","content":"a","tool_calls":[{}]}`), "messages[1].tool_calls", "invalid_value"},
		{"chat/completions", message(`{"role":"tool","content":"a"}`), "messages[1].tool_call_id", "invalid_value"},
		{"chat/completions", message(`{"role":"assistant","tool_calls":[{"type":"custom"}]}`), "messages[1].tool_calls[0].type", "unsupported_value"},
		{"chat/completions", call(`{"arguments":"{}"}`), "messages[1].tool_calls[0].function.name", "invalid_value"},
		{"chat/completions", call(`{"name":"f","arguments":"{"}`), "messages[1].tool_calls[0].function.arguments", "invalid_value"},
		{"chat/completions", call(`{"name":"f","arguments":"[]"}`), "messages[1].tool_calls[0].function.arguments", "invalid_value"},
		{"chat/completions", call(`{"name":"f","arguments":7}`), "messages[1].tool_calls[0].function.arguments", "invalid_value"},
		{"chat/completions", user(`"n":2`), "n", "unsupported_value"},
		{"chat/completions", user(`"n":0`), "n", "unsupported_value"},
		{"chat/completions", user(`"n":"1"`), "n", "invalid_value"},
		{"chat/completions", user(`"temperature":2.1`), "temperature", "invalid_value"},
		{"chat/completions", user(`"temperature":-1`), "temperature", "invalid_value"},
		{"chat/completions", user(`"temperature":1e99`), "temperature", "invalid_value"},
		{"chat/completions", user(`"temperature":NaN`), "", "invalid_value"},
		{"chat/completions", user(`"top_p":1.5`), "top_p", "invalid_value"},
		{"chat/completions", user(`"min_p":-0.5`), "min_p", "invalid_value"},
		{"chat/completions", user(`"repetition_penalty":0`), "repetition_penalty", "invalid_value"},
		{"chat/completions", user(`"presence_penalty":3`), "presence_penalty", "invalid_value"},
		{"chat/completions", user(`"frequency_penalty":-3`), "frequency_penalty", "invalid_value"},
		{"chat/completions", user(`"seed":1.5`), "seed", "invalid_value"},
		{"chat/completions", user(`"max_tokens":0`), "max_tokens", "invalid_value"},
		{"chat/completions", user(`"max_tokens":1,"max_completion_tokens":-1`), "max_completion_tokens", "invalid_value"},
		{"chat/completions", user(`"logprobs":1`), "logprobs", "invalid_value"},
		{"chat/completions", user(`"logprobs":true,"top_logprobs":21`), "top_logprobs", "invalid_value"},
		{"chat/completions", user(`"logprobs":true,"top_logprobs":-1`), "top_logprobs", "invalid_value"},
		{"chat/completions", user(`"top_logprobs":1`), "top_logprobs", "invalid_value"},
		{"chat/completions", user(`"stop":7`), "stop", "invalid_value"},
		{"chat/completions", user(`"stop":["a","b","c","d","e"]`), "stop", "invalid_value"},
		{"chat/completions", user(`"stop":["a",""]`), "stop[1]", "invalid_value"},
		{"chat/completions", user(`"stop":"` + long + `"`), "stop[0]", "invalid_value"},
		{"chat/completions", user(`"stream":"yes"`), "stream", "invalid_value"},
		{"chat/completions", user(`"stream_options":true`), "stream_options", "invalid_value"},
		{"chat/completions", user(`"prompt_cache_key":"` + long + `"`), "prompt_cache_key", "invalid_value"},
		{"chat/completions", user(`"response_format":"json"`), "response_format", "invalid_value"},
		{"chat/completions", user(`"response_format":{"type":"grammar"}`), "response_format.type", "unsupported_value"},
		{"chat/completions", user(`"response_format":{"type":"json_schema"}`), "response_format.json_schema.schema", "invalid_value"},
		{"chat/completions", user(`"tools":[{"type":"custom"}]`), "tools[0].type", "unsupported_value"},
		{"chat/completions", user(`"tools":[{"type":"function"}]`), "tools[0].function.name", "invalid_value"},
		{"chat/completions", user(`"tool_choice":"required"`), "tool_choice", "invalid_value"},
		{"chat/completions", user(tools + `"tool_choice":"f"`), "tool_choice", "invalid_value"},
		{"chat/completions", user(tools + `"tool_choice":7`), "tool_choice", "invalid_value"},
		{"chat/completions", user(tools + `"tool_choice":{"type":"allowed_tools"}`), "tool_choice.type", "unsupported_value"},
		{"chat/completions", user(tools + `"tool_choice":{"type":"function","function":{"name":"g"}}`), "tool_choice.function.name", "invalid_value"},
		{"chat/completions", user(tools + `"tool_choice":{"type":"function","function":{"name":"none"}}`), "tool_choice.function.name", "unsupported_value"},
		{"chat/completions", `{"messages":[` + strings.Repeat(`{},`, 4096) + `{}]}`, "messages", "invalid_value"},
		{"chat/completions", user(`"tools":[` + strings.Repeat(`{},`, 128) + `{}]`), "tools", "invalid_value"},
		{"chat/completions", message(`{"role":"user","content":[` + strings.Repeat(`{},`, 256) + `{}]}`), "messages[1].content", "invalid_value"},
		{"chat/completions", message(`{"role":"assistant","tool_calls":[` + strings.Repeat(`{},`, 64) + `{}]}`), "messages[1].tool_calls", "invalid_value"},
		{"chat/completions", message(`{"role":"assistant","tool_calls":7}`), "messages[1].tool_calls", "invalid_value"},
		{"chat/completions", message(`{"role":"user","content":"a","tool_calls":[` + strings.Repeat(`{},`, 64) + `{}]}`), "messages[1].tool_calls", "invalid_value"},
		{"completions", `{"prompt":[` + strings.Repeat(`[1],`, 1024) + `[1]]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[` + strings.Repeat(`1,`, 1<<20/6) + `1],"echo":true,"logprobs":5}`, "logprobs", "invalid_value"},
		{"completions", `{}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":null}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":""}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[[]]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":["a",""]}`, "prompt[1]", "invalid_value"},
		{"completions", `{"prompt":["a",[1]]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[1,"a"]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[1,null]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[[1],null]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[-1]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[4294967296]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[1.5]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":{}}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":[` + strings.Repeat(`"a",`, 1024) + `"a"]}`, "prompt", "invalid_value"},
		{"completions", `{"prompt":"a","suffix":"b"}`, "suffix", "unsupported_value"},
		{"completions", `{"prompt":"a","best_of":2}`, "best_of", "unsupported_value"},
		{"completions", `{"prompt":"a","n":2}`, "n", "unsupported_value"},
		{"completions", `{"prompt":"a","logprobs":6}`, "logprobs", "invalid_value"},
		{"completions", `{"prompt":"a","logprobs":-1}`, "logprobs", "invalid_value"},
		{"completions", `{"prompt":"a","logprobs":true}`, "logprobs", "invalid_value"},
		{"completions", `{"prompt":"a","max_tokens":0}`, "max_tokens", "invalid_value"},
		{"completions", `{"prompt":"a","max_tokens":-1,"echo":true}`, "max_tokens", "invalid_value"},
		{"completions", `{"prompt":"a","stop":[` + strings.Repeat(`"a",`, 32) + `"a"]}`, "stop", "invalid_value"},
	} {
		f := &fake{scripts: []script{say(chat.FinishStop, "x")}}
		w := post(handler(f), "/v1/"+x.path, x.body)
		e, err := apiError(w.Body.Bytes())
		if err != nil {
			t.Errorf("%.200s: status %d, %v", x.body, w.Code, err)
			continue
		}
		if w.Code != 400 || e.Type != "invalid_request_error" || deref(e.Param) != x.param || deref(e.Code) != x.code || len(e.Message) > 300 {
			t.Errorf("%.200s: status %d, %s", x.body, w.Code, w.Body)
		}
		if len(f.got) > 0 {
			t.Errorf("%.200s: the service was asked", x.body)
		}
	}
}

func TestSessionHeaderTooLong(t *testing.T) {
	r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(hello))
	r.Header.Set("X-Session", strings.Repeat("x", 257))
	w := httptest.NewRecorder()
	handler(&fake{}).ServeHTTP(w, r)
	if e, err := apiError(w.Body.Bytes()); err != nil || w.Code != 400 || deref(e.Param) != "X-Session" {
		t.Errorf("status %d, %s", w.Code, w.Body)
	}
}

// A body that the server cuts off at its limit, or that ends in the middle.
func TestBodyEnds(t *testing.T) {
	r := httptest.NewRequest("POST", "/v1/completions", io.MultiReader(strings.NewReader(`{"prompt":`), brokenReader{}))
	w := httptest.NewRecorder()
	handler(&fake{}).ServeHTTP(w, r)
	if _, err := apiError(w.Body.Bytes()); err != nil || w.Code != 400 {
		t.Errorf("status %d, %s", w.Code, w.Body)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestKept ends a request whose prompts together have too many log probabilities.
func TestKept(t *testing.T) {
	many := script{reply: chat.Reply{Finish: chat.FinishStop, Tokens: make([]chat.Token, 1<<20/6)}}
	one := script{reply: chat.Reply{Finish: chat.FinishStop, Tokens: make([]chat.Token, 5)}}
	for _, x := range []struct {
		scripts []script
		status  int
	}{{[]script{many, many}, 400}, {[]script{one, one}, 200}} {
		w := post(handler(&fake{scripts: x.scripts}), "/v1/completions", `{"prompt":["a","b"],"logprobs":5,"max_tokens":5}`)
		if w.Code != x.status || x.status == 400 && !strings.Contains(w.Body.String(), "more than 1048576 log probabilities") {
			t.Errorf("status %d, %.300s", w.Code, w.Body)
		}
	}
}
