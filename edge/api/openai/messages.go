package openai

import (
	"encoding/json"
	"fmt"
	"strings"

	"bimamba/edge/api/internal/body"
	"bimamba/edge/chat"
)

type (
	messages = body.List[message, messagesLimit]
	tools    = body.List[tool, toolsLimit]

	messagesLimit struct{}
	toolsLimit    struct{}
)

func (messagesLimit) Limit() (string, int) { return "messages", maxMessages }
func (toolsLimit) Limit() (string, int)    { return "tools", maxTools }

type message struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"` // null, a string, or parts
	Refusal    string          `json:"refusal"`
	Name       string          `json:"name"`
	ToolCalls  json.RawMessage `json:"tool_calls"` // null or a list
	ToolCallID string          `json:"tool_call_id"`
}

type toolCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"` // a string that holds an object
	} `json:"function"`
}

// convert makes m, which is number i, a message of the service.
func (m *message) convert(i int) (c chat.Message, err error) {
	at := func(field string) string { return fmt.Sprintf("messages[%d].%s", i, field) }
	switch m.Role {
	case "system", "developer":
		c.Role = chat.System
	case "user":
		c.Role = chat.User
	case "assistant":
		c.Role = chat.Assistant
	case "tool":
		c.Role, c.ToolName, c.CallID = chat.Tool, m.Name, m.ToolCallID
		if m.ToolCallID == "" {
			return c, invalid(at("tool_call_id"), "the id of the call that this message answers is missing")
		}
	case "":
		return c, invalid(at("role"), "missing; it is developer, system, user, assistant or tool")
	default:
		return c, invalid(at("role"), "%q is not developer, system, user, assistant or tool", m.Role)
	}
	if c.Text, err = text(m.Content, at("content")); err != nil {
		return c, err
	}
	if c.Role != chat.Assistant {
		if kind(m.Content) == 0 {
			return c, invalid(at("content"), "missing")
		}
		if n, _ := body.Count(m.ToolCalls, "", maxToolCalls); n > 0 {
			return c, invalid(at("tool_calls"), "only an assistant's message has calls")
		}
		return c, nil
	}
	if kind(m.Content) == 0 {
		c.Text = m.Refusal
	}
	var calls []toolCall
	if err := decodeList(m.ToolCalls, &calls, at("tool_calls"), maxToolCalls); err != nil {
		return c, err
	}
	for j := range calls {
		call, err := calls[j].convert(at(fmt.Sprintf("tool_calls[%d]", j)))
		if err != nil {
			return c, err
		}
		c.ToolCalls = append(c.ToolCalls, call)
	}
	return c, nil
}

// text reads a message's content. Parts are separate texts, so a line break is between them.
func text(raw json.RawMessage, param string) (s string, err error) {
	switch kind(raw) {
	case 0:
		return "", nil
	case '"':
		err = decode(raw, &s, param)
		return s, err
	}
	var parts []struct {
		Type    string `json:"type"`
		Text    string `json:"text"`
		Refusal string `json:"refusal"`
	}
	if err := decodeList(raw, &parts, param, maxParts); err != nil {
		return "", err
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		switch p.Type {
		case "text":
			texts[i] = p.Text
		case "refusal":
			texts[i] = p.Refusal
		default:
			return "", unsupported(fmt.Sprintf("%s[%d].type", param, i), "%q: the models here read parts of type text only", p.Type)
		}
	}
	return strings.Join(texts, "\n"), nil
}

func (t *toolCall) convert(param string) (c chat.ToolCall, err error) {
	if t.Type != "" && t.Type != "function" {
		return c, unsupported(param+".type", "%q: only function is called here", t.Type)
	}
	if t.Function.Name == "" {
		return c, invalid(param+".function.name", "missing")
	}
	c = chat.ToolCall{ID: t.ID, Name: t.Function.Name, Arguments: json.RawMessage("{}")}
	param += ".function.arguments"
	raw := t.Function.Arguments
	if kind(raw) == '"' {
		var s string
		if err := decode(raw, &s, param); err != nil {
			return c, err
		}
		raw = json.RawMessage(s)
	}
	switch kind(raw) {
	case 0: // no arguments
		return c, nil
	case '{':
		if json.Valid(raw) {
			c.Arguments = raw
			return c, nil
		}
	}
	return c, invalid(param, "not a JSON object in a string")
}
