package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/memmap"
)

var lamps = []ToolDef{
	{Name: "on", Description: "Turns <a> lamp on.", Parameters: json.RawMessage(`{"type":"object", "properties":{"lamp":{"type":"integer"}},"required":["lamp"],"additionalProperties":false}`)},
	{Name: "off"},
}

// TestWithTools puts the tools into the system message.
func TestWithTools(t *testing.T) {
	const text = "You can call these tools:\n" +
		`{"name":"on","description":"Turns \u003ca\u003e lamp on.","parameters":{"type":"object","properties":{"lamp":{"type":"integer"}},"required":["lamp"],"additionalProperties":false}}` +
		"\n" + `{"name":"off"}` + "\nTo call one,"
	for _, c := range []struct {
		messages []Message
		n        int
		prefix   string
	}{
		{user("hi"), 2, text}, {[]Message{{Role: System, Text: "s"}, {Role: User, Text: "hi"}}, 2, "s\n\n" + text}, {nil, 1, text},
	} {
		got := withTools(c.messages, lamps)
		if len(got) != c.n || got[0].Role != System || !strings.HasPrefix(got[0].Text, c.prefix) || strings.Contains(got[0].Text, "%tools%") {
			t.Errorf("%+v: %+v", c.messages, got)
		}
		if len(c.messages) > 0 && c.messages[0].Role == System && c.messages[0].Text != "s" {
			t.Error("the client's message has changed")
		}
	}
}

// TestTools gets calls, or text where that is allowed, and no other tool than the one that must be called.
func TestTools(t *testing.T) {
	l := tiny(t, memmap.KindInstruct, model.Options{Prefixes: 8}, LocalOptions{})
	texts, calls := 0, 0
	for _, c := range []struct {
		choice ToolChoice
		tools  string // that may be called
	}{{ToolAuto, "on off"}, {ToolRequired, "on off"}, {"on", "on"}, {"off", "off"}, {ToolNone, ""}} {
		for seed := range uint64(12) {
			var streamed strings.Builder
			var got []ToolCall
			reply, err := l.Chat(t.Context(), &Request{Messages: user("lamp"), Tools: lamps, Choice: c.choice, Options: Options{MaxTokens: 60, Sampling: hot(seed)}},
				func(e Event) error {
					if e.ToolCall != nil {
						got = append(got, *e.ToolCall)
					}
					streamed.WriteString(e.Text)
					return nil
				})
			if err != nil {
				t.Fatal(err)
			}
			if streamed.String() != reply.Text || fmt.Sprint(got) != fmt.Sprint(reply.ToolCalls) || (reply.Finish == FinishToolCalls) != (len(got) == 1) {
				t.Errorf("%q: %+v; in parts %q and %v", c.choice, reply, streamed.String(), got)
			}
			if len(got) == 0 {
				texts++
				if c.choice == ToolRequired || c.choice == "on" || c.choice == "off" {
					t.Errorf("%q gave no call: %+v", c.choice, reply)
				}
				continue
			}
			calls++
			var args struct{ Lamp *int }
			if err := json.Unmarshal(got[0].Arguments, &args); err != nil || (args.Lamp != nil) != (got[0].Name == "on") || !strings.HasPrefix(got[0].ID, "call_") {
				t.Errorf("%q: %+v, %v", c.choice, got[0], err)
			}
			if !strings.Contains(c.tools, got[0].Name) || reply.Text != "" {
				t.Errorf("%q called %+v beside %q", c.choice, got[0], reply.Text)
			}
		}
	}
	if texts == 0 || calls < 36 {
		t.Errorf("%d texts, %d calls", texts, calls)
	}
	// The call and its result go on behind what was computed. (The call's own tokens may be others, as its white space is dropped.)
	reply, err := l.Chat(t.Context(), &Request{Messages: user("lamp"), Tools: lamps, Choice: "on", Options: Options{MaxTokens: 60, Sampling: hot(5)}}, nil)
	if err != nil || len(reply.ToolCalls) != 1 {
		t.Fatalf("%+v, %v", reply, err)
	}
	messages := append(user("lamp"), Message{Role: Assistant, ToolCalls: reply.ToolCalls}, Message{Role: Tool, Text: "done", CallID: reply.ToolCalls[0].ID})
	next, err := l.Chat(t.Context(), &Request{Messages: messages, Tools: lamps, Options: Options{MaxTokens: 5}}, nil)
	if err != nil || next.Usage.Cached < reply.Usage.Prompt {
		t.Errorf("%+v, %v; behind %+v", next, err, reply.Usage)
	}
	// A call that does not fit into the tokens is text, and says so.
	cut, err := l.Chat(t.Context(), &Request{Messages: user("lamp"), Tools: lamps, Choice: "on", Options: Options{MaxTokens: 10, Sampling: hot(5)}}, nil)
	if err != nil || len(cut.ToolCalls) > 0 || cut.Finish != FinishLength || !strings.HasPrefix(cut.Text, "{") {
		t.Errorf("%+v, %v", cut, err)
	}
}

