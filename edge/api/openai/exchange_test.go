package openai_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"bimamba/edge/chat"
)

var update = flag.Bool("update", false, "write testdata's call.json, response.json and response.sse as they are now")

// tok is a token with the likeliest ones at its place, "text" and logarithm by turns.
func tok(text string, p float64, top ...any) chat.Token {
	t := chat.Token{Bytes: []byte(text), LogProb: p}
	for i := 0; i < len(top); i += 2 {
		t.Top = append(t.Top, chat.Token{Bytes: []byte(top[i].(string)), LogProb: top[i+1].(float64)})
	}
	return t
}

var nan = math.NaN()

// exchanges are the directories of testdata: request.json is sent, call.json is what the service is asked then, response.json or .sse what the client gets.
var exchanges = []struct {
	name    string
	path    string
	session string // the header X-Session
	scripts []script
}{
	{"chat", "chat/completions", "kitchen", []script{say(chat.FinishStop, "Hello", " \"there\"\n")}},
	{"chat-stream", "chat/completions", "", []script{say(chat.FinishLength, "Grüß", " dich 🌍", "\u2028\x01")}},
	{"chat-stream-plain", "chat/completions", "", []script{say(chat.FinishStop)}},
	{"chat-history", "chat/completions", "ignored", []script{say(chat.FinishStop, "It is on.")}},
	{"chat-tools", "chat/completions", "", []script{say(chat.FinishToolCalls).withCalls(
		chat.ToolCall{ID: "call_1", Name: "HassTurnOn", Arguments: []byte(`{"name":"lamp"}`)}, chat.ToolCall{ID: "call_2", Name: "GetLiveContext"})}},
	{"chat-tools-stream", "chat/completions", "", []script{say(chat.FinishToolCalls, "One moment.").withCalls(
		chat.ToolCall{ID: "call_1", Name: "HassTurnOn", Arguments: []byte(`{"name":"lamp \"A\""}`)}, chat.ToolCall{ID: "call_2", Name: "GetLiveContext"})}},
	{"chat-json-schema", "chat/completions", "", []script{say(chat.FinishStop, `{"city":`, `"Bern"}`)}},
	{"chat-json-object", "chat/completions", "", []script{say(chat.FinishStop, `{}`)}},
	{"chat-logprobs", "chat/completions", "", []script{say(chat.FinishStop, "Hi", "€").withTokens(
		[]chat.Token{tok("Hi", -0.25, "Hi", -0.25, "Ho", -1.5)},
		[]chat.Token{tok("\xe2\x82", -0.125, "\xe2\x82", -0.125, "!", math.Inf(-1)), tok("\xac", -1e-7)})}},
	{"chat-logprobs-stream", "chat/completions", "", []script{say(chat.FinishStop, "", "€").withTokens(
		[]chat.Token{tok("\xe2\x82", -0.125)}, []chat.Token{tok("\xac", -1e-7)})}},
	{"completion", "completions", "", []script{say(chat.FinishStop, " upon", " a time")}},
	{"completion-stream", "completions", "", []script{say(chat.FinishStop, " upon", " a tïme").withTokens(
		[]chat.Token{tok(" upon", -0.5, " upon", -0.5, "!", -1.)}, []chat.Token{tok(" a", -0.25, "the", -0.125), tok(" tïme", -0.25)}), say(chat.FinishLength, "…")}},
	{"completion-many", "completions", "", []script{say(chat.FinishStop, " one"), say(chat.FinishLength, " two")}},
	{"completion-echo-none", "completions", "", []script{
		say(chat.FinishStop, "x").withTokens([]chat.Token{tok("x", -3)}).withPrompt(tok("ab", nan), tok("c", -2))}},
	{"completion-echo-stream", "completions", "", []script{
		say(chat.FinishStop, " d").withTokens([]chat.Token{tok(" d", -3)}).withPrompt(tok("a\xc3", nan), tok("\xa9", -2))}},
	{"lm-eval-loglikelihood", "completions", "", []script{lmEval}},
	{"lm-eval-loglikelihood-batch", "completions", "", []script{lmEval, lmEvalEnd}},
	{"lm-eval-loglikelihood-text", "completions", "", []script{lmEval}},
	{"lm-eval-generate", "completions", "", []script{say(chat.FinishStop, " 42")}},
	{"lm-eval-chat", "chat/completions", "", []script{say(chat.FinishStop, "42")}},
}

