package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bimamba/edge/engine"
	"bimamba/edge/model"
	snapshot "bimamba/edge/state"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
)

// tiny makes a service of a small model of random weights.
func tiny(t testing.TB, kind memmap.Kind, states model.Options, opt LocalOptions) *Local {
	t.Helper()
	return serve(t, testmodel.Tiny(t, kind), states, opt)
}

func serve(t testing.TB, blob *memmap.File, states model.Options, opt LocalOptions) *Local {
	t.Helper()
	states.Precision = model.LUT16
	e, err := engine.Open(blob, engine.Options{Model: states, Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	l, err := NewLocal(e, opt)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ptr[T any](v T) *T { return &v }

// hot makes random weights write all kinds of text, the same for the same seed.
func hot(seed uint64) Sampling { return Sampling{Temperature: ptr(float32(1.5)), Seed: &seed} }

func user(text string) []Message { return []Message{{Role: User, Text: text}} }

// TestTenTurns computes each token of a conversation once, as its usage says.
func TestTenTurns(t *testing.T) {
	plain := Format{Schema: json.RawMessage(`{"type":"string"}`)} // no special tokens, which would be text in the next turn
	for _, kind := range []memmap.Kind{memmap.KindInstruct, memmap.KindBase} {
		for _, states := range []model.Options{{Sessions: 1}, {Sessions: 1, Prefixes: 8}, {Sessions: 2, Prefixes: 8}} {
			l := tiny(t, kind, states, LocalOptions{})
			messages := []Message{{Role: System, Text: "be brief, the answer is in the end"}}
			seen, once := 0, 0
			for turn := range 10 {
				messages = append(messages, Message{Role: User, Text: fmt.Sprintf("question %d on the line", turn)})
				reply, err := l.Chat(t.Context(), &Request{Messages: messages, Options: Options{MaxTokens: 6, Sampling: hot(uint64(turn)), Format: plain}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				u := reply.Usage
				// The end token was not fed, nor was the last one of an answer that was cut.
				if u.Cached > seen || u.Cached < seen-1 || u.Prompt <= seen {
					t.Errorf("%s, %+v, turn %d: %+v behind %d tokens", kind, states, turn, u, seen)
				}
				once += u.Prompt - u.Cached
				seen = u.Prompt + u.Completion
				messages = append(messages, Message{Role: Assistant, Text: reply.Text})
			}
			if once > seen {
				t.Errorf("%s: %d tokens were computed for a conversation of %d", kind, once, seen)
			}
		}
	}
}

// TestEvents are the reply in parts, with its probabilities.
func TestEvents(t *testing.T) {
	for _, kind := range []memmap.Kind{memmap.KindInstruct, memmap.KindBase} {
		l := tiny(t, kind, model.Options{}, LocalOptions{})
		for seed := range uint64(5) {
			var text string
			var tokens []Token
			r := &Request{Messages: user("hi"), Options: Options{MaxTokens: 20, Sampling: hot(seed), LogProbs: true, TopTokens: 2}}
			reply, err := l.Chat(t.Context(), r, func(e Event) error {
				text += e.Text
				tokens = append(tokens, e.Tokens...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if text != reply.Text || fmt.Sprint(tokens) != fmt.Sprint(reply.Tokens) || len(tokens) != reply.Usage.Completion || len(tokens[0].Top) != 2 {
				t.Errorf("%s: %q in parts, %q; %d and %d tokens", kind, text, reply.Text, len(tokens), len(reply.Tokens))
			}
			if again, err := l.Chat(t.Context(), r, nil); err != nil || again.Text != reply.Text {
				t.Errorf("%s: without events %q, %v", kind, again.Text, err)
			}
			broken := errors.New("broken pipe")
			if _, err := l.Chat(t.Context(), r, func(Event) error { return broken }); !errors.Is(err, broken) {
				t.Errorf("%s: emit's error came back as %v", kind, err)
			}
		}
	}
}

// TestFormats are JSON, or say that they were cut.
func TestFormats(t *testing.T) {
	schema := json.RawMessage(`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`)
	for _, kind := range []memmap.Kind{memmap.KindInstruct, memmap.KindBase} {
		l := tiny(t, kind, model.Options{}, LocalOptions{})
		for seed := range uint64(4) {
			for _, f := range []Format{{JSON: true}, {Schema: schema}} {
				for _, n := range []int{3, 40} {
					reply, err := l.Chat(t.Context(), &Request{Messages: user("hi"), Options: Options{MaxTokens: n, Sampling: hot(seed), Format: f}}, nil)
					if err != nil {
						t.Fatal(err)
					}
					if valid := json.Valid([]byte(reply.Text)); valid != (reply.Finish == FinishStop) || n == 40 && !valid {
						t.Errorf("%s, %d tokens: %q, %s", kind, n, reply.Text, reply.Finish)
					}
					var v struct{ A *int }
					if n == 40 && f.Schema != nil && (json.Unmarshal([]byte(reply.Text), &v) != nil || v.A == nil) {
						t.Errorf("%s: %q is not of the schema", kind, reply.Text)
					}
				}
			}
		}
	}
}

// TestComplete continues texts and token ids.
func TestComplete(t *testing.T) {
	base, instruct := tiny(t, memmap.KindBase, model.Options{}, LocalOptions{}), tiny(t, memmap.KindInstruct, model.Options{Prefixes: 2}, LocalOptions{})
	short := Options{MaxTokens: 3, Sampling: hot(1)}
	for _, c := range []struct {
		name string
		l    *Local
		r    Completion
		ids  int // of the prompt
	}{
		{"text", base, Completion{Prompt: "on the"}, 2},
		{"ids", base, Completion{IDs: []uint32{40, 41, 42}}, 3},
		{"raw", instruct, Completion{Prompt: "<|user|>hi", Raw: true}, 3},
		{"a turn", instruct, Completion{Prompt: "hi"}, 1 + 1 + 2 + 1},
		{"special tokens of the client's", instruct, Completion{Prompt: "<|end|>"}, 1 + 1 + 7 + 1},
		{"a system text", instruct, Completion{Prompt: "hi", System: "x"}, 1 + 2 + 1 + 2 + 1},
	} {
		c.r.Options = short
		reply, err := c.l.Complete(t.Context(), &c.r, nil)
		if err != nil || reply.Usage.Prompt != c.ids || reply.Usage.Completion > 3 {
			t.Errorf("%s: %+v, %v; not %d tokens", c.name, reply, err, c.ids)
		}
	}
	// The system text is kept for other prompts.
	r := Completion{Prompt: "other", System: "x", Options: short}
	if reply, err := instruct.Complete(t.Context(), &r, nil); err != nil || reply.Usage.Cached != 3 {
		t.Errorf("%+v, %v", reply, err)
	}

	echo := Completion{Prompt: "on the line", Echo: true, Options: Options{LogProbs: true, TopTokens: 1}}
	reply, err := base.Complete(t.Context(), &echo, nil)
	if err != nil || reply.Text != "" || reply.Usage.Completion != 0 || len(reply.Prompt) != reply.Usage.Prompt || !math.IsNaN(reply.Prompt[0].LogProb) {
		t.Fatalf("%+v, %v", reply, err)
	}
	var text []byte
	for i, x := range reply.Prompt {
		text = append(text, x.Bytes...)
		if i > 0 && (len(x.Top) != 1 || x.LogProb > x.Top[0].LogProb || x.LogProb >= 0) {
			t.Errorf("token %d: %+v", i, x)
		}
	}
	if string(text) != echo.Prompt {
		t.Errorf("%q came back as %q", echo.Prompt, text)
	}
	echo.LogProbs, echo.TopTokens, echo.MaxTokens = false, 0, 2
	if reply, err := base.Complete(t.Context(), &echo, nil); err != nil || len(reply.Prompt) != reply.Usage.Prompt || reply.Usage.Completion != 2 {
		t.Errorf("%+v, %v", reply, err)
	}
}

// TestErrors say which field is wrong.
func TestErrors(t *testing.T) {
	base := tiny(t, memmap.KindBase, model.Options{}, LocalOptions{MaxPrompt: 50})
	instruct := tiny(t, memmap.KindInstruct, model.Options{}, LocalOptions{MaxPrompt: 1000})
	tools := []ToolDef{{Name: "f"}}
	for _, c := range []struct {
		l     *Local
		r     Request
		code  Code
		param string
		text  string
	}{
		{base, Request{}, Invalid, "messages", "at least one"},
		{base, Request{Messages: []Message{{Role: User}, {Role: "robot"}}}, Invalid, "messages[1].role", `"robot"`},
		{base, Request{Model: "gpt", Messages: user("x")}, NotFound, "model", "there is"},
		{base, Request{Model: "default:home", Messages: user("x")}, NotFound, "model", "no persona or task"},
		{base, Request{Messages: user("x"), Tools: tools}, Unsupported, "tools", "does not support tools"},
		{base, Request{Messages: user(strings.Repeat("x", 60))}, TooLong, "", "at most 50"},
		{base, Request{Messages: user("x"), Options: Options{MaxTokens: -1}}, Invalid, "max_tokens", "negative"},
		{base, Request{Messages: user("x"), Options: Options{TopTokens: 21}}, Invalid, "top_logprobs", "20"},
		{base, Request{Messages: user("x"), Options: Options{Sampling: Sampling{Temperature: ptr(float32(-1))}}}, Invalid, "", "temperature -1"},
		{base, Request{Messages: user("x"), Options: Options{Sampling: Sampling{Temperature: ptr(float32(math.NaN()))}}}, Invalid, "", "temperature NaN"},
		{base, Request{Messages: user("x"), Options: Options{Format: Format{Schema: json.RawMessage(`{"type":"colour"}`)}}}, Invalid, "schema", "colour"},
		{instruct, Request{Messages: user("x"), Choice: ToolRequired}, Invalid, "tool_choice", "no tools"},
		{instruct, Request{Messages: user("x"), Tools: tools, Choice: "g"}, Invalid, "tool_choice", `"g"`},
		{instruct, Request{Messages: user("x"), Tools: append(tools, tools...)}, Invalid, "tools", `"f"`},
		{instruct, Request{Messages: user("x"), Tools: []ToolDef{{Name: "f", Parameters: json.RawMessage(`{"type":"string"}`)}}}, Invalid, "tools", "object"},
		{instruct, Request{Messages: user("x"), Tools: []ToolDef{{Name: "f", Parameters: json.RawMessage(`{`)}}}, Invalid, "tools", ""},
	} {
		_, err := c.l.Chat(t.Context(), &c.r, nil)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != c.code || e.Param != c.param || !strings.Contains(e.Message, c.text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %#v", c.r, err)
		}
	}
	for _, c := range []struct {
		r     Completion
		param string
	}{
		{Completion{}, ""}, {Completion{IDs: []uint32{}}, ""}, {Completion{IDs: []uint32{1, 1 << 30}}, "prompt[1]"},
	} {
		_, err := base.Complete(t.Context(), &c.r, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != Invalid || e.Param != c.param {
			t.Errorf("%+v: %#v", c.r, err)
		}
	}
	if _, err := NewLocal(&engine.Engine{}, LocalOptions{}); !errors.Is(err, engine.ErrNoTokenizer) {
		t.Errorf("without a tokenizer: %v", err)
	}
}

// TestStatus are the statuses that codes become.
func TestStatus(t *testing.T) {
	for code, want := range map[Code]int{Invalid: 400, NotFound: 404, TooLong: 400, Unsupported: 400, Busy: 429, Unavailable: 503, Timeout: 504, Internal: 500} {
		if got := Errorf(code, "", "x").Status(); got != want {
			t.Errorf("%d: %d, not %d", code, got, want)
		}
	}
}

// TestLimits caps answers and times, and says when to come again.
func TestLimits(t *testing.T) {
	l := tiny(t, memmap.KindBase, model.Options{}, LocalOptions{TokenCap: 5, MaxTokens: 3, Timeout: time.Minute})
	for n, want := range map[int]int{0: 3, 4: 4, 100: 5} {
		reply, err := l.Chat(t.Context(), &Request{Messages: user("x"), Options: Options{MaxTokens: n, Sampling: hot(3)}}, nil)
		if err != nil || reply.Usage.Completion != want || reply.Finish != FinishLength {
			t.Errorf("%d tokens: %+v, %v", n, reply, err)
		}
	}
	ask := func(ctx context.Context, l *Local) *Error {
		t.Helper()
		_, err := l.Chat(ctx, &Request{Messages: user("x"), Options: Options{Session: "s", MaxTokens: 2}}, nil)
		e, _ := errors.AsType[*Error](err)
		if e == nil && err != nil {
			return &Error{Err: err}
		}
		return e
	}
	if err := ask(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	// While the session is taken, requests wait.
	if err := l.e.Export("s", func(*snapshot.Snapshot) error {
		l.opt.Timeout = time.Millisecond
		if e := ask(t.Context(), l); e == nil || e.Code != Timeout || !strings.Contains(e.Message, "request_timeout") {
			t.Errorf("a late request gave %v", e)
		}
		l.opt.Timeout = 1 // which is over before the prompt is encoded and found too long
		_, err := l.Chat(t.Context(), &Request{Messages: user(strings.Repeat("x ", DefaultMaxPrompt))}, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != Timeout {
			t.Errorf("a request without time gave %v", err)
		}
		l.opt.Timeout = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if e := ask(ctx, l); e == nil || e.Code != Timeout {
			t.Errorf("with the client's own deadline: %v", e)
		}
		ctx, cancel = context.WithCancel(t.Context())
		left := make(chan *Error)
		for range 2 {
			go func() { left <- ask(ctx, l) }()
		}
		for l.e.Stats().Waiting < 2 {
			time.Sleep(time.Millisecond)
		}
		if e := ask(t.Context(), l); e == nil || e.Code != Busy || e.RetryAfter < time.Second {
			t.Errorf("one too many gave %v", e)
		}
		cancel()
		for range 2 {
			if e := <-left; e == nil || e.Code != 0 || !errors.Is(e, context.Canceled) {
				t.Errorf("a request whose client has left gave %v", e)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	l.e.Close()
	if e := ask(t.Context(), l); e == nil || e.Code != Unavailable || e.RetryAfter == 0 {
		t.Errorf("behind Close: %v", e)
	}
}

// TestFailure is what a client learns of a file that cannot be read.
func TestFailure(t *testing.T) {
	b, err := os.ReadFile(testmodel.Tiny(t, memmap.KindInstruct).Name())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.bimamba")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	blob, err := memmap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	l := serve(t, blob, model.Options{}, LocalOptions{})
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	_, err = l.Chat(t.Context(), &Request{Messages: user("hi")}, nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != Unavailable || !strings.Contains(e.Message, "cut short") {
		t.Errorf("%#v", err)
	}
}

// TestModels are found by the names that clients use.
func TestModels(t *testing.T) {
	assistant := serve(t, testmodel.Default(t), model.Options{}, LocalOptions{})
	instruct := tiny(t, memmap.KindInstruct, model.Options{Prefixes: 2}, LocalOptions{})
	bake(t, instruct, instruct, "pirate", "talk like one")
	name := assistant.name
	for _, c := range []struct {
		l          *Local
		name, want string // "" for none
	}{
		{assistant, "", name}, {assistant, "default", name}, {assistant, "default:latest", name}, {assistant, name, name}, {assistant, name + ":latest", name},
		{assistant, "default:topics", name + ":topics"}, {assistant, name + ":home", name + ":home"}, {assistant, ":assist", name + ":assist"},
		{assistant, "topics", ""}, {assistant, "default:fly", ""}, {assistant, "gpt-4o", ""}, {assistant, "default:home:x", ""},
		{instruct, "", "tiny-instruct"}, {instruct, "Tiny Instruct", "tiny-instruct"}, {instruct, "tiny-instruct", "tiny-instruct"},
		{instruct, "pirate", "tiny-instruct:pirate"}, {instruct, "pirate:latest", "tiny-instruct:pirate"}, {instruct, "default:pirate", "tiny-instruct:pirate"},
		{instruct, "pirate:x", ""}, {instruct, "tiny-instruct:home", ""},
	} {
		info, err := c.l.Find(c.name)
		if e, ok := errors.AsType[*Error](err); info.Name != c.want || c.want == "" && (!ok || e.Code != NotFound || e.Param != "model") {
			t.Errorf("%q: %q, not %q (%v)", c.name, info.Name, c.want, err)
		}
	}
	names := func(l *Local) (list []string) {
		for _, info := range l.Models() {
			found, err := l.Find(info.Name)
			if err != nil || fmt.Sprintf("%+v", found) != fmt.Sprintf("%+v", info) {
				t.Errorf("%+v is found as %+v, %v", info, found, err)
			}
			list = append(list, info.Name)
		}
		return list
	}
	if got, want := names(assistant), []string{name, name + ":home", name + ":assist", name + ":topics"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if got, want := names(instruct), []string{"tiny-instruct", "tiny-instruct:pirate"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	for _, c := range []struct {
		l     *Local
		name  string
		tools bool
		task  string
		turns string
	}{
		{assistant, "", true, "home", "task home"}, {assistant, "default:topics", false, "topics", "task topics"},
		{instruct, "pirate", true, "", "<|user|>"}, {tiny(t, memmap.KindBase, model.Options{}, LocalOptions{}), "", false, "", "plain transcript"},
	} {
		info, err := c.l.Find(c.name)
		if err != nil || info.Tools != c.tools || info.Task != c.task || !strings.Contains(info.Turns, c.turns) || info.Quantization != "1bit" ||
			len(info.Digest) != 64 || info.Size <= 0 || info.Resident < info.Size || info.Parameters <= 0 || info.Modified.Before(time.Unix(1e9, 0)) {
			t.Errorf("%q: %+v, %v", c.name, info, err)
		}
	}
	for in, want := range map[string]string{"A b/C": "a-b-c", " x.y_Z-1 ": "x.y_z-1", "": "bimamba", "é:": "--"} {
		if got := canonical(in); got != want {
			t.Errorf("canonical %q: %q, not %q", in, got, want)
		}
	}
}

// bake bakes a persona of one service and serves it by another.
func bake(t *testing.T, by, at *Local, name, system string) {
	t.Helper()
	var b bytes.Buffer
	if err := by.Bake(t.Context(), name, system, func(s *snapshot.Snapshot) error { return snapshot.Write(&b, s) }); err != nil {
		t.Fatal(err)
	}
	if err := at.Persona(name, &b); err != nil {
		t.Fatal(err)
	}
}

// TestPersona answers as the same system text does, without computing it.
func TestPersona(t *testing.T) {
	blob := testmodel.Tiny(t, memmap.KindInstruct)
	plain, l := serve(t, blob, model.Options{}, LocalOptions{}), serve(t, blob, model.Options{Prefixes: 2}, LocalOptions{})
	const system = "the pirate answers in the end"
	bake(t, plain, l, "pirate", system)
	r := Request{Messages: user("hi"), Options: Options{MaxTokens: 12, Sampling: hot(2)}}
	withSystem := r
	withSystem.Messages = append([]Message{{Role: System, Text: system}}, r.Messages...)
	want, err := plain.Chat(t.Context(), &withSystem, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Model, withSystem.Model = "pirate", "default:pirate"
	for i, x := range []Request{r, withSystem} {
		got, err := l.Chat(t.Context(), &x, nil)
		if err != nil || got.Text != want.Text || got.Usage.Prompt != want.Usage.Prompt || got.Model != "tiny-instruct:pirate" || got.Usage.Cached < 15 {
			t.Errorf("%d: %+v, %v; not %+v", i, got, err, want)
		}
	}
	c := Completion{Model: "pirate", Prompt: "hi", Options: r.Options}
	if got, err := l.Complete(t.Context(), &c, nil); err != nil || got.Text != want.Text {
		t.Errorf("%+v, %v", got, err)
	}
	if info, err := l.Find("pirate"); err != nil || info.System != system || info.Persona != "pirate" {
		t.Errorf("%+v, %v", info, err)
	}

	var b bytes.Buffer
	if err := plain.Bake(t.Context(), "x", "short", func(s *snapshot.Snapshot) error { return snapshot.Write(&b, s) }); err != nil {
		t.Fatal(err)
	}
	base := tiny(t, memmap.KindBase, model.Options{Prefixes: 1}, LocalOptions{})
	assistant := serve(t, testmodel.Default(t), model.Options{Prefixes: 1}, LocalOptions{})
	for _, c := range []struct {
		l    *Local
		name string
		want string
	}{
		{l, "pirate", "twice"}, {l, "default", "another name"}, {l, "tiny-instruct", "another name"}, {l, "A b", "not a name"},
		{assistant, "x", "reads no system prompt"}, {assistant, "home", "another name"}, {base, "x", "made with model"},
		{plain, "x", "no room"},
	} {
		err := c.l.Persona(c.name, bytes.NewReader(b.Bytes()))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not about %q", c.name, err, c.want)
		}
	}
	if err := l.Persona("half", bytes.NewReader(b.Bytes()[:b.Len()/2])); !errors.Is(err, snapshot.ErrDamaged) {
		t.Errorf("half a file: %v", err)
	}
	if err := assistant.Bake(t.Context(), "x", "y", nil); err == nil || !strings.Contains(err.Error(), "reads no system prompt") {
		t.Errorf("baking an intent model: %v", err)
	}
	if err := l.Bake(t.Context(), "x", "y", func(*snapshot.Snapshot) error { return io.ErrClosedPipe }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a failing writer: %v", err)
	}
}
