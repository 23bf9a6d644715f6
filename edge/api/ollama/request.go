package ollama

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"bimamba/edge/api/internal/body"
	"bimamba/edge/chat"
)

// shared is what chat and generate requests have in common. Fields that are not here (truncate, shift, ...) have no meaning here.
type shared struct {
	Model       string          `json:"model"`
	Stream      *bool           `json:"stream"`
	Format      json.RawMessage `json:"format"`
	KeepAlive   json.RawMessage `json:"keep_alive"`
	Think       json.RawMessage `json:"think"`
	Options     options         `json:"options"`
	LogProbs    bool            `json:"logprobs"`
	TopLogProbs int             `json:"top_logprobs"`
}

// Limits of a request: what it becomes in memory is larger than its text.
const (
	maxMessages  = 4096
	maxTools     = 128
	maxToolCalls = 64 // of a message
	maxStops     = 64
)

type (
	messagesLimit struct{}
	toolsLimit    struct{}
)

func (messagesLimit) Limit() (string, int) { return "messages", maxMessages }
func (toolsLimit) Limit() (string, int)    { return "tools", maxTools }

type chatRequest struct {
	shared
	Messages body.List[messageIn, messagesLimit] `json:"messages"`
	Tools    body.List[tool, toolsLimit]         `json:"tools"`
}

type generateRequest struct {
	shared
	Prompt   string          `json:"prompt"`
	System   string          `json:"system"`
	Suffix   string          `json:"suffix"`
	Template string          `json:"template"`
	Raw      bool            `json:"raw"`
	Context  []int64         `json:"context"`
	Images   json.RawMessage `json:"images"`
}

type messageIn struct {
	Role       string          `json:"role"`
	Content    string          `json:"content"`
	Images     json.RawMessage `json:"images"`
	ToolCalls  json.RawMessage `json:"tool_calls"`
	ToolName   string          `json:"tool_name"`
	ToolCallID string          `json:"tool_call_id"`
}

type toolCall struct {
	ID       string   `json:"id,omitempty"`
	Function function `json:"function"`
}

type function struct {
	Index     int             `json:"index"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"` // an object
}

type tool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
	} `json:"function"`
}

// given is whether a field is there and not null.
func given(b json.RawMessage) bool { return len(b) > 0 && string(b) != "null" }

func isObject(b json.RawMessage) bool { return bytes.HasPrefix(b, []byte("{")) }

func (q *shared) streams() bool { return q.Stream == nil || *q.Stream }

// keepAlive is a number of seconds, a duration as "5m", or negative for ever. Zero means that the model may go at once.
// A number in a string counts as seconds, which Ollama refuses.
func (q *shared) keepAlive(absent time.Duration) (time.Duration, error) {
	if !given(q.KeepAlive) {
		return absent, nil
	}
	text := string(q.KeepAlive)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(q.KeepAlive, &text); err != nil {
			return 0, chat.Errorf(chat.Invalid, "keep_alive", "%v", err)
		}
	}
	var d time.Duration
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		switch ns := s * float64(time.Second); {
		case ns != ns: // "nan"
			return 0, chat.Errorf(chat.Invalid, "keep_alive", "%q is no duration", text)
		case ns >= math.MaxInt64 || ns < 0:
			return forever, nil
		default:
			d = time.Duration(ns)
		}
	} else if d, err = time.ParseDuration(text); err != nil {
		return 0, chat.Errorf(chat.Invalid, "keep_alive", "%.40q is no duration; it is a number of seconds or a text as \"5m\"", text)
	}
	if d < 0 {
		return forever, nil
	}
	return d, nil
}

// checkThink refuses to think. Clients that know the model's capabilities do not ask.
func (q *shared) checkThink() error {
	switch s := string(q.Think); s {
	case "", "null", "false":
		return nil
	case "true", `"low"`, `"medium"`, `"high"`, `"max"`:
		return chat.Errorf(chat.Unsupported, "", "%q does not support thinking", q.Model)
	default:
		return chat.Errorf(chat.Invalid, "think", "it is true, false, \"low\", \"medium\" or \"high\", not %.40s", s)
	}
}

func (q *shared) format() (chat.Format, error) {
	switch s := string(q.Format); {
	case !given(q.Format) || s == `""`:
		return chat.Format{}, nil
	case s == `"json"`:
		return chat.Format{JSON: true}, nil
	case isObject(q.Format):
		return chat.Format{Schema: q.Format}, nil
	default:
		return chat.Format{}, chat.Errorf(chat.Invalid, "", "invalid format: %.40s; expected \"json\" or a valid JSON Schema object", s)
	}
}

// chatOptions checks and translates what is shared.
func (q *shared) chatOptions() (o chat.Options, err error) {
	if err := q.checkThink(); err != nil {
		return o, err
	}
	if q.TopLogProbs < 0 || q.TopLogProbs > chat.MaxTopTokens {
		return o, chat.Errorf(chat.Invalid, "", "top_logprobs must be between 0 and %d", chat.MaxTopTokens)
	}
	if o.Format, err = q.format(); err != nil {
		return o, err
	}
	if o.Sampling, err = q.Options.sampling(); err != nil {
		return o, err
	}
	o.MaxTokens, o.Stop = q.Options.maxTokens(), q.Options.Stop
	if q.LogProbs {
		o.LogProbs, o.TopTokens = true, q.TopLogProbs
	}
	return o, nil
}