// TestToolsAndFormat gets calls, or text of the format, and calls alone where they are required.
func TestToolsAndFormat(t *testing.T) {
	l := tiny(t, memmap.KindInstruct, model.Options{}, LocalOptions{})
	schema := json.RawMessage(`{"type":"object","properties":{"name":{"enum":["on","x"]}},"required":["name"],"additionalProperties":false}`)
	calls, texts := 0, 0
	for _, choice := range []ToolChoice{ToolAuto, ToolRequired, "off", ToolNone} {
		for seed := range uint64(12) {
			r := &Request{Messages: user("lamp"), Tools: lamps, Choice: choice, Options: Options{MaxTokens: 60, Sampling: hot(seed), Format: Format{Schema: schema}}}
			var streamed strings.Builder
			reply, err := l.Chat(t.Context(), r, func(e Event) error { streamed.WriteString(e.Text); return nil })
			if err != nil {
				t.Fatal(err)
			}
			var text map[string]string
			switch isText := json.Unmarshal([]byte(reply.Text), &text) == nil; {
			case len(reply.ToolCalls) == 1 && reply.Text == "" && choice != ToolNone && (choice != "off" || reply.ToolCalls[0].Name == "off"):
				calls++
			case len(reply.ToolCalls) == 0 && isText && len(text) == 1 && (text["name"] == "on" || text["name"] == "x") && (choice == ToolAuto || choice == ToolNone):
				texts++
			default:
				t.Errorf("%q: %+v", choice, reply)
			}
			if streamed.String() != reply.Text {
				t.Errorf("%q in parts, %q", streamed.String(), reply.Text)
			}
		}
	}
	if calls < 24 || texts < 12 || len(l.mixed.list) != 1 {
		t.Errorf("%d calls, %d texts, %d grammars", calls, texts, len(l.mixed.list))
	}
}

// TestCallReader takes answers apart, however they come in pieces.
func TestCallReader(t *testing.T) {
	for _, c := range []struct {
		tools, trim bool
		text        string
		want, call  string // the text, and the call's name and arguments
	}{
		{false, false, " \n{x", " \n{x", ""},
		{false, true, " \n x y ", "x y ", ""},
		{true, false, "\n hi {", "hi {", ""},
		{true, false, ` {"name": "f", "arguments": {"a": [1, 2]}}`, "", `f {"a": [1, 2]}`},
		{true, false, `{"name":"f"}`, "", "f {}"},
		{true, false, `{"name":"f","argu`, `{"name":"f","argu`, ""},
		{true, false, `{"name":"","arguments":{}}`, `{"name":"","arguments":{}}`, ""},
		{true, false, "", "", ""},
		{true, false, " ", "", ""},
	} {
		for size := 1; size <= len(c.text)+1; size++ {
			var text, call string
			tokens := 0
			r := &callReader{tools: c.tools, trim: c.trim, tokensOf: func(list []engine.Token) []Token { return make([]Token, len(list)) }, emit: func(e Event) error {
				text += e.Text
				tokens += len(e.Tokens)
				if e.ToolCall != nil {
					call += e.ToolCall.Name + " " + string(e.ToolCall.Arguments)
				}
				return nil
			}}
			pieces := 0
			for at := 0; at < len(c.text); at += size {
				pieces++
				if err := r.piece(engine.Piece{Text: c.text[at:min(at+size, len(c.text))], Tokens: make([]engine.Token, 1)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.end(); err != nil {
				t.Fatal(err)
			}
			if text != c.want || call != c.call || r.text.String() != c.want || (r.call != nil) != (c.call != "") || tokens != pieces {
				t.Errorf("%q by %d: %q and %q, not %q and %q; %d of %d tokens", c.text, size, text, call, c.want, c.call, tokens, pieces)
			}
		}
	}
	for text, want := range map[string]bool{
		`{"name": "f", "arguments": {}}`: true, `{"name": "g", "arguments": {}}`: false, `{"name": "f"}`: false, `{"name": "f", "arguments": {}, "a": 1}`: false, `{"Name": "f", "arguments": {}}`: false,
	} {
		r := &callReader{tools: true, format: true, names: []string{"f"}, tokensOf: func([]engine.Token) []Token { return nil }}
		if err := errors.Join(r.piece(engine.Piece{Text: text}), r.end()); err != nil || (r.call != nil) != want || (r.text.String() == text) == want {
			t.Errorf("%s with a format: %+v, %q, %v", text, r.call, r.text.String(), err)
		}
	}
	broken := errors.New("broken pipe")
	for _, text := range []string{`{"name":"f"}`, `{"name"`} {
		r := &callReader{tools: true, tokensOf: func([]engine.Token) []Token { return nil }, emit: func(Event) error { return broken }}
		if err := r.piece(engine.Piece{Text: text}); err != nil {
			t.Errorf("%q was handed out before its end: %v", text, err)
		}
		if err := r.end(); !errors.Is(err, broken) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if a, b := NewCallID(), NewCallID(); a == b || len(a) != 25 {
		t.Errorf("%q and %q", a, b)
	}
}
