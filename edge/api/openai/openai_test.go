package openai_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bimamba/edge/api/openai"
	"bimamba/edge/chat"
)

func TestRoutes(t *testing.T) {
	const one = `{"id":"default:home","object":"model","created":1700000000,"owned_by":"bimamba"}`
	for _, x := range []struct {
		method, path string
		status       int
		body         string // for 200 the whole, else the code
		allow        string
	}{
		{"GET", "/v1/models", 200, `{"object":"list","data":[{"id":"default","object":"model","created":1700000000,"owned_by":"bimamba"},` + one + `]}`, ""},
		{"GET", "/v1/models/default:home", 200, one, ""},
		{"GET", "/v1/models/default%3Ahome", 200, one, ""},
		{"GET", "/v1/models/default:home:latest", 200, one, ""},
		{"GET", "/v1/models/org/name", 404, "model_not_found", ""},
		{"GET", "/v1/models/", 404, "unknown_url", ""},
		{"GET", "/v1/embeddings", 404, "unknown_url", ""},
		{"POST", "/v1/responses", 404, "unknown_url", ""},
		{"POST", "/v1/chat/completions/", 404, "unknown_url", ""},
		{"GET", "/v1/", 404, "unknown_url", ""},
		{"GET", "/v1/chat/completions", 405, "method_not_allowed", "POST"},
		{"PUT", "/v1/completions", 405, "method_not_allowed", "POST"},
		{"POST", "/v1/models", 405, "method_not_allowed", "GET, HEAD"},
		{"DELETE", "/v1/models/default", 405, "method_not_allowed", "GET, HEAD"},
		{"OPTIONS", "/v1/models", 405, "method_not_allowed", "GET, HEAD"},
	} {
		w := httptest.NewRecorder()
		handler(&fake{}).ServeHTTP(w, httptest.NewRequest(x.method, x.path, nil))
		name := x.method + " " + x.path
		if w.Code != x.status || w.Header().Get("Allow") != x.allow || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: status %d, header %v", name, w.Code, w.Header())
		}
		if x.status == 200 {
			if got := w.Body.String(); got != x.body {
				t.Errorf("%s: %s", name, got)
			}
			continue
		}
		if e, err := apiError(w.Body.Bytes()); err != nil || deref(e.Code) != x.body {
			t.Errorf("%s: %v, %s", name, err, w.Body)
		}
	}
}

func TestUnknownModel(t *testing.T) {
	for path, body := range map[string]string{
		"/v1/chat/completions": `{"model":"gpt-4","stream":true,"messages":[{"role":"user","content":"Hi"}]}`,
		"/v1/completions":      `{"model":"gpt-4","prompt":"Hi"}`,
	} {
		f := &fake{}
		w := post(handler(f), path, body)
		e, err := apiError(w.Body.Bytes())
		if err != nil || w.Code != 404 || deref(e.Code) != "model_not_found" || deref(e.Param) != "model" || !strings.Contains(e.Message, "gpt-4") || len(f.got) > 0 {
			t.Errorf("%s: status %d, %s", path, w.Code, w.Body)
		}
	}
}