func (q *chatRequest) request(info *chat.Info) (*chat.Request, error) {
	o, err := q.chatOptions()
	if err != nil {
		return nil, err
	}
	if len(q.Tools) > 0 && !info.Tools {
		return nil, chat.Errorf(chat.Unsupported, "", "%q does not support tools", q.Model)
	}
	req := &chat.Request{Model: q.Model, Options: o, Messages: make([]chat.Message, len(q.Messages)), Tools: make([]chat.ToolDef, len(q.Tools))}
	for i := range q.Messages {
		if req.Messages[i], err = q.Messages[i].message(fmt.Sprintf("messages[%d]", i)); err != nil {
			return nil, err
		}
	}
	for i := range q.Tools {
		t := &q.Tools[i]
		param := fmt.Sprintf("tools[%d]", i)
		switch {
		case t.Type != "" && t.Type != "function":
			return nil, chat.Errorf(chat.Invalid, param+".type", "%.40q is not \"function\"", t.Type)
		case t.Function.Name == "":
			return nil, chat.Errorf(chat.Invalid, param+".function.name", "a tool needs a name")
		case given(t.Function.Parameters) && !isObject(t.Function.Parameters):
			return nil, chat.Errorf(chat.Invalid, param+".function.parameters", "it is a JSON Schema object")
		}
		req.Tools[i] = chat.ToolDef{Name: t.Function.Name, Description: t.Function.Description}
		if given(t.Function.Parameters) {
			req.Tools[i].Parameters = t.Function.Parameters
		}
	}
	return req, nil
}

func (m *messageIn) message(param string) (chat.Message, error) {
	c := chat.Message{Role: chat.Role(strings.ToLower(m.Role)), Text: m.Content, ToolName: m.ToolName, CallID: m.ToolCallID}
	switch c.Role {
	case chat.System, chat.User, chat.Assistant, chat.Tool:
	default:
		return c, chat.Errorf(chat.Invalid, param+".role", "%.40q is none of system, user, assistant and tool", m.Role)
	}
	if hasImages(m.Images) {
		return c, chat.Errorf(chat.Unsupported, param+".images", "the model reads no images")
	}
	calls, err := toolCalls(m.ToolCalls, param+".tool_calls")
	if err != nil {
		return c, err
	}
	for i, t := range calls {
		param := fmt.Sprintf("%s.tool_calls[%d].function", param, i)
		switch {
		case t.Function.Name == "":
			return c, chat.Errorf(chat.Invalid, param+".name", "a call needs the tool's name")
		case !given(t.Function.Arguments):
			t.Function.Arguments = json.RawMessage("{}")
		case !isObject(t.Function.Arguments):
			return c, chat.Errorf(chat.Invalid, param+".arguments", "it is an object, not a text or anything else")
		}
		c.ToolCalls = append(c.ToolCalls, chat.ToolCall{ID: t.ID, Name: t.Function.Name, Arguments: t.Function.Arguments})
	}
	return c, nil
}

// hasImages tells whether a list has any. What is no list is taken for one image.
func hasImages(raw json.RawMessage) bool {
	n, err := body.Count(raw, "", 1)
	return given(raw) && (n > 0 || err != nil || raw[0] != '[')
}

// toolCalls reads null or a list of calls.
func toolCalls(raw json.RawMessage, param string) (calls []toolCall, err error) {
	if !given(raw) {
		return nil, nil
	}
	if _, err := body.Count(raw, param, maxToolCalls); err != nil {
		return nil, err
	}
	err = body.Unmarshal(raw, &calls)
	if e, ok := errors.AsType[*chat.Error](err); ok {
		e.Param = strings.TrimSuffix(param+"."+e.Param, ".")
	}
	return calls, err
}

func (q *generateRequest) request() (*chat.Completion, error) {
	switch {
	case q.Raw && (q.Template != "" || q.System != "" || len(q.Context) > 0):
		return nil, chat.Errorf(chat.Invalid, "", "raw mode does not support template, system, or context")
	case q.Suffix != "":
		return nil, chat.Errorf(chat.Unsupported, "", "%q does not support insert", q.Model)
	case q.Template != "":
		return nil, chat.Errorf(chat.Unsupported, "template", "the prompt's format is the model's own; leave it out, or set raw and write the whole prompt")
	case hasImages(q.Images):
		return nil, chat.Errorf(chat.Unsupported, "images", "the model reads no images")
	}
	o, err := q.chatOptions()
	if err != nil {
		return nil, err
	}
	return &chat.Completion{Model: q.Model, Prompt: q.Prompt, System: q.System, Raw: q.Raw, Options: o}, nil
}
