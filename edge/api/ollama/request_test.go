package ollama

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"bimamba/edge/chat"
)

// TestRefused is what each bad request is answered.
func TestRefused(t *testing.T) {
	user := `"messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct {
		path, body string
		status     int
		message    string // of the error, or the start of it before "…"
	}{
		{"chat", ``, 400, "the body is not JSON…"},
		{"chat", `{"model":`, 400, "the body is not JSON…"},
		{"chat", `{"model":"default"} {}`, 400, "the body is not JSON…"},
		{"chat", `[]`, 400, "a JSON array does not fit here…"},
		{"chat", `null`, 400, "model is required"},
		{"chat", `{}`, 400, "model is required"},
		{"chat", `{"model":1}`, 400, "model: a JSON number does not fit here…"},
		{"chat", `{"model":"llama3.2:1b",` + user + `}`, 404, "model 'llama3.2:1b' not found"},
		{"chat", `{"model":"default","messages":{}}`, 400, "messages: a JSON object does not fit here…"},
		{"chat", `{"model":"default","messages":[{"role":"user","content":["x"]}]}`, 400, "messages.content: a JSON array does not fit here…"},
		{"chat", `{"model":"default","messages":[{"role":"user"},{"role":"robot"}]}`, 400,
			`messages[1].role: "robot" is none of system, user, assistant and tool`},
		{"chat", `{"model":"default","messages":[{"role":"user","images":["aGk="]}]}`, 400, "messages[0].images: the model reads no images"},
		{"chat", `{"model":"default","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}]}`, 400,
			"messages[0].tool_calls[0].function.arguments: it is an object, not a text or anything else"},
		{"chat", `{"model":"default","messages":[{"role":"assistant","tool_calls":[{}]}]}`, 400,
			"messages[0].tool_calls[0].function.name: a call needs the tool's name"},
		{"chat", `{"model":"default","tools":[{"type":"web","function":{"name":"f"}}],` + user + `}`, 400, `tools[0].type: "web" is not "function"`},
		{"chat", `{"model":"default","tools":[{"type":"function"}],` + user + `}`, 400, "tools[0].function.name: a tool needs a name"},
		{"chat", `{"model":"default","tools":[{"function":{"name":"f","parameters":[]}}],` + user + `}`, 400,
			"tools[0].function.parameters: it is a JSON Schema object"},
		{"chat", `{"model":"bimamba-780m","tools":[{"function":{"name":"f"}}],` + user + `}`, 400, `"bimamba-780m" does not support tools`},
		{"chat", `{"model":"default","think":true,` + user + `}`, 400, `"default" does not support thinking`},
		{"chat", `{"model":"default","think":"high"}`, 400, `"default" does not support thinking`},
		{"chat", `{"model":"default","think":"hard",` + user + `}`, 400, `think: it is true, false, "low", "medium" or "high", not "hard"`},
		{"chat", `{"model":"default","stream":"yes"}`, 400, "stream: a JSON string does not fit here…"},
		{"chat", `{"model":"default","format":"xml",` + user + `}`, 400, `invalid format: "xml"; expected "json" or a valid JSON Schema object`},
		{"chat", `{"model":"default","format":true,` + user + `}`, 400, `invalid format: true; expected "json" or a valid JSON Schema object`},
		{"chat", `{"model":"default","keep_alive":"soon",` + user + `}`, 400, `keep_alive: "soon" is no duration; it is a number of seconds or a text as "5m"`},
		{"chat", `{"model":"default","keep_alive":true}`, 400, `keep_alive: "true" is no duration…`},
		{"chat", `{"model":"default","keep_alive":"NaN"}`, 400, `keep_alive: "NaN" is no duration`},
		{"chat", `{"model":"default","logprobs":1}`, 400, "logprobs: a JSON number does not fit here…"},
		{"chat", `{"model":"default","logprobs":true,"top_logprobs":21,` + user + `}`, 400, "top_logprobs must be between 0 and 20"},
		{"chat", `{"model":"default","top_logprobs":-1,` + user + `}`, 400, "top_logprobs must be between 0 and 20"},
		{"chat", `{"model":"default","options":[]}`, 400, "options: a JSON array does not fit here…"},
		{"chat", `{"model":"default","options":{"temperature":"hot"}}`, 400, "options.temperature: a JSON string does not fit here…"},
		{"chat", `{"model":"default","options":{"temperature":1e39},` + user + `}`, 400, "options.temperature: 1e+39 is too large"},
		{"chat", `{"model":"default","options":{"presence_penalty":-1e300},` + user + `}`, 400, "options.presence_penalty: -1e+300 is too large"},
		{"chat", `{"model":"default","options":{"seed":"1"}}`, 400, `options.seed: "1" is no whole number of 64 bits`},
		{"chat", `{"model":"default","options":{"seed":1e30}}`, 400, "options.seed: 1e30 is no whole number of 64 bits"},
		{"chat", `{"model":"default","options":{"stop":7}}`, 400, "options.stop: it is a list of texts"},
		{"chat", `{"model":"default","messages":[` + strings.Repeat("{},", 4096) + `{}]}`, 400, "messages: it has more than 4096 elements…"},
		{"chat", `{"model":"default","tools":[` + strings.Repeat("{},", 128) + `{}],` + user + `}`, 400, "tools: it has more than 128 elements…"},
		{"chat", `{"model":"default","messages":[{"role":"assistant","tool_calls":[` + strings.Repeat("{},", 64) + `{}]}]}`, 400,
			"messages[0].tool_calls: it has more than 64 elements…"},
		{"chat", `{"model":"default","messages":[{"role":"assistant","tool_calls":7}]}`, 400, "messages[0].tool_calls: a JSON number does not fit here…"},
		{"chat", `{"model":"default","options":{"stop":[` + strings.Repeat(`"a",`, 64) + `"a"]}}`, 400, "options.stop: it has more than 64 elements…"},
		{"generate", `{"model":"default","prompt":["x"]}`, 400, "prompt: a JSON array does not fit here…"},
		{"generate", `{"model":"default","context":"x"}`, 400, "context: a JSON string does not fit here…"},
		{"generate", `{"model":"default","prompt":"x","raw":true,"system":"y"}`, 400, "raw mode does not support template, system, or context"},
		{"generate", `{"model":"default","prompt":"x","raw":true,"context":[1]}`, 400, "raw mode does not support template, system, or context"},
		{"generate", `{"model":"default","prompt":"x","template":"{{ .Prompt }}"}`, 400, "template: the prompt's format is the model's own…"},
		{"generate", `{"model":"default","prompt":"x","images":["aGk="]}`, 400, "images: the model reads no images"},
		{"generate", `{"model":"default","prompt":"x","think":true}`, 400, `"default" does not support thinking`},
		{"generate", `{"model":"none","keep_alive":0}`, 404, "model 'none' not found"},
		{"show", `{}`, 400, "model is required"},
		{"show", `{"model":[]}`, 400, "model: a JSON array does not fit here…"},
		{"pull", `{"model":"` + strings.Repeat("x", 1000) + `"}`, 404, "model '" + strings.Repeat("x", 200) + "' not found"},
		{"push", `{"model":"default"}`, 501, "not supported here: push…"},
		{"create", `{"model":"default"}`, 501, "not supported here: create…"},
		{"copy", `{}`, 501, "not supported here: copy…"},
		{"embeddings", `{}`, 501, "not supported here: embeddings…"},
		{"blobs/sha256:00", ``, 501, "not supported here: blobs…"},
		{"version", ``, 405, "POST is not for this path; it takes GET and HEAD"},
		{"nothing", ``, 404, "there is no such path in this API"},
	} {
		w := do(t, clocked(&fake{}), "POST", "/api/"+c.path, c.body)
		checkLines(t, w)
		var e errorBody
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != c.status || strings.Count(w.Body.String(), "\n") != 1 {
			t.Errorf("%s %.100s: %d %s", c.path, c.body, w.Code, w.Body)
		}
		if start, cut := strings.CutSuffix(c.message, "…"); e.Error != c.message && !(cut && strings.HasPrefix(e.Error, start)) {
			t.Errorf("%s %.100s: %q, want %q", c.path, c.body, e.Error, c.message)
		}
	}
}