// The zero Options: the time is now, and there is no fingerprint.
func TestDefaults(t *testing.T) {
	before := time.Now().Unix()
	w := post(openai.New(&fake{scripts: []script{say(chat.FinishStop, "x")}}, openai.Options{}), "/v1/completions", `{"prompt":"Hi"}`)
	var reply struct {
		Created     int64
		Fingerprint *string `json:"system_fingerprint"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || reply.Created < before || reply.Created > time.Now().Unix() || reply.Fingerprint != nil {
		t.Errorf("%v: %s", err, w.Body)
	}
}

func TestRequestID(t *testing.T) {
	for sent, kept := range map[string]bool{
		"": false, "abc-123": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "a b": false, "a\x7f": false, "é": false,
	} {
		r := httptest.NewRequest("GET", "/v1/models", nil)
		r.Header.Set("X-Request-Id", sent)
		w := httptest.NewRecorder()
		handler(&fake{}).ServeHTTP(w, r)
		got := w.Header().Get("X-Request-Id")
		if (got == sent) != kept || !kept && !strings.HasPrefix(got, "req_") {
			t.Errorf("%q became %q", sent, got)
		}
	}
}

// What a completion's max_tokens becomes. 0 asks the service for one that is dropped.
func TestCompletionMaxTokens(t *testing.T) {
	for body, want := range map[string]int{
		`{"prompt":"a"}`: 0, `{"prompt":"a","max_tokens":7}`: 7, `{"prompt":"a","max_tokens":0,"echo":true}`: 1, `{"prompt":"a","echo":true}`: 16,
	} {
		f := &fake{scripts: []script{say(chat.FinishStop, "x")}}
		post(handler(f), "/v1/completions", body)
		if len(f.got) != 1 || f.got[0].(chat.Completion).MaxTokens != want {
			t.Errorf("%s: %+v", body, f.got)
		}
	}
}

// seedBodies are the fixtures' and some that are wrong.
func seedBodies(f *testing.F, path string) {
	for _, x := range exchanges {
		if x.path == path {
			body, err := os.ReadFile("testdata/" + x.name + "/request.json")
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(body))
		}
	}
	for _, s := range []string{"", "null", `{"prompt":[`, `{"prompt":[[1],["a"]]}`, `{"prompt": [ ]}`, `{"messages":[{"role":"user","content":[null]}]}`, `{"stop":[null]}`} {
		f.Add(s)
	}
}

// fuzzBody checks that a body has an answer: 200, or an error that blames it. What is asked of the service keeps the promises of package chat.
func fuzzBody(f *testing.F, path string, check func(t *testing.T, request any)) {
	seedBodies(f, path)
	f.Fuzz(func(t *testing.T, body string) {
		s := &fake{scripts: []script{say(chat.FinishStop, "Gr\xc3", "\xbc\"ß").withTokens([]chat.Token{tok("\xc3", -1)}, nil).withPrompt(tok("a", nan))}}
		w := post(handler(s), "/v1/"+path, body)
		switch {
		case w.Code == 200 && len(s.got) == 0:
			t.Errorf("an answer that nobody gave: %s", w.Body)
		case w.Code == 200 && w.Header().Get("Content-Type") == "text/event-stream":
			checkEvents(t, w.Body.String())
		case w.Code == 200:
			if !json.Valid(w.Body.Bytes()) || !utf8.Valid(w.Body.Bytes()) {
				t.Errorf("not JSON: %q", w.Body)
			}
		case w.Code == 400 || w.Code == 404:
			if _, err := apiError(w.Body.Bytes()); err != nil {
				t.Errorf("status %d, %v: %s", w.Code, err, w.Body)
			}
		default:
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		for _, r := range s.got {
			check(t, r)
		}
	})
}

// checkEvents reads a stream as the SDKs do.
func checkEvents(t *testing.T, stream string) (data []string) {
	t.Helper()
	events, ok := strings.CutSuffix(stream, "data: [DONE]\n\n")
	if !ok {
		t.Fatalf("the stream does not end: %q", stream)
	}
	for event := range strings.SplitSeq(strings.TrimSuffix(events, "\n\n"), "\n\n") {
		if strings.HasPrefix(event, ": ") {
			continue
		}
		d, ok := strings.CutPrefix(event, "data: ")
		if !ok || strings.ContainsAny(d, "\r\n") || !json.Valid([]byte(d)) || !utf8.ValidString(d) {
			t.Fatalf("the event is %q", event)
		}
		data = append(data, d)
	}
	return data
}

func checkOptions(t *testing.T, o *chat.Options) {
	if o.MaxTokens < 0 || o.TopTokens < 0 || o.TopTokens > chat.MaxTopTokens || len(o.Session) > 256 || len(o.Stop) > 32 {
		t.Errorf("options %+v", o)
	}
	for _, s := range o.Stop {
		if s == "" {
			t.Error("an empty stop string")
		}
	}
}

func FuzzChatBody(f *testing.F) {
	fuzzBody(f, "chat/completions", func(t *testing.T, request any) {
		r := request.(chat.Request)
		checkOptions(t, &r.Options)
		if len(r.Messages) == 0 || (r.Choice == chat.ToolRequired && len(r.Tools) == 0) {
			t.Errorf("request %+v", r)
		}
		for _, m := range r.Messages {
			for _, c := range m.ToolCalls {
				if c.Name == "" || !json.Valid(c.Arguments) {
					t.Errorf("call %+v", c)
				}
			}
		}
	})
}

func FuzzCompletionBody(f *testing.F) {
	fuzzBody(f, "completions", func(t *testing.T, request any) {
		r := request.(chat.Completion)
		checkOptions(t, &r.Options)
		if (r.Prompt == "") == (len(r.IDs) == 0) {
			t.Errorf("request %+v", r)
		}
	})
}
