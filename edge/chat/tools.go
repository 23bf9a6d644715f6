package chat

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"bimamba/edge/engine"
	"bimamba/edge/grammar"
)

// toolText introduces tools to a model that was taught no form for them.
const toolText = "You can call these tools:\n%tools%\nTo call one, answer with nothing but one line of JSON: " +
	`{"name": "the tool's name", "arguments": {its arguments}}` + "\nThe result comes in the next message. Without need for a tool, answer in plain text."

// withTools puts the tools into the system message.
func withTools(messages []Message, tools []ToolDef) []Message {
	var list strings.Builder
	for i, t := range tools {
		line, _ := json.Marshal(struct {
			Name        string          `json:"name"`
			Description string          `json:"description,omitempty"`
			Parameters  json.RawMessage `json:"parameters,omitempty"`
		}{t.Name, t.Description, compact(t.Parameters)})
		if i > 0 {
			list.WriteByte('\n')
		}
		list.Write(line)
	}
	text := strings.Replace(toolText, "%tools%", list.String(), 1)
	if len(messages) > 0 && messages[0].Role == System {
		out := slices.Clone(messages)
		out[0].Text += "\n\n" + text
		return out
	}
	return append([]Message{{Role: System, Text: text}}, messages...)
}

func compact(b json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if len(b) == 0 || json.Compact(&out, b) != nil {
		return nil
	}
	return out.Bytes()
}

// toolGrammar is what an answer may be when tools are offered: a call, or, if none is required, any text or what the format allows. format is its
// grammar, nil for any text.
func (l *Local) toolGrammar(tools []ToolDef, choice ToolChoice, f *Format, format *grammar.Grammar) (*grammar.Grammar, error) {
	list := make([]grammar.Tool, 0, len(tools))
	for _, t := range tools {
		if choice == ToolAuto || choice == ToolRequired || t.Name == string(choice) {
			list = append(list, grammar.Tool{Name: t.Name, Parameters: t.Parameters})
		}
	}
	calls, err := l.grammars.Tools(list, choice != ToolAuto || format != nil)
	if err != nil {
		return nil, schemaError("tools", err)
	}
	if choice != ToolAuto || format == nil {
		return calls, nil
	}
	return l.mixed.get([]any{list, f}, func() (*grammar.Grammar, error) { return grammar.Alt(calls, format), nil })
}

// callReader takes a model's answer apart into text and a call of a tool. Without a format the grammar lets nothing but a call begin with a brace.
// With one, what begins so may be JSON of the format: it is held back until its end, and a call if it has a call's two fields and a tool's name.
type callReader struct {
	emit     func(Event) error // may be nil
	tokensOf func([]engine.Token) []Token
	tools    bool
	names    []string // of the tools, for format
	format   bool     // text has to be of one
	trim     bool     // drop white space in front
	text     strings.Builder
	held     strings.Builder // a call, so far
	tokens   []engine.Token  // of it
	begun    bool
	json     bool
	call     *ToolCall
}

// piece takes the next part of the answer.
func (c *callReader) piece(p engine.Piece) error {
	text := p.Text
	if !c.begun && (c.trim || c.tools) {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
	}
	if text == "" && p.Tokens == nil {
		return nil
	}
	if !c.begun && text != "" {
		c.begun, c.json = true, c.tools && text[0] == '{'
	}
	if c.json {
		c.held.WriteString(text)
		c.tokens = append(c.tokens, p.Tokens...)
		return nil
	}
	c.text.WriteString(text)
	return c.send(Event{Text: text, Tokens: c.tokensOf(p.Tokens)})
}

func (c *callReader) send(e Event) error {
	if c.emit == nil {
		return nil
	}
	return c.emit(e)
}

// end takes what was held as a call, or as text if it was cut short.
func (c *callReader) end() error {
	if !c.json {
		return nil
	}
	var call struct {
		Name      string
		Arguments json.RawMessage
	}
	if err := json.Unmarshal([]byte(c.held.String()), &call); err != nil || call.Name == "" || c.format && !c.isCall(call.Name) {
		c.text.WriteString(c.held.String())
		return c.send(Event{Text: c.held.String(), Tokens: c.tokensOf(c.tokens)})
	}
	if call.Arguments == nil {
		call.Arguments = json.RawMessage("{}")
	}
	c.call = &ToolCall{ID: NewCallID(), Name: call.Name, Arguments: call.Arguments}
	return c.send(Event{ToolCall: c.call, Tokens: c.tokensOf(c.tokens)})
}

// isCall tells whether what was held, an object with a name, is a call's object and no other.
func (c *callReader) isCall(name string) bool {
	var fields map[string]json.RawMessage
	json.Unmarshal([]byte(c.held.String()), &fields) // it has been before
	return len(fields) == 2 && fields["name"] != nil && fields["arguments"] != nil && slices.Contains(c.names, name)
}

// NewCallID makes an identity for a call.
func NewCallID() string { return "call_" + strings.ToLower(rand.Text()[:20]) }