// lmEval answers "The sky is blue" (2 tokens of context, 2 of continuation) with one token; of the last prompt token another is likelier.
// Two tokens of the same text are among the likeliest.
var lmEval = say(chat.FinishLength, ".").withTokens([]chat.Token{tok(".", -0.1, ".", -0.1)}).withPrompt(
	tok("The", nan), tok(" sky", -4.123456789012345, " end", -0.75), tok(" is", -0.0625, " is", -0.0625), tok(" blue", -1.75, " red", -0.5, " red", -0.75))

// lmEvalEnd is the same, but the model ends at once.
var lmEvalEnd = say(chat.FinishStop).withPrompt(
	tok("The", nan), tok(" sky", -4.123456789012345, " end", -0.75), tok(" is", -0.0625, " is", -0.0625), tok(" blue", -0.5, " blue", -0.5))

var madeID = regexp.MustCompile(`"id":"(chatcmpl|cmpl)-[A-Z2-7]{26}"`)

func TestExchanges(t *testing.T) {
	for _, x := range exchanges {
		t.Run(x.name, func(t *testing.T) {
			dir := filepath.Join("testdata", x.name)
			body, err := os.Open(filepath.Join(dir, "request.json"))
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			f := &fake{scripts: x.scripts}
			r := httptest.NewRequest("POST", "/v1/"+x.path, body)
			r.Header.Set("X-Session", x.session)
			w := httptest.NewRecorder()
			handler(f).ServeHTTP(w, r)
			if w.Code != 200 {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}

			got := w.Body.String()
			ids := madeID.FindAllString(got, -1)
			for _, id := range ids {
				if id != ids[0] {
					t.Errorf("the ids %s and %s are in one answer", ids[0], id)
				}
			}
			got = madeID.ReplaceAllString(got, `"id":"$1-ID"`)
			name, kind := "response.json", "application/json"
			if strings.HasPrefix(got, "data:") {
				name, kind = "response.sse", "text/event-stream"
			}
			if h := w.Header().Get("Content-Type"); h != kind {
				t.Errorf("Content-Type is %q", h)
			}
			call, err := json.MarshalIndent(f.got, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(dir, "call.json"), call)
			golden(t, filepath.Join(dir, name), []byte(got))
		})
	}
}

// golden compares got with a file, as JSON if it is of that kind.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	isJSON := filepath.Ext(path) == ".json"
	if *update {
		if isJSON {
			var b bytes.Buffer
			if err := json.Indent(&b, got, "", "\t"); err != nil {
				t.Fatalf("%v: %s", err, got)
			}
			got = append(b.Bytes(), '\n')
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !isJSON {
		if string(got) != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
		return
	}
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// TestLMEval reads answers as lm-evaluation-harness does: of each choice the places from the context's length up to the last but one.
func TestLMEval(t *testing.T) {
	for _, x := range []struct {
		fixture string
		greedy  []bool
		sum     []float64
	}{
		{"lm-eval-loglikelihood", []bool{false}, []float64{-1.8125}},
		{"lm-eval-loglikelihood-batch", []bool{false, true}, []float64{-1.8125, -0.5625}},
	} {
		body, err := os.ReadFile(filepath.Join("testdata", x.fixture, "request.json"))
		if err != nil {
			t.Fatal(err)
		}
		w := post(handler(&fake{scripts: []script{lmEval, lmEvalEnd}}), "/v1/completions", string(body))
		var reply struct {
			Choices []struct {
				Index    int
				Logprobs struct {
					TokenLogprobs []*float64            `json:"token_logprobs"`
					TopLogprobs   []map[string]*float64 `json:"top_logprobs"`
				}
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
			t.Fatal(err)
		}
		if len(reply.Choices) != len(x.sum) {
			t.Fatalf("%s: %d choices", x.fixture, len(reply.Choices))
		}
		for i, c := range reply.Choices {
			const context = 2
			places := c.Logprobs.TokenLogprobs
			if c.Index != i || len(places) != 5 || len(c.Logprobs.TopLogprobs) != 5 || places[0] != nil {
				t.Fatalf("%s: choice %d is %+v", x.fixture, i, c)
			}
			sum, greedy := 0., true
			for j := context; j < len(places)-1; j++ {
				sum += *places[j]
				most := math.Inf(-1)
				for _, p := range c.Logprobs.TopLogprobs[j] {
					most = max(most, *p)
				}
				greedy = greedy && *places[j] == most
			}
			if sum != x.sum[i] || greedy != x.greedy[i] {
				t.Errorf("%s: choice %d has sum %v, greedy %v; want %v, %v", x.fixture, i, sum, greedy, x.sum[i], x.greedy[i])
			}
		}
	}
}