func TestMethods(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"HEAD", "/api/version", 200, ""}, {"HEAD", "/api/tags", 200, ""}, {"GET", "/api/ps", 200, ""},
		{"GET", "/api/chat", 405, "POST"}, {"DELETE", "/api/tags", 405, "GET, HEAD"}, {"POST", "/api/delete", 405, "DELETE"},
		{"HEAD", "/api/blobs/sha256:00", 501, ""}, {"GET", "/api/chat/x", 404, ""},
	} {
		w := do(t, clocked(&fake{}), c.method, c.path, "")
		if w.Code != c.status || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, w.Code, w.Header().Get("Allow"))
		}
	}
}

// TestVersion is read as Open WebUI reads it: numbers between dots.
func TestVersion(t *testing.T) {
	var v struct{ Version string }
	if err := json.Unmarshal(do(t, clocked(&fake{}), "GET", "/api/version", "").Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(v.Version, ".")
	if len(parts) != 3 || strings.Trim(v.Version, "0123456789.") != "" || strings.Contains(v.Version, "..") {
		t.Errorf("version %q", v.Version)
	}
}

func TestKeepAlive(t *testing.T) {
	for _, c := range []struct {
		json string
		want time.Duration
	}{
		{``, time.Hour}, {`null`, time.Hour}, {`0`, 0}, {`"0"`, 0}, {`"0s"`, 0}, {`-0`, 0}, {`1.5`, 1500 * time.Millisecond}, {`300`, 5 * time.Minute},
		{`"300s"`, 5 * time.Minute}, {`"1h30m"`, 90 * time.Minute}, {`"300"`, 5 * time.Minute}, {`-1`, forever}, {`"-1"`, forever}, {`"-1s"`, forever},
		{`1e300`, forever}, {`9223372036854775807`, forever}, {`-1e-3`, forever}, {`"inf"`, forever},
	} {
		got, err := (&shared{KeepAlive: json.RawMessage(c.json)}).keepAlive(time.Hour)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", c.json, got, err, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		json      string
		maxTokens int
		stop      string // joined by |
		seed      uint64
		hasSeed   bool
		topK      int // -1 for nil
		topP      float32
	}{
		{`{}`, 0, "", 0, false, -1, -1},
		{`{"num_predict":null,"seed":null,"stop":null,"top_k":null,"num_ctx":"big","anything":{"a":[1]}}`, 0, "", 0, false, -1, -1},
		{`{"num_predict":-1,"seed":-1}`, math.MaxInt32, "", 0, false, -1, -1},
		{`{"num_predict":-2,"top_k":-1}`, math.MaxInt32, "", 0, false, 0, -1},
		{`{"num_predict":0,"seed":0}`, math.MaxInt32, "", 0, true, -1, -1},
		{`{"num_predict":1e18,"top_k":1e18,"top_p":2}`, math.MaxInt32, "", 0, false, math.MaxInt32, 1},
		{`{"num_predict":7.9,"seed":42.0,"top_k":40.0,"top_p":0.5}`, 7, "", 42, true, 40, 0.5},
		{`{"seed":9007199254740993,"top_p":0}`, 0, "", 9007199254740993, true, -1, math.SmallestNonzeroFloat32},
		{`{"seed":-2,"stop":["a","b"]}`, 0, "a|b", math.MaxUint64 - 1, true, -1, -1},
		{`{"stop":"a"}`, 0, "a", 0, false, -1, -1},
		{`{"stop":""}`, 0, "", 0, false, -1, -1},
	} {
		var o options
		if err := json.Unmarshal([]byte(c.json), &o); err != nil {
			t.Errorf("%s: %v", c.json, err)
			continue
		}
		s, err := o.sampling()
		if err != nil || o.maxTokens() != c.maxTokens || strings.Join(o.Stop, "|") != c.stop {
			t.Errorf("%s: %v, %d tokens, stop %q", c.json, err, o.maxTokens(), o.Stop)
		}
		if (s.Seed != nil) != c.hasSeed || s.Seed != nil && *s.Seed != c.seed {
			t.Errorf("%s: seed %v", c.json, s.Seed)
		}
		if (s.TopK == nil) != (c.topK < 0) || s.TopK != nil && *s.TopK != c.topK {
			t.Errorf("%s: top_k %v", c.json, s.TopK)
		}
		if (s.TopP == nil) != (c.topP < 0) || s.TopP != nil && *s.TopP != c.topP {
			t.Errorf("%s: top_p %v", c.json, s.TopP)
		}
	}
}

// TestServiceErrors is what becomes of the service's errors before the first byte.
func TestServiceErrors(t *testing.T) {
	for _, c := range []struct {
		err     error
		status  int
		retry   string
		message string
	}{
		{chat.Errorf(chat.TooLong, "", "the prompt has 9000 tokens, more than 8192"), 400, "", "the prompt has 9000 tokens, more than 8192"},
		{chat.Errorf(chat.Invalid, "format", "no\nschema"), 400, "", "format: no; schema"},
		{chat.Errorf(chat.NotFound, "", "gone"), 404, "", "model 'default' not found"},
		{chat.Errorf(chat.Busy, "", "the queue is full"), 429, "1", "the queue is full"},
		{&chat.Error{Code: chat.Busy, Message: "the queue is full", RetryAfter: 2300 * time.Millisecond}, 429, "3", "the queue is full"},
		{chat.Errorf(chat.Unavailable, "", "stopping"), 503, "", "stopping"},
		{chat.Errorf(chat.Timeout, "", "too slow"), 504, "", "too slow"},
		{chat.Errorf(chat.Internal, "", "broken"), 500, "", "broken"},
		{http.ErrAbortHandler, 500, "", http.ErrAbortHandler.Error()},
	} {
		for _, path := range []string{"/api/chat", "/api/generate"} {
			for _, stream := range []string{"true", "false"} {
				f := &fake{err: c.err, events: []chat.Event{}}
				w := do(t, clocked(f), "POST", path, `{"model":"default","prompt":"x","messages":[{"role":"user"}],"stream":`+stream+`}`)
				var e errorBody
				if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != c.status || e.Error != c.message || w.Header().Get("Retry-After") != c.retry {
					t.Errorf("%v: %d %q, Retry-After %q", c.err, w.Code, w.Body, w.Header().Get("Retry-After"))
				}
			}
		}
	}
	w := do(t, clocked(&fake{down: true}), "POST", "/api/show", `{"model":"default"}`)
	if w.Code != 503 || w.Header().Get("Retry-After") != "2" {
		t.Errorf("without a model: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
}
